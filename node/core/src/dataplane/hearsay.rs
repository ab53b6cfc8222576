//! Words of agents between the packets of a tunnel ([`crate::packet::word`]): taken out before any judge sees them, never
//! given to the host.

use std::time::Duration;

use warren_wire::id::NodeId;

use super::egress::padded;
use super::relayed::PathWord;
use super::{DataPlane, Event, Outbox};
use crate::clock::Now;
use crate::packet::{Packet, word};
use crate::peers::{Peer, Snapshot, Use};
use crate::session::{Engine, Segments, Session as _};

/// Words kept until the control half takes them.
const KEPT: usize = 64;
/// Keys older than this are not used any more (WireGuard paper, section 6.1).
pub(super) const LIVE: Duration = Duration::from_secs(180);

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

    /// What peers have said since the last call, in order.
    pub fn take_hearsay(&self) -> Vec<(NodeId, Vec<u8>)> {
        self.hearsay.lock().drain(..).collect()
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
        let mut heard = self.hearsay.lock();
        match heard.len() < KEPT {
            true => heard.push_back((peer.node, payload.to_vec())),
            false => self.counters.event(Event::Unheard, 1),
        }
        true
    }
}
