//! What is found by index is what asking about everybody finds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use warren_config::compile::{Cast, ItemPlaces, Program};
use warren_config::item::ItemTree;
use warren_config::policy::*;

fn subjects() -> impl Strategy<Value = Vec<Subject>> {
    prop::collection::vec(generate::subject(), 1..8)
}

fn cast(program: &Program, subjects: &[Subject]) -> Cast {
    let mut cast = Cast::new(Arc::new(program.clone()));
    for subject in subjects {
        cast.add(subject);
    }
    cast
}

proptest! {
    #[test]
    fn who_is_joined_is_found_by_index(mut policy in generate::whole_policy(), subjects in subjects(), observe in prop::bool::weighted(0.1)) {
        policy.settings.mode = if observe { Mode::Observe } else { Mode::Enforce };
        let program = Program::of_policy(&policy);
        let cast = cast(&program, &subjects);
        for (place, subject) in subjects.iter().enumerate() {
            let joins = |a: &Subject, b: &Subject| program.rules(a, b).joins() || !program.beyond(a, b).is_empty();
            let joins = |other: &Subject| joins(subject, other) || joins(other, subject);
            let all: Vec<usize> = (0..subjects.len()).filter(|i| joins(&subjects[*i])).collect();
            prop_assert_eq!(cast.joined_with(place), all);
        }
    }

    #[test]
    fn what_concerns_a_node_is_found_by_index(policy in generate::whole_policy(), subjects in subjects()) {
        let (program, tree) = (Program::of_policy(&policy), ItemTree::new(&policy));
        let (cast, places) = (cast(&program, &subjects), ItemPlaces::new(&program, &tree));
        for (place, subject) in subjects.iter().enumerate() {
            let items = tree.items().iter().enumerate();
            let all: Vec<usize> = items.filter(|(_, (item, _))| program.concerns(item, subject)).map(|(i, _)| i).collect();
            prop_assert_eq!(places.of(&cast.concerning(place)), all);
        }
    }

    #[test]
    fn a_changed_grant_alters_nobody_but_whom_it_touches(policy in generate::whole_policy(), subjects in subjects(), which in 0..5u8) {
        let Some(grant) = policy.grants.values().nth(usize::from(which)) else { return Ok(()) };
        let mut without = policy.clone();
        without.grants.remove(&grant.id);
        let (before, after) = (Program::of_policy(&policy), Program::of_policy(&without));
        let touched = cast(&before, &subjects).touched_by(grant);
        for (i, a) in subjects.iter().enumerate() {
            for b in &subjects {
                let same = |a: &Subject, b: &Subject| {
                    before.rules(a, b) == after.rules(a, b) && before.behind(a, b) == after.behind(a, b)
                };
                let same = same(a, b) && same(b, a);
                prop_assert!(same || touched.contains(&i));
            }
        }
    }

    #[test]
    fn who_is_told_to_recognise_whom_is_found_by_index(policy in generate::whole_policy(), subjects in subjects()) {
        let (program, tree) = (Program::of_policy(&policy), ItemTree::new(&policy));
        let (cast, places) = (cast(&program, &subjects), ItemPlaces::new(&program, &tree));
        let mut found: BTreeMap<(usize, usize), BTreeSet<usize>> = BTreeMap::new();
        for place in 0..subjects.len() {
            for (pair, services) in cast.audits(place) {
                prop_assert!(pair.0 == place || pair.1 == place);
                let items = services.into_iter().map(|service| places.service(service).unwrap()).collect();
                // Asked from either side it is the same.
                prop_assert!(found.get(&pair).is_none_or(|known| *known == items));
                found.insert(pair, items);
            }
        }
        for (from, a) in subjects.iter().enumerate() {
            for (to, b) in subjects.iter().enumerate() {
                let items = program.audited_at(a, b).map(|service| tree.place_of_service(service).unwrap());
                prop_assert_eq!(items.collect::<BTreeSet<_>>(), found.remove(&(from, to)).unwrap_or_default());
            }
        }
    }
}
