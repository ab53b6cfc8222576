//! The relays this node sits at, and the doors to them where UDP does not pass.

use warren_node_core::berth;
use warren_node_core::dataplane::Outbox;
use warren_node_core::door::{Signs, Transport};
use warren_wire::frame::Seated;

use super::Driver;
use crate::agent::doors::{KnownRelay, Opened};
use crate::clock::boot;
use crate::link::Channel;
use crate::udp::Sender;

/// What a relay that cannot be reached owes.
const HOPELESS: u32 = 99;

impl Driver {
    /// At the relays that were named; one of no address is where the coordinator is.
    pub(super) fn sit(&self, seated: Option<&Seated>) {
        let here = self.channel.as_ref().map(Channel::remote);
        let (shared, mut out) = (&self.parts.shared, Outbox::small());
        shared.plane.set_berths(seated, here);
        shared.plane.tend_berths(&mut out, shared.clock.now());
        out.flush();
        out.transmits().for_each(|transmit| shared.sockets.send(&transmit, Sender::Control));
        out.sent();
    }

    pub(super) fn tend_doors(&mut self) {
        let relays = self.relays();
        self.doors.tend(&relays, &self.parts.shared, &self.connector, boot());
    }

    pub(super) fn handle_door(&mut self, opened: Opened) {
        let relays = self.relays();
        let known = relays.iter().find(|known| known.relay == opened.0);
        self.doors.handle_opened(opened, known, &self.parts.shared, &self.connector, boot());
    }

    /// Where the coordinator is not reached over UDP, relays will not be either: a door is opened at once. If the relay answers
    /// sooner, the door is not used.
    fn relays(&self) -> Vec<KnownRelay> {
        let behind = self.channel.as_ref().is_some_and(|c| c.transport() != Transport::Udp);
        let known = |relay: berth::Standing| {
            let straight = self.doors.transport(&relay.relay) == Transport::Udp;
            let hopeless = behind && !relay.answers && straight;
            let owed = if hopeless { HOPELESS } else { relay.owed };
            let signs = Signs { answers: relay.answers, owed, suspected: relay.suspected };
            let berth::Standing { relay, key, at, addresses, doors, .. } = relay;
            KnownRelay { relay, keys: vec![key], at, addresses, doors, signs }
        };
        self.parts.shared.plane.berths().into_iter().map(known).collect()
    }
}
