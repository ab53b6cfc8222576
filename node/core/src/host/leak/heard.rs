//! What the kernel tells of a packet that was held back, by its packet log (`nfnetlink_log`), and how it is asked to.
//!
//! Netlink messages (RFC 3549 section 2) in the machine's byte order; behind each header four bytes (family, version, group,
//! big-endian) and attributes of type and length. Only the beginning of a packet comes: its headers, none of the question.

use std::net::{IpAddr, SocketAddr};

/// Of a packet: the longest IPv4 header and what ICMP quotes behind it; an IPv6 header and that of TCP.
const COPIED: u32 = 68;

/// `NFNL_SUBSYS_ULOG`, and in it the kernel's messages and ours.
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = (4 << 8) | 1;
/// `NLMSG_ERROR`, which also acknowledges.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const ASKED: u16 = 5;
const HEADER: usize = 16;
const FAMILY: usize = 4;

/// `enum nfulnl_attr_config` and `enum nfulnl_attr_type` of <linux/netfilter/nfnetlink_log.h>.
const BIND: (u16, u8) = (1, 1);
const MODE: u16 = 2;
const COPY_PACKET: u8 = 2;
const AT_ONCE: u16 = 5;
const PAYLOAD: u16 = 9;
const USER: u16 = 11;
/// Marks of an attribute's type that are not part of it.
const TYPE: u16 = 0x3fff;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet to a DNS server that was held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    pub from: SocketAddr,
    pub server: SocketAddr,
    /// Whose socket it was, as a number.
    pub user: Option<u32>,
    pub bytes: u64,
    /// Its beginning, as an ICMP error quotes it.
    pub quote: Vec<u8>,
}

/// Asks for what is logged for `group`, each packet at once. The kernel acknowledges each of the two.
pub fn requests(group: u16) -> [Vec<u8>; 2] {
    let mut mode = COPIED.to_be_bytes().to_vec();
    mode.extend([COPY_PACKET, 0]);
    let settings = [attribute(MODE, &mode), attribute(AT_ONCE, &1_u32.to_be_bytes())].concat();
    [config(group, &attribute(BIND.0, &[BIND.1])), config(group, &settings)]
}

fn config(group: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + FAMILY + attributes.len()).unwrap_or(u32::MAX);
    let [high, low] = group.to_be_bytes();
    let parts: [&[u8]; 6] = [
        &length.to_ne_bytes(),
        &CONFIG.to_ne_bytes(),
        &ASKED.to_ne_bytes(),
        &[0; 8],
        &[0, 0, high, low],
        attributes,
    ];
    parts.concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut out = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// The kernel's word on a request: 0, or an error number. `None`: it is about something else.
pub fn acknowledged(datagram: &[u8]) -> Option<i32> {
    let (kind, body, _) = message(datagram)?;
    let code = body.first_chunk().filter(|_| kind == ERROR)?;
    Some(i32::from_ne_bytes(*code).saturating_neg())
}

/// All packets a datagram tells of; what cannot be read is passed over.
pub fn read(datagram: &[u8]) -> Vec<Tried> {
    let mut left = datagram;
    let mut all = Vec::new();
    while let Some((kind, body, rest)) = message(left) {
        left = rest;
        all.extend(body.get(FAMILY..).filter(|_| kind == PACKET).and_then(tried));
    }
    all
}

/// Type and body of the first message, and what is behind it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let body = bytes.get(HEADER..length)?;
    let behind = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes(*kind), body, behind))
}

fn tried(mut attributes: &[u8]) -> Option<Tried> {
    let (mut packet, mut user) = (None, None);
    while let Some((length, rest)) = attributes.split_first_chunk() {
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = attributes.get(4..length)?;
        match u16::from_ne_bytes(*kind) & TYPE {
            PAYLOAD => packet = Some(value),
            USER => user = value.first_chunk().map(|number| u32::from_be_bytes(*number)),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let quote = packet?;
    let (protocol, source, destination, bytes, transport) = ends(quote)?;
    let ([high, low, to_high, to_low], _) = transport.split_first_chunk()?;
    let end = |ip, high, low| SocketAddr::new(ip, u16::from_be_bytes([high, low]));
    let (from, server) = (end(source, *high, *low), end(destination, *to_high, *to_low));
    matches!(protocol, TCP | UDP).then(|| Tried {
        protocol,
        from,
        server,
        user,
        bytes,
        quote: quote.to_vec(),
    })
}

/// Protocol, source, destination, length and what is behind the IP header. Packets with extension headers, and later
/// fragments, have no ports that could be read here.
fn ends(packet: &[u8]) -> Option<(u8, IpAddr, IpAddr, u64, &[u8])> {
    let length =
        |at: usize| packet.get(at..)?.first_chunk().map(|length| u64::from(u16::from_be_bytes(*length)));
    let first = packet.first()?;
    match first >> 4 {
        4 => {
            let address = |at: usize| packet.get(at..)?.first_chunk::<4>().map(|ip| IpAddr::from(*ip));
            let offset = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?) & 0x1fff;
            let behind = usize::from(first & 0xf).checked_mul(4).filter(|len| *len >= 20 && offset == 0)?;
            Some((*packet.get(9)?, address(12)?, address(16)?, length(2)?, packet.get(behind..)?))
        }
        6 => {
            let address = |at: usize| packet.get(at..)?.first_chunk::<16>().map(|ip| IpAddr::from(*ip));
            Some((
                *packet.get(6)?,
                address(8)?,
                address(24)?,
                length(4)?.saturating_add(40),
                packet.get(40..)?,
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a kernel (6.18) wrote them: a SYN and a datagram from 10.9.9.1 to 10.9.9.5, of root.
    const SYN: &str = "7c00000000040000000000000000000002005334080001000800030005000a0000000000080005000000000308000b000000000008000e0000000000400009004500003c10ae4000400603f70a0909010a0909059de80035452605b000000000a002faf026460000020405b40402080ac35adcfe000000000103030a";
    const DATAGRAM: &str = "6000000000040000000000000000000002005334080001000800030005000a0000000000080005000000000308000b000000000008000e0000000000210009004500001df2d74000401121e10a0909010a090905971600350009263278000000";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn shown(tried: &Tried) -> (u8, String, String, Option<u32>, u64) {
        (tried.protocol, tried.from.to_string(), tried.server.to_string(), tried.user, tried.bytes)
    }

    #[test]
    fn what_a_kernel_told_is_read_also_two_in_one_datagram() {
        let both = [bytes(SYN), bytes(DATAGRAM)].concat();
        let all: Vec<_> = read(&both).iter().map(shown).collect();
        let ends = |port: u16| (format!("10.9.9.1:{port}"), "10.9.9.5:53".to_owned());
        let ((a, to), (b, _)) = (ends(40424), ends(38678));
        assert_eq!(all, [(6, a, to.clone(), Some(0), 60), (17, b, to, Some(0), 29)]);
    }

    #[test]
    fn ipv6_is_read_and_what_has_no_ports_here_is_not() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 9, 17, 64];
        packet.extend([[0xfd; 16], [0xfe; 16]].concat());
        packet.extend([0x12, 0x34, 0, 53, 0, 9, 0, 0, b'x']);
        let told = |packet: &[u8]| {
            let mut message = config(1, &attribute(PAYLOAD, packet));
            message[4..6].copy_from_slice(&PACKET.to_ne_bytes());
            message
        };
        let all = read(&told(&packet));
        assert_eq!((all.len(), all[0].server.port(), all[0].from.port(), all[0].bytes), (1, 53, 0x1234, 49));
        assert_eq!((all[0].user, &all[0].quote), (None, &packet));
        for (at, value) in [(6, 0), (0, 0x50)] {
            let mut other = packet.clone();
            other[at] = value;
            assert_eq!(read(&told(&other)), [], "an extension header, no IP");
        }
        let mut fragment = bytes(DATAGRAM);
        fragment[0x3c + 6 + 4] |= 1;
        let plain = read(&bytes(DATAGRAM));
        assert!(plain.len() == 1 && read(&fragment) != plain, "a later fragment");
    }

    #[test]
    fn requests_are_whole_messages_and_a_refusal_of_the_kernel_is_heard() {
        for request in requests(21_300) {
            let (kind, body, rest) = message(&request).unwrap();
            assert_eq!((kind, rest.len(), body.get(2..4)), (CONFIG, 0, Some(&21_300_u16.to_be_bytes()[..])));
        }
        let mut answer = config(0, &[]);
        answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(acknowledged(&answer), Some(1));
        assert_eq!(acknowledged(&bytes(SYN)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
            acknowledged(&bytes);
        }

        #[test]
        fn nor_does_a_real_message_with_some_bytes_changed_or_cut(
            changes in prop::collection::vec((0_usize..124, any::<u8>()), 1..8), length in 0_usize..125
        ) {
            let mut message = bytes(SYN);
            for (at, value) in changes {
                message[at] = value;
            }
            for tried in read(&message[..length.min(message.len())]) {
                prop_assert!(tried.quote.len() <= message.len());
            }
        }
    }
}
