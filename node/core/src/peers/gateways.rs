//! Which of the gateways to a subnet is used: one, until it does not answer.
//!
//! All prefixes behind one set of gateways follow the same choice. A node begins with an order of its own, so that many
//! nodes spread over the gateways, and stays with what works: a gateway that comes back takes nothing from the one in use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use warren_wire::id::NodeId;

use super::Peer;
use crate::session::Engine;

/// Gateways that lead to the same subnets, in this node's order, and the place of the one in use.
#[derive(Clone, Debug)]
pub struct Group {
    pub gateways: Arc<[NodeId]>,
    used: Arc<AtomicUsize>,
}

impl Group {
    pub fn in_use(&self) -> Option<NodeId> {
        self.gateways.get(self.used.load(Ordering::Relaxed)).copied()
    }

    /// To the next one. `None` if there is no other.
    pub fn move_on(&self) -> Option<NodeId> {
        let next = (self.used.load(Ordering::Relaxed) + 1).checked_rem(self.gateways.len())?;
        self.used.store(next, Ordering::Relaxed);
        self.in_use().filter(|_| self.gateways.len() > 1)
    }
}

/// Prefixes behind peers. Cheap to clone: the choices are shared between snapshots.
#[derive(Clone, Debug, Default)]
pub struct Gateways {
    groups: Vec<Group>,
    /// Places in `groups`.
    prefixes: BTreeMap<IpNet, usize>,
    /// Lengths of the prefixes, the longest first.
    lengths: Vec<u8>,
}

impl Gateways {
    /// The gateway in use to the longest prefix with this address.
    pub fn in_use(&self, address: IpAddr) -> Option<NodeId> {
        let group = |length: &u8| self.prefixes.get(&IpNet::new(address, *length).ok()?.trunc());
        let place = self.lengths.iter().find_map(group)?;
        self.groups.get(*place)?.in_use()
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Each prefix with its gateways.
    pub fn prefixes(&self) -> impl Iterator<Item = (&IpNet, &Group)> {
        self.prefixes.iter().filter_map(|(net, place)| Some((net, self.groups.get(*place)?)))
    }

    /// After these, with other peers: a set of gateways that was there keeps its choice, a new one begins with a gateway that
    /// is in use already, if it has one.
    pub(super) fn next<E: Engine>(&self, me: NodeId, peers: &[Peer<E>]) -> Gateways {
        let mut leading: BTreeMap<IpNet, BTreeSet<NodeId>> = BTreeMap::new();
        for peer in peers {
            for (net, _) in peer.beyond.iter() {
                leading.entry(*net).or_default().insert(peer.node);
            }
        }
        let mut next = Gateways::default();
        let mut known: BTreeMap<BTreeSet<NodeId>, usize> = BTreeMap::new();
        for (net, gateways) in leading {
            let place = *known.entry(gateways).or_insert_with_key(|gateways| {
                next.groups.push(self.group(me, gateways));
                next.groups.len() - 1
            });
            next.prefixes.insert(net, place);
        }
        let lengths: BTreeSet<u8> = next.prefixes.keys().map(IpNet::prefix_len).collect();
        next.lengths = lengths.into_iter().rev().collect();
        next
    }

    fn group(&self, me: NodeId, gateways: &BTreeSet<NodeId>) -> Group {
        let mut order: Vec<NodeId> = gateways.iter().copied().collect();
        order.sort_by_cached_key(|gateway| (rank(me, *gateway), *gateway));
        if let Some(same) = self.groups.iter().find(|group| *group.gateways == *order) {
            return same.clone();
        }
        let used: BTreeSet<NodeId> = self.groups.iter().filter_map(Group::in_use).collect();
        let first = order.iter().position(|gateway| used.contains(gateway)).unwrap_or(0);
        Group { gateways: order.into(), used: Arc::new(AtomicUsize::new(first)) }
    }
}

/// Rendezvous: every node has an order of its own, and the loss of one gateway moves only who used it.
fn rank(me: NodeId, gateway: NodeId) -> [u8; 32] {
    Sha256::new().chain_update(me.0).chain_update(gateway.0).finalize().into()
}
