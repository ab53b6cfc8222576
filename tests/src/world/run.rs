//! One step: the next event, whom it concerns, what they want done.

use std::net::SocketAddr;

use warren_node_core::clock::Mono;

use super::{ENFORCED_WITHIN, Event, Life, World};
use crate::agent::Effect;
use crate::annex;
use crate::candidate::Progress;
use crate::clock::{MS, SECOND, mono, wall};
use crate::host::Host;
use crate::laws::{Receiver, numbers_never_decrease};
use crate::link::Place;
use crate::model::Moment;
use crate::packet;
use crate::relay;
use warren_wire::stun::is_stun;

/// A node's boot-time clock started so long before the world, times its number.
const UP: u64 = 977 * SECOND;

/// How often laws of time are asked; all others are asked at the step they concern.
const LOOK_EVERY: u64 = 100 * MS;

impl World {
    /// Runs the next event. False when there is none before `until`.
    pub fn step(&mut self, until: u64) -> bool {
        let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= until) else { return false };
        let ((at, _), event) = next.remove_entry();
        self.now = self.now.max(at);
        self.trace(&event);
        self.dispatch(event);
        if self.now >= self.next_look {
            self.next_look = self.now + LOOK_EVERY;
            self.everyone_enforces_in_time();
        }
        true
    }

    pub fn run_ms(&mut self, ms: u64) {
        let until = self.now + ms * MS;
        while self.step(until) {}
        self.now = until;
        self.everyone_enforces_in_time();
    }

    /// Runs until `condition`, at most `ms`; says whether it came true.
    pub fn run_until(&mut self, ms: u64, condition: impl Fn(&World) -> bool) -> bool {
        let until = self.now + ms * MS;
        loop {
            if condition(self) {
                return true;
            }
            if !self.step(until) {
                self.now = until;
                return condition(self);
            }
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Datagram { origin, from, to, bytes } => self.datagram_arrives(origin, from, to, &bytes),
            Event::ToRelay { origin, from, bytes } => self.relay_carries(origin, from, bytes),
            Event::ToAnnex { origin, from, bytes } => self.annex_carries(origin, from, bytes),
            Event::Dialled { node, boot, from } => self.dialled(node, boot, from),
            Event::Message { channel, toward, bytes } => self.message_arrives(channel, toward, bytes),
            Event::LostAtNode { channel, why } => self.lost_at_node(channel, why),
            Event::LostAtSite { channel } => self.lost_at_site(channel),
            Event::Idle { channel } => self.idle(channel),
            Event::Node { node, boot } => self.node_timer(node, boot),
            Event::Retry { node, boot } if self.nodes[node].boot == boot => self.dial(node),
            Event::Retry { .. } => {}
            Event::Host { node } if self.nodes[node].host_timer.is_none_or(|due| due > self.now) => {}
            Event::Host { node } => {
                self.nodes[node].host_timer = None;
                if self.nodes[node].asleep {
                    return;
                }
                let now = self.now;
                let n = &mut self.nodes[node];
                n.host.handle_timeout(now);
                n.behind.values_mut().for_each(|host| host.handle_timeout(now));
                self.pump_host(node);
            }
            Event::Site { run } => self.site_timer(run),
            Event::Written { run } => self.written(run),
        }
    }

    pub fn mono(&self, node: usize) -> Mono {
        mono(self.now, UP * (node as u64 + 1))
    }

    /// From a node's clock to the world's.
    fn world_time(&self, node: usize, at: Mono) -> u64 {
        at.0.saturating_sub(UP * (node as u64 + 1)).max(self.now)
    }

    // --- timers

    fn node_timer(&mut self, node: usize, boot: u64) {
        // One that was set for later, and then for sooner: left standing it would set itself again for ever.
        let stale = self.nodes[node].timer.is_none_or(|due| due > self.now);
        if self.nodes[node].boot != boot || stale {
            return;
        }
        self.nodes[node].timer = None;
        if self.nodes[node].asleep {
            return;
        }
        let now = self.mono(node);
        let (n, workers) = (&mut self.nodes[node], &mut self.workers);
        if let Life::Member(agent) = &mut n.life
            && agent.poll_timeout() <= now
        {
            agent.handle_timeout(&mut n.disk, workers, now);
        }
        self.settle_node(node);
    }

    /// Does what a node wants, then sets its timer.
    pub(super) fn settle_node(&mut self, node: usize) {
        self.do_effects(node);
        let Life::Member(agent) = &self.nodes[node].life else { return };
        if agent.dead {
            return self.crash_node(node);
        }
        let at = self.world_time(node, agent.poll_timeout());
        if self.nodes[node].timer.is_none_or(|set| at < set) {
            self.nodes[node].timer = Some(at);
            let boot = self.nodes[node].boot;
            self.schedule(at, Event::Node { node, boot });
        }
    }

    fn site_timer(&mut self, run: u64) {
        let stale = self.site_timer.is_none_or(|due| due > self.now);
        if self.site.run != run || self.site.running.is_none() || stale {
            return;
        }
        self.site_timer = None;
        self.site.handle_timeout(wall(self.now));
        self.settle_site();
    }

    fn written(&mut self, run: u64) {
        if self.site.run == run && self.site.running.is_some() {
            self.site.write();
            self.settle_site();
        }
    }

    pub(super) fn arm_site(&mut self) {
        let Some(timeout) = self.site.poll_timeout() else { return };
        let ahead = timeout.at.since(wall(self.now));
        let at = self.now + ahead.max(1) * SECOND;
        if self.site_timer.is_none_or(|set| at < set) {
            self.site_timer = Some(at);
            let run = self.site.run;
            self.schedule(at, Event::Site { run });
        }
    }

    // --- what a node wants done

    fn do_effects(&mut self, node: usize) {
        loop {
            let Life::Member(agent) = &mut self.nodes[node].life else { return };
            let effects = agent.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.do_effect(node, effect);
            }
            self.pump_host(node);
        }
    }

    fn do_effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Dial => self.dial(node),
            Effect::HangUp => self.hang_up(node),
            Effect::Say(bytes) => self.say(node, bytes),
            Effect::Datagram { to, bytes } => self.send_datagram(node, to, bytes),
            Effect::Tell(packet) => self.kernel_takes(node, &packet),
            Effect::Deliver(_) => {}
            Effect::Promised(numbers) => self.nodes[node].promised = Some(numbers),
            Effect::Cut(reason) => self.nodes[node].cuts.push(reason),
            Effect::Notice(notice) => self.nodes[node].notices.push(notice),
            Effect::Seated(seated) => {
                if let Life::Member(agent) = &self.nodes[node].life {
                    agent.sit(seated.as_ref(), relay::PLACE);
                }
            }
            Effect::Enforced(publication) => {
                let a = &publication.assembly;
                let numbers = (a.epoch, a.revision, a.generation);
                let n = &mut self.nodes[node];
                n.enforced = Some(numbers);
                if numbers.1 > 0 {
                    let law = numbers_never_decrease(&n.name, n.greatest, numbers);
                    n.greatest = Some(numbers);
                    self.check(law);
                }
            }
        }
    }

    /// Packets of the host go to the agent, until both are still.
    pub(super) fn pump_host(&mut self, node: usize) {
        while let Some(bytes) = self.nodes[node].host.poll() {
            self.host_sends(node, &bytes);
        }
        self.pump_behind(node);
        let n = &self.nodes[node];
        let due = n.behind.values().chain([&n.host]).filter_map(Host::poll_timeout).min();
        if let Some(at) = due.filter(|at| self.nodes[node].host_timer.is_none_or(|set| *at < set)) {
            self.nodes[node].host_timer = Some(at);
            self.schedule(at, Event::Host { node });
        }
    }

    fn host_sends(&mut self, node: usize, bytes: &[u8]) {
        if let Some(seen) = packet::read(bytes) {
            self.laws.sent(self.id(node), &seen);
        }
        self.tun_reads(node, bytes);
    }

    /// A packet that the kernel routes into the tunnel.
    pub(super) fn tun_reads(&mut self, node: usize, bytes: &[u8]) {
        let now = self.mono(node);
        let (n, workers) = (&mut self.nodes[node], &mut self.workers);
        if let Life::Member(agent) = &mut n.life {
            n.offered = (n.offered.0 + 1, n.offered.1 + bytes.len() as u64);
            agent.handle_packet(bytes, workers, now);
        }
        self.settle_node(node);
    }

    // --- datagrams

    fn send_datagram(&mut self, node: usize, to: SocketAddr, bytes: Vec<u8>) {
        let to_relay = to == relay::PLACE || to == annex::PLACE;
        let reaches = |from: &SocketAddr| from.is_ipv4() == to.is_ipv4() || to_relay;
        let Some(from) = self.nodes[node].underlay.iter().copied().find(reaches) else { return };
        self.storm.sent(node, &bytes, self.now);
        if self.internet.is_some() {
            return self.send_abroad(node, from, to, bytes);
        }
        if to == relay::PLACE {
            for at in self.links.arrivals(Place::Node(node), Place::Coordinator, self.now, &mut self.random) {
                self.schedule(at, Event::ToRelay { origin: node, from, bytes: bytes.clone() });
            }
            return;
        }
        if to == annex::PLACE {
            for at in self.links.arrivals(Place::Node(node), Place::Annex, self.now, &mut self.random) {
                self.schedule(at, Event::ToAnnex { origin: node, from, bytes: bytes.clone() });
            }
            return;
        }
        let Some(target) = self.owner(to) else { return };
        let (a, b) = (Place::Node(node), Place::Node(target));
        for at in self.links.arrivals(a, b, self.now, &mut self.random) {
            self.schedule(at, Event::Datagram { origin: node, from, to, bytes: bytes.clone() });
        }
    }

    /// What it passes on comes from its place, whoever wrote it.
    fn relay_carries(&mut self, origin: usize, from: SocketAddr, bytes: Vec<u8>) {
        if self.internet.is_some() && is_stun(&bytes) {
            return self.answer_abroad(from, &bytes);
        }
        for passed in self.site.carry(from, bytes, self.now) {
            if self.internet.is_some() {
                self.reaches_outside(origin, Place::Coordinator, relay::PLACE, passed.to, passed.bytes);
                continue;
            }
            let Some(target) = self.owner(passed.to) else { continue };
            for at in self.links.arrivals(Place::Coordinator, Place::Node(target), self.now, &mut self.random)
            {
                let bytes = passed.bytes.clone();
                self.schedule(at, Event::Datagram { origin, from: relay::PLACE, to: passed.to, bytes });
            }
        }
    }

    pub(super) fn owner(&self, address: SocketAddr) -> Option<usize> {
        self.nodes.iter().position(|n| n.underlay.contains(&address))
    }

    fn datagram_arrives(&mut self, origin: usize, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let owner = if self.internet.is_some() { self.let_in(origin, from, to) } else { self.owner(to) };
        let Some(node) = owner.filter(|node| !self.nodes[*node].asleep) else { return };
        let now = self.mono(node);
        let (n, workers) = (&mut self.nodes[node], &mut self.workers);
        let Life::Member(agent) = &mut n.life else { return };
        agent.handle_datagram(from, bytes, workers, now);
        let (packets, rest): (Vec<Effect>, Vec<Effect>) =
            agent.take_effects().into_iter().partition(|e| matches!(e, Effect::Deliver(_)));
        for effect in rest {
            self.do_effect(node, effect);
        }
        for effect in packets {
            if let Effect::Deliver(packet) = effect {
                self.deliver(origin, node, &packet);
            }
        }
        self.pump_host(node);
        self.settle_node(node);
    }

    /// Where the first law is asked.
    fn deliver(&mut self, origin: usize, node: usize, bytes: &[u8]) {
        let Some(seen) = packet::read(bytes) else { self.fail("a packet nobody can read was delivered") };
        let (sender, me) = (self.id(origin), self.id(node));
        let at = self.agent(node).map(|a| a.now(self.mono(node)).wall()).unwrap_or_default();
        let (_, revision, generation) = self.nodes[node].enforced.unwrap_or_default();
        let receiver = Receiver { node: me, when: Moment { generation, revision, at } };
        let law = self.laws.delivered(&self.model, receiver, sender, &seen);
        self.check(law);
        let now = self.now;
        let n = &mut self.nodes[node];
        n.given_at = now;
        n.given.0 += 1;
        n.given.1 += seen.total as u64;
        n.offered = (n.offered.0 + 1, n.offered.1 + bytes.len() as u64);
        n.host.packets += 1;
        self.kernel_takes(node, bytes);
    }

    // --- laws of time

    /// Every online node enforces the current generation within two seconds, if nothing stands between.
    pub(super) fn everyone_enforces_in_time(&self) {
        let generation = self.model.generation();
        for (index, node) in self.nodes.iter().enumerate() {
            let (Life::Member(agent), Some(online)) = (&node.life, node.online) else { continue };
            if self.links.is_cut(Place::Coordinator, Place::Node(index)) || self.site.running.is_none() {
                continue;
            }
            let since = online.max(self.applied).max(self.disturbed);
            let has = node.enforced.map_or(0, |numbers| numbers.2);
            if self.now > since + ENFORCED_WITHIN && has != generation {
                let status = agent.status(self.mono(index));
                self.fail(&format!(
                    "every online node enforces the current generation within 2 s: {} enforces {has} of {generation}; {status:?}",
                    node.name
                ));
            }
        }
    }

    // --- candidates

    pub(super) fn candidate_hears(&mut self, node: usize, bytes: &[u8]) {
        let n = &mut self.nodes[node];
        let Life::Candidate(candidate) = &mut n.life else { return };
        for progress in candidate.handle_bytes(bytes, &n.disk) {
            match progress {
                Progress::Say(bytes) => self.say(node, bytes),
                Progress::Done(membership) => {
                    self.hang_up(node);
                    self.nodes[node].disk.membership = Some(*membership);
                    self.start_agent(node);
                    return;
                }
                Progress::Again(_) => {
                    self.hang_up(node);
                    self.retry(node);
                    return;
                }
                Progress::Refused(error) => {
                    self.hang_up(node);
                    self.nodes[node].refused = Some(error.to_string());
                    self.nodes[node].life = Life::Off;
                    return;
                }
            }
        }
    }

    pub(super) fn retry(&mut self, node: usize) {
        let at = self.now + SECOND + self.random.below(SECOND);
        let boot = self.nodes[node].boot;
        self.schedule(at, Event::Retry { node, boot });
    }
}
