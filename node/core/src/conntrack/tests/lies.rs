//! What is said and is not so: numbers that no connection has reached, pieces that do not fit, rules and addresses of the past.

use super::*;

fn back() -> Tuple {
    https().reversed()
}

/// After a RST of the peer's with number `seq`: does the connection live on?
fn lives_after(world: &mut World, seq: u32) -> bool {
    world.arrive(&forge::tcp(back(), RST, seq, 0, b""));
    world.pass_ms(10_001);
    world.timeout();
    world.table.len() == 1
}

#[test]
fn numbers_do_not_jump_further_than_a_window_can() {
    let mut world = web();
    world.connect();
    let far = 5001 + (1 << 30) + 1;
    world.arrive(&forge::tcp(back(), ACK, far, 1001, b""));
    assert!(lives_after(&mut world, far), "a RST there is not exact");
    // Nor does a FIN count that lies there.
    world.arrive(&forge::tcp(back(), FIN_ACK, far, 1001, b""));
    world.out(&forge::tcp(https(), ACK, 1001, 5001, b""));
    world.pass_ms(700_000);
    world.timeout();
    assert_eq!(world.table.len(), 1, "an established connection is not closing");
}

#[test]
fn acknowledgments_move_forward_and_not_beyond_what_was_sent() {
    let mut world = web();
    world.connect();
    world.arrive(&forge::tcp(back(), ACK, 5001, 1001, &[1; 1000]));
    world.out(&forge::tcp(https(), ACK, 1001, 6001, b""));
    // One that comes late, and one of what nobody sent.
    world.out(&forge::tcp(https(), ACK, 1001, 5001, b""));
    world.out(&forge::tcp(https(), ACK, 1001, 9001, b""));
    assert!(lives_after(&mut world, 5001) && lives_after(&mut world, 9001));
    assert!(!lives_after(&mut world, 6001));
}

#[test]
fn a_rst_where_the_receiver_waits_is_exact_though_more_was_sent() {
    let mut world = web();
    world.connect();
    // A hundred bytes that the local host has not acknowledged.
    world.arrive(&forge::tcp(back(), ACK, 5001, 1001, &[1; 100]));
    assert!(!lives_after(&mut world, 5001));
}

#[test]
fn only_a_rst_that_acknowledges_the_syn_refuses_it() {
    const RST_ACK: u8 = RST | ACK;
    for (flags, ack, refused) in
        [(RST, 1001, false), (RST_ACK, 1000, false), (RST_ACK, 1002, false), (RST_ACK, 1001, true)]
    {
        let mut world = web();
        world.out(&forge::tcp(https(), SYN, 1000, 0, b""));
        world.arrive(&forge::tcp(back(), flags, 0, ack, b""));
        world.pass_ms(10_001);
        world.timeout();
        assert_eq!(world.table.is_empty(), refused, "flags {flags:#x}, acknowledgment {ack}");
    }
}

/// A connection that is not established is forgotten after half a minute.
fn is_half_open(world: &mut World) -> bool {
    world.pass_ms(30_001);
    world.timeout();
    world.table.is_empty()
}

#[test]
fn nothing_but_a_whole_handshake_establishes() {
    let syn = || {
        let mut world = web();
        world.out(&forge::tcp(https(), SYN, 1000, 0, b""));
        world
    };
    let mut wrong = syn();
    wrong.arrive(&forge::tcp(back(), SYN_ACK, 5000, 1002, b""));
    wrong.out(&forge::tcp(https(), ACK, 1001, 5001, b""));
    assert!(is_half_open(&mut wrong), "a SYN-ACK of another SYN");
    let mut alone = syn();
    alone.out(&forge::tcp(https(), SYN_ACK, 1000, 1001, b""));
    alone.out(&forge::tcp(https(), ACK, 1001, 5001, b""));
    alone.out(&forge::tcp(https(), ACK, 1001, 1001, b""));
    assert!(is_half_open(&mut alone), "the opener with itself");
    let mut answered = syn();
    answered.arrive(&forge::tcp(back(), SYN_ACK, 5000, 1001, b""));
    answered.arrive(&forge::tcp(back(), ACK, 5001, 1001, b""));
    assert!(is_half_open(&mut answered), "the responder with itself");
    let mut beyond = syn();
    beyond.arrive(&forge::tcp(back(), SYN_ACK, 5000, 1001, b""));
    beyond.out(&forge::tcp(https(), ACK, 1001, 7001, b""));
    assert!(is_half_open(&mut beyond), "an acknowledgment of what nobody sent");
    let mut again = syn();
    again.out(&forge::tcp(https(), SYN, 500, 0, b""));
    again.arrive(&forge::tcp(back(), SYN_ACK, 5000, 501, b""));
    again.out(&forge::tcp(https(), ACK, 501, 5001, b""));
    assert!(!is_half_open(&mut again), "a SYN that begins anew is the one that counts");
}

#[test]
fn a_connection_whose_last_fin_is_not_acknowledged_is_not_closed() {
    let mut world = web();
    world.connect();
    world.arrive(&forge::tcp(back(), FIN_ACK, 5001, 1001, b""));
    world.out(&forge::tcp(https(), FIN_ACK, 1001, 5002, b""));
    world.pass_ms(20_000);
    world.timeout();
    assert_eq!(world.table.len(), 1, "the peer has not acknowledged ours");
}

#[test]
fn an_error_about_what_was_acknowledged_long_ago_is_unrelated() {
    let mut world = web();
    world.connect();
    let (me, peer) = (ME.parse().unwrap(), PEER.parse().unwrap());
    let mut seq = 1001;
    for _ in 0..3 {
        world.out(&forge::tcp(https(), ACK, seq, 5001, &[1; 40_000]));
        seq += 40_000;
        world.arrive(&forge::tcp(back(), ACK, 5001, seq, b""));
    }
    let mut about =
        |seq| world.arrive(&forge::icmp(peer, me, 3, 4, &forge::tcp(https(), ACK, seq, 5001, b"")));
    assert_eq!(about(seq - 65_536), Ruling::Pass);
    assert_eq!(about(seq - 65_537), dropped(DropReason::IcmpUnrelated));
}

#[test]
fn errors_about_nothing_take_nothing_from_errors_about_a_flow() {
    let mut world = web();
    world.out(&forge::udp(dns(), b"?"));
    let (me, peer) = (ME.parse().unwrap(), PEER.parse().unwrap());
    let about = |tuple| forge::icmp(peer, me, 3, 3, &forge::udp(tuple, b"?"));
    let nothing = about(tuple(Protocol::Udp, 54));
    for _ in 0..500 {
        assert_eq!(world.arrive(&nothing), dropped(DropReason::IcmpUnrelated));
    }
    assert_eq!((0..100).filter(|_| world.arrive(&about(dns())) == Ruling::Pass).count(), 50);
}

#[test]
fn an_error_or_a_later_piece_keeps_no_flow_alive() {
    let mut world = web();
    let packet = forge::udp(dns(), &[5; 3000]);
    assert_eq!(world.out(&forge::fragment(&packet, 6, 0, 1000)), Ruling::Pass);
    world.pass_ms(20_000);
    assert_eq!(world.out(&forge::fragment(&packet, 6, 1000, 1000)), Ruling::Pass);
    let error = forge::icmp(PEER.parse().unwrap(), ME.parse().unwrap(), 3, 3, &forge::udp(dns(), b"?"));
    assert_eq!(world.arrive(&error), Ruling::Pass);
    world.pass_ms(10_001);
    world.timeout();
    assert_eq!(world.table.len(), 0);
}

#[test]
fn the_parts_of_a_flow_are_asked_again_when_the_rules_are_new() {
    let packet = forge::udp(dns(), &[5; 3000]);
    let mut world = web();
    assert_eq!(world.out(&forge::fragment(&packet, 6, 0, 1000)), Ruling::Pass);
    world.change(Rules::default(), Rules::default());
    assert_eq!(world.out(&forge::fragment(&packet, 6, 1000, 1000)), Ruling::Refuse(DropReason::FlowCut));
    let mut world = web();
    world.connect();
    world.change(Rules::default(), Rules::default());
    let quote = forge::tcp(https(), ACK, 1001, 5001, b"");
    let error = forge::icmp(PEER.parse().unwrap(), ME.parse().unwrap(), 3, 4, &quote);
    assert_eq!(world.arrive(&error), dropped(DropReason::FlowCut));
}

#[test]
fn a_flow_of_an_address_that_is_no_longer_the_peers_is_cut() {
    let mut world = web();
    world.connect();
    world.peer.v4 = Some("100.64.0.77".parse().unwrap());
    world.edition.revision += 1;
    assert_eq!(world.rejudge().len(), 1);
    assert!(world.table.is_empty());
}

#[test]
fn a_flow_of_an_address_that_is_no_longer_ours_is_cut() {
    let mut world = web();
    world.connect();
    world.mine.v4 = Some("100.64.0.77".parse().unwrap());
    world.edition.revision += 1;
    assert_eq!(world.rejudge().len(), 1);
    assert!(world.table.is_empty());
}

#[test]
fn a_cut_flow_is_not_taken_for_the_one_that_has_its_place_now() {
    let mut world = web();
    world.connect();
    world.change(allow(&[(Protocol::Udp, 53)]), Rules::default());
    assert_eq!(world.rejudge().len(), 1);
    assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Pass);
    assert_eq!(world.arrive(&forge::tcp(back(), ACK, 5001, 1001, b"more")), dropped(DropReason::FlowCut));
    let ours = world.out(&forge::tcp(https(), ACK, 1001, 5001, b"more"));
    assert_eq!(ours, Ruling::Refuse(DropReason::FlowCut));
}

#[test]
fn a_cut_is_remembered_for_a_minute_and_then_takes_no_room() {
    let mut world = web();
    world.connect();
    world.outbound = Rules::default();
    world.rejudge();
    world.records();
    world.pass_ms(59_000);
    world.timeout();
    assert!(!world.table.is_still(world.now.mono));
    world.pass_ms(1_001);
    world.timeout();
    assert!(world.table.is_still(world.now.mono));
}

/// Offset, length, and whether more come.
type Piece = (usize, usize, bool);

/// Behind a first one of 16 bytes; the last of them is wrong.
#[test]
fn pieces_that_do_not_fit_poison_their_packet() {
    let wrong: [(&str, &[Piece]); 5] = [
        ("over another, from before", &[(32, 16, true), (24, 16, true)]),
        ("a second last one", &[(64, 8, false), (32, 8, false)]),
        ("behind the end", &[(64, 8, false), (80, 8, true)]),
        ("an end before what came", &[(64, 8, true), (32, 8, false)]),
        ("the same again", &[(32, 8, true), (32, 8, true)]),
    ];
    for (what, pieces) in wrong {
        let mut world = web();
        assert_eq!(world.out(&piece(0, 16, true)), Ruling::Pass);
        let (last, before) = pieces.split_last().unwrap();
        for (offset, len, more) in before {
            assert_eq!(world.out(&piece(*offset, *len, *more)), Ruling::Pass, "{what}");
        }
        assert_eq!(world.out(&piece(last.0, last.1, last.2)), dropped(DropReason::FragmentOverlap), "{what}");
        assert_eq!(world.out(&piece(200, 8, true)), dropped(DropReason::FragmentOverlap), "{what}: poisoned");
    }
}

#[test]
fn a_packet_has_sixteen_holes_at_most() {
    let mut world = web();
    assert_eq!(world.out(&piece(0, 16, true)), Ruling::Pass);
    let passed = (1..40).filter(|i| world.out(&piece(32 * i, 8, true)) == Ruling::Pass).count();
    assert_eq!(passed, 15);
}

/// Of a long question.
fn piece(offset: usize, len: usize, more: bool) -> Vec<u8> {
    let whole = forge::udp(dns(), &[5; 2000]);
    // `forge` says that more come unless the piece ends where the packet does.
    let end = if more { whole.len() } else { 20 + offset + len };
    forge::fragment(&whole[..end], 6, offset, len)
}
