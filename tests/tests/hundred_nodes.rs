//! A hundred nodes: a change touches those it concerns, and nobody hears of what is not theirs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use warren_tests::host::Port;
use warren_tests::policies::{grant, policy};
use warren_tests::seed;
use warren_tests::world::{Told, World};
use warren_wire::issue::NameRule;

const WEB: usize = 60;
const ORDERS: usize = 30;
const DB: usize = 10;

/// Sixty web, thirty orders, ten databases; each kind comes with one token of many uses.
fn town() -> World {
    let mut world = World::new("a hundred nodes", seed::or(6), 604_800);
    world.apply(&policy(&[grant("orders-reads-db", "tag:orders", "db")]));
    for (tag, count) in [("web", WEB), ("orders", ORDERS), ("db", DB)] {
        let token = world.token(NameRule::Prefix(tag.to_owned()), &[tag], count as u32);
        for _ in 0..count {
            let node = world.add_node(tag);
            world.enrol(node, &token);
        }
    }
    let all = |w: &World| (0..100).all(|n| w.enforces(n) && w.is_online(n));
    assert!(world.run_until(30_000, all), "a hundred nodes come in at once");
    world.run_ms(3_000);
    world.check_quiet();
    world
}

trait Heard {
    fn is_roll(&self) -> bool;
}

impl Heard for Told {
    /// A page of the network's roll, a head and a freshness: one step, and a small one.
    fn is_roll(&self) -> bool {
        self.deltas == 1 && self.bytes < 600
    }
}

/// What each node heard since `before`.
fn heard(world: &World, before: &BTreeMap<usize, Told>) -> BTreeMap<usize, Told> {
    let since = |(node, told): (&usize, &Told)| {
        let old = before.get(node).copied().unwrap_or_default();
        let new = Told {
            frames: told.frames - old.frames,
            deltas: told.deltas - old.deltas,
            bytes: told.bytes - old.bytes,
        };
        (*node, new)
    };
    world.told.iter().map(since).filter(|(_, told)| told.deltas > 0).collect()
}

#[test]
fn a_change_costs_those_it_touches_and_nobody_else() {
    let mut world = town();
    let views: u64 = world.told.values().map(|t| t.bytes).sum();
    println!("a hundred enrolments told {views} bytes in all");

    // One database joins: thirty order nodes hear of it, once, and the node itself.
    let before = world.told.clone();
    let newcomer = world.join("db-new", &["db"]);
    world.run_ms(2_000);
    let who = heard(&world, &before);
    let orders: Vec<usize> = (WEB..WEB + ORDERS).collect();
    assert!(who.keys().all(|n| orders.contains(n) || *n == newcomer), "only those joined to it: {who:?}");
    assert!(orders.iter().all(|n| who[n].deltas <= 3), "its record, and where it is: {who:?}");
    let most = orders.iter().map(|n| who[n].bytes).max().unwrap();
    println!("one more peer costs {most} bytes at each of {} nodes", orders.len());
    assert!(most < 4_000, "{most} bytes for one peer");

    // A tag changes on one web node: it was joined to nobody and is joined to nobody.
    let before = world.told.clone();
    world.retag(3, &["ops"]).unwrap_or_default();
    world.run_ms(2_000);
    let who = heard(&world, &before);
    assert!(
        who.iter().all(|(n, told)| *n == 3 || told.is_roll()),
        "of the rest it is none's business: {who:?}"
    );

    // A revocation: its peers hear, and everybody else the number in the roll.
    let before = world.told.clone();
    world.revoke(newcomer).unwrap();
    world.run_ms(2_000);
    let who = heard(&world, &before);
    assert!(who.iter().all(|(n, told)| orders.contains(n) || told.is_roll()), "{who:?}");
    assert!(orders.iter().all(|n| who.contains_key(n)), "each of its peers hears: {who:?}");

    // A policy: everybody hears its head; only those it joins hear of peers.
    let before = world.told.clone();
    world
        .apply(&policy(&[grant("orders-reads-db", "tag:orders", "db"), grant("db-pings", "tag:db", "ping")]));
    world.run_ms(2_500);
    let who = heard(&world, &before);
    let web = (0..WEB).filter(|n| *n != 3).map(|n| who[&n].bytes).max().unwrap();
    println!("a policy change costs {web} bytes at a node that only becomes someone's target");
    world.settle();
}

#[test]
fn coming_and_going_is_no_change_for_anybody_else() {
    let mut world = town();
    let revision = world.model.revision();
    let before = world.told.clone();
    for node in 0..100 {
        if node % 3 == 0 {
            world.restart_node(node);
        }
    }
    world.run_ms(5_000);
    assert_eq!(world.model.revision(), revision, "no revision");
    let others: Vec<usize> = heard(&world, &before).into_keys().collect();
    assert!(others.is_empty(), "no delta: {others:?}");
    world.settle();
}

#[test]
fn everyone_comes_back_after_the_coordinator_died() {
    let mut world = town();
    world.crash_coordinator();
    world.run_ms(20_000);
    world.start_coordinator();
    let before = world.told.clone();
    world.settle();
    let bytes: Vec<u64> = world.told.iter().map(|(n, t)| t.bytes - before[n].bytes).collect();
    println!("coming back costs at most {} bytes a node", bytes.iter().max().unwrap());
    for node in [WEB, WEB + ORDERS] {
        world.nodes[node].host.listen(Port::Tcp(5432));
    }
    let reach = world.reach(WEB, WEB + ORDERS, warren_config::policy::Protocol::Tcp, 5432, true);
    assert_eq!(reach, warren_tests::world::Reach::Arrived);
}
