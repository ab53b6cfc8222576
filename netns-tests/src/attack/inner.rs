//! Inner packets with whole checksums, and everything an attacker does to them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(super) fn sum(bytes: &[u8], mut sum: u32) -> u32 {
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// An IPv4 packet; `options` in whole words.
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, number: u8, flags: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend((header as u16 + payload.len() as u16).to_be_bytes());
    packet.extend([0x17, 0x29]);
    packet.extend(flags.to_be_bytes());
    packet.extend([64, number, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(options);
    let check = !(sum(&packet, 0) as u16);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet without extension headers.
fn ipv6(from: Ipv6Addr, to: Ipv6Addr, number: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([number, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// Of the family that both ends have.
fn ip(from: IpAddr, to: IpAddr, number: u8, payload: &[u8]) -> Vec<u8> {
    let wide = |ip| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, number, 0, &[], payload),
        (from, to) => ipv6(wide(from), wide(to), number, payload),
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The pseudo-headers of both families have the same sum for the same fields.
fn checked(from: IpAddr, to: IpAddr, number: u8, at: usize, mut segment: Vec<u8>) -> Vec<u8> {
    let pseudo = [octets(from), octets(to), vec![0, number], (segment.len() as u16).to_be_bytes().to_vec()];
    let check = !(sum(&segment, sum(&pseudo.concat(), 0)) as u16);
    // In UDP 0 says that there is none; all ones are the same number.
    let check = if check == 0 { 0xffff } else { check };
    segment[at..at + 2].copy_from_slice(&check.to_be_bytes());
    segment
}

pub fn udp_datagram(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    let len = 8 + payload.len() as u16;
    let mut datagram =
        [from.port().to_be_bytes(), to.port().to_be_bytes(), len.to_be_bytes(), [0; 2]].concat();
    datagram.extend(payload);
    checked(from.ip(), to.ip(), 17, 6, datagram)
}

pub fn udp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    ip(from.ip(), to.ip(), 17, &udp_datagram(from, to, payload))
}

pub fn tcp_segment(
    from: impl Into<SocketAddr>,
    to: impl Into<SocketAddr>,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    checked(from.ip(), to.ip(), 6, 16, segment)
}

pub fn tcp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    ip(from.ip(), to.ip(), 6, &tcp_segment(from, to, flags, payload))
}

pub fn icmp(from: Ipv4Addr, to: Ipv4Addr, kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    icmp_with(from, to, (kind, code), 7 << 16 | 1, body)
}

/// The same with this second word: identifier and number, or a path MTU.
pub fn icmp_with(from: Ipv4Addr, to: Ipv4Addr, (kind, code): (u8, u8), second: u32, body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0][..], &second.to_be_bytes(), body].concat();
    let check = !(sum(&message, 0) as u16);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    ipv4(from, to, 1, 0, &[], &message)
}

/// Every packet that must never come out at the other end, though it comes from an enrolled peer that may open only
/// UDP `open` at `to`: (what it is, bytes). Each carries `mark`.
pub fn forbidden(me: Ipv4Addr, to: Ipv4Addr, open: u16, mark: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |what: &str, packet: Vec<u8>| all.push((what.to_owned(), packet));
    let (from, granted, hidden) = ((me, 4000), (to, open), (to, 9999));
    let plain = udp_datagram(from, granted, mark);
    for source in
        ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "10.91.0.1", "100.64.0.99"]
    {
        let source: Ipv4Addr = source.parse().unwrap_or(to);
        add(&format!("source {source}"), udp((source, 4000), granted, mark));
    }
    add("source is the target", udp((to, 4000), granted, mark));
    for target in ["127.0.0.1", "224.0.0.1", "255.255.255.255", "10.91.0.1", "8.8.8.8", "100.64.0.77"] {
        let target: Ipv4Addr = target.parse().unwrap_or(me);
        add(&format!("destination {target}"), udp(from, (target, open), mark));
    }
    add("a port that no grant names", udp(from, hidden, mark));
    for trusted in [20, 53, 67, 123, 443, 500] {
        add(&format!("source port {trusted}"), udp((me, trusted), hidden, mark));
    }
    for flags in 0..64u8 {
        add(&format!("TCP flags {flags:#04x}"), tcp(from, hidden, flags, mark));
    }
    for number in (0..=255u8).filter(|n| ![1, 6, 17].contains(n)) {
        add(&format!("protocol {number}"), ipv4(me, to, number, 0, &[], &plain));
        add(
            &format!("protocol {number} with a packet inside"),
            ipv4(me, to, number, 0, &[], &udp(from, granted, mark)),
        );
    }
    for (name, option) in
        [("record route", 7), ("loose source route", 131), ("strict source route", 137), ("stream id", 136)]
    {
        add(name, ipv4(me, to, 17, 0, &[option, 7, 4, 10, 91, 0, 1, 0], &plain));
    }
    add("no-operation options", ipv4(me, to, 17, 0, &[1; 40], &plain));
    // Fragments: `0x2000` is "more", the rest the offset in units of eight.
    let padded = [&plain[..], &[0; 64]].concat();
    add("a later fragment without a first", ipv4(me, to, 17, 4, &[], &padded[..40]));
    add("a last fragment without a first", ipv4(me, to, 17, 1, &[], mark));
    add("a tiny first fragment", ipv4(me, to, 6, 0x2000, &[], &tcp_segment(from, hidden, 2, mark)[..8]));
    add(
        "a first fragment to a hidden port",
        ipv4(me, to, 17, 0x2000, &[], &udp_datagram(from, hidden, &[0; 32])[..40]),
    );
    add("a fragment over the end", ipv4(me, to, 17, 0x1fff, &[], &padded[..40]));
    add("the reserved flag", ipv4(me, to, 17, 0x8000, &[], &plain));
    for kind in (1..=255u8).filter(|k| *k != 8) {
        add(&format!("ICMP type {kind}"), icmp(me, to, kind, 0, &udp((to, 9), (me, 9), mark)));
    }
    // Not the honest flow's own ports: about that one, an error would be right.
    let never = (me, 4321);
    for quoted in [udp(granted, never, mark), tcp((to, 22), from, 16, mark), icmp(to, me, 8, 0, mark)] {
        for (kind, code) in [(3, 1), (3, 3), (3, 4), (11, 0), (12, 0)] {
            add(
                &format!("ICMP error {kind}/{code} about a flow that is not"),
                icmp(me, to, kind, code, &quoted),
            );
        }
    }
    let (mut bad_sum, mut no_hops, mut long) =
        (udp(from, granted, mark), udp(from, granted, mark), udp(from, granted, mark));
    bad_sum[10] ^= 1;
    add("a wrong header checksum", bad_sum);
    no_hops[8] = 0;
    add("hop limit 0", no_hops);
    long[3] = 0xff;
    add("a length over the end", long);
    add("not IP at all", [&[0x50][..], &[0; 40], mark].concat());
    all
}

/// The UDP payload of an inner IPv4 packet, and its ports.
pub fn read_udp(packet: &[u8]) -> Option<(u16, u16, &[u8])> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let plain = *packet.first()? == 0x45 && *packet.get(9)? == 17;
    let end = usize::from(word(2)?);
    plain.then_some((word(20)?, word(22)?, packet.get(28..end)?))
}

/// A TCP or UDP packet of either family, whole and without options in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken<'a> {
    pub tcp: bool,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Of UDP.
    pub body: &'a [u8],
}

impl fmt::Display for Spoken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", if self.tcp { "TCP" } else { "UDP" }, self.from, self.to)
    }
}

/// `None` is an ICMP message, or what has no ports.
pub fn read(packet: &[u8]) -> Option<Spoken<'_>> {
    let array4 = |at: usize| packet.get(at..at + 4)?.try_into().ok().map(|octets: [u8; 4]| octets.into());
    let array6 = |at: usize| packet.get(at..at + 16)?.try_into().ok().map(|octets: [u8; 16]| octets.into());
    let (number, from, to, at): (u8, IpAddr, IpAddr, usize) = match packet.first()? >> 4 {
        4 => (*packet.get(9)?, array4(12)?, array4(16)?, usize::from(packet[0] & 15) * 4),
        _ => (*packet.get(6)?, array6(8)?, array6(24)?, 40),
    };
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (from, to) = ((from, word(at)?).into(), (to, word(at + 2)?).into());
    match number {
        6 => Some(Spoken { tcp: true, from, to, body: &[] }),
        17 => {
            let end = at + usize::from(word(at + 4)?);
            Some(Spoken { tcp: false, from, to, body: packet.get(at + 8..end)? })
        }
        _ => None,
    }
}

/// Is it an ICMP message?
pub fn is_icmp(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9) == Some(&1),
        _ => packet.get(6) == Some(&58),
    }
}
