//! Words of agents between the packets of a tunnel ([`crate::packet::word`]): taken out before any judge sees them, never
//! given to the host.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use warren_wire::id::NodeId;

use super::egress::padded;
use super::relayed::PathWord;
use super::{DataPlane, Event, Outbox};
use crate::clock::Now;
use crate::packet::{Packet, word};
use crate::peers::{Peer, Snapshot, Use};
use crate::session::{Engine, Segments, Session as _};

/// Newest words of one peer that are kept until the control half takes them. An honest one shows a freshness, asks for news
/// and tells some, and each word of a kind makes the one before worthless.
const KEPT: usize = 4;
/// Peers whose words are taken at a time: looking at words costs signatures.
const TAKEN: usize = 64;
/// Keys older than this are not used any more (WireGuard paper, section 6.1).
pub(super) const LIVE: Duration = Duration::from_secs(180);

/// What peers have said, each for itself: who says much is heard no more than others.
#[derive(Debug, Default)]
pub(super) struct Heard {
    words: HashMap<NodeId, VecDeque<Vec<u8>>>,
    /// Whose words are taken next.
    turns: VecDeque<NodeId>,
}

impl Heard {
    /// True if an older word of the same peer is given up for it.
    fn keep(&mut self, peer: NodeId, word: Vec<u8>) -> bool {
        let words = self.words.entry(peer).or_default();
        if words.is_empty() {
            self.turns.push_back(peer);
        }
        words.push_back(word);
        let too_many = words.len() > KEPT;
        if too_many {
            words.pop_front();
        }
        too_many
    }

    fn take(&mut self) -> Vec<(NodeId, Vec<u8>)> {
        let now = self.turns.len().min(TAKEN);
        let words_of =
            |peer| self.words.remove(&peer).unwrap_or_default().into_iter().map(move |word| (peer, word));
        self.turns.drain(..now).flat_map(words_of).collect()
    }
}

/// One plaintext.
struct One<'a>(&'a [u8]);

impl Segments for One<'_> {
    fn each(&mut self, mut seal: impl FnMut(&[u8])) {
        seal(self.0);
    }
}

impl<E: Engine> DataPlane<E> {
    /// Says `payload` to every peer with an agent that packets went to or came from since the last time. Nobody is woken
    /// by it: without a live session there is no word, and a word calls for none.
    pub fn spread(&self, payload: &[u8], out: &mut Outbox, now: Now) {
        let snapshot = self.snapshot.load();
        let Some(packet) = self.word(&snapshot, payload) else { return };
        for peer in self.speaking(&snapshot).filter(|peer| peer.agent) {
            let place = peer.link.endpoint().filter(|_| peer.link.spoke_since());
            if let Some(way) = place.and_then(|place| self.way(place)) {
                self.say(&snapshot, peer, &packet, &mut out.to(way), now);
            }
        }
        out.flush();
    }

    fn word(&self, snapshot: &Snapshot<E>, payload: &[u8]) -> Option<Vec<u8>> {
        let common = snapshot.network.as_ref()?.common_v6();
        let mut packet = word::write(snapshot.mine.v6, common, payload)?;
        packet.resize(padded(packet.len(), self.settings.mtu), 0);
        Some(packet)
    }

    /// Says `payload` to this peer, if there is a live session.
    pub fn tell(&self, peer: NodeId, payload: &[u8], out: &mut Outbox, now: Now) {
        let snapshot = self.snapshot.load();
        if let Some(peer) = snapshot.peer(&peer) {
            self.tell_peer(&snapshot, peer, payload, out, now);
        }
        out.flush();
    }

    pub(super) fn tell_peer(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        payload: &[u8],
        out: &mut Outbox,
        now: Now,
    ) {
        let way = peer.link.endpoint().filter(|_| peer.agent).and_then(|place| self.way(place));
        if let (Some(way), Some(packet)) = (way, self.word(snapshot, payload)) {
            self.say(snapshot, peer, &packet, &mut out.to(way), now);
        }
    }

    pub(super) fn say<K: crate::session::Sink>(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        packet: &[u8],
        out: &mut K,
        now: Now,
    ) {
        let Some(lane) = peer.send_lane(0) else { return };
        lane.with(&snapshot.engine, Use::Existing, now, |session| {
            if session.stats(now).handshake_age.is_some_and(|age| age < LIVE) {
                session.seal(&mut One(packet), out, now);
            }
        });
    }

    /// What peers have said since their words were taken last, of each in order; the rest next time.
    pub fn take_hearsay(&self) -> Vec<(NodeId, Vec<u8>)> {
        self.hearsay.lock().take()
    }

    /// Is this a word? Its source was found to be the peer's own. One about paths is given back.
    pub(super) fn hear(
        &self,
        snapshot: &Snapshot<E>,
        peer: &Peer<E>,
        bytes: &[u8],
        packet: &Packet,
        about_paths: &mut Vec<PathWord>,
    ) -> bool {
        let common = snapshot.network.as_ref().map(|network| std::net::IpAddr::V6(network.common_v6()));
        if common != Some(packet.tuple.dst) || !peer.agent {
            return false;
        }
        let Some(payload) = word::read(bytes, packet) else { return false };
        if let Some(word) = PathWord::read(payload) {
            about_paths.push(word);
            return true;
        }
        let given_up = self.hearsay.lock().keep(peer.node, payload.to_vec());
        self.counters.event(Event::Unheard, u64::from(given_up));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId([number; 16])
    }

    #[test]
    fn a_peer_that_never_stops_talking_silences_nobody() {
        let mut heard = Heard::default();
        (0..64).for_each(|n| _ = heard.keep(node(1), vec![n]));
        assert!(!heard.keep(node(2), b"news".to_vec()));
        (64..200).for_each(|n| _ = heard.keep(node(1), vec![n]));
        let words = heard.take();
        assert!(words.contains(&(node(2), b"news".to_vec())), "{words:?}");
        let newest: Vec<_> = (196..200).map(|n| (node(1), vec![n])).collect();
        assert!(words.starts_with(&newest) && words.len() == 5, "{words:?}");
        assert!(heard.take().is_empty() && heard.words.is_empty(), "taken once");
    }

    #[test]
    fn of_many_who_speak_each_has_its_turn() {
        let mut heard = Heard::default();
        (0..200).for_each(|n| _ = heard.keep(node(n), vec![n]));
        let mut all = Vec::new();
        for round in 0..4 {
            // The first ones speak again before the last were heard.
            (0..100).for_each(|n| _ = heard.keep(node(n), vec![n, round]));
            all.extend(heard.take());
        }
        (0..200).for_each(|n| assert!(all.contains(&(node(n), vec![n])), "{n}"));
    }
}
