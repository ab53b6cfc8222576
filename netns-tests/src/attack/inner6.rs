//! Inner IPv6 packets with whole checksums, and everything an attacker does to them.

use std::net::Ipv6Addr;

use super::inner::sum;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 58;
const FRAGMENT: u8 = 44;

/// (what it is, bytes)
type Packets = Vec<(String, Vec<u8>)>;

/// An IPv6 packet; `next` says what `payload` begins with.
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    [&[0x60, 0, 0, 0][..], &length, &[next, hops], &from.octets(), &to.octets(), payload].concat()
}

/// With the checksum at `at`; `last` is the destination that it covers.
fn checked(from: Ipv6Addr, last: Ipv6Addr, number: u8, at: usize, mut segment: Vec<u8>) -> Vec<u8> {
    let length = (segment.len() as u32).to_be_bytes();
    let pseudo = [&from.octets()[..], &last.octets(), &length, &[0, 0, 0, number]].concat();
    let check = !(sum(&segment, sum(&pseudo, 0)) as u16);
    segment[at..at + 2].copy_from_slice(&check.to_be_bytes());
    segment
}

fn udp_datagram(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len() as u16).to_be_bytes();
    let datagram = [&from.1.to_be_bytes()[..], &to.1.to_be_bytes(), &length, &[0; 2], payload].concat();
    checked(from.0, to.0, UDP, 6, datagram)
}

pub fn udp(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), payload: &[u8]) -> Vec<u8> {
    ipv6(from.0, to.0, UDP, 64, &udp_datagram(from, to, payload))
}

fn tcp_segment(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    checked(from.0, to.0, TCP, 16, segment)
}

fn tcp(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    ipv6(from.0, to.0, TCP, 64, &tcp_segment(from, to, flags, payload))
}

fn icmp(from: Ipv6Addr, to: Ipv6Addr, (kind, code): (u8, u8), hops: u8, body: &[u8]) -> Vec<u8> {
    let message = [&[kind, code, 0, 0, 0, 7, 0, 1][..], body].concat();
    ipv6(from, to, ICMP, hops, &checked(from, to, ICMP, 2, message))
}

/// The UDP payload of an inner IPv6 packet without extension headers, and its ports.
pub fn read_udp(packet: &[u8]) -> Option<(u16, u16, &[u8])> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let plain = *packet.first()? == 0x60 && *packet.get(6)? == UDP;
    let end = 40 + usize::from(word(4)?);
    plain.then_some((word(40)?, word(42)?, packet.get(48..end)?))
}

/// An enrolled peer at `me` that may open only UDP `open` (and ping) at `to`.
#[derive(Clone, Copy)]
struct Peer<'a> {
    me: Ipv6Addr,
    to: Ipv6Addr,
    open: u16,
    mark: &'a [u8],
}

/// Every packet that must never come out at the other end. Each that is long enough carries `mark`.
pub fn forbidden(me: Ipv6Addr, to: Ipv6Addr, open: u16, mark: &[u8]) -> Packets {
    let peer = Peer { me, to, open, mark };
    [
        addresses(peer),
        ports(peer),
        headers(peer),
        routing(peer),
        fragments(peer),
        messages(peer),
        errors(peer),
        shapes(peer),
    ]
    .concat()
}

/// An address of the same network that belongs to nobody, or to all.
fn beside(address: Ipv6Addr, last: u16) -> Ipv6Addr {
    let [a, b, c, ..] = address.segments();
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, last)
}

fn addresses(Peer { me, to, open, mark }: Peer<'_>) -> Packets {
    let foreign =
        ["::", "::1", "fe80::1", "ff02::1", "ff02::2", "ff05::2", "ff0e::1", "fd91::1", "2001:db8::1"];
    let carrying = ["::ffff:100.64.0.1", "::100.64.0.1", "64:ff9b::6440:1", "2002:6440:1::1"];
    let foreign = foreign.into_iter().chain(carrying).map(|text| text.parse().unwrap_or(to));
    let mut all = Packets::new();
    for address in foreign.chain([beside(to, 0), beside(to, 0x7777)]) {
        all.push((format!("source {address}"), udp((address, 4000), (to, open), mark)));
        all.push((format!("destination {address}"), udp((me, 4000), (address, open), mark)));
    }
    all.push(("source is the network's own".into(), udp((beside(to, 1), 4000), (to, open), mark)));
    all.push(("source is the target".into(), udp((to, 4000), (to, open), mark)));
    all.push(("both are the sender".into(), udp((me, 4000), (me, open), mark)));
    all
}

fn ports(Peer { me, to, open, mark }: Peer<'_>) -> Packets {
    let mut all = Packets::new();
    for source in [20, 53, 67, 123, 443, 500, 546, 4000] {
        all.push((format!("hidden port from {source}"), udp((me, source), (to, 9999), mark)));
    }
    for flags in 0..64u8 {
        all.push((format!("TCP flags {flags:#04x}"), tcp((me, 4000), (to, 9999), flags, mark)));
    }
    all.push(("TCP to the UDP port".into(), tcp((me, 4000), (to, open), 2, mark)));
    all
}

/// One extension header of kind `number` with nothing in it, before `next`.
fn empty_header(number: u8, next: u8) -> Vec<u8> {
    match number {
        // Segments left 0: whoever skips it goes on.
        43 => vec![next, 0, 4, 0, 0, 0, 0, 0],
        FRAGMENT => vec![next, 0, 0, 0, 0, 0, 0x17, 0x29],
        // AH counts in units of four.
        51 => vec![next, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
        // Options: PadN.
        _ => vec![next, 0, 1, 4, 0, 0, 0, 0],
    }
}

/// A granted datagram behind these headers.
fn behind(peer: Peer<'_>, chain: &[u8]) -> Vec<u8> {
    let Peer { me, to, open, mark } = peer;
    let nexts = chain.iter().skip(1).copied().chain([UDP]);
    let headers: Vec<u8> =
        chain.iter().zip(nexts).flat_map(|(number, next)| empty_header(*number, next)).collect();
    let payload = [headers, udp_datagram((me, 4000), (to, open), mark)].concat();
    ipv6(me, to, chain.first().copied().unwrap_or(UDP), 64, &payload)
}

/// In any order and number; and every protocol that is none of ours.
fn headers(peer: Peer<'_>) -> Packets {
    const KINDS: [u8; 6] = [0, 43, FRAGMENT, 51, 60, 135];
    let mut chains: Vec<Vec<u8>> =
        [&KINDS[..], &[139, 140, 253, 254]].concat().into_iter().map(|kind| vec![kind]).collect();
    for first in KINDS {
        for second in KINDS {
            chains.push(vec![first, second]);
            chains.extend(KINDS.map(|third| vec![first, second, third]));
        }
        chains.extend([8, 60].map(|count| vec![first; count]));
    }
    // One Fragment header on a packet that is whole is a whole packet (RFC 6946).
    chains.retain(|chain| chain != &[FRAGMENT]);
    let mut all: Packets =
        chains.iter().map(|chain| (format!("headers {chain:?}"), behind(peer, chain))).collect();
    let Peer { me, to, open, mark } = peer;
    let plain = udp_datagram((me, 4000), (to, open), mark);
    for number in (0..=255u8).filter(|number| ![TCP, UDP, FRAGMENT, ICMP].contains(number)) {
        all.push((format!("protocol {number}"), ipv6(me, to, number, 64, &plain)));
        let inside = udp((me, 4000), (to, open), mark);
        all.push((format!("protocol {number} with a packet inside"), ipv6(me, to, number, 64, &inside)));
    }
    all
}

/// Through others, to others, and from the header alone to the target.
fn routing(Peer { me, to, open, mark }: Peer<'_>) -> Packets {
    let mut all = Packets::new();
    for kind in [0u8, 1, 2, 3, 4, 253] {
        for (left, via) in [(0u8, me), (1, beside(to, 0x7777)), (1, Ipv6Addr::LOCALHOST), (1, to), (255, to)]
        {
            let header = [&[UDP, 2, kind, left, 0, 0, 0, 0][..], &via.octets()].concat();
            let payload = [header, udp_datagram((me, 4000), (to, open), mark)].concat();
            all.push((format!("routing header {kind}, {left} left, {via}"), ipv6(me, to, 43, 64, &payload)));
        }
    }
    all
}

fn fragments(peer: Peer<'_>) -> Packets {
    let Peer { me, to, open, mark } = peer;
    let piece = |next: u8, place: u16, id: u8, bytes: &[u8]| {
        let header = [&[next, 0][..], &place.to_be_bytes(), &[0, 0, 0x60, id]].concat();
        ipv6(me, to, FRAGMENT, 64, &[&header[..], bytes].concat())
    };
    let padded = [&udp_datagram((me, 4000), (to, open), mark)[..], &[0; 64]].concat();
    let hidden = [&udp_datagram((me, 4000), (to, 9999), mark)[..], &[0; 64]].concat();
    let tcp_hidden = tcp_segment((me, 4000), (to, 9999), 2, mark);
    let behind_options = [&empty_header(60, UDP)[..], &padded].concat();
    let twice = [&[UDP, 0, 0, 0, 0, 0, 0, 9][..], &padded].concat();
    let mut reserved = piece(UDP, 0, 9, &padded[..64]);
    reserved[41] = 1;
    vec![
        ("a later fragment without a first".into(), piece(UDP, 64 | 1, 1, &padded[..64])),
        ("a last fragment without a first".into(), piece(UDP, 64, 2, mark)),
        ("a later fragment of ICMPv4".into(), piece(1, 64, 3, mark)),
        ("a first fragment of 8 bytes of TCP".into(), piece(TCP, 1, 4, &tcp_hidden[..8])),
        ("an empty first fragment".into(), piece(UDP, 1, 5, &[])),
        ("a first fragment to a hidden port".into(), piece(UDP, 1, 6, &hidden[..64])),
        ("its last one".into(), piece(UDP, 64, 6, &hidden[64..])),
        ("a whole packet to a hidden port behind a Fragment header".into(), piece(UDP, 0, 7, &hidden)),
        ("a fragment over the end".into(), piece(UDP, 0xfff8, 8, &padded[..64])),
        ("a first fragment that is no multiple of 8".into(), piece(UDP, 1, 9, &padded[..61])),
        ("reserved bits in a Fragment header".into(), reserved),
        ("reserved bits of the offset".into(), piece(UDP, 0b110, 10, &padded)),
        ("options behind a first fragment".into(), piece(60, 1, 11, &behind_options[..72])),
        ("options behind a Fragment header".into(), piece(60, 0, 12, &behind_options)),
        ("a Fragment header behind a Fragment header".into(), piece(FRAGMENT, 0, 13, &twice)),
    ]
}

/// Neighbour and router discovery, redirects, multicast listeners, and every other type: none has a place in an overlay.
fn messages(Peer { me, to, mark, .. }: Peer<'_>) -> Packets {
    let mut all = Packets::new();
    let ask_all: Ipv6Addr = "ff02::1".parse().unwrap_or(to);
    let link: Ipv6Addr = "fe80::1".parse().unwrap_or(me);
    for kind in (0..=255u8).filter(|kind| *kind != 128) {
        // What discovery speaks about, and a link-layer address.
        let body = [&to.octets()[..], &me.octets(), &[2, 1, 2, 0, 0, 0, 0, 9], mark].concat();
        all.push((format!("ICMPv6 type {kind}"), icmp(me, to, (kind, 0), 64, &body)));
        if (130..=155).contains(&kind) {
            for (from, at) in
                [(me, to), (link, to), (me, ask_all), (link, ask_all), (Ipv6Addr::UNSPECIFIED, ask_all)]
            {
                let name = format!("ICMPv6 type {kind} from {from} to {at} with 255 hops");
                all.push((name, icmp(from, at, (kind, 0), 255, &body)));
            }
            // Router alert, as listeners are asked for.
            let message = checked(me, to, ICMP, 2, [&[kind, 0, 0, 0, 0, 7, 0, 1][..], &body].concat());
            let alert = [&[ICMP, 0, 5, 2, 0, 0, 1, 0][..], &message].concat();
            all.push((format!("ICMPv6 type {kind} behind a router alert"), ipv6(me, to, 0, 1, &alert)));
        }
    }
    for code in 1..=3 {
        all.push((format!("an echo request with code {code}"), icmp(me, to, (128, code), 64, mark)));
    }
    let v4 = [&[8u8, 0, 0, 0, 0, 7, 0, 1][..], mark].concat();
    all.push(("ICMP for IPv4 inside IPv6".into(), ipv6(me, to, 1, 64, &v4)));
    all
}

/// Quotations of what the target never sent, or could not have sent. Not the honest flow's ports: about that one, an error
/// would be right.
fn errors(peer: Peer<'_>) -> Packets {
    let Peer { me, to, open, mark } = peer;
    let elsewhere = beside(to, 0x7777);
    let mut quoted: Packets = vec![
        ("UDP to another port".into(), udp((to, open), (me, 4321), mark)),
        ("UDP from another port".into(), udp((to, 9), (me, 4000), mark)),
        ("TCP".into(), tcp((to, 22), (me, 4000), 16, mark)),
        ("an echo request".into(), icmp(to, me, (128, 0), 64, mark)),
        ("an error".into(), icmp(to, me, (1, 0), 64, &udp((me, 9), (to, 9), mark))),
        ("what another one sent".into(), udp((elsewhere, open), (me, 4000), mark)),
        ("what was sent to another one".into(), udp((to, open), (elsewhere, 4000), mark)),
        ("what it sent to itself".into(), udp((to, open), (to, 4000), mark)),
        ("extension headers".into(), behind(Peer { me: to, to: me, open: 4000, mark }, &[60, 43])),
        (
            "IPv4".into(),
            [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 100, 64, 0, 2, 100, 64, 0, 1][..], mark].concat(),
        ),
        ("nothing but a mark".into(), mark.to_vec()),
    ];
    let cut = udp((to, open), (me, 4321), mark)[..42].to_vec();
    quoted.push(("a packet that ends before its ports".into(), cut));
    let mut all = Packets::new();
    let kinds = (0..=8).map(|code| (1, code)).chain([
        (2, 0),
        (3, 0),
        (3, 1),
        (4, 0),
        (4, 1),
        (4, 2),
        (4, 3),
        (1, 9),
        (4, 9),
    ]);
    for (kind, code) in kinds {
        for (what, quote) in &quoted {
            all.push((
                format!("ICMPv6 error {kind}/{code} that quotes {what}"),
                icmp(me, to, (kind, code), 64, quote),
            ));
        }
    }
    all
}

fn shapes(Peer { me, to, open, mark }: Peer<'_>) -> Packets {
    let whole = udp((me, 4000), (to, open), mark);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = whole.clone();
        change(&mut packet);
        packet
    };
    // A length of nothing and the option that says how long it is (RFC 2675).
    let jumbo = [&[UDP, 0, 0xc2, 4, 0, 1, 0, 0][..], &whole[40..]].concat();
    let mut jumbogram = ipv6(me, to, 0, 64, &jumbo);
    jumbogram[4..6].fill(0);
    vec![
        ("hop limit 0".into(), with(&|packet| packet[7] = 0)),
        ("a length over the end".into(), with(&|packet| packet[4] = 0xff)),
        ("version 4 with an IPv6 header".into(), with(&|packet| packet[0] = 0x40)),
        ("version 7".into(), with(&|packet| packet[0] = 0x70)),
        ("a UDP length over the end".into(), with(&|packet| packet[44] = 0x7f)),
        ("UDP without a checksum".into(), with(&|packet| packet[46..48].fill(0))),
        ("port 0".into(), udp((me, 0), (to, open), mark)),
        ("a jumbogram".into(), jumbogram),
    ]
}
