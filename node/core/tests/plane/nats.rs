//! Two nodes behind NATs that let in only whom they have sent to: they meet when both send.

use std::net::SocketAddr;

use warren_node_core::dataplane::Outbox;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::standin::StandinEngine;
use warren_wire::id::NodeId;

use crate::both;
use crate::world::{Keyed, World, assembly, collect, pairs, udp4, underlay};

fn id(node: usize) -> NodeId {
    NodeId([node as u8 + 1; 16])
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// RFC 4787 section 5: address- and port-dependent filtering at both ends.
fn settle_behind_nats<E: Keyed>(world: &mut World<E>) {
    while let Some(d) = world.wire.pop_front() {
        let sent_there = world.seen.iter().any(|s| s.from == d.to && s.to == d.from);
        let node = world.nodes.iter().position(|n| n.address == d.to).filter(|_| sent_there);
        if let Some(node) = node {
            let answers = world.deliver(node, &d);
            world.put(answers);
        }
    }
}

fn live_behind_nats<E: Keyed>(world: &mut World<E>, ms: u64) {
    for _ in 0..ms / 100 {
        world.pass(100);
        world.tick();
        settle_behind_nats(world);
    }
}

/// The coordinator tells `node` that `peer` knocks; what the node sends then.
fn knock<E: Keyed>(world: &mut World<E>, node: usize, peer: usize) -> usize {
    let mut out = Outbox::small();
    world.nodes[node].plane.knocked(id(peer), &mut out, world.now);
    out.flush();
    let sent = collect(&out, underlay(node));
    let count = sent.len();
    world.put(sent);
    count
}

fn who_is_not_answered_asks_for_the_peer_and_is_answered_when_it_shows_itself<E: Keyed>() {
    let mut world = World::<E>::new(2, 2, false);
    world.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    live_behind_nats(&mut world, 800);
    assert!(world.received(1).is_empty(), "the peer's NAT lets nobody in");
    assert_eq!(world.nodes[0].plane.take_waiting(), [id(1)], "within a second the coordinator is asked");
    assert_eq!(knock(&mut world, 1, 0), 1);
    settle_behind_nats(&mut world);
    live_behind_nats(&mut world, 400);
    assert_eq!(world.received(1).len(), 1, "what waited has come");
    live_behind_nats(&mut world, 20_000);
    assert!(world.nodes[0].plane.take_waiting().is_empty(), "who is answered asks for nobody");
}

/// Otherwise a coordinator that lies could make nodes send as much as it likes to a third party.
fn knocks_are_few_whatever_is_told<E: Keyed>() {
    let mut world = World::<E>::new(2, 2, false);
    assert_eq!((0..100).map(|_| knock(&mut world, 1, 0)).sum::<usize>(), 1);
    world.pass(1000);
    assert_eq!(knock(&mut world, 1, 0), 1);
    assert_eq!(knock(&mut world, 1, 7), 0, "nobody's knock");
    world.wire.clear();
    // And a peer that never answers is asked for every five seconds, not with every packet.
    let mut asked = 0;
    for n in 0..300 {
        world.send(0, Vnet::PLAIN, &udp4(0, 1, 4000 + n, 53, b"question"));
        world.pass(100);
        world.tick();
        world.wire.clear();
        asked += world.nodes[0].plane.take_waiting().len();
    }
    assert!((4..=7).contains(&asked), "{asked} in 30 s");
}

fn a_retry_goes_to_every_place_the_peer_may_be_at<E: Keyed>() {
    let mut world = World::<E>::new(2, 2, false);
    let mut told = assembly(0, &[1], &pairs(2), 2, world.lanes);
    let wrong: Vec<SocketAddr> = (1..=6).map(|i| at(&format!("198.51.100.{i}:51820"))).collect();
    for right in [None, Some(underlay(1))] {
        let spec = told.peers.get_mut(&id(1)).unwrap();
        spec.candidates = wrong.iter().copied().chain(right).collect();
        world.nodes[0].plane.publish(&told, world.now);
        told.revision += 1;
    }
    assert_eq!(world.endpoint(0, 1), Some(wrong[0]));
    world.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    world.live(2000);
    assert_eq!(world.received(1).len(), 1, "found at the last of seven places at the first retry");
    assert_eq!(world.endpoint(0, 1), Some(underlay(1)));
    let tried: Vec<usize> =
        wrong.iter().map(|place| world.seen.iter().filter(|d| d.to == *place).count()).collect();
    assert!(tried.iter().all(|n| (1..=3).contains(n)), "{tried:?}");
}

/// A NAT or a firewall may forget after half a minute, and nobody knows whether there is one; keys that are not used die after
/// three minutes. In virtual time, so with the stand-in alone.
#[test]
fn a_silent_session_is_kept_open_as_long_as_its_keys_live() {
    let mut world = World::<StandinEngine>::new(2, 2, false);
    world.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    world.settle();
    world.live(30_000);
    let sent = |world: &World<StandinEngine>| world.seen.iter().filter(|d| d.from == underlay(0)).count();
    let mut gaps = Vec::new();
    for _ in 0..13 {
        let before = sent(&world);
        world.live(30_000);
        gaps.push(sent(&world) - before);
    }
    let (alive, after) = gaps.split_at(4);
    assert!(alive.iter().all(|n| (1..=3).contains(n)), "{gaps:?}");
    assert!(after.iter().skip(2).all(|n| *n == 0), "nobody is woken for ever: {gaps:?}");
}

both!(
    who_is_not_answered_asks_for_the_peer_and_is_answered_when_it_shows_itself,
    knocks_are_few_whatever_is_told,
    a_retry_goes_to_every_place_the_peer_may_be_at,
);
