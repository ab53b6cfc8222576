//! Proofs against the slow judge that tries every node there could be, and the sentences people read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use proptest::prelude::*;
use warren_config::oracle;
use warren_config::policy::*;
use warren_config::proof::{self, Outcome};
use warren_config::time::UnixTime;

const AT: UnixTime = UnixTime(9);

fn cases() -> u32 {
    std::env::var("WARREN_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_proof_says_what_trying_every_node_says(policy in generate::whole_policy()) {
        for proof in proof::prove(&policy, &Default::default(), AT) {
            let invariant = &policy.invariants[&proof.id];
            let holds = oracle::ever::holds(&policy, invariant, AT);
            prop_assert_ne!(proof.outcome, Outcome::Undecided);
            prop_assert_eq!(proof.holds(), holds, "{:?}: {}", invariant, proof.message);
        }
    }

    #[test]
    fn ever_says_what_trying_every_node_says(
        policy in generate::whole_policy(), from in generate::selector(), to in generate::target(), through: bool,
    ) {
        let found = proof::ever(&policy, &from, &to, through, AT).unwrap();
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
        for (rows, before, after) in [(&diff.gained, &old, &new), (&diff.lost, &new, &old)] {
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
