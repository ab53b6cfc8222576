//! Proofs against the slow judge that tries every node there could be, and the sentences people read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use proptest::prelude::*;
use warren_config::oracle;
use warren_config::policy::*;
use warren_config::proof::{self, Outcome};
use warren_config::question;
use warren_config::time::UnixTime;

const AT: UnixTime = UnixTime(9);

fn cases() -> u32 {
    std::env::var("WARREN_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_proof_says_what_trying_every_node_says(
        policy in prop_oneof![generate::whole_policy(), generate::subnet_policy()],
    ) {
        for proof in proof::prove(&policy, &Default::default(), AT) {
            let invariant = &policy.invariants[&proof.id];
            let holds = oracle::ever::holds(&policy, invariant, AT);
            if proof.outcome == Outcome::Undecided {
                prop_assert!(invariant.via_any);
                continue;
            }
            prop_assert_eq!(proof.holds(), holds, "{:?}: {}", invariant, proof.message);
        }
    }

    #[test]
    fn ever_says_what_trying_every_node_says(
        policy in prop_oneof![generate::whole_policy(), generate::subnet_policy()], from in generate::selector(), to in generate::target(), through: bool,
    ) {
        let Ok(found) = proof::ever(&policy, &from, &to, through, AT) else {
            prop_assert!(through);
            return Ok(());
        };
        let mut asked = policy.clone();
        // The names a question speaks of are names like others.
        let invariant = Invariant {
            id: generate::name("q", 0), law: Law::Never, from: [from].into(), to: vec![to], via_any: through,
        };
        asked.invariants = [(invariant.id.clone(), invariant.clone())].into();
        prop_assert_eq!(found.is_none(), oracle::ever::holds(&asked, &invariant, AT), "{:?}", found);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases() / 3, ..ProptestConfig::default() })]

    /// Rows of a difference are true, and whatever a possible node gains lies above a row.
    #[test]
    fn a_diff_misses_no_node_that_could_be_enrolled(old in generate::whole_policy(), new in generate::whole_policy()) {
        let diff = warren_config::question::diff(&old, &new, &[], AT);
        prop_assert!(diff.note.is_none());
        let wears = |text: &str, node: &Subject| text == "all-nodes" || text.split(" & ").all(|part| match part.split_once(':') {
            Some(("tag", tag)) => node.tags.iter().any(|t| t.as_str() == tag),
            Some(("node", name)) => node.name.as_str() == name,
            _ => panic!("{text}"),
        });
        // What lies behind gateways has a test of its own.
        let own = |rows: &[question::Tuple]| -> Vec<question::Tuple> {
            rows.iter().filter(|row| !row.to.contains(" behind ")).cloned().collect()
        };
        for (rows, before, after) in [(own(&diff.gained), &old, &new), (own(&diff.lost), &new, &old)] {
            let nodes = oracle::ever::possible_nodes(after);
            let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a, b)));
            for (from, to) in pairs.filter(|(a, b)| oracle::ever::different(a, b)) {
                for (protocol, port) in oracle::ever::probes(after, None) {
                    let says = |policy| oracle::allows(policy, from, to, protocol, port, AT);
                    let packet = Listen { protocol, first: port, last: port };
                    let above = rows.iter().any(|r| wears(&r.from, from) && wears(&r.to, to) && r.listen.covers(&packet));
                    prop_assert!(above || says(before) || !says(after), "{:?} {:?} {} {:?}", from, to, packet, rows);
                }
            }
        }
    }
}

/// 10,000 grants between 200 teams, walled by `not-with`; 1,000 invariants that hold.
fn town(grants: usize, invariants: usize) -> Policy {
    use std::fmt::Write;
    const TEAMS: usize = 200;
    let mut text =
        "version = 1\n[group.ops]\nmembers = [\"a\"]\n[tag.dev]\nowners = [\"group:ops\"]\n".to_owned();
    for team in 0..TEAMS {
        writeln!(text, "[tag.a{team}]\nowners = [\"group:ops\"]\nnot-with = [\"tag:dev\"]").unwrap();
        writeln!(text, "[tag.b{team}]\nowners = [\"group:ops\"]\nnot-with = [\"tag:dev\"]").unwrap();
    }
    for i in 0..grants {
        let (from, to, port) = (i % TEAMS, i / TEAMS % TEAMS, i % 60_000 + 1);
        writeln!(text, "[service.s{i}]\non = [\"tag:b{to}\"]\nlisten = [\"tcp/{port}\"]").unwrap();
        writeln!(text, "[[grant]]\nid = \"g{i}\"\nfrom = [\"tag:a{from}\"]\nto = [\"service:s{i}\"]")
            .unwrap();
    }
    for i in 0..invariants {
        let via = if i % 2 == 0 { ", via = \"any\"" } else { "" };
        let to = i % TEAMS;
        writeln!(
            text,
            "[[invariant]]\nid = \"i{i}\"\nnever = {{ from = [\"tag:dev\"], to = [\"tag:b{to}\"]{via} }}"
        )
        .unwrap();
    }
    let sources = [warren_config::resolve::Source { file: "town.toml".to_owned(), text }];
    warren_config::resolve::resolve(&sources).unwrap().policy
}

#[test]
fn many_invariants_over_many_grants_are_proven_soon() {
    let size =
        |name: &str, usual: usize| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (grants, invariants) = (size("WARREN_GRANTS", 500), size("WARREN_INVARIANTS", 50));
    let policy = town(grants, invariants);
    let begun = std::time::Instant::now();
    let proofs = proof::prove(&policy, &Default::default(), AT);
    println!("{grants} grants, {invariants} invariants: {:?}", begun.elapsed());
    assert!(proofs.iter().all(|proof| proof.holds()));
    // A wide limit: it guards against an explosion, not against a busy machine.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
}

const RELICS: &str = r#"
version = 1
[group.ops]
members = ["a@example.com"]
[tag.web]
owners = ["group:ops"]
[tag.relic]
[service.orders]
on = ["tag:web"]
listen = ["tcp/8443"]
[[grant]]
id = "relics"
from = ["tag:relic", "node:orders"]
to = ["service:orders"]
"#;

fn ever(worn: &[&str], from: &str) -> bool {
    let sources = [warren_config::resolve::Source { file: "p.toml".to_owned(), text: RELICS.to_owned() }];
    let policy = warren_config::resolve::resolve(&sources).unwrap().policy;
    let worn = worn.iter().map(|tag| tag.parse().unwrap()).collect();
    let from = warren_config::question::parse_selector(from).unwrap();
    let to = warren_config::question::parse_target("service:orders", None).unwrap();
    proof::ever_worn(&policy, &worn, &from, &to, false, AT).unwrap().is_some()
}

#[test]
fn a_tag_that_nobody_can_own_counts_where_a_node_wears_it() {
    assert!(!ever(&[], "tag:relic"));
    assert!(ever(&["relic"], "tag:relic"));
}

#[test]
fn no_node_ever_has_the_name_of_a_service() {
    assert!(!ever(&[], "node:orders"));
    assert!(!ever(&["relic"], "node:orders"));
}
