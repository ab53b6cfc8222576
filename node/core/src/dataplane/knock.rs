//! Two nodes behind NATs meet: each must have sent to the other's place outside before its own NAT lets the other in.
//!
//! Who gets no answer asks the coordinator to tell the peer (`waiting`), the peer shows itself at every place this node
//! may be at (`knocked`), and whoever tries again does so at every place, not only the likeliest. What arrives first makes
//! the session, and its source is the peer's place from then on. A silent session says a keepalive before a NAT or a firewall
//! forgets it (nobody knows whether there is a firewall), for as long as its keys live: a WireGuard node that keeps silent for longer is found again in the same way.
//!
//! Nobody can be aimed at anybody with it: a peer is tried at [`crate::path::MAX_CANDIDATES`] places at most, once a second,
//! all peers together a few times a second, and one address that nobody has answered at as [`super::aim`] says, whatever the
//! coordinator says.

use std::time::Duration;

use warren_wire::id::NodeId;

use super::outbox::Way;
use super::{DataPlane, Outbox};
use crate::clock::{Mono, Now};
use crate::path::{Endpoints, Place};
use crate::peers::{Lane, Peer, Snapshot, Use};
use crate::session::message::Message;
use crate::session::{Engine, MAX_CONTROL, Segments, Session as _, Sink, Stats};

/// Peers that wait to be knocked at, until control takes them.
const WAITING: usize = 256;
/// Between two knocks at one peer.
const KNOCK_MS: u64 = 5_000;
/// Between two shows for one peer.
const SHOW_MS: u64 = 1_000;
/// Shows for all peers that may come at once, and how many more a second.
const SHOWS: u64 = 64;
const SHOWS_PER_SECOND: u64 = 16;
/// A NAT may forget a silent mapping after half a minute.
const SILENCE_MS: u64 = 20_000;
/// Keys older than this are not used any more (WireGuard paper, section 6.1).
const LIVE: Duration = Duration::from_secs(180);

/// Keeps what timers write, so that it can be sent to more than one place.
pub(super) struct Kept {
    room: [u8; MAX_CONTROL],
    messages: Vec<Vec<u8>>,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { room: [0; MAX_CONTROL], messages: Vec::new() }
    }
}

impl Sink for Kept {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        (need <= MAX_CONTROL).then_some(&mut self.room)
    }
    fn data(&mut self, len: usize) {
        self.control(len);
    }
    fn control(&mut self, len: usize) {
        self.messages.extend(self.room.get(..len).map(<[u8]>::to_vec));
    }
}

/// How much this node may still show itself.
#[derive(Debug, Default)]
pub(super) struct Shows {
    last: Mono,
    /// In thousandths.
    owed: u64,
}

impl Shows {
    fn take(&mut self, now: Mono) -> bool {
        let paid = now.millis_since(self.last).saturating_mul(SHOWS_PER_SECOND);
        self.owed = self.owed.saturating_sub(paid);
        self.last = now;
        let ok = self.owed + 1000 <= SHOWS * 1000;
        self.owed += if ok { 1000 } else { 0 };
        ok
    }
}

/// A keepalive.
struct Empty;

impl Segments for Empty {
    fn each(&mut self, mut seal: impl FnMut(&[u8])) {
        seal(&[]);
    }
}

impl<E: Engine> DataPlane<E> {
    /// To where the peer is believed to be; an initiation, if it is `lost`, to everywhere it may be, and if nothing is proven
    /// yet, also over the relay.
    pub(super) fn send_kept(&self, kept: &Kept, peer: &Peer<E>, lost: bool, out: &mut Outbox, now: Now) {
        let (current, spares) = self.ways(peer, now);
        if kept.messages.is_empty() {
            return;
        }
        let likely: Vec<Way> = current.into_iter().chain(spares).collect();
        let ways = match lost {
            true => self.everywhere(peer, now),
            false => likely,
        };
        for message in &kept.messages {
            let everywhere = matches!(Message::parse(message), Some(Message::Initiation));
            let few = if everywhere { ways.len() } else { 1 };
            ways.iter().take(few).for_each(|way| out.to(way.clone()).control_bytes(message));
        }
    }

    /// As often as an address may be tried that somebody has only named.
    fn everywhere(&self, peer: &Peer<E>, now: Now) -> Vec<Way> {
        let places = peer.link.endpoints();
        let may = |place: &Place| self.may_try(&places, *place, now);
        places.places().into_iter().filter(may).filter_map(|place| self.way(place)).collect()
    }

    pub(super) fn may_try(&self, places: &Endpoints, place: Place, now: Now) -> bool {
        let hint = place.direct().filter(|_| places.is_hint(place));
        hint.is_none_or(|to| self.aim.lock().may(to, now.mono))
    }

    /// Peers that do not answer, since the last call: the coordinator may tell them.
    pub fn take_waiting(&self) -> Vec<NodeId> {
        self.waiting.lock().drain(..).collect()
    }

    /// `peer` wants to talk and is not heard: shows it this node, at every place it may be at. False if it is no peer, or
    /// was shown just now, or this node has shown itself too often.
    pub fn knocked(&self, peer: NodeId, out: &mut Outbox, now: Now) -> bool {
        let snapshot = self.snapshot.load();
        let Some(peer) = snapshot.peer(&peer).filter(|peer| peer.link.may_show(now, SHOW_MS)) else {
            return false;
        };
        let Some(lane) = peer.send_lane(0).filter(|_| self.shows.lock().take(now.mono)) else { return false };
        let mut kept = Kept::default();
        lane.with(&snapshot.engine, Use::Create, now, |session| session.initiate_anew(&mut kept, now));
        self.send_kept(&kept, peer, true, out, now);
        true
    }

    /// This host has slept ([`crate::suspend`]): peers with live flows hear from it at once, at every place they may be at, since either
    /// end may be elsewhere now. As many as may be shown at once; the others with their next packet. Returns how many.
    pub fn resumed(&self, out: &mut Outbox, now: Now) -> usize {
        let snapshot = self.snapshot.load();
        let awake = self.awake.nodes();
        awake.iter().filter_map(|node| snapshot.peer(node)).for_each(|peer| peer.link.resumed(now));
        awake.into_iter().filter(|node| self.knocked(*node, out, now)).count()
    }

    /// After the timers of the lane on which this node sends.
    pub(super) fn after_timers(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        lane: &Lane<E>,
        stats: &Stats,
        out: &mut Outbox,
        now: Now,
    ) {
        if stats.pending {
            // Seen without an answer before: so it is not just on its way.
            if lane.known_unanswered() > 0 && peer.agent && peer.link.may_knock(now, KNOCK_MS) {
                let mut waiting = self.waiting.lock();
                if waiting.len() < WAITING {
                    waiting.push_back(peer.node);
                }
            }
        } else if stats.handshake_age.is_some_and(|age| age < LIVE)
            && peer.link.is_silent_for(SILENCE_MS, now)
        {
            self.keep_open(snapshot, peer, lane, out, now);
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one private step of `after_timers`, cut out only for its length"
    )]
    fn keep_open(&self, snapshot: &Snapshot<E>, peer: &Peer<E>, lane: &Lane<E>, out: &mut Outbox, now: Now) {
        let Some(way) = self.ways(peer, now).0 else { return };
        lane.with(&snapshot.engine, Use::Existing, now, |session| {
            session.seal(&mut Empty, &mut out.to(way), now);
        });
        peer.link.spoke(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The coordinator could name the same place for every peer.
    #[test]
    fn however_many_peers_knock_a_node_shows_itself_a_few_times() {
        let mut shows = Shows::default();
        let mut now = Mono::from_millis(1_000_000);
        let mut taken = |now| (0..1000).filter(|_| shows.take(now)).count() as u64;
        assert_eq!(taken(now), SHOWS);
        for _ in 0..3 {
            now = now.plus_millis(1000);
            assert_eq!(taken(now), SHOWS_PER_SECOND);
        }
        assert_eq!(taken(now.plus_secs(3600)), SHOWS, "nothing is saved up");
    }
}
