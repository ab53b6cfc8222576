//! What peers hear from this node besides packets, and what they say of the coordinator.

use std::collections::BTreeSet;

use warren_node_core::assembly::PeerSpec;
use warren_node_core::dataplane::Outbox;
use warren_wire::id::{NodeId, WgKey};

use super::Driver;
use crate::agent::flowfile::Flows;
use crate::clock::boot;
use crate::udp::Sender;

/// Handshakes begun at once at a start; the others begin with their first packet.
const GREETED: usize = 256;

impl Driver {
    /// A peer that spoke with the agent before this one still seals for it: a handshake now saves its next packet from
    /// being lost, and running flows from waiting for the peer's own timeout.
    pub(super) fn greet(&self, flows: &Flows) {
        let shared = &self.parts.shared;
        let Some(publication) = self.parts.control.publication() else { return };
        let met: BTreeSet<WgKey> = shared.plane.stamps().into_keys().map(|(_, theirs)| theirs).collect();
        let known = |id: &NodeId, spec: &PeerSpec| {
            flows.contains_key(id) || spec.member.lanes.iter().any(|key| met.contains(key))
        };
        let mut out = Outbox::small();
        for (id, _) in publication.assembly.peers.iter().filter(|(id, spec)| known(id, spec)).take(GREETED) {
            shared.plane.initiate(*id, &mut out, shared.clock.now());
            out.flush();
            out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
            out.sent();
        }
    }

    /// A peer that is not heard here hears from this node.
    pub(super) fn show(&self, peer: NodeId) {
        let (shared, mut out) = (&self.parts.shared, Outbox::small());
        shared.plane.knocked(peer, &mut out, shared.clock.now());
        out.flush();
        out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
        out.sent();
    }

    /// So that nobody can be told less than others without noticing.
    pub(super) fn show_peers(&self) {
        let Some(word) = self.parts.control.hearsay() else { return };
        let (shared, mut out) = (&self.parts.shared, Outbox::small());
        shared.plane.spread(&word, &mut out, shared.clock.now());
        out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
        out.sent();
    }

    /// What they said, and what is answered; then gateways that are behind are left.
    pub(super) fn hear_peers(&mut self) {
        let (shared, control, mut out) = (&self.parts.shared, &mut self.parts.control, Outbox::small());
        for (from, word) in shared.plane.take_hearsay() {
            if let Some(answer) = control.handle_hearsay(from, &word, boot()) {
                shared.plane.tell(from, &answer, &mut out, shared.clock.now());
            }
        }
        let (news, question) = (control.gateway_news(boot()), control.news_question());
        shared.plane.weigh_gateways(&news, &question, &mut out, shared.clock.now());
        out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
        out.sent();
    }
}
