//! The life of flows and the room they take, sentence by sentence.

use super::*;

fn both_may_open() -> World {
    let rules = || allow(&[(Protocol::Tcp, 443), (Protocol::Tcp, 40_000)]);
    World::new(rules(), rules())
}

fn ends_of(world: &mut World) -> Vec<FlowEnd> {
    world.records().iter().map(|record| record.end()).collect()
}

#[test]
fn a_connection_is_tracked_from_its_syn_to_both_fins() {
    let mut world = web();
    world.connect();
    let back = https().reversed();
    // The opener's FIN alone closes nothing: the other side may go on for long.
    assert_eq!(world.out(&forge::tcp(https(), FIN_ACK, 1001, 5001, b"")), Ruling::Pass);
    assert_eq!(world.arrive(&forge::tcp(back, ACK, 5001, 1002, b"still talking")), Ruling::Pass);
    world.pass_ms(599_000);
    world.timeout();
    assert_eq!(world.table.len(), 1);
    assert_eq!(world.arrive(&forge::tcp(back, FIN_ACK, 5014, 1002, b"")), Ruling::Pass);
    assert_eq!(world.table.len(), 1, "the last acknowledgment is still to come");
    assert_eq!(world.out(&forge::tcp(https(), ACK, 1002, 5015, b"")), Ruling::Pass);
    // Stragglers pass for ten seconds, and keep nothing alive.
    world.pass_ms(9_000);
    assert_eq!(world.arrive(&forge::tcp(back, FIN_ACK, 5014, 1002, b"")), Ruling::Pass);
    world.pass_ms(1_001);
    world.timeout();
    assert_eq!(world.table.len(), 0);
    assert_eq!(ends_of(&mut world), [FlowEnd::Closed]);
    assert_eq!(world.arrive(&forge::tcp(back, ACK, 5015, 1002, b"")), dropped(DropReason::NoFlow));
}

#[test]
fn a_rst_somewhere_in_the_window_ends_nothing_from_either_side() {
    let mut world = web();
    world.connect();
    for away in [1, 2, 1000, 60_000, u32::MAX, u32::MAX - 1000] {
        let theirs = forge::tcp(https().reversed(), RST, 5001u32.wrapping_add(away), 0, b"");
        let ours = forge::tcp(https(), RST, 1001u32.wrapping_add(away), 0, b"");
        world.arrive(&theirs);
        world.out(&ours);
        world.pass_ms(20_000);
        world.timeout();
        assert_eq!(world.table.len(), 1, "{away} from the next number");
    }
    world.arrive(&forge::tcp(https().reversed(), RST, 5001, 0, b""));
    world.pass_ms(10_001);
    world.timeout();
    assert_eq!(ends_of(&mut world).last(), Some(&FlowEnd::Reset));
}

#[test]
fn a_half_open_connection_lives_thirty_seconds() {
    let mut world = web();
    world.out(&forge::tcp(https(), SYN, 1000, 0, b""));
    world.pass_ms(29_000);
    world.arrive(&forge::tcp(https().reversed(), SYN_ACK, 5000, 1001, b""));
    world.pass_ms(29_000);
    world.timeout();
    assert_eq!(world.table.len(), 1, "each step gives it thirty seconds more");
    world.pass_ms(1_001);
    world.timeout();
    assert_eq!(ends_of(&mut world).last(), Some(&FlowEnd::Idle));
    assert_eq!(world.out(&forge::tcp(https(), ACK, 1001, 5001, b"")), Ruling::Refuse(DropReason::NoFlow));
}

/// Hosts ask after two hours of silence, and are late rather than early; a question that is lost is asked again.
#[test]
fn a_connection_that_is_silent_for_two_hours_is_there_when_a_host_asks_for_it() {
    for asked_after_ms in [7_200_001, 7_425_000] {
        let mut world = web();
        world.connect();
        world.pass_ms(asked_after_ms);
        world.timeout();
        let question = forge::tcp(https(), ACK, 1000, 5001, b"");
        assert_eq!(world.out(&question), Ruling::Pass);
        assert_eq!(world.arrive(&forge::tcp(https().reversed(), ACK, 5001, 1001, b"")), Ruling::Pass);
    }
}

#[test]
fn a_half_closed_connection_is_forgotten_after_ten_minutes_however_long_it_was_open() {
    let mut world = web();
    world.connect();
    world.pass_ms(60_000);
    world.timeout();
    world.out(&forge::tcp(https(), FIN_ACK, 1001, 5001, b""));
    world.pass_ms(600_001);
    world.timeout();
    assert_eq!(world.table.len(), 0);
}

/// The opener has closed its half, or was never seen to do so, and has begun anew from the same port with number `seq`.
fn begun_anew(closed: bool, seq: u32) -> World {
    let mut world = web();
    world.connect();
    if closed {
        assert_eq!(world.out(&forge::tcp(https(), FIN_ACK, 1001, 5001, b"")), Ruling::Pass);
        assert_eq!(world.arrive(&forge::tcp(https().reversed(), ACK, 5001, 1002, b"")), Ruling::Pass);
    }
    assert_eq!(world.out(&forge::tcp(https(), SYN, seq, 0, b"")), Ruling::Pass);
    world
}

/// The number of the RST that tells the local host that its connection is cut.
fn cut_at(mut world: World) -> u32 {
    world.change(Rules::default(), Rules::default());
    let packets = world.rejudge()[0].packets();
    let Kind::Tcp(tcp) = read(&packets[0]).kind else { panic!("not TCP") };
    tcp.seq
}

#[test]
fn a_new_connection_on_the_ports_of_a_half_closed_one_has_nothing_of_the_old() {
    let back = https().reversed();
    // Ahead of the old numbers, and behind them.
    for (closed, ours, theirs) in [(true, 90_000, 70_000), (true, 10, 20), (false, 10, 20)] {
        let mut world = begun_anew(closed, ours);
        assert_eq!(world.arrive(&forge::tcp(back, SYN_ACK, theirs, ours + 1, b"")), Ruling::Pass);
        assert_eq!(world.out(&forge::tcp(https(), ACK, ours + 1, theirs + 1, b"")), Ruling::Pass);
        world.pass_ms(7_000_000);
        world.timeout();
        assert_eq!(world.table.len(), 1, "it is established, not closing");
        // The other side's FIN is the first of this connection.
        world.arrive(&forge::tcp(back, FIN_ACK, theirs + 1, ours + 1, b""));
        world.out(&forge::tcp(https(), ACK, ours + 1, theirs + 2, b""));
        world.pass_ms(10_001);
        world.timeout();
        assert_eq!(world.table.len(), 1, "one half is open");
        assert_eq!(cut_at(world), theirs + 2);
    }
}

/// Who still has the old connection acknowledges that, and not the SYN.
#[test]
fn a_syn_that_the_other_side_does_not_agree_to_changes_nothing() {
    let back = https().reversed();
    for seq in [1000, 90_000, 10] {
        let mut world = begun_anew(true, seq);
        assert_eq!(world.arrive(&forge::tcp(back, ACK, 5001, 1002, b"")), Ruling::Pass);
        assert_eq!(world.arrive(&forge::tcp(back, SYN_ACK, 60_000, seq.wrapping_add(9), b"")), Ruling::Pass);
        world.pass_ms(599_000);
        world.timeout();
        assert_eq!(world.table.len(), 1, "it is closing, and not half open");
        // The opener, who has forgotten it, says so with the number that it was answered with.
        world.out(&forge::tcp(https(), RST, 1002, 0, b""));
        world.pass_ms(10_001);
        world.timeout();
        assert_eq!(ends_of(&mut world).last(), Some(&FlowEnd::Reset));
    }
}

#[test]
fn a_connection_that_begins_anew_is_half_open_again() {
    let mut world = begun_anew(true, 90_000);
    world.arrive(&forge::tcp(https().reversed(), SYN_ACK, 70_000, 90_001, b""));
    world.table.limits.flows = 3;
    for sport in 1..=3 {
        let way = forge::tuple(Protocol::Tcp, ME, sport, PEER, 443);
        assert_eq!(world.out(&forge::tcp(way, SYN, 1, 0, b"")), Ruling::Pass);
    }
    let late = forge::tcp(https(), ACK, 90_001, 70_001, b"");
    assert_eq!(world.out(&late), Ruling::Refuse(DropReason::NoFlow), "the oldest gave way");
}

#[test]
fn two_syns_that_cross_are_one_connection_where_each_side_may_open_it() {
    let mut world = both_may_open();
    let back = https().reversed();
    assert_eq!(world.out(&forge::tcp(https(), SYN, 1000, 0, b"")), Ruling::Pass);
    assert_eq!(world.arrive(&forge::tcp(back, SYN, 5000, 0, b"")), Ruling::Pass);
    assert_eq!(world.out(&forge::tcp(https(), SYN_ACK, 1000, 5001, b"")), Ruling::Pass);
    assert_eq!(world.arrive(&forge::tcp(back, SYN_ACK, 5000, 1001, b"")), Ruling::Pass);
    assert_eq!(world.out(&forge::tcp(https(), ACK, 1001, 5001, b"x")), Ruling::Pass);
    assert_eq!(world.table.len(), 1);
    world.pass_ms(60_000);
    world.timeout();
    assert_eq!(world.table.len(), 1, "it is established, not half open");
    // Once it is, a SYN from the other side is as strange as ever.
    let late = world.arrive(&forge::tcp(back, SYN, 9000, 0, b""));
    assert_eq!(late, dropped(DropReason::SynFromResponder));
    // Withdrawn, it is cut with exact numbers like any other.
    world.change(Rules::default(), Rules::default());
    let cuts = world.rejudge();
    assert!(matches!(read(&cuts[0].packets()[0]).kind, Kind::Tcp(tcp) if tcp.seq == 5001));
}

#[test]
fn a_syn_from_the_other_side_is_refused_where_only_one_may_open() {
    let mut world = web();
    assert_eq!(world.out(&forge::tcp(https(), SYN, 1000, 0, b"")), Ruling::Pass);
    let back = forge::tcp(https().reversed(), SYN, 5000, 0, b"");
    assert_eq!(world.arrive(&back), dropped(DropReason::SynFromResponder));
    assert_eq!(world.arrive(&forge::tcp(https().reversed(), SYN_ACK, 5000, 1001, b"")), Ruling::Pass);
}

#[test]
fn a_pair_of_udp_or_ping_lives_as_long_as_it_is_used() {
    let mut world = web();
    let ping = Tuple { dport: 0, ..tuple(Protocol::IcmpEcho, 0) };
    let answer = |world: &mut World| world.arrive(&forge::udp(dns().reversed(), b"!"));
    let pong = |world: &mut World| world.arrive(&forge::echo(ping.reversed(), true, b""));
    assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Pass);
    assert_eq!(world.out(&forge::echo(ping, false, b"")), Ruling::Pass);
    world.pass_ms(29_999);
    assert_eq!((answer(&mut world), pong(&mut world)), (Ruling::Pass, Ruling::Pass));
    world.pass_ms(30_001);
    assert_eq!(pong(&mut world), dropped(DropReason::NoFlow), "a ping waits thirty seconds, answered or not");
    assert_eq!(answer(&mut world), dropped(DropReason::Denied), "nor does a question that was answered");
    assert_eq!(world.exchange(dns()), (Ruling::Pass, Ruling::Pass));
    world.pass_ms(2_001);
    assert_eq!(answer(&mut world), Ruling::Pass);
    world.pass_ms(179_999);
    assert_eq!(answer(&mut world), Ruling::Pass, "a UDP pair that goes on waits three minutes");
    world.pass_ms(180_001);
    assert_eq!(answer(&mut world), dropped(DropReason::Denied), "then it is the peer who begins");
}

#[test]
fn the_time_between_two_agents_counts() {
    let mut world = web();
    assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Pass);
    world.pass_ms(20_000);
    let bytes = world.table.snapshot(world.now);
    let left_after = |world: &mut World, away_ms| {
        world.pass_ms(away_ms);
        let (peer, ids) = (NodeId([7; 16]), Arc::new(FlowIds::default()));
        let restored = world
            .with(|ends, _, now| FlowTable::restore(&bytes, peer, ids, Limits::default(), ends, now))
            .unwrap();
        restored.0.len()
    };
    assert_eq!(left_after(&mut world, 9_999), 1);
    assert_eq!(left_after(&mut world, 1), 0, "thirty seconds without an answer are over");
}

#[test]
fn a_fragment_that_comes_twice_or_overlaps_poisons_its_packet() {
    let packet = forge::udp(dns(), &[5; 3000]);
    let piece = |offset, len| forge::fragment(&packet, 6, offset, len);
    for (offset, len) in [(0, 1000), (1000, 1000), (1008, 8), (992, 16), (8, 2000)] {
        let mut world = web();
        assert_eq!(world.out(&piece(0, 1000)), Ruling::Pass);
        assert_eq!(world.out(&piece(1000, 1000)), Ruling::Pass);
        assert_eq!(world.out(&piece(offset, len)), dropped(DropReason::FragmentOverlap), "{offset}+{len}");
        assert_eq!(world.out(&piece(2000, 1000)), dropped(DropReason::FragmentOverlap), "nothing more of it");
    }
}

#[test]
fn fragments_pass_in_any_order_behind_their_first_and_never_before_it() {
    let packet = forge::udp(dns(), &[5; 4000]);
    let piece = |offset| forge::fragment(&packet, 6, offset, 1000);
    let mut world = web();
    for early in [1000, 4000] {
        assert_eq!(world.out(&piece(early)), dropped(DropReason::FragmentOrphan));
    }
    for offset in [0, 3000, 1000, 4000, 2000] {
        assert_eq!(world.out(&piece(offset)), Ruling::Pass, "{offset}");
    }
    assert_eq!(world.table.fragments.len(), 0, "a whole packet is forgotten");
}

#[test]
fn eviction_is_recorded() {
    let limits = Limits { flows: 2, ..Limits::default() };
    let mut world = World::with_limits(allow(&[(Protocol::Udp, 53)]), Rules::default(), limits);
    for sport in 1..=3 {
        let ask = forge::udp(forge::tuple(Protocol::Udp, ME, sport, PEER, 53), b"?");
        assert_eq!(world.out(&ask), Ruling::Pass);
    }
    let records = world.records();
    let evicted = records.iter().find(|record| record.end() == FlowEnd::Evicted).expect("recorded");
    assert_eq!((evicted.src_port, evicted.packets_out), (1, 1), "the oldest, with what it carried");
}

/// A flood of flows that are never answered, among `honest` ones that are; then the flood has run out.
fn after_a_flood(honest: u16) -> (World, Vec<Tuple>) {
    let mut world = web();
    let way = |sport| forge::tuple(Protocol::Udp, ME, sport, PEER, 53);
    let kept: Vec<Tuple> = (1..=honest).map(|n| way(n * 100)).collect();
    let all: Vec<Tuple> = (1..16_000).map(way).filter(|way| !kept.contains(way)).collect();
    for (at, flood) in all.iter().enumerate() {
        if let Some(way) = kept.get(at / 50).filter(|_| at % 50 == 0) {
            assert_eq!(world.exchange(*way), (Ruling::Pass, Ruling::Pass));
        }
        assert_eq!(world.out(&forge::udp(*flood, b"?")), Ruling::Pass);
    }
    assert!(world.table.room() >= 15_999);
    world.pass_ms(2_001);
    kept.iter().for_each(|way| assert_eq!(world.exchange(*way), (Ruling::Pass, Ruling::Pass)));
    world.pass_ms(31_000);
    world.timeout();
    assert_eq!(world.table.len(), usize::from(honest));
    (world, kept)
}

#[test]
fn the_room_that_a_flood_took_is_given_back_and_the_flows_that_stay_lose_nothing() {
    let (mut world, kept) = after_a_flood(100);
    assert!(world.table.room() < 1024, "room for {} flows is kept for a hundred", world.table.room());
    world.records();
    for way in &kept {
        assert_eq!(world.arrive(&forge::udp(way.reversed(), b"more")), Ruling::Pass);
    }
    let records = world.records();
    assert_eq!(records.len(), kept.len(), "what passes after the move is still recorded");
    assert!(records.iter().all(|record| (record.packets_out, record.packets_back) == (0, 1)));
    // Timers have moved along: each ends when it has been idle for three minutes, and not before.
    world.pass_ms(179_000);
    world.timeout();
    assert_eq!(world.table.len(), kept.len());
    world.pass_ms(1_001);
    world.timeout();
    assert_eq!(world.table.len(), 0);
    assert_eq!(world.records().iter().filter(|record| record.end() == FlowEnd::Idle).count(), kept.len());
}

/// The flow that was found last is remembered by its place; here nothing ended between that and the move.
#[test]
fn the_flow_that_spoke_last_is_found_where_it_has_moved_to() {
    let mut world = web();
    let way = |sport, dport| forge::tuple(Protocol::Udp, ME, sport, PEER, dport);
    world.change(allow(&[(Protocol::Udp, 53), (Protocol::Udp, 54)]), Rules::default());
    for sport in 1..=5000 {
        assert_eq!(world.out(&forge::udp(way(sport, 53), b"?")), Ruling::Pass);
    }
    let last = way(9000, 54);
    assert_eq!(world.out(&forge::udp(last, b"?")), Ruling::Pass);
    world.change(allow(&[(Protocol::Udp, 54)]), Rules::default());
    assert_eq!(world.rejudge().len(), 5000);
    let answer = forge::udp(last.reversed(), b"!");
    assert_eq!(world.arrive(&answer), Ruling::Pass);
    world.timeout();
    assert!(world.table.room() < 1024, "it has moved");
    assert_eq!(world.arrive(&answer), Ruling::Pass);
}

#[test]
fn a_table_that_was_made_smaller_still_cuts_evicts_and_grows_again() {
    let (mut world, kept) = after_a_flood(100);
    world.change(Rules::default(), Rules::default());
    assert_eq!(world.rejudge().len(), kept.len());
    world.change(allow(&[(Protocol::Udp, 53)]), Rules::default());
    let asked = fill_from(&mut world, 20_000);
    assert_eq!((asked, world.table.len()), (20_000, Limits::default().flows), "the oldest go first");
}

/// So many more flows, each from a port and to a name server of its own.
fn fill_from(world: &mut World, flows: u16) -> usize {
    let ask = |sport| forge::udp(forge::tuple(Protocol::Udp, ME, sport, PEER, 53), b"?");
    (20_000..20_000 + flows).filter(|sport| world.out(&ask(*sport)) == Ruling::Pass).count()
}

/// RFC 7413: a server that does not take the data of a SYN acknowledges the SYN alone.
#[test]
fn a_connection_whose_syn_brought_data_in_vain_is_established_all_the_same() {
    let back = https().reversed();
    for acknowledged in [1_001, 1_003, 1_005] {
        let mut world = both_may_open();
        assert_eq!(world.out(&forge::tcp(https(), SYN, 1_000, 0, b"data")), Ruling::Pass);
        assert_eq!(world.arrive(&forge::tcp(back, SYN_ACK, 70, acknowledged, b"")), Ruling::Pass);
        assert_eq!(world.out(&forge::tcp(https(), ACK, acknowledged, 71, b"data")), Ruling::Pass);
        world.pass_ms(7_000_000);
        world.timeout();
        assert_eq!(world.table.len(), 1, "established: {acknowledged}");
    }
    for wrong in [1_000, 1_006, 999_999] {
        let mut world = both_may_open();
        world.out(&forge::tcp(https(), SYN, 1_000, 0, b"data"));
        world.arrive(&forge::tcp(back, SYN_ACK, 70, wrong, b""));
        world.pass_ms(60_000);
        world.timeout();
        assert_eq!(world.table.len(), 0, "half open: {wrong}");
    }
}
