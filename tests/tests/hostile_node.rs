//! A member whose own agent was taken over judges nothing: the receiver's word is final.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use warren_config::compile::Program;
use warren_node_core::assembly::Assembly;
use warren_tests::administrator::resolved;
use warren_tests::host::Port;
use warren_tests::packet::{ACK, SYN, Segment, tcp, udp};
use warren_tests::policies::{grant, policy};
use warren_tests::seed;
use warren_tests::world::World;
use warren_wire::trust::Member;

/// `web-1` may open `orders` at `orders-1`; its agent now believes that it is `db-1` as well, and that all is allowed.
fn corrupt(world: &World, web: usize, victim: usize) {
    let open = policy(&[
        grant("a", "tag:web", "orders"),
        grant("b", "tag:web", "names"),
        grant("c", "tag:web", "db"),
        grant("d", "tag:orders", "metrics"),
    ]);
    let open = Program::of_policy(&resolved(&open.replace("tag:db\"]", "tag:db\", \"tag:orders\"]")));
    let agent = world.agent(web).unwrap();
    let publication = agent.control.publication().unwrap();
    let mut forged: Assembly = (*publication.assembly).clone();
    let other = world.nodes[victim].disk.membership.as_ref().unwrap().member.clone();
    forged.me = Arc::new(Member { v4: other.v4, v6: other.v6, ..(*forged.me).clone() });
    for peer in forged.peers.values_mut() {
        peer.outbound = open.rules(&forged.me.subject, &peer.member.subject).into();
        peer.inbound = open.rules(&peer.member.subject, &forged.me.subject).into();
    }
    agent.plane.publish(&forged, agent.now(world.mono(web)));
}

#[test]
fn a_stolen_agent_reaches_nothing_more_and_speaks_for_nobody_else() {
    let mut world = World::new("a stolen agent", seed::or(7), 604_800);
    world.apply(&policy(&[grant("web-reads-orders", "tag:web", "orders")]));
    let web = world.join("web-1", &["web"]);
    let orders = world.join("orders-1", &["orders"]);
    let db = world.join("db-1", &["db"]);
    world.nodes[orders].host.listen(Port::Tcp(8080));
    world.settle();
    let flow = world.open(web, orders, 8080);
    world.run_ms(500);
    assert!(world.near(flow).is_open());
    corrupt(&world, web, db);
    let before = world.nodes[orders].host.packets;
    for v6 in [false, true] {
        let (mine, theirs, target) = (
            world.address(web, v6).unwrap(),
            world.address(db, v6).unwrap(),
            world.address(orders, v6).unwrap(),
        );
        for source in [mine, theirs] {
            for port in [8080, 5432, 53] {
                let syn = Segment { seq: 1, ack: 0, flags: SYN, len: 0 };
                let stray = Segment { seq: 1, ack: 1, flags: ACK, len: 9 };
                if (source, port) != (mine, 8080) {
                    world.inject(web, tcp((source, 41_000).into(), (target, port).into(), syn));
                }
                world.inject(web, tcp((source, 42_000).into(), (target, port).into(), stray));
                world.inject(web, udp((source, 43_000).into(), (target, port).into(), b"forged"));
                world.run_ms(100);
            }
        }
    }
    let drops = world.agent(orders).unwrap().plane.counters();
    assert!(drops["source-not-the-peers"] > 0, "forged sources came as far as the receiver: {drops:?}");
    assert_eq!(world.nodes[orders].host.packets, before, "and no further");
}
