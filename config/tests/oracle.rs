//! The slow judge against the compiler, on generated policies, nodes and packets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use warren_config::compile::Program;
use warren_config::filter::Verdict;
use warren_config::item::{Item, ItemTree};
use warren_config::name::Name;
use warren_config::oracle;
use warren_config::policy::*;
use warren_config::time::UnixTime;

fn name(prefix: &str, i: u8) -> Name {
    Name::parse(&format!("{prefix}{i}")).unwrap()
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        1 => Just(Selector::AllNodes),
        2 => (0..4u8).prop_map(|i| Selector::Node(name("n", i))),
        6 => prop::collection::btree_set((0..4u8).prop_map(|i| name("t", i)), 1..3).prop_map(Selector::Tags),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::IcmpEcho),
        Just(Protocol::Number(132))
    ]
}

/// Few ports, so that ranges meet; both ends of the port space.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 1..12u16, 1 => 65530..=65535u16]
}

fn listen() -> impl Strategy<Value = Listen> {
    (protocol(), port(), port()).prop_map(|(protocol, a, b)| match protocol.has_ports() {
        true => Listen { protocol, first: a.min(b), last: a.max(b) },
        false => Listen { protocol, first: 0, last: 0 },
    })
}

fn service(i: u8) -> impl Strategy<Value = Service> {
    let behind = prop::option::weighted(0.3, generate::subnets());
    (prop::collection::btree_set(selector(), 1..3), prop::collection::btree_set(listen(), 1..4), behind)
        .prop_map(move |(on, listen, behind)| {
            let (on, addresses) = behind.unwrap_or((on, BTreeSet::new()));
            Service { name: name("s", i), on, listen, addresses }
        })
}

fn grant(i: u8) -> impl Strategy<Value = Grant> {
    let mode =
        prop_oneof![5 => Just(GrantMode::Enforce), 2 => Just(GrantMode::Audit), 1 => Just(GrantMode::Off)];
    let until = prop::option::of((5..15u64).prop_map(UnixTime));
    (
        prop::collection::btree_set(selector(), 1..3),
        prop::collection::btree_set(selector(), 0..2),
        prop::collection::btree_set((0..4u8).prop_map(|i| name("s", i)), 1..3),
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

fn policy() -> impl Strategy<Value = Policy> {
    let services = (service(0), service(1), service(2), service(3));
    let grants = (grant(0), grant(1), grant(2), grant(3), grant(4));
    (services, grants, any::<bool>()).prop_map(|(s, g, observe)| {
        let mut policy = Policy::default();
        policy.settings.mode = if observe { Mode::Observe } else { Mode::Enforce };
        policy.services = BTreeMap::from_iter([s.0, s.1, s.2, s.3].map(|s| (s.name.clone(), s)));
        policy.grants = BTreeMap::from_iter([g.0, g.1, g.2, g.3, g.4].map(|g| (g.id.clone(), g)));
        policy
    })
}

fn subject() -> impl Strategy<Value = Subject> {
    (0..6u8, prop::collection::btree_set((0..4u8).prop_map(|i| name("t", i)), 0..3))
        .prop_map(|(i, tags)| Subject { name: name("n", i), tags })
}

/// Every port near a boundary, for every protocol, at times around every end.
fn packets() -> impl Iterator<Item = (Protocol, u16, UnixTime)> {
    let ports: Vec<u16> = (0..14).chain(65528..=65535).collect();
    let protocols =
        [Protocol::Tcp, Protocol::Udp, Protocol::IcmpEcho, Protocol::Number(132), Protocol::Number(50)];
    protocols.into_iter().flat_map(move |protocol| {
        ports.clone().into_iter().flat_map(move |port| [4, 9, 10, 20].map(|t| (protocol, port, UnixTime(t))))
    })
}

fn expected(
    policy: &Policy,
    from: &Subject,
    to: &Subject,
    p: Protocol,
    port: u16,
    at: UnixTime,
) -> &'static str {
    if oracle::allows(policy, from, to, p, port, at) {
        "allow"
    } else if policy.settings.mode == Mode::Observe {
        "would-deny"
    } else if oracle::would_allow(policy, from, to, p, port, at) {
        "would-allow"
    } else {
        "deny"
    }
}

fn word(verdict: Verdict<'_>) -> &'static str {
    match verdict {
        Verdict::Allow { .. } => "allow",
        Verdict::Deny => "deny",
        Verdict::WouldAllow { .. } => "would-allow",
        Verdict::WouldDeny => "would-deny",
    }
}

fn items(policy: &Policy) -> Vec<Item> {
    ItemTree::new(policy).items().iter().map(|(item, _)| item.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_compiler_says_what_the_specification_says(policy in policy(), from in subject(), to in subject()) {
        let rules = Program::of_policy(&policy).rules(&from, &to);
        let mut passed = false;
        for (protocol, port, at) in packets() {
            let verdict = rules.judge(protocol, port, at);
            prop_assert_eq!(word(verdict), expected(&policy, &from, &to, protocol, port, at), "{} {} {}", protocol, port, at);
            passed |= verdict.passes();
            if let Verdict::Allow { grant, service, until } = verdict {
                let grant = &policy.grants[grant];
                prop_assert!(grant.to.contains(service) && grant.until == until && grant.mode == GrantMode::Enforce);
                prop_assert!(rules.services(at).contains(service));
                prop_assert!(until.is_none_or(|until| rules.next_end(at).is_some_and(|end| end <= until)));
            }
        }
        prop_assert!(!passed || rules.joins());
    }

    #[test]
    fn the_items_that_concern_an_end_are_enough_for_its_filter(policy in policy(), a in subject(), b in subject()) {
        let whole = Program::of_policy(&policy);
        for end in [&a, &b] {
            let told: Vec<Item> = items(&policy).into_iter().filter(|item| whole.concerns(item, end)).collect();
            let part = Program::of_items(&told);
            prop_assert_eq!(part.rules(&a, &b), whole.rules(&a, &b));
            prop_assert_eq!(part.rules(&b, &a), whole.rules(&b, &a));
        }
    }

    #[test]
    fn a_withheld_item_only_ever_takes_away(policy in policy(), a in subject(), b in subject(), keep in any::<u32>()) {
        let kept: Vec<Item> = items(&policy)
            .into_iter()
            .enumerate()
            .filter_map(|(i, item)| (keep >> (i % 32) & 1 == 1).then_some(item))
            .collect();
        let (whole, part) = (Program::of_policy(&policy).rules(&a, &b), Program::of_items(&kept).rules(&a, &b));
        for (protocol, port, at) in packets() {
            let opened = part.judge(protocol, port, at).passes() && !whole.judge(protocol, port, at).passes();
            prop_assert!(!opened);
        }
        prop_assert!(!part.joins() || whole.joins());
    }
}

/// Three nodes of different names.
fn nodes() -> impl Strategy<Value = Vec<Subject>> {
    let tags = || prop::collection::btree_set((0..4u8).prop_map(|i| name("t", i)), 0..3);
    (tags(), tags(), tags()).prop_map(|(a, b, c)| {
        [(2, a), (3, b), (7, c)].map(|(i, tags)| Subject { name: name("n", i), tags }).to_vec()
    })
}

/// What `diff` calls a node: by its name if a policy does so too, otherwise by what it wears.
fn label(node: &Subject, policies: [&Policy; 2]) -> String {
    let named = policies.into_iter().any(|policy| {
        let grants = policy.grants.values().flat_map(|grant| grant.from.iter().chain(&grant.except));
        let services = policy.services.values().flat_map(|service| &service.on);
        grants.chain(services).any(|selector| *selector == Selector::Node(node.name.clone()))
    });
    if named || node.tags.is_empty() {
        format!("node:{}", node.name)
    } else {
        Selector::Tags(node.tags.clone()).to_string()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_diff_names_exactly_what_the_specification_gives_and_takes(
        (old, new) in (policy(), policy()), nodes in nodes(),
    ) {
        let at = UnixTime(9);
        let declare = |mut policy: Policy| {
            for i in 0..4 {
                let tag = Tag { name: name("t", i), owners: BTreeSet::new(), not_with: BTreeSet::new() };
                policy.tags.insert(tag.name.clone(), tag);
            }
            policy
        };
        let (old, new) = (declare(old), declare(new));
        let diff = warren_config::question::diff(&old, &new, &nodes, at);
        prop_assert!(warren_config::question::diff(&new, &new, &nodes, at) == Default::default());
        for (from, to) in nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a, b))).filter(|(a, b)| a != b) {
            for (protocol, port, _) in packets().filter(|(_, _, t)| *t == at) {
                let says = |policy| oracle::allows(policy, from, to, protocol, port, at);
                let port = if protocol.has_ports() { port } else { 0 };
                let packet = Listen { protocol, first: port, last: port };
                let (source, destination) = (label(from, [&old, &new]), label(to, [&old, &new]));
                let named = |tuples: &[warren_config::question::Tuple]| {
                    tuples.iter().any(|t| t.from == source && t.to == destination && t.listen.covers(&packet))
                };
                prop_assert_eq!(named(&diff.gained), !says(&old) && says(&new), "{} {} {}", from.name, to.name, packet);
                prop_assert_eq!(named(&diff.lost), says(&old) && !says(&new), "{} {} {}", from.name, to.name, packet);
            }
        }
    }

    #[test]
    fn an_explanation_agrees_with_the_specification(policy in policy(), from in subject(), to in subject(), asked in listen()) {
        let at = UnixTime(9);
        let all = (asked.first..=asked.last).all(|port| oracle::allows(&policy, &from, &to, asked.protocol, port, at));
        match warren_config::question::explain(&policy, &from, &to, asked, at) {
            Ok(passing) => prop_assert!(all && policy.grants[&passing.grant].to.contains(&passing.service)),
            Err(miss) => {
                prop_assert!(!all);
                prop_assert!(!miss.reason.contains("only a part"), "{}", miss.reason);
            }
        }
    }
}

#[test]
fn all_nodes_meets_all_nodes_only_by_ping() {
    let listen = |protocol, port| Listen { protocol, first: port, last: port };
    let service = Service {
        name: name("s", 0),
        on: [Selector::AllNodes].into(),
        listen: [listen(Protocol::IcmpEcho, 0), listen(Protocol::Tcp, 22)].into(),
        addresses: BTreeSet::new(),
    };
    let grant = Grant {
        id: name("g", 0),
        from: [Selector::AllNodes].into(),
        except: BTreeSet::new(),
        to: [name("s", 0)].into(),
        mode: GrantMode::Enforce,
        until: None,
        why: String::new(),
    };
    let program = Program::of_items([&Item::Service(service), &Item::Grant(grant)]);
    let node = |i| Subject { name: name("n", i), tags: BTreeSet::new() };
    let rules = program.rules(&node(0), &node(1));
    assert!(rules.judge(Protocol::IcmpEcho, 0, UnixTime(0)).passes());
    assert!(!rules.judge(Protocol::Tcp, 22, UnixTime(0)).passes());
}

#[test]
fn ten_thousand_grants_compile_and_judge_quickly() {
    let mut policy = Policy::default();
    for i in 0..10_000u32 {
        let id = Name::parse(&format!("x{i}")).unwrap();
        let tag = |text: &str| Selector::Tags([Name::parse(text).unwrap()].into());
        let port = u16::try_from(i * 2 + 1).unwrap();
        let listen = [Listen { protocol: Protocol::Tcp, first: port, last: port }].into();
        let service =
            Service { name: id.clone(), on: [tag("db")].into(), listen, addresses: BTreeSet::new() };
        policy.services.insert(id.clone(), service);
        let grant = Grant {
            id: id.clone(),
            from: [tag("web")].into(),
            except: BTreeSet::new(),
            to: [id.clone()].into(),
            mode: GrantMode::Enforce,
            until: None,
            why: String::new(),
        };
        policy.grants.insert(id, grant);
    }
    let node =
        |n: &str, t: &str| Subject { name: Name::parse(n).unwrap(), tags: [Name::parse(t).unwrap()].into() };
    let program = Program::of_policy(&policy);
    let (web, db) = (node("a", "web"), node("b", "db"));
    let begun = std::time::Instant::now();
    let rules = program.rules(&web, &db);
    let compiled = begun.elapsed();
    let begun = std::time::Instant::now();
    let passed = (1..=60_000u16).filter(|p| rules.judge(Protocol::Tcp, *p, UnixTime(0)).passes()).count();
    let judged = begun.elapsed() / 60_000;
    assert_eq!(passed, 10_000);
    println!("10,000 grants: compile {compiled:?}, judge {judged:?}");
    // Wide limits: this guards against a scan, not against a busy machine. Issue budget in release: 200 ns.
    assert!(compiled < std::time::Duration::from_secs(5), "{compiled:?}");
    assert!(judged < std::time::Duration::from_micros(20), "{judged:?}");
}
