//! The slow judge over many policies and packets, with counts: that enough of them are allowed, that every construct
//! decides some, that few questions stay undecided; and that where one changed thing flips the judge's answer, it flips
//! every other answer.
//!
//! `WARREN_CASES=100000 cargo test --release -p warren-config --test judge -- --nocapture` prints the counts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use generate::name;
use generate::packet::{Packet, dice, packet};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use warren_config::compile::Program;
use warren_config::filter::Verdict;
use warren_config::oracle;
use warren_config::policy::*;
use warren_config::proof::{self, Outcome};
use warren_config::question::{Kinds, Tuple, diff, explain};
use warren_config::time::UnixTime;

fn cases(usual: u32) -> u32 {
    std::env::var("WARREN_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// The same cases every time; a failure is shrunk and printed.
fn run<S: Strategy>(usual: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config {
        cases: cases(usual),
        failure_persistence: None,
        max_shrink_iters: 5_000,
        ..Config::default()
    };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng).run(&strategy, test).unwrap_or_else(|error| panic!("{error}"));
}

fn allows(policy: &Policy, p: &Packet) -> bool {
    oracle::allows(policy, &p.from, &p.to, p.protocol, p.port, p.at)
}

type Change = fn(&mut Policy, &Packet);
type Turn = fn(&mut Policy);

/// One change for each construct: if it flips the judge's answer, the construct has decided the case.
const CHANGES: &[(&str, Change)] = &[
    ("grant", |p, _| p.grants.clear()),
    ("except", |p, _| grants(p, |g| g.except.clear())),
    ("until", |p, _| grants(p, |g| g.until = None)),
    ("audit", |p, _| grants(p, |g| g.mode = enforced(g.mode, GrantMode::Audit))),
    ("off", |p, _| grants(p, |g| g.mode = enforced(g.mode, GrantMode::Off))),
    ("from: tag", |p, _| grants(p, |g| g.from.retain(|s| !matches!(s, Selector::Tags(t) if t.len() == 1)))),
    ("from: tag & tag", |p, _| grants(p, |g| g.from = g.from.iter().map(first_tag).collect())),
    ("from: node", |p, _| grants(p, |g| g.from.retain(|s| !matches!(s, Selector::Node(_))))),
    ("from: all-nodes", |p, _| grants(p, |g| g.from.retain(|s| *s != Selector::AllNodes))),
    ("from: union", |p, _| grants(p, |g| g.from = g.from.iter().take(1).cloned().collect())),
    ("to: union", |p, _| grants(p, |g| g.to = g.to.iter().take(1).cloned().collect())),
    ("on: tag", |p, _| services(p, |s| s.on.retain(|s| !matches!(s, Selector::Tags(t) if t.len() == 1)))),
    ("on: tag & tag", |p, _| services(p, |s| s.on = s.on.iter().map(first_tag).collect())),
    ("on: node", |p, _| services(p, |s| s.on.retain(|s| !matches!(s, Selector::Node(_))))),
    ("on: all-nodes", |p, _| services(p, |s| s.on.retain(|s| *s != Selector::AllNodes))),
    ("all-nodes on both sides", |p, packet| {
        let node = Selector::Node(packet.to.name.clone());
        services(p, |s| {
            s.on = s.on.iter().map(|on| if *on == Selector::AllNodes { &node } else { on }.clone()).collect()
        });
    }),
    ("listen: port", |p, _| listens(p, |l| !l.protocol.has_ports() || l.first != l.last)),
    ("listen: range", |p, _| listens(p, |l| l.first == l.last)),
    ("listen: last port", |p, packet| {
        services(p, |s| s.listen = s.listen.iter().map(|l| shorter(*l, packet.port)).collect());
    }),
    ("listen: tcp", |p, _| listens(p, |l| l.protocol != Protocol::Tcp)),
    ("listen: udp", |p, _| listens(p, |l| l.protocol != Protocol::Udp)),
    ("listen: icmp/echo", |p, _| listens(p, |l| l.protocol != Protocol::IcmpEcho)),
    ("listen: proto/132", |p, _| listens(p, |l| !matches!(l.protocol, Protocol::Number(_)))),
];

fn grants(policy: &mut Policy, change: impl Fn(&mut Grant)) {
    policy.grants.values_mut().for_each(change);
    policy.grants.retain(|_, grant| !grant.from.is_empty() && !grant.to.is_empty());
}

fn services(policy: &mut Policy, change: impl Fn(&mut Service)) {
    policy.services.values_mut().for_each(change);
}

fn listens(policy: &mut Policy, keep: impl Fn(&Listen) -> bool) {
    services(policy, |service| service.listen.retain(|listen| keep(listen)));
}

fn enforced(mode: GrantMode, instead: GrantMode) -> GrantMode {
    if mode == instead { GrantMode::Enforce } else { mode }
}

fn first_tag(selector: &Selector) -> Selector {
    match selector {
        Selector::Tags(tags) => Selector::Tags(tags.iter().take(1).cloned().collect()),
        other => other.clone(),
    }
}

/// Without `port`, if it is the last of a range.
fn shorter(listen: Listen, port: u16) -> Listen {
    let last = if listen.last == port && listen.first < port { port - 1 } else { listen.last };
    Listen { last, ..listen }
}

#[derive(Default)]
struct Counts {
    cases: u64,
    of: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn add(&mut self, what: &'static str, hit: bool) {
        *self.of.entry(what).or_default() += u64::from(hit);
    }

    fn share(&self, what: &str) -> f64 {
        self.of.get(what).copied().unwrap_or(0) as f64 / self.cases.max(1) as f64
    }

    fn print(&self, head: &str) {
        println!("{head}: {} cases", self.cases);
        for (what, hits) in &self.of {
            println!("  {what:<26} {hits:>8}  {:>6.2} %", self.share(what) * 100.0);
        }
    }
}

/// The filter and `can` say what the judge says.
fn answers_agree(policy: &Policy, p: &Packet) -> Result<(), TestCaseError> {
    let says = allows(policy, p);
    let rules = Program::of_policy(policy).rules(&p.from, &p.to);
    let verdict = rules.judge(p.protocol, p.port, p.at);
    prop_assert_eq!(matches!(verdict, Verdict::Allow { .. }), says, "{:?}", verdict);
    let port = if p.protocol.has_ports() { p.port } else { 0 };
    let listen = Listen { protocol: p.protocol, first: port, last: port };
    prop_assert_eq!(explain(policy, &p.from, &p.to, listen, p.at).is_ok(), says);
    Ok(())
}

/// `diff` of two policies names the packet if and only if the judge's answer flips.
fn diff_agrees(old: &Policy, new: &Policy, p: &Packet) -> Result<(), TestCaseError> {
    let port = if p.protocol.has_ports() { p.port } else { 0 };
    let packet = Listen { protocol: p.protocol, first: port, last: port };
    let nodes = [p.from.clone(), p.to.clone()];
    let found = diff(old, new, &nodes, p.at);
    // A node that a policy names has rows of its own: a row about what it wears speaks of the others.
    let kinds = Kinds::between(old, new);
    let (from, to) = (kinds.label(&p.from), kinds.label(&p.to));
    let named = |rows: &[Tuple]| {
        rows.iter().any(|row| row.from == from && row.to == to && row.listen.covers(&packet))
    };
    let (before, after) = (allows(old, p), allows(new, p));
    prop_assert_eq!(named(&found.gained), !before && after, "{:?}", found);
    prop_assert_eq!(named(&found.lost), before && !after, "{:?}", found);
    Ok(())
}

#[test]
fn filter_can_and_diff_say_what_the_judge_says_and_every_construct_decides() {
    let counts = RefCell::new(Counts::default());
    run(3_000, (generate::whole_policy(), dice(), any::<prop::sample::Index>()), |(policy, dice, change)| {
        let Some(packet) = packet(&policy, &dice) else { return Ok(()) };
        let mut counts = counts.borrow_mut();
        counts.cases += 1;
        let says = allows(&policy, &packet);
        counts.add("allowed", says);
        answers_agree(&policy, &packet)?;
        let mut flipped = Vec::new();
        for (construct, change) in CHANGES {
            let mut other = policy.clone();
            change(&mut other, &packet);
            let flips = allows(&other, &packet) != says;
            counts.add(construct, flips);
            if flips {
                answers_agree(&other, &packet)?;
                flipped.push(other);
            }
        }
        // Whatever was flipped, one of it is asked as a difference, too.
        if !flipped.is_empty() {
            diff_agrees(&policy, change.get(&flipped), &packet)?;
        }
        Ok(())
    });
    let counts = counts.into_inner();
    counts.print("packets");
    assert!(counts.share("allowed") >= 0.30);
    for (construct, _) in CHANGES {
        assert!(counts.share(construct) >= 0.01, "`{construct}` decides {:.4}", counts.share(construct));
    }
}

#[test]
fn proofs_say_what_the_judge_says_and_few_stay_undecided() {
    let counts = RefCell::new(Counts::default());
    let at = UnixTime(9);
    let worn = BTreeSet::new();
    run(300, prop_oneof![4 => generate::whole_policy(), 1 => generate::chained_policy()], |mut policy| {
        policy.invariants.retain(|id, _| *id == name("i", 0));
        let invariant = policy.invariants.values().next().unwrap().clone();
        let mut counts = counts.borrow_mut();
        counts.cases += 1;
        let holds = oracle::ever::holds(&policy, &invariant, at);
        let agrees = |policy: &Policy, holds: bool| {
            let proof = proof::prove(policy, &worn, at).pop().unwrap();
            let undecided = proof.outcome == Outcome::Undecided;
            prop_assert!(undecided || proof.holds() == holds, "{:?}: {}", invariant, proof.message);
            Ok(undecided)
        };
        let undecided = agrees(&policy, holds)?;
        counts.add("undecided", undecided);
        counts.add("holds", holds);
        let changes: [(&'static str, Turn); 5] = [
            ("not-with", |p| p.tags.values_mut().for_each(|tag| tag.not_with.clear())),
            ("owners", |p| {
                for tag in p.tags.values_mut() {
                    tag.owners.insert(name("ops", 0));
                }
            }),
            ("except", |p| grants(p, |grant| grant.except.clear())),
            ("via", |p| p.invariants.values_mut().for_each(|i| i.via_any = false)),
            ("grant", |p| p.grants.clear()),
        ];
        for (construct, change) in changes {
            let mut other = policy.clone();
            change(&mut other);
            if other == policy {
                counts.add(construct, false);
                continue;
            }
            let invariant = other.invariants.values().next().unwrap();
            let now_holds = oracle::ever::holds(&other, invariant, at);
            agrees(&other, now_holds)?;
            counts.add(construct, now_holds != holds);
        }
        Ok(())
    });
    let counts = counts.into_inner();
    counts.print("proofs");
    assert!(counts.share("undecided") <= 0.005);
    for construct in ["not-with", "owners", "except", "via", "grant", "holds"] {
        assert!(counts.share(construct) >= 0.01, "`{construct}` decides {:.4}", counts.share(construct));
    }
}

fn crowd() -> impl Strategy<Value = (Policy, Vec<(Protocol, u16)>)> {
    let listen =
        (any::<bool>(), 1..=u16::MAX, 0..3_000u16, any::<bool>()).prop_map(|(tcp, first, more, one)| {
            let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
            Listen { protocol, first, last: if one { first } else { first.saturating_add(more) } }
        });
    let until = prop::option::weighted(0.3, (5..15u64).prop_map(UnixTime));
    let mode = prop_oneof![4 => Just(GrantMode::Enforce), 1 => Just(GrantMode::Audit)];
    let grants = prop::collection::vec((listen, until, mode), 100..400);
    grants.prop_map(|grants| {
        let mut policy = Policy::default();
        let mut packets = Vec::new();
        let tag = |i| BTreeSet::from([Selector::Tags([name("t", i)].into())]);
        for (i, (listen, until, mode)) in grants.into_iter().enumerate() {
            let id = warren_config::name::Name::parse(&format!("x{i}")).unwrap();
            let near = |port: u16| [port.saturating_sub(1), port, port.saturating_add(1)];
            packets.extend(
                near(listen.first).into_iter().chain(near(listen.last)).map(|p| (listen.protocol, p)),
            );
            policy.services.insert(
                id.clone(),
                Service { name: id.clone(), on: tag(1), listen: [listen].into(), addresses: [].into() },
            );
            let (except, to, why) = (BTreeSet::new(), [id.clone()].into(), String::new());
            policy.grants.insert(id.clone(), Grant { id, from: tag(0), except, to, mode, until, why });
        }
        (policy, packets)
    })
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases((cases(500) / 100).clamp(5, 200)) })]

    /// Filters so full that their directory is used.
    #[test]
    fn a_crowded_filter_says_what_the_judge_says((policy, packets) in crowd()) {
        let node = |i, tag| Subject { name: name("n", i), tags: [name("t", tag)].into() };
        let (from, to) = (node(0, 0), node(1, 1));
        let rules = Program::of_policy(&policy).rules(&from, &to);
        for (protocol, port) in packets {
            for at in [4, 9, 10, 20].map(UnixTime) {
                let says = oracle::allows(&policy, &from, &to, protocol, port, at);
                let verdict = rules.judge(protocol, port, at);
                prop_assert_eq!(matches!(verdict, Verdict::Allow { .. }), says, "{}/{} at {}: {:?}", protocol, port, at.0, verdict);
            }
        }
    }
}
