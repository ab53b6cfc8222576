//! Honest packets for tests.

use std::net::IpAddr;

use warren_config::policy::Protocol;

use super::bytes::{put, put_u16, put_u32};
use super::checksum::{self, ICMP, ICMPV6, TCP, UDP};
use super::reply::{finished, header};
use super::{TcpFlags, Tuple};

pub(crate) const SYN: u8 = TcpFlags::SYN;
pub(crate) const ACK: u8 = TcpFlags::ACK;
pub(crate) const SYN_ACK: u8 = SYN | ACK;
pub(crate) const FIN_ACK: u8 = TcpFlags::FIN | ACK;
pub(crate) const RST: u8 = TcpFlags::RST;

pub(crate) fn tuple(protocol: Protocol, src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    Tuple { protocol, src: src.parse().unwrap(), dst: dst.parse().unwrap(), sport, dport }
}

pub(crate) fn tcp(tuple: Tuple, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    tcp_with(tuple, flags, seq, ack, &[], payload)
}

pub(crate) fn tcp_with(
    tuple: Tuple,
    flags: u8,
    seq: u32,
    ack: u32,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = vec![0; 20];
    put_u16(&mut segment, 0, tuple.sport);
    put_u16(&mut segment, 2, tuple.dport);
    put_u32(&mut segment, 4, seq);
    put_u32(&mut segment, 8, ack);
    put(&mut segment, 12, [(((20 + options.len()) / 4) << 4) as u8, flags, 0x20, 0]);
    segment.extend_from_slice(options);
    segment.extend_from_slice(payload);
    finished(tuple.src, tuple.dst, TCP, 16, &segment).unwrap()
}

pub(crate) fn udp_segment(tuple: Tuple, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 8];
    put_u16(&mut segment, 0, tuple.sport);
    put_u16(&mut segment, 2, tuple.dport);
    put_u16(&mut segment, 4, (8 + payload.len()) as u16);
    segment.extend_from_slice(payload);
    segment
}

pub(crate) fn udp(tuple: Tuple, payload: &[u8]) -> Vec<u8> {
    finished(tuple.src, tuple.dst, UDP, 6, &udp_segment(tuple, payload)).unwrap()
}

/// Echo from `tuple.src`; `tuple.sport` is the identifier.
pub(crate) fn echo(tuple: Tuple, reply: bool, payload: &[u8]) -> Vec<u8> {
    let v4 = tuple.src.is_ipv4();
    let kind = match (v4, reply) {
        (true, false) => 8,
        (true, true) => 0,
        (false, false) => 128,
        (false, true) => 129,
    };
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 1];
    put_u16(&mut message, 4, if reply { tuple.dport } else { tuple.sport });
    message.extend_from_slice(payload);
    finished(tuple.src, tuple.dst, if v4 { ICMP } else { ICMPV6 }, 2, &message).unwrap()
}

/// Any ICMP message.
pub(crate) fn icmp(from: IpAddr, to: IpAddr, kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(body);
    let number = if from.is_ipv4() { ICMP } else { ICMPV6 };
    finished(from, to, number, 2, &message).unwrap()
}

/// Any IP payload.
pub(crate) fn raw(from: IpAddr, to: IpAddr, number: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = header(from, to, number, payload.len()).unwrap();
    packet.extend_from_slice(payload);
    packet
}

/// `len` bytes from `offset` of what a packet carries, as one fragment of it.
pub(crate) fn fragment(packet: &[u8], id: u16, offset: usize, len: usize) -> Vec<u8> {
    let v4 = packet[0] >> 4 == 4;
    let l4 = if v4 { 20 } else { 40 };
    let body = &packet[l4..];
    let end = (offset + len).min(body.len());
    let more = end < body.len();
    let piece = &body[offset..end];
    let mut out;
    if v4 {
        out = packet[..20].to_vec();
        put_u16(&mut out, 2, (20 + piece.len()) as u16);
        put_u16(&mut out, 4, id);
        put_u16(&mut out, 6, (offset / 8) as u16 | if more { 0x2000 } else { 0 });
        checksum::set_ipv4_header(&mut out);
    } else {
        out = packet[..40].to_vec();
        put_u16(&mut out, 4, (8 + piece.len()) as u16);
        let next = out[6];
        out[6] = 44;
        out.extend([next, 0]);
        out.extend((offset as u16 | u16::from(more)).to_be_bytes());
        out.extend(u32::from(id).to_be_bytes());
    }
    out.extend_from_slice(piece);
    out
}
