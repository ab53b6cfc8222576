use warren_wire::id::IdentityKey;

use super::*;

fn seated(up: u8, relays: Vec<RelayAt>) -> Seated {
    let (up, down) = (TagKey::new([up; 16]), TagKey::new([2; 16]));
    Seated { seat: Seat::new(7).unwrap(), up, down, relays, until: 9 }
}

fn relay(number: u8) -> RelayAt {
    RelayAt::new(IdentityKey([number; 32]), "fra", vec![([192, 0, 2, number], 7946).into()])
}

fn at() -> SocketAddr {
    ([192, 0, 2, 1], 7946).into()
}

fn berth() -> Berth {
    let seated = seated(1, vec![relay(1)]);
    Berth::new(&seated, &relay(1), None)
}

/// What a relay does with it.
fn answer(question: &Question, by: u8) -> Vec<u8> {
    let (head, carried) = relay::read(question).unwrap();
    let mut frame = [&[0; HEAD], carried].concat();
    let key = TagKey::new([2; 16]).at(&relay(by).id);
    relay::write(&mut frame, Head { from: Seat::RELAY, to: head.from, counter: 1 }, &key);
    frame
}

/// The relay answers after so long; what became of the berths.
fn answered(berths: Berths, by: u8, asked: Mono, ms: u64) -> Berths {
    let berth = berths.get(&relay(by).id).unwrap().clone();
    let answer = answer(&berth.poll_question(asked).unwrap(), by);
    let (_, seat, carried) = berths.read(berth.at(), &answer).unwrap();
    assert!(seat.is_relay() && berth.handle_answer(carried, asked.plus_millis(ms)));
    berths.reordered().unwrap_or(berths)
}

#[test]
fn a_relay_is_used_while_it_answers_and_asked_again_when_it_does_not() {
    let (berth, mut now) = (berth(), Mono::from_millis(1000));
    let question = berth.poll_question(now).unwrap();
    assert!(!berth.is_up() && relay::verify(&question, &TagKey::new([1; 16]).at(&relay(1).id)));
    let answer = answer(&question, 1);
    assert_eq!(berth.read(([192, 0, 2, 9], 7946).into(), &answer), None, "another host");
    let (from, carried) = berth.read(at(), &answer).unwrap();
    assert!(from.is_relay() && berth.handle_answer(carried, now.plus_millis(30)));
    assert!(!berth.handle_answer(carried, now), "an answer is taken once");
    assert!(berth.is_up() && berth.round_trip() == Some(Duration::from_millis(30)));
    assert_eq!(berth.deadline(), now.plus_millis(EVERY_MS));
    let (mut asked, begun) = (0, now.plus_millis(EVERY_MS));
    while berth.is_up() {
        now = berth.deadline();
        asked += u32::from(berth.poll_question(now).is_some());
    }
    assert_eq!((asked, now.millis_since(begun)), (PATIENCE + 1, u64::from(PATIENCE) * AGAIN_MS));
}

#[test]
fn a_silent_relay_is_asked_less_often_and_never_given_up() {
    let (berth, mut now) = (berth(), Mono::from_millis(1000));
    let times: Vec<u64> = (0..30)
        .map(|_| {
            assert!(berth.poll_question(now).is_some());
            let pause = berth.deadline().millis_since(now);
            now = berth.deadline();
            pause
        })
        .collect();
    assert!(times.iter().take(4).all(|ms| *ms == AGAIN_MS) && times.iter().skip(8).all(|ms| *ms == EVERY_MS));
}

#[test]
fn a_relay_that_is_reached_in_another_way_is_asked_at_once_and_owes_nothing_of_before() {
    let (berth, mut now) = (berth(), Mono::from_millis(1000));
    for _ in 0..20 {
        assert!(berth.poll_question(now).is_some());
        now = berth.deadline();
    }
    assert!(berth.standing(true).owed > 10);
    let between = now.plus_millis(1);
    berth.ask_anew(between);
    assert_eq!(berth.standing(true).owed, 0);
    let answer = answer(&berth.poll_question(between).unwrap(), 1);
    let (_, carried) = berth.read(at(), &answer).unwrap();
    assert!(berth.handle_answer(carried, between) && berth.is_up());
}

/// Asks and hears answers that take so long, in steps of 50 ms; every moment at which the relay became usable or was lost.
fn far(
    berth: &Berth,
    by: u8,
    trip_ms: u64,
    ms: u64,
    lost: impl Fn(&Question, SocketAddr) -> bool,
) -> Vec<(u64, bool)> {
    let (begun, mut under_way, mut changes) = (Mono::from_millis(1000), Vec::new(), Vec::new());
    for at in (0..ms).step_by(50) {
        let (now, was) = (begun.plus_millis(at), berth.is_up());
        if let Some(question) = berth.poll_question(now)
            && !lost(&question, berth.at())
        {
            under_way.push((at + trip_ms, berth.at(), answer(&question, by)));
        }
        for (_, from, answer) in under_way.extract_if(.., |(due, ..)| *due <= at) {
            let (_, carried) = berth.read(from, &answer).unwrap();
            berth.handle_answer(carried, now);
        }
        if berth.is_up() != was {
            changes.push((at, berth.is_up()));
        }
    }
    changes
}

#[test]
fn a_relay_that_is_far_away_is_found_after_one_round_trip_and_stays() {
    for trip in [30, 700, 1500, 2900] {
        let berth = berth();
        assert_eq!(
            far(&berth, 1, trip, 60_000, |_, _| false),
            [(trip.next_multiple_of(50), true)],
            "{trip} ms"
        );
        assert_eq!(berth.round_trip(), Some(Duration::from_millis(trip.next_multiple_of(50))));
        assert_eq!(berth.standing(true).owed, 0);
    }
}

/// Which of its addresses answers is seen when others have been tried already.
#[test]
fn a_far_relay_is_used_at_the_address_whose_question_it_answers() {
    let places: Vec<SocketAddr> = (1..4).map(|n| ([192, 0, 2, n], 7946).into()).collect();
    for works in &places {
        let told = RelayAt { addresses: places.clone(), ..relay(1) };
        let berth = Berth::new(&seated(1, vec![]), &told, None);
        let changes = far(&berth, 1, 1500, 40_000, |_, to| to != *works);
        assert!(matches!(changes[..], [(1500..=2500, true)]), "{changes:?}");
        assert_eq!(berth.at(), *works);
    }
}

#[test]
fn an_answer_counts_once_and_for_ten_seconds() {
    let (berth, mut now) = (berth(), Mono::from_millis(1000));
    let asked: Vec<(Mono, Question)> = (0..20)
        .map(|_| {
            let question = berth.poll_question(now).unwrap();
            let at = now;
            now = berth.deadline();
            (at, question)
        })
        .collect();
    let hear = |question: &Question, now| {
        let answer = answer(question, 1);
        let (_, carried) = berth.read(at(), &answer).unwrap();
        berth.handle_answer(carried, now)
    };
    let (last, question) = &asked[19];
    let (earlier, _) = &asked[18];
    assert!(last.millis_since(*earlier) >= EVERY_MS);
    for (_, old) in &asked[..19] {
        assert!(!hear(old, *last), "too old");
    }
    assert!(!berth.is_up() && hear(question, *last) && !hear(question, *last));
    let again = berth.poll_question(berth.deadline()).unwrap();
    assert!(!hear(&again, last.plus_millis(3 * EVERY_MS)), "nobody waits so long");
}

/// One of them may be of a family that this host does not speak.
#[test]
fn a_silent_relay_is_asked_at_each_of_its_addresses_and_the_one_that_answers_stays() {
    let places: Vec<SocketAddr> = (1..4).map(|n| ([192, 0, 2, n], 7946).into()).collect();
    let told = RelayAt { addresses: places.clone(), ..relay(1) };
    let berth = Berth::new(&seated(1, vec![]), &told, None);
    let (mut asked, mut now) = (Vec::new(), Mono::from_millis(1000));
    for _ in 0..4 {
        berth.poll_question(now).unwrap();
        asked.push(berth.at());
        now = berth.deadline();
    }
    assert_eq!(asked, [places[0], places[1], places[2], places[0]]);
    let answer = answer(&berth.poll_question(now).unwrap(), 1);
    let (_, carried) = berth.read(places[1], &answer).unwrap();
    assert!(berth.handle_answer(carried, now.plus_millis(5)) && berth.at() == places[1]);
    assert!(berth.poll_question(berth.deadline()).is_some() && berth.at() == places[1]);
}

#[test]
fn new_keys_at_a_relay_that_answers_keep_it_in_use_and_at_another_place_they_do_not() {
    let (old, now) = (berth(), Mono::from_millis(1000));
    let answer = answer(&old.poll_question(now).unwrap(), 1);
    let (_, carried) = old.read(at(), &answer).unwrap();
    assert!(old.handle_answer(carried, now));
    let fresh = seated(3, vec![]);
    let moved = RelayAt { addresses: vec![([192, 0, 2, 2], 7946).into()], ..relay(1) };
    assert!(Berth::new(&fresh, &relay(1), Some(&old)).is_up());
    assert!(!Berth::new(&fresh, &moved, Some(&old)).is_up());
    assert!(!Berth::new(&fresh, &relay(1), Some(&berth())).is_up());
}

#[test]
fn no_counter_is_used_twice_whatever_else_is_told_of_the_relay() {
    let (old, told) = (berth(), RelayAt { draining: true, name: "new".into(), ..relay(1) });
    let new = Berth::new(&seated(1, vec![]), &told, Some(&old));
    let counters: std::collections::BTreeSet<u64> = (0..100)
        .map(|n| {
            let mut frame = [4; HEAD + 32];
            let berth = if n % 2 == 0 { &old } else { &new };
            assert!(berth.write(&mut frame, Seat::new(9).unwrap()));
            relay::read(&frame).unwrap().0.counter
        })
        .collect();
    assert_eq!(counters.len(), 100);
}

/// RL-04.
#[test]
fn what_came_for_this_node_from_one_relay_is_nothing_from_another() {
    let berths = Berths::default().seated(Some(&seated(1, vec![relay(1), relay(2)])), None);
    let question = berths.get(&relay(1).id).unwrap().poll_question(Mono::from_millis(1000)).unwrap();
    let answer = answer(&question, 1);
    assert!(berths.read(([192, 0, 2, 1], 7946).into(), &answer).is_some());
    assert!(berths.read(([192, 0, 2, 2], 7946).into(), &answer).is_none());
}

#[test]
fn the_nearest_relay_comes_first_and_is_not_left_for_a_few_milliseconds() {
    let told = seated(1, vec![relay(1), relay(2), relay(3)]);
    let mut berths = Berths::default().seated(Some(&told), None);
    assert!(berths.usable().is_empty());
    let mut now = Mono::from_millis(1000);
    let order = |berths: &Berths| -> Vec<u8> {
        let number = |id: &RelayId| (1..4).find(|n| relay(*n).id == *id).unwrap();
        berths.usable().iter().map(number).collect()
    };
    let mut round = |mut berths: Berths, trips: [u64; 3]| {
        now = now.plus_millis(EVERY_MS);
        for (by, ms) in (1..).zip(trips) {
            berths = answered(berths, by, now, ms);
        }
        berths
    };
    berths = round(berths, [80, 30, 45]);
    assert_eq!(order(&berths), [2, 3, 1]);
    berths = round(berths, [80, 50, 45]);
    assert_eq!(order(&berths), [2, 3, 1], "5 ms are nothing");
    berths = round(berths, [80, 70, 45]);
    assert_eq!(order(&berths), [3, 2, 1]);
    berths = round(berths, [80, 70, 11]);
    berths = round(berths, [2, 70, 11]);
    assert_eq!(order(&berths)[0], 3, "9 ms are nothing, whatever they are in parts");
    berths = round(berths, [1, 70, 11]);
    assert_eq!(order(&berths), [1, 3, 2]);
}

#[test]
fn a_relay_that_drains_is_read_and_nothing_is_sent_over_it_unless_there_is_no_other() {
    let mut berths = Berths::default().seated(Some(&seated(1, vec![relay(1), relay(2)])), None);
    let now = Mono::from_millis(1000);
    for by in [1, 2] {
        berths = answered(berths, by, now, 5);
    }
    let drains = |n| RelayAt { draining: true, ..relay(n) };
    let one = berths.seated(Some(&seated(1, vec![drains(1), relay(2)])), None);
    assert_eq!(one.usable()[..], [relay(2).id]);
    let later = now.plus_millis(EVERY_MS);
    let answer = answer(&one.get(&relay(1).id).unwrap().poll_question(later).unwrap(), 1);
    assert!(one.read(at(), &answer).is_some());
    let both = one.seated(Some(&seated(1, vec![drains(1), drains(2)])), None);
    assert_eq!(both.usable().len(), 2);
    assert!(both.seated(None, None).all().is_empty());
}

#[test]
fn a_relay_without_an_address_is_where_the_coordinator_is() {
    let told = seated(1, vec![RelayAt { addresses: vec![], ..relay(1) }]);
    assert!(Berths::default().seated(Some(&told), None).all().is_empty());
    assert_eq!(Berths::default().seated(Some(&told), Some(at())).all()[0].at(), at());
}
