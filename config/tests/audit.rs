//! Audited grants at a sender that the destination is no peer of: recognised, recorded, never let through.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use proptest::prelude::*;
use warren_config::compile::Program;
use warren_config::filter::{Rules, Verdict};
use warren_config::item::Item;
use warren_config::name::Name;
use warren_config::oracle;
use warren_config::policy::*;
use warren_config::time::UnixTime;

fn cases() -> u32 {
    std::env::var("WARREN_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

fn subject() -> impl Strategy<Value = Subject> {
    let tags = prop::collection::btree_set((0..generate::TAGS).prop_map(|i| generate::name("t", i)), 0..3);
    ((0..3u8).prop_map(|i| generate::name("n", i)), tags).prop_map(|(name, tags)| Subject { name, tags })
}

/// What a sender is told: the items that concern it, and which of the destination's services to look for.
fn told(policy: &Policy, from: &Subject, to: &Subject) -> Rules {
    let whole = Program::of_policy(policy);
    let items = policy.services.values().cloned().map(Item::Service);
    let items = items.chain(policy.grants.values().cloned().map(Item::Grant));
    let mine: Vec<Item> = items.filter(|item| whole.concerns(item, from)).collect();
    let services: Vec<&Name> = whole.audited_at(from, to).collect();
    Program::of_items(&mine).audited(from, services)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_sender_recognises_what_an_audited_grant_would_allow_and_passes_nothing(
        policy in generate::whole_policy(), from in subject(), to in subject(),
    ) {
        let rules = told(&policy, &from, &to);
        prop_assert!(!rules.joins(), "an audited grant joins nobody");
        for (protocol, port) in oracle::ever::probes(&policy, None) {
            for at in [UnixTime(4), UnixTime(9), UnixTime(20)] {
                let verdict = rules.judge(protocol, port, at);
                prop_assert!(!verdict.passes());
                let recognised = matches!(verdict, Verdict::WouldAllow { .. });
                let ought = oracle::would_allow(&policy, &from, &to, protocol, port, at);
                prop_assert_eq!(recognised, ought, "{:?} {}", protocol, port);
            }
        }
    }

    /// Whatever a coordinator says a destination offers, nothing passes.
    #[test]
    fn rules_of_audited_grants_pass_nothing_whatever_they_are_made_of(
        policy in generate::whole_policy(), from in subject(),
    ) {
        let rules = Program::of_policy(&policy).audited(&from, policy.services.keys());
        prop_assert!(!rules.joins() && rules.services(UnixTime(0)).is_empty());
        for (protocol, port) in oracle::ever::probes(&policy, None) {
            prop_assert!(!rules.judge(protocol, port, UnixTime(1)).passes());
        }
    }
}
