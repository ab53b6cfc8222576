//! Everything that happens because time passes: session timers, other places to try, flows that end.

use std::sync::Arc;

use warren_wire::id::NodeId;

use super::knock::Kept;
use super::{DataPlane, Outbox, Wake};
use crate::clock::{Mono, Now};
use crate::path::{Endpoints, Place};
use crate::peers::{Lane, Peer, Snapshot, Use};
use crate::session::{Engine, Session as _};

/// Flows and idle sessions are looked at this often.
const SWEEP_MS: u64 = 500;
/// A handshake that begins on a worker is noticed at the latest after this time.
const LONGEST_SLEEP_MS: u64 = 250;
/// Timers of many sessions are run together. Nothing of the protocol is finer than this.
const SHORTEST_SLEEP_MS: u64 = 20;
/// Every second unanswered initiation, the next place is tried.
const TRIES_PER_ENDPOINT: u32 = 2;

impl<E: Engine> DataPlane<E> {
    /// Timers of sessions, flows and tables. One caller at a time. Afterwards send `out.transmits()` and write
    /// [`DataPlane::take_frames`] to the TUN.
    pub fn tick(&self, out: &mut Outbox, now: Now) -> Wake {
        // In this order: a lane that has a turn is in the snapshot, or gone.
        let due = self.agenda.take_due(now.mono);
        let snapshot = self.snapshot.load();
        for turn in due {
            let Some(place) = snapshot.place_of_index(turn.index) else { continue };
            let Some((peer, lane)) = snapshot.lane(place).filter(|(_, lane)| lane.waits_for(turn)) else {
                continue;
            };
            if lane.deadline().is_some_and(|due| due <= now.mono) {
                self.run_timers(&snapshot, peer, lane, peer.sends_on(place.lane), out, now);
            }
            lane.ask_again();
        }
        drop(snapshot);
        let sweep = self.sweep(out, now);
        let relay = self.tend_berths(out, now);
        out.flush();
        self.next_wake(sweep, relay, now)
    }

    fn next_wake(&self, sweep: Mono, relay: Mono, now: Now) -> Wake {
        let soonest = now.mono.plus_millis(SHORTEST_SLEEP_MS);
        let session = self.agenda.next().map_or(Mono(u64::MAX), |at| at.max(soonest));
        let new = now.mono.plus_millis(LONGEST_SLEEP_MS);
        let wakes =
            [(session, "session timers"), (sweep, "flows"), (relay, "the relays"), (new, "new handshakes")];
        let (at, why) = wakes.into_iter().min_by_key(|(at, _)| *at).unwrap_or((new, "new handshakes"));
        Wake { at, why }
    }

    /// How many lanes and how many links are looked at while time passes. The others cost nothing.
    pub fn awake(&self) -> (usize, usize) {
        (self.agenda.turns().len(), self.awake.nodes().len())
    }

    /// The slow judge of [`DataPlane::tick`]: peers with something to do that it will never look at. There are none.
    pub fn overlooked(&self, now: Now) -> Vec<NodeId> {
        let (snapshot, turns) = (self.snapshot.load(), self.agenda.turns());
        let lost = |peer: &&Peer<E>| {
            peer.link.is_overlooked(now) || peer.lanes.iter().any(|lane| lane.is_overlooked(&turns))
        };
        snapshot.peers.iter().filter(lost).map(|peer| peer.node).collect()
    }

    fn run_timers(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        lane: &Arc<Lane<E>>,
        sends: bool,
        out: &mut Outbox,
        now: Now,
    ) {
        let mut kept = Kept::default();
        let stats = lane.with(&snapshot.engine, Use::Existing, now, |session| {
            session.tick(&mut kept, now);
            session.stats(now)
        });
        let Some(stats) = stats else { return };
        if sends {
            self.after_timers(snapshot, peer, lane, &stats, out, now);
        }
        let tried = lane.newly_unanswered(stats.unanswered).filter(|_| sends);
        self.send_kept(&kept, peer, tried.is_some_and(|n| n > 1), out, now);
        if tried.is_some_and(|n| n % TRIES_PER_ENDPOINT == 0) {
            peer.link.unanswered(now);
        }
        if stats.idle {
            lane.forget_idle(now);
        }
    }

    fn sweep(&self, out: &mut Outbox, now: Now) -> Mono {
        let mut next = self.next_sweep.lock();
        if *next > now.mono {
            return *next;
        }
        *next = now.mono.plus_millis(SWEEP_MS);
        let awake = self.awake.nodes();
        let snapshot = self.snapshot.load();
        for peer in awake.iter().filter_map(|node| snapshot.peer(node)) {
            // If a newer snapshot has judged them meanwhile, the next sweep is by that one.
            let cuts = peer.link.handle_timeout(snapshot.serial, &snapshot.ends(peer), now);
            self.after_cuts(&snapshot, peer, &cuts, now);
            self.ask_about_paths(&snapshot, peer, out, now);
        }
        self.feel_gateways(&snapshot, out, now);
        *next
    }
}

impl<E: Engine> DataPlane<E> {
    /// Where a peer may be, where it was, and why that changed.
    pub fn whereabouts(&self, peer: NodeId) -> Option<Endpoints> {
        Some(self.snapshot.load().peer(&peer)?.link.endpoints())
    }

    /// Where a peer is believed to be.
    pub fn endpoint(&self, peer: NodeId) -> Option<Place> {
        self.snapshot.load().peer(&peer)?.link.endpoint()
    }
}
