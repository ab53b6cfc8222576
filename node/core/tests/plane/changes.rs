//! The world changes while packets flow.

use warren_config::time::UnixTime;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::standin::StandinEngine;
use warren_wire::id::NodeId;

use crate::both;
use crate::world::{Keyed, World, program_until, tcp4, udp, udp4, underlay, v6};

both!(
    a_revoked_peer_is_cut_and_the_application_told,
    a_withdrawn_grant_cuts_its_flow_and_no_other,
    a_publish_that_changes_nothing_loses_nothing,
    closing_cuts_everything,
    what_waits_for_a_handshake_is_not_sent_once_its_grant_is_gone,
    what_waits_for_a_handshake_is_not_sent_once_its_grant_has_ended,
    two_owners_of_an_address_are_none,
    an_address_of_two_owners_speaks_for_neither,
    flows_survive_a_restart_of_the_agent,
    a_lost_first_handshake_is_tried_again,
    flows_go_on_over_a_rotation_of_keys,
);

fn connect<E: Keyed>(w: &mut World<E>, port: u16) {
    w.send(0, Vnet::PLAIN, &tcp4((0, port), (1, 80), "S", 99, 0, b""));
    w.settle();
    w.send(1, Vnet::PLAIN, &tcp4((1, 80), (0, port), "SA", 499, 100, b""));
    w.settle();
    w.send(0, Vnet::PLAIN, &tcp4((0, port), (1, 80), "A", 100, 500, b""));
    w.settle();
    assert_eq!((w.received(1).len(), w.received(0).len()), (2, 1), "connected");
}

fn a_revoked_peer_is_cut_and_the_application_told<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    connect(&mut w, 4000);
    let published = w.publish(1, &[], &[], 2);
    assert_eq!((published.gone.clone(), published.cut), (vec![NodeId([1; 16])], 1));
    let rst = etherparse::SlicedPacket::from_ip(&published.frames[0][10..]).unwrap();
    let Some(etherparse::TransportSlice::Tcp(tcp)) = rst.transport else { panic!("not TCP") };
    assert!(tcp.rst() && tcp.destination_port() == 80 && tcp.sequence_number() == 100);
    // Node 0 has not heard of it yet: its packets are silently dropped.
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (1, 80), "AP", 100, 500, b"more"));
    w.seen.clear();
    w.settle();
    assert!(w.received(1).is_empty() && w.seen.is_empty());
    assert!(w.count(1, "wg-unknown-index") > 0);
    // A new handshake is not answered either.
    w.nodes[0].plane.initiate(NodeId([2; 16]), &mut warren_node_core::dataplane::Outbox::small(), w.now);
    w.live(6000);
    assert_eq!(w.seen.iter().filter(|d| d.from == underlay(1)).count(), 0);
    let (records, _) = w.nodes[1].plane.drain_flows(w.now);
    assert!(records.iter().any(|r| r.end == warren_wire::flow::FlowEnd::Cut as i32), "{records:?}");
}

fn a_withdrawn_grant_cuts_its_flow_and_no_other<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    connect(&mut w, 4000);
    w.send(1, Vnet::PLAIN, &udp4(1, 0, 5000, 53, b"the other way"));
    w.settle();
    assert_eq!(w.received(0).len(), 1);
    let published = w.publish(0, &[1], &[(1, 0)], 2);
    assert_eq!((published.cut, published.frames.len()), (1, 1));
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (1, 80), "AP", 100, 500, b"more"));
    assert!(w.wire.is_empty());
    w.received(0);
    w.send(1, Vnet::PLAIN, &udp4(1, 0, 5000, 53, b"goes on"));
    w.settle();
    assert_eq!(w.received(0).len(), 1);
}

fn a_publish_that_changes_nothing_loses_nothing<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    connect(&mut w, 4000);
    w.seen.clear();
    for revision in 2..20 {
        let pairs = [(0, 1), (1, 0)];
        assert_eq!(w.publish(0, &[1], &pairs, revision).cut, 0);
        assert_eq!(w.publish(1, &[0], &pairs, revision).cut, 0);
        let packet = tcp4((0, 4000), (1, 80), "AP", 100, 500, b"same again");
        w.send(0, Vnet::PLAIN, &packet);
        w.settle();
        assert_eq!(w.received(1), vec![packet]);
    }
    assert!(w.seen.iter().all(|d| d.bytes.len() != 148), "no new handshake");
}

fn what_waits_for_a_handshake_is_not_sent_once_its_grant_is_gone<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"allowed when it was sent"));
    w.wire.clear();
    assert_eq!(w.publish(0, &[1], &[(1, 0)], 2).cut, 1);
    w.publish(0, &[1], &[(1, 0), (0, 1)], 3);
    let packet = udp4(0, 1, 4001, 53, b"allowed again");
    w.send(0, Vnet::PLAIN, &packet);
    w.live(6000);
    assert_eq!(w.received(1), vec![packet]);
}

fn what_waits_for_a_handshake_is_not_sent_once_its_grant_has_ended<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let (pairs, end) = ([(0, 1), (1, 0)], UnixTime(w.now.wall_ms / 1000 + 1));
    let mut assembly = crate::world::assembly(0, &[1], &pairs, 2, 2);
    let spec = assembly.peers.get_mut(&NodeId([2; 16])).unwrap();
    let rules = program_until(&pairs, Some(end)).rules(&assembly.me.subject, &spec.member.subject);
    spec.outbound = rules.into();
    w.nodes[0].plane.publish(&assembly, w.now);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"allowed when it was sent"));
    w.wire.clear();
    w.pass(1_500);
    w.tick();
    w.live(6000);
    assert!(w.received(1).is_empty());
    w.publish(0, &[1], &pairs, 3);
    let packet = udp4(0, 1, 4001, 53, b"allowed again");
    w.send(0, Vnet::PLAIN, &packet);
    w.live(6000);
    assert_eq!(w.received(1), vec![packet]);
}

fn closing_cuts_everything<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    connect(&mut w, 4000);
    let now = w.now;
    let closed = w.nodes[0].plane.close(now);
    assert_eq!((closed.cut, closed.gone.len(), closed.frames.len()), (1, 1, 1));
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"x"));
    assert!(w.wire.is_empty());
    assert!(w.nodes[0].plane.status(now).is_empty());
}

fn two_owners_of_an_address_are_none<E: Keyed>() {
    let mut w = World::<E>::new(3, 2, false);
    let mut assembly = crate::world::assembly(0, &[1, 2], &[(0, 1), (0, 2)], 5, 2);
    let spec = assembly.peers.get_mut(&NodeId([3; 16])).unwrap();
    let mut member = (*spec.member).clone();
    member.v4 = Some(crate::world::v4(1));
    spec.member = std::sync::Arc::new(member);
    let published = w.nodes[0].plane.publish(&assembly, w.now);
    assert_eq!(published.conflicts.len(), 1);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"to whom?"));
    assert!(w.wire.is_empty());
}

/// The packet is the peer's by the keys, and by what the peer itself claims. By the table of all peers it is nobody's.
fn an_address_of_two_owners_speaks_for_neither<E: Keyed>() {
    let mut w = World::<E>::new(3, 2, false);
    let mut assembly = crate::world::assembly(1, &[0, 2], &crate::world::pairs(3), 5, 2);
    let spec = assembly.peers.get_mut(&NodeId([3; 16])).unwrap();
    let mut member = (*spec.member).clone();
    member.v4 = Some(crate::world::v4(0));
    spec.member = std::sync::Arc::new(member);
    assert_eq!(w.nodes[1].plane.publish(&assembly, w.now).conflicts.len(), 1);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"whose?"));
    w.settle();
    assert!(w.received(1).is_empty());
    assert_eq!(w.count(1, "source-not-the-peers"), 1);
    let its_own = udp(v6(0).into(), v6(1).into(), 4000, 53, b"its own");
    w.send(0, Vnet::PLAIN, &its_own);
    w.settle();
    assert_eq!(w.received(1), vec![its_own]);
}

fn flows_survive_a_restart_of_the_agent<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    connect(&mut w, 4000);
    let now = w.now;
    let flows = w.nodes[1].plane.snapshot_flows(now);
    w.pass(1000);
    let now = w.now;
    w.restart(1);
    let (published, faults) = w.nodes[1].plane.restore_flows(&flows, now);
    assert_eq!((published.cut, faults), (0, vec![]));
    let packet = tcp4((1, 80), (0, 4000), "AP", 500, 100, b"goes on");
    w.send(1, Vnet::PLAIN, &packet);
    w.settle();
    assert_eq!(w.received(0), vec![packet]);
}

fn a_lost_first_handshake_is_tried_again<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let packet = udp4(0, 1, 4000, 53, b"question");
    w.send(0, Vnet::PLAIN, &packet);
    w.wire.clear();
    w.nodes[0].plane.tick(&mut warren_node_core::dataplane::Outbox::small(), w.now);
    // Real sessions retry early by the time given; the library's own retry needs its own clock.
    w.live(6000);
    assert_eq!(w.received(1), vec![packet]);
}

fn flows_go_on_over_a_rotation_of_keys<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    connect(&mut w, 4000);
    // Node 0 gets the keys of node 5; its record says so, and both ends hear of it.
    let fresh = crate::world::member(5, 2).lanes.clone();
    let renew = |member: &std::sync::Arc<warren_wire::trust::Member>| {
        let mut member = (**member).clone();
        member.lanes = fresh.clone();
        std::sync::Arc::new(member)
    };
    let keys = crate::world::secrets(0, 2).into_iter().chain(crate::world::secrets(5, 2)).collect();
    w.nodes[0].plane.replace_engine(E::from_secrets(keys));
    let mut mine = crate::world::assembly(0, &[1], &[(0, 1)], 2, 2);
    mine.me = renew(&mine.me);
    let mut theirs = crate::world::assembly(1, &[0], &[(0, 1)], 2, 2);
    let spec = theirs.peers.get_mut(&NodeId([1; 16])).unwrap();
    spec.member = renew(&spec.member);
    let now = w.now;
    assert_eq!(w.nodes[0].plane.publish(&mine, now).cut, 0);
    assert_eq!(w.nodes[1].plane.publish(&theirs, now).cut, 0);
    w.seen.clear();
    let packet = tcp4((0, 4000), (1, 80), "AP", 100, 500, b"under new keys");
    w.send(0, Vnet::PLAIN, &packet);
    w.settle();
    assert_eq!(w.received(1), vec![packet]);
    assert!(w.seen.iter().any(|d| d.bytes.len() == 148), "a handshake under the new key");
}

// What needs hours of virtual time: only the stand-in can live through it.

fn talk(w: &mut World<StandinEngine>) {
    let packet = udp4(0, 1, 4000, 53, b"question");
    w.send(0, Vnet::PLAIN, &packet);
    w.settle();
    assert_eq!(w.received(1), vec![packet]);
}

#[test]
fn keys_are_renewed_under_traffic_and_not_without() {
    let mut w = World::<StandinEngine>::new(2, 2, false);
    for _ in 0..40 {
        talk(&mut w);
        w.live(10_000);
    }
    let initiations = w.seen.iter().filter(|d| d.bytes.len() == 148).count();
    assert!((4..=12).contains(&initiations), "{initiations} handshakes in 400 s");
    w.live(600_000);
    w.seen.clear();
    w.live(600_000);
    assert!(w.seen.is_empty(), "idle peers are silent");
    talk(&mut w);
}

#[test]
fn a_peer_that_was_away_is_reached_again() {
    let mut w = World::<StandinEngine>::new(2, 2, false);
    talk(&mut w);
    let home = std::mem::replace(&mut w.nodes[1].address, "198.51.100.1:1".parse().unwrap());
    w.live(300_000);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"lost"));
    w.live(100_000);
    w.nodes[1].address = home;
    w.received(1);
    w.live(10_000);
    talk(&mut w);
}

#[test]
fn a_peer_that_began_anew_is_answered_with_keys_it_holds() {
    let mut w = World::<StandinEngine>::new(2, 2, false);
    // Both lanes are in use, and old enough not to be part of the handshake that follows.
    talk(&mut w);
    w.send(1, Vnet::PLAIN, &udp4(1, 0, 4000, 53, b"and back"));
    w.live(10_000);
    w.restart(1);
    let mut out = warren_node_core::dataplane::Outbox::small();
    assert!(w.nodes[1].plane.initiate(warren_wire::id::NodeId([1; 16]), &mut out, w.now));
    out.flush();
    let hello = crate::world::collect(&out, w.nodes[1].address);
    w.put(hello);
    w.settle();
    talk(&mut w);
}
