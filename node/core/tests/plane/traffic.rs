//! What is granted arrives, byte for byte; what is not, does not.

use std::net::IpAddr;

use warren_node_core::packet::vnet::{Gso, Vnet};

use crate::both;
use crate::world::{Keyed, MTU, World, tcp4, udp, udp4, underlay, v4, v6};

both!(
    first_packet_waits_for_the_handshake_and_arrives,
    data_flows_both_ways_over_both_families,
    one_lane_carries_both_ways,
    each_direction_has_a_lane_of_its_own,
    a_tso_frame_arrives_as_packets_of_the_mtu,
    a_tso_frame_arrives_merged_where_the_tun_takes_it,
    small_datagrams_leave_in_one_send,
    plaintext_is_padded_to_sixteen,
    what_is_not_granted_is_refused_at_once_and_recorded,
    an_address_nobody_owns_is_refused_and_recorded,
);

fn first_packet_waits_for_the_handshake_and_arrives<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let packet = udp4(0, 1, 4000, 53, b"question");
    w.send(0, Vnet::PLAIN, &packet);
    assert_eq!(w.wire.len(), 1, "a handshake goes out first");
    assert_eq!(w.wire[0].bytes.len(), 148);
    w.settle();
    assert_eq!(w.received(1), vec![packet]);
}

fn data_flows_both_ways_over_both_families<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let ends = [(IpAddr::V4(v4(0)), IpAddr::V4(v4(1))), (IpAddr::V6(v6(0)), IpAddr::V6(v6(1)))];
    for (a, b) in ends {
        let (there, back) = (udp(a, b, 4000, 53, b"question"), udp(b, a, 53, 4000, b"answer"));
        w.send(0, Vnet::PLAIN, &there);
        w.settle();
        assert_eq!(w.received(1), vec![there]);
        w.send(1, Vnet::PLAIN, &back);
        w.settle();
        assert_eq!(w.received(0), vec![back]);
    }
    let status = w.nodes[0].plane.status(w.now);
    assert_eq!((status[0].lanes, status[0].flows), (2, 2));
    assert!(status[0].last_handshake.is_some() && status[0].rx_bytes > 0 && status[0].tx_bytes > 0);
}

fn one_lane_carries_both_ways<E: Keyed>() {
    let mut w = World::<E>::new(2, 1, false);
    let (there, back) = (udp4(0, 1, 4000, 53, b"question"), udp4(1, 0, 53, 4000, b"answer"));
    w.send(0, Vnet::PLAIN, &there);
    w.settle();
    w.send(1, Vnet::PLAIN, &back);
    w.settle();
    assert_eq!((w.received(1), w.received(0)), (vec![there], vec![back]));
    let initiations = w.seen.iter().filter(|d| d.bytes.len() == 148).count();
    assert_eq!(initiations, 1);
}

fn each_direction_has_a_lane_of_its_own<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    w.settle();
    w.seen.clear();
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    w.send(1, Vnet::PLAIN, &udp4(1, 0, 53, 4000, b"answer"));
    w.settle();
    let index = |from: usize| {
        let d = w.seen.iter().find(|d| d.from == underlay(from) && d.bytes.len() > 32).unwrap();
        d.bytes[5..8].to_vec()
    };
    // The receiver index is the other end's, so compare with what the reverse direction would name.
    assert_ne!(index(0), index(1));
    assert_eq!((w.received(1).len(), w.received(0).len()), (2, 1));
    assert_eq!(w.seen.len(), 2, "no further handshake was needed");
}

fn connect<E: Keyed>(w: &mut World<E>) {
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (1, 80), "S", 99, 0, b""));
    w.settle();
    w.send(1, Vnet::PLAIN, &tcp4((1, 80), (0, 4000), "SA", 499, 100, b""));
    w.settle();
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (1, 80), "A", 100, 500, b""));
    w.settle();
    assert_eq!((w.received(1).len(), w.received(0).len()), (2, 1), "connected");
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8).collect()
}

fn send_tso<E: Keyed>(w: &mut World<E>, body: &[u8]) {
    let packet = tcp4((0, 4000), (1, 80), "AP", 100, 500, body);
    let size = (MTU - 40) as u16;
    let vnet = Vnet { gso: Gso::TcpV4 { size }, checksum: Some((20, 16)), header_len: 40, ecn: false };
    w.send(0, vnet, &packet);
}

fn a_tso_frame_arrives_as_packets_of_the_mtu<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    connect(&mut w);
    w.seen.clear();
    let body = payload(60_000);
    send_tso(&mut w, &body);
    assert_eq!(w.wire.len(), 1, "one send for 44 segments");
    assert_eq!(w.wire[0].stride, MTU + 32);
    w.settle();
    let packets = w.received(1);
    assert_eq!(packets.len(), 60_000usize.div_ceil(MTU - 40));
    let mut joined = Vec::new();
    for (i, packet) in packets.iter().enumerate() {
        let seen = etherparse::SlicedPacket::from_ip(packet).unwrap();
        let Some(etherparse::TransportSlice::Tcp(tcp)) = seen.transport else { panic!("not TCP") };
        assert!(packet.len() <= MTU);
        assert_eq!(tcp.sequence_number(), 100 + (i * (MTU - 40)) as u32);
        assert_eq!(tcp.psh(), i + 1 == packets.len());
        let sum = tcp.calc_checksum_ipv4(v4(0).octets(), v4(1).octets()).unwrap();
        assert_eq!(sum, tcp.checksum());
        joined.extend_from_slice(tcp.payload());
    }
    assert_eq!(joined, body);
}

fn a_tso_frame_arrives_merged_where_the_tun_takes_it<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, true);
    connect(&mut w);
    let body = payload(60_000);
    send_tso(&mut w, &body);
    w.settle();
    let frames = w.received(1);
    assert_eq!(frames.len(), 1, "one write for 44 packets");
    assert_eq!(frames[0][40..], body);
}

fn small_datagrams_leave_in_one_send<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"first"));
    w.settle();
    let now = w.now;
    let n = &mut w.nodes[0];
    for i in 0..100u8 {
        let mut frame = Vnet::PLAIN.write().to_vec();
        frame.extend_from_slice(&udp4(0, 1, 4000, 53, &[i; 60]));
        n.plane.egress(&mut n.egress, &mut frame, now);
    }
    n.plane.flush(&mut n.egress);
    let sends: Vec<_> = n.egress.out.transmits().map(|t| t.bytes.len() / t.segment.unwrap()).collect();
    assert_eq!(sends, vec![64, 36]);
}

fn plaintext_is_padded_to_sixteen<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"first"));
    w.settle();
    w.seen.clear();
    w.received(1);
    for len in [0usize, 1, 4, 5, 900, 1391, 1392] {
        let packet = udp4(0, 1, 4000, 53, &vec![3; len]);
        w.send(0, Vnet::PLAIN, &packet);
        w.settle();
        assert_eq!(w.received(1), vec![packet]);
    }
    for d in &w.seen {
        let plain = d.bytes.len() - 32;
        assert!(plain % 16 == 0 || plain == MTU, "{plain} bytes tell the length of the packet");
        assert!(plain <= MTU);
    }
}

fn what_is_not_granted_is_refused_at_once_and_recorded<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (1, 81), "S", 99, 0, b""));
    assert!(w.wire.is_empty(), "nothing left the host");
    let told = w.received(0);
    assert_eq!(told.len(), 1, "the application hears of it");
    let seen = etherparse::SlicedPacket::from_ip(&told[0]).unwrap();
    let Some(etherparse::TransportSlice::Tcp(tcp)) = seen.transport else { panic!("not TCP") };
    assert!(tcp.rst() && tcp.destination_port() == 4000 && tcp.acknowledgment_number() == 100);
    let (records, lost) = w.nodes[0].plane.drain_flows(w.now);
    assert_eq!((records.len(), lost.records), (1, 0));
    assert_eq!(records[0].verdict, warren_wire::flow::FlowVerdict::Deny as i32);
    assert_eq!(w.count(0, "denied"), 1);
    let note = w.nodes[0].plane.explain_last_drops().pop().unwrap();
    assert!(note.outbound && note.what.contains(":81"), "{note:?}");
    // Tries of one kind are one note: how many, and the last.
    let first = note.at;
    w.pass(1500);
    for sport in [4001, 4002] {
        w.send(0, Vnet::PLAIN, &tcp4((0, sport), (1, 81), "S", 99, 0, b""));
    }
    let notes = w.nodes[0].plane.explain_last_drops();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!((notes[0].count, notes[0].at.mono.millis_since(first.mono)), (3, 1500));
    assert!(notes[0].what.contains(":4002"), "{notes:?}");
}

fn an_address_nobody_owns_is_refused_and_recorded<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (9, 80), "S", 99, 0, b""));
    assert!(w.wire.is_empty());
    assert_eq!(w.received(0).len(), 1);
    let (records, _) = w.nodes[0].plane.drain_flows(w.now);
    assert_eq!(records.len(), 1);
    assert!(records[0].peer.is_empty());
}
