//! A coordinator with a store in memory, an administrator with the authority's key, and hosts that check everything.

#![allow(dead_code, reason = "each test file uses its own part of the world")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ed25519_dalek::SigningKey;
use warren_config::item::Root;
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::time::UnixTime;
use warren_coordinator_core::Coordinator;
use warren_coordinator_core::change::{Principal, SourceText};
use warren_coordinator_core::command::Command;
use warren_coordinator_core::doors::Transport;
use warren_coordinator_core::output::{ConnId, Output};
use warren_coordinator_core::policies::InForce;
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::state::State;
use warren_coordinator_core::store::{MemoryStore, Store, StoreError};
use warren_wire::frame::*;
use warren_wire::id::{IdentityKey, NodeId, Revision};
use warren_wire::issue::{self, LaneSecret, NameRule, Place, Terms};
use warren_wire::relay::Seat;
use warren_wire::signed::Signed;
use warren_wire::specimen::{EPOCH_TIME, SpecimenNetwork, seed_bytes};
use warren_wire::trust::{Record, SignedPolicy};
use warren_wire::view::{Delta, Key, View};
use zeroize::Zeroizing;

pub const START: UnixTime = UnixTime(EPOCH_TIME.0 + 1000);
pub const WEEK: u64 = 7 * 24 * 3600;

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub fn admin() -> Principal {
    Principal::Local("root".into())
}

/// A host with its keys, and what it was told.
pub struct Host {
    pub identity: SigningKey,
    pub lane: [u8; 32],
    pub conn: Option<ConnId>,
    pub record: Option<Record>,
    pub view: View,
    pub held: (u64, Revision),
    pub deltas: usize,
    /// Those of them that told nothing but the network's roll.
    pub rolls: usize,
    pub whole: usize,
    pub freshness: Vec<Signed>,
    pub refused: Option<Refused>,
    pub offer: Option<EnrolOffer>,
    pub stored: Vec<FlowsStored>,
    /// Who knocked.
    pub knocks: Vec<NodeId>,
    /// As its node was told.
    pub seats: Vec<Seated>,
    pub source: IpAddr,
    /// It says of what it was told that it enforces it, at once.
    pub enforces: bool,
    owes: bool,
}

impl Host {
    pub fn new(seed: u64) -> Host {
        Host {
            identity: SigningKey::from_bytes(&seed_bytes(seed, "host", 0)),
            lane: seed_bytes(seed, "host lane", 0),
            conn: None,
            record: None,
            view: View::default(),
            held: (0, 0),
            deltas: 0,
            rolls: 0,
            whole: 0,
            freshness: Vec::new(),
            refused: None,
            offer: None,
            stored: Vec::new(),
            knocks: Vec::new(),
            seats: Vec::new(),
            source: IpAddr::from([192, 0, 2, (seed % 250) as u8 + 1]),
            enforces: true,
            owes: false,
        }
    }
    pub fn key(&self) -> IdentityKey {
        IdentityKey::of(&self.identity)
    }
    pub fn code(&self) -> Option<RefusalCode> {
        self.refused.as_ref().map(|r| RefusalCode::try_from(r.code).unwrap())
    }
    pub fn peers(&self) -> Vec<NodeId> {
        let peer = |key: &Key| if let Key::Peer(id) = key { Some(*id) } else { None };
        self.view.entries.keys().filter_map(peer).collect()
    }
    pub fn lane_keys(&self, world: &World, serial: u64) -> Signed {
        let lane =
            LaneSecret { private: Zeroizing::new(self.lane), nonce: Zeroizing::new([serial as u8 | 1; 64]) };
        issue::sign_lane_keys(world.net.id(), &self.identity, serial, &[lane])
    }
}

pub struct World {
    pub net: SpecimenNetwork,
    pub coordinator: Coordinator,
    pub store: MemoryStore,
    pub now: UnixTime,
    pub hosts: Vec<Host>,
    pub tokens: BTreeMap<IdentityKey, SigningKey>,
    pub alarms: Vec<warren_coordinator_core::alarm::Alarm>,
    pub cleared: Vec<warren_coordinator_core::alarm::Alarm>,
    pub stored_flows: usize,
    /// What relays that are programs of their own were told, and how they were let go.
    pub to_relays: Vec<(ConnId, ToRelay)>,
    pub relays_closed: Vec<(ConnId, Refused)>,
    /// As the relay was told.
    pub seated: BTreeMap<Seat, (NodeId, Seated)>,
    conn: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        World::founded(SpecimenNetwork::new(seed), WEEK)
    }

    /// A network whose IPv4 range is this.
    pub fn with_range(seed: u64, range: &str) -> World {
        let mut net = SpecimenNetwork::new(seed);
        net.network.v4_range = range.parse().unwrap();
        net.charter = issue::charter(&net.network, EPOCH_TIME, &net.authority);
        World::founded(net, WEEK)
    }

    pub fn founded(net: SpecimenNetwork, freshness: u64) -> World {
        let mut store = MemoryStore::new();
        let command = Command::FoundNetwork {
            charter: net.charter.clone(),
            authorities: net.trust.authorities.clone(),
            freshness,
        };
        let proposal = State::default().propose(command, admin(), START).unwrap();
        store.commit(proposal.entry()).unwrap();
        let coordinator = open(&mut store, &net, START);
        World {
            net,
            coordinator,
            store,
            now: START,
            hosts: Vec::new(),
            tokens: BTreeMap::new(),
            alarms: Vec::new(),
            cleared: Vec::new(),
            stored_flows: 0,
            to_relays: Vec::new(),
            relays_closed: Vec::new(),
            seated: BTreeMap::new(),
            conn: 0,
        }
    }

    /// The process dies and starts again from the store.
    pub fn restart(&mut self) {
        self.coordinator = open(&mut self.store, &self.net, self.now);
        for host in &mut self.hosts {
            host.conn = None;
        }
        self.drain();
    }

    // --- the administrator

    pub fn command(&mut self, command: Command) -> Result<Revision, Refusal> {
        let proposal = self.coordinator.handle_command(command, admin(), self.now)?;
        let revision = self.coordinator.commit(&mut self.store, proposal, self.now);
        self.drain();
        Ok(revision.unwrap())
    }

    pub fn token_with(
        &mut self,
        names: NameRule,
        tags: &[&str],
        uses: u32,
        life: u64,
    ) -> Result<IdentityKey, Refusal> {
        self.token_leased(names, tags, uses, life, 0)
    }

    pub fn token_leased(
        &mut self,
        names: NameRule,
        tags: &[&str],
        uses: u32,
        life: u64,
        lease: u64,
    ) -> Result<IdentityKey, Refusal> {
        let secret =
            SigningKey::from_bytes(&seed_bytes(self.net.seed, "world token", self.tokens.len() as u64));
        let key = IdentityKey::of(&secret);
        let terms = Terms {
            names,
            tags: tags.iter().map(|t| name(t)).collect(),
            uses,
            created: self.now,
            not_after: self.now.plus(life),
            lease,
        };
        self.tokens.insert(key, secret);
        let delegation = issue::delegation(self.net.id(), &key, &terms, &self.net.authority);
        self.command(Command::StoreToken { delegation }).map(|_| key)
    }

    pub fn token(&mut self, tags: &[&str], uses: u32) -> IdentityKey {
        self.token_with(NameRule::AnyFree, tags, uses, 3600).unwrap()
    }

    pub fn policy_command(&self, text: &str) -> Command {
        let sources = vec![SourceText { file: "policy.toml".into(), text: text.into() }];
        let policy = InForce::of_sources(&sources).unwrap();
        let generation = self.coordinator.state().generation() + 1;
        let head = self.head(generation, policy.tree.root(), policy.tree.len());
        Command::ApplyPolicy { sources, head, expect: None, allow_observe: false }
    }

    pub fn head(&self, generation: u64, root: Root, items: u64) -> Signed {
        let epoch = self.coordinator.state().epoch();
        let policy = SignedPolicy { epoch, generation, root, items };
        issue::policy_head(self.net.id(), &policy, self.now, &self.net.authority)
    }

    pub fn apply(&mut self, text: &str) -> Result<Revision, Refusal> {
        let command = self.policy_command(text);
        self.command(command)
    }

    pub fn revoke(&mut self, host: usize) -> Result<Revision, Refusal> {
        let node = self.id(host);
        let revocation = issue::revocation(self.net.id(), node, self.now, "test", &self.net.authority);
        self.command(Command::RevokeNode { revocation })
    }

    pub fn amend(
        &mut self,
        host: usize,
        serial: u64,
        new_name: &str,
        tags: &[&str],
    ) -> Result<Revision, Refusal> {
        let node = self.id(host);
        let subject = Subject { name: name(new_name), tags: tags.iter().map(|t| name(t)).collect() };
        let amendment = issue::amendment(self.net.id(), node, serial, &subject, &self.net.authority);
        self.command(Command::AmendNode { node, amendment })
    }

    // --- hosts

    pub fn add_host(&mut self) -> usize {
        self.hosts.push(Host::new(self.net.seed * 100_000 + self.hosts.len() as u64));
        self.hosts.len() - 1
    }

    /// The overlay address of a node.
    pub fn v4(&self, node: &str) -> std::net::IpAddr {
        self.coordinator.node(node).unwrap().v4.unwrap().into()
    }

    pub fn id(&self, host: usize) -> NodeId {
        warren_wire::trust::node_id(self.net.id(), &self.hosts[host].key())
    }

    pub fn connect(&mut self, host: usize) -> ConnId {
        self.conn += 1;
        let conn = ConnId(self.conn);
        let (key, from) = (self.hosts[host].key(), SocketAddr::new(self.hosts[host].source, 40_000));
        self.hosts[host].conn = Some(conn);
        self.coordinator.handle_connected(conn, key, (from, Transport::Udp), self.now);
        self.drain();
        conn
    }

    pub fn disconnect(&mut self, host: usize) {
        if let Some(conn) = self.hosts[host].conn.take() {
            self.coordinator.handle_disconnected(conn, self.now);
        }
        self.drain();
    }

    /// One frame through decide, commit, apply, drain.
    pub fn says(&mut self, host: usize, says: NodeSays) -> Option<Result<Revision, StoreError>> {
        let conn = self.hosts[host].conn.unwrap();
        let frame = ToCoordinator { says: Some(says) };
        let proposal = self.coordinator.handle_frame(conn, frame, self.now);
        let outcome = proposal.map(|p| self.coordinator.commit(&mut self.store, p, self.now));
        self.drain();
        outcome
    }

    pub fn begin(&mut self, host: usize, token: &IdentityKey, wanted: &str) {
        self.hosts[host].offer = None;
        let wish = EnrolBegin {
            token_key: token.0.to_vec(),
            name: wanted.into(),
            agent: "test".into(),
            ..EnrolBegin::default()
        };
        self.says(host, NodeSays::EnrolBegin(wish));
    }

    /// It would like to be called so.
    pub fn begin_liking(&mut self, host: usize, token: &IdentityKey, like: &str) {
        self.hosts[host].offer = None;
        let wish = EnrolBegin { token_key: token.0.to_vec(), like: like.into(), ..EnrolBegin::default() };
        self.says(host, NodeSays::EnrolBegin(wish));
    }

    /// Statements for the offer a host has.
    pub fn statements(&self, host: usize, token: &IdentityKey) -> EnrolCommit {
        let offer = self.hosts[host].offer.as_ref().unwrap();
        let delegation = offer.delegation.as_ref().unwrap();
        let terms = self.net.trust.delegation(delegation).unwrap();
        let place = Place {
            name: name(&offer.name),
            tags: terms.tags.iter().map(|t| name(t)).collect(),
            v4: <[u8; 4]>::try_from(offer.v4.as_slice()).ok().map(Into::into),
            v6: <[u8; 16]>::try_from(offer.v6.as_slice()).unwrap().into(),
            enrolled: UnixTime(offer.now),
        };
        let host = &self.hosts[host];
        EnrolCommit {
            admission: Some(issue::admission(self.net.id(), &place, &self.tokens[token], &host.identity)),
            keys: Some(host.lane_keys(self, 1)),
        }
    }

    pub fn finish(&mut self, host: usize, token: &IdentityKey) -> Option<Result<Revision, StoreError>> {
        let statements = self.statements(host, token);
        self.says(host, NodeSays::EnrolCommit(statements))
    }

    pub fn hello(&mut self, host: usize) {
        let h = &self.hosts[host];
        let digest = if h.held.1 == 0 { Vec::new() } else { h.view.digest().0.to_vec() };
        let hello = Hello { epoch: h.held.0, revision: h.held.1, digest, agent: "test".into(), boot: 1 };
        self.says(host, NodeSays::Hello(hello));
    }

    pub fn online(&mut self, host: usize) {
        self.connect(host);
        self.hello(host);
    }

    /// A new host of this name and these tags, enrolled and online.
    pub fn join(&mut self, node_name: &str, tags: &[&str]) -> usize {
        let token = self.token_with(NameRule::Exactly(name(node_name)), tags, 1, 3600).unwrap();
        let host = self.add_host();
        self.connect(host);
        self.begin(host, &token, "");
        assert!(self.finish(host, &token).unwrap().is_ok());
        self.hello(host);
        host
    }

    pub fn enforce(&mut self, host: usize) {
        let generation = self.coordinator.state().generation();
        let (epoch, revision) = self.hosts[host].held;
        self.says(host, NodeSays::Enforced(Enforced { epoch, revision, generation }));
    }

    pub fn endpoints(&mut self, host: usize, candidates: &[&str]) {
        let candidates = candidates.iter().map(|c| c.to_string()).collect();
        self.says(
            host,
            NodeSays::Endpoints(MyEndpoints { candidates, port: 51820, ..MyEndpoints::default() }),
        );
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(seconds);
        self.coordinator.handle_timeout(self.now);
        if let Some(proposal) = self.coordinator.end_leases(self.now) {
            self.coordinator.commit(&mut self.store, proposal, self.now).unwrap();
        }
        self.drain();
    }

    // --- what comes out

    pub fn drain(&mut self) {
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Send(conn, message) => {
                    self.receive(conn, message);
                    self.acknowledge(conn);
                }
                Output::Close(conn, refused) => {
                    if let Some(host) = self.hosts.iter_mut().find(|h| h.conn == Some(conn)) {
                        host.refused = Some(refused);
                        host.conn = None;
                    }
                    self.coordinator.handle_disconnected(conn, self.now);
                }
                Output::Alarm(alarm) => self.alarms.push(alarm),
                Output::AlarmCleared(alarm) => self.cleared.push(alarm),
                Output::StoreFlows(batch) => {
                    self.stored_flows += batch.rows.len();
                    let entry = &batch.entry;
                    self.coordinator.handle_flows_written(entry.node, entry.boot, entry.sequence);
                }
                Output::Seated(node, seated) => {
                    self.seated.insert(seated.seat, (node, seated));
                }
                Output::Unseated(seat) => assert!(self.seated.remove(&seat).is_some()),
                Output::SendRelay(conn, said) => self.to_relays.push((conn, said)),
                Output::CloseRelay(conn, refused) => {
                    self.relays_closed.push((conn, refused));
                    self.coordinator.handle_relay_disconnected(conn, self.now);
                }
                Output::Authorised(..) | Output::RelayAuthorised(_) | Output::Log(_) => {}
            }
        }
    }

    /// Of a node that enforces what it is told: says so.
    fn acknowledge(&mut self, conn: ConnId) {
        let due = |host: &&mut Host| host.conn == Some(conn) && host.enforces && host.owes;
        let Some(host) = self.hosts.iter_mut().find(due) else { return };
        host.owes = false;
        let (epoch, revision) = host.held;
        let generation = self.coordinator.state().generation();
        let says = Some(NodeSays::Enforced(Enforced { epoch, revision, generation }));
        assert!(self.coordinator.handle_frame(conn, ToCoordinator { says }, self.now).is_none());
    }

    fn receive(&mut self, conn: ConnId, message: ToNode) {
        let Some(at) = self.hosts.iter().position(|h| h.conn == Some(conn)) else { return };
        let id = self.id(at);
        let (trust, network) = (&self.net.trust, &self.net.network);
        let host = &mut self.hosts[at];
        match message.says.unwrap() {
            CoordinatorSays::EnrolOffer(offer) => host.offer = Some(offer),
            CoordinatorSays::Enrolled(enrolled) => host.record = enrolled.record,
            CoordinatorSays::Refused(refused) => host.refused = Some(refused),
            CoordinatorSays::Welcome(_) => {}
            CoordinatorSays::Delta(delta) => {
                host.take(delta, |head| trust.view_head(network, head, id).unwrap())
            }
            CoordinatorSays::Freshness(signed) => {
                trust.freshness(network, &signed).unwrap();
                host.freshness.push(signed);
            }
            CoordinatorSays::FlowsStored(stored) => host.stored.push(stored),
            CoordinatorSays::Knock(knock) => host.knocks.extend(knock.peer()),
            CoordinatorSays::Relay(said) => {
                let seated = said.read().unwrap();
                // It may be told again, of other relays.
                let (node, known) = &self.seated[&seated.seat];
                let known = Seated { relays: seated.relays.clone(), ..known.clone() };
                assert_eq!((*node, known), (id, seated.clone()), "the relay knows it first");
                host.seats.push(seated);
            }
        }
    }
}

impl Host {
    /// As a node: the delta must build on what is held, and its head must name the digest of the result.
    fn take(&mut self, delta: Delta, check: impl Fn(&Signed) -> warren_wire::statement::ViewHead) {
        match delta.base_revision {
            None => {
                self.view = View::default();
                self.whole += 1;
            }
            Some(base) => assert_eq!(base, self.held.1, "a delta builds on what was sent last"),
        }
        let keys: Vec<Key> = delta.put.iter().map(|entry| entry.key().unwrap()).collect();
        let gone = delta.remove.iter().map(|removed| Key::try_from(removed).unwrap());
        let roll = keys.into_iter().chain(gone).all(|key| matches!(key, Key::Roll(_)));
        self.rolls += usize::from(roll);
        self.view.apply(delta.put, &delta.remove).unwrap();
        let head = check(delta.head.as_ref().expect("small views come in one frame"));
        assert_eq!(head.digest, self.view.digest().0.to_vec(), "the head names the view's digest");
        assert!((head.epoch, head.revision) >= self.held, "never backwards");
        self.held = (head.epoch, head.revision);
        self.deltas += 1;
        self.owes = true;
    }
}

pub fn open(store: &mut MemoryStore, net: &SpecimenNetwork, now: UnixTime) -> Coordinator {
    let log = store.read(0, usize::MAX).unwrap();
    let state = State::replay(&log).unwrap();
    Coordinator::new(state, net.coordinator.clone(), now).unwrap_or_else(|e| panic!("{e}"))
}

/// web may open orders; orders may open db; everyone may ping `ops` hosts only if the policy says so.
pub const CHAIN: &str = r#"
version = 1
[tag.web]
[tag.orders]
[tag.db]
[service.orders-api]
on = ["tag:orders"]
listen = ["tcp/8443"]
[service.db-sql]
on = ["tag:db"]
listen = ["tcp/5432"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders-api"]
[[grant]]
id = "orders-reads-db"
from = ["tag:orders"]
to = ["service:db-sql"]
"#;
