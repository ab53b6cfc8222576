//! Accounts that balance: recorded + declared lost = offered, where the tests count for themselves what was offered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_coordinator_core::accounts::Balance;
use warren_tests::host::Port;
use warren_tests::link::Place;
use warren_tests::seed;
use warren_tests::world::World;
use warren_wire::flow::Amount;

const POLICY: &str = r#"
version = 1
[tag.web]
[tag.clock]
[service.time]
on = ["tag:clock"]
listen = ["udp/123"]
[[grant]]
id = "web-asks-time"
from = ["tag:web"]
to = ["service:time"]
"#;

/// Only UDP is spoken: each packet is let through or refused, so each belongs into the account.
fn street(title: &str, number: u64) -> (World, Vec<usize>) {
    let mut world = World::new(title, seed::or(number), 604_800);
    world.apply(POLICY);
    let nodes =
        vec![world.join("web-1", &["web"]), world.join("web-2", &["web"]), world.join("clock-1", &["clock"])];
    world.nodes[nodes[2]].host.listen(Port::Udp(123));
    world.nodes.iter_mut().for_each(|node| node.offered = (0, 0));
    (world, nodes)
}

/// An allowed question, a refused one, and one to nobody.
fn talk(world: &mut World, from: usize, to: usize) {
    let address = world.address(to, world.now.is_multiple_of(2)).unwrap();
    for (remote, payload) in [
        (std::net::SocketAddr::new(address, 123), &b"what time is it"[..]),
        (std::net::SocketAddr::new(address, 124), b"let me in"),
        ("100.127.255.1:9".parse().unwrap(), b"anybody"),
    ] {
        world.nodes[from].host.udp(remote, payload);
    }
    world.pump(from);
}

fn whole(b: &Balance) -> (u64, u64) {
    let mut sum = b.recorded;
    [b.lost, b.rejected, b.skipped, b.lost_at_end].into_iter().for_each(|amount| sum.add(amount));
    (sum.packets, sum.bytes)
}

/// The law, per node and in the sum. Returns the sum.
fn balanced(world: &World, nodes: &[usize]) -> Balance {
    let mut offered = (0, 0);
    for node in nodes {
        let balance = world.site.accounts.balance(&world.id(*node));
        let (counted, name) = (world.nodes[*node].offered, &world.nodes[*node].name);
        assert_eq!((balance.offered.packets, balance.offered.bytes), counted, "{name} offered: {balance:?}");
        assert_eq!(whole(&balance), counted, "{name}: {balance:?}");
        assert_eq!((balance.underway, balance.excess), Default::default(), "{name}");
        offered = (offered.0 + counted.0, offered.1 + counted.1);
    }
    let total = world.site.accounts.total();
    assert_eq!(whole(&total), offered);
    let of_rows = world.site.flows.iter().map(|row| row.packets_out + row.packets_back).sum::<u64>();
    assert_eq!(of_rows, total.recorded.packets, "what is recorded is on the map");
    total
}

#[test]
fn nothing_is_lost_while_nothing_fails() {
    let (mut world, nodes) = street("accounts in peace", 41);
    for _ in 0..40 {
        talk(&mut world, nodes[0], nodes[2]);
        talk(&mut world, nodes[1], nodes[2]);
        world.run_ms(90);
    }
    world.run_ms(4_000);
    let total = balanced(&world, &nodes);
    assert_eq!((total.lost, total.lost_at_end), Default::default());
    assert!(total.recorded.packets > 400, "{total:?}");
}

#[test]
fn a_killed_agent_leaves_behind_how_much_it_had_not_reported() {
    let (mut world, nodes) = street("an agent is killed", 42);
    for round in 0..12 {
        for _ in 0..7 {
            talk(&mut world, nodes[0], nodes[2]);
            world.run_ms(130 + round);
        }
        // In the middle of a window, with a report under way or not.
        let victim = nodes[if round % 3 == 0 { 2 } else { 0 }];
        world.crash_node(victim);
        world.start_agent(victim);
        world.run_ms(300);
    }
    world.settle();
    let total = balanced(&world, &nodes);
    assert!(total.lost_at_end.packets > 0, "something was lost by it: {total:?}");
    assert!(total.recorded.packets > total.lost_at_end.packets, "and most was not: {total:?}");
    assert_eq!(total.untold_ends, 0);
}

#[test]
fn an_agent_that_stops_in_order_loses_nothing_whatever_the_coordinator_does() {
    let (mut world, nodes) = street("agents stop in order", 46);
    for round in 0..40 {
        for _ in 0..5 {
            talk(&mut world, nodes[0], nodes[2]);
            talk(&mut world, nodes[1], nodes[2]);
            world.run_ms(90 + round);
        }
        // In the middle of a window; with the last report unsent, unheard, or written and not acknowledged.
        match round % 4 {
            0 => world.cut(Place::Coordinator, Place::Node(nodes[0])),
            1 => world.crash_coordinator(),
            2 => drop(world.run_until(3_000, |w| !w.site.under_way.is_empty())),
            _ => {}
        }
        world.restart_node(nodes[0]);
        if round % 3 == 0 {
            world.run_ms(70);
            world.restart_node(nodes[0]);
        }
        world.restart_node(nodes[2]);
        world.mend_all();
        if round % 4 == 1 {
            world.start_coordinator();
        }
        world.run_ms(40 * round % 700);
    }
    world.settle();
    let total = balanced(&world, &nodes);
    assert_eq!((total.lost, total.lost_at_end), Default::default(), "{total:?}");
    assert_eq!(total.untold_ends, 0);
    assert!(total.recorded.packets > 1_500, "{total:?}");
    assert!(world.site.repeated > 3, "only {} reports came again", world.site.repeated);
}

#[test]
fn what_is_left_by_one_start_after_the_other_while_the_coordinator_is_away_is_all_recorded() {
    let (mut world, nodes) = street("starts without a coordinator", 47);
    world.crash_coordinator();
    for round in 0..9 {
        for _ in 0..4 {
            talk(&mut world, nodes[0], nodes[2]);
            world.run_ms(310);
        }
        world.restart_node(nodes[0]);
        if round == 4 {
            // One that is killed takes only its own with it.
            talk(&mut world, nodes[0], nodes[2]);
            world.crash_node(nodes[0]);
            world.start_agent(nodes[0]);
        }
    }
    world.start_coordinator();
    world.settle();
    let total = balanced(&world, &nodes);
    assert!(total.lost_at_end.packets > 0 && total.lost_at_end.packets <= 3, "{total:?}");
    assert_eq!((total.lost, total.untold_ends), (Amount::default(), 0));
}

#[test]
fn a_report_counts_once_whoever_dies_between_writing_and_acknowledging() {
    let (mut world, nodes) = street("the coordinator is killed", 43);
    for round in 0..25 {
        talk(&mut world, nodes[0], nodes[2]);
        talk(&mut world, nodes[1], nodes[2]);
        world.run_ms(37 * round % 400);
        // A report has come; what is said of it goes nowhere, and the process dies before or after it was written.
        world.run_until(3_000, |w| !w.site.under_way.is_empty());
        for node in &nodes[..2] {
            world.cut(Place::Coordinator, Place::Node(*node));
        }
        world.run_ms(if round % 3 == 0 { 50 } else { 400 });
        world.crash_coordinator();
        world.mend_all();
        world.start_coordinator();
        world.run_ms(2_600);
    }
    world.settle();
    let total = balanced(&world, &nodes);
    assert_eq!((total.lost, total.lost_at_end), Default::default(), "its own death loses nothing: {total:?}");
    assert!(world.site.repeated > 10, "only {} reports came again", world.site.repeated);
}

#[test]
fn what_was_judged_while_the_coordinator_was_away_is_recorded_when_it_is_back() {
    let (mut world, nodes) = street("the coordinator is away", 44);
    world.nodes[nodes[0]].skew_ms = 40_000;
    world.nodes[nodes[1]].skew_ms = -3_600_000;
    world.restart_node(nodes[0]);
    world.restart_node(nodes[1]);
    world.run_ms(3_000);
    world.crash_coordinator();
    for _ in 0..300 {
        talk(&mut world, nodes[0], nodes[2]);
        talk(&mut world, nodes[1], nodes[2]);
        world.run_ms(200);
    }
    world.cut(Place::Coordinator, Place::Node(nodes[1]));
    world.start_coordinator();
    world.run_ms(20_000);
    world.restart_node(nodes[2]);
    world.settle();
    let total = balanced(&world, &nodes);
    assert_eq!(total.lost, Amount::default(), "{total:?}");
}

/// A table keeps 4,096 kinds of refusals a second; here are ten times as many.
#[test]
fn ten_times_more_than_there_is_room_for_is_declared() {
    let (mut world, nodes) = street("ten times too much", 45);
    let address = world.address(nodes[2], false).unwrap();
    for port in 1..=40_960 {
        world.nodes[nodes[0]].host.udp(std::net::SocketAddr::new(address, port + 1_000), b"x");
        world.pump(nodes[0]);
    }
    world.run_ms(6_000);
    let total = balanced(&world, &nodes);
    assert!(total.lost.packets > 30_000, "{total:?}");
    assert!(total.recorded.packets >= 4_096, "{total:?}");
    assert_eq!(total.lost_at_end, Amount::default());
}
