//! Hosts without an agent, behind nodes that lead to them: what a gateway's kernel does, and the laws of what is behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use warren_config::policy::Protocol;
use warren_config::subnet::IpNet;
use warren_wire::id::NodeId;

use super::quiet::ARRIVES_WITHIN;
use super::{Reach, World};
use crate::host::{Host, Port};
use crate::link::Place;
use crate::model::Moment;
use crate::packet;

impl World {
    /// A packet out of the tunnel: for the host itself, or for one that its kernel forwards to.
    pub(super) fn kernel_takes(&mut self, node: usize, bytes: &[u8]) {
        let Some(seen) = packet::read(bytes) else { return };
        let (now, address) = (self.now, seen.to.ip());
        let n = &mut self.nodes[node];
        if n.host.addresses.contains(&address) {
            return n.host.handle_packet(bytes, now);
        }
        let listening = &self.behind_listens;
        let host = n.behind.entry(address).or_insert_with(|| Host::at(address));
        host.listening.clone_from(listening);
        host.handle_packet(bytes, now);
    }

    /// What hosts behind this node say comes back into its tunnel.
    pub(super) fn pump_behind(&mut self, node: usize) {
        let addresses: Vec<IpAddr> = self.nodes[node].behind.keys().copied().collect();
        for address in addresses {
            while let Some(bytes) = self.nodes[node].behind.get_mut(&address).and_then(Host::poll) {
                self.tun_reads(node, &bytes);
            }
        }
    }

    /// A packet that a host behind this node sends into the overlay, uninvited; the kernel's own rules are switched off.
    pub fn inject_from_behind(&mut self, node: usize, packet: &[u8]) {
        self.tun_reads(node, packet);
        self.pump_host(node);
    }

    /// The gateway in use, if this node has a route there.
    pub fn kernel_route(&self, node: usize, address: IpAddr) -> Option<NodeId> {
        let agent = self.agent(node)?;
        let now = agent.now(self.mono(node)).wall();
        let publication = agent.control.publication()?;
        let routed = publication.assembly.routes(now).into_keys().any(|net| net.contains(&address));
        agent.plane.next_hop(address).filter(|_| routed)
    }

    /// Tries once, from a node to a host without an agent. Without a route the kernel itself says so.
    pub fn reach_behind(&mut self, from: usize, address: IpAddr, protocol: Protocol, port: u16) -> Reach {
        match self.kernel_route(from, address) {
            Some(_) => self.reach_address(from, address, protocol, port),
            None => Reach::Refused(0),
        }
    }

    /// As applications do, again and again: the first gateway may be dead, and so may the next one.
    fn reach_behind_in_time(&mut self, from: usize, address: IpAddr, protocol: Protocol, port: u16) -> Reach {
        let end = self.now + ARRIVES_WITHIN;
        loop {
            let reach = self.reach_behind(from, address, protocol, port);
            if reach == Reach::Arrived || self.now >= end {
                return reach;
            }
            self.run_ms(100);
        }
    }

    fn is_allowed_behind(&self, from: usize, address: IpAddr, protocol: Protocol, port: u16) -> bool {
        let (when, id) = (self.moment(), self.id(from));
        let opens =
            |gateway: &NodeId| self.model.allows_behind(when, &id, (gateway, address), protocol, port);
        self.gateways().iter().any(|node| opens(&self.id(*node)))
    }

    /// Members that are not revoked, on or off: whoever may be a gateway.
    fn gateways(&self) -> Vec<usize> {
        let all = 0..self.nodes.len();
        all.filter(|n| self.is_member(*n) && !self.model.revoked.contains_key(&self.id(*n))).collect()
    }

    /// A route for exactly what a grant opens, to exactly the gateways that lead there.
    pub(super) fn routes_are_what_grants_give(&self) {
        let mut addresses = self.model.addresses_behind();
        // Beside all of them, and inside.
        addresses.extend(["192.168.51.0", "192.168.50.77", "10.6.255.255", "fd50::1:0"].map(parse));
        for node in self.living() {
            let Some(agent) = self.agent(node) else { continue };
            let at = agent.now(self.mono(node)).wall();
            let (id, when) = (self.id(node), Moment { at, ..self.moment() });
            let routes = agent.control.publication().map(|p| p.assembly.routes(at)).unwrap_or_default();
            for address in &addresses {
                let within = |net: &&IpNet| net.contains(address);
                let longest = routes.keys().filter(within).max_by_key(|net| net.prefix_len());
                let is = longest.and_then(|net| routes.get(net)).cloned().unwrap_or_default();
                let leads = |gateway: &NodeId| self.model.leads(when, &id, gateway, *address);
                let ought: BTreeSet<NodeId> =
                    self.gateways().into_iter().map(|n| self.id(n)).filter(leads).collect();
                if is != ought {
                    self.fail(&format!(
                        "a route for exactly what a grant opens: {} has {address} by {is:?}, ought to have it by {ought:?}",
                        self.nodes[node].name
                    ));
                }
            }
        }
    }

    /// As between nodes: what is allowed behind some gateway arrives, all else is refused at once.
    pub(super) fn check_reach_behind(&mut self, living: &[usize], ports: &BTreeSet<(Protocol, u16)>) {
        if self.model.addresses_behind().is_empty() {
            return;
        }
        self.everyone_behind_listens(ports);
        let hosts = ["192.168.50.10", "192.168.50.77", "fd50::10", "fd50::77", "10.7.1.2", "10.8.0.1"];
        for (from, address) in living.iter().flat_map(|from| hosts.map(|host| (*from, parse(host)))) {
            for (protocol, port) in ports {
                self.check_one_behind(from, address, *protocol, *port);
            }
        }
    }

    fn everyone_behind_listens(&mut self, ports: &BTreeSet<(Protocol, u16)>) {
        let port = |(protocol, port): &(Protocol, u16)| match protocol {
            Protocol::Tcp => Some(Port::Tcp(*port)),
            Protocol::Udp => Some(Port::Udp(*port)),
            Protocol::IcmpEcho | Protocol::Number(_) => None,
        };
        self.behind_listens.extend(ports.iter().filter_map(port));
    }

    fn check_one_behind(&mut self, from: usize, address: IpAddr, protocol: Protocol, port: u16) {
        let allowed = self.is_allowed_behind(from, address, protocol, port);
        if self.a_grant_ends_now() || allowed && !self.is_carried_behind(from, address) {
            return;
        }
        let began = self.now;
        let reach = match allowed {
            true => self.reach_behind_in_time(from, address, protocol, port),
            false => self.reach_behind(from, address, protocol, port),
        };
        match (allowed, reach) {
            (true, Reach::Arrived) | (false, Reach::Refused(0..=100)) => {}
            (true, _) if self.a_grant_ended_since(began) => {}
            (allowed, other) => self.fail_behind(from, address, &format!(
                "what is allowed behind a gateway arrives, all else is refused at once: {protocol}/{port}, allowed: {allowed}, {other:?}"
            )),
        }
    }

    /// Is there a gateway that runs, hears what the coordinator says, and a way to it? Others may answer by what they heard last: they
    /// are left for it.
    fn is_carried_behind(&self, from: usize, address: IpAddr) -> bool {
        let (when, id) = (self.moment(), self.id(from));
        let leads = |n: &usize| self.model.leads(when, &id, &self.id(*n), address);
        let hears = |n: &usize| {
            let cut = self.links.is_cut(Place::Coordinator, Place::Node(*n));
            !cut && self.is_online(*n) && self.enforces(*n)
        };
        self.living().into_iter().filter(leads).filter(hears).any(|gateway| self.is_carried(from, gateway))
    }

    /// In the middle of everything: a host behind gateways, at random, from a node at random. What the oracle allows and the links
    /// to one of the gateways can carry arrives within 21 s, whatever has become of the others.
    pub fn check_carried_behind(&mut self) -> Option<Reach> {
        let heard = |w: &World, n: usize| !w.links.is_cut(Place::Coordinator, Place::Node(n));
        let is_ready = |n: &usize| heard(self, *n) && self.is_online(*n) && self.enforces(*n);
        let ready: Vec<usize> = self.living().into_iter().filter(is_ready).collect();
        let from = *self.random.pick(&ready)?;
        let addresses: Vec<IpAddr> = self.model.addresses_behind().into_iter().collect();
        let policy = self.model.policy(self.model.generation())?;
        let listens: BTreeSet<(Protocol, u16)> =
            policy.services.values().flat_map(|s| &s.listen).map(|l| (l.protocol, l.first)).collect();
        let all = addresses.iter().flat_map(|a| listens.iter().map(move |(p, port)| (*a, *p, *port)));
        let allowed: Vec<(IpAddr, Protocol, u16)> = all
            .filter(|(_, protocol, _)| !matches!(protocol, Protocol::Number(_)))
            .filter(|(a, protocol, port)| self.is_allowed_behind(from, *a, *protocol, *port))
            .filter(|(a, _, _)| self.is_carried_behind(from, *a))
            .collect();
        let (address, protocol, port) = *self.random.pick(&allowed)?;
        if self.a_grant_ends_now() {
            return None;
        }
        self.everyone_behind_listens(&listens);
        let began = self.now;
        let reach = self.reach_behind_in_time(from, address, protocol, port);
        // Its last gateway may have died meanwhile: a fuse was lit.
        let moot = !self.living().contains(&from)
            || !self.is_carried_behind(from, address)
            || self.a_grant_ended_since(began);
        if reach == Reach::Arrived || moot {
            return (reach == Reach::Arrived).then_some(reach);
        }
        self.fail_behind(
            from,
            address,
            &format!("what is allowed behind a gateway and carried arrives in time: {protocol}/{port}"),
        )
    }

    fn fail_behind(&self, from: usize, address: IpAddr, what: &str) -> ! {
        let (when, id) = (self.moment(), self.id(from));
        let leads = |n: &usize| self.model.leads(when, &id, &self.id(*n), address);
        let used = self.kernel_route(from, address).and_then(|id| self.index_of(&id));
        let ends: BTreeMap<&str, (String, String)> = self
            .gateways()
            .into_iter()
            .filter(leads)
            .map(|g| (self.nodes[g].name.as_str(), (self.seen_of(from, &self.id(g)), self.seen_of(g, &id))))
            .collect();
        self.fail(&format!(
            "{what}: {} to {address}, over {:?}\n{ends:#?}",
            self.nodes[from].name,
            used.map(|n| &self.nodes[n].name)
        ))
    }
}

fn parse(address: &str) -> IpAddr {
    address.parse().unwrap()
}
