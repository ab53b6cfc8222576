//! What a relay passes on, and what not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod relay_judge;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use relay_judge::{Judge, Keys, Outcome, start};
use warren_coordinator_core::relay::*;
use warren_wire::id::NodeId;
use warren_wire::relay::{self as frames, HEAD, Head, LEAST, Seat, TagKey};

const LIFE: Duration = Duration::from_secs(3600);
const EVER: Limits = Limits { megabits: u64::MAX, packets: u64::MAX };

fn seat(number: u32) -> Seat {
    Seat::new(number).unwrap()
}

fn node(number: u32) -> NodeId {
    NodeId([number as u8; 16])
}

fn key(number: u32, version: u8, way: u8) -> TagKey {
    let mut bytes = [way; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4] = version;
    TagKey::new(bytes)
}

fn up(number: u32, version: u8) -> TagKey {
    key(number, version, 1)
}

fn down(number: u32, version: u8) -> TagKey {
    key(number, version, 2)
}

fn at(host: u8) -> Place {
    Place { at: SocketAddr::from(([192, 0, 2, host], 4000)), by: Some([203, 0, 113, host % 2].into()) }
}

fn frame(from: u32, to: u32, counter: u64, key: &TagKey, carried: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; HEAD], carried].concat();
    assert!(frames::write(&mut bytes, Head { from: seat(from), to: seat(to), counter }, key));
    bytes
}

/// What a relay did with datagrams of one size, the last perhaps shorter.
fn pass(relay: &Relay, from: Place, datagrams: &[Vec<u8>], now: Moment) -> Outcome {
    let mut batch = datagrams.concat();
    let mut verdicts = Verdicts::default();
    let stride = datagrams.first().map_or(1, Vec::len);
    relay.handle(from, &mut batch, stride, now, &mut verdicts);
    let mut outcome = Outcome::default();
    for Forward { to, range, segment } in &verdicts.forwards {
        outcome.sent.extend(batch[range.clone()].chunks(*segment).map(|frame| (*to, frame.to_vec())));
    }
    outcome.asked =
        verdicts.asks.iter().map(|ask| (ask.pair.low().number(), ask.pair.high().number())).collect();
    outcome
}

/// Seats 1 to `count`, each where it has shown to be: [`at`] its number, by its counter 0.
fn relay_of(count: u32, limits: Limits, now: Moment) -> Relay {
    let relay = Relay::new(limits);
    for number in 1..=count {
        let (up, down, until) = (up(number, 0), down(number, 0), now + LIFE);
        relay.seat(Seating { seat: seat(number), node: node(number), up, down, until }, now);
    }
    for number in 1..=count {
        let ping = frame(number, 0, 0, &up(number, 0), &[7; 16]);
        assert_eq!(pass(&relay, at(number as u8), &[ping], now).sent.len(), 1);
    }
    relay
}

fn refused(relay: &Relay, why: Refused, now: Moment) -> u64 {
    relay.status(now).refused[why.word()]
}

#[test]
fn the_first_frame_of_a_pair_waits_for_the_permit_and_then_goes_on() {
    let now = start();
    let relay = relay_of(2, EVER, now);
    let send = |counter| frame(1, 2, counter, &up(1, 0), &[counter as u8; 148]);
    let first = pass(&relay, at(1), &[send(1), send(2)], now);
    assert_eq!(first, Outcome { sent: vec![], asked: vec![(1, 2)] });
    assert_eq!(pass(&relay, at(1), &[send(3)], now), Outcome::default(), "asked once");
    let released = relay.answer(Pair::of(seat(2), seat(1)), true, now).unwrap();
    let mut want = send(1);
    frames::stamp(&mut want, &down(2, 0));
    assert_eq!((released.to, released.frame), (at(2), want));
    assert_eq!(refused(&relay, Refused::PermitAsked, now), 2);
    let sent = pass(&relay, at(1), &[send(4), send(5)], now).sent;
    assert_eq!(sent.len(), 2);
    let back = pass(&relay, at(2), &[frame(2, 1, 9, &up(2, 0), &[1; 32])], now).sent;
    assert!(
        back.iter().all(|(to, frame)| *to == at(1) && frames::verify(frame, &down(1, 0))) && back.len() == 1
    );
}

#[test]
fn a_no_is_remembered_for_a_while_and_then_asked_again() {
    let now = start();
    let relay = relay_of(2, EVER, now);
    let mut counter = 0;
    let mut send = |now| {
        counter += 1;
        pass(&relay, at(1), &[frame(1, 2, counter, &up(1, 0), &[1; 64])], now)
    };
    assert_eq!(send(now).asked, [(1, 2)]);
    assert_eq!(relay.answer(Pair::of(seat(1), seat(2)), false, now), None);
    assert_eq!(send(now), Outcome::default());
    let later = now + REFUSAL_LIFE;
    assert_eq!(send(later).asked, [(1, 2)]);
    relay.answer(Pair::of(seat(1), seat(2)), false, later);
    // A new revision may have changed the answer.
    relay.retain_pairs(|_, _| true);
    assert_eq!(send(later).asked, [(1, 2)]);
    // A question that could not be put does not stand in the way of the next.
    relay.not_asked(Pair::of(seat(1), seat(2)));
    assert_eq!(send(later).asked, [(1, 2)]);
}

#[test]
fn a_permit_is_asked_for_again_before_it_ends_and_nothing_is_lost_meanwhile() {
    let now = start();
    let relay = relay_of(2, EVER, now);
    relay.answer(Pair::of(seat(1), seat(2)), true, now);
    let show = |counter, now| pass(&relay, at(2), &[frame(2, 0, counter, &up(2, 0), &[1; 8])], now);
    let send = |counter, now| {
        show(counter, now);
        let outcome = pass(&relay, at(1), &[frame(1, 2, counter, &up(1, 0), &[1; 64])], now);
        (outcome.sent.len(), outcome.asked.len())
    };
    assert_eq!(send(1, now + PERMIT_LIFE / 4), (1, 0));
    assert_eq!(send(2, now + PERMIT_LIFE * 7 / 8), (1, 1));
    assert_eq!(send(3, now + PERMIT_LIFE * 7 / 8), (1, 0));
    relay.answer(Pair::of(seat(1), seat(2)), true, now + PERMIT_LIFE * 7 / 8);
    assert_eq!(send(4, now + PERMIT_LIFE), (1, 0));
    assert_eq!(send(5, now + PERMIT_LIFE * 2), (0, 1), "without an answer it ends");
}

/// Nobody can be asked: what was allowed goes on for as long as the seats do, and nobody new does.
#[test]
fn while_the_coordinator_is_away_a_permit_does_not_end() {
    let now = start();
    let relay = relay_of(3, EVER, now);
    relay.answer(Pair::of(seat(1), seat(2)), true, now);
    relay.hold();
    let send = |to, counter, now| {
        pass(&relay, at(2), &[frame(2, 0, counter, &up(2, 0), &[1; 8])], now);
        pass(&relay, at(1), &[frame(1, to, counter, &up(1, 0), &[1; 64])], now)
    };
    let later = now + PERMIT_LIFE * 2;
    relay.tidy(later);
    assert_eq!((send(2, 1, later).sent.len(), send(2, 2, later).asked.len()), (1, 0));
    assert_eq!(send(3, 3, later).sent.len(), 0);
    assert_eq!(relay.allowed().iter().map(|ask| ask.nodes).collect::<Vec<_>>(), [(node(1), node(2))]);
    relay.resume(later);
    relay.tidy(later);
    assert_eq!(send(2, 4, later).sent.len(), 1, "until it is asked");
    assert_eq!(send(2, 5, later + RESUMED).sent.len(), 0);
    relay.answer(Pair::of(seat(1), seat(2)), true, now + LIFE * 2);
    assert_eq!(send(2, 6, now + LIFE).sent.len(), 0, "the seat is over");
}

#[test]
fn withdrawing_one_pair_does_not_disturb_the_others() {
    let now = start();
    let relay = relay_of(4, EVER, now);
    relay.answer(Pair::of(seat(1), seat(2)), true, now);
    relay.answer(Pair::of(seat(3), seat(4)), true, now);
    relay.retain_pairs(|a, b| (*a, *b) != (node(1), node(2)));
    let send =
        |from: u32, to| pass(&relay, at(from as u8), &[frame(from, to, 1, &up(from, 0), &[1; 64])], now);
    assert_eq!(send(1, 2), Outcome { sent: vec![], asked: vec![(1, 2)] });
    assert_eq!(send(3, 4).sent.len(), 1);
    relay.unseat(seat(4));
    assert_eq!(pass(&relay, at(3), &[frame(3, 4, 2, &up(3, 0), &[1; 64])], now), Outcome::default());
    assert_eq!(relay.answer(Pair::of(seat(3), seat(4)), true, now), None, "an answer that comes too late");
    assert_eq!(refused(&relay, Refused::UnknownSeat, now), 1);
}

#[test]
fn a_node_that_moves_is_followed_and_a_late_frame_moves_nobody() {
    let now = start();
    let relay = relay_of(2, EVER, now);
    relay.answer(Pair::of(seat(1), seat(2)), true, now);
    let show = |counter, host| pass(&relay, at(host), &[frame(2, 0, counter, &up(2, 0), &[1; 8])], now);
    show(10, 22);
    assert_eq!(relay.place(seat(2), now), Some(at(22)));
    // Captured on its way and sent from elsewhere, later.
    assert_eq!(show(9, 66).sent[0].0, at(22), "the answer goes to the node");
    assert_eq!(relay.place(seat(2), now), Some(at(22)));
    let sent = pass(&relay, at(1), &[frame(1, 2, 1, &up(1, 0), &[1; 64])], now).sent;
    assert_eq!(sent[0].0, at(22));
    assert_eq!(relay.place(seat(2), now + PLACE_LIFE), None, "who is not heard is not here");
}

#[test]
fn new_keys_take_over_with_the_first_frame_that_is_written_with_them() {
    let now = start();
    let relay = relay_of(2, EVER, now);
    relay.answer(Pair::of(seat(1), seat(2)), true, now);
    let new = Seating { seat: seat(1), node: node(1), up: up(1, 1), down: down(1, 1), until: now + LIFE };
    relay.seat(new, now);
    let to_it = |counter| pass(&relay, at(2), &[frame(2, 1, counter, &up(2, 0), &[1; 64])], now).sent;
    let of_it =
        |counter, version| pass(&relay, at(1), &[frame(1, 2, counter, &up(1, version), &[1; 64])], now).sent;
    assert_eq!(of_it(50, 0).len(), 1, "the old ones hold");
    assert!(frames::verify(&to_it(1)[0].1, &down(1, 0)));
    assert_eq!(of_it(0, 1).len(), 1, "counters begin anew");
    assert!(frames::verify(&to_it(2)[0].1, &down(1, 1)));
    assert_eq!(of_it(51, 0).len(), 0, "and now they are over");
    assert_eq!(refused(&relay, Refused::BadTag, now), 1);
}

#[test]
fn a_seat_ends_with_its_time_unless_it_is_given_more() {
    let now = start();
    let relay = relay_of(2, EVER, now);
    let renewed =
        Seating { seat: seat(1), node: node(1), up: up(1, 0), down: down(1, 0), until: now + 2 * LIFE };
    relay.seat(renewed, now);
    let later = now + LIFE;
    let ping = |number, counter| {
        pass(&relay, at(3), &[frame(number, 0, counter, &up(number, 0), &[1; 8])], later).sent.len()
    };
    assert_eq!((ping(1, 1), ping(2, 1)), (1, 0));
    assert_eq!(refused(&relay, Refused::SeatOver, later), 1);
    assert_eq!(ping(1, 1), 0, "with the same keys no counter begins anew");
    relay.tidy(later);
    assert_eq!(relay.status(later).seats, 1);
}

#[test]
fn a_seat_sends_within_its_limits_and_others_notice_nothing() {
    let now = start();
    let relay = relay_of(3, Limits { megabits: 1, packets: 1000 }, now);
    relay.answer(Pair::of(seat(1), seat(2)), true, now);
    relay.answer(Pair::of(seat(3), seat(2)), true, now);
    let send = |from: u32, counter| {
        pass(&relay, at(from as u8), &[frame(from, 2, counter, &up(from, 0), &[1; 1230])], now).sent.len()
    };
    // 12,500 bytes are a tenth of a second; the ping was 36.
    let sent: usize = (1..100).map(|counter| send(1, counter)).sum();
    assert_eq!((sent, refused(&relay, Refused::OverLimit, now)), (10, 89));
    assert_eq!(send(3, 1), 1);
}

#[test]
fn what_waits_for_permits_is_bounded() {
    let now = start();
    let relay = relay_of(100, EVER, now);
    let mut asked = 0;
    for (from, to) in (1..=100).flat_map(|a| (1..a).map(move |b| (a, b))).take(2000) {
        asked +=
            pass(&relay, at(1), &[frame(from, to, u64::from(to), &up(from, 0), &[1; 1400])], now).asked.len();
    }
    let status = relay.status(now);
    assert_eq!(asked, 2000);
    assert!(status.kept <= MAX_KEPT && status.kept > MAX_KEPT - 1500, "{}", status.kept);
    relay.tidy(now + REFUSAL_LIFE);
    assert_eq!(relay.status(now).kept, 0, "an answer that does not come is not waited for without end");
}

#[test]
fn one_seat_cannot_ask_without_end() {
    let now = start();
    let relay = relay_of(1, EVER, now);
    for number in 2..3000 {
        let (up, down, until) = (up(2, 0), down(2, 0), now + LIFE);
        relay.seat(Seating { seat: seat(number), node: node(number), up, down, until }, now);
    }
    let ask =
        |to: u32| pass(&relay, at(1), &[frame(1, to, u64::from(to), &up(1, 0), &[1; 8])], now).asked.len();
    assert_eq!((2..3000).map(ask).sum::<usize>(), ASKS as usize);
    assert_eq!(refused(&relay, Refused::OverLimit, now), 2998 - u64::from(ASKS));
}

/// From the moment the owner's call returns; and nobody waits for another without end.
#[test]
fn what_the_owner_withdraws_is_gone_for_all_threads_at_once() {
    let now = start();
    let relay = relay_of(4, EVER, now);
    // Odd while nothing is allowed.
    let (epoch, passed, end) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
    let send = &|from: u32, to: u32| {
        let mut counter = 0;
        while !end.load(SeqCst) {
            counter += 1;
            let frame = frame(from, to, counter, &up(from, 0), &[1; 64]);
            let before = epoch.load(SeqCst);
            let sent = pass(&relay, at(from as u8), &[frame], now).sent.len() as u64;
            let denied = before % 2 == 1 && epoch.load(SeqCst) == before;
            assert!(sent == 0 || !denied, "a frame of {from} to {to} passed while nothing was allowed");
            passed.fetch_add(sent, SeqCst);
        }
    };
    std::thread::scope(|scope| {
        for (from, to) in [(1, 2), (2, 1), (3, 4), (4, 3)] {
            scope.spawn(move || send(from, to));
        }
        for _ in 0..200 {
            epoch.fetch_add(1, SeqCst);
            for (a, b) in [(1, 2), (3, 4)] {
                relay.answer(Pair::of(seat(a), seat(b)), true, now);
            }
            let (before, patience) = (passed.load(SeqCst), Instant::now() + Duration::from_secs(30));
            while passed.load(SeqCst) == before && Instant::now() < patience {
                std::thread::yield_now();
            }
            relay.retain_pairs(|_, _| false);
            epoch.fetch_add(1, SeqCst);
            relay.tidy(now);
            assert_eq!(relay.status(now).seats, 4);
        }
        end.store(true, SeqCst);
    });
    assert!(passed.load(SeqCst) >= 200);
}

// --- the slow judge

#[derive(Clone, Debug)]
enum Step {
    /// Seat and version of its keys.
    Seat(u32, u8),
    Unseat(u32),
    Answer(u32, u32, bool),
    /// These bits say which pairs are peers.
    Retain(u16),
    Tidy,
    /// The coordinator goes away, or comes back.
    Hold(bool),
    Wait(u64),
    Batch(u8, Vec<Told>),
}

/// One datagram: from, to, version of the keys, counter, and what is wrong with it.
type Told = (u32, u32, u8, u64, Fault);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Flipped(usize),
    Garbage,
}

const SEATS: u32 = 4;

fn told() -> impl Strategy<Value = Told> {
    let fault = prop_oneof![
        12 => Just(Fault::None),
        1 => (0usize..200).prop_map(Fault::Flipped),
        1 => Just(Fault::Garbage)
    ];
    let counter = prop_oneof![4 => 0u64..40, 1 => Just(5000u64)];
    (1..=SEATS, 0..=SEATS + 1, 0u8..2, counter, fault)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..=SEATS, 0u8..2).prop_map(|(seat, version)| Step::Seat(seat, version)),
        1 => (1..=SEATS).prop_map(Step::Unseat),
        5 => (1..=SEATS, 1..=SEATS, prop::bool::weighted(0.8)).prop_map(|(a, b, may)| Step::Answer(a, b, may)),
        1 => any::<u16>().prop_map(Step::Retain),
        1 => Just(Step::Tidy),
        1 => any::<bool>().prop_map(Step::Hold),
        2 => prop_oneof![0u64..6, Just(140), Just(480), Just(3000)].prop_map(Step::Wait),
        12 => (1u8..5, 8usize..60, prop::collection::vec(told(), 1..8), any::<bool>())
            .prop_map(|(host, _, told, same)| Step::Batch(host, if same { alike(told) } else { told })),
    ]
}

/// A run: all with the ends and keys of the first.
fn alike(told: Vec<Told>) -> Vec<Told> {
    let (from, to, version, ..) = told[0];
    told.into_iter().map(|(_, _, _, counter, fault)| (from, to, version, counter, fault)).collect()
}

fn datagrams(told: &[Told], len: usize) -> Vec<Vec<u8>> {
    let last = told.len() - 1;
    let datagram = |(i, (from, to, version, counter, fault)): (usize, &Told)| {
        let len = if i == last { len - len / 3 } else { len };
        let mut bytes = frame(*from, *to, *counter, &up(*from, *version), &vec![i as u8; len.max(LEAST)]);
        match fault {
            Fault::None => {}
            Fault::Flipped(at) => {
                let at = at % bytes.len();
                bytes[at] ^= 1;
            }
            Fault::Garbage => bytes.fill(0x17),
        }
        bytes
    };
    told.iter().enumerate().map(datagram).collect()
}

fn peers(bits: u16, a: u32, b: u32) -> bool {
    let (a, b) = (a.min(b), a.max(b));
    bits >> ((a * SEATS + b) % 16) & 1 == 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Nothing without a permit, nothing twice, nothing longer than it came, only to where the receiver was last
    /// authentic; and all that may go does go.
    #[test]
    fn the_slow_judge_agrees(steps in prop::collection::vec(step(), 1..60), len in prop_oneof![Just(12usize), Just(16), Just(32), Just(200)]) {
        let mut now = start();
        let (relay, mut judge) = (Relay::new(EVER), Judge::default());
        for number in 1..=SEATS {
            relay.seat(Seating { seat: seat(number), node: node(number), up: up(number, 0), down: down(number, 0), until: now + LIFE }, now);
            judge.seat(number, Keys { up: up(number, 0), down: down(number, 0), until: now + LIFE }, now);
        }
        for step in steps {
            match step {
                Step::Seat(number, version) => {
                    let (up, down, until) = (up(number, version), down(number, version), now + LIFE);
                    relay.seat(Seating { seat: seat(number), node: node(number), up: up.clone(), down: down.clone(), until }, now);
                    judge.seat(number, Keys { up, down, until }, now);
                }
                Step::Unseat(number) => {
                    relay.unseat(seat(number));
                    judge.unseat(number);
                }
                Step::Answer(a, b, may) => {
                    let got = relay.answer(Pair::of(seat(a), seat(b)), may, now).map(|r| (r.to, r.frame));
                    prop_assert_eq!(got, judge.answer(a, b, may, now));
                }
                Step::Retain(bits) => {
                    relay.retain_pairs(|a, b| peers(bits, a.0[0].into(), b.0[0].into()));
                    judge.retain(|a, b| peers(bits, a, b));
                }
                Step::Tidy => {
                    relay.tidy(now);
                    judge.tidy(now);
                }
                Step::Hold(true) => {
                    relay.hold();
                    judge.hold();
                }
                Step::Hold(false) => {
                    relay.resume(now);
                    judge.resume(now);
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Batch(host, told) => {
                    let datagrams = datagrams(&told, len);
                    let want = judge.batch(at(host), &datagrams, now);
                    let got = pass(&relay, at(host), &datagrams, now);
                    let bytes: usize = datagrams.iter().map(Vec::len).sum();
                    prop_assert!(got.sent.iter().map(|(_, frame)| frame.len()).sum::<usize>() <= bytes, "amplification");
                    prop_assert_eq!(got, want);
                }
            }
            for number in 1..=SEATS {
                prop_assert_eq!(relay.place(seat(number), now), judge.place(number, now));
            }
        }
    }

    /// Whatever comes: nothing goes out, nothing panics, and every datagram is counted.
    #[test]
    fn no_bytes_make_the_relay_panic_or_answer(
        mut batch in prop::collection::vec(prop_oneof![1 => Just(frames::FRAME), 2 => 0u8..5, 3 => any::<u8>()], 0..600),
        stride in 0usize..200,
        heads in any::<bool>(),
    ) {
        let now = start();
        let relay = relay_of(3, EVER, now);
        relay.answer(Pair::of(seat(1), seat(2)), true, now);
        if heads {
            for piece in batch.chunks_mut(stride.max(1)).filter(|piece| piece.len() >= 8) {
                let (from, to) = (piece[1] % 4, piece[2] % 4);
                piece[..7].copy_from_slice(&[frames::FRAME, 0, 0, from, 0, 0, to]);
            }
        }
        let before: u64 = relay.status(now).refused.values().sum();
        let mut verdicts = Verdicts::default();
        relay.handle(at(9), &mut batch, stride, now, &mut verdicts);
        prop_assert!(verdicts.forwards.is_empty() && verdicts.asks.is_empty());
        let refused = relay.status(now).refused.values().sum::<u64>() - before;
        prop_assert_eq!(refused, batch.len().div_ceil(stride.max(1)) as u64);
    }
}
