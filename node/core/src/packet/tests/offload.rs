use proptest::prelude::*;
use warren_config::policy::Protocol;

use super::ends;
use crate::packet::bytes::{put, put_u16};
use crate::packet::forge::{self, ACK};
use crate::packet::merge::{Merger, Offloads, Super};
use crate::packet::reply::too_big;
use crate::packet::split::plan;
use crate::packet::vnet::{Gso, VNET_LEN, Vnet};
use crate::packet::{DropReason, Kind, TcpFlags, checksum, classify};

const BOTH: Offloads = Offloads { tcp: true, udp: true };

/// What the kernel reads: all pieces in a row.
fn written(entry: &Super, arena: &[u8]) -> (Vnet, Vec<u8>) {
    let bytes = entry.pieces.iter().flat_map(|range| arena[range.clone()].to_vec()).collect();
    (Vnet::read(&entry.vnet).unwrap(), bytes)
}

/// The segments of a frame, each checked as a packet of its own.
fn segments(vnet: &Vnet, mut frame: Vec<u8>) -> Vec<Vec<u8>> {
    let plan = plan(vnet, &classify(&frame).unwrap()).unwrap();
    let mut out = Vec::new();
    plan.run(&mut frame, |segment| out.push(segment.to_vec()));
    let bytes: usize = out.iter().map(Vec::len).sum();
    assert_eq!((plan.load().packets as usize, plan.load().bytes as usize), (out.len(), bytes));
    assert_eq!(plan.largest(), out.iter().map(Vec::len).max().unwrap());
    out
}

fn assert_whole(packet: &[u8]) {
    let read = classify(packet).unwrap();
    assert_eq!(read.total, packet.len());
    let number = if read.tuple.protocol == Protocol::Udp { 17 } else { 6 };
    assert!(checksum::transport_holds(packet, read.is_v4(), number, &packet[read.l4..]));
}

/// Coalesces packets in one arena and gives back what is written.
fn coalesce(packets: &[Vec<u8>], offloads: Offloads) -> Vec<(Vnet, Vec<u8>)> {
    let mut arena = packets.concat();
    let mut merger = Merger::new(offloads);
    let mut at = 0;
    for packet in packets {
        merger.push(&mut arena, at, &classify(packet).unwrap());
        at += packet.len();
    }
    let supers = merger.finish(&mut arena).to_vec();
    supers.iter().map(|entry| written(entry, &arena)).collect()
}

/// A stream of segments as a sender without offload makes it; identification counts up.
fn stream(v4: bool, payload: &[u8], size: usize, flags: u8, options: &[u8]) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(size);
    payload
        .chunks(size)
        .enumerate()
        .map(|(index, piece)| {
            let last = index + 1 == count;
            let mut own = ACK | flags & TcpFlags::ECE;
            own |= if last { flags & TcpFlags::PSH } else { 0 };
            let seq = 0xffff_f000u32.wrapping_add((index * size) as u32);
            let mut packet = forge::tcp_with(ends(v4, Protocol::Tcp), own, seq, 99, options, piece);
            if v4 {
                put_u16(&mut packet, 4, 0xfffe_u16.wrapping_add(index as u16));
                checksum::set_ipv4_header(&mut packet);
            }
            packet
        })
        .collect()
}

/// Sets the two ECN bits (RFC 3168 section 5) of a packet without any.
fn mark(packet: &mut [u8], ecn: u8) {
    if packet[0] >> 4 == 4 {
        packet[1] |= ecn;
        checksum::set_ipv4_header(packet);
    } else {
        packet[1] |= ecn << 4;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Merge, then split: byte for byte what came, for every size, family and flag that may merge.
    #[test]
    fn split_after_merge_is_the_identity_for_tcp(
        v4 in any::<bool>(), size in 8usize..1400, len in 1usize..40_000, psh in any::<bool>(), ece in any::<bool>(), options in 0usize..11,
        ecn in 0u8..4,
    ) {
        let payload: Vec<u8> = (0..len.min(size * 100)).map(|i| (i * 31 % 251) as u8).collect();
        let flags = if psh { TcpFlags::PSH } else { 0 } | if ece { TcpFlags::ECE } else { 0 };
        let mut packets = stream(v4, &payload, size, flags, &vec![1; options * 4]);
        for packet in &mut packets {
            mark(packet, ecn);
        }
        let supers = coalesce(&packets, BOTH);
        prop_assert_eq!(supers.len(), 1);
        let back: Vec<Vec<u8>> = supers.into_iter().flat_map(|(vnet, frame)| segments(&vnet, frame)).collect();
        prop_assert_eq!(back, packets);
    }

    #[test]
    fn split_after_merge_is_the_identity_for_udp(v4 in any::<bool>(), size in 8usize..1400, count in 1usize..60, last in 1usize..1400) {
        let mut packets = Vec::new();
        for index in 0..count {
            let len = if index + 1 == count { last.min(size) } else { size };
            packets.push(forge::udp(ends(v4, Protocol::Udp), &vec![index as u8; len]));
            if v4 {
                let packet = packets.last_mut().unwrap();
                put_u16(packet, 4, 7 + index as u16);
                checksum::set_ipv4_header(packet);
            }
        }
        let back: Vec<Vec<u8>> =
            coalesce(&packets, BOTH).into_iter().flat_map(|(vnet, frame)| segments(&vnet, frame)).collect();
        prop_assert_eq!(back, packets);
    }

    /// A frame cut anew for a narrower path: the same bytes of the stream in the same order, every segment whole and
    /// within the limit; whether the kernel handed it over merged, unfinished or whole.
    #[test]
    fn a_narrower_cut_carries_the_same_stream(
        v4 in any::<bool>(), size in 536usize..1400, len in 1usize..20_000, limit in 200usize..1500, psh in any::<bool>(), merged in any::<bool>(),
    ) {
        let payload: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        let flags = if psh { TcpFlags::PSH } else { 0 };
        let packets = stream(v4, &payload, size, flags, &[1; 12]);
        let frames = if merged { coalesce(&packets, BOTH) } else { packets.into_iter().map(|p| (Vnet::PLAIN, p)).collect() };
        let mut next = 0xffff_f000u32;
        let mut carried = Vec::new();
        for (vnet, mut frame) in frames {
            let read = classify(&frame).unwrap();
            let plan = plan(&vnet, &read).unwrap();
            let plan = plan.narrowed(&read, &frame, limit).unwrap();
            prop_assert!(plan.largest() <= limit);
            plan.run(&mut frame, |segment| {
                assert_whole(segment);
                assert!(segment.len() <= limit);
                let read = classify(segment).unwrap();
                let Kind::Tcp(tcp) = read.kind else { panic!("not TCP") };
                assert_eq!(tcp.seq, next);
                next = tcp.end();
                carried.extend_from_slice(&segment[read.payload..]);
            });
        }
        prop_assert_eq!(carried, payload);
    }

    /// The fast path against the plain one: every flow's packets, in order, on mixed and broken traffic.
    #[test]
    fn merging_loses_changes_and_reorders_nothing(steps in prop::collection::vec((0u16..12, 0usize..60, 0u8..12), 1..120)) {
        let mut next = [1000u32; 12];
        let packets: Vec<Vec<u8>> = steps.iter().map(|(flow, len, oddity)| {
            let v4 = flow % 2 == 0;
            let udp = flow % 3 == 0;
            let mut way = ends(v4, if udp { Protocol::Udp } else { Protocol::Tcp });
            way.sport += flow;
            let len = if *oddity < 8 { 40 } else { *len };
            let payload: Vec<u8> = (0..len).map(|i| (i as u8) ^ (*flow as u8)).collect();
            let mut packet = if udp {
                forge::udp(way, &payload)
            } else {
                let seq = &mut next[usize::from(*flow)];
                let flags = match oddity { 9 => forge::FIN_ACK, 10 => ACK | TcpFlags::URG, 11 => ACK | TcpFlags::PSH, _ => ACK };
                let packet = forge::tcp(way, flags, *seq, 1, &payload);
                *seq = seq.wrapping_add(len as u32);
                packet
            };
            match oddity {
                // A wrong transport checksum must reach the host as it is.
                8 => { let at = packet.len() - 1; packet[at] ^= 0x55; }
                7 if v4 => { put(&mut packet, 1, [3]); checksum::set_ipv4_header(&mut packet); }
                _ => {}
            }
            packet
        }).collect();
        let by_flow = |packets: Vec<Vec<u8>>| {
            let mut map = std::collections::BTreeMap::<_, Vec<Vec<u8>>>::new();
            for packet in packets {
                map.entry(classify(&packet).unwrap().tuple).or_default().push(packet);
            }
            map
        };
        let mut merged = Vec::new();
        for (vnet, mut frame) in coalesce(&packets, BOTH) {
            let plan = plan(&vnet, &classify(&frame).unwrap()).unwrap();
            plan.run(&mut frame, |segment| merged.push(segment.to_vec()));
        }
        // With DF set the identification means nothing: a split numbers anew.
        let plain = |mut packets: Vec<Vec<u8>>| {
            for packet in packets.iter_mut().filter(|packet| packet[0] >> 4 == 4) {
                put_u16(packet, 4, 0);
                checksum::set_ipv4_header(packet);
            }
            packets
        };
        prop_assert_eq!(by_flow(plain(merged)), by_flow(plain(packets.clone())));
        let single: Vec<Vec<u8>> = coalesce(&packets, Offloads::default()).into_iter().map(|(_, frame)| frame).collect();
        prop_assert_eq!(single, packets);
    }
}

#[test]
fn several_flows_grow_side_by_side() {
    let mut packets = Vec::new();
    for index in 0..10u32 {
        for flow in 0..8u16 {
            let mut way = ends(true, Protocol::Tcp);
            way.sport += flow;
            packets.push(forge::tcp(way, ACK, index * 100, 1, &[7; 100]));
        }
    }
    assert_eq!(coalesce(&packets, BOTH).len(), 8);
}

#[test]
fn syn_fin_rst_and_urg_end_a_merge() {
    let way = ends(true, Protocol::Tcp);
    for flags in [forge::FIN_ACK, forge::RST | ACK, ACK | TcpFlags::URG, ACK | TcpFlags::CWR] {
        let packets = [
            forge::tcp(way, ACK, 0, 1, &[1; 50]),
            forge::tcp(way, flags, 50, 1, &[2; 50]),
            forge::tcp(way, ACK, 100, 1, &[3; 50]),
        ];
        let supers = coalesce(&packets, BOTH);
        assert_eq!(supers.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>(), packets);
    }
}

#[test]
fn packets_that_differ_in_anything_but_place_are_not_merged() {
    let way = ends(true, Protocol::Tcp);
    let first = forge::tcp(way, ACK, 0, 1, &[1; 50]);
    let ece = forge::tcp(way, ACK | TcpFlags::ECE, 50, 1, &[2; 50]);
    let acked = forge::tcp(way, ACK, 50, 2, &[2; 50]);
    let gap = forge::tcp(way, ACK, 51, 1, &[2; 50]);
    let longer = forge::tcp(way, ACK, 50, 1, &[2; 51]);
    let options = forge::tcp_with(way, ACK, 50, 1, &[1; 4], &[2; 50]);
    let mut marked = forge::tcp(way, ACK, 50, 1, &[2; 50]);
    put(&mut marked, 1, [3]);
    checksum::set_ipv4_header(&mut marked);
    for other in [ece, acked, gap, longer, options, marked] {
        assert_eq!(coalesce(&[first.clone(), other], BOTH).len(), 2);
    }
    // As long, and yet others: a later time stamp.
    let stamped =
        |seq, at| forge::tcp_with(way, ACK, seq, 1, &[1, 1, 8, 10, 0, 0, 0, at, 0, 0, 0, 1], &[2; 50]);
    assert_eq!(coalesce(&[stamped(0, 1), stamped(50, 1)], BOTH).len(), 1);
    assert_eq!(coalesce(&[stamped(0, 1), stamped(50, 2)], BOTH).len(), 2);
}

#[test]
fn a_tso_frame_keeps_its_flags_where_a_sender_puts_them() {
    let flags = ACK | TcpFlags::PSH | TcpFlags::FIN | TcpFlags::CWR | TcpFlags::ECE;
    for v4 in [true, false] {
        let frame = forge::tcp(ends(v4, Protocol::Tcp), flags, u32::MAX - 9, 5, &[9; 25]);
        let l4 = if v4 { 20 } else { 40 };
        let gso = if v4 { Gso::TcpV4 { size: 10 } } else { Gso::TcpV6 { size: 10 } };
        let vnet = Vnet { gso, checksum: Some((l4, 16)), header_len: 0, ecn: true };
        let out = segments(&vnet, frame);
        out.iter().for_each(|segment| assert_whole(segment));
        let at = usize::from(l4) + 13;
        let base = ACK | TcpFlags::ECE;
        let last = base | TcpFlags::PSH | TcpFlags::FIN;
        assert_eq!(out.iter().map(|s| s[at]).collect::<Vec<_>>(), [base | TcpFlags::CWR, base, last]);
        assert_eq!(out.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5].map(|n| at + 7 + n));
    }
}

#[test]
fn an_unfinished_checksum_is_completed_and_zero_becomes_ones_for_udp() {
    for v4 in [true, false] {
        let l4 = if v4 { 20 } else { 40 };
        let way = ends(v4, Protocol::Udp);
        let whole = forge::udp(way, &[0, 0]);
        // Choose the payload so that the sum is all ones and the checksum would be zero.
        let sum = u16::from_be_bytes([whole[l4 + 6], whole[l4 + 7]]);
        for payload in [sum.to_be_bytes().to_vec(), b"odd".to_vec()] {
            let mut frame = forge::udp(way, &payload);
            put_u16(&mut frame, l4 + 6, 0x1234);
            let vnet = Vnet { checksum: Some((l4 as u16, 6)), ..Vnet::PLAIN };
            let out = segments(&vnet, frame);
            assert_whole(&out[0]);
            if payload.len() == 2 {
                assert_eq!(out[0][l4 + 6..l4 + 8], [0xff, 0xff]);
            }
        }
    }
}

#[test]
fn an_offload_header_that_lies_is_refused() {
    let frame = forge::tcp(ends(true, Protocol::Tcp), ACK, 1, 1, &[1; 100]);
    let packet = classify(&frame).unwrap();
    let good = Vnet { gso: Gso::TcpV4 { size: 10 }, checksum: Some((20, 16)), header_len: 40, ecn: false };
    assert!(plan(&good, &packet).is_ok());
    for bad in [
        Vnet { checksum: None, ..good },
        Vnet { checksum: Some((24, 16)), ..good },
        Vnet { checksum: Some((20, 6)), ..good },
        Vnet { checksum: Some((65_535, 65_535)), gso: Gso::None, ..good },
        Vnet { gso: Gso::TcpV6 { size: 10 }, ..good },
        Vnet { gso: Gso::Udp { size: 10 }, ..good },
        Vnet { gso: Gso::TcpV4 { size: 0 }, ..good },
        Vnet { gso: Gso::TcpV4 { size: 7 }, ..good },
    ] {
        assert_eq!(plan(&bad, &packet), Err(DropReason::VnetHeader), "{bad:?}");
    }
    let mut syn = frame.clone();
    put(&mut syn, 32, [0x50, 0x02]);
    assert_eq!(plan(&good, &classify(&syn).unwrap()), Err(DropReason::VnetHeader));
    assert_eq!(Vnet::read(&[0; VNET_LEN - 1]), Err(DropReason::VnetHeader));
    assert_eq!(Vnet::read(&[0, 9, 0, 0, 0, 0, 0, 0, 0, 0]), Err(DropReason::VnetHeader));
    assert_eq!(Vnet::read(&good.write()), Ok(good));
}

#[test]
fn too_big_names_the_mtu_and_quotes_the_packet() {
    for v4 in [true, false] {
        let packet = forge::tcp(ends(v4, Protocol::Tcp), ACK, 1, 1, &[1; 1400]);
        let answer = too_big(&packet, &classify(&packet).unwrap(), 1280).unwrap();
        let read = classify(&answer).unwrap();
        assert!(matches!(read.kind, Kind::IcmpError(quoted) if quoted.tuple == ends(v4, Protocol::Tcp)));
        assert_eq!(answer[read.l4 + 6..read.l4 + 8], 1280u16.to_be_bytes());
        let number = if v4 { 1 } else { 58 };
        assert!(checksum::transport_holds(&answer, v4, number, &answer[read.l4..]));
        assert_eq!(too_big(&answer, &read, 1280), None);
    }
}

#[test]
fn what_must_stay_whole_is_not_cut_anew() {
    let tcp = ends(true, Protocol::Tcp);
    let narrowed = |packet: &[u8], limit| {
        let read = classify(packet).unwrap();
        plan(&Vnet::PLAIN, &read).unwrap().narrowed(&read, packet, limit).is_some()
    };
    let data = forge::tcp(tcp, ACK, 1, 1, &[7; 1000]);
    assert!(narrowed(&data, 600));
    let mut damaged = data.clone();
    damaged[500] ^= 1;
    assert!(!narrowed(&damaged, 600), "a wrong checksum would become right");
    assert!(!narrowed(&data, 44), "no room for payload");
    assert!(!narrowed(&forge::tcp(tcp, ACK | TcpFlags::URG, 1, 1, &[7; 1000]), 600));
    assert!(!narrowed(&forge::tcp(tcp, forge::SYN, 1, 0, &[7; 1000]), 600));
    assert!(!narrowed(&forge::udp(ends(true, Protocol::Udp), &[7; 1000]), 600));
    let fragment = forge::fragment(&forge::udp(ends(true, Protocol::Udp), &[7; 1000]), 9, 0, 800);
    assert!(!narrowed(&fragment, 600));
}
