//! Freshness, signed time, `until`, restarts.

use warren_wire::frame::CoordinatorSays;
use warren_wire::issue;

use super::super::*;
use super::world::{Driven, LIFE, POLICY, T0, World};

const DAY: u64 = 86_400;

#[test]
fn freshness_that_runs_out_cuts_and_says_why() {
    let world = World::new();
    let mut node = world.settled();
    node.advance_to(Mono::from_millis(LIFE * 500 - 1));
    assert!(!node.has_notice("freshness-half"));
    node.advance_to(Mono::from_millis(LIFE * 500));
    assert!(node.has_notice("freshness-half"));
    node.advance_to(Mono::from_millis(LIFE * 1000 - 1));
    assert_eq!(node.cut(), None);
    assert_eq!(node.peers(), ["orders-1"], "the grant with `until` is long over");
    node.advance_to(Mono::from_millis(LIFE * 1000));
    assert!(node.peers().is_empty());
    assert_eq!(node.cut(), Some(CutReason::Stale { since: UnixTime(T0), end: UnixTime(T0 + LIFE) }));
    assert!(node.outputs.iter().any(|o| matches!(o, Output::Cut(CutReason::Stale { .. }))));
    // It comes back when it is fresh again.
    node.say(CoordinatorSays::Freshness(world.freshness(T0 + LIFE + 100)));
    assert_eq!((node.cut(), node.peers().len()), (None, 1));
}

#[test]
fn hold_keeps_the_last_good_view_and_says_so() {
    let world = World::new();
    let mut node = Driven::start(Config { hold: true, ..world.config() }, None);
    node.welcome(&world, T0);
    node.view(world.whole(world.view()));
    node.say(CoordinatorSays::Freshness(world.freshness(T0)));
    node.advance_to(Mono::from_millis((LIFE + 5) * 1000));
    assert_eq!(node.peers(), ["orders-1"]);
    assert!(node.has_notice("freshness-held"));
}

#[test]
fn a_grant_ends_at_its_instant_of_signed_time() {
    let world = World::new();
    let mut node = world.settled();
    let end = (DAY - 1800) * 1000;
    node.advance_to(Mono::from_millis(end - 1));
    assert_eq!(node.peers(), ["db-1", "orders-1"]);
    let grant = Some((Mono::from_millis(end), Why::GrantEnds));
    node.control.store_at = Mono(u64::MAX);
    node.control.session = Session::Authorised;
    assert_eq!(node.control.poll_timeout(), grant);
    node.advance_to(Mono::from_millis(end));
    assert_eq!(node.peers(), ["orders-1"]);
}

#[test]
fn freshness_for_a_newer_policy_waits_for_that_policy() {
    let mut world = World::new();
    let mut node = world.settled();
    (world.revision, world.generation) = (11, 4);
    node.say(CoordinatorSays::Freshness(world.freshness(T0 + 1000)));
    let status = node.control.status(node.now);
    assert_eq!(status.fresh_since, Some(UnixTime(T0)), "an old policy is not kept alive by new signatures");
    assert_eq!(node.complaints(), 0);
    node.view(world.whole(world.view()));
    let status = node.control.status(node.now);
    assert_eq!((status.fresh_since, status.generation), (Some(UnixTime(T0 + 1000)), 4));
}

#[test]
fn an_older_or_foreign_freshness_is_refused() {
    let mut world = World::new();
    let mut node = world.settled();
    node.say(CoordinatorSays::Freshness(world.freshness(T0)));
    assert_eq!(node.complaints(), 0, "the same one again, as after a reconnect");
    node.say(CoordinatorSays::Freshness(world.freshness(T0 - 1)));
    assert_eq!(node.complaints(), 1);
    let by_authority =
        issue::freshness(world.net.id(), &world.state(), UnixTime(T0 + 9), LIFE, &world.net.authority);
    node.say(CoordinatorSays::Freshness(by_authority));
    assert_eq!(node.complaints(), 2, "only the coordinator's online key signs freshness");
    world.generation = 2;
    node.say(CoordinatorSays::Freshness(world.freshness(T0 + 10)));
    assert_eq!(node.complaints(), 3, "for an older policy");
    let mixed = World { tree: warren_config::item::ItemTree::new(&Default::default()), ..World::new() };
    node.say(CoordinatorSays::Freshness(mixed.freshness(T0 + 11)));
    assert_eq!(node.complaints(), 4, "for another policy with the same number");
    assert_eq!(node.control.status(node.now).fresh_since, Some(UnixTime(T0)));
}

#[test]
fn a_node_restarts_and_keeps_working_while_the_coordinator_is_away() {
    let world = World::new();
    let stored = world.settled().stored();
    let node = Driven::start(world.config(), Some(&stored));
    assert_eq!((node.peers(), node.cut()), (vec!["db-1".to_owned(), "orders-1".to_owned()], None));
    assert_eq!(node.control.publication().unwrap().assembly.generation, 3);
}

/// NL-09: a wrong host clock is reported, and opens nothing.
#[test]
fn a_host_clock_that_is_wrong_is_reported_and_opens_nothing() {
    let world = World::new();
    let mut node = world.settled();
    node.control.handle_host_clock((T0 + DAY) * 1000, node.now);
    node.drain();
    assert!(node.has_notice("host-clock"));
    assert_eq!(node.peers().len(), 2, "a running node does not care");
    // A day later the grant is over. A restart with the clock turned back does not bring it back.
    node.advance_to(Mono::from_millis(2 * DAY * 1000));
    let stored = node.stored();
    for host in [0, T0 * 1000, (T0 - 365 * DAY) * 1000] {
        assert_eq!(Driven::start_at(world.config(), Some(&stored), host).peers(), ["orders-1"]);
    }
    // A clock far ahead closes after a restart, until a freshness says better; then all is well again.
    let mut ahead = Driven::start_at(world.config(), Some(&stored), (T0 + 365 * DAY) * 1000);
    assert!(matches!(ahead.cut(), Some(CutReason::Stale { .. })));
    ahead.welcome(&world, T0 + 2 * DAY);
    ahead.say(CoordinatorSays::Freshness(world.freshness(T0 + 2 * DAY)));
    assert_eq!((ahead.cut(), ahead.peers()), (None, vec!["orders-1".to_owned()]));
}

/// NL-11.
#[test]
fn a_stored_view_that_cannot_be_read_leaves_no_peers_and_asks_for_everything() {
    let world = World::new();
    let good = world.settled().stored();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [&good[..good.len() - 5], &flipped, b"", b"hello"] {
        let mut node = Driven::start(world.config(), Some(bad));
        assert!(node.has_notice("stored-view-refused"));
        assert_eq!((node.peers().len(), node.cut()), (0, Some(CutReason::NoView)));
        node.welcome(&world, T0);
        node.view(world.whole(world.view()));
        node.say(CoordinatorSays::Freshness(world.freshness(T0)));
        assert_eq!(node.peers().len(), 2);
    }
}

#[test]
fn a_policy_in_observe_mode_is_said_loudly() {
    let mut world = World::new();
    let text = POLICY.replace("version = 1", "version = 1\nmode = \"observe\"");
    world.tree = warren_config::item::ItemTree::new(&super::world::policy(&text));
    let node = world.settled();
    assert!(node.has_notice("observe"));
    assert!(node.control.status(node.now).observe);
}
