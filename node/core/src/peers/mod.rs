//! Who is on the other side: one immutable [`Snapshot`] of all peers, replaced whole and loaded once per batch.
//!
//! What must outlive a change of policy hangs below it behind `Arc`: a [`Link`] per node (flows, endpoints, counters)
//! and a [`Lane`] per pair of WireGuard keys (one session each). [`Registry`] makes snapshots and decides what is
//! carried over.
//!
//! **Lanes.** Both ends have keys 0..K; lane *i* joins key *i* with key *i*. With two lanes or more the node with the
//! smaller id sends data on the even lanes and the other on the odd ones, so a session carries data one way and the
//! egress and ingress threads never wait for each other's lock; with 2n lanes, n packet workers seal to one peer without
//! sharing one. Data is accepted on any lane. Every lane has a static key of its
//! own: under one shared key, an initiation recorded for one session could be replayed to the other.

mod agenda;
mod awake;
mod gateways;
mod lane;
mod link;
mod registry;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use warren_config::filter::Rules;
use warren_config::subnet::Behind;
use warren_wire::id::{NodeId, WgKey};
use warren_wire::trust::Network;

pub use agenda::{Agenda, Turn};
pub use awake::Awake;
pub use gateways::{Gateways, Group, News, Standing};
pub use lane::{Lane, Use};
pub use link::{Link, Pulse, Traffic};
pub use registry::{Conflict, Made, Registry};

use crate::assembly::Audited;
use crate::conntrack::{Addresses, Edition, Ends};
use crate::session::Engine;

/// One peer in one snapshot.
pub struct Peer<E: Engine> {
    pub node: NodeId,
    pub name: String,
    /// False for an external device: it would not understand what agents say to each other.
    pub agent: bool,
    pub addresses: Addresses,
    pub outbound: Arc<Rules>,
    pub inbound: Arc<Rules>,
    /// Hosts behind the peer.
    pub beyond: Arc<Behind>,
    /// Hosts behind this node, for the peer.
    pub hosts: Arc<Behind>,
    pub link: Arc<Link>,
    pub lanes: Vec<Arc<Lane<E>>>,
    /// The parity of the lanes this node sends data on.
    parity: usize,
}

impl<E: Engine> Peer<E> {
    /// The lane on which packet worker `worker` seals.
    pub fn send_lane(&self, worker: usize) -> Option<&Arc<Lane<E>>> {
        let ours = self.lanes.len().saturating_sub(self.parity).div_ceil(2);
        self.lanes.get(self.parity + 2 * worker.checked_rem(ours)?)
    }
    /// Does this node send data on its lane at `at`?
    pub fn sends_on(&self, at: usize) -> bool {
        at % 2 == self.parity
    }
}

/// A lane of a peer, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub slot: usize,
    pub lane: usize,
}

/// Everything a worker needs, consistent in itself.
pub struct Snapshot<E: Engine> {
    /// Grows with every snapshot that is made; 0 for the empty one.
    pub serial: u64,
    pub engine: Arc<E>,
    pub mine: Addresses,
    /// `None` before the first assembly.
    pub network: Option<Arc<Network>>,
    pub edition: Edition,
    pub peers: Vec<Peer<E>>,
    pub audited: Arc<Audited>,
    by_address: HashMap<IpAddr, usize>,
    /// What lies behind peers.
    gateways: Gateways,
    by_index: HashMap<u32, Place>,
    by_key: HashMap<(usize, WgKey), Place>,
    /// Hosts that peers are expected at: their handshakes come first under load.
    sources: BTreeSet<IpAddr>,
}

impl<E: Engine> Snapshot<E> {
    /// The one owner of an overlay address.
    pub fn owner(&self, address: IpAddr) -> Option<(usize, &Peer<E>)> {
        let slot = *self.by_address.get(&address)?;
        self.peers.get(slot).map(|peer| (slot, peer))
    }
    /// Who is sent what is for this address: its owner, or the gateway in use to it.
    pub fn next_hop(&self, address: IpAddr) -> Option<&Peer<E>> {
        match self.owner(address) {
            Some((_, peer)) => Some(peer),
            None => self.gateway(address),
        }
    }
    fn gateway(&self, address: IpAddr) -> Option<&Peer<E>> {
        self.peer(&self.gateways.in_use(address)?)
    }
    /// The gateways to subnets, with the one of each that is in use.
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }
    /// May this peer be where a packet from `address` comes from? Its own, or that of a host behind it.
    pub fn may_send(&self, slot: usize, address: IpAddr) -> bool {
        match self.by_address.get(&address) {
            Some(owner) => *owner == slot,
            None => self.peers.get(slot).is_some_and(|peer| peer.beyond.has(address)),
        }
    }
    /// Peers stand in the order of their ids.
    pub fn peer(&self, node: &NodeId) -> Option<&Peer<E>> {
        let slot = self.peers.binary_search_by_key(node, |peer| peer.node).ok()?;
        self.peers.get(slot)
    }
    pub fn place_of_index(&self, index: u32) -> Option<Place> {
        self.by_index.get(&index).copied()
    }
    pub fn place_of_key(&self, key: usize, peer: &WgKey) -> Option<Place> {
        self.by_key.get(&(key, *peer)).copied()
    }
    pub fn lane(&self, place: Place) -> Option<(&Peer<E>, &Arc<Lane<E>>)> {
        let peer = self.peers.get(place.slot)?;
        peer.lanes.get(place.lane).map(|lane| (peer, lane))
    }
    pub fn is_expected(&self, source: IpAddr) -> bool {
        self.sources.contains(&source)
    }
    /// Is this an overlay address, whoever has it?
    pub fn is_overlay(&self, address: IpAddr) -> bool {
        self.network.as_ref().is_some_and(|network| match address {
            IpAddr::V4(v4) => network.v4_range.contains(&v4),
            IpAddr::V6(v6) => network.v6_prefix.contains(&v6),
        })
    }
    /// What the judge must know about a peer.
    pub fn ends<'a>(&'a self, peer: &'a Peer<E>) -> Ends<'a> {
        Ends {
            mine: &self.mine,
            peer: &peer.addresses,
            outbound: &peer.outbound,
            inbound: &peer.inbound,
            beyond: &peer.beyond,
            hosts: &peer.hosts,
            edition: self.edition,
        }
    }
}
