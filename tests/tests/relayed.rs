//! Two nodes that cannot hear each other and both hear the coordinator: the relay carries what they say, and only while it must.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_config::policy::Protocol;
use warren_tests::host::{Port, State};
use warren_tests::link::{Place, Weather};
use warren_tests::policies::{grant, policy};
use warren_tests::seed;
use warren_tests::world::{Reach, World};

fn world(title: &str) -> (World, usize, usize) {
    let mut world = World::new(title, seed::or(8), 604_800);
    world.apply(&policy(&[grant("web-reads-orders", "tag:web", "orders")]));
    let web = world.join("web-1", &["web"]);
    let orders = world.join("orders-1", &["orders"]);
    world.nodes[orders].host.listen(Port::Tcp(8080));
    (world, web, orders)
}

fn is_direct(world: &World, node: usize) -> bool {
    let status = world.agent(node).unwrap().peer_status(world.mono(node));
    status[0].endpoint.is_some_and(|place| place.is_direct())
}

#[test]
fn nodes_without_a_path_talk_over_the_relay_and_directly_once_there_is_one() {
    let (mut world, web, orders) = world("no path");
    world.links.cut(Place::Node(web), Place::Node(orders));
    world.run_ms(2_000);
    let flow = world.open(web, orders, 8080);
    assert!(world.run_until(3_000, |w| w.near(flow).state == State::Open), "{:?}", world.near(flow));
    let mut total = 0;
    let mut carry = |world: &mut World, limit| {
        total += 50_000;
        world.send(flow, 50_000);
        let delivered = total;
        assert!(world.run_until(limit, |w| w.near(flow).delivered == delivered), "{:?}", world.near(flow));
    };
    carry(&mut world, 5_000);
    assert!(!is_direct(&world, web));
    world.links.mend(Place::Node(web), Place::Node(orders));
    for _ in 0..30 {
        carry(&mut world, 5_000);
        world.run_ms(1_000);
    }
    assert!(is_direct(&world, web) && is_direct(&world, orders));
    // And the other way round, in the middle of it.
    world.links.cut(Place::Node(web), Place::Node(orders));
    carry(&mut world, 15_000);
    assert!(!is_direct(&world, web));
    assert_eq!(world.near(flow).state, State::Open);
}

/// The relay judges nothing for them, but carries for nobody else.
#[test]
fn who_is_withdrawn_is_cut_over_the_relay_as_well() {
    let (mut world, web, orders) = world("withdrawn over the relay");
    world.links.cut(Place::Node(web), Place::Node(orders));
    world.run_ms(2_000);
    let flow = world.open(web, orders, 8080);
    assert!(world.run_until(3_000, |w| w.near(flow).state == State::Open));
    world.apply(&policy(&[grant("nobody", "tag:orders", "orders")]));
    assert!(world.run_until(2_000, |w| w.near(flow).state != State::Open), "{:?}", world.near(flow));
    assert_ne!(world.reach(web, orders, Protocol::Tcp, 8080, true), Reach::Arrived);
}

/// The coordinator comes back with other seats.
#[test]
fn a_relayed_flow_survives_a_restart_of_the_coordinator_in_foul_weather() {
    let (mut world, web, orders) = world("the relay restarts");
    world.links.cut(Place::Node(web), Place::Node(orders));
    for node in [web, orders] {
        world.links.set(Place::Coordinator, Place::Node(node), Weather::FOUL);
    }
    world.run_ms(2_000);
    let flow = world.open(web, orders, 8080);
    assert!(world.run_until(10_000, |w| w.near(flow).state == State::Open));
    world.crash_coordinator();
    world.run_ms(3_000);
    world.start_coordinator();
    world.send(flow, 50_000);
    assert!(world.run_until(60_000, |w| w.near(flow).delivered == 50_000), "{:?}", world.near(flow));
}
