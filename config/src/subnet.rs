//! Hosts without an agent, behind gateways: which addresses a service may have, and what a policy says of each of them.
//!
//! Prefixes either lie inside each other or have nothing in common, so the prefixes of a policy cut its addresses into
//! *regions*: a prefix without the smaller ones inside it. All addresses of a region are in the same services, and a
//! question about addresses is a question about each region.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use ipnet::IpNet;

use crate::filter::Rules;
use crate::name::Name;
use crate::policy::{Policy, Service, Target};
use crate::time::UnixTime;

/// Most addresses of one service.
pub const MAX_ADDRESSES: usize = 256;
/// Most different addresses in one policy, all services together: every node that may use them has a route for each.
pub const MAX_ALL_ADDRESSES: usize = 4096;
/// A shorter prefix is no subnet behind a gateway but a part of the internet: a whole 10.0.0.0/8 still fits, and what a
/// provider holds of IPv6 (RFC 6177, RIPE-738: a /32 at most as a rule).
pub const SHORTEST_V4: u8 = 8;
/// See [`SHORTEST_V4`].
pub const SHORTEST_V6: u8 = 32;

/// Ranges that are never behind a gateway (RFC 6890): whatever is in them means something else on every host.
const SPECIAL: [(&str, &str); 10] = [
    ("0.0.0.0/8", "`this network`"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved, or broadcast"),
    ("::/96", "unspecified, loopback, or IPv4 in disguise"),
    ("::ffff:0:0/96", "IPv4 in disguise"),
    ("64:ff9b::/96", "IPv4 in disguise"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

/// Why these addresses are not behind any gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// `0.0.0.0/0`, `::/0`.
    Default,
    TooWide,
    Special(&'static str),
}

/// May these addresses be behind a gateway?
pub(crate) fn fit(net: &IpNet) -> Result<(), Unfit> {
    if net.prefix_len() == 0 {
        return Err(Unfit::Default);
    }
    let special = SPECIAL.iter().find(|(range, _)| range.parse().is_ok_and(|range: IpNet| meet(&range, net)));
    if let Some((_, what)) = special {
        return Err(Unfit::Special(what));
    }
    let shortest = if net.addr().is_ipv4() { SHORTEST_V4 } else { SHORTEST_V6 };
    if net.prefix_len() < shortest { Err(Unfit::TooWide) } else { Ok(()) }
}

/// What the resolver guarantees of one service's addresses.
pub(crate) fn check(addresses: &BTreeSet<IpNet>) -> Result<(), &'static str> {
    if addresses.len() > MAX_ADDRESSES {
        return Err("a service has too many addresses");
    }
    if addresses.iter().any(|net| *net != net.trunc() || fit(net).is_err()) {
        return Err("addresses are behind no gateway");
    }
    Ok(())
}

/// Do they have an address in common?
pub fn meet(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

impl Service {
    /// Is this address one of its hosts behind the gateways?
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.contains(&address))
    }

    fn has_region(&self, region: &IpNet) -> bool {
        self.addresses.iter().any(|net| net.contains(region))
    }
}

/// The prefixes of some services whose regions are not empty.
pub(crate) fn regions<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeSet<IpNet> {
    let all: BTreeSet<IpNet> =
        services.into_iter().flat_map(|service| service.addresses.iter().copied()).collect();
    all.iter().filter(|net| !is_tiled(net, &all)).copied().collect()
}

/// Is every address of `net` in a smaller prefix of `all`?
fn is_tiled(net: &IpNet, all: &BTreeSet<IpNet>) -> bool {
    let inside: Vec<IpNet> =
        all.iter().filter(|other| *other != net && net.contains(*other)).copied().collect();
    covers(net, &inside)
}

fn covers(net: &IpNet, inside: &[IpNet]) -> bool {
    if inside.contains(net) {
        return true;
    }
    let within =
        |half: &IpNet| -> Vec<IpNet> { inside.iter().filter(|n| half.contains(*n)).copied().collect() };
    let Ok(halves) = net.subnets(net.prefix_len() + 1) else { return false };
    !inside.is_empty() && halves.into_iter().all(|half| covers(&half, &within(&half)))
}

impl Policy {
    /// Is any service behind gateways?
    pub(crate) fn has_subnets(&self) -> bool {
        self.services.values().any(Service::is_behind)
    }

    /// The regions that `target` speaks of; none if it speaks of nodes.
    pub(crate) fn regions_of(&self, target: &Target) -> BTreeSet<IpNet> {
        let Target::Service(name) = target else { return BTreeSet::new() };
        let Some(service) = self.services.get(name).filter(|service| service.is_behind()) else {
            return BTreeSet::new();
        };
        let mut all = regions(self.services.values());
        all.retain(|region| service.has_region(region));
        all
    }

    /// The policy as far as it speaks of nodes.
    pub(crate) fn of_nodes(&self) -> Policy {
        self.with_services(|service| !service.is_behind())
    }

    /// The policy as far as it speaks of the addresses of one region.
    pub(crate) fn of_region(&self, region: &IpNet) -> Policy {
        self.with_services(|service| service.has_region(region))
    }

    /// The same, and of nodes: for chains, which go through nodes and end at a region.
    pub(crate) fn of_region_and_nodes(&self, region: &IpNet) -> Policy {
        self.with_services(|service| !service.is_behind() || service.has_region(region))
    }

    fn with_services(&self, keep: impl Fn(&Service) -> bool) -> Policy {
        let kept =
            |(name, service): (&Name, &Service)| keep(service).then(|| (name.clone(), service.clone()));
        Policy {
            settings: self.settings.clone(),
            groups: self.groups.clone(),
            tags: self.tags.clone(),
            services: self.services.iter().filter_map(kept).collect(),
            grants: self.grants.clone(),
            invariants: self.invariants.clone(),
            tests: BTreeMap::new(),
        }
    }
}

/// What one node may open behind another: rules for each prefix. `Behind::default()` is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    rules: BTreeMap<IpNet, Arc<Rules>>,
    /// Lengths of the prefixes, the longest first.
    lengths: Vec<u8>,
}

/// Nothing behind anybody.
pub static NOTHING: Behind = Behind { rules: BTreeMap::new(), lengths: Vec::new() };

impl Behind {
    pub(crate) fn new(rules: BTreeMap<IpNet, Arc<Rules>>) -> Behind {
        let lengths: BTreeSet<u8> = rules.keys().map(IpNet::prefix_len).collect();
        Behind { rules, lengths: lengths.into_iter().rev().collect() }
    }

    /// The rules for one address: those of the longest prefix that has it. `None` where nothing was ever granted.
    pub fn rules(&self, address: IpAddr) -> Option<&Rules> {
        let at = |length: &u8| self.rules.get(&IpNet::new(address, *length).ok()?.trunc());
        self.lengths.iter().find_map(at).map(Arc::as_ref)
    }

    /// The rules for a region. Its first address does not stand for it: a smaller prefix may begin there.
    pub(crate) fn rules_within(&self, region: &IpNet) -> Option<&Rules> {
        let at = |length: &u8| self.rules.get(&IpNet::new(region.addr(), *length).ok()?.trunc());
        self.lengths.iter().filter(|length| **length <= region.prefix_len()).find_map(at).map(Arc::as_ref)
    }

    pub fn has(&self, address: IpAddr) -> bool {
        self.rules(address).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Prefixes with their rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &Rules)> {
        self.rules.iter().map(|(net, rules)| (net, rules.as_ref()))
    }

    /// Prefixes where something passes at `now` or later: only they have a route.
    pub fn routes(&self, now: UnixTime) -> impl Iterator<Item = (&IpNet, &Rules)> {
        self.iter().filter(move |(_, rules)| rules.joins_at(now))
    }

    pub fn joins_at(&self, now: UnixTime) -> bool {
        self.routes(now).next().is_some()
    }

    /// See [`Rules::next_end`].
    pub fn next_end(&self, now: UnixTime) -> Option<UnixTime> {
        self.iter().filter_map(|(_, rules)| rules.next_end(now)).min()
    }

    /// Services behind, by name, that pass at `now`; each once.
    pub fn services(&self, now: UnixTime) -> BTreeSet<Name> {
        self.iter().flat_map(|(_, rules)| rules.services(now)).collect()
    }

    /// Without what lies in, or around, any of these.
    #[must_use]
    pub fn without(self, ranges: &[IpNet]) -> Behind {
        let kept = self.rules.into_iter().filter(|(net, _)| !ranges.iter().any(|range| meet(range, net)));
        Behind::new(kept.collect())
    }
}
