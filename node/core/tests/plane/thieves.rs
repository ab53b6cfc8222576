//! Places that are lies, and keys that were stolen.

use std::net::SocketAddr;
use std::sync::Arc;

use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::LaneSecret;
use warren_node_core::session::standin::StandinEngine;
use warren_wire::trust::Member;

use crate::both;
use crate::rogue::Rogue;
use crate::world::{Keyed, World, assembly, pairs, secrets, udp4, underlay};

both!(
    a_stolen_wireguard_key_opens_nothing_once_its_owner_has_new_ones,
    a_place_that_is_a_lie_hears_a_stranger_knock
);

/// Whoever has the key may speak until it is replaced; then he is a stranger, and his running session is over.
fn a_stolen_wireguard_key_opens_nothing_once_its_owner_has_new_ones<E: Keyed>() {
    let mut world = World::<E>::new(2, 2, false);
    let place: SocketAddr = "203.0.113.66:999".parse().unwrap();
    let mut thief = Rogue::<E>::new(0, 1, 0, place, world.now);
    let knock = thief.initiation(world.now);
    let answers = world.deliver(1, &knock);
    thief.handle(&answers, world.now);
    let sealed = thief.seal(&udp4(0, 1, 4000, 53, b"before"), world.now);
    world.deliver(1, &sealed);
    assert_eq!(world.received(1).len(), 1, "WireGuard knows nothing but the key");
    // The owner renews: node 1 is told.
    let mut told = assembly(1, &[0], &pairs(2), 2, 2);
    for spec in told.peers.values_mut() {
        let lanes = secrets(9, 2).iter().map(LaneSecret::public).collect();
        spec.member = Arc::new(Member { lanes, key_serial: 2, ..(*spec.member).clone() });
    }
    world.nodes[1].plane.publish(&told, world.now);
    let sealed = thief.seal(&udp4(0, 1, 4001, 53, b"after"), world.now);
    world.deliver(1, &sealed);
    world.pass(1000);
    let mut again = Rogue::<E>::new(0, 1, 0, place, world.now);
    let knock = again.initiation(world.now);
    assert!(world.deliver(1, &knock).is_empty(), "no answer");
    assert!(world.received(1).is_empty());
    assert_eq!(world.count(1, "wg-stranger"), 1);
}

/// Node 0 is told that every other node stands where the last one does, each at so many ports there.
fn misled<E: Keyed>(nodes: usize, ports: u16) -> World<E> {
    let world = World::<E>::new(nodes, 2, false);
    let (victim, others): (_, Vec<usize>) = (nodes - 1, (1..nodes).collect());
    let mut told = assembly(0, &others, &pairs(nodes), 2, 2);
    let name = format!("node-{victim}");
    for spec in told.peers.values_mut().filter(|spec| spec.member.name().as_str() != name) {
        let at = underlay(victim);
        spec.candidates = (0..ports).map(|n| SocketAddr::new(at.ip(), at.port() + n)).collect();
    }
    world.nodes[0].plane.publish(&told, world.now);
    world
}

/// A node that names a victim's address as its own place gets nothing sealed for the victim, and the victim gives no byte
/// for it.
fn a_place_that_is_a_lie_hears_a_stranger_knock<E: Keyed>() {
    let mut world = misled::<E>(3, 1);
    for port in 0..50 {
        world.send(0, Vnet::PLAIN, &udp4(0, 1, 4000 + port, 53, b"for node 1"));
    }
    world.settle();
    assert!(world.seen.iter().all(|d| d.from != underlay(2)), "the victim does not answer");
    assert!(world.seen.iter().all(|d| d.bytes.first() == Some(&1)), "nothing but initiations leaves");
    assert!(world.count(2, "wg-bad-mac1") > 0);
    assert!(world.received(2).is_empty());
}

/// And the victim is not flooded, however much is meant for the liar: a minute of it.
#[test]
fn a_place_that_is_a_lie_hears_less_than_a_knock_a_second() {
    let mut world = misled::<StandinEngine>(3, 1);
    for _ in 0..60 {
        for port in 0..20 {
            world.send(0, Vnet::PLAIN, &udp4(0, 1, 4000 + port, 53, &[0; 1000]));
        }
        world.live(1000);
    }
    let heard: Vec<_> = world.seen.iter().filter(|d| d.to == underlay(2)).collect();
    let bytes: usize = heard.iter().map(|d| d.bytes.len()).sum();
    println!("{} datagrams, {bytes} bytes in a minute, for 1200 packets of 1000 bytes", heard.len());
    assert!(heard.len() <= 60 && bytes <= 60 * 148, "{} datagrams of {bytes} bytes", heard.len());
}

/// Nor by many who lie together, at many ports.
#[test]
fn an_address_that_many_name_hears_little_in_any_second() {
    let (liars, ports) = (12, 8);
    let mut world = misled::<StandinEngine>(liars + 2, ports);
    let victim = underlay(liars + 1).ip();
    let (mut most, mut all) = (0, 0);
    for second in 0..30 {
        let before = world.seen.len();
        for liar in 1..=liars {
            world.send(0, Vnet::PLAIN, &udp4(0, liar, 4000 + second, 53, &[0; 100]));
        }
        world.live(1000);
        let heard = world.seen[before..].iter().filter(|d| d.to.ip() == victim).count();
        (most, all) = (most.max(heard), all + heard);
    }
    println!("{all} datagrams, at most {most} in a second, for {liars} liars with {ports} ports each");
    // What is tried first goes to one place of each; retries, which go to all, are bounded together.
    assert!(all > 100 && most <= 64 + liars, "{all} {most}");
}
