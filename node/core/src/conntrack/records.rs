//! Flow records: windows of live flows, ends, and refused tries. What was judged and passed is in exactly one record;
//! what could not be kept is counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use warren_config::policy::Protocol;
use warren_wire::flow::{Amount, FlowEnd, FlowPath, FlowRecord};
use warren_wire::id::NodeId;

use super::flow::{Admission, Flow, Traffic};
use super::{Drained, Load};
use crate::clock::Now;
use crate::packet::Tuple;

/// Kinds of refused tries in one window whose process is asked for: a scan must not push out the questions about flows.
const ASKED: usize = 64;

/// Tries that are merged: everything but the source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RefusalKey {
    outbound: bool,
    tuple: Tuple,
}

/// Records waiting to be drained. Bounded.
#[derive(Debug)]
pub(crate) struct Records {
    peer: NodeId,
    done: Vec<FlowRecord>,
    refusals: BTreeMap<RefusalKey, FlowRecord>,
    lost: Amount,
    max_done: usize,
    max_refusals: usize,
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// IP protocol number of a tuple.
fn number(tuple: &Tuple) -> u32 {
    match tuple.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::IcmpEcho if tuple.src.is_ipv4() => 1,
        Protocol::IcmpEcho => 58,
        Protocol::Number(number) => u32::from(number),
    }
}

impl Records {
    pub fn new(peer: NodeId, max_done: usize, max_refusals: usize) -> Records {
        Records {
            peer,
            done: Vec::new(),
            refusals: BTreeMap::new(),
            lost: Amount::default(),
            max_done,
            max_refusals,
        }
    }

    fn record(&self, tuple: &Tuple, outbound: bool, admission: &Admission, traffic: Traffic) -> FlowRecord {
        let text = |name: &Option<warren_config::name::Name>| {
            name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default()
        };
        FlowRecord {
            flow: 0,
            peer: self.peer.0.to_vec(),
            outbound,
            protocol: number(tuple),
            src: octets(tuple.src),
            src_port: u32::from(tuple.sport),
            dst: octets(tuple.dst),
            dst_port: u32::from(tuple.dport),
            verdict: admission.verdict as i32,
            grant: text(&admission.grant),
            service: text(&admission.service),
            generation: admission.edition.generation,
            packets_out: traffic.out.packets,
            bytes_out: traffic.out.bytes,
            packets_back: traffic.back.packets,
            bytes_back: traffic.back.bytes,
            started_ms: 0,
            last_ms: 0,
            end: FlowEnd::Open as i32,
            count: 1,
            first: false,
            workload: None,
            rtt_us: None,
            retransmissions: None,
            path: FlowPath::Unknown as i32,
        }
    }

    /// Closes the window of a flow.
    pub fn close_window(&mut self, flow: &mut Flow, end: FlowEnd) {
        let traffic = std::mem::take(&mut flow.window);
        if self.done.len() >= self.max_done {
            self.lose(traffic.out);
            self.lost.add(Amount { records: 0, packets: traffic.back.packets, bytes: traffic.back.bytes });
            return;
        }
        let first = !std::mem::replace(&mut flow.recorded, true);
        let record = FlowRecord { first, ..self.of_flow(flow, traffic, end) };
        self.done.push(record);
    }

    /// One try that no record can be made of.
    pub fn lose(&mut self, load: Load) {
        self.lost.add(Amount { records: 1, packets: load.packets, bytes: load.bytes });
    }

    /// A record of this traffic of a flow.
    pub fn of_flow(&self, flow: &Flow, traffic: Traffic, end: FlowEnd) -> FlowRecord {
        FlowRecord {
            flow: flow.id,
            started_ms: flow.started_ms,
            last_ms: flow.last_ms,
            end: end as i32,
            // Unless who drains it knows that a relay carries it.
            path: FlowPath::Direct as i32,
            ..self.record(&flow.tuple(), flow.outbound, &flow.admission, traffic)
        }
    }

    /// One refused try; `id` is used if it is the first of its kind in this window. True: it is, and whose it was is worth a
    /// question (of a scan, only its beginning).
    pub fn refuse(
        &mut self,
        id: u64,
        outbound: bool,
        tuple: Tuple,
        admission: &Admission,
        load: Load,
        now: Now,
    ) -> bool {
        let key = RefusalKey { outbound, tuple: Tuple { sport: 0, ..tuple } };
        if let Some(record) = self.refusals.get_mut(&key) {
            record.count = record.count.saturating_add(1);
            record.packets_out = record.packets_out.saturating_add(load.packets);
            record.bytes_out = record.bytes_out.saturating_add(load.bytes);
            record.last_ms = record.last_ms.max(now.wall_ms);
            return false;
        }
        if self.refusals.len() >= self.max_refusals {
            self.lose(load);
            return false;
        }
        let traffic = Traffic { out: load, back: Load::default() };
        let record = FlowRecord {
            flow: id,
            started_ms: now.wall_ms,
            last_ms: now.wall_ms,
            end: FlowEnd::Refused as i32,
            ..self.record(&tuple, outbound, admission, traffic)
        };
        self.refusals.insert(key, record);
        self.refusals.len() <= ASKED
    }

    /// Nothing to drain.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.refusals.is_empty() && self.lost == Amount::default()
    }

    pub fn drain(&mut self) -> Drained {
        let mut records = std::mem::take(&mut self.done);
        records.extend(std::mem::take(&mut self.refusals).into_values());
        Drained { records, lost: std::mem::take(&mut self.lost) }
    }
}
