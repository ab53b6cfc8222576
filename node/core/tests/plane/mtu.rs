//! A path that is narrower than the tunnel: what is too large is cut, refused with a word, or left to the underlay.

use std::net::IpAddr;

use warren_node_core::dataplane::inner_mtu;
use warren_node_core::packet::vnet::{Gso, Vnet};
use warren_node_core::packet::{Kind, classify};

use crate::both;
use crate::world::{Keyed, MTU, World, tcp4, udp, underlay, v4, v6};

both!(
    tcp_is_cut_anew_for_a_narrow_path,
    a_sender_that_can_send_less_is_told,
    an_ipv6_sender_is_told_no_less_than_1280,
    what_cannot_be_smaller_leaves_whole,
    a_syn_announces_what_the_path_carries_both_ways,
    another_path_is_wide_until_it_is_known_to_be_narrow,
);

/// The underlay to node 1 carries packets of 1280 bytes.
fn narrow<E: Keyed>() -> (World<E>, usize) {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (1, 80), "S", 100, 0, b""));
    w.settle();
    w.send(1, Vnet::PLAIN, &tcp4((1, 80), (0, 4000), "SA", 500, 101, b""));
    w.settle();
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (1, 80), "A", 101, 501, b""));
    w.settle();
    w.settle();
    w.nodes[0].plane.set_underlay_mtu(underlay(1), 1280);
    (0..2).for_each(|node| drop(w.received(node)));
    (w, inner_mtu(underlay(1), 1280))
}

fn tcp_is_cut_anew_for_a_narrow_path<E: Keyed>() {
    let (mut w, limit) = narrow::<E>();
    let payload: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
    let frame = tcp4((0, 4000), (1, 80), "AP", 101, 501, &payload);
    let vnet = Vnet { gso: Gso::TcpV4 { size: 1380 }, checksum: Some((20, 16)), header_len: 40, ecn: false };
    w.send(0, vnet, &frame);
    w.send(0, Vnet::PLAIN, &tcp4((0, 4000), (1, 80), "AP", 5101, 501, &payload[..1300]));
    assert!(w.wire.iter().all(|d| d.stride <= limit + 32), "a datagram over the underlay's MTU");
    w.settle();
    let mut carried = Vec::new();
    for packet in w.received(1) {
        assert!(packet.len() <= limit);
        carried.extend_from_slice(&packet[classify(&packet).unwrap().payload..]);
    }
    assert_eq!(carried, [&payload[..], &payload[..1300]].concat());
}

fn a_sender_that_can_send_less_is_told<E: Keyed>() {
    let (mut w, limit) = narrow::<E>();
    let mut packet = udp(IpAddr::V4(v4(0)), IpAddr::V4(v4(1)), 4000, 53, &[7; 1300]);
    packet[6] |= 0x40;
    let header = packet[..20].to_vec();
    packet[10..12].copy_from_slice(&ipv4_checksum(&header));
    w.send(0, Vnet::PLAIN, &packet);
    let told = w.received(0);
    assert_eq!(told.len(), 1);
    assert_eq!(&told[0][20..22], [3, 4]);
    assert_eq!(told[0][26..28], (limit as u16).to_be_bytes());
    assert!(w.wire.is_empty());
    assert_eq!(w.count(0, "larger-than-mtu"), 1);
}

/// IPv6 need not send less than 1280 (RFC 8200 section 5), but it can send as little as that.
fn an_ipv6_sender_is_told_no_less_than_1280<E: Keyed>() {
    let (mut w, limit) = narrow::<E>();
    assert!(limit < 1280);
    let packet = udp(IpAddr::V6(v6(0)), IpAddr::V6(v6(1)), 4000, 53, &[7; 1300]);
    w.send(0, Vnet::PLAIN, &packet);
    let told = w.received(0);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0][40..42], [2, 0]);
    assert_eq!(told[0][44..48], 1280u32.to_be_bytes());
    assert!(w.wire.is_empty());
}

fn ipv4_checksum(header: &[u8]) -> [u8; 2] {
    let mut sum = 0u32;
    for (at, pair) in header.chunks(2).enumerate() {
        sum += if at == 5 { 0 } else { u32::from(u16::from_be_bytes([pair[0], pair[1]])) };
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// IPv6 is never told less than 1280, and IPv4 without DF may be fragmented.
fn what_cannot_be_smaller_leaves_whole<E: Keyed>() {
    let (mut w, _) = narrow::<E>();
    let six = udp(IpAddr::V6(v6(0)), IpAddr::V6(v6(1)), 4000, 53, &[7; 1232]);
    let mut four = udp(IpAddr::V4(v4(0)), IpAddr::V4(v4(1)), 4000, 53, &[7; 1300]);
    four[6] &= !0x40;
    let header = four[..20].to_vec();
    four[10..12].copy_from_slice(&ipv4_checksum(&header));
    w.send(0, Vnet::PLAIN, &six);
    w.send(0, Vnet::PLAIN, &four);
    assert!(w.received(0).is_empty());
    w.settle();
    assert_eq!(w.received(1), vec![six, four]);
}

fn announced(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[42], packet[43]])
}

/// A SYN with the option, made from one without.
fn syn(from: (usize, u16), to: (usize, u16), flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let step = etherparse::PacketBuilder::ipv4(v4(from.0).octets(), v4(to.0).octets(), 64);
    let mut tcp = etherparse::TcpHeader::new(from.1, to.1, seq, 60_000);
    tcp.syn = flags & 2 != 0;
    tcp.ack = flags & 16 != 0;
    tcp.acknowledgment_number = ack;
    tcp.set_options(&[etherparse::TcpOptionElement::MaximumSegmentSize(8960)]).unwrap();
    let mut packet = Vec::new();
    step.tcp_header(tcp).write(&mut packet, &[]).unwrap();
    packet
}

fn a_syn_announces_what_the_path_carries_both_ways<E: Keyed>() {
    let (mut w, limit) = narrow::<E>();
    w.send(0, Vnet::PLAIN, &syn((0, 4001), (1, 80), 2, 100, 0));
    w.settle();
    let there = w.received(1);
    assert_eq!(announced(&there[0]), (limit - 40) as u16);
    assert!(matches!(classify(&there[0]).unwrap().kind, Kind::Tcp(tcp) if tcp.flags.is_syn_only()));
    // Node 1 knows nothing of the narrow path: it announces what the tunnel carries, and node 0 lowers it on the way in.
    w.send(1, Vnet::PLAIN, &syn((1, 80), (0, 4001), 18, 500, 101));
    w.settle();
    assert_eq!(announced(&w.received(0)[0]), (limit - 40) as u16);
}

fn another_path_is_wide_until_it_is_known_to_be_narrow<E: Keyed>() {
    let (mut w, limit) = narrow::<E>();
    assert!(limit < MTU);
    assert_eq!(w.nodes[0].plane.narrow_paths(), vec![underlay(1)]);
    // Node 1 comes from another place.
    w.nodes[1].address = underlay(7);
    w.send(1, Vnet::PLAIN, &tcp4((1, 80), (0, 4000), "A", 501, 101, b"moved"));
    w.settle();
    assert_eq!(w.endpoint(0, 1), Some(underlay(7)));
    assert!(w.nodes[0].plane.narrow_paths().is_empty());
    w.nodes[0].plane.set_underlay_mtu(underlay(7), 1500);
    assert!(w.nodes[0].plane.narrow_paths().is_empty());
}
