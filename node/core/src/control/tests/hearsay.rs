//! What peers show of the coordinator's word: withheld news and two truths are noticed, and nothing else is.

use proptest::prelude::*;
use warren_wire::frame::CoordinatorSays;
use warren_wire::id::Digest;
use warren_wire::issue::{self, State};
use warren_wire::specimen::SpecimenNetwork;
use warren_wire::statement::Freshness;

use super::super::hearsay::{Stand, compare};
use super::super::*;
use super::world::{Driven, LIFE, T0, World};

/// The freshness a peer was given: `change` to what this node was given, signed so many seconds after it.
fn word(world: &World, after: u64, change: impl FnOnce(&mut State)) -> Vec<u8> {
    let mut state = world.state();
    change(&mut state);
    world.net.freshness(&state, UnixTime(T0 + after), LIFE).to_bytes()
}

fn hear(node: &mut Driven, world: &World, word: &[u8]) {
    node.control.handle_hearsay(world.orders.id, word, node.now);
    node.drain();
}

fn newer_root() -> Option<warren_config::item::Root> {
    Some(warren_config::item::Root([9; 32]))
}

fn newer_policy(state: &mut State) {
    (state.revision, state.generation) = (state.revision + 5, state.generation + 1);
    state.policy_root = newer_root();
}

#[test]
fn a_policy_that_is_withheld_is_noticed_half_a_minute_after_a_peer_has_shown_it() {
    let world = World::new();
    let mut node = world.settled();
    hear(&mut node, &world, &word(&world, 60, newer_policy));
    node.advance_to(node.now.plus_millis(29_999));
    assert!(!node.has_notice("news-withheld"), "it may be on its way");
    node.advance_to(node.now.plus_millis(1));
    assert!(node.has_notice("news-withheld"), "{:?}", node.notices());
    assert_eq!(node.complaints(), 1);
    let doubt = node.control.status(node.now).doubt.unwrap();
    assert!(doubt.contains("orders-1") && doubt.contains("generation 4"), "{doubt}");
    assert_eq!(node.peers(), ["db-1", "orders-1"], "nothing a peer says is taken over");
    // Once, however often it is heard.
    hear(&mut node, &world, &word(&world, 61, newer_policy));
    node.advance_to(node.now.plus_secs(300));
    assert_eq!(node.complaints(), 1);
}

#[test]
fn news_that_come_in_time_are_no_reason_for_doubt_and_late_ones_end_it() {
    let news = |world: &mut World, node: &mut Driven| {
        (world.revision, world.generation) = (world.revision + 5, world.generation + 1);
        node.view(world.whole(world.view()));
        node.say(CoordinatorSays::Freshness(world.freshness(T0 + 60)));
    };
    for (wait, doubts) in [(20, false), (40, true)] {
        let mut world = World::new();
        let mut node = world.settled();
        let shown = word(&world, 60, |state| (state.revision, state.generation) = (15, 4));
        hear(&mut node, &world, &shown);
        node.advance_to(node.now.plus_secs(wait));
        assert_eq!(node.has_notice("news-withheld"), doubts);
        news(&mut world, &mut node);
        assert_eq!(node.control.status(node.now).doubt, None);
        assert_eq!(node.has_notice("news-came"), doubts);
        node.advance_to(node.now.plus_secs(600));
        assert_eq!(node.has_notice("news-withheld"), doubts);
    }
}

#[test]
fn a_freshness_that_others_have_and_this_node_has_not_is_noticed_when_it_is_late() {
    let world = World::new();
    for (after, late) in [(3600 + 120, false), (3600 + 121, true)] {
        let mut node = world.settled();
        hear(&mut node, &world, &word(&world, after, |state| state.revision += 3));
        node.advance_to(node.now.plus_secs(60));
        assert_eq!(node.has_notice("news-withheld"), late, "{after} s later");
    }
}

#[test]
fn a_node_without_a_channel_says_that_it_missed_news_and_blames_nobody() {
    let world = World::new();
    let mut node = world.settled();
    node.control.handle_disconnected("cable", node.now);
    hear(&mut node, &world, &word(&world, 60, newer_policy));
    node.advance_to(node.now.plus_millis(30_000));
    assert!(node.has_notice("news-missed") && !node.has_notice("news-withheld"), "{:?}", node.notices());
}

#[test]
fn two_truths_are_noticed_at_once() {
    let world = World::new();
    let lies: [(&str, Vec<u8>); 5] = [
        ("another policy under one number", word(&world, 0, |state| state.policy_root = newer_root())),
        (
            "other revocations under one number",
            word(&world, 9, |state| state.revocation_head = Digest([3; 32])),
        ),
        ("another roll under one number", word(&world, 9, |state| state.roll = Digest([3; 32]))),
        ("a later state signed before an earlier one", {
            let mut early = World::new();
            early.revision = 11;
            early.net.freshness(&early.state(), UnixTime(T0 - 10), LIFE).to_bytes()
        }),
        ("an earlier state signed after a later one", word(&world, 10, |state| state.revision -= 1)),
    ];
    for (what, lie) in lies {
        let mut node = world.settled();
        hear(&mut node, &world, &lie);
        assert!(node.has_notice("split-view"), "{what}");
        assert_eq!(node.complaints(), 1, "{what}");
    }
}

#[test]
fn a_roll_that_is_withheld_is_noticed_half_a_minute_after_a_peer_has_shown_it() {
    let world = World::new();
    let newer_roll = |state: &mut State| (state.revision, state.roll) = (state.revision + 1, Digest([3; 32]));
    let mut node = world.settled();
    hear(&mut node, &world, &word(&world, 60, newer_roll));
    node.advance_to(node.now.plus_millis(29_999));
    assert!(!node.has_notice("news-withheld"), "it may be on its way");
    node.advance_to(node.now.plus_millis(1));
    assert!(node.has_notice("news-withheld"), "{:?}", node.notices());
}

/// A coordinator of an older version says nothing of the roll. One that has once spoken of it and is silent for somebody lies.
#[test]
fn a_coordinator_may_begin_to_speak_of_the_roll_and_not_cease() {
    let world = World::new();
    let without = |freshness: &Freshness| Freshness { roll: Vec::new(), ..freshness.clone() };
    let checked = |at| world.net.trust.freshness(&world.net.network, &world.freshness(at)).unwrap();
    let (early, late) = (checked(T0), checked(T0 + 60));
    assert_eq!(compare(&without(&early), &late), Stand::Nothing);
    assert_eq!(compare(&late, &without(&early)), Stand::Nothing);
    assert_eq!(compare(&early, &without(&late)), Stand::Contradiction);
    assert_eq!(compare(&without(&late), &early), Stand::Contradiction);
    assert_eq!(compare(&without(&early), &without(&late)), Stand::Nothing);
    let next = Freshness { revision: late.revision + 1, ..without(&late) };
    assert_eq!(compare(&early, &next), Stand::Contradiction);
    assert_eq!(compare(&without(&early), &next), Stand::Nothing);
}

/// The coordinator gave a freshness for news whose view it keeps back.
#[test]
fn a_view_that_is_kept_back_is_noticed_although_its_freshness_came() {
    let world = World::new();
    let mut node = world.settled();
    let mut later = World::new();
    (later.revision, later.generation) = (15, 4);
    node.say(CoordinatorSays::Freshness(later.freshness(T0 + 60)));
    hear(&mut node, &world, &later.freshness(T0 + 60).to_bytes());
    node.advance_to(node.now.plus_secs(31));
    assert!(node.has_notice("news-withheld"), "{:?}", node.notices());
}

#[test]
fn what_the_coordinator_did_not_sign_is_the_peers_own_fault() {
    let world = World::new();
    let mut node = world.settled();
    let state = State { generation: 9, revision: 90, ..world.state() };
    let other = SpecimenNetwork::new(5);
    let forged = [
        issue::freshness(world.net.id(), &state, UnixTime(T0 + 9), LIFE, &world.orders.identity).to_bytes(),
        issue::freshness(other.id(), &state, UnixTime(T0 + 9), LIFE, &other.coordinator).to_bytes(),
        b"no statement at all".to_vec(),
        Vec::new(),
    ];
    for word in forged {
        hear(&mut node, &world, &word);
    }
    node.advance_to(node.now.plus_secs(120));
    let ids: Vec<&str> = node.notices().iter().map(|notice| notice.id).collect();
    assert_eq!(ids.iter().filter(|id| **id == "hearsay-refused").count(), 1, "{ids:?}");
    assert!(!ids.contains(&"split-view") && !ids.contains(&"news-withheld"), "{ids:?}");
    assert_eq!(node.control.status(node.now).doubt, None);
}

#[test]
fn a_node_shows_the_newest_word_it_was_given() {
    let world = World::new();
    let mut node = world.settled();
    assert_eq!(node.control.hearsay(), Some(world.freshness(T0).to_bytes()));
    let mut later = World::new();
    (later.revision, later.generation) = (15, 4);
    node.say(CoordinatorSays::Freshness(later.freshness(T0 + 60)));
    assert_eq!(node.control.hearsay(), Some(later.freshness(T0 + 60).to_bytes()));
}

/// An honest coordinator: time and numbers only grow, and each state is signed as often as somebody asks.
fn honest(steps: Vec<(u64, u64, bool, bool)>) -> Vec<Freshness> {
    let mut now =
        Freshness { epoch: 1, revision: 1, signed_at: T0, not_after: T0 + LIFE, ..Freshness::default() };
    let mut said = vec![now.clone()];
    for (wait, revisions, policy, restore) in steps {
        now.signed_at += wait;
        now.not_after = now.signed_at + LIFE;
        now.revision += revisions;
        if revisions > 0 {
            now.revocation_head = vec![now.revision as u8; 32];
            now.roll = vec![(now.revision / 2) as u8; 32];
            if policy {
                now.generation += 1;
                now.policy_root = vec![now.generation as u8; 32];
            }
        }
        if restore {
            (now.epoch, now.revision, now.generation) =
                (now.epoch + 1, now.revision / 2 + 1, now.generation / 2);
            now.revocation_head = vec![0xee; 32];
            now.roll = vec![0xed; 32];
        }
        said.push(now.clone());
    }
    said
}

proptest! {
    /// Whatever two words of an honest coordinator two nodes hold, none of them is a contradiction.
    #[test]
    fn honest_words_never_contradict_each_other(
        steps in prop::collection::vec((0..5000u64, 0..3u64, any::<bool>(), prop::bool::weighted(0.1)), 0..12),
    ) {
        let said = honest(steps);
        for mine in &said {
            for theirs in &said {
                prop_assert_ne!(compare(mine, theirs), Stand::Contradiction, "{:?} {:?}", mine, theirs);
            }
        }
    }

    #[test]
    fn any_bytes_are_heard_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let world = World::new();
        let mut node = world.settled();
        hear(&mut node, &world, &bytes);
        prop_assert_eq!(node.control.status(node.now).doubt, None);
    }
}
