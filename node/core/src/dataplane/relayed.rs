//! The ways over relays, and the words by which two nodes find out which way works.
//!
//! A peer that is told with a seat can be reached at every relay where this node has a berth of its own that is answered
//! ([`crate::berth`]). A handshake with a peer of whose place nothing is proven goes over the two nearest relays as well: what
//! arrives first is answered, so the first packet waits for no timeout. When a path is to be left for another is [`crate::path`]'s to
//! say; the questions it wants asked are words inside the tunnel, sent over the path they ask about.

use std::net::SocketAddr;
use std::sync::Arc;

use warren_wire::frame::Seated;
use warren_wire::id::RelayId;
use warren_wire::relay::{self, HEAD};

use super::egress::padded;
use super::outbox::Way;
use super::{DataPlane, Event, Outbox};
use crate::berth::Standing;
use crate::clock::{Mono, Now};
use crate::packet::word;
use crate::path::Place;
use crate::peers::{Peer, Snapshot};
use crate::session::{Engine, Sink as _};

/// First byte of a word about paths; a word of the coordinator begins otherwise ([`warren_wire::signed`]: a field's tag).
const ABOUT_PATHS: u8 = 0xff;
const PING: u8 = 1;
const PONG: u8 = 2;
const PROBE: u8 = 3;
const CARRIED: u8 = 4;
const USED: u8 = 5;

/// What a word about paths says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathWord {
    Ping(u64),
    /// A question about the path that its sender uses.
    Used(u64),
    Pong(u64),
    /// It was padded to the size it asks about.
    Probe(u64),
    Carried(u64),
}

impl PathWord {
    /// What is said to it, if something is.
    pub(super) fn answer(self) -> Option<PathWord> {
        match self {
            PathWord::Ping(nonce) | PathWord::Used(nonce) => Some(PathWord::Pong(nonce)),
            PathWord::Probe(nonce) => Some(PathWord::Carried(nonce)),
            PathWord::Pong(_) | PathWord::Carried(_) => None,
        }
    }

    /// Does it come over the path that its sender uses?
    pub(super) fn is_use(self) -> bool {
        matches!(self, PathWord::Used(_) | PathWord::Probe(_))
    }
}

impl PathWord {
    fn write(self) -> [u8; 10] {
        let (kind, nonce) = match self {
            PathWord::Ping(nonce) => (PING, nonce),
            PathWord::Used(nonce) => (USED, nonce),
            PathWord::Pong(nonce) => (PONG, nonce),
            PathWord::Probe(nonce) => (PROBE, nonce),
            PathWord::Carried(nonce) => (CARRIED, nonce),
        };
        let [a, b, c, d, e, f, g, h] = nonce.to_be_bytes();
        [ABOUT_PATHS, kind, a, b, c, d, e, f, g, h]
    }

    pub(super) fn read(payload: &[u8]) -> Option<PathWord> {
        let [ABOUT_PATHS, kind, nonce @ ..] = payload else { return None };
        let nonce = u64::from_be_bytes(nonce.try_into().ok()?);
        match *kind {
            PING => Some(PathWord::Ping(nonce)),
            USED => Some(PathWord::Used(nonce)),
            PONG => Some(PathWord::Pong(nonce)),
            PROBE => Some(PathWord::Probe(nonce)),
            CARRIED => Some(PathWord::Carried(nonce)),
            _ => None,
        }
    }
}

/// What came in frames, and what each carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagrams<'a> {
    bytes: &'a [u8],
    stride: usize,
    /// Bytes in front of each that are not WireGuard's.
    head: usize,
}

impl<'a> Datagrams<'a> {
    pub(super) fn new(bytes: &'a [u8], stride: usize, relayed: bool) -> Datagrams<'a> {
        Datagrams { bytes, stride: stride.max(1), head: if relayed { HEAD } else { 0 } }
    }
    pub(super) fn each(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let head = self.head;
        self.bytes.chunks(self.stride).map(move |datagram| datagram.get(head..).unwrap_or_default())
    }
    pub(super) fn first(&self) -> &'a [u8] {
        self.each().next().unwrap_or_default()
    }
    pub(super) fn count(&self) -> u64 {
        self.bytes.len().div_ceil(self.stride) as u64
    }
    /// As they came.
    pub(super) fn whole(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<E: Engine> DataPlane<E> {
    /// Where this node sits from now on; a relay of no address is `here`, where the coordinator is. The same seat again changes
    /// nothing.
    pub fn set_berths(&self, seated: Option<&Seated>, here: Option<SocketAddr>) {
        self.berths.rcu(|berths| berths.seated(seated, here));
    }

    /// The relays this node sits at.
    pub fn berths(&self) -> Vec<Standing> {
        self.berths.load().standings()
    }

    /// After something has shown which relays answer, and how soon.
    fn reorder_berths(&self) {
        let reordered = self.berths.load().reordered();
        if reordered.is_some() {
            self.berths.rcu(|berths| berths.reordered().map_or_else(|| berths.clone(), Arc::new));
        }
    }

    /// This relay is reached in another way from now on (a door, or UDP again): it is asked at once, and what paths over it carry is
    /// found out anew.
    pub fn relay_moved(&self, relay: &RelayId, now: Now) {
        if let Some(berth) = self.berths.load().get(relay) {
            berth.ask_anew(now.mono);
        }
        let over = |place: Place| matches!(place, Place::Relayed(by, _) if by == *relay);
        for peer in &self.snapshot.load().peers {
            if peer.link.endpoint().is_some_and(over) {
                peer.link.forget_sizes();
            }
        }
    }

    /// How to get there; `None` while the relay on the way does not answer.
    pub(super) fn way(&self, place: Place) -> Option<Way> {
        match place {
            Place::Direct(to) => Some(Way::Direct(to)),
            Place::Relayed(relay, seat) => {
                let berths = self.berths.load();
                let berth = berths.get(&relay).filter(|berth| berth.is_up())?;
                Some(Way::Relayed(berth.clone(), seat))
            }
        }
    }

    /// How to get to a peer, and the ways that a handshake takes as well. Over relays that do not answer nobody is reached:
    /// then a direct place is tried.
    pub(super) fn ways(&self, peer: &Peer<E>, now: Now) -> (Option<Way>, Vec<Way>) {
        let usable = || self.berths.load().usable().clone();
        let (current, spares) = peer.link.endpoint_and_spares(usable, now);
        let way = current.and_then(|place| self.way(place));
        let way = match (current, way) {
            (Some(Place::Relayed(..)), None) => peer.link.leave_relay(now).and_then(|place| self.way(place)),
            (_, way) => way,
        };
        (way, spares.into_iter().filter_map(|spare| self.way(spare)).collect())
    }

    /// The underlay's address that datagrams for a place go to.
    pub(super) fn carrier(&self, place: Place) -> Option<SocketAddr> {
        match place {
            Place::Direct(to) => Some(to),
            Place::Relayed(relay, _) => self.berths.load().get(&relay).map(|berth| berth.at()),
        }
    }

    /// Who sent a frame, over which relay, and what it carries; for this node, or `None`.
    pub(super) fn read_frame<'a>(&self, from: SocketAddr, frame: &'a [u8]) -> Option<(Place, &'a [u8])> {
        let (relay, seat, carried) = self.berths.load().read(from, frame)?;
        Some((Place::Relayed(relay, seat), carried))
    }

    /// A relay's own word. True if it was one.
    pub(super) fn hear_relay(&self, place: Place, carried: &[u8], now: Now) -> bool {
        let Place::Relayed(relay, relay::Seat::RELAY) = place else { return false };
        let berths = self.berths.load();
        let expected = berths.get(&relay).is_some_and(|berth| berth.handle_answer(carried, now.mono));
        drop(berths);
        match expected {
            true => self.reorder_berths(),
            false => self.counters.event(Event::BadFrame, 1),
        }
        true
    }

    /// Asks the relays whether they are there, when that is due; so they also learn where this node is, and that it has new
    /// keys. Returns when to come again.
    pub fn tend_berths(&self, out: &mut Outbox, now: Now) -> Mono {
        let berths = self.berths.load();
        let (mut next, mut asked) = (Mono(u64::MAX), false);
        for berth in berths.all() {
            if let Some(question) = berth.poll_question(now.mono) {
                asked = true;
                out.to(berth.at()).control_bytes(&question);
            }
            next = next.min(berth.deadline());
        }
        drop(berths);
        if asked {
            self.reorder_berths();
        }
        next
    }

    /// Questions about the path to a peer, each over the path it asks about.
    pub(super) fn ask_about_paths(&self, snapshot: &Snapshot<E>, peer: &Peer<E>, out: &mut Outbox, now: Now) {
        if !peer.agent {
            return;
        }
        let berths = self.berths.load();
        let (pings, hurried) = peer.link.poll_pings(berths.usable(), now);
        hurried.iter().filter_map(|relay| berths.get(relay)).for_each(|berth| berth.hurry(now.mono));
        if pings.is_empty() {
            return;
        }
        let places = peer.link.endpoints();
        for ping in pings.into_iter().filter(|ping| self.may_try(&places, ping.to, now)) {
            let word = if ping.used { PathWord::Used(ping.nonce) } else { PathWord::Ping(ping.nonce) };
            self.say_path(snapshot, peer, word, ping.to, 0, out, now);
        }
    }

    /// Questions about the size of packets that paths carry, for peers with live flows. They must leave unfragmented: send them
    /// as the packets they stand for. Call it every half second or so.
    pub fn probe_sizes(&self, out: &mut Outbox, now: Now) {
        let snapshot = self.snapshot.load();
        for peer in self.awake.nodes().iter().filter_map(|node| snapshot.peer(node)).filter(|peer| peer.agent)
        {
            let Some(place) = peer.link.endpoint() else { continue };
            let Some(carrier) = self.carrier(place) else { continue };
            let sizes = super::narrow::ladder(carrier, place);
            let full = self.settings.mtu.min(peer.link.known_mtu());
            for probe in peer.link.poll_probes(full, &sizes, now) {
                self.say_path(&snapshot, peer, PathWord::Probe(probe.nonce), place, probe.size, out, now);
                // Each alone: a router may get a segmented batch whole, and drops all of it for one.
                out.flush();
            }
        }
    }

    /// The packet is made at least `size` bytes long.
    #[allow(clippy::too_many_arguments, reason = "one private step of several, cut out only for its length")]
    pub(super) fn say_path(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        word: PathWord,
        to: Place,
        size: usize,
        out: &mut Outbox,
        now: Now,
    ) {
        let common = snapshot.network.as_ref().map(|network| network.common_v6());
        let packet = common.and_then(|common| word::write(snapshot.mine.v6, common, &word.write()));
        let (Some(mut packet), Some(way)) = (packet, self.way(to)) else { return };
        packet.resize(padded(packet.len(), self.settings.mtu).max(size), 0);
        self.say(snapshot, peer, &packet, &mut out.to(way), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_about_paths_is_read_as_it_was_written_and_nothing_else_is_one() {
        let words = [PathWord::Ping(u64::MAX), PathWord::Pong(3), PathWord::Probe(4), PathWord::Carried(5)];
        for word in words.into_iter().chain([PathWord::Used(6)]) {
            assert_eq!(PathWord::read(&word.write()), Some(word));
        }
        let good = PathWord::Ping(7).write();
        assert_eq!(PathWord::read(&good[..9]), None);
        assert_eq!(PathWord::read(&[&good[..], &[0]].concat()), None);
        assert_eq!(PathWord::read(&[0x0a, 1, 0, 0, 0, 0, 0, 0, 0, 7]), None, "a signed statement");
        assert_eq!(PathWord::read(&[0xff, 6, 0, 0, 0, 0, 0, 0, 0, 7]), None);
    }
}
