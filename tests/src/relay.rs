//! The coordinator's relay in the world: the real heart, told the time. Both address families lead to its one place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use warren_config::time::UnixTime;
use warren_coordinator_core::Coordinator;
use warren_coordinator_core::relay::{Limits, Place, Relay, Seating, Verdicts};
use warren_wire::frame::{RelayAt, Seated};
use warren_wire::id::{IdentityKey, NodeId};
use warren_wire::relay::Seat;

use crate::clock::SECOND;

/// Where it is.
pub const PLACE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), 7946);

/// How nodes are told of it: it is where the coordinator is.
pub fn here() -> RelayAt {
    RelayAt::new(IdentityKey([0xc0; 32]), "coordinator", Vec::new())
}

/// A datagram that the relay sends.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// Relays tidy up once a second, as the programs do; true if that is now.
pub fn is_time(tidied: &mut u64, now: u64) -> bool {
    let time = now.saturating_sub(*tidied) >= SECOND;
    if time {
        *tidied = now;
    }
    time
}

#[derive(Debug, Default)]
pub struct Post {
    relay: Relay,
    verdicts: Verdicts,
    tidied: u64,
}

impl Post {
    pub fn new() -> Post {
        Post { relay: Relay::new(Limits::default()), ..Post::default() }
    }

    pub fn seat(&self, node: NodeId, seated: Seated, wall: UnixTime, now: u64) {
        let until = Duration::from_nanos(now) + Duration::from_secs(UnixTime(seated.until).since(wall));
        let id = here().id;
        let (seat, up, down) = (seated.seat, seated.up.at(&id), seated.down.at(&id));
        self.relay.seat(Seating { seat, node, up, down, until }, Duration::from_nanos(now));
    }

    pub fn unseat(&self, seat: Seat) {
        self.relay.unseat(seat);
    }

    /// After each change at the coordinator.
    pub fn keep_up(&self, coordinator: &Coordinator) {
        self.relay.retain_pairs(|a, b| coordinator.may_relay(a, b));
    }

    /// What becomes of a datagram. Questions about who may talk are answered at once.
    pub fn carry(
        &mut self,
        from: SocketAddr,
        mut bytes: Vec<u8>,
        coordinator: &Coordinator,
        now: u64,
    ) -> Vec<Passed> {
        let (stride, at) = (bytes.len(), Duration::from_nanos(now));
        let from = Place { at: from, by: None };
        self.relay.handle(from, &mut bytes, stride, at, &mut self.verdicts);
        let forwards = self.verdicts.forwards.iter();
        let mut passed: Vec<Passed> = forwards
            .flat_map(|f| {
                bytes[f.range.clone()].chunks(f.segment).map(|b| Passed { to: f.to.at, bytes: b.to_vec() })
            })
            .collect();
        for ask in std::mem::take(&mut self.verdicts.asks) {
            let may = coordinator.may_relay(&ask.nodes.0, &ask.nodes.1);
            let released = self.relay.answer(ask.pair, may, at);
            passed.extend(released.map(|r| Passed { to: r.to.at, bytes: r.frame }));
        }
        if is_time(&mut self.tidied, now) {
            self.relay.tidy(at);
        }
        passed
    }
}
