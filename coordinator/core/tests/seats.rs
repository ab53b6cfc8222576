//! Seats at the relay: who has one, who is told of it, and who may talk over it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use std::collections::BTreeSet;

use common::*;
use warren_coordinator_core::output::Reason;
use warren_wire::frame::{RelayAt, Seated};
use warren_wire::id::IdentityKey;
use warren_wire::relay::Seat;
use warren_wire::view::{Body, Key};
use zeroize::Zeroizing;

fn here() -> RelayAt {
    RelayAt::new(IdentityKey([9; 32]), "coordinator", vec![])
}

/// web-1, orders-1, db-1, with a relay.
fn street(seed: u64) -> World {
    let mut world = World::new(seed);
    world.coordinator.offer_relay(Zeroizing::new([seed as u8; 32]), Some(here()));
    world.apply(CHAIN).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    world.join("db-1", &["db"]);
    world
}

fn last(world: &World, host: usize) -> &Seated {
    world.hosts[host].seats.last().unwrap()
}

/// What `host` was told of the seat of `peer`.
fn told(world: &World, host: usize, peer: usize) -> Option<Seat> {
    match &world.hosts[host].view.entries.get(&Key::Endpoints(world.id(peer)))?.body {
        Some(Body::Endpoints(places)) => places.seat(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_member_has_a_seat_and_only_its_peers_know_the_number() {
    let world = street(1);
    let seats: BTreeSet<Seat> = world.hosts.iter().map(|host| host.seats[0].seat).collect();
    assert_eq!((seats.len(), world.seated.len()), (3, 3));
    let [web, orders, db] = [0, 1, 2].map(|host| last(&world, host).seat);
    assert_eq!((told(&world, 1, 0), told(&world, 0, 1)), (Some(web), Some(orders)));
    assert_eq!((told(&world, 1, 2), told(&world, 2, 1)), (Some(db), Some(orders)));
    assert_eq!((told(&world, 0, 2), told(&world, 2, 0)), (None, None), "no grant joins web and db");
    assert_eq!((last(&world, 0).until, &last(&world, 0).relays), (world.now.0 + WEEK, &vec![here()]));
    let keys: BTreeSet<[u8; 16]> = world
        .hosts
        .iter()
        .flat_map(|host| [*host.seats[0].up.expose(), *host.seats[0].down.expose()])
        .collect();
    assert_eq!(keys.len(), 6);
}

#[test]
fn a_number_outlives_a_session_and_keys_do_not() {
    let mut world = street(2);
    let first = last(&world, 0).clone();
    let deltas = world.hosts[1].deltas;
    world.disconnect(0);
    assert_eq!(told(&world, 1, 0), Some(first.seat), "who is away keeps its number");
    world.wait(1);
    world.online(0);
    let second = last(&world, 0);
    assert_eq!((second.seat, second.until), (first.seat, first.until + 1));
    assert!(second.up != first.up && second.down != first.down);
    assert_eq!(world.hosts[1].deltas, deltas, "its peers hear nothing");
}

/// A peer that knows no place of a node still learns where the relay has it.
#[test]
fn peers_are_told_after_a_restart_of_the_coordinator() {
    let mut world = street(3);
    let before = last(&world, 0).seat;
    world.restart();
    world.seated.clear();
    world.coordinator.offer_relay(Zeroizing::new([77; 32]), Some(here()));
    for host in [1, 0] {
        world.online(host);
    }
    let after = last(&world, 0).seat;
    assert_ne!(before, after);
    assert_eq!(told(&world, 1, 0), Some(after));
}

#[test]
fn a_session_that_goes_on_is_given_more_time_by_the_same_keys() {
    let mut world = street(4);
    world.disconnect(2);
    let first = last(&world, 0).clone();
    let due = |world: &World| {
        let timeout = world.coordinator.poll_timeout().unwrap();
        (timeout.reason == Reason::Seats).then_some(timeout.at)
    };
    world.wait(WEEK / 2 - 1);
    assert_eq!((due(&world), world.hosts[0].seats.len()), (Some(world.now.plus(1)), 1));
    world.wait(1);
    assert_eq!(due(&world), None);
    let second = last(&world, 0);
    assert_eq!(
        (second.until, second),
        (first.until + WEEK / 2, &Seated { until: second.until, ..first.clone() })
    );
    assert_eq!(world.hosts[2].seats.len(), 1, "who is away gets no more");
    assert_eq!(world.seated[&last(&world, 2).seat].1.until, first.until);
}

#[test]
fn who_is_revoked_loses_its_seat_at_once_and_nobody_gets_its_number() {
    let mut world = street(5);
    let gone = last(&world, 0).seat;
    world.revoke(0).unwrap();
    assert!(!world.seated.contains_key(&gone));
    assert_eq!(told(&world, 1, 0), None);
    assert!(!world.coordinator.may_relay(&world.id(0), &world.id(1)));
    world.wait(WEEK);
    assert!(!world.seated.contains_key(&gone), "and it does not come back");
}

#[test]
fn the_relay_carries_for_those_whom_a_grant_joins_and_only_as_long() {
    let mut world = street(6);
    let may = |world: &World, a, b| world.coordinator.may_relay(&world.id(a), &world.id(b));
    assert!(may(&world, 0, 1) && may(&world, 1, 0) && may(&world, 1, 2));
    assert!(!may(&world, 0, 2) && !may(&world, 0, 0));
    world
        .apply(&CHAIN.replace("tag:web", "tag:other").replace("[tag.web]", "[tag.web]\n[tag.other]"))
        .unwrap();
    assert!(!may(&world, 0, 1) && may(&world, 1, 2));
}

#[test]
fn without_a_relay_nobody_hears_of_seats() {
    let mut world = World::new(7);
    world.apply(CHAIN).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    assert!(world.hosts.iter().all(|host| host.seats.is_empty()) && world.seated.is_empty());
    assert_eq!(told(&world, 1, 0), None);
}
