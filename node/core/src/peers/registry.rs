//! Makes snapshots: carries over what goes on, takes away what is gone, and gives no address or key to two peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use sha2::{Digest as _, Sha256};
use warren_wire::id::{NodeId, WgKey};
use warren_wire::trust::{Member, Network};

use super::{Agenda, Awake, Gateways, Lane, Link, Peer, Place, Snapshot};
use crate::assembly::{Assembly, PeerSpec};
use crate::clock::Now;
use crate::conntrack::{Addresses, Edition, FlowIds};
use crate::path::{self, Endpoints};
use crate::session::{Engine, Stamp};

/// A worker is named by the lowest byte of an index.
const MAX_WORKERS: u32 = 64;

/// Two members claim the same thing. Admission refuses that; if it is seen all the same, nobody gets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    Address(IpAddr),
    Key(WgKey),
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Conflict::Address(address) => write!(f, "address {address} is claimed twice; nobody gets it"),
            Conflict::Key(key) => write!(f, "WireGuard key {key} is claimed twice; nobody gets it"),
        }
    }
}

/// A new snapshot and what changed.
pub struct Made<E: Engine> {
    pub snapshot: Snapshot<E>,
    pub gone: Vec<Arc<Link>>,
    pub conflicts: BTreeSet<Conflict>,
    /// Peers whose endpoint changed by new hints.
    pub moved: Vec<NodeId>,
}

/// The owner of links and lanes. Lives behind the control side's lock; workers never touch it.
pub struct Registry<E: Engine> {
    seed: [u8; 32],
    workers: u32,
    drawn: u64,
    ids: Arc<FlowIds>,
    agenda: Arc<Agenda>,
    awake: Arc<Awake>,
    links: BTreeMap<NodeId, Arc<Link>>,
    lanes: BTreeMap<(WgKey, WgKey), Arc<Lane<E>>>,
    indices: BTreeSet<u32>,
    /// Stamps of lanes that are not there now.
    stamps: BTreeMap<(WgKey, WgKey), Stamp>,
    greatest_sent: u64,
    gateways: Gateways,
    /// Serial of the last snapshot.
    serial: u64,
}

impl<E: Engine> Registry<E> {
    pub fn new(seed: [u8; 32], workers: usize) -> Registry<E> {
        Registry {
            seed,
            workers: u32::try_from(workers).unwrap_or(1).clamp(1, MAX_WORKERS),
            drawn: 0,
            ids: Arc::new(FlowIds::default()),
            agenda: Arc::default(),
            awake: Arc::default(),
            links: BTreeMap::new(),
            lanes: BTreeMap::new(),
            indices: BTreeSet::new(),
            stamps: BTreeMap::new(),
            greatest_sent: 0,
            gateways: Gateways::default(),
            serial: 0,
        }
    }

    pub fn ids(&self) -> Arc<FlowIds> {
        self.ids.clone()
    }
    pub fn agenda(&self) -> Arc<Agenda> {
        self.agenda.clone()
    }
    pub fn awake(&self) -> Arc<Awake> {
        self.awake.clone()
    }
    pub fn link(&self, node: &NodeId) -> Option<&Arc<Link>> {
        self.links.get(node)
    }

    /// The world as `assembly` says.
    pub fn make(&mut self, engine: &Arc<E>, assembly: &Assembly, now: Now) -> Made<E> {
        let conflicts = conflicts(&assembly.me, &assembly.peers);
        let mut moved = Vec::new();
        let mut peers = Vec::new();
        for (node, spec) in &assembly.peers {
            peers.push(self.peer(engine, &assembly.me, *node, spec, &conflicts, &mut moved, now));
        }
        let gone = self.retain(&peers);
        let edition =
            Edition { epoch: assembly.epoch, revision: assembly.revision, generation: assembly.generation };
        let told = assembly.peers.values().flat_map(|p| p.candidates.iter().copied());
        let seats = assembly.peers.values().filter_map(|p| p.seat).map(path::source_of);
        let proven = peers.iter().filter_map(|p| p.link.endpoint()).map(path::Place::source);
        let sources = told.chain(seats).chain(proven).map(|place| place.ip()).collect();
        self.gateways = self.gateways.next(assembly.me.id, &peers);
        let snapshot = Snapshot {
            serial: self.next_serial(),
            gateways: self.gateways.clone(),
            audited: assembly.audited.clone(),
            ..index(engine, &assembly.network, &assembly.me, edition, peers, sources, &conflicts)
        };
        Made { snapshot, gone, conflicts, moved }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Nobody is a peer any more; who this node is stays known, so that its applications can be told.
    pub fn unmake(&mut self, last: &Snapshot<E>) -> Made<E> {
        let gone = self.retain(&[]);
        self.gateways = Gateways::default();
        let snapshot = Snapshot {
            serial: self.next_serial(),
            mine: last.mine,
            network: last.network.clone(),
            edition: last.edition,
            ..Snapshot::empty(&last.engine)
        };
        Made { snapshot, gone, conflicts: BTreeSet::new(), moved: Vec::new() }
    }

    #[allow(clippy::too_many_arguments, reason = "one private step of `make`, cut out only for its length")]
    fn peer(
        &mut self,
        engine: &Arc<E>,
        me: &Member,
        node: NodeId,
        spec: &PeerSpec,
        conflicts: &BTreeSet<Conflict>,
        moved: &mut Vec<NodeId>,
        now: Now,
    ) -> Peer<E> {
        let link = match self.links.get(&node) {
            Some(link) => {
                if link.set_candidates(&spec.candidates, spec.seat, now) {
                    moved.push(node);
                }
                link.clone()
            }
            None => {
                let (ids, awake) = (self.ids.clone(), self.awake.clone());
                let endpoints = Endpoints::new(&spec.candidates, spec.seat, now.mono).leading(me.id < node);
                let link = Arc::new(Link::new(node, ids, awake, endpoints));
                self.links.insert(node, link.clone());
                link
            }
        };
        let usable = |mine: &WgKey, theirs: &WgKey| {
            engine.keys().contains(mine) && !conflicts.contains(&Conflict::Key(*theirs))
        };
        // What an external device was told comes before what this node would choose now.
        let told = spec.my_key.filter(|key| engine.keys().contains(key));
        let mine = told.into_iter().chain(me.lanes.iter().copied().filter(|_| told.is_none()));
        let pairs: Vec<(WgKey, WgKey)> = mine.zip(spec.member.lanes.iter().copied()).collect();
        let pairs = pairs.iter().filter(|(m, t)| usable(m, t)).enumerate();
        let lanes: Vec<_> = pairs.map(|(at, (m, t))| self.lane(at, *m, *t)).collect();
        let parity = usize::from(lanes.len() > 1 && me.id > node);
        Peer {
            node,
            name: spec.member.name().to_string(),
            agent: !spec.member.is_external(),
            addresses: Addresses::of(&spec.member),
            outbound: spec.outbound.clone(),
            inbound: spec.inbound.clone(),
            beyond: spec.beyond.clone(),
            hosts: spec.hosts.clone(),
            link,
            lanes,
            parity,
        }
    }

    fn lane(&mut self, at: usize, mine: WgKey, theirs: WgKey) -> Arc<Lane<E>> {
        if let Some(lane) = self.lanes.get(&(mine, theirs)) {
            return lane.clone();
        }
        let index = self.draw_index(at);
        let jitter = self.draw();
        let greatest = self.stamps.remove(&(mine, theirs)).unwrap_or_default();
        let lane = Arc::new(Lane::new(mine, theirs, index, jitter, greatest, self.agenda.clone()));
        self.lanes.insert((mine, theirs), lane.clone());
        lane
    }

    /// Forgets links and lanes that no peer uses any more.
    fn retain(&mut self, peers: &[Peer<E>]) -> Vec<Arc<Link>> {
        let nodes: BTreeSet<NodeId> = peers.iter().map(|p| p.node).collect();
        let used: BTreeSet<(WgKey, WgKey)> =
            peers.iter().flat_map(|p| &p.lanes).map(|l| (l.mine, l.theirs)).collect();
        let (indices, stamps, sent) = (&mut self.indices, &mut self.stamps, &mut self.greatest_sent);
        self.lanes.retain(|pair, lane| {
            let keep = used.contains(pair);
            if !keep {
                let (received, greatest) = lane.close();
                indices.remove(&lane.index);
                *sent = (*sent).max(greatest);
                if received > Stamp::default() {
                    stamps.insert(*pair, received);
                }
            }
            keep
        });
        let gone: Vec<_> = self.links.values().filter(|l| !nodes.contains(&l.node)).cloned().collect();
        self.links.retain(|node, _| nodes.contains(node));
        gone
    }

    /// 64 pseudo-random bits; the seed is truly random.
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_le_bytes()).finalize();
        digest.first_chunk().copied().map_or(self.drawn, u64::from_le_bytes)
    }

    /// 24 random bits whose lowest byte, modulo the number of workers, names the worker that will receive on the lane:
    /// lanes 0 and 1 are of worker 0, 2 and 3 of worker 1, and so on.
    fn draw_index(&mut self, at: usize) -> u32 {
        let worker = u32::try_from(at / 2).unwrap_or(0) % self.workers;
        loop {
            let drawn = (self.draw() & 0x00ff_ffff) as u32;
            let low = drawn & 0xff;
            let steered = low - low % self.workers + worker;
            let low = if steered > 0xff { steered - self.workers } else { steered };
            let index = drawn & 0x00ff_ff00 | low;
            if self.indices.insert(index) {
                return index;
            }
        }
    }

    pub fn stamps(&self) -> BTreeMap<(WgKey, WgKey), Stamp> {
        let live = self.lanes.iter().map(|(pair, lane)| (*pair, lane.stamps().0));
        let mut all = self.stamps.clone();
        all.extend(live.filter(|(_, stamp)| *stamp > Stamp::default()));
        all
    }

    pub fn restore_stamps(&mut self, stamps: &BTreeMap<(WgKey, WgKey), Stamp>) {
        for (pair, stamp) in stamps {
            match self.lanes.get(pair) {
                Some(lane) => lane.restore(*stamp),
                None => {
                    let known = self.stamps.entry(*pair).or_default();
                    *known = (*known).max(*stamp);
                }
            }
        }
    }

    pub fn greatest_sent(&self) -> u64 {
        self.lanes.values().map(|lane| lane.stamps().1).fold(self.greatest_sent, u64::max)
    }
}

/// What more than one member claims, this node included.
fn conflicts(me: &Member, peers: &BTreeMap<NodeId, PeerSpec>) -> BTreeSet<Conflict> {
    let members = || std::iter::once(me).chain(peers.values().map(|p| &*p.member));
    let addresses = members().flat_map(|m| m.addresses().map(Conflict::Address).collect::<Vec<_>>());
    let keys = members().flat_map(|m| m.lanes.iter().map(|k| Conflict::Key(*k)));
    let mut seen = BTreeSet::new();
    addresses.chain(keys).filter(|claim| !seen.insert(claim.clone())).collect()
}

fn index<E: Engine>(
    engine: &Arc<E>,
    network: &Arc<Network>,
    me: &Member,
    edition: Edition,
    peers: Vec<Peer<E>>,
    sources: BTreeSet<IpAddr>,
    conflicts: &BTreeSet<Conflict>,
) -> Snapshot<E> {
    let lanes = peers.iter().map(|peer| peer.lanes.len()).sum();
    let mut by_address = HashMap::with_capacity(2 * peers.len());
    let mut by_index = HashMap::with_capacity(lanes);
    let mut by_key = HashMap::with_capacity(lanes);
    for (slot, peer) in peers.iter().enumerate() {
        let v4 = peer.addresses.v4.map(IpAddr::V4);
        for address in v4.into_iter().chain([IpAddr::V6(peer.addresses.v6)]) {
            if !conflicts.contains(&Conflict::Address(address)) {
                by_address.insert(address, slot);
            }
        }
        for (at, lane) in peer.lanes.iter().enumerate() {
            let place = Place { slot, lane: at };
            by_index.insert(lane.index, place);
            if let Some(key) = engine.keys().iter().position(|k| *k == lane.mine) {
                by_key.insert((key, lane.theirs), place);
            }
        }
    }
    Snapshot {
        serial: 0,
        engine: engine.clone(),
        mine: Addresses::of(me),
        network: Some(network.clone()),
        edition,
        peers,
        audited: Arc::default(),
        by_address,
        gateways: Gateways::default(),
        by_index,
        by_key,
        sources,
    }
}

impl<E: Engine> Snapshot<E> {
    /// Nobody is a peer.
    pub fn empty(engine: &Arc<E>) -> Snapshot<E> {
        Snapshot {
            serial: 0,
            engine: engine.clone(),
            mine: Addresses { v4: None, v6: std::net::Ipv6Addr::UNSPECIFIED },
            network: None,
            edition: Edition::default(),
            peers: Vec::new(),
            audited: Arc::default(),
            by_address: HashMap::new(),
            gateways: Gateways::default(),
            by_index: HashMap::new(),
            by_key: HashMap::new(),
            sources: BTreeSet::new(),
        }
    }
}
