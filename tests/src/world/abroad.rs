//! The way through NATs and between regions, and what strikes many at once.

use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};
use warren_wire::stun;

use super::{Event, World};
use crate::internet::{Home, Internet, REGIONS, Target};
use crate::link::Place;
use crate::relay;

impl World {
    /// From now on nodes are somewhere on an internet, seeded by the world's seed; `nodes` will be added.
    pub fn go_abroad(&mut self, nodes: usize) {
        let mut internet = Internet::new(nodes, &mut self.random);
        for (from, to) in (0..REGIONS).flat_map(|from| (0..REGIONS).map(move |to| (from, to))) {
            let weather = Internet::climate(from, to, &mut self.random);
            self.links.set_climate(from, to, weather);
        }
        for node in 0..self.nodes.len() {
            let (address, region) = internet.house(node, &mut self.random);
            self.nodes[node].underlay = vec![address];
            self.links.settle_in(Place::Node(node), region);
        }
        for router in 0..internet.routers.len() {
            self.links.settle_in(Place::Router(router), Internet::region_of_router(router));
        }
        self.internet = Some(internet);
    }

    /// A host that is not a member yet, somewhere.
    pub fn add_abroad(&mut self, name: &str) -> usize {
        let node = self.add_node(name);
        if let Some(address) = self.rehouse(node) {
            self.nodes[node].underlay = vec![address];
        }
        node
    }

    fn rehouse(&mut self, node: usize) -> Option<SocketAddr> {
        let (address, region) = self.internet.as_mut()?.house(node, &mut self.random);
        self.links.settle_in(Place::Node(node), region);
        Some(address)
    }

    /// The host is somewhere else from one moment to the next.
    pub fn move_abroad(&mut self, node: usize) {
        if let Some(address) = self.rehouse(node) {
            self.move_node(node, &[&address.to_string()]);
        }
    }

    /// Two regions hear nothing of each other; the coordinator is in region 0.
    pub fn sever(&mut self, a: u8, b: u8) {
        self.links.sever(a, b);
        let cut: Vec<bool> = (0..self.nodes.len())
            .map(|node| self.links.is_cut(Place::Node(node), Place::Coordinator))
            .collect();
        self.silence(|node| cut[node]);
    }

    pub fn rejoin(&mut self) {
        self.links.rejoin();
        self.way_is_open();
    }

    /// Address and port at which the coordinator sees a node's control channel.
    pub(super) fn seen_as(&self, node: usize, from: SocketAddr) -> SocketAddr {
        let Some(internet) = &self.internet else { return from };
        match internet.home(node) {
            Home::Public => from,
            Home::Behind(router) => SocketAddr::new(internet.routers[router].outside(), from.port()),
        }
    }

    // --- datagrams

    pub(super) fn send_abroad(&mut self, node: usize, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let now = self.now;
        let Some(internet) = &mut self.internet else { return };
        if let Some(neighbour) = internet.neighbour(node, to) {
            let (a, b) = (Place::Node(node), Place::Node(neighbour));
            let here = |at| (at, Event::Datagram { origin: node, from, to, bytes: bytes.clone() });
            let arrivals = self.links.arrivals(a, b, now, &mut self.random);
            // On its own network nobody's name is needed: it is found by its neighbour's router.
            return arrivals.into_iter().map(here).for_each(|(at, event)| self.schedule(at, event));
        }
        let seen = internet.outbound(node, from, to, now);
        if to == relay::PLACE {
            for at in self.links.arrivals(Place::Node(node), Place::Coordinator, now, &mut self.random) {
                self.schedule(at, Event::ToRelay { origin: node, from: seen, bytes: bytes.clone() });
            }
            return;
        }
        // A router that takes no detour drops what is for itself from inside.
        let own = internet.place_of(to).and_then(|target| match (target, internet.home(node)) {
            (Target::Router(router), Home::Behind(mine)) if router == mine => Some(router),
            _ => None,
        });
        if own.is_some_and(|router| !internet.routers[router].kind.hairpin) {
            return;
        }
        self.reaches_outside(node, Place::Node(node), seen, to, bytes);
    }

    /// A datagram is on the public internet.
    pub(super) fn reaches_outside(
        &mut self,
        origin: usize,
        at: Place,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let target = self.internet.as_ref().and_then(|internet| internet.place_of(to));
        let there = match target {
            Some(Target::Host(node)) => Place::Node(node),
            Some(Target::Router(router)) => Place::Router(router),
            None => return,
        };
        for at in self.links.arrivals(at, there, self.now, &mut self.random) {
            self.schedule(at, Event::Datagram { origin, from, to, bytes: bytes.clone() });
        }
    }

    /// Whom a datagram that has arrived is given to.
    pub(super) fn let_in(&mut self, origin: usize, from: SocketAddr, to: SocketAddr) -> Option<usize> {
        let now = self.now;
        let internet = self.internet.as_mut()?;
        match internet.place_of(to) {
            Some(Target::Host(node)) => Some(node),
            Some(Target::Router(router)) => internet.inbound(router, from, to.port(), now),
            None => internet.neighbour(origin, to),
        }
    }

    /// STUN at the coordinator.
    pub(super) fn answer_abroad(&mut self, from: SocketAddr, bytes: &[u8]) {
        let Some(id) = stun::read_question(bytes).filter(|_| self.site.running.is_some()) else { return };
        let answer = stun::answer(id, from);
        self.reaches_outside(usize::MAX, Place::Coordinator, relay::PLACE, from, answer);
    }

    // --- the trace

    /// From now on every event is taken down.
    pub fn take_trace(&mut self) {
        self.trace = Some(Sha256::new());
    }

    pub(super) fn trace(&mut self, event: &Event) {
        let Some(trace) = &mut self.trace else { return };
        trace.update(self.now.to_be_bytes());
        // Most of all that happens is bytes on their way: as they are, and how many.
        let (what, bytes): (String, &[u8]) = match event {
            Event::Datagram { origin, from, to, bytes } => (format!("{origin} {from} {to}"), bytes),
            Event::ToRelay { origin, from, bytes } => (format!("relay {origin} {from}"), bytes),
            Event::ToAnnex { origin, from, bytes } => (format!("annex {origin} {from}"), bytes),
            Event::Message { channel, toward, bytes } => (format!("{channel} {toward:?}"), bytes),
            other => (format!("{other:?}"), &[]),
        };
        trace.update(what);
        trace.update(bytes.len().to_be_bytes());
        trace.update(bytes);
    }

    /// What happened so far, as one number.
    pub fn traced(&self) -> Option<[u8; 32]> {
        self.trace.clone().map(|trace| trace.finalize().into())
    }
}
