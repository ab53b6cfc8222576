//! Leases: who is away for too long is out, by nobody's hand; and the names that hosts would like to have.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::{CHAIN, START, WEEK, World, name};
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::state::State;
use warren_coordinator_core::store::Store;
use warren_wire::frame::RefusalCode;
use warren_wire::id::IdentityKey;
use warren_wire::issue::NameRule;

const LEASE: u64 = 60;

fn leased(world: &mut World, tags: &[&str]) -> IdentityKey {
    world.token_leased(NameRule::AnyFree, tags, 100, WEEK, LEASE).unwrap()
}

/// A new host that would like to be called so, online.
fn come(world: &mut World, token: &IdentityKey, like: &str) -> usize {
    let host = world.add_host();
    world.connect(host);
    world.begin_liking(host, token, like);
    assert!(world.finish(host, token).unwrap().is_ok());
    world.hello(host);
    host
}

/// A new host that is admitted, and whose agent has not come yet.
fn admit(world: &mut World, token: &IdentityKey, like: &str) -> usize {
    let host = world.add_host();
    world.connect(host);
    world.begin_liking(host, token, like);
    world.finish(host, token);
    host
}

fn names(world: &World) -> Vec<String> {
    world.coordinator.nodes(false).into_iter().map(|node| node.name).collect()
}

#[test]
fn who_is_away_for_its_lease_is_out_and_its_peers_are_told() {
    let mut world = World::new(201);
    world.apply(CHAIN).unwrap();
    let token = leased(&mut world, &["orders"]);
    let web = world.join("web", &["web"]);
    let orders = come(&mut world, &token, "orders-7");
    assert_eq!(world.hosts[web].peers(), [world.id(orders)]);
    world.disconnect(orders);
    world.wait(LEASE - 1);
    assert_eq!(world.hosts[web].peers(), [world.id(orders)], "not a second early");
    world.wait(1);
    assert!(world.hosts[web].peers().is_empty(), "the peer is told");
    assert_eq!(names(&world), ["web"], "who has no lease stays");
    assert!(world.coordinator.poll_timeout().is_some_and(|t| t.at > world.now), "nothing is due any more");
}

#[test]
fn a_node_that_is_there_keeps_its_place_for_ever() {
    let mut world = World::new(202);
    let token = leased(&mut world, &[]);
    let host = come(&mut world, &token, "stays");
    for _ in 0..50 {
        world.wait(LEASE / 2);
    }
    world.disconnect(host);
    world.wait(LEASE / 2);
    world.online(host);
    world.wait(10 * LEASE);
    assert_eq!(names(&world), ["stays"], "half a lease away is no end");
}

#[test]
fn a_lease_runs_from_the_admission_and_not_while_the_coordinator_is_away() {
    let mut world = World::new(203);
    let token = leased(&mut world, &[]);
    admit(&mut world, &token, "never-came");
    world.wait(LEASE - 5);
    world.now = world.now.plus(1000);
    world.restart();
    world.wait(LEASE - 1);
    assert_eq!(names(&world), ["never-came"], "nobody can come to a coordinator that is away");
    world.wait(1);
    assert!(names(&world).is_empty());
}

#[test]
fn a_short_lease_gives_a_minute_to_come_for_the_first_time() {
    let mut world = World::new(207);
    let token = world.token_leased(NameRule::AnyFree, &[], 100, WEEK, 20).unwrap();
    let slow = admit(&mut world, &token, "slow");
    world.disconnect(slow);
    world.wait(59);
    assert_eq!(names(&world), ["slow"], "its machine starts thirty more");
    world.online(slow);
    world.wait(100);
    assert_eq!(names(&world), ["slow"]);
    world.disconnect(slow);
    world.wait(19);
    assert_eq!(names(&world), ["slow"]);
    world.wait(1);
    assert!(names(&world).is_empty(), "who came once has its lease and no more");
    let never = admit(&mut world, &token, "never");
    world.disconnect(never);
    world.wait(60);
    assert!(names(&world).is_empty(), "who never came is out after the minute");
}

#[test]
fn whose_lease_has_ended_comes_in_only_with_another_identity_and_that_is_no_alarm() {
    let mut world = World::new(204);
    let token = leased(&mut world, &[]);
    let host = come(&mut world, &token, "a");
    world.disconnect(host);
    world.wait(LEASE);
    world.online(host);
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::LeaseEnded));
    assert!(world.hosts[host].refused.as_ref().unwrap().proof.is_none());
    world.connect(host);
    world.begin_liking(host, &token, "a");
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::LeaseEnded), "the token does not bring it back");
    assert!(world.alarms.is_empty(), "{:?}", world.alarms);
    let again = come(&mut world, &token, "a");
    assert_eq!(names(&world), ["a"], "the name is free at once");
    assert_ne!(world.id(again), world.id(host));
    let addresses = |id| world.coordinator.state().directory().get(&id).unwrap().member.v4;
    assert_ne!(addresses(world.id(again)), addresses(world.id(host)), "its address rests");
}

#[test]
fn the_log_says_who_was_taken_out_and_gives_the_same_state() {
    let mut world = World::new(205);
    let token = leased(&mut world, &[]);
    let host = come(&mut world, &token, "a");
    world.disconnect(host);
    world.wait(LEASE);
    let log = world.store.read(0, usize::MAX).unwrap();
    assert_eq!(&State::replay(&log).unwrap(), world.coordinator.state());
    let last = log.last().unwrap();
    assert_eq!(last.body.principal.to_string(), "coordinator");
    assert_eq!(last.body.changes.iter().map(|c| c.kind()).collect::<Vec<_>>(), ["lease-ended"]);
}

#[test]
fn a_liked_name_that_is_taken_gets_the_first_free_number() {
    let mut world = World::new(206);
    world.apply(&CHAIN.replace("\"tag:db\"", "\"tag:db\", \"node:web-3\"")).unwrap();
    let token = leased(&mut world, &["web"]);
    for _ in 0..3 {
        come(&mut world, &token, "web");
    }
    assert_eq!(names(&world), ["web", "web-2", "web-4"], "web-3 is the policy's to give");
    world.disconnect(1);
    world.wait(LEASE);
    come(&mut world, &token, "web");
    assert_eq!(names(&world), ["web", "web-2", "web-4"], "what is free again is given again");
}

#[test]
fn two_who_like_the_same_name_at_once_are_offered_different_ones() {
    let mut world = World::new(207);
    let token = leased(&mut world, &[]);
    let hosts = [world.add_host(), world.add_host()];
    for host in hosts {
        world.connect(host);
        world.begin_liking(host, &token, "web");
    }
    for host in hosts {
        assert!(world.finish(host, &token).unwrap().is_ok());
    }
    assert_eq!(names(&world), ["web", "web-2"]);
}

#[test]
fn a_liked_name_that_the_token_cannot_give_counts_for_nothing() {
    let mut world = World::new(208);
    let prefix = world.token_with(NameRule::Prefix("db-".into()), &[], 9, WEEK).unwrap();
    let bound = world.token_with(NameRule::Exactly(name("vault")), &[], 1, WEEK).unwrap();
    for (token, like) in [(prefix, "web"), (prefix, "db-host"), (prefix, "No Name"), (bound, "web")] {
        come(&mut world, &token, like);
    }
    assert_eq!(names(&world), ["db-1", "db-2", "db-host", "vault"]);
}

#[test]
fn a_lease_outside_its_bounds_is_no_token() {
    let mut world = World::new(209);
    for lease in [1, 9, 90 * 86_400 + 1] {
        let made = world.token_leased(NameRule::AnyFree, &[], 1, WEEK, lease);
        assert!(matches!(made, Err(Refusal::BadStatement { .. })), "{lease}");
    }
    assert!(world.now >= START);
}
