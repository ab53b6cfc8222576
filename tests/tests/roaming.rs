//! A node's underlay address changes in the middle of a flow: v4 to v6 to v4 again, and behind its peer's back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_tests::host::{Port, State};
use warren_tests::link::Place;
use warren_tests::policies::{grant, policy};
use warren_tests::seed;
use warren_tests::world::World;

fn world(title: &str) -> (World, usize, usize) {
    let mut world = World::new(title, seed::or(5), 604_800);
    world.apply(&policy(&[grant("web-reads-orders", "tag:web", "orders")]));
    let web = world.join("web-1", &["web"]);
    let orders = world.join("orders-1", &["orders"]);
    world.nodes[orders].host.listen(Port::Tcp(8080));
    world.settle();
    (world, web, orders)
}

const ELSEWHERE: [&[&str]; 4] = [
    &["[2001:db8:ffff::7]:51820"],
    &["203.0.113.7:51820"],
    &["[2001:db8:eeee::7]:51820"],
    &["203.0.113.9:51820", "[2001:db8:dddd::9]:51820"],
];

#[test]
fn a_flow_follows_the_node_that_opened_it() {
    let (mut world, web, orders) = world("the opener roams");
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    for (round, place) in ELSEWHERE.iter().enumerate() {
        world.send(flow, 100_000);
        world.run_ms(100);
        world.move_node(web, place);
        let done = |w: &World| w.near(flow).delivered == (round as u64 + 1) * 100_000;
        assert!(world.run_until(10_000, done), "{place:?}: {:?}", world.near(flow));
    }
    assert_eq!(world.near(flow).state, State::Open);
    world.settle();
}

#[test]
fn a_flow_follows_the_node_that_serves_it() {
    let (mut world, web, orders) = world("the server roams");
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    for (round, place) in ELSEWHERE.iter().enumerate() {
        world.send_back(flow, 100_000);
        world.run_ms(100);
        world.move_node(orders, place);
        let done = |w: &World| w.near(flow).received == (round as u64 + 1) * 100_000;
        assert!(world.run_until(10_000, done), "{place:?}: {:?}", world.near(flow));
    }
    world.settle();
}

#[test]
fn a_move_while_the_coordinator_is_away_heals_by_the_tunnel_itself() {
    let (mut world, web, orders) = world("roaming without a coordinator");
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.crash_coordinator();
    world.move_node(web, &["203.0.113.7:51820"]);
    world.send(flow, 50_000);
    assert!(world.run_until(10_000, |w| w.near(flow).delivered == 50_000), "{:?}", world.near(flow));
    world.send_back(flow, 50_000);
    assert!(world.run_until(10_000, |w| w.near(flow).received == 50_000));
    world.settle();
}

#[test]
fn a_dead_way_is_left_for_the_other_family() {
    let (mut world, web, orders) = world("one family dies");
    world.cut(Place::Node(web), Place::Node(orders));
    world.run_ms(1_000);
    world.mend(Place::Node(web), Place::Node(orders));
    let flow = world.open(web, orders, 8080);
    assert!(world.run_until(3_000, |w| w.near(flow).is_open()));
    // IPv4 is gone at one end, and nobody says so.
    world.nodes[orders].underlay.retain(|a| a.is_ipv6());
    world.send_back(flow, 20_000);
    assert!(world.run_until(60_000, |w| w.near(flow).received == 20_000), "{:?}", world.far(flow));
    world.send(flow, 20_000);
    assert!(world.run_until(60_000, |w| w.near(flow).delivered == 20_000), "{:?}", world.near(flow));
}

/// The network before it has forgotten it, the coordinator has given its channel up, and every session has ended by time.
#[test]
fn a_node_that_has_slept_for_an_hour_is_back_within_two_seconds() {
    let (mut world, web, orders) = world("a long sleep");
    let flow = world.open(web, orders, 8080);
    world.send(flow, 10_000);
    assert!(world.run_until(3_000, |w| w.near(flow).delivered == 10_000));
    for sleeper in [web, orders] {
        world.suspend_node(sleeper);
        world.run_ms(3_600_000);
        world.wake_node(sleeper);
        assert!(world.run_until(2_000, |w| w.is_online(sleeper)), "the coordinator has it again");
        let before = world.near(flow).delivered;
        world.send(flow, 10_000);
        assert!(
            world.run_until(5_000, |w| w.near(flow).delivered == before + 10_000),
            "{:?}",
            world.near(flow)
        );
    }
    assert_eq!(world.near(flow).state, State::Open, "no flow was reset");
    world.settle();
}
