//! Where this node is, as its peers are to hear it: its own addresses, where the world sees its socket, what its gateway has granted.

use std::net::SocketAddr;

use warren_wire::frame::{MAX_MAPPED, MyEndpoints, NodeSays, ProvenPlace};

use super::Control;
use super::session::Session;
use crate::mapping::Seen;
use crate::path::{self, Locality};

/// Endpoints of its own that a node reports at most.
const MAX_OWN: usize = 8;

impl Control {
    /// `addr:port` of the WireGuard socket on each local address, and its port.
    pub fn handle_local_endpoints(&mut self, local: Vec<SocketAddr>, port: u16) {
        let locality = Locality::of(&local);
        let usable = local.into_iter().filter(|a| path::acceptable(*a, &self.network, locality));
        let own: Vec<SocketAddr> = usable.take(MAX_OWN).collect();
        if (&own, port) == (&self.own, self.port) {
            return;
        }
        (self.own, self.port) = (own, port);
        self.say_endpoints();
        // Which candidates make sense depends on where this node is.
        if self.publication.as_ref().is_some_and(|p| !p.assembly.peers.is_empty()) {
            self.publish();
        }
    }

    /// Where the world sees the WireGuard socket ([`crate::mapping`]).
    pub fn handle_mapped(&mut self, seen: Vec<Seen>) {
        let foreign = |seen: &Seen| !self.own.contains(&seen.place);
        let usable = |seen: &Seen| path::acceptable(seen.place, &self.network, Locality::Wide);
        let mapped: Vec<Seen> = seen.into_iter().filter(foreign).filter(usable).collect();
        let places = |seen: &[Seen]| seen.iter().map(|seen| seen.place).collect::<Vec<_>>();
        let moved = places(&self.mapped) != places(&mapped);
        // A newer proof of the same place is for the next session.
        self.mapped = mapped;
        if moved {
            self.say_endpoints();
        }
    }

    /// Where the gateway says that this port is outside ([`crate::portmap`]).
    pub fn handle_granted(&mut self, outside: Option<SocketAddr>) {
        let usable = |place: &SocketAddr| path::acceptable(*place, &self.network, Locality::Wide);
        let granted = outside.filter(usable).filter(|place| !self.own.contains(place));
        if self.granted != granted {
            self.granted = granted;
            self.say_endpoints();
        }
    }

    pub(super) fn say_endpoints(&mut self) {
        if self.session == Session::Authorised && self.port != 0 {
            let candidates = self.own.iter().map(ToString::to_string).collect();
            // What was granted lets everybody in, so it comes first.
            let seen = self.mapped.iter().map(|seen| seen.place).filter(|place| Some(*place) != self.granted);
            let mapped =
                self.granted.into_iter().chain(seen).take(MAX_MAPPED).map(|p| p.to_string()).collect();
            let proven = self.mapped.iter().filter_map(|seen| Some(ProvenPlace::of(seen.place, seen.proof?)));
            let port = u32::from(self.port);
            let mine = MyEndpoints { candidates, port, mapped, proven: proven.take(MAX_MAPPED).collect() };
            self.say(NodeSays::Endpoints(mine));
        }
    }
}
