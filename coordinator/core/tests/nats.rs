//! What the coordinator does for nodes behind NATs: it tells where they are seen, and passes a knock on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use std::net::SocketAddr;

use common::*;
use warren_coordinator_core::session::{KNOCKS, KNOCKS_PER_SECOND};
use warren_wire::frame::{Knock, MyEndpoints, NodeSays, ProvenPlace};
use warren_wire::id::NodeId;
use warren_wire::stun::{LIFE_MINUTES, PlaceKey};
use warren_wire::view::{Body, Key};

/// web-1, orders-1, db-1.
fn street(seed: u64) -> World {
    let mut world = World::new(seed);
    world.apply(CHAIN).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    world.join("db-1", &["db"]);
    world
}

fn knock(world: &mut World, from: usize, at: NodeId) {
    world.says(from, NodeSays::Knock(Knock::of(at)));
}

#[test]
fn a_knock_reaches_a_peer_that_is_there_and_nobody_else() {
    let mut world = street(1);
    let [web, orders, db] = [0, 1, 2].map(|host| world.id(host));
    knock(&mut world, 0, orders);
    assert_eq!(world.hosts[1].knocks, [web]);
    // No grant joins web and db; and nobody knocks at himself, or at nobody.
    for stranger in [db, web, NodeId([9; 16])] {
        knock(&mut world, 0, stranger);
    }
    let heard: Vec<usize> = world.hosts.iter().map(|host| host.knocks.len()).collect();
    assert_eq!(heard, [0, 1, 0]);
    world.disconnect(1);
    knock(&mut world, 0, orders);
    world.online(1);
    assert_eq!(world.hosts[1].knocks.len(), 1, "a knock is not kept");
}

#[test]
fn whoever_knocks_without_end_is_heard_a_few_times_a_second() {
    let mut world = street(2);
    let orders = world.id(1);
    let heard = |world: &World| world.hosts[1].knocks.len() as u32;
    (0..3 * KNOCKS).for_each(|_| knock(&mut world, 0, orders));
    assert_eq!(heard(&world), KNOCKS);
    world.wait(2);
    (0..3 * KNOCKS).for_each(|_| knock(&mut world, 0, orders));
    assert_eq!(heard(&world), KNOCKS + 2 * KNOCKS_PER_SECOND);
}

/// A node that could name any place would aim its peers' handshakes at a victim.
#[test]
fn a_place_outside_is_believed_only_of_the_host_the_node_is_seen_at() {
    let mut world = street(3);
    let (web, seen) = (world.id(0), world.hosts[0].source);
    let told = |world: &World| match &world.hosts[1].view.entries.get(&Key::Endpoints(web)).unwrap().body {
        Some(Body::Endpoints(places)) => places.candidates.clone(),
        other => panic!("{other:?}"),
    };
    let mut say = |mapped: &str| {
        let mine =
            MyEndpoints { candidates: vec![], port: 51820, mapped: vec![mapped.to_owned()], proven: vec![] };
        world.says(0, NodeSays::Endpoints(mine));
        told(&world)
    };
    assert_eq!(say(&format!("{seen}:40123")), [format!("{seen}:40123"), format!("{seen}:51820")]);
    for victim in ["198.51.100.9:53", "100.64.0.9:1", "nonsense", "127.0.0.1:22"] {
        assert_eq!(say(victim), [format!("{seen}:51820")], "{victim}");
    }
}

/// A node that reaches its coordinator by one family learns from STUN where it is seen by the other; whoever could say so without
/// proof would aim its peers at a victim.
#[test]
fn a_place_outside_that_is_proven_is_believed_wherever_the_channel_comes_from() {
    let mut world = street(4);
    let (key, web) = (PlaceKey::new([9; 16]), world.id(0));
    world.coordinator.prove_places_with(key.clone());
    let place: SocketAddr = "[2001:db8:7::1]:40123".parse().unwrap();
    let told = |world: &World| match world.hosts[1].view.entries.get(&Key::Endpoints(web)).map(|e| &e.body) {
        Some(Some(Body::Endpoints(places))) => places.candidates.contains(&place.to_string()),
        _ => false,
    };
    let say = |world: &mut World, proven: Vec<ProvenPlace>| {
        let mapped = vec![place.to_string()];
        world.says(
            0,
            NodeSays::Endpoints(MyEndpoints { mapped, proven, port: 51820, ..MyEndpoints::default() }),
        );
        told(world)
    };
    let now = world.now;
    let other = "[2001:db8:7::2]:40123".parse().unwrap();
    let stale = now.plus(u64::from(LIFE_MINUTES + 2) * 60);
    for lie in [
        vec![],
        vec![ProvenPlace::of(place, key.prove(other, now))],
        vec![ProvenPlace::of(place, PlaceKey::new([8; 16]).prove(place, now))],
        vec![ProvenPlace::of(place, key.prove(place, stale))],
    ] {
        assert!(!say(&mut world, lie.clone()), "{lie:?}");
    }
    assert!(say(&mut world, vec![ProvenPlace::of(place, key.prove(place, now))]));
    assert!(!say(&mut world, vec![]), "and only while it is said");
}

/// It may say what it likes of its own addresses, so it is believed in few of a kind, and in none where no host is.
#[test]
fn no_node_names_many_doors_of_one_host_nor_addresses_that_no_host_has() {
    let mut world = street(5);
    let (web, seen) = (world.id(0), world.hosts[0].source);
    let told = |world: &World| match &world.hosts[1].view.entries.get(&Key::Endpoints(web)).unwrap().body {
        Some(Body::Endpoints(places)) => places.candidates.clone(),
        other => panic!("{other:?}"),
    };
    let doors: Vec<String> = (1..=8).map(|port| format!("198.51.100.9:{port}")).collect();
    let say = |world: &mut World, own: &[String]| {
        let candidates = own.to_vec();
        world.says(0, NodeSays::Endpoints(MyEndpoints { candidates, port: 51820, ..MyEndpoints::default() }));
    };
    say(&mut world, &doors);
    assert_eq!(told(&world), [&[format!("{seen}:51820")], &doors[..3]].concat());
    let nobody = ["0.1.2.3:1", "240.0.0.1:1", "[100::1]:1", "[::192.0.2.1]:1", "192.0.0.8:1"];
    say(&mut world, &nobody.map(str::to_owned));
    assert_eq!(told(&world), [format!("{seen}:51820")]);
    // Eight in all, where it is seen among them.
    let many: Vec<String> = (1..=8).map(|host| format!("198.51.100.{host}:1")).collect();
    say(&mut world, &many);
    assert_eq!(told(&world), [&[format!("{seen}:51820")], &many[..7]].concat());
}
