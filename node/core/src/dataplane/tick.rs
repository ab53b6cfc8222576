//! Everything that happens because time passes: session timers, other places to try, flows that end.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{DataPlane, Outbox, Wake};
use crate::clock::{Mono, Now};
use crate::peers::{Lane, Peer, Snapshot, Use};
use crate::session::{Engine, MAX_CONTROL, Session as _, Sink};

/// Flows and idle sessions are looked at this often.
const SWEEP_MS: u64 = 500;
/// A handshake that begins on a worker is noticed at the latest after this time.
const LONGEST_SLEEP_MS: u64 = 250;
/// Every second unanswered initiation, the next place is tried.
const TRIES_PER_ENDPOINT: u32 = 2;

impl<E: Engine> DataPlane<E> {
    /// Timers of sessions, flows and tables. One caller at a time. Afterwards send `out.transmits()` and write
    /// [`DataPlane::take_frames`] to the TUN.
    pub fn tick(&self, out: &mut Outbox, now: Now) -> Wake {
        let snapshot = self.snapshot.load();
        let mut wake = Wake { at: now.mono.plus_millis(LONGEST_SLEEP_MS), why: "new handshakes" };
        for peer in &snapshot.peers {
            for (at, lane) in peer.lanes.iter().enumerate() {
                if lane.deadline().is_some_and(|due| due <= now.mono) {
                    self.run_timers(&snapshot, peer, lane, peer.sends_on(at), out, now);
                }
                if let Some(at) = lane.deadline().filter(|due| *due < wake.at) {
                    wake = Wake { at, why: "session timers" };
                }
            }
        }
        out.flush();
        let sweep = self.sweep(&snapshot, now);
        if sweep < wake.at { Wake { at: sweep, why: "flows" } } else { wake }
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
        let endpoint = peer.link.endpoint();
        let stats = lane.with(&snapshot.engine, Use::Existing, now, |session| {
            match endpoint {
                Some(to) => session.tick(&mut out.to(to), now),
                None => session.tick(&mut Nowhere::default(), now),
            }
            session.stats(now)
        });
        let Some(stats) = stats else { return };
        let tried = lane.newly_unanswered(stats.unanswered).filter(|_| sends);
        if tried.is_some_and(|n| n % TRIES_PER_ENDPOINT == 0) {
            peer.link.unanswered(now);
        }
        if stats.idle {
            lane.forget_idle(now);
        }
    }

    fn sweep(&self, snapshot: &Snapshot<E>, now: Now) -> Mono {
        let mut next = self.next_sweep.lock();
        if *next > now.mono {
            return *next;
        }
        *next = now.mono.plus_millis(SWEEP_MS);
        for peer in &snapshot.peers {
            // A newer snapshot has judged them meanwhile: the next sweep is by that one.
            let Some(mut flows) = peer.link.flows_at(snapshot.serial) else { continue };
            if flows.poll_timeout().is_some_and(|at| at <= now.mono) {
                let cuts = flows.handle_timeout(&snapshot.ends(peer), now);
                drop(flows);
                self.after_cuts(snapshot, peer, &cuts, now);
            }
        }
        *next
    }
}

/// For a peer whose place nobody knows: timers run, nothing is sent.
struct Nowhere([u8; MAX_CONTROL * 16]);

impl Default for Nowhere {
    fn default() -> Nowhere {
        Nowhere([0; MAX_CONTROL * 16])
    }
}

impl Sink for Nowhere {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        (need <= self.0.len()).then_some(&mut self.0)
    }
    fn data(&mut self, _len: usize) {}
    fn control(&mut self, _len: usize) {}
}

impl<E: Engine> DataPlane<E> {
    /// Where a peer is believed to be.
    pub fn endpoint(&self, peer: warren_wire::id::NodeId) -> Option<SocketAddr> {
        self.snapshot.load().peers.iter().find(|p| p.node == peer)?.link.endpoint()
    }
}
