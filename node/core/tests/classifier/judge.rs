//! A second reader of inner packets, written from the RFCs and from the rules in `ARCHITECTURE.md`, that shares no line
//! with the one it judges: it lists *every* fault of a packet instead of stopping at the first, keeps addresses as
//! numbers, and knows the protocols as tables.
//!
//! [`check`] is the law: bytes without a fault are accepted and read the same way, field by field; bytes with faults are
//! refused, and the reason that is counted is one of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use warren_config::policy::Protocol;
use warren_node_core::packet::{DropReason, Fragment, Kind, Packet, classify};

/// One packet as the judge reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub ends: [u128; 2],
    pub v4: bool,
    pub number: u8,
    pub ports: [u16; 2],
    pub place: Place,
    pub what: What,
    /// Start of the transport header, start of its payload, end of the packet.
    pub marks: [usize; 3],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Whole,
    Front { id: u32, len: usize },
    Behind { id: u32, from: usize, to: usize, last: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Tcp { flags: u8, seq: u32, ack: u32, window: u16, carries: usize },
    Udp,
    Ask,
    Answer,
    Error { number: u8, ends: [u128; 2], ports: [u16; 2], seq: Option<u32>, answer: bool },
    Opaque,
}

type Faults = BTreeSet<&'static str>;

/// Judges the classifier on these bytes; panics where the two readers do not agree.
pub fn check(bytes: &[u8]) {
    let (faults, reading) = read(bytes);
    match classify(bytes) {
        Ok(packet) => {
            assert!(faults.is_empty(), "accepted in spite of {faults:?}: {packet:?}\n{bytes:02x?}");
            assert_eq!(Some(translate(&packet)), reading, "read differently\n{bytes:02x?}");
        }
        Err(reason) => {
            assert!(faults.contains(reason.as_str()), "`{reason}` is not among {faults:?}\n{bytes:02x?}");
            assert!(DropReason::ALL.get(reason.index()) == Some(&reason), "no counter for `{reason}`");
        }
    }
}

/// The word of the classifier in the judge's terms.
fn translate(packet: &Packet) -> Reading {
    let v4 = packet.tuple.src.is_ipv4();
    let number_of = |protocol| match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::IcmpEcho => {
            if v4 {
                1
            } else {
                58
            }
        }
        Protocol::Number(number) => number,
    };
    let number = number_of(packet.tuple.protocol);
    let place = match packet.fragment {
        Fragment::None => Place::Whole,
        Fragment::First { id, len } => Place::Front { id, len: len.into() },
        Fragment::Later { id, offset, len, last } => {
            Place::Behind { id, from: offset.into(), to: usize::from(offset) + usize::from(len), last }
        }
    };
    let what = match packet.kind {
        Kind::Tcp(t) => {
            What::Tcp { flags: t.flags.0, seq: t.seq, ack: t.ack, window: t.window, carries: t.len as usize }
        }
        Kind::Udp => What::Udp,
        Kind::EchoRequest => What::Ask,
        Kind::EchoReply => What::Answer,
        Kind::IcmpError(q) => What::Error {
            number: number_of(q.tuple.protocol),
            ends: [number_form(q.tuple.src), number_form(q.tuple.dst)],
            ports: [q.tuple.sport, q.tuple.dport],
            seq: q.seq,
            answer: q.echo_reply,
        },
        Kind::Other => What::Opaque,
        Kind::LaterFragment { number: told } => {
            assert_eq!(told, number);
            What::Opaque
        }
    };
    Reading {
        ends: [number_form(packet.tuple.src), number_form(packet.tuple.dst)],
        v4,
        number,
        ports: [packet.tuple.sport, packet.tuple.dport],
        place,
        what,
        marks: [packet.l4, packet.payload, packet.total],
    }
}

fn number_form(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// `len` bytes at `at` as one big-endian number; `None` if they are not all there.
fn field(bytes: &[u8], at: usize, len: usize) -> Option<u128> {
    bytes.get(at..at.checked_add(len)?).map(|b| b.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
}

/// What no node can have as an address: (prefix, bits).
const NOT_FOR_NODES_4: [(u128, u32); 4] = [(0, 8), (0x7f00_0000, 8), (0xa9fe_0000, 16), (0xe000_0000, 3)];
const NOT_FOR_NODES_6: [(u128, u32); 6] = [
    (0, 96),                 // unspecified, loopback, IPv4-compatible
    (0xffff << 32, 96),      // IPv4-mapped
    (0x0064_ff9b << 96, 32), // NAT64
    (0x2002 << 112, 16),     // 6to4
    (0xfe80 << 112, 10),     // link-local
    (0xff << 120, 8),        // multicast
];

fn for_a_node(address: u128, v4: bool) -> bool {
    let (table, width): (&[(u128, u32)], u32) =
        if v4 { (&NOT_FOR_NODES_4, 32) } else { (&NOT_FOR_NODES_6, 128) };
    table.iter().all(|(prefix, bits)| address >> (width - bits) != prefix >> (width - bits))
}

/// Numbers that IPv6 gives to extension headers; in neither family do they carry a flow.
const EXTENSIONS: [u8; 8] = [0, 43, 44, 59, 60, 135, 139, 140];
/// (type, highest code) of the ICMP errors of each family.
const ERRORS_4: [(u8, u8); 3] = [(3, 15), (11, 1), (12, 2)];
const ERRORS_6: [(u8, u8); 4] = [(1, 8), (2, 0), (3, 1), (4, 3)];

/// The IP part: where the rest lies, and what is wrong.
struct Outer {
    ends: [u128; 2],
    v4: bool,
    number: u8,
    start: usize,
    total: usize,
    place: Place,
}

/// Every fault of these bytes, and what they say if there is none.
pub fn read(bytes: &[u8]) -> (Faults, Option<Reading>) {
    let mut faults = Faults::new();
    let Some(outer) = outer(bytes, false, &mut faults) else { return (faults, None) };
    let Some(rest) = bytes.get(outer.start..outer.total) else {
        faults.insert("truncated");
        return (faults, None);
    };
    let (what, ports, header) = match outer.place {
        Place::Behind { .. } => {
            family(&outer, &mut faults);
            (Some(What::Opaque), [0, 0], 0)
        }
        _ => transport(&outer, rest, &mut faults),
    };
    if !faults.is_empty() {
        return (faults, None);
    }
    let marks = [outer.start, outer.start + header, outer.total];
    let Outer { ends, v4, number, place, .. } = outer;
    (faults, what.map(|what| Reading { ends, v4, number, ports, place, what, marks }))
}

/// `None` if there is nothing behind the header that could be read.
fn outer(bytes: &[u8], quoted: bool, faults: &mut Faults) -> Option<Outer> {
    let version = match bytes.first() {
        None => {
            faults.insert("empty");
            return None;
        }
        Some(first) => first >> 4,
    };
    let outer = match version {
        4 => version_4(bytes, quoted, faults)?,
        6 => version_6(bytes, quoted, faults)?,
        _ => {
            faults.insert("not-ip");
            return None;
        }
    };
    let [from, to] = outer.ends;
    let rules = [
        (EXTENSIONS.contains(&outer.number), "extension-header"),
        (!for_a_node(from, outer.v4), "bad-source-address"),
        (!for_a_node(to, outer.v4), "bad-destination-address"),
        (from == to, "same-source-and-destination"),
    ];
    faults.extend(rules.iter().filter(|(broken, _)| *broken).map(|(_, name)| *name));
    Some(outer)
}

fn version_4(bytes: &[u8], quoted: bool, faults: &mut Faults) -> Option<Outer> {
    let Some(head) = bytes.get(..20) else {
        faults.insert("truncated");
        return None;
    };
    let get = |at, len| field(head, at, len).unwrap_or_default();
    let words = get(0, 1) & 15;
    let total = get(2, 2) as usize;
    let mut rules = vec![
        (words < 5, "ipv4-header-length"),
        (words > 5, "ipv4-options"),
        (total < 20 || (total > bytes.len() && !quoted), "truncated"),
        (get(6, 2) & 0x8000 != 0, "ipv4-flags"),
        (get(8, 1) == 0 && !quoted, "hop-limit-zero"),
        (!quoted && ones_sum(head) != 0xffff, "ipv4-checksum"),
    ];
    let (more, from) = (get(6, 2) & 0x2000 != 0, (get(6, 2) & 0x1fff) as usize * 8);
    let len = total.saturating_sub(20);
    let place = piece(get(4, 2) as u32, from, len, more);
    rules.push((place.is_none(), "fragment-shape"));
    faults.extend(rules.iter().filter(|(broken, _)| *broken).map(|(_, name)| *name));
    Some(Outer {
        ends: [get(12, 4), get(16, 4)],
        v4: true,
        number: get(9, 1) as u8,
        start: 20,
        total,
        place: place.filter(|_| total >= 20 && words == 5)?,
    })
}

fn version_6(bytes: &[u8], quoted: bool, faults: &mut Faults) -> Option<Outer> {
    let jumbo = field(bytes, 4, 2) == Some(0) && field(bytes, 6, 1) == Some(0);
    if jumbo {
        faults.insert("jumbogram");
    }
    let Some(head) = bytes.get(..40) else {
        faults.insert("truncated");
        return None;
    };
    let get = |at, len| field(head, at, len).unwrap_or_default();
    let total = 40 + get(4, 2) as usize;
    let rules =
        [(total > bytes.len() && !quoted, "truncated"), (get(7, 1) == 0 && !quoted, "hop-limit-zero")];
    faults.extend(rules.iter().filter(|(broken, _)| *broken).map(|(_, name)| *name));
    let outer = Outer {
        ends: [get(8, 16), get(24, 16)],
        v4: false,
        number: get(6, 1) as u8,
        start: 40,
        total,
        place: Place::Whole,
    };
    if outer.number != 44 { Some(outer) } else { behind_44(bytes, outer, faults) }
}

/// The one extension header that is read: Fragment (RFC 8200 section 4.5).
fn behind_44(bytes: &[u8], outer: Outer, faults: &mut Faults) -> Option<Outer> {
    if outer.total < 48 {
        faults.insert("fragment-shape");
    }
    let Some(head) = field(bytes, 40, 8) else {
        faults.insert("truncated");
        return None;
    };
    let (from, more) = ((head >> 32 & 0xfff8) as usize, head >> 32 & 1 == 1);
    let place = piece(head as u32, from, outer.total.saturating_sub(48), more);
    // Reserved: the second byte, and the two bits before "more".
    if head >> 48 & 0xff != 0 || head >> 33 & 3 != 0 || place.is_none() {
        faults.insert("fragment-shape");
    }
    Some(Outer {
        number: (head >> 56) as u8,
        start: 48,
        place: place.filter(|_| outer.total >= 48)?,
        ..outer
    })
}

/// `None`: no piece of a packet can look like this.
fn piece(id: u32, from: usize, len: usize, more: bool) -> Option<Place> {
    if !more && from == 0 {
        return Some(Place::Whole);
    }
    let shaped = len > 0 && len <= 0xffff && from + len <= 0xffff - 20 && (!more || len.is_multiple_of(8));
    shaped.then_some(match from {
        0 => Place::Front { id, len },
        _ => Place::Behind { id, from, to: from + len, last: !more },
    })
}

/// RFC 1071 with carry at once.
pub fn ones_sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) * 256 + pair.get(1).map_or(0, |low| u32::from(*low));
    bytes.chunks(2).map(word).fold(0, |sum, word| (sum + word) % 65_536 + (sum + word) / 65_536)
}

/// ICMP belongs to IPv4, ICMPv6 to IPv6.
fn family(outer: &Outer, faults: &mut Faults) {
    if outer.number == if outer.v4 { 58 } else { 1 } {
        faults.insert("icmp-family");
    }
}

fn transport(outer: &Outer, rest: &[u8], faults: &mut Faults) -> (Option<What>, [u16; 2], usize) {
    let front = outer.place != Place::Whole;
    let short = if front { "tiny-fragment" } else { "truncated" };
    family(outer, faults);
    match outer.number {
        6 => tcp(rest, short, faults),
        17 => udp(outer.v4, rest, front, short, faults),
        1 | 58 => icmp(outer, rest, front, short, faults),
        _ => (Some(What::Opaque), [0, 0], 0),
    }
}

fn two_ports(rest: &[u8], faults: &mut Faults) -> [u16; 2] {
    let ports = [0, 2].map(|at| field(rest, at, 2).unwrap_or_default() as u16);
    if ports.contains(&0) {
        faults.insert("port-zero");
    }
    ports
}

fn tcp(rest: &[u8], short: &'static str, faults: &mut Faults) -> (Option<What>, [u16; 2], usize) {
    if rest.len() < 20 {
        faults.insert(short);
        return (None, [0, 0], 0);
    }
    let get = |at, len| field(rest, at, len).unwrap_or_default();
    let header = (get(12, 1) >> 4) as usize * 4;
    let flags = get(13, 1) as u8;
    let bit = |n: u8| flags >> n & 1 == 1;
    let (fin, syn, rst, ack) = (bit(0), bit(1), bit(2), bit(4));
    // At most one of the three turns; data and FIN always acknowledge.
    let sane = match (fin, syn, rst) {
        (false, true, false) | (false, false, true) => true,
        (_, false, false) => ack,
        _ => false,
    };
    let rules = [(header < 20, "tcp-header"), (header > rest.len(), short), (!sane, "tcp-flags")];
    faults.extend(rules.iter().filter(|(broken, _)| *broken).map(|(_, name)| *name));
    let ports = two_ports(rest, faults);
    let what = What::Tcp {
        flags,
        seq: get(4, 4) as u32,
        ack: get(8, 4) as u32,
        window: get(14, 2) as u16,
        carries: rest.len().saturating_sub(header),
    };
    (Some(what), ports, header)
}

fn udp(
    v4: bool,
    rest: &[u8],
    front: bool,
    short: &'static str,
    faults: &mut Faults,
) -> (Option<What>, [u16; 2], usize) {
    if rest.len() < 8 {
        faults.insert(short);
        return (None, [0, 0], 0);
    }
    let says = field(rest, 4, 2).unwrap_or_default() as usize;
    let right = says >= 8 && if front { says > rest.len() } else { says == rest.len() };
    if !right {
        faults.insert("udp-length");
    }
    if !v4 && field(rest, 6, 2) == Some(0) {
        faults.insert("udp-checksum-missing");
    }
    (Some(What::Udp), two_ports(rest, faults), 8)
}

fn icmp(
    outer: &Outer,
    rest: &[u8],
    front: bool,
    short: &'static str,
    faults: &mut Faults,
) -> (Option<What>, [u16; 2], usize) {
    if rest.len() < 8 {
        faults.insert(short);
        return (None, [0, 0], 0);
    }
    let table: &[(u8, u8)] = if outer.v4 { &ERRORS_4 } else { &ERRORS_6 };
    if !table.iter().any(|(kind, top)| rest[0] == *kind && rest[1] <= *top) {
        let echo = echo(outer.v4, rest, faults);
        return (echo.as_ref().map(|e| e.0.clone()), echo.map_or([0, 0], |e| e.1), 8);
    }
    if front {
        faults.insert("fragment-shape");
    }
    let mut inside = Faults::new();
    let quote = quotation(outer.v4, &rest[8..], &mut inside);
    if quote.is_none() || !inside.is_empty() {
        faults.insert("icmp-error-quote");
    }
    (quote, [0, 0], 8)
}

fn echo(v4: bool, rest: &[u8], faults: &mut Faults) -> Option<(What, [u16; 2])> {
    let id = field(rest, 4, 2)? as u16;
    let [ask, answer] = if v4 { [8, 0] } else { [128, 129] };
    match (rest[0], rest[1]) {
        (kind, 0) if kind == ask => Some((What::Ask, [id, 0])),
        (kind, 0) if kind == answer => Some((What::Answer, [0, id])),
        _ => {
            faults.insert("icmp-type");
            None
        }
    }
}

/// The packet an error speaks about: of the same family, not a later fragment, with eight bytes behind its header.
fn quotation(v4: bool, bytes: &[u8], faults: &mut Faults) -> Option<What> {
    let inner = outer(bytes, true, faults)?;
    let rest = bytes.get(inner.start..inner.total.min(bytes.len()))?;
    if inner.v4 != v4 || matches!(inner.place, Place::Behind { .. }) || rest.len() < 8 {
        faults.insert("quotation");
    }
    family(&inner, faults);
    let (ports, seq, answer) = match inner.number {
        6 => (two_ports(rest, faults), field(rest, 4, 4).map(|seq| seq as u32), false),
        17 => (two_ports(rest, faults), None, false),
        1 | 58 => {
            let (what, ports) = echo(inner.v4, rest.get(..8)?, faults)?;
            (ports, None, what == What::Answer)
        }
        _ => ([0, 0], None, false),
    };
    Some(What::Error { number: inner.number, ends: inner.ends, ports, seq, answer })
}

/// Bytes as a fuzzer gives them: the first says what is repaired in the rest, so that mutation gets behind lengths and
/// checksum as often as it is stopped by them.
pub fn repaired(data: &[u8]) -> Vec<u8> {
    let Some((wish, bytes)) = data.split_first() else { return Vec::new() };
    let mut bytes = bytes.to_vec();
    let version = bytes.first().map_or(0, |first| first >> 4);
    let len = bytes.len();
    if wish & 1 != 0 && version == 4 && len >= 20 {
        bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    }
    if wish & 1 != 0 && version == 6 && len >= 40 {
        bytes[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    }
    if wish & 2 != 0 && version == 4 && len >= 20 {
        bytes[10..12].fill(0);
        let sum = !ones_sum(&bytes[..20]) as u16;
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}
