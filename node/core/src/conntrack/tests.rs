//! The judge and its table, as stories between this node (100.64.0.1) and one peer (100.64.0.2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use warren_config::compile::Program;
use warren_config::filter::Rules;
use warren_config::name::Name;
use warren_config::policy::{
    Grant, GrantMode, Listen, Policy, Protocol, Selector, Service, Settings, Subject,
};
use warren_config::time::UnixTime;
use warren_wire::flow::{FlowEnd, FlowRecord, FlowVerdict};
use warren_wire::id::NodeId;

use super::{Addresses, Cut, Edition, Ends, FlowIds, FlowTable, Limits, Load, SnapshotError};
use crate::clock::{Mono, Now};
use crate::judge::{Ruling, inbound, outbound};
use crate::packet::forge::{self, ACK, FIN_ACK, RST, SYN, SYN_ACK};
use crate::packet::reply::refusal;
use crate::packet::{DropReason, Kind, Packet, Tuple, classify};

mod asked;
mod lies;
mod life;
mod room;

const ME: &str = "100.64.0.1";
const PEER: &str = "100.64.0.2";
const WALL: u64 = 1_800_000_000;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Rules that allow these, until `until`.
fn rules(listen: &[(Protocol, u16)], mode: GrantMode, until: Option<u64>) -> Rules {
    let listen =
        listen.iter().map(|(protocol, port)| Listen { protocol: *protocol, first: *port, last: *port });
    let service = Service {
        addresses: Default::default(),
        name: name("s"),
        on: BTreeSet::from([Selector::Node(name("b"))]),
        listen: listen.collect(),
    };
    let grant = Grant {
        id: name("g"),
        from: BTreeSet::from([Selector::AllNodes]),
        except: BTreeSet::new(),
        to: BTreeSet::from([name("s")]),
        mode,
        until: until.map(UnixTime),
        why: String::new(),
    };
    let policy = Policy {
        settings: Settings::default(),
        services: BTreeMap::from([(name("s"), service)]),
        grants: BTreeMap::from([(name("g"), grant)]),
        ..Policy::default()
    };
    let subject = |text| Subject { name: name(text), tags: BTreeSet::new() };
    Program::of_policy(&policy).rules(&subject("a"), &subject("b"))
}

fn allow(listen: &[(Protocol, u16)]) -> Rules {
    rules(listen, GrantMode::Enforce, None)
}

struct World {
    mine: Addresses,
    peer: Addresses,
    outbound: Rules,
    inbound: Rules,
    edition: Edition,
    table: FlowTable,
    now: Now,
}

impl World {
    fn new(outbound: Rules, inbound: Rules) -> World {
        World::with_limits(outbound, inbound, Limits::default())
    }

    fn with_limits(outbound: Rules, inbound: Rules, limits: Limits) -> World {
        World {
            mine: Addresses { v4: Some(ME.parse().unwrap()), v6: "fd00::1".parse().unwrap() },
            peer: Addresses { v4: Some(PEER.parse().unwrap()), v6: "fd00::2".parse().unwrap() },
            outbound,
            inbound,
            edition: Edition { epoch: 1, revision: 1, generation: 1 },
            table: FlowTable::new(NodeId([7; 16]), Arc::new(FlowIds::default()), limits),
            now: Now { mono: Mono::from_millis(1_000_000), wall_ms: WALL * 1000 },
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&Ends<'_>, &mut FlowTable, Now) -> T) -> T {
        let ends = Ends {
            mine: &self.mine,
            peer: &self.peer,
            outbound: &self.outbound,
            inbound: &self.inbound,
            beyond: &warren_config::subnet::NOTHING,
            hosts: &warren_config::subnet::NOTHING,
            edition: self.edition,
        };
        act(&ends, &mut self.table, self.now)
    }

    fn out(&mut self, bytes: &[u8]) -> Ruling {
        let packet = classify(bytes).unwrap();
        let load = Load { packets: 1, bytes: packet.total as u64 };
        self.with(|ends, table, now| outbound(ends, table, &packet, load, now))
    }

    fn arrive(&mut self, bytes: &[u8]) -> Ruling {
        let packet = classify(bytes).unwrap();
        let load = Load { packets: 1, bytes: packet.total as u64 };
        self.with(|ends, table, now| inbound(ends, table, &packet, load, now))
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now = Now { mono: self.now.mono.plus_millis(ms), wall_ms: self.now.wall_ms + ms };
    }

    fn change(&mut self, outbound: Rules, inbound: Rules) {
        (self.outbound, self.inbound) = (outbound, inbound);
        self.edition = Edition { revision: self.edition.revision + 1, generation: 2, ..self.edition };
    }

    fn rejudge(&mut self) -> Vec<Cut> {
        self.with(|ends, table, now| table.rejudge(ends, now))
    }

    fn timeout(&mut self) -> Vec<Cut> {
        self.with(|ends, table, now| table.handle_timeout(ends, now))
    }

    fn records(&mut self) -> Vec<FlowRecord> {
        self.table.drain_records().records
    }

    /// A question and its answer, of UDP.
    fn exchange(&mut self, way: Tuple) -> (Ruling, Ruling) {
        (self.out(&forge::udp(way, b"?")), self.arrive(&forge::udp(way.reversed(), b"!")))
    }

    /// A handshake that the local host began: our number 1000, theirs 5000.
    fn connect(&mut self) {
        assert_eq!(self.out(&forge::tcp(https(), SYN, 1000, 0, b"")), Ruling::Pass);
        assert_eq!(self.arrive(&forge::tcp(https().reversed(), SYN_ACK, 5000, 1001, b"")), Ruling::Pass);
        assert_eq!(self.out(&forge::tcp(https(), ACK, 1001, 5001, b"")), Ruling::Pass);
    }
}

fn tuple(protocol: Protocol, dport: u16) -> Tuple {
    forge::tuple(protocol, ME, 40_000, PEER, dport)
}

fn https() -> Tuple {
    tuple(Protocol::Tcp, 443)
}

fn dns() -> Tuple {
    tuple(Protocol::Udp, 53)
}

fn web() -> World {
    let allowed =
        [(Protocol::Tcp, 443), (Protocol::Udp, 53), (Protocol::IcmpEcho, 0), (Protocol::Number(47), 0)];
    World::new(allow(&allowed), Rules::default())
}

fn dropped(reason: DropReason) -> Ruling {
    Ruling::Drop(reason)
}

fn read(bytes: &[u8]) -> Packet {
    classify(bytes).unwrap()
}

#[test]
fn a_granted_flow_passes_both_ways() {
    let mut world = web();
    world.connect();
    assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Pass);
    assert_eq!(world.arrive(&forge::udp(dns().reversed(), b"!")), Ruling::Pass);
    assert_eq!(world.table.len(), 2);
}

#[test]
fn pf_12_a_packet_the_other_way_without_a_flow_is_dropped() {
    let mut world = web();
    for flags in [ACK, SYN_ACK, FIN_ACK, RST, RST | ACK] {
        assert_eq!(
            world.arrive(&forge::tcp(https().reversed(), flags, 1, 1, b"")),
            dropped(DropReason::NoFlow)
        );
    }
    assert_eq!(world.arrive(&forge::udp(dns().reversed(), b"")), dropped(DropReason::Denied));
    let reply = forge::echo(tuple(Protocol::IcmpEcho, 0).reversed(), true, b"");
    assert_eq!(world.arrive(&reply), dropped(DropReason::NoFlow));
    assert!(world.table.is_empty());
}

#[test]
fn pf_13_a_trusted_source_port_opens_nothing() {
    let mut world = web();
    for sport in [53, 20, 443] {
        let way = forge::tuple(Protocol::Tcp, PEER, sport, ME, 22);
        assert_eq!(world.arrive(&forge::tcp(way, SYN, 1, 0, b"")), dropped(DropReason::Denied));
    }
}

#[test]
fn pf_14_a_flow_on_an_allowed_port_opens_no_other() {
    let mut world = web();
    world.connect();
    for (sport, dport) in [(443, 40_001), (444, 40_000), (22, 40_000)] {
        let way = forge::tuple(Protocol::Tcp, PEER, sport, ME, dport);
        assert_eq!(world.arrive(&forge::tcp(way, ACK, 5001, 1001, b"x")), dropped(DropReason::NoFlow));
    }
}

#[test]
fn pf_15_only_the_granted_side_opens() {
    let mut world = web();
    assert_eq!(
        world.arrive(&forge::tcp(https().reversed(), SYN, 9, 0, b"data")),
        dropped(DropReason::Denied)
    );
    assert_eq!(world.out(&forge::tcp(https(), SYN, 1000, 0, b"early")), Ruling::Pass);
    let simultaneous = forge::tcp(https().reversed(), SYN, 9, 0, b"");
    assert_eq!(world.arrive(&simultaneous), dropped(DropReason::SynFromResponder));
}

#[test]
fn pf_16_only_an_exact_rst_ends_a_flow() {
    let mut world = web();
    world.connect();
    for seq in [4000, 5002, 90_000] {
        world.arrive(&forge::tcp(https().reversed(), RST, seq, 0, b""));
    }
    world.pass_ms(60_000);
    assert_eq!(world.arrive(&forge::tcp(https().reversed(), ACK, 5001, 1001, b"x")), Ruling::Pass);
    assert_eq!(world.arrive(&forge::tcp(https().reversed(), RST, 5002, 0, b"")), Ruling::Pass);
    world.pass_ms(11_000);
    assert_eq!(
        world.arrive(&forge::tcp(https().reversed(), ACK, 5002, 1001, b"x")),
        dropped(DropReason::NoFlow)
    );
    assert_eq!(world.records().last().unwrap().end, FlowEnd::Reset as i32);
}

#[test]
fn a_closed_connection_is_forgotten_and_its_ports_may_be_used_again() {
    let mut world = web();
    world.connect();
    assert_eq!(world.out(&forge::tcp(https(), FIN_ACK, 1001, 5001, b"")), Ruling::Pass);
    assert_eq!(world.arrive(&forge::tcp(https().reversed(), FIN_ACK, 5001, 1002, b"")), Ruling::Pass);
    assert_eq!(world.out(&forge::tcp(https(), ACK, 1002, 5002, b"")), Ruling::Pass);
    assert_eq!(world.out(&forge::tcp(https(), SYN, 9_000_000, 0, b"")), Ruling::Pass);
    let ends: Vec<i32> = world.records().iter().map(|record| record.end).collect();
    assert_eq!(ends, [FlowEnd::Closed as i32, FlowEnd::Open as i32]);
}

#[test]
fn a_connection_that_both_sides_closed_is_not_cut_by_a_change_of_policy() {
    let mut world = web();
    world.connect();
    world.out(&forge::tcp(https(), FIN_ACK, 1001, 5001, b""));
    world.arrive(&forge::tcp(https().reversed(), FIN_ACK, 5001, 1002, b""));
    world.out(&forge::tcp(https(), ACK, 1002, 5002, b""));
    world.outbound = Rules::default();
    assert!(world.rejudge().is_empty(), "nobody is left to be told");
    assert_eq!(world.records().last().unwrap().end, FlowEnd::Closed as i32);
}

#[test]
fn pf_17_18_an_icmp_error_must_quote_a_live_flow_of_this_peer() {
    let mut world = web();
    world.connect();
    let (me, peer) = (ME.parse().unwrap(), PEER.parse().unwrap());
    let mut error = |quote: &[u8]| world.arrive(&forge::icmp(peer, me, 3, 4, quote));
    let unrelated = dropped(DropReason::IcmpUnrelated);
    assert_eq!(error(&forge::tcp(https(), ACK, 1001, 5001, b"")), Ruling::Pass);
    assert_eq!(error(&forge::tcp(https(), ACK, 1001 + 200_000, 5001, b"")), unrelated);
    assert_eq!(error(&forge::tcp(https().reversed(), ACK, 5001, 1001, b"")), unrelated);
    assert_eq!(error(&forge::tcp(tuple(Protocol::Tcp, 444), ACK, 1001, 5001, b"")), unrelated);
    assert_eq!(error(&forge::udp(tuple(Protocol::Udp, 443), b"")), unrelated);
    let third = forge::tuple(Protocol::Tcp, ME, 40_000, "100.64.0.9", 443);
    assert_eq!(error(&forge::tcp(third, ACK, 1001, 5001, b"")), unrelated);
}

#[test]
fn the_local_hosts_errors_reach_the_peer_only_about_its_own_flows() {
    let mut world = World::new(Rules::default(), allow(&[(Protocol::Udp, 53)]));
    let ask = forge::udp(forge::tuple(Protocol::Udp, PEER, 9, ME, 53), b"?");
    let error = |quote: &[u8]| forge::icmp(ME.parse().unwrap(), PEER.parse().unwrap(), 3, 3, quote);
    assert_eq!(world.out(&error(&ask)), dropped(DropReason::IcmpUnrelated));
    assert_eq!(world.arrive(&ask), Ruling::Pass);
    assert_eq!(world.out(&error(&ask)), Ruling::Pass);
}

#[test]
fn pf_08_10_what_is_wrapped_in_another_protocol_is_that_protocol() {
    let mut world = web();
    world.connect();
    let inner = forge::tcp(https(), ACK, 1001, 5001, b"x");
    for number in [4, 41, 50, 51, 132, 136, 33] {
        let packet = forge::raw(ME.parse().unwrap(), PEER.parse().unwrap(), number, &inner);
        assert_eq!(world.out(&packet), Ruling::Refuse(DropReason::Denied), "{number}");
    }
    let granted = forge::raw(ME.parse().unwrap(), PEER.parse().unwrap(), 47, &inner);
    assert_eq!(world.out(&granted), Ruling::Pass);
}

#[test]
fn empty_rules_cut_everything_even_at_the_same_edition() {
    let mut world = web();
    world.connect();
    assert_eq!(world.table.flows().iter().map(|flow| flow.packets_out).collect::<Vec<_>>(), [2]);
    (world.outbound, world.inbound) = (Rules::default(), Rules::default());
    assert_eq!(world.rejudge().len(), 1);
    assert!(world.table.is_empty());
}

#[test]
fn icmp_errors_are_limited() {
    let mut world = web();
    world.out(&forge::udp(dns(), b"?"));
    let error = forge::icmp(PEER.parse().unwrap(), ME.parse().unwrap(), 3, 3, &forge::udp(dns(), b"?"));
    let passed = (0..500).filter(|_| world.arrive(&error) == Ruling::Pass).count();
    assert_eq!(passed, 50);
    assert_eq!(world.arrive(&error), dropped(DropReason::IcmpRate));
}

#[test]
fn pf_19_a_ping_from_us_does_not_let_the_peer_ping_with_its_identifier() {
    for id in [0, 1, 40_000, u16::MAX] {
        let mut world = web();
        let ask = Tuple { sport: id, dport: 0, ..tuple(Protocol::IcmpEcho, 0) };
        assert_eq!(world.out(&forge::echo(ask, false, b"")), Ruling::Pass);
        let request = Tuple { src: ask.dst, dst: ask.src, ..ask };
        assert_eq!(world.arrive(&forge::echo(request, false, b"")), dropped(DropReason::Denied));
        assert_eq!(world.arrive(&forge::echo(ask.reversed(), true, b"")), Ruling::Pass);
    }
}

#[test]
fn pf_01_to_04_only_the_addresses_of_both_ends_pass() {
    let mut world = web();
    let way = |src, dst| forge::tcp(forge::tuple(Protocol::Tcp, src, 1, dst, 443), SYN, 1, 0, b"");
    assert_eq!(world.arrive(&way("100.64.0.9", ME)), dropped(DropReason::SourceNotPeers));
    assert_eq!(world.arrive(&way(PEER, "100.64.0.9")), dropped(DropReason::DestinationNotMine));
    assert_eq!(world.out(&way("172.17.0.2", PEER)), dropped(DropReason::SourceNotMine));
    assert_eq!(world.out(&way(ME, "100.64.0.9")), dropped(DropReason::DestinationNotPeers));
}

#[test]
fn pf_05_honest_fragments_pass_and_dishonest_ones_do_not() {
    for v6 in [false, true] {
        let mut world = web();
        let way = if v6 { forge::tuple(Protocol::Udp, "fd00::1", 9, "fd00::2", 53) } else { dns() };
        let packet = forge::udp(way, &[5; 3000]);
        let piece = |id, offset, len| forge::fragment(&packet, id, offset, len);
        // In order, then with the middle ones swapped.
        for order in [[0, 1000, 2000, 3000], [0, 2000, 1000, 3000]] {
            let id = order[1] as u16;
            for offset in order {
                assert_eq!(world.out(&piece(id, offset, 1000)), Ruling::Pass, "{offset}");
            }
            let again = world.out(&piece(id, 1000, 1000));
            assert_eq!(again, dropped(DropReason::FragmentOrphan), "a whole packet is forgotten");
        }
        assert_eq!(world.out(&piece(5, 1000, 1000)), dropped(DropReason::FragmentOrphan));
        for (offset, len) in [(8, 1000), (992, 16), (0, 1000)] {
            assert_eq!(world.out(&piece(6, 0, 1000)), Ruling::Pass);
            assert_eq!(world.out(&piece(6, offset, len)), dropped(DropReason::FragmentOverlap));
            // Poisoned: nothing more passes, not even a new beginning, until it is forgotten.
            assert_eq!(world.out(&piece(6, 1000, 1000)), dropped(DropReason::FragmentOverlap));
            world.pass_ms(30_001);
        }
        assert_eq!(
            world.arrive(&forge::fragment(&forge::udp(way.reversed(), &[1; 100]), 6, 8, 16)),
            dropped(DropReason::FragmentOrphan)
        );
    }
}

#[test]
fn a_refused_first_fragment_lets_no_later_one_pass() {
    let mut world = web();
    let packet = forge::udp(tuple(Protocol::Udp, 54), &[5; 3000]);
    assert!(matches!(world.out(&forge::fragment(&packet, 1, 0, 1000)), Ruling::Refuse(DropReason::Denied)));
    assert_eq!(world.out(&forge::fragment(&packet, 1, 1000, 1000)), dropped(DropReason::FragmentOrphan));
}

#[test]
fn pf_06_a_flood_of_first_fragments_is_bounded_and_ends_by_itself() {
    let mut world = web();
    let packet = forge::udp(dns(), &[5; 3000]);
    let passed =
        (0..5000).filter(|id| world.out(&forge::fragment(&packet, *id, 0, 1000)) == Ruling::Pass).count();
    assert_eq!((passed, world.table.fragments.len()), (512, 512));
    world.pass_ms(29_000);
    assert_eq!(world.out(&forge::fragment(&packet, 7, 1000, 1000)), Ruling::Pass, "not refreshed by this");
    world.pass_ms(1_001);
    assert_eq!(world.out(&forge::fragment(&packet, 7, 2000, 1000)), dropped(DropReason::FragmentOrphan));
    assert_eq!(world.out(&forge::fragment(&packet, 9, 0, 1000)), Ruling::Pass);
}

#[test]
fn pf_26_a_flow_no_longer_allowed_is_cut_with_exact_numbers_and_another_goes_on() {
    let mut world = web();
    world.connect();
    world.out(&forge::udp(dns(), b"?"));
    world.arrive(&forge::tcp(https().reversed(), ACK, 5001, 1001, &[0; 500]));
    world.out(&forge::tcp(https(), ACK, 1001, 5501, &[0; 100]));
    world.arrive(&forge::tcp(https().reversed(), ACK, 5501, 1101, &[0; 40]));
    world.change(allow(&[(Protocol::Udp, 53)]), Rules::default());
    let cuts = world.rejudge();
    let resets: Vec<Packet> = cuts.iter().flat_map(Cut::packets).map(|packet| read(&packet)).collect();
    assert_eq!(resets.len(), 2);
    for (packet, seq) in resets.iter().zip([5501, 5541]) {
        assert_eq!(packet.tuple, https().reversed());
        assert!(matches!(packet.kind, Kind::Tcp(tcp) if tcp.flags.0 == RST && tcp.seq == seq));
    }
    assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Pass);
    // The local host's next segment, or its challenge ACK, names the number it believes.
    let challenge = forge::tcp(https(), ACK, 1101, 5499, b"");
    assert_eq!(world.out(&challenge), Ruling::Refuse(DropReason::FlowCut));
    let answer = read(&refusal(&challenge, &read(&challenge)).unwrap());
    assert!(matches!(answer.kind, Kind::Tcp(tcp) if tcp.flags.0 == RST && tcp.seq == 5499));
    assert_eq!(
        world.arrive(&forge::tcp(https().reversed(), ACK, 5541, 1101, b"x")),
        dropped(DropReason::FlowCut)
    );
    let cut = world.records().into_iter().find(|record| record.end == FlowEnd::Cut as i32).unwrap();
    assert_eq!((cut.packets_out, cut.packets_back, cut.grant.as_str()), (3, 3, "g"));
}

#[test]
fn a_packet_that_meets_newer_rules_is_judged_by_them() {
    let mut world = web();
    world.connect();
    world.change(Rules::default(), Rules::default());
    assert_eq!(
        world.arrive(&forge::tcp(https().reversed(), ACK, 5001, 1001, b"x")),
        dropped(DropReason::FlowCut)
    );
    assert_eq!(world.table.take_cuts().len(), 1);
    assert!(world.table.is_empty());
}

#[test]
fn a_flow_ends_at_the_instant_of_until() {
    let listen = [(Protocol::Udp, 53)];
    let mut world = World::new(rules(&listen, GrantMode::Enforce, Some(WALL + 5)), Rules::default());
    assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Pass);
    world.pass_ms(4_999);
    assert_eq!((world.out(&forge::udp(dns(), b"?")), world.timeout().len()), (Ruling::Pass, 0));
    assert_eq!(world.table.poll_timeout(), Some(world.now.mono.plus_millis(1)));
    world.pass_ms(1);
    let cuts = world.timeout();
    let told = read(&cuts[0].packets()[0]);
    assert!(matches!(told.kind, Kind::IcmpError(quoted) if quoted.tuple == dns()));
    assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Refuse(DropReason::Denied));
}

#[test]
fn a_refused_try_is_answered_at_once_and_recorded_once_with_its_count() {
    for v4 in [true, false] {
        let mut world = World::new(Rules::default(), Rules::default());
        let (me, peer) = if v4 { (ME, PEER) } else { ("fd00::1", "fd00::2") };
        let way = |protocol, sport| forge::tuple(protocol, me, sport, peer, 22);
        for sport in [1, 2, 3] {
            let syn = forge::tcp(way(Protocol::Tcp, sport), SYN, 77, 0, b"");
            assert_eq!(world.out(&syn), Ruling::Refuse(DropReason::Denied));
            let answer = read(&refusal(&syn, &read(&syn)).unwrap());
            assert_eq!(answer.tuple, way(Protocol::Tcp, sport).reversed());
            assert!(matches!(answer.kind, Kind::Tcp(tcp) if tcp.flags.0 == RST | ACK && tcp.ack == 78));
        }
        let datagram = forge::udp(way(Protocol::Udp, 9), &[0; 1400]);
        assert_eq!(world.out(&datagram), Ruling::Refuse(DropReason::Denied));
        let answer = read(&refusal(&datagram, &read(&datagram)).unwrap());
        assert!(matches!(answer.kind, Kind::IcmpError(quoted) if quoted.tuple == way(Protocol::Udp, 9)));
        let records = world.records();
        assert_eq!(
            records.iter().map(|record| (record.count, record.end)).collect::<Vec<_>>(),
            [(3, 5), (1, 5)]
        );
        assert!(records.iter().all(|record| record.verdict == FlowVerdict::Deny as i32));
    }
}

#[test]
fn errors_resets_replies_and_fragments_are_never_answered() {
    let silent = [
        forge::tcp(https(), RST, 1, 0, b""),
        forge::echo(tuple(Protocol::IcmpEcho, 0), true, b""),
        forge::icmp(ME.parse().unwrap(), PEER.parse().unwrap(), 3, 1, &forge::udp(dns().reversed(), b"")),
        forge::fragment(&forge::udp(dns(), &[0; 100]), 1, 0, 64),
        forge::fragment(&forge::udp(dns(), &[0; 100]), 1, 64, 64),
    ];
    for packet in silent {
        assert_eq!(refusal(&packet, &read(&packet)), None);
    }
}

#[test]
fn answers_to_the_local_host_are_limited() {
    let mut world = World::new(Rules::default(), Rules::default());
    let syn = forge::tcp(https(), SYN, 77, 0, b"");
    let answered = (0..6000).filter(|_| matches!(world.out(&syn), Ruling::Refuse(_))).count();
    assert_eq!(answered, 5000);
}

#[test]
fn an_audited_grant_does_not_pass_and_is_recorded_as_would_allow() {
    let mut world = World::new(rules(&[(Protocol::Tcp, 443)], GrantMode::Audit, None), Rules::default());
    assert_eq!(world.out(&forge::tcp(https(), SYN, 1, 0, b"")), Ruling::Refuse(DropReason::Denied));
    let records = world.records();
    assert_eq!((records[0].verdict, records[0].grant.as_str()), (FlowVerdict::WouldAllow as i32, "g"));
}

#[test]
fn a_full_table_gives_up_half_open_flows_but_never_an_established_one() {
    let limits = Limits { flows: 8, ..Limits::default() };
    let mut world = World::with_limits(allow(&[(Protocol::Tcp, 443)]), Rules::default(), limits);
    world.connect();
    for sport in 1..100 {
        let way = forge::tuple(Protocol::Tcp, ME, sport, PEER, 443);
        assert_eq!(world.out(&forge::tcp(way, SYN, 1, 0, b"")), Ruling::Pass);
    }
    assert_eq!(world.table.len(), 8);
    assert_eq!(world.out(&forge::tcp(https(), ACK, 1001, 5001, b"x")), Ruling::Pass);
    let evicted = world.records().iter().filter(|record| record.end == FlowEnd::Evicted as i32).count();
    assert_eq!(evicted, 92);
}

#[test]
fn a_full_table_of_established_flows_refuses_new_ones() {
    let limits = Limits { flows: 4, ..Limits::default() };
    let mut world = World::with_limits(allow(&[(Protocol::Udp, 53)]), Rules::default(), limits);
    for _ in 0..2 {
        (1..=4).for_each(|sport| _ = world.exchange(forge::tuple(Protocol::Udp, ME, sport, PEER, 53)));
        world.pass_ms(2_001);
    }
    assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Refuse(DropReason::TableFull));
}

#[test]
fn flows_are_forgotten_after_their_time() {
    let mut world = web();
    world.connect();
    world.out(&forge::udp(dns(), b"?"));
    world.out(&forge::raw(ME.parse().unwrap(), PEER.parse().unwrap(), 47, b"gre"));
    for (seconds, left) in [(29, 3), (2, 2), (600, 1), (6868, 1), (2, 0)] {
        world.pass_ms(seconds * 1000);
        world.timeout();
        assert_eq!(world.table.len(), left, "after {seconds} s more");
    }
    assert_eq!(world.table.poll_timeout(), None);
}

#[test]
fn a_restart_keeps_established_flows_judges_them_again_and_picks_up_none_mid_stream() {
    let mut world = web();
    world.connect();
    world.out(&forge::udp(dns(), b"?"));
    let bytes = world.table.snapshot(world.now);
    world.pass_ms(2000);
    world.now.mono = Mono::from_millis(50_000);
    let restore = |world: &mut World, bytes: &[u8], id: u8| {
        world.with(|ends, _, now| {
            FlowTable::restore(
                bytes,
                NodeId([id; 16]),
                Arc::new(FlowIds::default()),
                Limits::default(),
                ends,
                now,
            )
        })
    };
    let (table, cuts) = restore(&mut world, &bytes, 7).unwrap();
    world.table = table;
    assert_eq!((world.table.len(), cuts.len()), (2, 0));
    assert_eq!(world.arrive(&forge::tcp(https().reversed(), ACK, 5001, 1001, b"more")), Ruling::Pass);
    let other = forge::tuple(Protocol::Tcp, ME, 40_001, PEER, 443);
    assert_eq!(world.arrive(&forge::tcp(other.reversed(), ACK, 1, 1, b"")), dropped(DropReason::NoFlow));
    // With other rules, what is not allowed any more is cut before the first packet.
    world.change(allow(&[(Protocol::Udp, 53)]), Rules::default());
    let (table, cuts) = restore(&mut world, &bytes, 7).unwrap();
    assert_eq!((table.len(), cuts.len()), (1, 1));
    assert!(matches!(read(&cuts[0].packets()[0]).kind, Kind::Tcp(tcp) if tcp.seq == 5001));
    // Damage anywhere, another peer, another version: nothing is taken over.
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(restore(&mut world, &damaged, 7).is_err(), "byte {at}");
        assert!(restore(&mut world, &bytes[..at], 7).is_err());
    }
    assert!(matches!(restore(&mut world, &bytes, 8), Err(SnapshotError::OtherPeer { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The slow judge: a list of who opened what under which rules, without time-outs, limits or caches.
    #[test]
    fn the_judge_agrees_with_a_naive_model(steps in prop::collection::vec((0u8..8, 0u16..3, any::<bool>(), 0u16..3), 1..150)) {
        let ports = |bits: u16| {
            let listen: Vec<(Protocol, u16)> = (0..3).filter(|bit| bits >> bit & 1 == 1).map(|bit| (Protocol::Udp, 50 + bit)).collect();
            if listen.is_empty() { Rules::default() } else { allow(&listen) }
        };
        let mut world = World::new(ports(0b001), ports(0b010));
        let mut allowed = (0b001u16, 0b010u16);
        // (opened outbound, local port, remote port)
        let mut flows: Vec<(bool, u16, u16)> = Vec::new();
        let (mut passed, mut bytes, mut seen, mut seen_bytes) = (0u64, 0u64, 0u64, 0u64);
        let permits = |allowed: (u16, u16), flow: &(bool, u16, u16)| {
            let (port, bits) = if flow.0 { (flow.2, allowed.0) } else { (flow.1, allowed.1) };
            bits >> (port - 50) & 1 == 1
        };
        for (step, a, out, b) in steps {
            if step == 0 {
                allowed = (a ^ 0b101, b ^ 0b011);
                world.change(ports(allowed.0), ports(allowed.1));
                if out {
                    world.table.take_cuts();
                    let cuts = world.rejudge().len();
                    let before = flows.len();
                    flows.retain(|flow| permits(allowed, flow));
                    prop_assert_eq!(cuts, before - flows.len());
                }
                continue;
            }
            let (local, remote) = (50 + a, 50 + b);
            let way = forge::tuple(Protocol::Udp, ME, local, PEER, remote);
            let packet = forge::udp(if out { way } else { way.reversed() }, &[0; 7][..usize::from(step % 7)]);
            let known = flows.iter().position(|flow| (flow.1, flow.2) == (local, remote));
            let expected = match known {
                Some(at) if permits(allowed, &flows[at]) => true,
                Some(at) => { flows.remove(at); false }
                None if permits(allowed, &(out, local, remote)) => { flows.push((out, local, remote)); true }
                None => false,
            };
            let ruling = if out { world.out(&packet) } else { world.arrive(&packet) };
            prop_assert_eq!(ruling == Ruling::Pass, expected, "{:?}", ruling);
            if expected {
                passed += 1;
                bytes += packet.len() as u64;
            }
            if step == 3 {
                for record in world.records().iter().filter(|record| record.end != FlowEnd::Refused as i32) {
                    seen += record.packets_out + record.packets_back;
                    seen_bytes += record.bytes_out + record.bytes_back;
                }
            }
        }
        // What the records say is exactly what passed.
        for record in world.records().iter().filter(|record| record.end != FlowEnd::Refused as i32) {
            seen += record.packets_out + record.packets_back;
            seen_bytes += record.bytes_out + record.bytes_back;
        }
        prop_assert_eq!((seen, seen_bytes), (passed, bytes));
    }

    #[test]
    fn no_bytes_make_the_snapshot_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use sha2::Digest as _;
        let mut world = web();
        let mut framed = b"WFLO\0\x01".to_vec();
        framed.extend([7; 16]);
        framed.extend(&bytes);
        let digest = sha2::Sha256::digest(&framed);
        framed.extend_from_slice(&digest);
        let _ = world.with(|ends, _, now| {
            FlowTable::restore(&framed, NodeId([7; 16]), Arc::new(FlowIds::default()), Limits::default(), ends, now)
        });
    }
}

#[test]
fn honest_fragments_pass_at_any_rate() {
    let mut world = World::new(allow(&[(Protocol::Udp, 53)]), Rules::default());
    let packet = forge::udp(dns(), &[0; 2000]);
    // One loses its end; then 4,000 a second for twenty seconds, all of them finished.
    assert_eq!(world.out(&forge::fragment(&packet, 60_000, 0, 1000)), Ruling::Pass);
    for number in 0..80_000u32 {
        if number % 4 == 0 {
            world.pass_ms(1);
        }
        let id = (number % 50_000) as u16;
        assert_eq!(world.out(&forge::fragment(&packet, id, 0, 1000)), Ruling::Pass, "packet {number}");
        assert_eq!(world.out(&forge::fragment(&packet, id, 1000, 1100)), Ruling::Pass, "packet {number}");
    }
    assert_eq!(world.table.fragments.len(), 1);
}

#[test]
fn a_try_that_finds_the_table_full_is_counted_as_lost() {
    let limits = Limits { flows: 1, ..Limits::default() };
    let mut world = World::with_limits(allow(&[(Protocol::Udp, 53)]), Rules::default(), limits);
    for _ in 0..2 {
        assert_eq!(world.exchange(dns()), (Ruling::Pass, Ruling::Pass));
        world.pass_ms(2_001);
    }
    let other = Tuple { sport: dns().sport + 1, ..dns() };
    assert_eq!(world.out(&forge::udp(other, b"q")), Ruling::Refuse(DropReason::TableFull));
    assert_eq!(world.table.drain_records().lost.records, 1);
}
