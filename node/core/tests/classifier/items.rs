//! What attackers send, one kind a test: each is one exact flow or refused by a name of its own, and the second reader
//! agrees.

use warren_config::policy::Protocol;
use warren_node_core::packet::{DropReason, Fragment, Kind, Packet, classify};

use crate::build::{icmp, icmp_number, ip, piece, sealed, tcp, udp, v4_with, v6};
use crate::judge;

const FAMILIES: [bool; 2] = [true, false];
const SYN: u8 = 2;
const ACK: u8 = 16;

#[track_caller]
fn refused(bytes: &[u8]) -> DropReason {
    judge::check(bytes);
    classify(bytes).expect_err("must be refused")
}

#[track_caller]
fn read(bytes: &[u8]) -> Packet {
    judge::check(bytes);
    classify(bytes).unwrap_or_else(|reason| panic!("refused: {reason}"))
}

#[test]
fn ipv4_options_are_refused_whatever_they_say() {
    let options: [&[u8]; 8] = [
        &[0; 4],                    // end of list
        &[1; 40],                   // as many no-operations as fit
        &[7, 7, 4, 0, 0, 0, 0, 0],  // record route
        &[68, 8, 5, 0, 0, 0, 0, 0], // timestamp
        &[148, 4, 0, 0],            // router alert
        &[130, 3, 0, 0],            // security
        &[136, 4, 0, 1],            // stream id
        &[0xff, 0, 0xff, 0xff],     // of length 0
    ];
    for list in options {
        assert_eq!(refused(&v4_with(6, list, &tcp(SYN, b""))), DropReason::Ipv4Options, "{list:?}");
        // What looks like a second transport header where a careless reader would look for one.
        let twice = [&tcp(SYN, b"")[..], &tcp(SYN, b"")].concat();
        assert_eq!(refused(&v4_with(6, list, &twice)), DropReason::Ipv4Options, "{list:?}");
    }
}

#[test]
fn source_routing_is_refused_in_both_families() {
    for kind in [131, 137] {
        let route = [kind, 7, 4, 10, 0, 0, 1, 0];
        assert_eq!(refused(&v4_with(6, &route, &tcp(SYN, b""))), DropReason::Ipv4Options);
    }
    for kind in 0..=255u8 {
        // Routing header (RFC 8200 section 4.4) with one address, of every type: 0 is the deprecated source route.
        let mut route = vec![6, 2, kind, 1, 0, 0, 0, 0];
        route.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        route.extend(tcp(SYN, b""));
        assert_eq!(refused(&v6(43, &route)), DropReason::ExtensionHeader, "type {kind}");
    }
}

#[test]
fn fragments_first_and_later_keep_the_flow_of_the_first() {
    for v4 in FAMILIES {
        let first = read(&piece(v4, 6, 7, 0, true, &tcp(ACK, &[1; 12])));
        assert_eq!(first.fragment, Fragment::First { id: 7, len: 32 });
        assert_eq!((first.tuple.sport, first.tuple.dport), (40_000, 443));
        for (from, more) in [(32, true), (32, false), (8, true), (65_000, true), (65_488, false)] {
            let later = read(&piece(v4, 6, 7, from, more, &[2; 16]));
            assert_eq!(later.fragment, Fragment::Later { id: 7, offset: from, len: 16, last: !more });
            assert_eq!(later.kind, Kind::LaterFragment { number: 6 });
            assert_eq!((later.tuple.sport, later.tuple.dport), (0, 0), "it has no ports of its own");
            assert!(!later.opens());
        }
    }
}

#[test]
fn tiny_fragments_are_refused() {
    for v4 in FAMILIES {
        for (number, whole, least) in [
            (6, tcp(SYN, &[0; 44]), 24),
            (17, udp(&[0; 56]), 8),
            (icmp_number(v4), icmp(if v4 { 8 } else { 128 }, 0, &[0; 56]), 8),
        ] {
            for len in (8..=56).step_by(8) {
                let packet = piece(v4, number, 1, 0, true, &whole[..len]);
                match len >= least {
                    true => assert!(read(&packet).opens()),
                    false => assert_eq!(refused(&packet), DropReason::TinyFragment, "{number} with {len}"),
                }
            }
        }
    }
}

#[test]
fn fragments_without_shape_are_refused() {
    for v4 in FAMILIES {
        let shapeless = [
            (0, true, 0),
            (8, true, 0),
            (8, false, 0),
            (8, true, 13),
            (65_528, false, 1),
            (65_512, false, 8),
        ];
        for (from, more, len) in shapeless {
            let reason = refused(&piece(v4, 17, 1, from, more, &vec![0; len]));
            assert_eq!(reason, DropReason::FragmentShape, "{from} {more} {len}");
        }
        // An ICMP error is never cut by an honest host: it quotes only what fits.
        let error = icmp(if v4 { 3 } else { 1 }, 0, &ip(v4, 17, &udp(b"x")));
        assert_eq!(refused(&piece(v4, icmp_number(v4), 1, 0, true, &error[..32])), DropReason::FragmentShape);
    }
    let mut reserved = piece(false, 17, 1, 8, true, &[0; 8]);
    for (at, bit) in [(41, 1), (41, 0x80), (43, 2), (43, 4)] {
        reserved[at] ^= bit;
        assert_eq!(refused(&reserved), DropReason::FragmentShape, "byte {at}");
        reserved[at] ^= bit;
    }
    read(&reserved);
}

/// All orders and numbers of extension headers, up to as many as fit: none of them passes.
#[test]
fn ipv6_extension_headers_in_any_order_and_number_are_refused() {
    let kinds = [0u8, 43, 44, 60, 135, 139, 140];
    let chain = |chain: &[u8], last: u8| {
        let mut payload = Vec::new();
        for (at, kind) in chain.iter().enumerate() {
            let next = chain.get(at + 1).copied().unwrap_or(last);
            // Fragment is 8 bytes whatever its second byte says; the others count 8-byte units after the first.
            let body = if *kind == 44 { [next, 0, 0, 0, 0, 0, 0, 1] } else { [next, 0, 1, 4, 0, 0, 0, 0] };
            payload.extend(body);
        }
        v6(chain[0], &[&payload[..], &tcp(SYN, b"hello")].concat())
    };
    for a in kinds {
        for b in kinds {
            assert_eq!(refused(&chain(&[a, b], 6)), DropReason::ExtensionHeader, "{a} {b}");
            for c in kinds {
                for last in [6, 17, 58, 59] {
                    assert_eq!(refused(&chain(&[a, b, c], last)), DropReason::ExtensionHeader, "{a} {b} {c}");
                }
            }
        }
        for count in [8, 47, 150] {
            assert_eq!(refused(&chain(&vec![a; count], 6)), DropReason::ExtensionHeader, "{count} times {a}");
        }
        if a != 44 {
            assert_eq!(refused(&chain(&[a], 6)), DropReason::ExtensionHeader);
        }
    }
    // The one that is read: a Fragment header on a whole packet is a whole packet (RFC 6946).
    let atomic = read(&chain(&[44], 6));
    assert_eq!((atomic.fragment, atomic.l4, atomic.tuple.dport), (Fragment::None, 48, 443));
    // Lengths at the edges of the eight bits.
    for len in [0, 1, 30, 254, 255] {
        let mut long = vec![6, len];
        long.resize((usize::from(len) + 1) * 8, 0);
        long.extend(tcp(SYN, b""));
        assert_eq!(refused(&v6(60, &long)), DropReason::ExtensionHeader);
    }
}

#[test]
fn jumbograms_are_refused() {
    // Payload length 0 and a hop-by-hop header with the jumbo option (RFC 2675).
    let mut body = vec![6, 0, 0xc2, 4, 0, 1, 0, 8];
    body.extend(tcp(SYN, &[0; 70_000 - 28]));
    let mut jumbo = v6(0, &body);
    jumbo[4..6].fill(0);
    assert_eq!(refused(&jumbo), DropReason::Jumbogram);
    assert_eq!(refused(&jumbo[..60]), DropReason::Jumbogram);
    // With a length of its own as well.
    jumbo[4..6].copy_from_slice(&100u16.to_be_bytes());
    assert_eq!(refused(&jumbo), DropReason::ExtensionHeader);
    // Without the header it is an empty packet, and bytes behind it are nobody's.
    let mut empty = v6(6, &tcp(SYN, b""));
    empty[4..6].fill(0);
    assert_eq!(refused(&empty), DropReason::Truncated);
}

/// ESP, AH, SCTP, GRE, IGMP, DCCP, UDP-Lite, and numbers nobody has: each is itself, with no ports to be mistaken for.
#[test]
fn esp_ah_sctp_gre_igmp_and_unknown_protocols_are_only_their_number() {
    for v4 in FAMILIES {
        for number in [2, 33, 47, 50, 51, 103, 112, 115, 132, 136, 137, 143, 200, 253, 254, 255] {
            for inside in [tcp(SYN, b"x"), udp(b"x"), vec![], vec![6; 3], vec![17, 4, 0, 0, 6, 6, 6, 6]] {
                let packet = read(&ip(v4, number, &inside));
                assert_eq!(packet.tuple.protocol, Protocol::Number(number));
                assert_eq!((packet.kind, packet.tuple.sport, packet.tuple.dport), (Kind::Other, 0, 0));
                assert_eq!(packet.l4, packet.payload);
            }
        }
    }
}

#[test]
fn udp_lite_is_not_udp() {
    for v4 in FAMILIES {
        let mut lite = udp(b"partly covered");
        lite[4..6].copy_from_slice(&8u16.to_be_bytes()); // coverage instead of length (RFC 3828)
        assert_eq!(read(&ip(v4, 136, &lite)).tuple.protocol, Protocol::Number(136));
        assert_eq!(refused(&ip(v4, 17, &lite)), DropReason::UdpLength);
    }
}

#[test]
fn tcp_flag_nonsense_is_refused() {
    for v4 in FAMILIES {
        for flags in 0..=255u8 {
            let packet = ip(v4, 6, &tcp(flags, b"x"));
            match flags & 0x17 {
                0x02 | 0x12 | 0x10 | 0x11 | 0x04 | 0x14 => {
                    let opens = read(&packet).opens();
                    assert_eq!(opens, flags & 0x12 == 0x02 && flags & 4 == 0, "{flags:#x}");
                }
                _ => assert_eq!(refused(&packet), DropReason::TcpFlags, "{flags:#x}"),
            }
        }
        for words in 0..16 {
            let mut segment = tcp(ACK, &[0; 16]);
            segment[12] = words << 4;
            let packet = ip(v4, 6, &segment);
            match words {
                0..5 => assert_eq!(refused(&packet), DropReason::TcpHeader),
                5..=9 => assert_eq!(read(&packet).payload - read(&packet).l4, usize::from(words) * 4),
                _ => assert_eq!(refused(&packet), DropReason::Truncated),
            }
        }
    }
}

/// 77 kinds of forged quotations, and what else an error can lie about.
#[test]
fn icmp_errors_quoting_forged_inner_packets_are_refused_or_say_one_flow() {
    for v4 in FAMILIES {
        let kinds: &[(u8, u8)] =
            if v4 { &[(3, 1), (3, 4), (11, 0), (12, 0)] } else { &[(1, 0), (2, 0), (3, 0), (4, 1)] };
        let honest = ip(v4, 6, &tcp(ACK, b""));
        let forged: Vec<Vec<u8>> = vec![
            vec![],
            vec![0; 60],
            honest[..honest.len() - 13].to_vec(),  // seven bytes of TCP
            ip(!v4, 6, &tcp(ACK, b"")),            // the other family
            ip(v4, 6, &[0, 0, 0, 80, 0, 0, 0, 1]), // port 0
            ip(v4, icmp_number(!v4), &icmp(8, 0, b"")), // ICMP of the other family
            ip(v4, icmp_number(v4), &icmp(if v4 { 3 } else { 1 }, 0, &honest)), // an error about an error
            ip(v4, icmp_number(v4), &icmp(if v4 { 5 } else { 137 }, 0, b"")), // a redirect
            piece(v4, 6, 1, 64, true, &[0; 16]),   // a later fragment
            if v4 { v4_with(6, &[1; 4], &tcp(ACK, b"")) } else { v6(0, &[6, 0, 1, 4, 0, 0, 0, 0, 0, 0]) },
            {
                let mut land = honest.clone();
                let (at, n) = if v4 { (12, 4) } else { (8, 16) };
                land.copy_within(at..at + n, at + n);
                land
            },
        ];
        for (kind, code) in kinds {
            for quote in &forged {
                let reason = refused(&ip(v4, icmp_number(v4), &icmp(*kind, *code, quote)));
                assert_eq!(reason, DropReason::IcmpQuote, "{kind}/{code} quoting {quote:02x?}");
            }
            let error = read(&ip(v4, icmp_number(v4), &icmp(*kind, *code, &honest)));
            let Kind::IcmpError(quoted) = error.kind else { panic!("{error:?}") };
            assert_eq!((quoted.tuple.sport, quoted.tuple.dport, quoted.seq), (40_000, 443, Some(7)));
            assert!(!error.opens());
        }
    }
}

/// IP in IP, 6in4, GRE, and a whole packet where a payload should be: the outside is judged, never the inside.
#[test]
fn packets_inside_packets_are_what_their_outside_says() {
    for v4 in FAMILIES {
        for inside in [ip(true, 6, &tcp(SYN, b"")), ip(false, 6, &tcp(SYN, b"")), ip(true, 17, &udp(b"x"))] {
            for number in [4, 41, 94, 97] {
                let packet = read(&ip(v4, number, &inside));
                assert_eq!((packet.tuple.protocol, packet.kind), (Protocol::Number(number), Kind::Other));
            }
            let gre = [&[0, 0, 8, 0][..], &inside].concat();
            assert_eq!(read(&ip(v4, 47, &gre)).tuple.protocol, Protocol::Number(47));
            let carried = read(&ip(v4, 17, &udp(&inside)));
            assert_eq!((carried.tuple.protocol, carried.tuple.dport), (Protocol::Udp, 53));
        }
        // A packet as the first bytes of a TCP or UDP header is only a strange header.
        judge::check(&ip(v4, 6, &ip(true, 6, &tcp(SYN, b""))));
        judge::check(&ip(v4, 17, &ip(true, 6, &tcp(SYN, b""))));
    }
}

#[test]
fn lengths_and_versions_that_lie_are_refused() {
    for v4 in FAMILIES {
        let honest = ip(v4, 6, &tcp(SYN, b"hello"));
        for len in 0..honest.len() {
            refused(&honest[..len]);
        }
        for version in (0..16u8).filter(|v| *v != 4 && *v != 6) {
            let mut other = honest.clone();
            other[0] = version << 4 | other[0] & 15;
            assert_eq!(refused(&other), DropReason::NotIp);
        }
        let longer = [&honest[..], &[0xee; 9]].concat();
        assert_eq!(read(&longer).total, honest.len(), "bytes behind the packet are not part of it");
    }
    for words in 0..5u8 {
        let mut short = v4_with(6, &[], &tcp(SYN, b""));
        short[0] = 0x40 + words;
        assert_eq!(refused(&sealed(short)), DropReason::Ipv4HeaderLength);
    }
}

#[test]
fn a_first_fragment_whose_datagram_would_end_in_it_is_refused() {
    for v4 in [true, false] {
        let mut whole = udp(&[7; 16]);
        for len in [8u16, 16, 24] {
            whole[4..6].copy_from_slice(&len.to_be_bytes());
            assert_eq!(refused(&piece(v4, 17, 9, 0, true, &whole)), DropReason::UdpLength, "{len}");
        }
        whole[4..6].copy_from_slice(&25u16.to_be_bytes());
        read(&piece(v4, 17, 9, 0, true, &whole));
    }
}

#[test]
fn icmp_types_and_codes_end_where_the_standards_end() {
    let codes = |v4: bool, kind: u8, codes: std::ops::RangeInclusive<u8>| {
        let quoted = ip(v4, 17, &udp(b"x"));
        for code in 0..=20 {
            let packet = ip(v4, icmp_number(v4), &icmp(kind, code, &quoted));
            match codes.contains(&code) {
                true => drop(read(&packet)),
                false => assert_eq!(refused(&packet), DropReason::IcmpType, "{kind}/{code}"),
            }
        }
    };
    [(3, 0..=15), (11, 0..=1), (12, 0..=2)].into_iter().for_each(|(kind, range)| codes(true, kind, range));
    [(1, 0..=8), (2, 0..=0), (3, 0..=1), (4, 0..=3)]
        .into_iter()
        .for_each(|(kind, range)| codes(false, kind, range));
}
