//! A policy change opens one path and cuts the other; a flow that stays allowed does not notice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_config::policy::Protocol;
use warren_tests::host::{Port, State};
use warren_tests::policies::{Grant, grant, policy};
use warren_tests::seed;
use warren_tests::world::{Reach, World};

struct Shop {
    world: World,
    web: usize,
    orders: usize,
    db: usize,
}

fn web_reads_orders() -> Grant {
    grant("web-reads-orders", "tag:web", "orders")
}
fn orders_reads_db() -> Grant {
    grant("orders-reads-db", "tag:orders", "db")
}
fn web_reads_db() -> Grant {
    grant("web-reads-db", "tag:web", "db")
}

fn shop(title: &str, grants: &[Grant]) -> Shop {
    let mut world = World::new(title, seed::or(2), 604_800);
    world.apply(&policy(grants));
    let web = world.join("web-1", &["web"]);
    let orders = world.join("orders-1", &["orders"]);
    let db = world.join("db-1", &["db"]);
    world.nodes[orders].host.listen(Port::Tcp(8080));
    world.nodes[db].host.listen(Port::Tcp(5432));
    world.nodes[db].host.listen(Port::Udp(53));
    world.settle();
    Shop { world, web, orders, db }
}

#[test]
fn a_change_opens_one_path_and_cuts_the_other_at_both_applications() {
    let Shop { mut world, web, orders, db } =
        shop("a policy change", &[web_reads_orders(), orders_reads_db()]);
    let cut = world.open(web, orders, 8080);
    let kept = world.open(orders, db, 5432);
    world.run_ms(200);
    assert!(world.near(cut).is_open() && world.near(kept).is_open());
    world.send(cut, 10_000_000);
    world.send(kept, 200_000);
    world.run_ms(100);
    assert!(matches!(world.reach(web, db, Protocol::Tcp, 5432, false), Reach::Refused(0..=10)));

    world.apply(&policy(&[orders_reads_db(), web_reads_db()]));
    let applied = world.now;
    let both = |w: &World| w.near(cut).ended.is_some() && w.far(cut).is_some_and(|c| c.ended.is_some());
    assert!(world.run_until(1_000, both), "cut within a second: {:?} {:?}", world.near(cut), world.far(cut));
    assert_eq!(world.near(cut).state, State::Reset, "the application hears a RST");
    assert_eq!(world.far(cut).unwrap().state, State::Reset, "the other application too");
    assert!(world.near(cut).ended.unwrap() >= applied && world.near(cut).delivered < 10_000_000);
    assert_eq!(world.reach(web, db, Protocol::Tcp, 5432, false), Reach::Arrived);
    assert!(matches!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Refused(0..=10)));

    world.run_ms(20_000);
    assert_eq!((world.near(kept).delivered, world.near(kept).again), (200_000, 0), "no packet is lost");
    world.settle();
    world.check_reach();
}

#[test]
fn a_flow_that_stays_allowed_loses_nothing_through_a_hundred_changes() {
    let grants = [web_reads_orders(), orders_reads_db()];
    let Shop { mut world, web, orders, .. } = shop("a hundred changes", &grants);
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.send(flow, 1_000_000);
    for round in 0..100 {
        // The grant that carries the flow changes its name: still allowed is still allowed.
        let carrier = grant(&format!("web-reads-orders-{}", round % 2), "tag:web", "orders");
        world.apply(&policy(&[carrier, orders_reads_db()]));
        world.run_ms(30);
    }
    assert!(world.run_until(30_000, |w| w.near(flow).delivered == 1_000_000), "{:?}", world.near(flow));
    assert_eq!(world.near(flow).again, 0, "not one segment is sent twice");
    assert_eq!(world.near(flow).state, State::Open);
    world.settle();
}

#[test]
fn an_idle_flow_is_cut_too_and_its_next_byte_is_refused() {
    let Shop { mut world, web, orders, .. } = shop("an idle flow", &[web_reads_orders()]);
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.send_back(flow, 5_000);
    world.run_ms(30_000);
    world.apply(&policy(&[]));
    world.run_ms(1_000);
    assert_eq!(world.near(flow).state, State::Reset);
    assert_eq!(world.far(flow).unwrap().state, State::Reset);
    world.settle();
}

#[test]
fn until_cuts_at_its_instant_without_a_new_generation() {
    let start = warren_tests::clock::wall(0).plus(120);
    let limited = web_reads_orders().with(&format!("until = {start}"));
    let Shop { mut world, web, orders, .. } = shop("until", &[limited]);
    let flow = world.open(web, orders, 8080);
    world.run_ms(1_000);
    assert!(world.near(flow).is_open());
    let generation = world.model.generation();
    assert!(world.run_until(200_000, |w| w.near(flow).ended.is_some()));
    let late = warren_tests::clock::wall(world.now).since(start);
    assert!(late <= 1, "cut {late} s after its end");
    world.run_ms(2_000);
    assert!(world.far(flow).unwrap().ended.is_some());
    assert_eq!(world.model.generation(), generation);
    assert!(matches!(world.reach(web, orders, Protocol::Tcp, 8080, false), Reach::Refused(_)));
}

#[test]
fn a_tag_taken_away_takes_its_peers_away() {
    let Shop { mut world, web, orders, .. } = shop("a tag taken away", &[web_reads_orders()]);
    let flow = world.open(web, orders, 8080);
    world.run_ms(100);
    world.retag(web, &["ops"]).unwrap();
    world.run_ms(1_000);
    assert_eq!(world.near(flow).state, State::Reset);
    world.settle();
    assert!(world.agent(web).unwrap().peers().is_empty());
    world.retag(web, &["web"]).unwrap();
    world.settle();
    assert_eq!(world.reach(web, orders, Protocol::Tcp, 8080, true), Reach::Arrived);
}

#[test]
fn an_ack_scan_learns_nothing() {
    use warren_tests::packet::{ACK, Segment, tcp};
    let Shop { mut world, web, orders, .. } = shop("an ACK scan", &[web_reads_orders()]);
    let (from, to) = (world.address(orders, false).unwrap(), world.address(web, false).unwrap());
    let before = world.nodes[web].host.packets;
    for port in 1..50 {
        let segment = Segment { seq: 1, ack: 1, flags: ACK, len: 4 };
        world.inject(orders, tcp((from, 8080).into(), (to, 30_000 + port).into(), segment));
        world.run_ms(20);
    }
    assert_eq!(world.nodes[web].host.packets, before, "nothing without a flow is delivered");

    // Nor the way a grant goes, in the middle of a connection nobody opened.
    let before = world.nodes[orders].host.packets;
    let segment = Segment { seq: 1, ack: 1, flags: ACK, len: 4 };
    world.inject(web, tcp((to, 41_000).into(), (from, 8080).into(), segment));
    world.run_ms(200);
    assert_eq!(world.nodes[orders].host.packets, before);
}
