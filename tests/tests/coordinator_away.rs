//! The coordinator is away: everything that stood goes on, until freshness runs out; then it comes back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_config::policy::Protocol;
use warren_node_core::control::CutReason;
use warren_tests::host::{Port, State};
use warren_tests::link::Place;
use warren_tests::policies::{grant, policy};
use warren_tests::seed;
use warren_tests::world::{Reach, World};

fn world(title: &str, freshness: u64) -> (World, usize, usize) {
    let mut world = World::new(title, seed::or(4), freshness);
    world.apply(&policy(&[grant("web-reads-orders", "tag:web", "orders")]));
    let web = world.join("web-1", &["web"]);
    let orders = world.join("orders-1", &["orders"]);
    world.nodes[orders].host.listen(Port::Tcp(8080));
    world.settle();
    (world, web, orders)
}

#[test]
fn nodes_work_on_and_restart_from_stored_views_while_it_is_away() {
    let (mut world, web, orders) = world("the coordinator is away", 604_800);
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.crash_coordinator();
    world.send(flow, 100_000);
    world.run_ms(20_000);
    assert_eq!((world.near(flow).delivered, world.near(flow).again), (100_000, 0));
    world.restart_node(web);
    world.crash_node(orders);
    world.start_agent(orders);
    world.run_ms(20_000);
    assert_eq!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Arrived);
    world.start_coordinator();
    world.settle();
    world.check_reach();
}

#[test]
fn an_agent_restart_does_not_break_an_established_connection() {
    let (mut world, web, orders) = world("an agent restart", 604_800);
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.send(flow, 50_000);
    world.run_ms(1_000);
    for node in [web, orders, web, orders] {
        world.restart_node(node);
        world.run_ms(2_000);
        world.send(flow, 50_000);
        world.send_back(flow, 50_000);
        world.run_ms(30_000);
        assert_eq!(world.near(flow).state, State::Open);
    }
    assert_eq!((world.near(flow).delivered, world.near(flow).received), (250_000, 200_000));
    world.settle();
}

#[test]
fn freshness_that_runs_out_warns_at_half_life_then_cuts_then_heals() {
    let (mut world, web, orders) = world("freshness runs out", 120);
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.crash_coordinator();
    let gone = world.now;
    let warned = |w: &World| w.nodes[web].notices.iter().any(|n| n.id.contains("fresh"));
    assert!(world.run_until(65_000, warned), "a warning from half-life: {:?}", world.nodes[web].notices);
    assert!(world.nodes[web].cuts.iter().all(|c| matches!(c, CutReason::NoView)), "not cut yet");
    assert!(world.near(flow).is_open());
    let cut = |w: &World| w.nodes[web].cuts.iter().any(|c| matches!(c, CutReason::Stale { .. }));
    assert!(world.run_until(120_000, cut));
    let seconds = (world.now - gone) / 1_000_000_000;
    assert!((85..=121).contains(&seconds), "cut {seconds} s after the last word");
    world.run_ms(1_000);
    assert_eq!(world.near(flow).state, State::Reset, "the application is told");
    assert!(matches!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Refused(_)));
    world.start_coordinator();
    world.settle();
    assert_eq!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Arrived);
}

#[test]
fn changes_made_while_a_node_is_cut_off_reach_it_at_once_afterwards() {
    let (mut world, web, orders) = world("a node is cut off", 604_800);
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.cut(Place::Coordinator, Place::Node(web));
    world.apply(&policy(&[grant("orders-reads-db", "tag:orders", "db")]));
    world.run_ms(2_000);
    assert_eq!(world.far(flow).unwrap().state, State::Reset, "the end that knows suffices");
    let status = world.site.running.as_ref().unwrap().status(warren_tests::clock::wall(world.now));
    assert!(status.enforcement.behind.iter().any(|b| b.name == "web-1"), "{:?}", status.enforcement);
    world.run_ms(60_000);
    world.settle();
    assert!(world.agent(web).unwrap().peers().is_empty());
}

#[test]
fn a_stored_view_that_is_damaged_opens_nothing() {
    let (mut world, web, orders) = world("a damaged view", 604_800);
    world.crash_coordinator();
    world.stop_node(web);
    if let Some(view) = &mut world.nodes[web].disk.view {
        let middle = view.len() / 2;
        view[middle] ^= 0x40;
    }
    world.start_agent(web);
    world.run_ms(5_000);
    assert!(world.agent(web).unwrap().peers().is_empty());
    assert!(matches!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Refused(_)));
    world.start_coordinator();
    world.settle();
    assert_eq!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Arrived);
}

#[test]
fn keys_rotated_while_it_is_away_are_announced_even_after_a_restart() {
    let (mut world, web, orders) = world("keys rotated while it is away", 604_800);
    world.crash_coordinator();
    world.run_ms(15_000);
    // The host's clock has gone back behind a time it has shown.
    world.stop_node(web);
    world.nodes[web].disk.greatest_ms += 3_600_000;
    world.start_agent(web);
    world.run_ms(1_000);
    world.restart_node(web);
    world.run_ms(1_000);
    world.start_coordinator();
    world.settle();
    assert_eq!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Arrived);
    world.check_reach();
}
