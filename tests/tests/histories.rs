//! Seeded random histories: everything that can happen to a network, in any order, with every law asked after each step
//! and, at the end, whether all that is allowed arrives and all else is refused.
//!
//! `WARREN_HISTORIES=10000` runs more of them (`5000-9999`: those), `WARREN_SEED=n` runs one again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::IpAddr;

use warren_coordinator_core::store::Fault;
use warren_tests::clock::wall;
use warren_tests::host::Port;
use warren_tests::link::{Place, Weather};
use warren_tests::packet::{ACK, SYN, Segment, other, tcp, udp};
use warren_tests::policies::{Grant, TAGS, grant, policy, policy_with_subnets};
use warren_tests::seed;
use warren_tests::world::{Reach, World};
use warren_wire::issue::NameRule;

const STEPS: u64 = 50;
const PORTS: [u16; 6] = [8080, 9005, 5432, 53, 9, 22];

#[test]
fn laws_hold_through_random_histories() {
    let seeds = seed::histories(60);
    let asked: usize = seeds.iter().map(|seed| history(*seed)).sum();
    println!(
        "{} histories of {STEPS} steps; {asked} times what is allowed was asked for in between",
        seeds.len()
    );
    assert!(seeds.len() == 1 || asked > seeds.len(), "the histories leave nothing to ask");
}

/// A way may take so long that nothing is allowed any more when something arrives.
#[test]
fn what_a_grant_allows_is_promised_until_it_ends_and_no_longer() {
    let mut world = World::new("a grant that ends while it is asked for", seed::or(7), 604_800);
    let (web, db) = (world.join("web-1", &["web"]), world.join("db-1", &["db"]));
    listen(&mut world, db);
    let end = wall(world.now).plus(9);
    world.apply(&policy(&[grant("for-a-while", "tag:web", "db").with(&format!("until = {end}"))]));
    world.settle();
    let flow = world.open(web, db, 5432);
    world.run_ms(300);
    assert!(world.near(flow).is_open());
    world.site.relays = false;
    let slow = Weather { latency: 12_000_000_000, ..Weather::FAIR };
    world.links.set(Place::Node(web), Place::Node(db), slow);
    // One of the two directions is picked at random, and only one is allowed.
    let began = world.now;
    let asked = (0..50).find_map(|_| world.check_carried().or((world.now > began).then_some(Reach::Silent)));
    assert_eq!(asked, Some(Reach::Silent));
    assert!(wall(world.now) > end, "it has ended meanwhile");
}

/// How often something that is allowed was asked for between two steps.
fn history(seed: u64) -> usize {
    let mut world = World::new("a random history", seed, if seed.is_multiple_of(3) { 600 } else { 604_800 });
    world.apply(&policy_with_subnets(&[grant("web-reads-orders", "tag:web", "orders")]));
    let first = [
        ("web-1", "web"),
        ("orders-1", "orders"),
        ("db-1", "db"),
        ("web-2", "web"),
        ("gw-1", "gw"),
        ("gw-2", "gw"),
    ];
    for (name, tag) in first {
        let node = world.join(name, &[tag]);
        listen(&mut world, node);
    }
    let mut asked = 0;
    for _ in 0..STEPS {
        act(&mut world);
        let pause = 10 + world.random.below(2_000);
        world.run_ms(pause);
        asked += usize::from(world.check_carried().is_some());
        asked += usize::from(world.check_carried_behind().is_some());
    }
    for node in 0..world.nodes.len() {
        if world.is_member(node) && !world.is_on(node) {
            world.start_agent(node);
        }
    }
    world.settle();
    world.check_reach();
    world.settle();
    asked
}

fn listen(world: &mut World, node: usize) {
    for port in [8080, 9005, 5432, 53] {
        world.nodes[node].host.listen(Port::Tcp(port));
    }
    world.nodes[node].host.listen(Port::Udp(53));
    world.nodes[node].host.listen(Port::Udp(9100));
}

fn any_node(world: &mut World) -> usize {
    world.random.below(world.nodes.len() as u64) as usize
}

fn act(world: &mut World) {
    let (node, other) = (any_node(world), any_node(world));
    match world.random.below(100) {
        0..12 => {
            let text = any_policy(world);
            let _ = world.try_apply(&text);
        }
        12..14 if world.living().len() > 3 => drop(world.revoke(node)),
        14..19 => {
            let tag = any_tag(world);
            let _ = world.retag(node, &[tag]);
        }
        19..24 if world.is_member(node) => world.restart_node(node),
        24..27 if world.is_member(node) => world.crash_node(node),
        27..30 => {
            let outputs = world.random.below(6) as u32;
            world.light_fuse(node, outputs);
        }
        30..36 if world.is_member(node) && !world.is_on(node) => {
            world.nodes[node].skew_ms = any_skew(world);
            world.start_agent(node);
        }
        36..38 => world.crash_coordinator(),
        38..44 => world.start_coordinator(),
        44..46 => world.site.store.fail_next(Fault::AfterCommit),
        46..48 => world.site.store.fail_next(Fault::BeforeCommit),
        48..51 => world.cut(Place::Coordinator, Place::Node(node)),
        51..54 if node != other => world.cut(Place::Node(node), Place::Node(other)),
        54..57 => world.mend(Place::Coordinator, Place::Node(node)),
        57..59 => world.mend_all(),
        59..61 => world.links.weather = Weather::FOUL,
        61..64 if world.nodes.len() < 11 => race(world),
        64..68 => roam(world, node),
        68..76 => talk_behind(world, node, other),
        _ => talk(world, node, other),
    }
}

fn any_tag(world: &mut World) -> &'static str {
    let tags = [&TAGS[..], &["gw"]].concat();
    world.random.pick(&tags).unwrap()
}

/// A host's clock is right, a little ahead, or jumped by a year.
fn any_skew(world: &mut World) -> i64 {
    const YEAR_MS: i64 = 365 * 86_400_000;
    let little = world.random.below(100_000) as i64;
    match world.random.below(4) {
        0 => YEAR_MS,
        1 => -YEAR_MS,
        _ => little,
    }
}

/// Three guests, one token, one use.
fn race(world: &mut World) {
    if world.site.running.is_none() {
        return;
    }
    let prefix = format!("guest{}", world.nodes.len());
    let tag = any_tag(world);
    let (command, token) = world.admin.token(NameRule::Prefix(prefix.clone()), &[tag], 1, wall(world.now));
    if world.command(command).is_err() {
        return;
    }
    for _ in 0..3 {
        let node = world.add_node(&prefix);
        listen(world, node);
        world.enrol(node, &token);
    }
}

fn roam(world: &mut World, node: usize) {
    let n = world.random.below(60_000);
    let (v4, v6) =
        (format!("203.0.{}.{}:51820", n / 250, 1 + n % 250), format!("[2001:db8:f:{n:x}::1]:51820"));
    match world.random.below(3) {
        0 => world.move_node(node, &[&v4]),
        1 => world.move_node(node, &[&v6]),
        _ => world.move_node(node, &[&v6, &v4]),
    }
}

fn any_policy(world: &mut World) -> String {
    let soon = wall(world.now).plus(5 + world.random.below(60));
    let pool: Vec<Grant> = vec![
        grant("web-reads-orders", "tag:web", "orders"),
        grant("web-1-is-out", "tag:web", "orders").with("except = [\"node:web-1\"]"),
        grant("orders-reads-db", "tag:orders", "db"),
        grant("web-asks-names", "tag:web", "names"),
        grant("everyone-pings", "all-nodes", "ping"),
        grant("db-reads-metrics", "tag:db", "metrics"),
        grant("ops-sees-all", "tag:ops", "orders"),
        grant("for-a-while", "tag:web", "db").with(&format!("until = {soon}")),
        grant("only-watched", "tag:web", "db").with("mode = \"audit\""),
        grant("one-node", "node:orders-1", "names"),
        grant("web-uses-lan", "tag:web", "lan"),
        grant("all-ping-lan", "all-nodes", "lan").with("except = [\"node:web-1\"]"),
        grant("orders-uses-nas", "tag:orders", "nas"),
        grant("nas-for-a-while", "tag:web", "nas").with(&format!("until = {soon}")),
        // What a gateway may open, nobody behind it may.
        grant("gateways-ask-names", "tag:gw", "names"),
        grant("plc-watched", "tag:web", "plc").with("mode = \"audit\""),
        grant("orders-uses-plc", "tag:orders", "plc"),
    ];
    let chosen: Vec<Grant> = pool.into_iter().filter(|_| world.random.chance(450)).collect();
    policy_with_subnets(&chosen)
}

/// A connection to a host behind a gateway; or such a host speaks uninvited, or a node in its name.
fn talk_behind(world: &mut World, from: usize, gateway: usize) {
    let hosts = ["192.168.50.10", "192.168.50.77", "fd50::10", "fd50::77", "10.7.1.2"];
    let host: IpAddr = world.random.pick(&hosts).unwrap().parse().unwrap();
    let port = *world.random.pick(&[80, 445, 502, 22]).unwrap();
    let Some(user) = world.address(from, host.is_ipv6()) else { return };
    match world.random.below(6) {
        0..3 => {
            let bytes = world.random.below(60_000);
            if let Some(ends) = world.open_behind(from, (host, port).into()) {
                let now = world.now;
                world.nodes[from].host.send(ends, bytes, now);
                world.pump(from);
            }
        }
        // Past the kernel, with a route that somebody made.
        3 => world.inject(from, udp((user, 40_000).into(), (host, 161).into(), b"question")),
        4 => world.inject_from_behind(gateway, &udp((host, 40_000).into(), (user, 53).into(), b"uninvited")),
        _ => {
            let segment = Segment { seq: 5, ack: 5, flags: SYN, len: 0 };
            world.inject_from_behind(gateway, &tcp((host, 40_000).into(), (user, 8080).into(), segment));
        }
    }
}

/// Honest traffic, and the other kind.
fn talk(world: &mut World, from: usize, to: usize) {
    let v6 = world.random.chance(500);
    let (Some(source), Some(target)) = (world.address(from, v6), world.address(to, v6)) else { return };
    let port = *world.random.pick(&PORTS).unwrap();
    let bytes = world.random.below(60_000);
    match world.random.below(8) {
        0..4 if from != to && world.nodes[from].host.address_like(target).is_some() => {
            let flow = world.open(from, to, port);
            world.send(flow, bytes);
            world.run_ms(300);
            world.send_back(flow, bytes);
        }
        4 => world.inject(from, udp((source, 40_000).into(), (target, port).into(), b"question")),
        5 => {
            let flags = if world.random.chance(500) { ACK } else { SYN | ACK };
            let segment = Segment { seq: 5, ack: 5, flags, len: 10 };
            let (near, far) = if world.random.chance(500) { (port, 40_000) } else { (40_000, port) };
            world.inject(from, tcp((source, near).into(), (target, far).into(), segment));
        }
        6 => {
            let liar = any_node(world);
            let Some(foreign) = world.address(liar, v6) else { return };
            world.inject(from, udp((foreign, 40_000).into(), (target, port).into(), b"forged"));
        }
        _ => world.inject(from, other(source, target, 132)),
    }
}
