//! Overlay addresses: leased from the network's two ranges, and kept apart for a while after their holder has gone.
//!
//! IPv6 comes from the node id's hash, so that it is the same whenever the same node asks; IPv4 is the lowest free one.
//! An address is given again only when nobody can still hold a view, a name answer or a flow record that means its
//! former holder: one freshness life and an hour later.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sha2::{Digest as _, Sha256};
use warren_config::time::UnixTime;
use warren_wire::id::NodeId;
use warren_wire::trust::{Member, Network};

use crate::runs::{Runs, free_by_both};

/// Kept back at the beginning of a large IPv4 range, for addresses that belong to no node.
const KEPT_BACK: u32 = 256;
/// Tries of the IPv6 hash before giving up; with 80 bits a second try is already a curiosity.
const TRIES: u32 = 16;
/// Added to a freshness life before an address is given again.
const GRACE: u64 = 3600;

/// Addresses that are promised to somebody.
#[derive(Clone, Debug, Default)]
pub struct Leased {
    all: BTreeSet<IpAddr>,
    v4: Runs,
}

impl Leased {
    pub fn insert(&mut self, address: IpAddr) {
        if let IpAddr::V4(v4) = address {
            self.v4.insert(v4.to_bits());
        }
        self.all.insert(address);
    }

    pub fn remove(&mut self, address: IpAddr) {
        if let IpAddr::V4(v4) = address {
            self.v4.remove(v4.to_bits());
        }
        self.all.remove(&address);
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Who holds which address, and which rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    held: BTreeMap<IpAddr, NodeId>,
    held_v4: Runs,
    /// Until when an address rests, and whose it was.
    resting: BTreeMap<IpAddr, (UnixTime, NodeId)>,
}

impl Addresses {
    pub fn holder(&self, address: IpAddr) -> Option<NodeId> {
        self.held.get(&address).copied()
    }

    /// Who holds the address, or held it last while it still rests: whom a flow record can mean.
    pub fn last_holder(&self, address: IpAddr) -> Option<NodeId> {
        self.holder(address).or_else(|| self.resting.get(&address).map(|(_, node)| *node))
    }

    pub fn hold(&mut self, member: &Member) {
        for address in member.addresses() {
            self.resting.remove(&address);
            if let IpAddr::V4(v4) = address {
                self.held_v4.insert(v4.to_bits());
            }
            self.held.insert(address, member.id);
        }
    }

    /// Lets a node's addresses rest.
    pub fn release(&mut self, member: &Member, at: UnixTime, freshness: u64) {
        let until = at.plus(freshness.saturating_add(GRACE));
        for address in member.addresses() {
            if let IpAddr::V4(v4) = address {
                self.held_v4.remove(v4.to_bits());
            }
            self.held.remove(&address);
            self.resting.insert(address, (until, member.id));
        }
        self.resting.retain(|_, (until, _)| *until > at);
    }

    pub fn is_free(&self, address: IpAddr, now: UnixTime) -> bool {
        !self.held.contains_key(&address) && self.resting.get(&address).is_none_or(|(until, _)| *until <= now)
    }

    /// The lowest free IPv4 address not in `leased`; `None` when the range is used up.
    pub fn next_v4(&self, network: &Network, leased: &Leased, now: UnixTime) -> Option<Ipv4Addr> {
        let (first, last) = v4_bounds(network);
        let (held, promised) = (|from| self.held_v4.next_free(from), |from| leased.v4.next_free(from));
        let next = |from| free_by_both(from, held, promised).filter(|number| *number <= last);
        std::iter::successors(next(first), |number| number.checked_add(1).and_then(next))
            .map(Ipv4Addr::from)
            .filter(|a| network.v4_range.prefix_len() > 24 || !matches!(a.octets(), [_, _, _, 0 | 255]))
            .find(|a| network.allows_v4(*a) && self.free(IpAddr::V4(*a), leased, now))
    }

    /// The node's own IPv6 address: the prefix and bits of a hash over its id.
    pub fn next_v6(
        &self,
        network: &Network,
        node: &NodeId,
        leased: &Leased,
        now: UnixTime,
    ) -> Option<Ipv6Addr> {
        (0..TRIES)
            .map(|attempt| hashed_v6(network, node, attempt))
            .find(|a| network.allows_v6(*a) && self.free(IpAddr::V6(*a), leased, now))
    }

    fn free(&self, address: IpAddr, leased: &Leased, now: UnixTime) -> bool {
        self.is_free(address, now) && !leased.all.contains(&address)
    }
}

fn v4_bounds(network: &Network) -> (u32, u32) {
    let (first, last) = (u32::from(network.v4_range.network()), u32::from(network.v4_range.broadcast()));
    let skip = if last.saturating_sub(first) >= 4 * KEPT_BACK { KEPT_BACK } else { 1 };
    (first.saturating_add(skip), last)
}

fn hashed_v6(network: &Network, node: &NodeId, attempt: u32) -> Ipv6Addr {
    let mut hasher = Sha256::new();
    hasher.update(b"warren address v1\0");
    hasher.update(node.0);
    hasher.update(attempt.to_be_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let hash = digest.iter().take(16).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    let prefix = u128::from(network.v6_prefix.network());
    let host = u128::MAX.checked_shr(u32::from(network.v6_prefix.prefix_len())).unwrap_or(0);
    Ipv6Addr::from(prefix | (hash & host))
}
