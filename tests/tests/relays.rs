//! Two relays, the coordinator's and one that is a program of its own, and two nodes that hear each other over relays alone. The
//! law of all these scenarios: what is allowed arrives within three seconds, whatever becomes of a relay.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_config::policy::Protocol;
use warren_tests::annex;
use warren_tests::clock::MS;
use warren_tests::host::{Port, State};
use warren_tests::link::{Place, Weather};
use warren_tests::policies::{grant, policy};
use warren_tests::seed;
use warren_tests::world::{Flow, Reach, World};

/// The coordinator's relay is far: 60 ms; the other is near: 10 ms.
fn world(title: &str) -> (World, usize, usize) {
    let mut world = World::new(title, seed::or(9), 604_800);
    world.apply(&policy(&[grant("web-reads-orders", "tag:web", "orders")]));
    world.add_annex();
    let web = world.join("web-1", &["web"]);
    let orders = world.join("orders-1", &["orders"]);
    world.nodes[orders].host.listen(Port::Tcp(8080));
    world.links.cut(Place::Node(web), Place::Node(orders));
    for node in [web, orders] {
        let far = Weather { latency: 60 * MS, ..Weather::FAIR };
        world.links.set(Place::Coordinator, Place::Node(node), far);
    }
    world.run_ms(2_000);
    (world, web, orders)
}

/// A flow that is open, over the nearest relay.
fn near(world: &mut World, web: usize, orders: usize) -> Flow {
    let flow = world.open(web, orders, 8080);
    assert!(world.run_until(3_000, |w| w.near(flow).state == State::Open), "{:?}", world.near(flow));
    for _ in 0..6 {
        carried(world, web, orders);
        world.run_ms(1_000);
    }
    assert_eq!(used(world, web), [true], "{:?}", world.agent(web).unwrap().plane.berths());
    flow
}

/// Does each peer of a node get what it sends over the annex?
fn used(world: &World, node: usize) -> Vec<bool> {
    let status = world.agent(node).unwrap().peer_status(world.mono(node));
    status.iter().map(|peer| peer.endpoint.and_then(|place| place.relay()) == Some(annex::id())).collect()
}

/// The law.
fn carried(world: &mut World, web: usize, orders: usize) {
    let begun = world.now;
    let reach = world.reach(web, orders, Protocol::Tcp, 8080, true);
    if reach != Reach::Arrived || world.now - begun > 3_000 * MS {
        world.fail(&format!("what is allowed arrives within 3 s, whatever becomes of a relay: {reach:?}"));
    }
}

fn for_seconds(world: &mut World, web: usize, orders: usize, seconds: u64) {
    let end = world.now + seconds * 1_000 * MS;
    while world.now < end {
        carried(world, web, orders);
        world.run_ms(200);
    }
}

#[test]
fn the_nearest_relay_is_used_and_one_that_dies_leaves_no_black_hole() {
    let (mut world, web, orders) = world("a relay dies");
    let flow = near(&mut world, web, orders);
    world.kill_annex();
    for_seconds(&mut world, web, orders, 30);
    assert_eq!(used(&world, web), [false]);
    world.send(flow, 50_000);
    assert!(world.run_until(10_000, |w| w.near(flow).delivered == 50_000), "{:?}", world.near(flow));
    assert_eq!(world.near(flow).state, State::Open);
}

#[test]
fn a_relay_that_one_of_two_nodes_cannot_reach_leaves_no_black_hole() {
    for cut in [0, 1] {
        let (mut world, web, orders) = world("a relay is cut off from one of two");
        let flow = near(&mut world, web, orders);
        world.links.cut(Place::Annex, Place::Node([web, orders][cut]));
        for_seconds(&mut world, web, orders, 30);
        assert_eq!((used(&world, web), used(&world, orders)), (vec![false], vec![false]));
        world.links.mend(Place::Annex, Place::Node([web, orders][cut]));
        for_seconds(&mut world, web, orders, 60);
        assert_eq!(
            (used(&world, web), used(&world, orders)),
            (vec![true], vec![true]),
            "and it is used again"
        );
        assert_eq!(world.near(flow).state, State::Open);
    }
}

#[test]
fn a_relay_carries_while_its_coordinator_is_away() {
    let (mut world, web, orders) = world("the coordinator is away");
    let flow = near(&mut world, web, orders);
    world.crash_coordinator();
    world.lose_annex_line();
    for_seconds(&mut world, web, orders, 30);
    world.start_coordinator();
    world.connect_annex();
    for_seconds(&mut world, web, orders, 30);
    world.send(flow, 50_000);
    assert!(world.run_until(10_000, |w| w.near(flow).delivered == 50_000), "{:?}", world.near(flow));
}

#[test]
fn who_is_withdrawn_is_cut_at_every_relay_in_the_same_step() {
    let (mut world, web, orders) = world("withdrawn at a relay of its own");
    let flow = near(&mut world, web, orders);
    assert_eq!(world.annex.as_ref().unwrap().heart.allowed().len(), 1);
    world.apply(&policy(&[grant("nobody", "tag:orders", "orders")]));
    assert!(world.annex.as_ref().unwrap().heart.allowed().is_empty());
    assert!(world.run_until(2_000, |w| w.near(flow).state != State::Open), "{:?}", world.near(flow));
    assert_ne!(world.reach(web, orders, Protocol::Tcp, 8080, true), Reach::Arrived);
}
