//! The slow judge of proofs: tries every node there could be. For small policies only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::name::Name;
use crate::policy::{Invariant, Law, Listen, Policy, Protocol, Selector, Service, Subject, Target};
use crate::time::UnixTime;

/// The name of a node that no policy speaks of.
const NOBODY: &str = "a-name-that-nobody-speaks-of";

/// Every node that could be enrolled: every set of tags that somebody can own and that holds no two of which one is
/// `not-with` the other; under every name that the policy speaks of, and under one more that stands for all others.
pub fn possible_nodes(policy: &Policy) -> Vec<Subject> {
    let mut sets: Vec<BTreeSet<Name>> = vec![BTreeSet::new()];
    for tag in policy.tags.values() {
        let owned = tag.owners.iter().any(|g| policy.groups.get(g).is_some_and(|g| !g.members.is_empty()));
        if !owned {
            continue;
        }
        let with: Vec<BTreeSet<Name>> = sets
            .iter()
            .filter(|set| set.iter().all(|other| !excludes(policy, &tag.name, other)))
            .map(|set| set.iter().cloned().chain([tag.name.clone()]).collect())
            .collect();
        sets.extend(with);
    }
    let names: Vec<Name> = names(policy).into_iter().chain(Name::parse(NOBODY)).collect();
    let node = |name: &Name, tags: &BTreeSet<Name>| Subject { name: name.clone(), tags: tags.clone() };
    names.iter().flat_map(|name| sets.iter().map(move |tags| node(name, tags))).collect()
}

fn excludes(policy: &Policy, a: &Name, b: &Name) -> bool {
    let says = |a, b| policy.tags.get(a).is_some_and(|tag| tag.not_with.contains(b));
    says(a, b) || says(b, a)
}

/// Every node name that some selector speaks of and no service has: nodes and services share one name space.
pub fn names(policy: &Policy) -> BTreeSet<Name> {
    let grants = policy.grants.values().flat_map(|g| g.from.iter().chain(&g.except));
    let services = policy.services.values().flat_map(|s| &s.on);
    let invariants = policy.invariants.values().flat_map(|i| &i.from);
    let targets = policy.invariants.values().flat_map(|i| &i.to).filter_map(|target| match target {
        Target::Nodes(selector, _) => Some(selector),
        Target::Service(_) => None,
    });
    let all = grants.chain(services).chain(invariants).chain(targets);
    let named = all.filter_map(|s| if let Selector::Node(name) = s { Some(name.clone()) } else { None });
    named.filter(|name| !policy.services.contains_key(name)).collect()
}

/// Two different nodes? Those whose name nobody speaks of are many.
pub fn different(a: &Subject, b: &Subject) -> bool {
    a.name != b.name || a.name.as_str() == NOBODY
}

/// Does the invariant hold? Asked of every node, every pair, and for chains of every world.
pub fn holds(policy: &Policy, invariant: &Invariant, at: UnixTime) -> bool {
    let nodes = possible_nodes(policy);
    let inside = |node: &Subject| super::one_of(&invariant.from, node);
    match invariant.law {
        Law::Never => !nodes.iter().filter(|n| inside(n)).any(|from| {
            invariant.to.iter().any(|target| ever_from(policy, &nodes, from, target, invariant.via_any, at))
        }),
        Law::Only => !nodes
            .iter()
            .filter(|n| !inside(n))
            .any(|from| invariant.to.iter().any(|target| ever_from(policy, &nodes, from, target, false, at))),
        Law::Always => {
            let mut lasting = policy.clone();
            lasting.grants.retain(|_, grant| grant.until.is_none());
            nodes.iter().filter(|n| inside(n)).all(|from| {
                let others = nodes.iter().filter(|to| different(from, to));
                others
                    .into_iter()
                    .all(|to| invariant.to.iter().all(|t| all_passes(&lasting, from, to, t, at)))
            })
        }
    }
}

/// Can a node that matches `from` ever reach `target`?
pub fn ever(policy: &Policy, from: &Selector, target: &Target, through: bool, at: UnixTime) -> bool {
    let nodes = possible_nodes(policy);
    nodes.iter().any(|n| {
        super::one_of(&[from.clone()].into(), n) && ever_from(policy, &nodes, n, target, through, at)
    })
}

fn ever_from(
    policy: &Policy,
    nodes: &[Subject],
    from: &Subject,
    target: &Target,
    through: bool,
    at: UnixTime,
) -> bool {
    if !through {
        return nodes.iter().any(|to| different(from, to) && some_passes(policy, from, to, target, at));
    }
    // Pairs are asked once, not once a world. Whoever came into a gateway came to what is behind it.
    let pair = |a: &Subject, b: &Subject| {
        let carries = carries(policy, a, b, at);
        (carries, some_passes(policy, a, b, target, at) || carries && leads_to(policy, b, target))
    };
    let table: Vec<Vec<(bool, bool)>> =
        nodes.iter().map(|a| nodes.iter().map(|b| pair(a, b)).collect()).collect();
    worlds(policy, nodes, from).into_iter().any(|world| chain_in(nodes, &table, &world, from))
}

/// In one world each name is one node; the nodes that nobody names are all there. Places in `nodes`.
fn worlds(policy: &Policy, nodes: &[Subject], from: &Subject) -> Vec<Vec<usize>> {
    let named =
        |name: &str| -> Vec<usize> { (0..nodes.len()).filter(|i| nodes[*i].name.as_str() == name).collect() };
    let mut worlds: Vec<Vec<usize>> = vec![named(NOBODY)];
    for name in names(policy) {
        let mut choices = named(name.as_str());
        choices.retain(|i| from.name != name || nodes[*i] == *from);
        let add = |world: Vec<usize>| -> Vec<Vec<usize>> {
            choices.iter().map(|node| world.iter().copied().chain([*node]).collect()).collect()
        };
        worlds = worlds.into_iter().flat_map(add).collect();
    }
    worlds
}

fn chain_in(nodes: &[Subject], table: &[Vec<(bool, bool)>], world: &[usize], from: &Subject) -> bool {
    let mut seen = BTreeSet::new();
    let mut queue: VecDeque<usize> = world.iter().copied().filter(|i| nodes[*i] == *from).collect();
    while let Some(node) = queue.pop_front() {
        for to in
            world.iter().filter(|to| different(&nodes[node], &nodes[**to]) && different(from, &nodes[**to]))
        {
            let (carries, ends) = table[node][*to];
            if ends {
                return true;
            }
            if carries && seen.insert(*to) {
                queue.push_back(*to);
            }
        }
    }
    false
}

fn leads_to(policy: &Policy, node: &Subject, target: &Target) -> bool {
    let Target::Service(name) = target else { return false };
    policy.services.get(name).is_some_and(|s| !s.addresses.is_empty() && super::one_of(&s.on, node))
}

/// Addresses at and beside every boundary that the policy has, inside those of `service`.
pub fn addresses(policy: &Policy, service: &Service) -> BTreeSet<IpAddr> {
    let mut all = BTreeSet::new();
    for net in policy.services.values().flat_map(|s| &s.addresses) {
        let (first, last) = super::first_and_last(net);
        all.extend([first, last]);
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                all.extend(u32::from(first).checked_sub(1).map(|a| IpAddr::V4(a.into())));
                all.extend(u32::from(last).checked_add(1).map(|a| IpAddr::V4(a.into())));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                all.extend(u128::from(first).checked_sub(1).map(|a| IpAddr::V6(a.into())));
                all.extend(u128::from(last).checked_add(1).map(|a| IpAddr::V6(a.into())));
            }
            _ => {}
        }
    }
    all.retain(|address| super::is_at(service, Some(*address)));
    all
}

/// Anything but echo: nobody goes on from a node by pinging it.
fn carries(policy: &Policy, from: &Subject, to: &Subject, at: UnixTime) -> bool {
    probes(policy, None).into_iter().any(|(protocol, port)| {
        protocol != Protocol::IcmpEcho && super::allows(policy, from, to, protocol, port, at)
    })
}

/// One packet of `target` passes at `to`.
fn some_passes(policy: &Policy, from: &Subject, to: &Subject, target: &Target, at: UnixTime) -> bool {
    let passes = |(protocol, port)| super::allows(policy, from, to, protocol, port, at);
    match target {
        Target::Nodes(selector, listen) => {
            super::one_of(&[selector.clone()].into(), to) && probes(policy, *listen).into_iter().any(passes)
        }
        Target::Service(name) => policy.services.get(name).is_some_and(|service| {
            if !service.addresses.is_empty() {
                return super::one_of(&service.on, to)
                    && packets_behind(policy, service).any(|packet| behind(policy, from, to, packet, at));
            }
            super::one_of(&service.on, to)
                && service.listen.iter().any(|listen| probes(policy, Some(*listen)).into_iter().any(passes))
        }),
    }
}

/// Every packet of `target` passes at `to`, if `to` is what `target` speaks of.
fn all_passes(policy: &Policy, from: &Subject, to: &Subject, target: &Target, at: UnixTime) -> bool {
    let passes = |(protocol, port)| super::allows(policy, from, to, protocol, port, at);
    let all = |listen: &Listen| probes(policy, Some(*listen)).into_iter().all(passes);
    match target {
        Target::Nodes(selector, _) if !super::one_of(&[selector.clone()].into(), to) => true,
        Target::Nodes(_, Some(listen)) => all(listen),
        Target::Nodes(_, None) => {
            let own = |s: &&Service| s.addresses.is_empty() && super::one_of(&s.on, to);
            let mut offered = policy.services.values().filter(own).peekable();
            offered.peek().is_some() && offered.all(|service| service.listen.iter().all(all))
        }
        Target::Service(name) => policy.services.get(name).is_none_or(|s| {
            if !super::one_of(&s.on, to) {
                return true;
            }
            match s.addresses.is_empty() {
                true => s.listen.iter().all(all),
                false => packets_behind(policy, s).all(|packet| behind(policy, from, to, packet, at)),
            }
        }),
    }
}

/// Every packet that is worth trying at the addresses of a service behind gateways.
fn packets_behind<'a>(
    policy: &'a Policy,
    service: &'a Service,
) -> impl Iterator<Item = (IpAddr, Protocol, u16)> + 'a {
    addresses(policy, service).into_iter().flat_map(move |address| {
        let probes = service.listen.iter().flat_map(|listen| probes(policy, Some(*listen)));
        probes.map(move |(protocol, port)| (address, protocol, port))
    })
}

fn behind(
    policy: &Policy,
    from: &Subject,
    gateway: &Subject,
    (address, protocol, port): (IpAddr, Protocol, u16),
    at: UnixTime,
) -> bool {
    super::allows_behind(policy, from, (gateway, address), protocol, port, at)
}

/// Packets at and beside every boundary that the policy or `within` has, inside `within`.
pub fn probes(policy: &Policy, within: Option<Listen>) -> BTreeSet<(Protocol, u16)> {
    let listens: Vec<Listen> =
        policy.services.values().flat_map(|s| s.listen.iter().copied()).chain(within).collect();
    let mut ports: BTreeMap<Protocol, BTreeSet<u16>> = BTreeMap::new();
    for listen in &listens {
        let near = |port: u16| [port.saturating_sub(1), port, port.saturating_add(1)];
        let all = near(listen.first).into_iter().chain(near(listen.last));
        let all = all.map(|port| if listen.protocol.has_ports() { port } else { 0 });
        ports.entry(listen.protocol).or_default().extend(all);
    }
    let all =
        ports.into_iter().flat_map(|(protocol, ports)| ports.into_iter().map(move |port| (protocol, port)));
    all.filter(|(protocol, port)| {
        within.is_none_or(|w| w.protocol == *protocol && w.first <= *port && *port <= w.last)
    })
    .collect()
}
