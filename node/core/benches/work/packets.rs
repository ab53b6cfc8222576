//! Packets of one flow from 100.64.0.1 to 100.64.0.2, as a kernel makes them.

use std::net::Ipv4Addr;

use warren_node_core::packet::checksum;
use warren_node_core::packet::split;
use warren_node_core::packet::vnet::{Gso, Vnet};
use warren_node_core::packet::{Packet, classify};

pub const MINE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
pub const PEERS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
pub const PORT: u16 = 80;
/// IPv4 and TCP header without options.
pub const HEADER: usize = 40;

/// A TCP frame of `count` segments that are `size` bytes each, as it comes out of a TUN: one header, no checksum yet.
pub fn super_frame(count: usize, size: usize) -> (Vnet, Vec<u8>) {
    let segment = size - HEADER;
    let mut frame = vec![0x5a; HEADER + count * segment];
    let total = frame.len() as u16;
    ip(&mut frame, total, checksum::TCP);
    frame[20..40].fill(0);
    frame[20..22].copy_from_slice(&40_000u16.to_be_bytes());
    frame[22..24].copy_from_slice(&PORT.to_be_bytes());
    frame[24..28].copy_from_slice(&1000u32.to_be_bytes());
    frame[28..32].copy_from_slice(&2000u32.to_be_bytes());
    frame[32] = 5 << 4;
    frame[33] = 0x10;
    frame[34..36].copy_from_slice(&500u16.to_be_bytes());
    let gso = if count > 1 { Gso::TcpV4 { size: segment as u16 } } else { Gso::None };
    (Vnet { gso, checksum: Some((20, 16)), header_len: HEADER as u16, ecn: false }, frame)
}

/// The same as separate packets, complete.
pub fn segments(count: usize, size: usize) -> Vec<Vec<u8>> {
    let (vnet, mut frame) = super_frame(count, size);
    let packet = read(&frame);
    let mut segments = Vec::new();
    split::plan(&vnet, &packet).unwrap().run(&mut frame, |segment| segments.push(segment.to_vec()));
    segments
}

/// A UDP packet of `size` bytes from `port`.
pub fn udp(size: usize, port: u16) -> Vec<u8> {
    let mut packet = vec![0x5a; size];
    ip(&mut packet, size as u16, checksum::UDP);
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&PORT.to_be_bytes());
    packet[24..26].copy_from_slice(&((size - 20) as u16).to_be_bytes());
    packet[26..28].fill(0);
    let sum = checksum::transport(&packet, true, checksum::UDP, &packet[20..]);
    packet[26..28].copy_from_slice(&sum);
    packet
}

fn ip(packet: &mut [u8], total: u16, protocol: u8) {
    packet[..20].fill(0);
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[6] = 0x40;
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&MINE.octets());
    packet[16..20].copy_from_slice(&PEERS.octets());
    checksum::set_ipv4_header(packet);
}

pub fn read(packet: &[u8]) -> Packet {
    classify(packet).unwrap()
}
