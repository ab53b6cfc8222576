//! Inner packets as an application's kernel writes and reads them. Written apart from the node's own parser, so that
//! the laws do not share its mistakes.

use std::net::{IpAddr, SocketAddr};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

const TCP: u8 = 6;
const UDP: u8 = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Tcp {
        seq: u32,
        ack: u32,
        flags: u8,
    },
    Udp,
    Ping {
        id: u16,
    },
    Pong {
        id: u16,
    },
    /// An ICMP error and the ends of what it quotes: protocol number, source, destination.
    Error {
        quoted: Option<(u8, SocketAddr, SocketAddr)>,
    },
    Other(u8),
}

/// A packet read. Ports are 0 where there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub what: What,
    /// Bytes behind the transport header.
    pub payload: Vec<u8>,
    /// Bytes of the whole packet.
    pub total: usize,
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Source, destination, protocol number and where the payload lies.
fn ip(bytes: &[u8]) -> Option<(IpAddr, IpAddr, u8, usize, usize)> {
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
    match bytes.first()? >> 4 {
        4 => {
            let head = usize::from(bytes.first()? & 15) * 4;
            Some((v4(12)?, v4(16)?, *bytes.get(9)?, head, usize::from(half(bytes, 2)?)))
        }
        6 => Some((v6(8)?, v6(24)?, *bytes.get(6)?, 40, 40 + usize::from(half(bytes, 4)?))),
        _ => None,
    }
}

/// Reads what [`tcp`], [`udp`], [`ping`] and the node's own answers write.
pub fn read(bytes: &[u8]) -> Option<Seen> {
    let (src, dst, number, head, total) = ip(bytes)?;
    let body = bytes.get(head..total)?;
    let icmp = number == if src.is_ipv4() { 1 } else { 58 };
    let (what, ports, skip) = match number {
        TCP => {
            let what = What::Tcp { seq: word(body, 4)?, ack: word(body, 8)?, flags: *body.get(13)? };
            (what, (half(body, 0)?, half(body, 2)?), usize::from(body.get(12)? >> 4) * 4)
        }
        UDP => (What::Udp, (half(body, 0)?, half(body, 2)?), 8),
        _ if icmp => (icmp_message(body, src.is_ipv4())?, (0, 0), 8),
        other => (What::Other(other), (0, 0), 0),
    };
    let (from, to) = (SocketAddr::new(src, ports.0), SocketAddr::new(dst, ports.1));
    Some(Seen { from, to, what, payload: body.get(skip..)?.to_vec(), total })
}

fn icmp_message(body: &[u8], v4: bool) -> Option<What> {
    let id = half(body, 4)?;
    Some(match (*body.first()?, v4) {
        (8, true) | (128, false) => What::Ping { id },
        (0, true) | (129, false) => What::Pong { id },
        _ => What::Error { quoted: body.get(8..).and_then(quoted) },
    })
}

fn quoted(bytes: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let (src, dst, number, head, _) = ip(bytes)?;
    let (a, b) = match number {
        TCP | UDP => (half(bytes, head)?, half(bytes, head + 2)?),
        _ => (half(bytes, head + 4)?, 0),
    };
    Some((number, SocketAddr::new(src, a), SocketAddr::new(dst, b)))
}

/// RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An IP packet whose transport checksum stands at `field` of `body`.
fn packet(from: IpAddr, to: IpAddr, number: u8, field: Option<usize>, mut body: Vec<u8>) -> Vec<u8> {
    let (src, dst) = (octets(from), octets(to));
    if let Some(field) = field {
        let length = (body.len() as u32).to_be_bytes();
        let pseudo = [&src[..], &dst[..], &length[..], &[0, 0, 0, number][..]].concat();
        let plain = number == 1;
        let sum = checksum(&[if plain { &[] } else { &pseudo[..] }, &body]);
        // RFC 768: zero says that there is none.
        let sum = if number == UDP && sum == 0 { 0xffff } else { sum };
        body[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut head;
    if from.is_ipv4() {
        head = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, number, 0, 0];
        head[2..4].copy_from_slice(&((20 + body.len()) as u16).to_be_bytes());
        head.extend([&src[..], &dst[..]].concat());
        let sum = checksum(&[&head]);
        head[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        head = vec![0x60, 0, 0, 0, 0, 0, number, 64];
        head[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
        head.extend([&src[..], &dst[..]].concat());
    }
    [head, body].concat()
}

/// What a TCP segment says beside its ends.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub len: usize,
}

pub fn tcp(from: SocketAddr, to: SocketAddr, segment: Segment) -> Vec<u8> {
    let mut body = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    body.extend(segment.seq.to_be_bytes());
    body.extend(segment.ack.to_be_bytes());
    body.extend([5 << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    body.extend(std::iter::repeat_n(0xa5, segment.len));
    packet(from.ip(), to.ip(), TCP, Some(16), body)
}

pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut body = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    body.extend(((8 + payload.len()) as u16).to_be_bytes());
    body.extend([0, 0]);
    body.extend(payload);
    packet(from.ip(), to.ip(), UDP, Some(6), body)
}

pub fn ping(from: IpAddr, to: IpAddr, id: u16, answer: bool) -> Vec<u8> {
    let (number, kind) = match (from.is_ipv4(), answer) {
        (true, false) => (1, 8),
        (true, true) => (1, 0),
        (false, false) => (58, 128),
        (false, true) => (58, 129),
    };
    let mut body = vec![kind, 0, 0, 0];
    body.extend(id.to_be_bytes());
    body.extend([0, 1, 0xa5, 0xa5, 0xa5, 0xa5]);
    packet(from, to, number, Some(2), body)
}

/// A packet of a protocol without ports.
pub fn other(from: IpAddr, to: IpAddr, number: u8) -> Vec<u8> {
    packet(from, to, number, None, vec![0xa5; 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for ends in [("100.64.1.1:5", "100.64.1.2:6"), ("[fd00::1]:5", "[fd00::2]:6")] {
            let (from, to): (SocketAddr, SocketAddr) = (ends.0.parse().unwrap(), ends.1.parse().unwrap());
            let bytes = tcp(from, to, Segment { seq: 7, ack: 8, flags: SYN | ACK, len: 3 });
            let seen = read(&bytes).unwrap();
            assert_eq!((seen.from, seen.to, seen.payload.len(), seen.total), (from, to, 3, bytes.len()));
            assert_eq!(seen.what, What::Tcp { seq: 7, ack: 8, flags: SYN | ACK });
            assert_eq!(read(&udp(from, to, b"abc")).unwrap().payload, b"abc");
            assert_eq!(read(&ping(from.ip(), to.ip(), 9, false)).unwrap().what, What::Ping { id: 9 });
        }
    }

    /// One question in 65,536: a checksum of zero would say that there is none, and over IPv6 there must be one.
    #[test]
    fn no_question_goes_without_a_checksum() {
        for ends in [("100.64.1.1:5", "100.64.1.2:6"), ("[fd00::1]:5", "[fd00::2]:6")] {
            let (from, to): (SocketAddr, SocketAddr) = (ends.0.parse().unwrap(), ends.1.parse().unwrap());
            let head = if from.is_ipv4() { 20 } else { 40 };
            let sum = half(&udp(from, to, &[0, 0]), head + 6).unwrap();
            assert_eq!(half(&udp(from, to, &sum.to_be_bytes()), head + 6), Some(0xffff));
        }
    }
}
