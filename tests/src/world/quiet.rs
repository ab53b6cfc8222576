//! What must hold once nothing is under way any more: links up, coordinator up, everyone has had time.

use std::collections::BTreeSet;
use std::net::IpAddr;

use warren_config::policy::Protocol;
use warren_wire::flow::{Amount, FlowVerdict};
use warren_wire::id::NodeId;
use warren_wire::issue::NameRule;
use warren_wire::specimen::name;

use super::{Life, Reach, World};
use crate::clock::{SECOND, wall};
use crate::host::Port;
use crate::link::Place;
use crate::model::Moment;

/// Longest back-off of a node, a dial and some rest.
const PATIENCE_MS: u64 = 60_000;
/// What is allowed and carried has arrived after this time.
pub(super) const ARRIVES_WITHIN: u64 = 21 * SECOND;
/// What was given so long ago is on the map.
const RECORDED_WITHIN: u64 = 2 * SECOND;

impl World {
    /// Heals everything, waits until every member that is on has a session, and asks every law of quiet.
    pub fn settle(&mut self) {
        self.mend_all();
        self.put_out_fuses();
        self.start_coordinator();
        self.meet_faults();
        let all = |w: &World| w.living().into_iter().all(|n| w.is_online(n) && w.enforces(n));
        if !self.run_until(PATIENCE_MS, all) {
            let late: Vec<String> = self
                .living()
                .into_iter()
                .filter(|n| !(self.is_online(*n) && self.enforces(*n)))
                .map(|n| {
                    let status = self.agent(n).map(|a| a.status(self.mono(n)));
                    let why = status.map(|s| (s.coordinator, s.last_error, s.cut));
                    format!("{}: enforces {:?}, {why:?}", self.nodes[n].name, self.nodes[n].enforced)
                })
                .collect();
            self.fail(&format!("every member comes back once the links are up: {late:#?}"));
        }
        self.run_ms(4_000);
        self.check_quiet();
    }

    /// A fault that was ordered for a commit still to come: let it happen now.
    fn meet_faults(&mut self) {
        let names = NameRule::Exactly(name("nobody"));
        let (command, _) = self.admin.token(names, &["web"], 1, wall(self.now));
        let _ = self.command(command);
        self.start_coordinator();
    }

    /// Members that run and are not revoked.
    pub fn living(&self) -> Vec<usize> {
        let on = |n: &usize| matches!(self.nodes[*n].life, Life::Member(_));
        (0..self.nodes.len()).filter(on).filter(|n| !self.model.revoked.contains_key(&self.id(*n))).collect()
    }

    pub fn check_quiet(&self) {
        self.views_hold_what_grants_join();
        self.audited_destinations_are_recognised();
        self.visibility_is_symmetric();
        self.routes_are_what_grants_give();
        self.what_is_judged_is_recorded();
        self.accounts_balance();
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { generation: self.model.generation(), revision: self.model.revision(), at: wall(self.now) }
    }

    /// Least knowledge: exactly the peers that some grant joins a node to.
    fn views_hold_what_grants_join(&self) {
        let members: Vec<NodeId> =
            (0..self.nodes.len()).filter(|n| self.is_member(*n)).map(|n| self.id(n)).collect();
        for node in self.living() {
            let id = self.id(node);
            // A node judges `until` by signed time, which has whole seconds.
            let signed = self.agent(node).map(|agent| agent.now(self.mono(node)).wall());
            let when = Moment { at: signed.unwrap_or_default(), ..self.moment() };
            let ought: BTreeSet<NodeId> =
                members.iter().copied().filter(|other| self.model.joins(when, &id, other)).collect();
            let is: BTreeSet<NodeId> =
                self.agent(node).map(|a| a.peers().into_iter().collect()).unwrap_or_default();
            if ought != is {
                self.fail(&format!(
                    "a view holds exactly the peers that grants join: {} knows {is:?}, ought to know {ought:?}",
                    self.nodes[node].name
                ));
            }
        }
    }

    /// Of whom only audited grants speak, a sender knows the addresses; of nobody else.
    fn audited_destinations_are_recognised(&self) {
        let members = || (0..self.nodes.len()).filter(|n| self.is_member(*n));
        for node in self.living() {
            let Some(agent) = self.agent(node) else { continue };
            let when = Moment { at: agent.now(self.mono(node)).wall(), ..self.moment() };
            let id = self.id(node);
            let watched = members().filter(|other| self.model.audits(when, &id, &self.id(*other)));
            let addresses = watched.flat_map(|n| [false, true].map(|v6| self.address(n, v6)));
            let ought: BTreeSet<IpAddr> = addresses.flatten().collect();
            let assembly = agent.control.publication().map(|p| p.assembly.clone());
            let is: BTreeSet<IpAddr> =
                assembly.iter().flat_map(|assembly| assembly.audited.keys().copied()).collect();
            if ought != is {
                self.fail(&format!(
                    "audited destinations are recognised, and nobody else: {} knows {is:?}, ought to know {ought:?}",
                    self.nodes[node].name
                ));
            }
        }
    }

    fn visibility_is_symmetric(&self) {
        if self.a_grant_ends_now() {
            return;
        }
        let living = self.living();
        for a in &living {
            for id in self.agent(*a).map(|agent| agent.peers()).unwrap_or_default() {
                let Some(b) = living.iter().find(|n| self.id(**n) == id) else { continue };
                let seen = self.agent(*b).is_some_and(|agent| agent.peers().contains(&self.id(*a)));
                if !seen {
                    let (a, b) = (&self.nodes[*a].name, &self.nodes[*b].name);
                    self.fail(&format!("visibility is symmetric: {a} sees {b}, {b} does not see {a}"));
                }
            }
        }
    }

    /// Recorded and lost together are what was judged: at the receiver, packet for packet and byte for byte.
    fn what_is_judged_is_recorded(&self) {
        for node in self.living() {
            let Some(agent) = self.agent(node) else { continue };
            let status = agent.status(self.mono(node));
            let lost = status.flows_lost > 0;
            let busy = self.now < self.nodes[node].given_at + RECORDED_WITHIN;
            if lost || busy {
                continue;
            }
            let (id, boot) = (self.id(node), agent.boot);
            let rows = self.site.flows.iter().filter(|row| {
                let passed = matches!(row.verdict, FlowVerdict::Allow | FlowVerdict::WouldDeny);
                row.reporter == id && row.boot == boot && passed
            });
            let (mut packets, mut bytes) = (0, 0);
            for row in rows {
                let (p, b) = match row.outbound {
                    true => (row.packets_back, row.bytes_back),
                    false => (row.packets_out, row.bytes_out),
                };
                packets += p;
                bytes += b;
            }
            let given = self.nodes[node].given;
            if (packets, bytes) != given {
                self.fail(&format!(
                    "recorded and lost together are what was judged: {} was given {given:?}, recorded ({packets}, {bytes})",
                    self.nodes[node].name
                ));
            }
        }
    }

    /// As the coordinator knows it: nothing of what a node judged is without a record or a declared loss, over all starts of
    /// its agent and of the coordinator.
    fn accounts_balance(&self) {
        for node in self.living() {
            let balance = self.site.accounts.balance(&self.id(node));
            let busy = self.now < self.nodes[node].given_at + RECORDED_WITHIN;
            let (open, more) = (balance.underway, balance.excess);
            if more != Amount::default() || open != Amount::default() && !busy {
                self.fail(&format!("accounts balance: {} has {balance:?}", self.nodes[node].name));
            }
        }
    }

    /// What the oracle allows and the links can carry arrives, everything else is refused at once: between all living
    /// nodes, at every `listen`, and at one port that nobody names.
    pub fn check_reach(&mut self) {
        let living = self.living();
        let policy = self.model.policy(self.model.generation()).cloned().unwrap_or_default();
        let mut ports: BTreeSet<(Protocol, u16)> =
            policy.services.values().flat_map(|s| &s.listen).map(|l| (l.protocol, l.first)).collect();
        ports.insert((Protocol::Tcp, 9));
        for node in &living {
            ports.iter().for_each(|(protocol, port)| self.listen_at(*node, *protocol, *port));
        }
        for (a, b) in pairs(&living) {
            for (protocol, port) in &ports {
                let v6 = self.random.chance(500);
                self.check_one(a, b, *protocol, *port, v6);
            }
        }
        self.check_reach_behind(&living, &ports);
    }

    /// As applications do, again and again. One end may have died and come back without its sessions: the other finds out
    /// after 15 s (WireGuard paper, section 6.5).
    fn reach_in_time(&mut self, a: usize, b: usize, protocol: Protocol, port: u16, v6: bool) -> Reach {
        let end = self.now + ARRIVES_WITHIN;
        loop {
            let reach = self.reach(a, b, protocol, port, v6);
            if reach == Reach::Arrived || self.now >= end {
                return reach;
            }
            // Refused: other tags are on their way to one of them.
            self.run_ms(100);
        }
    }

    fn listen_at(&mut self, node: usize, protocol: Protocol, port: u16) {
        match protocol {
            Protocol::Tcp => self.nodes[node].host.listen(Port::Tcp(port)),
            Protocol::Udp => self.nodes[node].host.listen(Port::Udp(port)),
            Protocol::IcmpEcho | Protocol::Number(_) => {}
        }
    }

    /// In the middle of everything, between two nodes at random: what the oracle allows and the links can carry arrives
    /// within 21 s, whatever has just happened to them. `None` if nothing could be asked, or not for so long.
    pub fn check_carried(&mut self) -> Option<Reach> {
        let ready = |w: &World, n: &usize| {
            let heard = !w.links.is_cut(Place::Coordinator, Place::Node(*n));
            heard && w.is_online(*n) && w.enforces(*n)
        };
        let living: Vec<usize> = self.living().into_iter().filter(|n| ready(self, n)).collect();
        let (a, b) = *self.random.pick(&pairs(&living))?;
        let policy = self.model.policy(self.model.generation())?;
        let listens: BTreeSet<(Protocol, u16)> =
            policy.services.values().flat_map(|s| &s.listen).map(|l| (l.protocol, l.first)).collect();
        let (from, to) = (self.id(a), self.id(b));
        let allows = |(protocol, port): &(Protocol, u16)| {
            !matches!(protocol, Protocol::Number(_))
                && self.model.allows(self.moment(), &from, &to, *protocol, *port)
        };
        let allowed: Vec<(Protocol, u16)> = listens.into_iter().filter(allows).collect();
        let (protocol, port) = *self.random.pick(&allowed)?;
        if !self.is_carried(a, b) || self.a_grant_ends_now() {
            return None;
        }
        self.listen_at(b, protocol, port);
        let (v6, began) = (self.random.chance(500), self.now);
        let reach = self.reach_in_time(a, b, protocol, port, v6);
        if reach == Reach::Arrived {
            return Some(reach);
        }
        // One of them died meanwhile: a fuse was lit. Or what allowed it has ended, before the time was over.
        let alive = self.living();
        if !alive.contains(&a) || !alive.contains(&b) || self.a_grant_ended_since(began) {
            return None;
        }
        let ends = (&self.nodes[a].name, &self.nodes[b].name);
        let (near, far) = (self.seen_of(a, &to), self.seen_of(b, &from));
        self.fail(&format!(
            "what is allowed and carried arrives in time: {ends:?} {protocol}/{port}\nnear: {near}\nfar: {far}"
        ))
    }

    /// Do links carry everything between the two, directly or over the relay?
    pub(super) fn is_carried(&self, a: usize, b: usize) -> bool {
        let fair = |a, b| self.links.weather(a, b).loss == 0 && !self.links.is_cut(a, b);
        let to_relay = |n| fair(Place::Coordinator, Place::Node(n));
        let direct = fair(Place::Node(a), Place::Node(b)) && self.share_a_family(a, b);
        direct || self.site.relays && to_relay(a) && to_relay(b)
    }

    fn check_one(&mut self, a: usize, b: usize, protocol: Protocol, port: u16, v6: bool) {
        let (from, to) = (self.id(a), self.id(b));
        let allowed = self.model.allows(self.moment(), &from, &to, protocol, port);
        if self.a_grant_ends_now() || allowed && !self.share_a_family(a, b) {
            return;
        }
        let began = self.now;
        let reach = match allowed {
            true => self.reach_in_time(a, b, protocol, port, v6),
            false => self.reach(a, b, protocol, port, v6),
        };
        if reach != Reach::Arrived && allowed && self.a_grant_ended_since(began) {
            return;
        }
        let ends = (&self.nodes[a].name, &self.nodes[b].name);
        match (allowed, reach) {
            (true, Reach::Arrived) | (false, Reach::Refused(0..=100)) => {}
            (true, other) => {
                let (near, far) = (self.seen_of(a, &to), self.seen_of(b, &from));
                self.fail(&format!(
                    "what is allowed arrives: {ends:?} {protocol}/{port}: {other:?}\nnear: {near}\nfar: {far}"
                ));
            }
            (false, other) => {
                let (near, far) = (self.seen_of(a, &to), self.seen_of(b, &from));
                self.fail(&format!(
                    "what is refused fails at once: {ends:?} {protocol}/{port}: {other:?}\nnear: {near}\nfar: {far}"
                ));
            }
        }
    }
}

impl World {
    pub(super) fn a_grant_ends_now(&self) -> bool {
        self.a_grant_ended_since(self.now)
    }

    /// Between then and now. Two nodes may differ by a second on whether it has ended, and a try may last three.
    pub(super) fn a_grant_ended_since(&self, then: u64) -> bool {
        let (then, now) = (wall(then), wall(self.now));
        let policy = self.model.policy(self.model.generation());
        let mut ends = policy.iter().flat_map(|p| p.grants.values()).filter_map(|g| g.until);
        ends.any(|end| end.plus(4) >= then && end < now.plus(4))
    }

    /// What a node has to say of a peer, for the one who must find out.
    pub(super) fn seen_of(&self, node: usize, peer: &NodeId) -> String {
        let Some(agent) = self.agent(node) else { return "off".to_owned() };
        let peers = agent.peer_status(self.mono(node));
        let status = peers.iter().find(|p| p.node == *peer);
        let drops = agent.plane.explain_last_drops();
        let last: Vec<String> =
            drops.iter().rev().take(4).map(|d| format!("{} {}", d.reason, d.what)).collect();
        let counted: Vec<_> = agent.plane.counters().into_iter().filter(|(_, n)| *n > 0).collect();
        format!("{status:?} {last:?} {counted:?} at {:?}", self.nodes[node].underlay)
    }

    /// Links carry nothing between a host that has only IPv4 and one that has only IPv6.
    pub(super) fn share_a_family(&self, a: usize, b: usize) -> bool {
        let has = |node: usize, v4: bool| self.nodes[node].underlay.iter().any(|u| u.is_ipv4() == v4);
        [true, false].into_iter().any(|v4| has(a, v4) && has(b, v4))
    }
}

fn pairs(nodes: &[usize]) -> Vec<(usize, usize)> {
    nodes.iter().flat_map(|a| nodes.iter().map(|b| (*a, *b))).filter(|(a, b)| a != b).collect()
}
