//! What scenarios do and ask: nodes come and go, hosts talk, administrators decide.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use warren_config::policy::Protocol;
use warren_wire::flow::Ended;
use warren_wire::issue::NameRule;
use warren_wire::specimen::name;
use warren_wire::token::Token;

use super::{Event, Life, Node, PORT, World};
use crate::agent::{Agent, Birth};
use crate::candidate::Candidate;
use crate::clock::{MS, skewed_ms, wall};
use crate::disk::Disk;
use crate::host::{Connection, Ends, Host, State};
use crate::relay;
use crate::site::Failure;

/// A TCP connection from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    pub from: usize,
    pub to: usize,
    pub ends: Ends,
}

/// What came of a try to reach something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Arrived,
    /// The application was told no, after so many milliseconds.
    Refused(u64),
    Silent,
}

impl World {
    // --- the administrator

    /// Applies a policy; it must be accepted.
    pub fn apply(&mut self, text: &str) -> u64 {
        match self.try_apply(text) {
            Ok(generation) => generation,
            Err(error) => self.fail(&format!("a policy is refused: {error:?}")),
        }
    }

    pub fn try_apply(&mut self, text: &str) -> Result<u64, Failure> {
        let state = self.site.state().ok_or(Failure::Down)?;
        let (generation, epoch) = (state.generation() + 1, state.epoch());
        let command = self.admin.policy(text, generation, epoch, wall(self.now));
        self.command(command).map(|_| generation)
    }

    pub fn token(&mut self, names: NameRule, tags: &[&str], uses: u32) -> Token {
        let (command, token) = self.admin.token(names, tags, uses, wall(self.now));
        match self.command(command) {
            Ok(_) => token,
            Err(error) => self.fail(&format!("a token is refused: {error:?}")),
        }
    }

    pub fn revoke(&mut self, node: usize) -> Result<u64, Failure> {
        let command = self.admin.revoke(self.id(node), wall(self.now));
        self.command(command)
    }

    pub fn retag(&mut self, node: usize, tags: &[&str]) -> Result<u64, Failure> {
        let id = self.id(node);
        let known = self.site.state().and_then(|s| s.directory().get(&id).cloned());
        let serial = known.map_or(0, |n| n.member.amendment_serial) + 1;
        let command = self.admin.amend(id, serial, &self.nodes[node].name.clone(), tags);
        self.command(command)
    }

    // --- nodes

    /// A host that is not a member yet.
    pub fn add_node(&mut self, node_name: &str) -> usize {
        let index = self.nodes.len();
        let i = index as u64;
        let v4 = format!("198.18.{}.{}:{PORT}", 1 + i / 200, 1 + i % 200);
        let v6 = format!("[2001:db8:{:x}::1]:{PORT}", i + 1);
        let disk = Disk::new(self.seed, i);
        self.nodes.push(Node {
            id: warren_wire::trust::node_id(self.admin.network.id(), &disk.key()),
            name: node_name.to_owned(),
            host: Host::default(),
            behind: BTreeMap::new(),
            disk,
            underlay: vec![v4.parse().unwrap(), v6.parse().unwrap()],
            skew_ms: 0,
            notices: Vec::new(),
            cuts: Vec::new(),
            refused: None,
            enforced: None,
            greatest: None,
            promised: None,
            given: (0, 0),
            given_at: 0,
            life: Life::Off,
            boot: 0,
            channel: None,
            asleep: false,
            timer: None,
            host_timer: None,
            online: None,
            last_start: None,
            offered: (0, 0),
        });
        index
    }

    /// Starts an enrolment.
    pub fn enrol(&mut self, node: usize, token: &Token) {
        self.off(node);
        self.nodes[node].life = Life::Candidate(Box::new(Candidate::new(token)));
        self.nodes[node].refused = None;
        self.dial(node);
    }

    /// A new host with a token of its own, until it enforces something.
    pub fn join(&mut self, node_name: &str, tags: &[&str]) -> usize {
        let node = self.add_node(node_name);
        let token = self.token(NameRule::Exactly(name(node_name)), tags, 1);
        self.enrol(node, &token);
        if !self.run_until(10_000, |w| w.enforces(node)) {
            let refused = self.nodes[node].refused.clone();
            self.fail(&format!("{node_name} does not come in: {refused:?}"));
        }
        node
    }

    pub fn enforces(&self, node: usize) -> bool {
        self.nodes[node].enforced.is_some_and(|n| n.2 == self.model.generation() && n.1 > 0)
    }

    pub fn is_member(&self, node: usize) -> bool {
        self.nodes[node].disk.membership.is_some()
    }
    pub fn is_on(&self, node: usize) -> bool {
        !matches!(self.nodes[node].life, Life::Off)
    }
    pub fn is_online(&self, node: usize) -> bool {
        self.nodes[node].online.is_some()
    }

    /// Starts the agent of a member from its disk.
    pub fn start_agent(&mut self, node: usize) {
        self.off(node);
        let (now, seed) = (self.mono(node), self.random.bytes());
        let boot = self.nodes[node].boot;
        let n = &mut self.nodes[node];
        let Some(membership) = &n.disk.membership else { return };
        let judged = std::mem::take(&mut n.disk.ledger).read();
        if let Some(boot) = n.last_start.replace(boot) {
            n.disk.ended.push(Ended { boot, packets: judged.packets, bytes: judged.bytes });
        }
        n.host.addresses = membership.member.addresses().collect();
        let (endpoints, host_ms) = (n.underlay.clone(), skewed_ms(self.now, n.skew_ms));
        let stun = self.internet.is_some().then_some(relay::PLACE);
        let agent = Agent::start(&mut n.disk, Birth { boot, seed, endpoints, host_ms, stun, now });
        n.life = Life::Member(Box::new(agent));
        self.settle_node(node);
    }

    /// The agent stops in order: flows and what is not acknowledged are written, the connection is closed.
    pub fn stop_node(&mut self, node: usize) {
        let now = self.mono(node);
        let n = &mut self.nodes[node];
        if let Life::Member(agent) = &mut n.life {
            agent.stop(&mut n.disk, now);
        }
        self.settle_node(node);
        self.hang_up(node);
        self.off(node);
    }

    /// The agent dies where it stands.
    pub fn crash_node(&mut self, node: usize) {
        if let Some(id) = self.nodes[node].channel {
            // Nobody says goodbye: the coordinator finds out by itself.
            let at = self.now + crate::channel::IDLE;
            self.schedule(at, Event::LostAtSite { channel: id });
        }
        self.off(node);
        self.nodes[node].disk.flows.clear();
    }

    /// The host falls asleep where it stands: its agent does nothing and hears nothing until [`World::wake_node`].
    pub fn suspend_node(&mut self, node: usize) {
        if let Some(id) = self.nodes[node].channel {
            let at = self.now + crate::channel::IDLE;
            self.schedule(at, Event::LostAtSite { channel: id });
        }
        self.nodes[node].asleep = true;
        self.nodes[node].online = None;
    }

    /// It wakes up; the agent notices by its clocks.
    pub fn wake_node(&mut self, node: usize) {
        let (now, up) = (self.mono(node), self.now);
        let (n, workers) = (&mut self.nodes[node], &mut self.workers);
        n.asleep = false;
        n.host.handle_timeout(up);
        if let Life::Member(agent) = &mut n.life {
            agent.handle_resumed(&mut n.disk, workers, now);
        }
        self.settle_node(node);
        self.pump_host(node);
    }

    pub fn restart_node(&mut self, node: usize) {
        self.stop_node(node);
        self.start_agent(node);
    }

    /// Ends this start of whatever runs there.
    fn off(&mut self, node: usize) {
        self.boots += 1;
        let boot = self.boots;
        let n = &mut self.nodes[node];
        n.life = Life::Off;
        n.boot = boot;
        n.channel = None;
        n.timer = None;
        n.online = None;
        n.enforced = None;
        n.greatest = n.promised;
        n.given = (0, 0);
    }

    /// Nobody dies any more of a fuse that was lit.
    pub(super) fn put_out_fuses(&mut self) {
        for node in &mut self.nodes {
            if let Life::Member(agent) = &mut node.life {
                agent.fuse = None;
            }
        }
    }

    /// The machine dies after so many more things control wants done.
    pub fn light_fuse(&mut self, node: usize, outputs: u32) {
        if let Life::Member(agent) = &mut self.nodes[node].life {
            agent.fuse = Some(outputs);
        }
    }

    /// The host is somewhere else now.
    pub fn move_node(&mut self, node: usize, underlay: &[&str]) {
        let addresses: Vec<SocketAddr> = underlay.iter().map(|a| a.parse().unwrap()).collect();
        let now = self.mono(node);
        let n = &mut self.nodes[node];
        n.underlay = addresses.clone();
        if let Life::Member(agent) = &mut n.life {
            agent.handle_endpoints(addresses, &mut n.disk, now);
        }
        self.migrate(node);
        self.settle_node(node);
    }

    // --- hosts

    /// Opens a connection to a host without an agent.
    pub fn open_behind(&mut self, from: usize, remote: SocketAddr) -> Option<Ends> {
        self.kernel_route(from, remote.ip())?;
        let ends = self.nodes[from].host.connect(remote, self.now)?;
        self.pump_host(from);
        Some(ends)
    }

    /// Where `to` may be reached from `from` inside.
    pub fn address(&self, to: usize, v6: bool) -> Option<IpAddr> {
        let membership = self.nodes[to].disk.membership.as_ref()?;
        membership.member.addresses().find(|a| a.is_ipv6() == v6)
    }

    pub fn open(&mut self, from: usize, to: usize, port: u16) -> Flow {
        let remote = SocketAddr::new(self.address(to, false).unwrap(), port);
        let now = self.now;
        let ends = self.nodes[from].host.connect(remote, now).unwrap();
        self.pump_host(from);
        Flow { from, to, ends }
    }

    pub fn send(&mut self, flow: Flow, bytes: u64) {
        let now = self.now;
        self.nodes[flow.from].host.send(flow.ends, bytes, now);
        self.pump_host(flow.from);
    }

    /// Bytes from the side that did not open it.
    pub fn send_back(&mut self, flow: Flow, bytes: u64) {
        let now = self.now;
        let ends = Ends { local: flow.ends.remote, remote: flow.ends.local };
        self.nodes[flow.to].host.send(ends, bytes, now);
        self.pump_host(flow.to);
    }

    pub fn near(&self, flow: Flow) -> &Connection {
        &self.nodes[flow.from].host.connections[&flow.ends]
    }

    /// The other end, once it has heard of the connection.
    pub fn far(&self, flow: Flow) -> Option<&Connection> {
        let ends = Ends { local: flow.ends.remote, remote: flow.ends.local };
        self.nodes[flow.to].host.connections.get(&ends)
    }

    /// Tries once, from host to host, for at most three seconds.
    pub fn reach(&mut self, from: usize, to: usize, protocol: Protocol, port: u16, v6: bool) -> Reach {
        match self.address(to, v6) {
            Some(address) => self.reach_address(from, address, protocol, port),
            None => Reach::Silent,
        }
    }

    /// The same, wherever the address is.
    pub(super) fn reach_address(
        &mut self,
        from: usize,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Reach {
        let remote = SocketAddr::new(address, port);
        let (started, now) = (self.now, self.now);
        let host = &mut self.nodes[from].host;
        match protocol {
            Protocol::Tcp => {
                let Some(ends) = host.connect(remote, now) else { return Reach::Silent };
                self.pump_host(from);
                let over = |w: &World| w.nodes[from].host.connections[&ends].state != State::Opening;
                self.run_until(3_000, over);
                let state = self.nodes[from].host.connections[&ends].state;
                self.nodes[from].host.close(ends, now);
                self.pump_host(from);
                match state {
                    State::Open | State::Closed => Reach::Arrived,
                    State::Opening | State::TimedOut => Reach::Silent,
                    State::Reset | State::Refused => Reach::Refused((self.now - started) / MS),
                }
            }
            Protocol::Udp => {
                let Some(ends) = host.udp(remote, b"question") else { return Reach::Silent };
                let key = (ends.local, ends.remote);
                let again = |host: &mut Host| host.udp_again(ends, b"question");
                self.ask(from, again, move |host| host.answers.contains_key(&key))
            }
            Protocol::IcmpEcho => {
                let Some(id) = host.ping(address) else { return Reach::Silent };
                let again = |host: &mut Host| host.ping_again(address, id);
                self.ask(from, again, move |host| host.pongs.contains_key(&id))
            }
            Protocol::Number(_) => Reach::Silent,
        }
    }

    /// Asks again every half second, as applications do, until there is an answer or a refusal.
    fn ask(&mut self, from: usize, again: impl Fn(&mut Host), answered: impl Fn(&Host) -> bool) -> Reach {
        let (started, told) = (self.now, self.nodes[from].host.told.len());
        for _ in 0..6 {
            self.pump_host(from);
            let over = |w: &World| answered(&w.nodes[from].host) || w.nodes[from].host.told.len() > told;
            if self.run_until(500, over) {
                break;
            }
            again(&mut self.nodes[from].host);
        }
        match (answered(&self.nodes[from].host), self.nodes[from].host.told.len() > told) {
            (true, _) => Reach::Arrived,
            (false, true) => Reach::Refused((self.now - started) / MS),
            (false, false) => Reach::Silent,
        }
    }

    /// What applications of a host have to send goes out.
    pub fn pump(&mut self, node: usize) {
        self.pump_host(node);
    }

    /// Hands a packet to a node's agent as if its host had sent it.
    pub fn inject(&mut self, node: usize, packet: Vec<u8>) {
        self.nodes[node].host.raw(packet);
        self.pump_host(node);
    }
}
