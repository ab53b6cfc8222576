//! What is found by index is what asking about everybody finds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use proptest::prelude::*;
use warren_config::compile::{Cast, Program};
use warren_config::item::ItemTree;
use warren_config::policy::*;

fn subjects() -> impl Strategy<Value = Vec<Subject>> {
    prop::collection::vec(generate::subject(), 1..8)
}

fn cast(subjects: &[Subject]) -> Cast {
    let mut cast = Cast::default();
    for subject in subjects {
        cast.add(subject.clone());
    }
    cast
}

proptest! {
    #[test]
    fn who_is_joined_is_found_by_index(mut policy in generate::whole_policy(), subjects in subjects(), observe in prop::bool::weighted(0.1)) {
        policy.settings.mode = if observe { Mode::Observe } else { Mode::Enforce };
        let program = Program::of_policy(&policy);
        let cast = cast(&subjects);
        for subject in &subjects {
            let joins = |other: &Subject| program.rules(subject, other).joins() || program.rules(other, subject).joins();
            let all: Vec<usize> = (0..subjects.len()).filter(|i| joins(&subjects[*i])).collect();
            prop_assert_eq!(program.joined_with(subject, &cast), all);
        }
    }

    #[test]
    fn what_concerns_a_node_is_found_by_index(policy in generate::whole_policy(), subjects in subjects()) {
        let (program, tree) = (Program::of_policy(&policy), ItemTree::new(&policy));
        for subject in &subjects {
            let (grants, services) = program.concerning(subject);
            let items = tree.items().iter().enumerate();
            let all: Vec<usize> = items.filter(|(_, (item, _))| program.concerns(item, subject)).map(|(i, _)| i).collect();
            prop_assert_eq!(tree.places(&services, &grants), all);
        }
    }

    #[test]
    fn a_changed_grant_alters_nobody_but_whom_it_touches(policy in generate::whole_policy(), subjects in subjects(), which in 0..5u8) {
        let Some(grant) = policy.grants.values().nth(usize::from(which)) else { return Ok(()) };
        let mut without = policy.clone();
        without.grants.remove(&grant.id);
        let (before, after) = (Program::of_policy(&policy), Program::of_policy(&without));
        let cast = cast(&subjects);
        let touched = before.touched_by(grant, &cast);
        for (i, a) in subjects.iter().enumerate() {
            for b in &subjects {
                let same = before.rules(a, b) == after.rules(a, b) && before.rules(b, a) == after.rules(b, a);
                prop_assert!(same || touched.contains(&i));
            }
        }
    }
}
