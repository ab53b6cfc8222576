//! All of it together: one queue of events in the order of (time, sequence), one step at a time, the laws after each.
//!
//! - [`run`]: taking events and handing them to whom they concern.
//! - [`abroad`]: the way through NATs, and events that strike many at once.
//! - [`control`]: connections between nodes and the coordinator.
//! - [`script`]: what scenarios do and ask.
//! - [`relays`]: a relay that is a program of its own.
//! - [`subnets`]: hosts without an agent, behind nodes that lead to them.
//! - [`quiet`]: what must hold once nothing is under way any more.

mod abroad;
mod control;
mod quiet;
mod relays;
mod run;
mod script;
mod subnets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use sha2::Sha256;
use warren_coordinator_core::change::LogHead;
use warren_node_core::control::{CutReason, Notice};
use warren_wire::id::NodeId;

use crate::administrator::Administrator;
use crate::agent::{Agent, Workers};
use crate::annex::Annex;
use crate::candidate::Candidate;
use crate::channel::Channel;
use crate::clock::{MS, wall};
use crate::disk::Disk;
use crate::host::{Host, Port};
use crate::internet::Internet;
use crate::laws::{Laws, Numbers};
use crate::link::Links;
use crate::model::Model;
use crate::random::Random;
use crate::site::Site;
use crate::storm::Storm;

pub use script::{Flow, Reach};

/// A node's WireGuard port.
pub const PORT: u16 = 51_820;
/// Every online node enforces the current generation within this time.
pub const ENFORCED_WITHIN: u64 = 2_000 * MS;

#[derive(Debug)]
enum Event {
    /// A datagram arrives; `origin` is who really sent it.
    Datagram {
        origin: usize,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A datagram arrives at the relay.
    ToRelay {
        origin: usize,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// The same, at the relay that is a program of its own.
    ToAnnex {
        origin: usize,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A connection attempt ends: it stands, or it does not.
    Dialled {
        node: usize,
        boot: u64,
        from: SocketAddr,
    },
    Message {
        channel: u64,
        toward: crate::channel::Direction,
        bytes: Vec<u8>,
    },
    /// The node's end of a connection learns that it is gone.
    LostAtNode {
        channel: u64,
        why: &'static str,
    },
    LostAtSite {
        channel: u64,
    },
    /// Nothing came through for the idle time.
    Idle {
        channel: u64,
    },
    Node {
        node: usize,
        boot: u64,
    },
    Retry {
        node: usize,
        boot: u64,
    },
    Host {
        node: usize,
    },
    Site {
        run: u64,
    },
    /// What the coordinator gave to its disk so long ago is on it.
    Written {
        run: u64,
    },
}

/// What runs on a node.
#[derive(Default)]
enum Life {
    #[default]
    Off,
    Candidate(Box<Candidate>),
    Member(Box<Agent>),
}

pub struct Node {
    pub id: NodeId,
    pub name: String,
    pub host: Host,
    /// Hosts without an agent as this node's kernel knows them. It shows itself to them by its own address (masquerade), so what
    /// one host has with two gateways has nothing in common, and each gateway has its own.
    pub behind: BTreeMap<IpAddr, Host>,
    pub disk: Disk,
    /// Underlay addresses, IPv4 or IPv6 or both.
    pub underlay: Vec<SocketAddr>,
    /// The host's wall clock is so far ahead, milliseconds.
    pub skew_ms: i64,
    pub notices: Vec<Notice>,
    pub cuts: Vec<CutReason>,
    /// Why an enrolment failed for good.
    pub refused: Option<String>,
    /// Numbers of what the data plane enforces now.
    pub enforced: Option<Numbers>,
    /// The greatest numbers of this start, and those the coordinator was ever told.
    greatest: Option<Numbers>,
    promised: Option<Numbers>,
    /// Packets and bytes this start's agent gave to its host as coming from peers.
    given: (u64, u64),
    given_at: u64,
    life: Life,
    boot: u64,
    channel: Option<u64>,
    timer: Option<u64>,
    host_timer: Option<u64>,
    /// Since when the coordinator has had a session with it.
    online: Option<u64>,
    /// Its host sleeps: nothing happens there, and what comes is lost.
    asleep: bool,
    /// Its agent's last start.
    last_start: Option<u64>,
    /// Packets and bytes that the tests count for themselves: what the host sent, and what it was given, over all starts.
    pub offered: (u64, u64),
}

pub struct World {
    pub seed: u64,
    pub title: String,
    pub now: u64,
    pub nodes: Vec<Node>,
    pub site: Site,
    /// A relay that is a program of its own.
    pub annex: Option<Annex>,
    /// Who sent what it was given last.
    annex_origin: usize,
    pub links: Links,
    pub admin: Administrator,
    /// Hosts without an agent listen there, all of them.
    pub behind_listens: BTreeSet<Port>,
    pub model: Model,
    pub random: Random,
    /// Bytes and deltas sent to each node on its control channel.
    pub told: BTreeMap<usize, Told>,
    laws: Laws,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    channels: BTreeMap<u64, Channel>,
    next_channel: u64,
    boots: u64,
    next_look: u64,
    site_timer: Option<u64>,
    /// When the present generation was applied.
    applied: u64,
    /// The last time a link to the coordinator was mended, or the coordinator came back.
    disturbed: u64,
    workers: Workers,
    /// NATs and regions, where a scenario has them.
    pub internet: Option<Internet>,
    /// What everybody sends.
    pub storm: Storm,
    /// SHA-256 over every event so far, where a scenario wants to compare.
    trace: Option<Sha256>,
    /// The coordinator's start and log that the model has seen.
    learnt: Option<(u64, LogHead)>,
}

/// What one node heard from the coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub frames: u64,
    pub deltas: u64,
    pub bytes: u64,
}

impl World {
    /// A founded network with a running coordinator and no nodes. `freshness` in seconds.
    pub fn new(title: &str, seed: u64, freshness: u64) -> World {
        let admin = Administrator::new(seed);
        let online = admin.network.coordinator.clone();
        let site = Site::found(admin.found(freshness), online, wall(0));
        let mut world = World {
            seed,
            title: title.to_owned(),
            now: 0,
            nodes: Vec::new(),
            site,
            annex: None,
            annex_origin: 0,
            links: Links::default(),
            admin,
            behind_listens: BTreeSet::new(),
            model: Model::default(),
            random: Random::new(seed),
            told: BTreeMap::new(),
            laws: Laws::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            channels: BTreeMap::new(),
            next_channel: 1,
            boots: 0,
            next_look: 0,
            site_timer: None,
            applied: 0,
            disturbed: 0,
            workers: Workers::default(),
            internet: None,
            storm: Storm::default(),
            trace: None,
            learnt: None,
        };
        world.learn();
        world
    }

    /// Stops the world: a law is broken.
    pub fn fail(&self, what: &str) -> ! {
        let ms = self.now / MS;
        panic!(
            "{}, at {}.{:03} s: {what}\nrun it again with WARREN_SEED={}",
            self.title,
            ms / 1_000,
            ms % 1_000,
            self.seed
        );
    }

    fn check(&self, law: Result<(), String>) {
        if let Err(broken) = law {
            self.fail(&broken);
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), event);
    }

    /// After every commit and every start of the coordinator.
    fn learn(&mut self) {
        // The log's head says what the state is: as in the program, nothing is asked again that has not changed.
        let head = self.site.state().map(|state| (self.site.run, state.head()));
        if head.is_none() || head == self.learnt {
            return;
        }
        self.learnt = head;
        if let Some(coordinator) = &self.site.running {
            self.site.relay.keep_up(coordinator);
        }
        let Some(state) = self.site.state() else { return };
        let before = self.model.generation();
        let law = self.model.learn(state);
        self.check(law);
        if self.model.generation() != before {
            self.applied = self.now;
        }
    }

    pub fn agent(&self, node: usize) -> Option<&Agent> {
        match &self.nodes[node].life {
            Life::Member(agent) => Some(agent),
            _ => None,
        }
    }

    /// The node's id; it follows from its key, whether or not it is a member.
    pub fn id(&self, node: usize) -> NodeId {
        self.nodes[node].id
    }

    pub fn index_of(&self, id: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == *id)
    }
}
