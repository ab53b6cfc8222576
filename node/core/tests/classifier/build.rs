//! Packets by hand: an IPv4 or IPv6 header in front of any bytes.

use crate::judge::ones_sum;

/// From 100.64.0.1 to 100.64.0.2, with `options` behind the header.
pub fn v4_with(number: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let total = (header + payload.len()) as u16;
    let mut packet = vec![0x40 + (header / 4) as u8, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, number, 0, 0, 100, 64, 0, 1, 100, 64, 0, 2]);
    packet.extend(options);
    packet.extend(payload);
    sealed(packet)
}

/// The same with the header's checksum made right.
pub fn sealed(mut packet: Vec<u8>) -> Vec<u8> {
    let header = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = !ones_sum(&packet[..header.min(packet.len())]) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// From fd00::1 to fd00::2.
pub fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(payload);
    packet
}

pub fn ip(v4: bool, number: u8, payload: &[u8]) -> Vec<u8> {
    if v4 { v4_with(number, &[], payload) } else { v6(number, payload) }
}

/// A piece of a packet, `from` bytes behind its beginning.
pub fn piece(v4: bool, number: u8, id: u32, from: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    if !v4 {
        let mut header = vec![number, 0];
        header.extend((from | u16::from(more)).to_be_bytes());
        header.extend(id.to_be_bytes());
        return v6(44, &[&header, payload].concat());
    }
    let mut packet = v4_with(number, &[], payload);
    packet[4..6].copy_from_slice(&(id as u16).to_be_bytes());
    packet[6..8].copy_from_slice(&((from / 8) | if more { 0x2000 } else { 0 }).to_be_bytes());
    sealed(packet)
}

/// A TCP segment from port 40000 to 443, sequence number 7.
pub fn tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 1, 0xbb, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, flags, 0xff, 0, 0, 0, 0, 0];
    segment.extend(payload);
    segment
}

/// A UDP datagram from port 40000 to 53.
pub fn udp(payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x9c, 0x40, 0, 53];
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0xab, 0xcd]);
    datagram.extend(payload);
    datagram
}

pub fn icmp(kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0, 0x12, 0x34, 0, 1], body].concat()
}

/// ICMP or ICMPv6.
pub fn icmp_number(v4: bool) -> u8 {
    if v4 { 1 } else { 58 }
}
