//! What belongs to a node as long as it is a peer, whatever its keys and rules are at the moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use warren_config::subnet::Behind;
use warren_wire::id::{NodeId, RelayId};
use warren_wire::relay::Seat;

use super::Awake;
use crate::clock::{Mono, Now};
use crate::conntrack::{Cut, Drained, Ends, FlowIds, FlowTable, Limits};
use crate::path::{Endpoints, Heard, Ping, Place, Probe};

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
    /// The largest inner packet that fits the underlay's path to this peer, as the kernel says; `usize::MAX` while it says
    /// nothing.
    mtu: AtomicUsize,
    /// The same as asking has shown.
    probed: AtomicUsize,
    sent: Meter,
    /// Packets that were for the peer when there was no place to send them to.
    stranded: AtomicU64,
    received: Meter,
    /// Batches that were authentic.
    heard: AtomicU64,
    /// Packets both ways when this was last asked.
    spoken: AtomicU64,
    manners: Mutex<Manners>,
}

/// What is said to a peer beside its packets, and when it was last said.
#[derive(Debug, Default)]
struct Manners {
    knocked: Option<Mono>,
    shown: Option<Mono>,
    /// Is there an answer, as a gateway?
    life: Life,
    /// Packets sent when this was last looked at, and since when there were no others.
    sent: u64,
    silent: Mono,
}

/// What is known of a gateway that is sent to. Counted in looks, one every half second.
#[derive(Debug, Default)]
struct Life {
    sent: u64,
    heard: u64,
    /// Looks since something was to be sent and nothing authentic came.
    unanswered: u32,
}

/// After so many looks a gateway does not answer: two seconds, in which it was asked three times.
const GIVEN_UP: u32 = 4;

/// What to do about a gateway in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Nothing was to be sent, or it was answered.
    Calm,
    /// Ask it for a sign of life.
    Ask,
    /// Whatever was asked, nothing came.
    Gone,
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
    pub fn new(node: NodeId, ids: Arc<FlowIds>, awake: Arc<Awake>, endpoints: Endpoints) -> Link {
        Link {
            node,
            flows: Mutex::new(Flows { judged_by: 0, noted: false, ids, table: None }),
            awake,
            endpoints: Mutex::new(endpoints),
            mtu: AtomicUsize::new(usize::MAX),
            probed: AtomicUsize::new(usize::MAX),
            sent: Meter::default(),
            stranded: AtomicU64::new(0),
            received: Meter::default(),
            heard: AtomicU64::new(0),
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
            if due || table.is_empty() || table.is_greedy() {
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
    pub fn endpoint(&self) -> Option<Place> {
        self.endpoints.lock().current()
    }
    /// The same, and the relays that a handshake takes as well. Which may be used is asked only where it matters.
    pub fn endpoint_and_spares(
        &self,
        usable: impl FnOnce() -> Arc<[RelayId]>,
        now: Now,
    ) -> (Option<Place>, Vec<Place>) {
        let mut endpoints = self.endpoints.lock();
        if endpoints.wants_relays() {
            let moved = endpoints.set_relays(&usable(), now.mono);
            self.forget_mtu_if(moved);
        }
        (endpoints.current(), endpoints.spares())
    }
    /// The place that is known to answer, if it is another.
    pub fn proven_other_than(&self, from: Place) -> Option<Place> {
        self.endpoints.lock().proven_other_than(from)
    }
    /// No relay can be used: another place, if there is one.
    pub fn leave_relay(&self, now: Now) -> Option<Place> {
        let mut endpoints = self.endpoints.lock();
        let moved = endpoints.leave_relay(now.mono);
        self.forget_mtu_if(moved);
        endpoints.current().filter(|_| moved)
    }
    /// New hints. True if the place to send to changed.
    pub fn set_candidates(&self, candidates: &[SocketAddr], seat: Option<Seat>, now: Now) -> bool {
        let mut endpoints = self.endpoints.lock();
        let before = endpoints.current();
        if !endpoints.is_told(candidates, seat) {
            endpoints.set_candidates(candidates, seat, now.mono);
        }
        self.forget_mtu_if(endpoints.current() != before)
    }
    /// Does it answer, as a gateway? Ask every half second.
    pub fn pulse(&self) -> Pulse {
        let (sent, heard) = (self.asked_for(), self.heard.load(Ordering::Relaxed));
        let life = &mut self.manners.lock().life;
        let spoke = life.sent != sent;
        if life.heard != heard {
            *life = Life { sent, heard, unanswered: 0 };
            return Pulse::Calm;
        }
        life.sent = sent;
        if spoke || life.unanswered > 0 {
            life.unanswered += 1;
        }
        match life.unanswered {
            0 => Pulse::Calm,
            GIVEN_UP.. => Pulse::Gone,
            _ => Pulse::Ask,
        }
    }
    /// It is used from now on: what was sent before says nothing about it.
    pub fn begin_anew(&self) {
        let (sent, heard) = (self.asked_for(), self.heard.load(Ordering::Relaxed));
        self.manners.lock().life = Life { sent, heard, unanswered: 0 };
    }
    /// A gateway that nobody knows a place of is asked for as well, and answers as little.
    fn asked_for(&self) -> u64 {
        self.sent().packets.wrapping_add(self.stranded.load(Ordering::Relaxed))
    }
    /// Flows with hosts behind the peer end: they go another way, which does not know them.
    pub fn leave(&self, beyond: &Behind, now: Now) -> Vec<Cut> {
        let mut flows = self.flows.lock();
        self.note(&mut flows);
        flows.table.as_mut().map(|table| table.leave(beyond, now)).unwrap_or_default()
    }
    /// An authenticated packet came from there. True if the peer has moved.
    pub fn proven(&self, from: Place, heard: Heard, now: Now) -> bool {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let moved = self.endpoints.lock().handle_authenticated(from, heard, now.mono);
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
        self.known_mtu().min(self.probed.load(Ordering::Relaxed))
    }
    /// As the kernel says.
    pub fn known_mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }
    pub fn set_mtu(&self, mtu: usize) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }
    /// Questions about what the path carries, if it is time for some; `full` is what the tunnel and the kernel allow.
    pub fn poll_probes(&self, full: usize, sizes: &[usize], now: Now) -> Vec<Probe> {
        let mut endpoints = self.endpoints.lock();
        let probes = endpoints.poll_probes(full, sizes, now.mono);
        self.follow_probes(&endpoints);
        probes
    }
    /// The path leads another way now: nothing is known of what it carries.
    pub fn forget_sizes(&self) {
        let mut endpoints = self.endpoints.lock();
        endpoints.forget_sizes();
        self.mtu.store(usize::MAX, Ordering::Relaxed);
        self.follow_probes(&endpoints);
    }
    /// The answer to one of those.
    pub fn carried(&self, nonce: u64, now: Now) -> bool {
        let mut endpoints = self.endpoints.lock();
        let ours = endpoints.handle_size(nonce, now.mono);
        self.follow_probes(&endpoints);
        ours
    }
    fn follow_probes(&self, endpoints: &Endpoints) {
        self.probed.store(endpoints.limit().unwrap_or(usize::MAX), Ordering::Relaxed);
    }
    /// Another path has another MTU.
    fn forget_mtu_if(&self, moved: bool) -> bool {
        if moved {
            self.set_mtu(usize::MAX);
            self.probed.store(usize::MAX, Ordering::Relaxed);
        }
        moved
    }
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints.lock().clone()
    }

    /// This host has slept.
    pub fn resumed(&self, now: Now) {
        self.endpoints.lock().handle_resumed(now.mono);
    }

    /// Questions about the path, if it is time for some; `usable` relays as [`Endpoints::set_relays`] has it. A better place may
    /// be taken. And relays that are to be asked at once, as [`Endpoints::poll_hurried`] says.
    pub fn poll_pings(&self, usable: &Arc<[RelayId]>, now: Now) -> (Vec<Ping>, Vec<RelayId>) {
        let sent = self.sent().packets;
        let mut endpoints = self.endpoints.lock();
        let before = endpoints.current();
        endpoints.set_relays(usable, now.mono);
        let pings = endpoints.poll_pings(sent, now.mono);
        self.forget_mtu_if(endpoints.current() != before);
        (pings, endpoints.poll_hurried(now.mono))
    }
    /// An answer. True if the peer is sent to elsewhere now.
    pub fn answered(&self, nonce: u64, now: Now) -> bool {
        let moved = self.endpoints.lock().handle_pong(nonce, now.mono);
        self.forget_mtu_if(moved)
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
    pub fn count_stranded(&self) {
        self.stranded.fetch_add(1, Ordering::Relaxed);
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
