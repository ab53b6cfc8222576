//! What belongs to a node as long as it is a peer, whatever its keys and rules are at the moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use warren_wire::id::NodeId;

use super::Awake;
use crate::clock::{Mono, Now};
use crate::conntrack::{Cut, Drained, Ends, FlowIds, FlowTable, Limits};
use crate::path::Endpoints;

/// Inner packets and bytes since this peer is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Meter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    fn read(&self) -> Traffic {
        Traffic { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// The flows with one peer, and who knows about them. The table is made when a packet asks for it, and given back when
/// nothing is left in it.
#[derive(Debug)]
struct Flows {
    /// Serial of the newest snapshot whose rules were asked about these flows.
    judged_by: u64,
    /// Those who look after flows know that something happened here since they looked.
    noted: bool,
    ids: Arc<FlowIds>,
    table: Option<Box<FlowTable>>,
}

/// The flows under their lock.
pub type FlowsGuard<'a> = MappedMutexGuard<'a, FlowTable>;

#[derive(Debug)]
pub struct Link {
    pub node: NodeId,
    flows: Mutex<Flows>,
    awake: Arc<Awake>,
    endpoints: Mutex<Endpoints>,
    /// The largest inner packet that fits the underlay's path to this peer; `usize::MAX` while nothing is known.
    mtu: AtomicUsize,
    sent: Meter,
    received: Meter,
    /// Packets both ways when this was last asked.
    spoken: AtomicU64,
    manners: Mutex<Manners>,
}

/// What is said to a peer beside its packets, and when it was last said.
#[derive(Debug, Default)]
struct Manners {
    knocked: Option<Mono>,
    shown: Option<Mono>,
    /// Packets sent when this was last looked at, and since when there were no others.
    sent: u64,
    silent: Mono,
}

/// True if `last` is `every_ms` ago; then it is now.
fn is_time(last: &mut Option<Mono>, every_ms: u64, now: Now) -> bool {
    let time = last.is_none_or(|at| now.mono.millis_since(at) >= every_ms);
    if time {
        *last = Some(now.mono);
    }
    time
}

impl Link {
    pub fn new(
        node: NodeId,
        ids: Arc<FlowIds>,
        awake: Arc<Awake>,
        candidates: Vec<SocketAddr>,
        now: Now,
    ) -> Link {
        Link {
            node,
            flows: Mutex::new(Flows { judged_by: 0, noted: false, ids, table: None }),
            awake,
            endpoints: Mutex::new(Endpoints::new(candidates, now.mono)),
            mtu: AtomicUsize::new(usize::MAX),
            sent: Meter::default(),
            received: Meter::default(),
            spoken: AtomicU64::new(0),
            manners: Mutex::default(),
        }
    }

    /// The flows, for one who judges by the snapshot `serial`. `None` if they were judged by a newer one already: then
    /// this one is of the past, and what it allows may have been withdrawn.
    pub fn flows_at(&self, serial: u64) -> Option<FlowsGuard<'_>> {
        let mut flows = self.flows.lock();
        if flows.judged_by > serial {
            return None;
        }
        flows.judged_by = serial;
        self.note(&mut flows);
        Some(MutexGuard::map(flows, |flows| flows.table(self.node)))
    }

    /// Every flow is judged again, by the snapshot `serial`; whoever comes with an older one from now on is told.
    pub fn rejudge(&self, serial: u64, ends: &Ends<'_>, now: Now) -> Vec<Cut> {
        let mut flows = self.flows.lock();
        flows.judged_by = serial;
        let Some(table) = &mut flows.table else { return Vec::new() };
        let mut cuts = table.rejudge(ends, now);
        cuts.extend(table.take_cuts());
        cuts
    }

    /// Flows of an earlier agent, judged by the snapshot `serial`.
    pub fn restore(&self, table: FlowTable, serial: u64) {
        let mut flows = self.flows.lock();
        flows.judged_by = serial;
        flows.table = Some(Box::new(table));
        flows.noted = false;
        self.note(&mut flows);
    }

    fn note(&self, flows: &mut Flows) {
        if !flows.noted {
            flows.noted = true;
            self.awake.note(self.node);
        }
    }

    /// What time does to the flows, for one who judges as [`Link::flows_at`] says. They go to sleep when nothing is left.
    pub fn handle_timeout(&self, serial: u64, ends: &Ends<'_>, now: Now) -> Vec<Cut> {
        let mut flows = self.flows.lock();
        if flows.judged_by > serial {
            return Vec::new();
        }
        let mut cuts = Vec::new();
        if let Some(table) = &mut flows.table {
            let due = table.poll_timeout().is_some_and(|at| at <= now.mono);
            if due {
                self.awake.stir();
            }
            if due || table.is_empty() {
                cuts = table.handle_timeout(ends, now);
            }
        }
        if flows.is_still(now) {
            flows.table = None;
            flows.noted = false;
            self.awake.forget(&self.node);
        }
        cuts
    }

    /// Records since the last call.
    pub fn drain(&self) -> Drained {
        let mut flows = self.flows.lock();
        flows.noted = false;
        flows.table.as_mut().map(|table| table.drain_records()).unwrap_or_default()
    }

    /// The live flows for the next agent.
    pub fn snapshot(&self, now: Now) -> Vec<u8> {
        let mut flows = self.flows.lock();
        flows.noted = false;
        match &flows.table {
            Some(table) => table.snapshot(now),
            None => empty(self.node, &flows.ids).snapshot(now),
        }
    }

    /// The peer is gone.
    pub fn forget(&self) {
        self.awake.forget(&self.node);
    }

    /// Is there something to do for one who does not know of it? For tests.
    pub fn is_overlooked(&self, now: Now) -> bool {
        let flows = self.flows.lock();
        !flows.is_still(now) && !self.awake.knows(&self.node)
    }

    pub fn live_flows(&self) -> usize {
        self.flows.lock().table.as_ref().map_or(0, |table| table.len())
    }

    /// Where to send now.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoints.lock().current()
    }
    /// New hints. True if the place to send to changed.
    pub fn set_candidates(&self, candidates: &[SocketAddr], now: Now) -> bool {
        let mut endpoints = self.endpoints.lock();
        let before = endpoints.current();
        if endpoints.candidates() != candidates {
            endpoints.set_candidates(candidates.to_vec(), now.mono);
        }
        self.forget_mtu_if(endpoints.current() != before)
    }
    /// An authenticated packet came from there. True if the peer has moved.
    pub fn proven(&self, from: SocketAddr, now: Now) -> bool {
        let moved = self.endpoints.lock().handle_authenticated(from, now.mono);
        self.forget_mtu_if(moved)
    }
    /// Handshakes stay unanswered: try the next place.
    pub fn unanswered(&self, now: Now) {
        let mut endpoints = self.endpoints.lock();
        let before = endpoints.current();
        endpoints.handle_unanswered(now.mono);
        self.forget_mtu_if(endpoints.current() != before);
    }
    /// The largest inner packet for this peer, as far as is known.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }
    pub fn set_mtu(&self, mtu: usize) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }
    /// Another path has another MTU.
    fn forget_mtu_if(&self, moved: bool) -> bool {
        if moved {
            self.set_mtu(usize::MAX);
        }
        moved
    }
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints.lock().clone()
    }

    /// Everywhere the peer may be, the likeliest first.
    pub fn places(&self) -> Vec<SocketAddr> {
        self.endpoints.lock().places()
    }

    /// True at most once in `every_ms`: the coordinator is asked to tell the peer.
    pub fn may_knock(&self, now: Now, every_ms: u64) -> bool {
        is_time(&mut self.manners.lock().knocked, every_ms, now)
    }

    /// True at most once in `every_ms`: the peer has asked to be shown this node.
    pub fn may_show(&self, now: Now, every_ms: u64) -> bool {
        is_time(&mut self.manners.lock().shown, every_ms, now)
    }

    /// Was nothing sent for so long? Ask often: what was sent is noticed by asking.
    pub fn is_silent_for(&self, ms: u64, now: Now) -> bool {
        let (mut manners, sent) = (self.manners.lock(), self.sent().packets);
        if manners.sent != sent {
            (manners.sent, manners.silent) = (sent, now.mono);
        }
        now.mono.millis_since(manners.silent) >= ms
    }

    /// Something was said that is not counted as a packet.
    pub fn spoke(&self, now: Now) {
        self.manners.lock().silent = now.mono;
    }

    /// Did packets go either way since the last call?
    pub fn spoke_since(&self) -> bool {
        let packets = self.sent().packets.wrapping_add(self.received().packets);
        self.spoken.swap(packets, Ordering::Relaxed) != packets
    }

    pub fn count_sent(&self, packets: u64, bytes: u64) {
        self.sent.add(packets, bytes);
    }
    pub fn count_received(&self, packets: u64, bytes: u64) {
        self.received.add(packets, bytes);
    }
    pub fn sent(&self) -> Traffic {
        self.sent.read()
    }
    pub fn received(&self) -> Traffic {
        self.received.read()
    }
}

impl Flows {
    fn table(&mut self, node: NodeId) -> &mut FlowTable {
        self.table.get_or_insert_with(|| Box::new(empty(node, &self.ids)))
    }

    /// No table, or one that a new one could stand for.
    fn is_still(&self, now: Now) -> bool {
        self.table.as_ref().is_none_or(|table| table.is_still(now.mono))
    }
}

fn empty(node: NodeId, ids: &Arc<FlowIds>) -> FlowTable {
    FlowTable::new(node, ids.clone(), Limits::default())
}
