//! What the local host is told when its packet was refused: TCP RST, or ICMP "administratively prohibited".
//!
//! Never answered: an ICMP error, an echo reply, a RST, a fragment (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e).
//! Every answer speaks in the name of the other end, because only that address means something to the application.

use std::net::IpAddr;

use super::bytes::{put, put_u16, put_u32};
use super::checksum::{self, ICMP, ICMPV6, TCP};
use super::{Fragment, Kind, Packet, TcpFlags, Tuple};

const HOPS: u8 = 64;
const ICMP_HEADER: usize = 8;
/// RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 (c).
const MAX_V4: usize = 576;
const MAX_V6: usize = 1280;

/// The answer to the local host for a refused outbound packet: `None` if it must not be answered. Not on the fast
/// path; the judge limits how often it is asked for.
pub fn refusal(bytes: &[u8], packet: &Packet) -> Option<Vec<u8>> {
    if packet.fragment != Fragment::None {
        return None;
    }
    match packet.kind {
        Kind::Tcp(tcp) if tcp.flags.has(TcpFlags::RST) => None,
        // RFC 9293 section 3.5.2: the number the other side acknowledges is the one it will believe.
        Kind::Tcp(tcp) if tcp.flags.has(TcpFlags::ACK) => Some(reset(packet.tuple.reversed(), tcp.ack, None)),
        Kind::Tcp(tcp) => Some(reset(packet.tuple.reversed(), 0, Some(tcp.end()))),
        Kind::Udp | Kind::EchoRequest | Kind::Other => {
            let quote = bytes.get(..packet.total)?;
            prohibited(packet.tuple.dst, packet.tuple.src, quote)
        }
        Kind::EchoReply | Kind::IcmpError(_) | Kind::LaterFragment { .. } => None,
    }
}

/// A RST on the way `tuple` names; with `ack` it answers a SYN.
pub(crate) fn reset(tuple: Tuple, seq: u32, ack: Option<u32>) -> Vec<u8> {
    let mut segment = [0u8; 20];
    put_u16(&mut segment, 0, tuple.sport);
    put_u16(&mut segment, 2, tuple.dport);
    put_u32(&mut segment, 4, seq);
    put_u32(&mut segment, 8, ack.unwrap_or(0));
    let flags = TcpFlags::RST | if ack.is_some() { TcpFlags::ACK } else { 0 };
    put(&mut segment, 12, [5 << 4, flags]);
    finished(tuple.src, tuple.dst, TCP, 16, &segment).unwrap_or_default()
}

/// "Packet too big" for an outbound packet that does not fit a tunnel of `mtu` bytes (RFC 1191 section 4, RFC 8201).
/// `None` if it must not be answered.
pub fn too_big(bytes: &[u8], packet: &Packet, mtu: u16) -> Option<Vec<u8>> {
    let silent = matches!(packet.kind, Kind::IcmpError(_) | Kind::LaterFragment { .. });
    let quote = bytes.get(..packet.total).filter(|_| !silent)?;
    let kind = if packet.is_v4() { [3, 4] } else { [2, 0] };
    // Both families carry the MTU in the last two bytes of the second word.
    error(packet.tuple.dst, packet.tuple.src, kind, mtu, quote)
}

/// ICMP type 3 code 13 or ICMPv6 type 1 code 1, quoting `quote`. `None` for ends of two families.
pub(crate) fn prohibited(from: IpAddr, to: IpAddr, quote: &[u8]) -> Option<Vec<u8>> {
    let kind = if from.is_ipv4() { [3, 13] } else { [1, 1] };
    error(from, to, kind, 0, quote)
}

/// ICMP type 3 code 3 or ICMPv6 type 1 code 4. `None` for ends of two families.
pub(crate) fn no_such_port(from: IpAddr, to: IpAddr, quote: &[u8]) -> Option<Vec<u8>> {
    let kind = if from.is_ipv4() { [3, 3] } else { [1, 4] };
    error(from, to, kind, 0, quote)
}

fn error(from: IpAddr, to: IpAddr, kind: [u8; 2], value: u16, quote: &[u8]) -> Option<Vec<u8>> {
    let (number, room) =
        if from.is_ipv4() { (ICMP, MAX_V4 - 20 - ICMP_HEADER) } else { (ICMPV6, MAX_V6 - 40 - ICMP_HEADER) };
    let mut message = vec![0; ICMP_HEADER];
    put(&mut message, 0, kind);
    put_u16(&mut message, 6, value);
    message.extend(quote.iter().take(room));
    finished(from, to, number, 2, &message)
}

/// `payload` behind an IP header, with its checksum at `field`.
pub(crate) fn finished(
    from: IpAddr,
    to: IpAddr,
    number: u8,
    field: usize,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut packet = header(from, to, number, payload.len())?;
    let l4 = packet.len();
    packet.extend_from_slice(payload);
    let segment = packet.get(l4..).unwrap_or_default();
    let sum = checksum::transport(&packet, from.is_ipv4(), number, segment);
    put(&mut packet, l4 + field, sum);
    Some(packet)
}

/// An IP header without options for `len` bytes of payload. `None` for ends of two families.
pub(crate) fn header(from: IpAddr, to: IpAddr, number: u8, len: usize) -> Option<Vec<u8>> {
    let mut packet;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet = vec![0; 20];
            put(&mut packet, 0, [0x45]);
            put_u16(&mut packet, 2, u16::try_from(20 + len).ok()?);
            put(&mut packet, 6, [0x40, 0, HOPS, number]);
            put(&mut packet, 12, from.octets());
            put(&mut packet, 16, to.octets());
            checksum::set_ipv4_header(&mut packet);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet = vec![0; 40];
            put(&mut packet, 0, [0x60]);
            put_u16(&mut packet, 4, u16::try_from(len).ok()?);
            put(&mut packet, 6, [number, HOPS]);
            put(&mut packet, 8, from.octets());
            put(&mut packet, 24, to.octets());
        }
        _ => return None,
    }
    Some(packet)
}
