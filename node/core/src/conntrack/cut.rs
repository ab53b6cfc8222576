//! What the local host hears when one of its flows is cut.

use warren_config::policy::Protocol;

use super::flow::Flow;
use super::tcp::TcpState;
use crate::packet::Tuple;
use crate::packet::bytes::{put, put_u16};
use crate::packet::checksum::{ICMP, ICMPV6, TCP, UDP};
use crate::packet::reply::{finished, header, prohibited, reset};

/// A flow that was cut: [`Cut::packets`] tells the local host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// From the end that opened it to the other.
    pub tuple: Tuple,
    /// The local host opened it.
    pub outbound: bool,
    told: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// RST with each of these numbers: what the local host last acknowledged, and what it was last sent.
    Reset(Vec<u32>),
    /// Answer to a SYN that had no answer yet.
    RefusedSyn { ack: u32 },
    /// The local host has sent on it, and may have a socket that hears ICMP.
    Prohibited,
    /// There is nobody to tell.
    Nothing,
}

impl Cut {
    pub(super) fn of(flow: &Flow) -> Cut {
        Cut { tuple: flow.tuple(), outbound: flow.outbound, told: told(flow) }
    }

    /// Packets for the local host as if they came from the peer: RST with the exact next sequence number, or ICMP
    /// administratively prohibited. If no RST was exact, the local host answers with a challenge ACK (RFC 5961), which
    /// the judge refuses with [`crate::packet::DropReason::FlowCut`]: the answer to that is exact.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        let to_local = if self.outbound { self.tuple.reversed() } else { self.tuple };
        match &self.told {
            Told::Reset(numbers) => numbers.iter().map(|seq| reset(to_local, *seq, None)).collect(),
            Told::RefusedSyn { ack } => vec![reset(to_local, 0, Some(*ack))],
            Told::Prohibited => quote(to_local.reversed(), self.outbound)
                .and_then(|quote| prohibited(to_local.src, to_local.dst, &quote))
                .into_iter()
                .collect(),
            Told::Nothing => Vec::new(),
        }
    }
}

fn told(flow: &Flow) -> Told {
    let Some(tcp) = flow.tcp else {
        return if flow.local_sent { Told::Prohibited } else { Told::Nothing };
    };
    let (local, remote) =
        if flow.outbound { (tcp.opener, tcp.responder) } else { (tcp.responder, tcp.opener) };
    if tcp.is_over() {
        return Told::Nothing;
    }
    if tcp.state == TcpState::SynSent && flow.outbound {
        return Told::RefusedSyn { ack: local.next };
    }
    let mut numbers: Vec<u32> = local.ack.into_iter().collect();
    if remote.seen && !numbers.contains(&remote.next) {
        numbers.push(remote.next);
    }
    Told::Reset(numbers)
}

/// A packet the local host could have sent on this flow, as far as an ICMP error quotes it.
fn quote(tuple: Tuple, local_opened: bool) -> Option<Vec<u8>> {
    let v4 = tuple.src.is_ipv4();
    let mut head = [0u8; 8];
    let (number, field) = match tuple.protocol {
        Protocol::Tcp => (TCP, 16),
        Protocol::Udp => (UDP, 6),
        Protocol::IcmpEcho => (if v4 { ICMP } else { ICMPV6 }, 2),
        Protocol::Number(number) => {
            return header(tuple.src, tuple.dst, number, 8).map(|ip| [ip, head.to_vec()].concat());
        }
    };
    if tuple.protocol == Protocol::IcmpEcho {
        let kind = match (v4, local_opened) {
            (true, true) => 8,
            (true, false) => 0,
            (false, true) => 128,
            (false, false) => 129,
        };
        put(&mut head, 0, [kind]);
        put_u16(&mut head, 4, if local_opened { tuple.sport } else { tuple.dport });
    } else {
        put_u16(&mut head, 0, tuple.sport);
        put_u16(&mut head, 2, tuple.dport);
        put_u16(&mut head, 4, 8);
    }
    finished(tuple.src, tuple.dst, number, field, &head)
}
