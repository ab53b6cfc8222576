//! A revocation cuts live flows and holds for ever: through restarts of the node and of the coordinator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_config::policy::Protocol;
use warren_node_core::control::CutReason;
use warren_tests::host::{Port, State};
use warren_tests::policies::{grant, policy};
use warren_tests::seed;
use warren_tests::world::{Reach, World};

fn world() -> (World, usize, usize) {
    let mut world = World::new("a revocation", seed::or(3), 604_800);
    world.apply(&policy(&[grant("web-reads-orders", "tag:web", "orders")]));
    let web = world.join("web-1", &["web"]);
    let orders = world.join("orders-1", &["orders"]);
    world.nodes[orders].host.listen(Port::Tcp(8080));
    world.settle();
    (world, web, orders)
}

#[test]
fn a_revocation_cuts_a_live_flow_within_a_second() {
    let (mut world, web, orders) = world();
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.send(flow, 5_000_000);
    world.run_ms(500);
    world.revoke(web).unwrap();
    assert!(world.run_until(1_000, |w| w.far(flow).is_some_and(|c| c.state == State::Reset)));
    let received = world.far(flow).unwrap().received;
    world.run_ms(10_000);
    assert_eq!(world.far(flow).unwrap().received, received, "nothing of it comes any more");
    assert!(world.agent(orders).unwrap().peers().is_empty(), "it is nobody's peer");
}

#[test]
fn a_revoked_node_stays_out_through_every_restart() {
    let (mut world, web, orders) = world();
    world.revoke(web).unwrap();
    world.run_ms(1_000);
    for round in 0..3 {
        world.crash_coordinator();
        world.restart_node(web);
        world.restart_node(orders);
        world.run_ms(5_000);
        world.start_coordinator();
        world.run_ms(40_000);
        assert!(!world.is_online(web), "round {round}: it has no session");
        assert!(
            !matches!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Arrived),
            "round {round}"
        );
        assert!(world.agent(orders).unwrap().peers().is_empty(), "round {round}");
    }
    world.settle();
}

#[test]
fn a_revocation_while_its_peer_is_away_holds_when_it_comes_back() {
    let (mut world, web, orders) = world();
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.stop_node(orders);
    world.revoke(web).unwrap();
    world.run_ms(5_000);
    world.start_agent(orders);
    assert!(world.run_until(5_000, |w| w.is_online(orders)));
    world.run_ms(2_000);
    world.send(flow, 1_000);
    world.run_ms(5_000);
    assert_eq!(world.far(flow).unwrap().state, State::Reset);
    assert_eq!(world.far(flow).unwrap().received, 0);
}

#[test]
fn a_revoked_node_is_told_and_cuts_itself() {
    let (mut world, web, _) = world();
    world.revoke(web).unwrap();
    world.run_ms(60_000);
    let why =
        world.agent(web).unwrap().status(world.agent(web).unwrap().now(Default::default()).mono).last_error;
    let cut = world.nodes[web].cuts.iter().any(|c| matches!(c, CutReason::Revoked { .. }));
    let said = world.nodes[web].notices.iter().any(|n| n.message.contains("revoked"));
    assert!(cut || said, "its owner can read why: {why:?} {:?}", world.nodes[web].notices);
}
