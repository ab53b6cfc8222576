//! The table itself: a slab of flows, an index by key, one timer a flow, and turns that say who goes first when room is
//! needed.
//!
//! The way of a packet of a known flow costs one comparison (same flow as the last packet) or one hash look-up, and
//! allocates nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use warren_config::filter::Verdict;
use warren_config::subnet::Behind;
use warren_wire::flow::{FlowEnd, FlowRecord};
use warren_wire::id::NodeId;

use super::flow::{Admission, Flow, FlowKey, Traffic, Way};
use super::fragments::Fragments;
use super::limits::{Bucket, Limits};
use super::records::Records;
use super::tcp::{TcpState, TcpTrack};
use super::turns::{self, Turns};
use super::{Cut, Drained, Ends, FlowIds, Load};
use crate::clock::{Mono, Now};
use crate::packet::{DropReason, Kind, Packet};

/// How long a cut flow is remembered, so that late packets are dropped by their right name.
const TOMBSTONE_SECS: u64 = 60;
const MAX_TOMBSTONES: usize = 4096;
/// A table with room for so many flows is not worth making smaller.
const KEPT_ROOM: usize = 1024;
/// Answers to the local host per second: a port scan still hears of every port, a flood costs little.
const REPLIES_PER_SECOND: u64 = 5000;
/// ICMP errors let through per second.
const ERRORS_PER_SECOND: u64 = 50;

#[derive(Debug)]
pub struct FlowTable {
    pub(super) peer: NodeId,
    ids: Arc<FlowIds>,
    pub(super) limits: Limits,
    index: HashMap<FlowKey, usize>,
    pub(super) slots: Vec<Option<Flow>>,
    free: Vec<usize>,
    /// Where the last packet's flow is.
    recent: Option<(FlowKey, usize)>,
    timers: BinaryHeap<Reverse<(Mono, u64, usize)>>,
    turns: Turns,
    dirty: VecDeque<(usize, u64)>,
    records: Records,
    cuts: Vec<Cut>,
    tombstones: HashMap<FlowKey, Mono>,
    pub(crate) fragments: Fragments,
    pub(crate) replies: Bucket,
    pub(crate) errors: Bucket,
}

impl FlowTable {
    pub fn new(peer: NodeId, ids: Arc<FlowIds>, limits: Limits) -> FlowTable {
        FlowTable {
            peer,
            ids,
            limits,
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            recent: None,
            timers: BinaryHeap::new(),
            turns: Turns::default(),
            dirty: VecDeque::new(),
            records: Records::new(peer, limits.records, limits.refusals),
            cuts: Vec::new(),
            tombstones: HashMap::new(),
            fragments: Fragments::new(limits.fragments),
            replies: Bucket::new(REPLIES_PER_SECOND),
            errors: Bucket::new(ERRORS_PER_SECOND),
        }
    }

    /// Live flows.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Flows that there is room for without asking for more.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.slots.capacity().max(self.index.capacity() / 2).max(self.timers.capacity() / 4)
    }

    /// Every live flow with all it has carried since this agent knows it, oldest first. For people, not for reports.
    pub fn flows(&self) -> Vec<FlowRecord> {
        let live = self.slots.iter().flatten();
        let mut flows: Vec<FlowRecord> =
            live.map(|flow| self.records.of_flow(flow, flow.total, FlowEnd::Open)).collect();
        flows.sort_by_key(|record| record.flow);
        flows
    }

    /// Judges every live flow again, whatever its edition. Those no longer allowed are removed and returned. With empty
    /// rules (a revoked peer, a freshness run out) that is all of them.
    pub fn rejudge(&mut self, ends: &Ends<'_>, now: Now) -> Vec<Cut> {
        for slot in 0..self.slots.len() {
            if self.flow(slot).is_some() {
                self.judge_again(slot, ends, now);
            }
        }
        self.take_cuts()
    }

    /// Removes what is over; a flow whose `until` has come is judged again. What is held beyond the table's part is given
    /// up, as far as it does not last.
    pub fn handle_timeout(&mut self, ends: &Ends<'_>, now: Now) -> Vec<Cut> {
        while let Some(Reverse((at, id, slot))) = self.timers.peek().copied() {
            if at > now.mono {
                break;
            }
            self.timers.pop();
            if self.flow(slot).is_some_and(|flow| flow.id == id && flow.timer == at) {
                self.handle_flow_timeout(slot, ends, now);
            }
        }
        while self.is_greedy() && self.give_way() {}
        self.fragments.expire(now.mono);
        self.tombstones.retain(|_, until| *until > now.mono);
        self.shrink();
        self.take_cuts()
    }

    /// Gives back the room of a flood: flows move together when less than a quarter of the slots is used. Costs as much as
    /// there are slots, so it pays for itself before it can happen again.
    fn shrink(&mut self) {
        self.shrink_what_ends_later();
        if self.slots.len() <= KEPT_ROOM || self.index.len() > self.slots.len() / 4 {
            return;
        }
        let live = self.index.len();
        let mut places = vec![usize::MAX; self.slots.len()];
        let mut slots = Vec::with_capacity(2 * live);
        for (flow, place) in std::mem::take(&mut self.slots).into_iter().zip(&mut places) {
            if flow.is_some() {
                *place = slots.len();
                slots.push(flow);
            }
        }
        let place_of = |slot: &usize| places.get(*slot).copied().filter(|place| *place != usize::MAX);
        self.slots = slots;
        self.free = Vec::new();
        self.recent = None;
        self.index.values_mut().for_each(|slot| *slot = place_of(slot).unwrap_or(usize::MAX));
        self.index.shrink_to_fit();
        let moved = |Reverse((at, id, slot))| Some(Reverse((at, id, place_of(&slot)?)));
        self.timers = std::mem::take(&mut self.timers).into_iter().filter_map(moved).collect();
        // Collected in place, with the room of before.
        self.timers.shrink_to_fit();
        self.turns.move_to(place_of);
        turns::move_to(&mut self.dirty, place_of);
        self.fragments.shrink();
    }

    /// What a cut flow leaves is remembered for a minute, when its slot has long been given back.
    fn shrink_what_ends_later(&mut self) {
        if self.tombstones.capacity() > KEPT_ROOM && self.tombstones.len() < self.tombstones.capacity() / 4 {
            self.tombstones.shrink_to(2 * self.tombstones.len());
        }
        if self.cuts.is_empty() && self.cuts.capacity() > KEPT_ROOM {
            self.cuts = Vec::new();
        }
    }

    fn handle_flow_timeout(&mut self, slot: usize, ends: &Ends<'_>, now: Now) {
        let Some(flow) = self.flow(slot) else { return };
        if flow.deadline() <= now.mono {
            let end = idle_end(flow);
            return self.remove(slot, end);
        }
        if flow.admission.until.is_some_and(|until| until <= now.wall()) && !self.readmit(slot, ends, now) {
            return;
        }
        self.schedule(slot, now, true);
    }

    /// Ends every flow with a host behind the peer, which leads there no more.
    pub fn leave(&mut self, beyond: &Behind, now: Now) -> Vec<Cut> {
        for slot in 0..self.slots.len() {
            if self.flow(slot).is_some_and(|flow| beyond.has(flow.key.remote)) {
                self.cut(slot, now);
            }
        }
        self.take_cuts()
    }

    /// When [`FlowTable::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// Nothing lives here, and nothing is left to tell, to remember or to hold somebody to.
    pub(crate) fn is_still(&self, now: Mono) -> bool {
        let untold = !self.cuts.is_empty() || !self.records.is_empty();
        let remembered = !self.tombstones.is_empty() || !self.fragments.is_empty();
        self.is_empty() && !untold && !remembered && self.replies.is_full(now) && self.errors.is_full(now)
    }

    /// Flows that the judge itself cut since the last call, when a packet met rules of a newer edition.
    pub fn take_cuts(&mut self) -> Vec<Cut> {
        std::mem::take(&mut self.cuts)
    }

    /// Records of flows that had traffic or ended, and of refused tries, since the last call. Call at least every
    /// second.
    pub fn drain_records(&mut self) -> Drained {
        for (slot, id) in std::mem::take(&mut self.dirty) {
            if let Some(flow) = self.slots.get_mut(slot).and_then(Option::as_mut).filter(|flow| flow.id == id)
            {
                flow.dirty = false;
                if !flow.window.is_empty() {
                    self.records.close_window(flow, FlowEnd::Open);
                }
            }
        }
        self.records.drain()
    }

    pub(super) fn flow(&self, slot: usize) -> Option<&Flow> {
        self.slots.get(slot).and_then(Option::as_ref)
    }

    /// The slot of a flow that is alive at `now`.
    pub(crate) fn find(&mut self, key: &FlowKey, now: Now) -> Option<usize> {
        let slot = match &self.recent {
            Some((recent, slot)) if recent == key => *slot,
            _ => *self.index.get(key)?,
        };
        let flow = self.flow(slot)?;
        if flow.deadline() <= now.mono {
            let end = idle_end(flow);
            self.remove(slot, end);
            return None;
        }
        self.recent = Some((*key, slot));
        Some(slot)
    }

    /// Was a flow with this key cut a short time ago?
    pub(crate) fn was_cut(&self, key: &FlowKey, now: Now) -> bool {
        self.tombstones.get(key).is_some_and(|until| *until > now.mono)
    }

    /// Makes sure that the flow's verdict is of this edition. False: it is not allowed any more, and was cut.
    pub(crate) fn readmit(&mut self, slot: usize, ends: &Ends<'_>, now: Now) -> bool {
        let stands = self.flow(slot).is_some_and(|flow| flow.admission.stands(ends.edition, now));
        stands || self.judge_again(slot, ends, now)
    }

    fn judge_again(&mut self, slot: usize, ends: &Ends<'_>, now: Now) -> bool {
        let Some(flow) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return false };
        let opener = if flow.outbound { Way::Out } else { Way::In };
        let verdict = match ends.have(flow.key.local, flow.key.remote) {
            true => ends.judge(&flow.tuple(), opener, now.wall()),
            false => Verdict::Deny,
        };
        if !verdict.passes() {
            match flow.is_over() {
                // Both sides had closed it already: nobody is left to be told.
                true => {
                    let end = idle_end(flow);
                    self.remove(slot, end);
                }
                false => self.cut(slot, now),
            }
            return false;
        }
        let admission = Admission::of(verdict, ends.edition);
        // What has passed belongs to the grant that let it pass.
        if !flow.window.is_empty() && admission != flow.admission {
            self.records.close_window(flow, FlowEnd::Open);
        }
        flow.admission = admission;
        self.schedule(slot, now, false);
        true
    }

    /// One packet of a known flow passed.
    pub(crate) fn observe(&mut self, slot: usize, packet: &Packet, way: Way, load: Load, now: Now) {
        let Some(flow) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        let before = flow.standing();
        flow.observe(packet, way, load, now);
        let (entry, standing) = ((slot, flow.id), flow.standing());
        let is_shorter = flow.deadline() < flow.timer;
        self.mark_dirty(slot);
        if is_shorter {
            self.schedule(slot, now, false);
        }
        if standing != before {
            self.turns.enter(entry, standing, &self.slots, self.limits.flows);
        }
    }

    /// A packet that belongs to a flow without being a part of its dialogue: it keeps nothing alive.
    pub(crate) fn account(&mut self, slot: usize, way: Way, load: Load, now: Now) {
        if let Some(flow) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            let from_opener = flow.outbound == (way == Way::Out);
            flow.account(from_opener, load, now);
            self.mark_dirty(slot);
        }
    }

    fn mark_dirty(&mut self, slot: usize) {
        if let Some(flow) = self.slots.get_mut(slot).and_then(Option::as_mut)
            && !flow.dirty
        {
            flow.dirty = true;
            let entry = (slot, flow.id);
            turns::push_bounded(&mut self.dirty, entry, &self.slots, self.limits.flows, |flow| flow.dirty);
        }
    }

    /// May a dead flow's key be used again? True if nothing lives there any more.
    pub(crate) fn reuse(&mut self, slot: usize) -> bool {
        let over = self.flow(slot).is_some_and(Flow::is_over);
        if over {
            let end = self.flow(slot).map_or(FlowEnd::Closed, idle_end);
            self.remove(slot, end);
        }
        over
    }

    /// May this SYN without ACK go on in the flow? From its opener always; from the other side only where both have sent
    /// their first SYN before they saw the other's (RFC 9293 section 3.5), and its side may open this flow too.
    pub(crate) fn may_open_again(
        &self,
        slot: usize,
        packet: &Packet,
        way: Way,
        ends: &Ends<'_>,
        now: Now,
    ) -> bool {
        let Some(flow) = self.flow(slot) else { return false };
        if flow.outbound == (way == Way::Out) {
            return true;
        }
        let crosses = flow.tcp.is_some_and(|tcp| tcp.state == TcpState::SynSent);
        crosses && ends.judge(&packet.tuple, way, now.wall()).passes()
    }

    pub(crate) fn may_have_sent(&self, slot: usize, way: Way, seq: u32) -> bool {
        let Some(flow) = self.flow(slot) else { return false };
        flow.tcp.is_none_or(|tcp| tcp.may_have_sent(flow.outbound == (way == Way::Out), seq))
    }

    /// A new flow, or the reason why not. The try is recorded, or counted as lost to the records.
    pub(crate) fn open(
        &mut self,
        key: FlowKey,
        packet: &Packet,
        way: Way,
        load: Load,
        ends: &Ends<'_>,
        now: Now,
    ) -> Result<(), DropReason> {
        let outbound = way == Way::Out;
        let verdict = ends.judge(&packet.tuple, way, now.wall());
        let admission = Admission::of(verdict, ends.edition);
        if !verdict.passes() {
            let id = self.ids.next();
            let first = self.records.refuse(id, outbound, packet.tuple, &admission, load, now);
            // At its first packet, before it is answered: soon its socket will be gone.
            if outbound && first {
                self.ids.openings().tell(|| key.question(id, outbound));
            }
            return Err(DropReason::Denied);
        }
        if !self.make_room() {
            self.records.lose(load);
            return Err(DropReason::TableFull);
        }
        let tcp = match packet.kind {
            Kind::Tcp(tcp) => Some(TcpTrack::new(&tcp)),
            _ => None,
        };
        let slot = self.insert(Flow {
            key,
            id: self.ids.next(),
            outbound,
            admission,
            tcp,
            replied: false,
            lasts: false,
            local_sent: outbound,
            began: now.mono,
            started_ms: now.wall_ms,
            last_ms: now.wall_ms,
            last: now.mono,
            window: Traffic::default(),
            total: Traffic::default(),
            recorded: false,
            dirty: false,
            timer: Mono(u64::MAX),
        });
        self.account(slot, way, load, now);
        self.schedule(slot, now, false);
        if let Some(flow) = self.flow(slot) {
            self.ids.openings().tell(|| flow.key.question(flow.id, outbound));
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, flow: Flow) -> usize {
        let (key, id, standing) = (flow.key, flow.id, flow.standing());
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(flow);
        }
        self.index.insert(key, slot);
        if self.index.len() > self.limits.share {
            self.ids.take();
        }
        self.tombstones.remove(&key);
        self.turns.enter((slot, id), standing, &self.slots, self.limits.flows);
        slot
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.next()
    }

    fn make_room(&mut self) -> bool {
        let flows = self.index.len();
        let may_grow =
            flows < self.limits.flows && (flows < self.limits.share || self.held() < self.ids.part());
        if may_grow {
            return true;
        }
        let made = self.give_way();
        // Two go for one that comes, so a table that holds too much comes down while it is used.
        if self.is_greedy() {
            self.give_way();
        }
        made
    }

    /// Flows beyond the table's own share.
    fn held(&self) -> usize {
        self.index.len().saturating_sub(self.limits.share)
    }

    /// Holds more of the common room than would be given to it now.
    pub(crate) fn is_greedy(&self) -> bool {
        self.held() > self.ids.part()
    }

    /// One flow ends to make room, unless all of them last.
    fn give_way(&mut self) -> bool {
        let Some(slot) = self.turns.first(&self.slots) else { return false };
        self.remove(slot, FlowEnd::Evicted);
        true
    }

    fn cut(&mut self, slot: usize, now: Now) {
        let Some(flow) = self.flow(slot) else { return };
        let (key, cut) = (flow.key, Cut::of(flow));
        self.remove(slot, FlowEnd::Cut);
        if self.tombstones.len() < MAX_TOMBSTONES {
            self.tombstones.insert(key, now.mono.plus_secs(TOMBSTONE_SECS));
        }
        // Nobody has fetched them for long: the first ones matter least.
        if self.cuts.len() < self.limits.flows {
            self.cuts.push(cut);
        }
    }

    fn remove(&mut self, slot: usize, end: FlowEnd) {
        let Some(mut flow) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        self.records.close_window(&mut flow, end);
        if self.index.len() > self.limits.share {
            self.ids.give_back(1);
        }
        self.index.remove(&flow.key);
        self.recent = None;
        self.free.push(slot);
    }

    /// Sets the flow's timer if it should fire earlier than it would, or (`again`) has just fired.
    pub(super) fn schedule(&mut self, slot: usize, now: Now, again: bool) {
        let Some(flow) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        let at = flow.next_timer(now);
        if again || at < flow.timer {
            flow.timer = at;
            let entry = Reverse((at, flow.id, slot));
            if self.timers.len() >= self.limits.flows.saturating_mul(4).max(64) {
                let slots = &self.slots;
                self.timers.retain(|Reverse((at, id, slot))| {
                    turns::is_valid(slots, &(*slot, *id), |flow| flow.timer == *at)
                });
            }
            self.timers.push(entry);
        }
    }
}

impl Drop for FlowTable {
    fn drop(&mut self) {
        self.ids.give_back(self.index.len().saturating_sub(self.limits.share));
    }
}

fn idle_end(flow: &Flow) -> FlowEnd {
    match flow.tcp.map(|tcp| tcp.state) {
        Some(TcpState::Closed) => FlowEnd::Closed,
        Some(TcpState::Reset) => FlowEnd::Reset,
        _ => FlowEnd::Idle,
    }
}
