//! Small policies, made so that their parts meet.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by tests that each use a part")]

pub mod packet;

use std::collections::BTreeSet;

use proptest::prelude::*;
use warren_config::name::Name;
use warren_config::policy::*;
use warren_config::time::UnixTime;

pub const TAGS: u8 = 3;

pub fn name(prefix: &str, i: u8) -> Name {
    Name::parse(&format!("{prefix}{i}")).unwrap()
}

pub fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        8 => Just(Selector::AllNodes),
        8 => (0..2u8).prop_map(|i| Selector::Node(name("n", i))),
        // A service has that name: no node ever does.
        1 => Just(Selector::Node(name("s", 0))),
        28 => prop::collection::btree_set((0..TAGS).prop_map(|i| name("t", i)), 1..3).prop_map(Selector::Tags),
    ]
}

/// Few ports, so that ranges meet; both ends of the port space.
pub fn port() -> impl Strategy<Value = u16> {
    prop_oneof![5 => 1..5u16, 1 => 65534..=65535u16]
}

pub fn listen() -> impl Strategy<Value = Listen> {
    let protocol = prop_oneof![
        5 => Just(Protocol::Tcp),
        1 => Just(Protocol::Udp),
        2 => Just(Protocol::IcmpEcho),
        1 => Just(Protocol::Number(132))
    ];
    (protocol, port(), port()).prop_map(|(protocol, a, b)| match protocol.has_ports() {
        true => Listen { protocol, first: a.min(b), last: a.max(b) },
        false => Listen { protocol, first: 0, last: 0 },
    })
}

pub fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        3 => (0..3u8).prop_map(|i| Target::Service(name("s", i))),
        2 => (selector(), prop::option::of(listen())).prop_map(|(s, l)| Target::Nodes(s, l)),
    ]
}

/// Gateways and what is behind them: prefixes inside each other, halves of one another, of both families. What overlaps has
/// the same gateways.
pub fn subnets() -> impl Strategy<Value = (BTreeSet<Selector>, BTreeSet<ipnet::IpNet>)> {
    const POOLS: [&[&str]; 2] = [
        &["10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/25", "10.0.0.7/32", "fd00:1::/64", "fd00:1::8/128"],
        &["192.168.0.0/16", "192.168.1.0/24", "192.168.1.0/32"],
    ];
    (0..2u8).prop_flat_map(|pool| {
        let all: Vec<ipnet::IpNet> =
            POOLS[usize::from(pool)].iter().map(|net| net.parse().unwrap()).collect();
        let some = prop::collection::btree_set(prop::sample::select(all), 1..4);
        some.prop_map(move |addresses| ([Selector::Tags([name("t", pool)].into())].into(), addresses))
    })
}

fn service(i: u8, behind: f64) -> impl Strategy<Value = Service> {
    let behind = prop::option::weighted(behind, subnets());
    (prop::collection::btree_set(selector(), 1..3), prop::collection::btree_set(listen(), 1..3), behind)
        .prop_map(move |(on, listen, behind)| {
            let (on, addresses) = behind.unwrap_or((on, BTreeSet::new()));
            Service { name: name("s", i), on, listen, addresses }
        })
}

fn grant(i: u8) -> impl Strategy<Value = Grant> {
    let mode =
        prop_oneof![8 => Just(GrantMode::Enforce), 1 => Just(GrantMode::Audit), 1 => Just(GrantMode::Off)];
    let until = prop::option::weighted(0.2, (5..15u64).prop_map(UnixTime));
    (
        prop::collection::btree_set(selector(), 1..3),
        prop::collection::btree_set(selector(), 0..3),
        prop::collection::btree_set((0..3u8).prop_map(|i| name("s", i)), 1..3),
        mode,
        until,
    )
        .prop_map(move |(from, except, to, mode, until)| Grant {
            id: name("g", i),
            from,
            except,
            to,
            mode,
            until,
            why: String::new(),
        })
}

fn invariant(i: u8) -> impl Strategy<Value = Invariant> {
    let law = prop_oneof![2 => Just(Law::Never), 1 => Just(Law::Only), 1 => Just(Law::Always)];
    (law, prop::collection::btree_set(selector(), 1..3), prop::collection::vec(target(), 1..3), any::<bool>())
        .prop_map(move |(law, from, to, via)| Invariant {
            id: name("i", i),
            law,
            from,
            to,
            via_any: via && law == Law::Never,
        })
}

/// Tags of which some exclude each other and one in ten has no owner.
fn tags() -> impl Strategy<Value = Vec<Tag>> {
    let pairs = prop::collection::btree_set((0..TAGS, 0..TAGS), 0..6);
    let unowned = prop::collection::btree_set(0..10 * TAGS, 0..6);
    (pairs, unowned).prop_map(|(pairs, unowned)| {
        let clashes = |a: u8, b: u8| a != b && (pairs.contains(&(a, b)) || pairs.contains(&(b, a)));
        let tag = |i: u8| Tag {
            name: name("t", i),
            owners: if unowned.contains(&i) { BTreeSet::new() } else { [name("ops", 0)].into() },
            not_with: (0..TAGS).filter(|j| clashes(i, *j)).map(|j| name("t", j)).collect(),
        };
        (0..TAGS).map(tag).collect()
    })
}

/// As the resolver would have it: everything that is named exists.
pub fn whole_policy() -> impl Strategy<Value = Policy> {
    policy_with(0.08)
}

/// The same with most services behind gateways.
pub fn subnet_policy() -> impl Strategy<Value = Policy> {
    policy_with(0.7)
}

fn policy_with(behind: f64) -> impl Strategy<Value = Policy> {
    let services = (service(0, behind), service(1, behind), service(2, behind));
    let grants = prop::collection::vec((0..5u8).prop_flat_map(grant), 0..6);
    let invariants = (invariant(0), invariant(1));
    (services, grants, tags(), invariants).prop_map(|(s, grants, tags, i)| {
        let group = Group { name: name("ops", 0), members: ["a".to_owned()].into() };
        Policy {
            groups: [(group.name.clone(), group)].into(),
            tags: tags.into_iter().map(|tag| (tag.name.clone(), tag)).collect(),
            services: [s.0, s.1, s.2].map(|s| (s.name.clone(), s)).into(),
            grants: grants.into_iter().map(|g| (g.id.clone(), g)).collect(),
            invariants: [i.0, i.1].map(|i| (i.id.clone(), i)).into(),
            ..Policy::default()
        }
    })
}

/// Tags that all exclude each other, a service on each, and grants from tag to service: what is reached is reached in
/// steps.
pub fn chained_policy() -> impl Strategy<Value = Policy> {
    let grants = prop::collection::btree_set((0..TAGS, 0..TAGS), 2..5);
    (whole_policy(), grants, (0..TAGS, 0..TAGS)).prop_map(|(mut policy, grants, (from, to))| {
        let only = |i: u8| BTreeSet::from([Selector::Tags([name("t", i)].into())]);
        for i in 0..TAGS {
            let others = (0..TAGS).filter(|j| *j != i).map(|j| name("t", j)).collect();
            let owners = [name("ops", 0)].into();
            policy.tags.insert(name("t", i), Tag { name: name("t", i), owners, not_with: others });
            let service = policy.services.get_mut(&name("s", i)).unwrap();
            service.on = only(i);
            // Two pools have one gateway each, and the third tag has none.
            if i == 2
                || service.addresses.iter().any(|net| {
                    (net.addr().is_ipv4() && net.addr().to_string().starts_with("192")) != (i == 1)
                })
            {
                service.addresses.clear();
            }
        }
        policy.grants = (0u8..)
            .zip(grants)
            .map(|(i, (from, to))| Grant {
                id: name("g", i),
                from: only(from),
                except: BTreeSet::new(),
                to: [name("s", to)].into(),
                mode: GrantMode::Enforce,
                until: None,
                why: String::new(),
            })
            .map(|grant| (grant.id.clone(), grant))
            .collect();
        let invariant = policy.invariants.get_mut(&name("i", 0)).unwrap();
        (invariant.law, invariant.via_any) = (Law::Never, true);
        (invariant.from, invariant.to) = (only(from), vec![Target::Service(name("s", to))]);
        policy
    })
}

pub fn subject() -> impl Strategy<Value = Subject> {
    let tags = prop::collection::btree_set((0..TAGS).prop_map(|i| name("t", i)), 0..3);
    (0..4u8, tags).prop_map(|(i, tags)| Subject { name: name("n", i), tags })
}
