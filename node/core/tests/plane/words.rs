//! What agents say to each other inside the tunnel: it reaches agents only, wakes nobody, and cannot be forged by a host.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use warren_node_core::dataplane::Outbox;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::packet::word;
use warren_wire::id::NodeId;
use warren_wire::trust::Member;

use crate::both;
use crate::rogue::Rogue;
use crate::world::{Keyed, World, assembly, collect, network, pairs, udp, udp4, underlay, v6};

fn id(node: usize) -> NodeId {
    NodeId([node as u8 + 1; 16])
}

/// Two nodes between which a packet has gone.
fn acquainted<E: Keyed>() -> World<E> {
    let mut world = World::new(2, 2, false);
    speak(&mut world);
    world
}

fn speak<E: Keyed>(world: &mut World<E>) {
    world.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    world.settle();
    world.live(1000);
    assert!(!world.received(1).is_empty());
    world.received(0);
}

/// Node `node` says something; how many datagrams that took.
fn spread<E: Keyed>(world: &mut World<E>, node: usize, text: &[u8]) -> usize {
    let mut out = Outbox::small();
    world.nodes[node].plane.spread(text, &mut out, world.now);
    let sent = collect(&out, underlay(node));
    let count = sent.len();
    world.put(sent);
    world.settle();
    count
}

fn heard<E: Keyed>(world: &World<E>, node: usize) -> Vec<(NodeId, Vec<u8>)> {
    world.nodes[node].plane.take_hearsay()
}

fn a_word_reaches_the_other_agent_and_never_its_host<E: Keyed>() {
    let mut world = acquainted::<E>();
    assert_eq!(spread(&mut world, 0, b"news"), 1);
    assert_eq!(heard(&world, 1), [(id(0), b"news".to_vec())]);
    assert_eq!(heard(&world, 1), [], "taken once");
    assert!(world.received(1).is_empty() && world.received(0).is_empty());
    assert_eq!(spread(&mut world, 1, b"other news"), 1, "the answering end had traffic, too");
    assert_eq!(heard(&world, 0), [(id(1), b"other news".to_vec())]);
}

fn a_word_wakes_nobody_and_calls_for_none<E: Keyed>() {
    let mut world = World::<E>::new(2, 2, false);
    assert_eq!(spread(&mut world, 0, b"news"), 0, "no session");
    let mut world = acquainted::<E>();
    assert_eq!(spread(&mut world, 0, b"news"), 1);
    assert_eq!(spread(&mut world, 0, b"again"), 0, "nothing was spoken since");
    assert_eq!(spread(&mut world, 1, b"news"), 1);
    assert_eq!(spread(&mut world, 1, b"again"), 0, "a word is no traffic");
    speak(&mut world);
    assert_eq!(spread(&mut world, 0, b"again"), 1);
}

fn a_host_cannot_speak_for_its_agent<E: Keyed>() {
    let mut world = acquainted::<E>();
    let forged = word::write(v6(0), network().common_v6(), b"lies").unwrap();
    world.send(0, Vnet::PLAIN, &forged);
    world.settle();
    let common = IpAddr::V6(network().common_v6());
    world.send(0, Vnet::PLAIN, &udp(IpAddr::V6(v6(0)), common, 7, 53, b"lies"));
    world.settle();
    assert_eq!(heard(&world, 1), []);
    assert!(world.received(1).is_empty());
}

fn a_peer_that_says_too_much_is_not_listened_to_for_ever<E: Keyed>() {
    let mut world = World::<E>::new(2, 2, false);
    let mut rogue = Rogue::<E>::new(0, 1, 0, underlay(0), world.now);
    let knock = rogue.initiation(world.now);
    let answers = world.deliver(1, &knock);
    rogue.handle(&answers, world.now);
    let common = network().common_v6();
    for n in 0..200u8 {
        let packet = word::write(v6(0), common, &[n; 40]).unwrap();
        let sealed = rogue.seal(&packet, world.now);
        world.deliver(1, &sealed);
    }
    // Another one's address is not its own, whatever it says.
    let other = word::write(Ipv6Addr::new(0xfd00, 0xbeef, 0, 0, 0, 0, 0, 0x99), common, b"lies").unwrap();
    let sealed = rogue.seal(&other, world.now);
    world.deliver(1, &sealed);
    let words = heard(&world, 1);
    let newest: Vec<_> = (196..200).map(|n| (id(0), vec![n; 40])).collect();
    assert_eq!(words, newest);
    assert_eq!(world.count(1, "words-unheard"), 196);
    assert!(world.received(1).is_empty());
}

fn a_device_without_an_agent_is_told_nothing_and_not_listened_to<E: Keyed>() {
    let mut world = acquainted::<E>();
    let mut assembly = assembly(1, &[0], &pairs(2), 2, 2);
    for spec in assembly.peers.values_mut() {
        spec.member = Arc::new(Member { identity: None, ..(*spec.member).clone() });
    }
    world.nodes[1].plane.publish(&assembly, world.now);
    assert_eq!(spread(&mut world, 1, b"news"), 0);
    assert_eq!(spread(&mut world, 0, b"news"), 1);
    assert_eq!(heard(&world, 1), []);
    assert_eq!(world.count(1, "destination-not-mine"), 1);
}

both!(
    a_word_reaches_the_other_agent_and_never_its_host,
    a_word_wakes_nobody_and_calls_for_none,
    a_host_cannot_speak_for_its_agent,
    a_peer_that_says_too_much_is_not_listened_to_for_ever,
    a_device_without_an_agent_is_told_nothing_and_not_listened_to,
);
