use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use warren_config::policy::Protocol;

use super::ends;
use crate::packet::bytes::{put, put_u16};
use crate::packet::forge::{self, ACK, SYN};
use crate::packet::{DropReason, Fragment, Kind, Packet, checksum, classify};

fn reason(bytes: &[u8]) -> DropReason {
    classify(bytes).expect_err("must be refused")
}

/// Changes one IPv4 header field and makes the header checksum right again.
fn v4_with<const N: usize>(mut packet: Vec<u8>, at: usize, value: [u8; N]) -> Vec<u8> {
    put(&mut packet, at, value);
    checksum::set_ipv4_header(&mut packet);
    packet
}

fn tcp(v4: bool) -> Vec<u8> {
    forge::tcp(ends(v4, Protocol::Tcp), SYN, 7, 0, b"hello")
}

#[test]
fn honest_packets_are_read() {
    for v4 in [true, false] {
        let l4 = if v4 { 20 } else { 40 };
        let read = classify(&tcp(v4)).unwrap();
        assert_eq!((read.tuple, read.l4, read.payload), (ends(v4, Protocol::Tcp), l4, l4 + 20));
        assert!(
            matches!(read.kind, Kind::Tcp(tcp) if tcp.seq == 7 && tcp.len == 5 && tcp.flags.is_syn_only())
        );
        let read = classify(&forge::udp(ends(v4, Protocol::Udp), b"x")).unwrap();
        assert_eq!((read.tuple, read.kind), (ends(v4, Protocol::Udp), Kind::Udp));
        let ask = classify(&forge::echo(ends(v4, Protocol::IcmpEcho), false, b"")).unwrap();
        assert_eq!((ask.kind, ask.tuple.sport, ask.tuple.dport), (Kind::EchoRequest, 40_000, 0));
    }
}

#[test]
fn bytes_behind_the_packet_are_not_part_of_it() {
    let mut packet = tcp(true);
    let len = packet.len();
    packet.extend([0xee; 9]);
    assert_eq!(classify(&packet).unwrap().total, len);
}

#[test]
fn pf_11_malformed_ipv4_is_refused_by_name() {
    let p = || tcp(true);
    assert_eq!(reason(&[]), DropReason::Empty);
    assert_eq!(reason(&[0x50; 40]), DropReason::NotIp);
    assert_eq!(reason(&p()[..19]), DropReason::Truncated);
    assert_eq!(reason(&p()[..30]), DropReason::Truncated);
    assert_eq!(reason(&v4_with(p(), 0, [0x44])), DropReason::Ipv4HeaderLength);
    assert_eq!(reason(&v4_with(p(), 0, [0x46])), DropReason::Ipv4Options);
    assert_eq!(reason(&v4_with(p(), 2, 19u16.to_be_bytes())), DropReason::Truncated);
    assert_eq!(reason(&v4_with(p(), 2, 60_000u16.to_be_bytes())), DropReason::Truncated);
    assert_eq!(reason(&v4_with(p(), 6, [0x80])), DropReason::Ipv4Flags);
    assert_eq!(reason(&v4_with(p(), 8, [0])), DropReason::HopLimitZero);
    assert_eq!(reason(&v4_with(p(), 16, [100, 64, 0, 1])), DropReason::Land);
    let mut bad = p();
    bad[10] ^= 1;
    assert_eq!(reason(&bad), DropReason::Ipv4Checksum);
}

#[test]
fn pf_01_addresses_that_no_node_can_have_are_refused() {
    for source in [[0, 0, 0, 0], [127, 0, 0, 1], [169, 254, 1, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
        assert_eq!(reason(&v4_with(tcp(true), 12, source)), DropReason::BadSource, "{source:?}");
        assert_eq!(reason(&v4_with(tcp(true), 16, source)), DropReason::BadDestination, "{source:?}");
    }
    for source in ["::", "::1", "fe80::1", "ff02::1", "::ffff:100.64.0.1", "64:ff9b::1", "::7", "2002::1"] {
        let octets = source.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let mut packet = tcp(false);
        put(&mut packet, 8, octets);
        assert_eq!(reason(&packet), DropReason::BadSource, "{source}");
    }
}

#[test]
fn pf_07_every_extension_header_chain_is_refused() {
    for next in [0u8, 43, 59, 60, 135, 139, 140] {
        let mut packet = tcp(false);
        packet[6] = next;
        assert_eq!(reason(&packet), DropReason::ExtensionHeader, "{next}");
        let mut packet = forge::fragment(&tcp(false), 1, 0, 24);
        packet[40] = next;
        assert_eq!(reason(&packet), DropReason::ExtensionHeader, "44 then {next}");
    }
    let mut jumbo = tcp(false);
    put(&mut jumbo, 4, [0, 0, 0]);
    assert_eq!(reason(&jumbo), DropReason::Jumbogram);
}

#[test]
fn pf_09_every_protocol_number_is_itself_or_refused() {
    for v4 in [true, false] {
        let ends = ends(v4, Protocol::Tcp);
        for number in 0..=255u8 {
            // What looks like TCP to port 443 behind it never becomes TCP.
            let inner = tcp(v4)[if v4 { 20 } else { 40 }..].to_vec();
            match classify(&forge::raw(ends.src, ends.dst, number, &inner)) {
                Ok(packet) if number == 6 => assert_eq!(packet.tuple.protocol, Protocol::Tcp),
                Ok(packet) => {
                    assert_eq!(packet.tuple.protocol, Protocol::Number(number));
                    assert_eq!((packet.tuple.sport, packet.tuple.dport), (0, 0));
                    assert!(![1, 6, 17, 58].contains(&number));
                }
                Err(_) => {
                    assert!([0, 1, 17, 43, 44, 58, 59, 60, 135, 139, 140].contains(&number), "{number}")
                }
            }
        }
    }
}

#[test]
fn pf_12_flag_sets_that_no_tcp_sends_are_refused() {
    for flags in 0..=63u8 {
        let packet = forge::tcp(ends(true, Protocol::Tcp), flags, 1, 1, b"");
        let honest = [0x02, 0x12, 0x10, 0x11, 0x04, 0x14].contains(&(flags & 0x17));
        assert_eq!(classify(&packet).is_ok(), honest, "{flags:#x}");
    }
    let mut short = tcp(true);
    short[32] = 4 << 4;
    assert_eq!(reason(&short), DropReason::TcpHeader);
    short[32] = 15 << 4;
    assert_eq!(reason(&short), DropReason::Truncated);
}

#[test]
fn udp_lengths_and_missing_checksums_are_refused() {
    for v4 in [true, false] {
        let at = if v4 { 24 } else { 44 };
        for len in [0u16, 7, 12, 14, 65_535] {
            let mut packet = forge::udp(ends(v4, Protocol::Udp), b"hello");
            put_u16(&mut packet, at, len);
            assert_eq!(reason(&packet), DropReason::UdpLength);
        }
        let mut packet = forge::udp(ends(v4, Protocol::Udp), b"hello");
        put_u16(&mut packet, at + 2, 0);
        assert_eq!(classify(&packet).is_ok(), v4);
        put_u16(&mut packet, at - 2, 0);
        assert_eq!(reason(&packet), DropReason::PortZero);
    }
}

#[test]
fn pf_20_only_echo_and_the_four_errors_are_icmp() {
    for v4 in [true, false] {
        let ends = ends(v4, Protocol::Tcp);
        let quote = tcp(v4);
        let known: &[u8] = if v4 { &[0, 3, 8, 11, 12] } else { &[1, 2, 3, 4, 128, 129] };
        for kind in 0..=255u8 {
            let packet = forge::icmp(ends.dst, ends.src, kind, 0, &quote);
            assert_eq!(classify(&packet).is_ok(), known.contains(&kind), "{kind}");
        }
    }
    let ends = ends(true, Protocol::Tcp);
    assert_eq!(
        reason(&forge::raw(ends.src, ends.dst, 58, &[128, 0, 0, 0, 0, 0, 0, 0])),
        DropReason::IcmpFamily
    );
}

#[test]
fn pf_17_errors_quote_one_exact_flow_or_are_refused() {
    let ends = ends(true, Protocol::Tcp);
    let error = |quote: &[u8]| classify(&forge::icmp(ends.dst, ends.src, 3, 1, quote));
    let read = error(&tcp(true)[..28]).unwrap();
    assert!(matches!(read.kind, Kind::IcmpError(quoted) if quoted.tuple == ends && quoted.seq == Some(7)));
    assert_eq!(error(&tcp(true)[..27]), Err(DropReason::IcmpQuote));
    assert_eq!(error(&tcp(false)), Err(DropReason::IcmpQuote));
    assert_eq!(error(b""), Err(DropReason::IcmpQuote));
    let nested = forge::icmp(ends.src, ends.dst, 3, 1, &tcp(true));
    assert_eq!(error(&nested), Err(DropReason::IcmpQuote));
    let long = forge::tcp(ends, ACK, 1, 1, &[0; 64]);
    assert_eq!(error(&forge::fragment(&long, 1, 32, 32)), Err(DropReason::IcmpQuote));
    // What stands behind the quoted packet is not part of it.
    let mut short = tcp(true)[..28].to_vec();
    short[2..4].copy_from_slice(&24u16.to_be_bytes());
    assert_eq!(error(&short), Err(DropReason::IcmpQuote));
}

#[test]
fn pf_05_tiny_and_shapeless_fragments_are_refused() {
    for v4 in [true, false] {
        let packet = forge::tcp(ends(v4, Protocol::Tcp), ACK, 1, 1, &[1; 200]);
        assert_eq!(reason(&forge::fragment(&packet, 1, 0, 8)), DropReason::TinyFragment);
        assert_eq!(reason(&forge::fragment(&packet, 1, 0, 12)), DropReason::FragmentShape);
        let first = classify(&forge::fragment(&packet, 1, 0, 24)).unwrap();
        assert_eq!(first.fragment, Fragment::First { id: 1, len: 24 });
        let later = classify(&forge::fragment(&packet, 1, 24, 24)).unwrap();
        assert_eq!(later.kind, Kind::LaterFragment { number: 6 });
        assert_eq!(later.fragment, Fragment::Later { id: 1, offset: 24, len: 24, last: false });
    }
    // An offset near the end: the whole would be longer than an IP packet can be.
    let far = v4_with(forge::fragment(&tcp(true), 1, 0, 400), 6, 0x1fff_u16.to_be_bytes());
    assert_eq!(reason(&far), DropReason::FragmentShape);
}

/// What a second, independent parser says about an accepted packet.
fn judge_agrees(bytes: &[u8], ours: &Packet) -> Result<(), TestCaseError> {
    // etherparse reads into AH and IGMP; for us they are protocols of their own.
    if let Protocol::Number(2 | 51) = ours.tuple.protocol {
        return Ok(());
    }
    let theirs = SlicedPacket::from_ip(&bytes[..ours.total]);
    prop_assert!(theirs.is_ok(), "we accept {ours:?}, etherparse says {theirs:?}");
    let theirs = theirs.unwrap();
    let (src, dst, number): (std::net::IpAddr, std::net::IpAddr, u8) = match theirs.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let head = ip.header();
            (head.source_addr().into(), head.destination_addr().into(), ip.payload().ip_number.0)
        }
        NetSlice::Ipv6(ip) => {
            let head = ip.header();
            (head.source_addr().into(), head.destination_addr().into(), ip.payload().ip_number.0)
        }
        NetSlice::Arp(_) => panic!("no ARP in an IP packet"),
    };
    prop_assert_eq!((src, dst), (ours.tuple.src, ours.tuple.dst));
    let ours_number = match ours.tuple.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::IcmpEcho if ours.is_v4() => 1,
        Protocol::IcmpEcho => 58,
        Protocol::Number(number) => number,
    };
    prop_assert_eq!(number, ours_number);
    match (&theirs.transport, ours.kind) {
        (Some(TransportSlice::Tcp(tcp)), Kind::Tcp(mine)) => {
            prop_assert_eq!(
                (tcp.source_port(), tcp.destination_port()),
                (ours.tuple.sport, ours.tuple.dport)
            );
            prop_assert_eq!(
                (tcp.sequence_number(), tcp.syn(), tcp.rst()),
                (mine.seq, mine.flags.has(2), mine.flags.has(4))
            );
            prop_assert_eq!(tcp.payload().len(), mine.len as usize);
        }
        (Some(TransportSlice::Udp(udp)), Kind::Udp) => {
            prop_assert_eq!(
                (udp.source_port(), udp.destination_port()),
                (ours.tuple.sport, ours.tuple.dport)
            );
        }
        (Some(TransportSlice::Icmpv4(_)), Kind::EchoRequest | Kind::EchoReply | Kind::IcmpError(_)) => {}
        (Some(TransportSlice::Icmpv6(_)), Kind::EchoRequest | Kind::EchoReply | Kind::IcmpError(_)) => {}
        (_, Kind::Other) => {}
        (None, _) => {
            prop_assert!(ours.fragment != Fragment::None, "etherparse found no transport in {:?}", ours)
        }
        (theirs, mine) => prop_assert!(false, "{theirs:?} against {mine:?}"),
    }
    Ok(())
}

/// Packets that were honest once: a seed, some bytes changed, perhaps cut, IPv4 checksum often repaired.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let seed = (0usize..8, any::<bool>(), 0usize..200).prop_map(|(kind, v4, len)| {
        let payload = vec![0xab; len];
        let udp = forge::udp(ends(v4, Protocol::Udp), &payload);
        let tcp = forge::tcp(ends(v4, Protocol::Tcp), ACK, 5, 6, &payload);
        match kind {
            0 => tcp,
            1 => udp,
            2 => forge::echo(ends(v4, Protocol::IcmpEcho), false, &payload),
            3 => forge::echo(ends(v4, Protocol::IcmpEcho), true, &payload),
            4 => forge::icmp(
                ends(v4, Protocol::Tcp).dst,
                ends(v4, Protocol::Tcp).src,
                if v4 { 3 } else { 1 },
                0,
                &tcp,
            ),
            5 if len > 40 => forge::fragment(&udp, 9, 0, 24),
            6 if len > 40 => forge::fragment(&tcp, 9, 32, 8),
            _ => forge::raw(
                ends(v4, Protocol::Tcp).src,
                ends(v4, Protocol::Tcp).dst,
                (len % 256) as u8,
                &payload,
            ),
        }
    });
    let changes = prop::collection::vec((0usize..80, any::<u8>()), 0..4);
    (seed, changes, 0usize..4, any::<bool>()).prop_map(|(mut packet, changes, cut, repair)| {
        for (at, value) in changes {
            put(&mut packet, at, [value]);
        }
        packet.truncate(packet.len().saturating_sub(if cut == 3 { 7 } else { 0 }));
        if repair && packet.first().is_some_and(|first| first >> 4 == 4) {
            checksum::set_ipv4_header(&mut packet);
        }
        packet
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn pf_28_what_we_accept_a_second_parser_reads_the_same_way(packet in mutated()) {
        if let Ok(ours) = classify(&packet) {
            judge_agrees(&packet, &ours)?;
        }
    }

    #[test]
    fn pf_28_no_bytes_make_the_classifier_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..160), v in 0u8..3) {
        match (v, bytes.first_mut()) {
            (1, Some(first)) => *first = 0x45,
            (2, Some(first)) => *first = 0x60,
            _ => {}
        }
        if let Ok(ours) = classify(&bytes) {
            prop_assert!(ours.l4 <= ours.payload && ours.payload <= ours.total && ours.total <= bytes.len());
            judge_agrees(&bytes, &ours)?;
        }
    }
}
