use warren_wire::trust::Network;

use super::moves::CHASED;
use super::*;

/// A host that has moved to the other family is not there any more, whatever was proven.
#[test]
fn a_proven_endpoint_of_a_family_nobody_names_any_more_is_left() {
    let (v4, v6) = (at("192.0.2.1:1"), at("[2001:db8::1]:1"));
    let mut endpoints = Endpoints::new(&[v4, v6], None, Mono(0));
    endpoints.handle_authenticated(v4.into(), Heard::Used, Mono(1));
    endpoints.set_candidates(&[v6], None, Mono(2));
    assert_eq!(endpoints.current(), Some(v6.into()));
    endpoints.handle_authenticated(v6.into(), Heard::Used, Mono(3));
    endpoints.set_candidates(&[], None, Mono(4));
    assert_eq!(endpoints.current(), Some(v6.into()));
    assert_eq!(speakable(vec![v4, v6], &[v6]), vec![v6]);
    assert_eq!(speakable(vec![v4], &[v6]), vec![v4]);
}

fn network() -> Network {
    Network {
        id: warren_wire::id::NetworkId([1; 16]),
        name: "test".into(),
        v4_range: "100.64.0.0/10".parse().unwrap(),
        v6_prefix: "fd00:1:2::/48".parse().unwrap(),
        coordinators: Vec::new(),
        serial: 1,
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Field note 38: an endpoint that is reachable only through the overlay is a tunnel in the tunnel.
#[test]
fn an_endpoint_is_never_inside_the_overlay_nor_nowhere() {
    let bad = [
        "100.64.0.1:1",
        "100.127.255.254:1",
        "[fd00:1:2::9]:1",
        "0.0.0.0:1",
        "0.1.2.3:1",
        "[::]:1",
        "224.0.0.1:1",
        "239.1.1.1:1",
        "255.255.255.255:1",
        "240.0.0.1:1",
        "169.254.169.254:1",
        "[ff02::1]:1",
        "[fe80::1]:1",
        "[::ffff:192.0.2.1]:1",
        "[100::1]:1",
        "192.0.0.8:1",
        "192.0.2.1:0",
        "127.0.0.1:1",
        "[::1]:1",
    ];
    for endpoint in bad {
        assert!(!acceptable(at(endpoint), &network(), Locality::Wide), "{endpoint}");
    }
    for endpoint in ["192.0.2.1:1", "10.0.0.1:51820", "100.128.0.1:1", "[2001:db8::1]:1", "[fd00:1:3::1]:1"] {
        assert!(acceptable(at(endpoint), &network(), Locality::Wide), "{endpoint}");
    }
}

#[test]
fn loopback_is_believed_only_where_nothing_else_could_work() {
    let all = [at("127.0.0.1:1"), at("[::1]:1")];
    assert_eq!(Locality::of(&all), Locality::Loopback);
    assert_eq!(Locality::of(&[]), Locality::Wide);
    assert_eq!(Locality::of(&[at("127.0.0.1:1"), at("192.0.2.1:1")]), Locality::Wide);
    assert!(acceptable(at("127.0.0.1:1"), &network(), Locality::Loopback));
}

#[test]
fn neighbours_come_first_and_nobody_twice() {
    let given = [at("198.51.100.1:1"), at("[2001:db8:0:1::5]:1"), at("10.0.0.5:1"), at("198.51.100.1:1")];
    let own = [at("10.0.0.9:2"), at("[2001:db8:0:2::1]:2")];
    assert_eq!(order(&given, &own), [at("10.0.0.5:1"), at("198.51.100.1:1"), at("[2001:db8:0:1::5]:1")]);
    let many: Vec<SocketAddr> = (1..20).map(|i| SocketAddr::from(([192, 0, 2, i], 1))).collect();
    assert_eq!(order(&many, &[]).len(), MAX_CANDIDATES);
    let doors: Vec<SocketAddr> = (1..=8).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
    assert_eq!(order(&doors, &[]), doors[..3], "nobody is sent to many doors of one host");
}

/// The peer has long been silent.
fn later() -> Mono {
    Mono::from_millis(60_000)
}

/// Each lane has a handshake of its own, and one that is lost says little where others speak.
#[test]
fn a_place_that_the_peer_was_heard_at_just_now_is_not_left_for_one_handshake_without_an_answer() {
    let (a, b) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
    let mut endpoints = Endpoints::new(&[a, b], None, Mono(0));
    assert_eq!(endpoints.handle_unanswered(Mono(1)), Some(b.into()), "nothing proves it");
    endpoints.handle_authenticated(b.into(), Heard::Used, Mono(2));
    assert_eq!(endpoints.handle_unanswered(Mono(3)), Some(b.into()));
    assert_eq!(endpoints.handle_unanswered(later()), Some(a.into()));
}

/// It proves one direction; the other is proven by an answer to a question of this end.
#[test]
fn a_question_that_comes_directly_moves_nobody_from_a_relay_whose_peer_is_silent_for_a_moment() {
    let direct = at("192.0.2.1:1");
    let start = Mono::from_millis(1000);
    let mut endpoints = relayed(false, start);
    endpoints.handle_authenticated(over(1), Heard::Used, start);
    let doubted = start.plus_millis(probe::DOUBT_MS + 1_500);
    endpoints.poll_pings(1, start);
    endpoints.poll_pings(2, doubted);
    assert!(!endpoints.handle_authenticated(direct.into(), Heard::Asked, doubted));
    assert_eq!(endpoints.current(), Some(over(1)));
    assert!(endpoints.handle_authenticated(direct.into(), Heard::Used, doubted), "there it is used");
}

#[test]
fn only_an_authenticated_packet_moves_a_proven_endpoint() {
    let (a, b, c) = (at("192.0.2.1:1"), at("192.0.2.2:1"), at("192.0.2.3:1"));
    let mut endpoints = Endpoints::new(&[a, b], None, Mono(0));
    assert_eq!(endpoints.current(), Some(a.into()));
    assert!(endpoints.handle_authenticated(c.into(), Heard::Used, Mono(1)));
    assert!(!endpoints.handle_authenticated(c.into(), Heard::Used, Mono(2)), "no move");
    endpoints.set_candidates(&[b], None, Mono(3));
    assert_eq!(endpoints.current(), Some(c.into()), "hints do not move what is proven");
    assert_eq!(endpoints.handle_unanswered(later()), Some(b.into()));
    assert_eq!(endpoints.handle_unanswered(later()), Some(c.into()), "the proven address is tried again");
    let reasons: Vec<MoveReason> = endpoints.moves().map(|m| m.reason).collect();
    use MoveReason::{Roamed, Told, Unanswered};
    assert_eq!(reasons, [Told, Roamed, Unanswered, Unanswered]);
}

#[test]
fn a_peer_may_still_be_where_it_was_last_proven_whatever_is_tried_since() {
    let (a, b, c) = (at("192.0.2.1:1"), at("192.0.2.2:1"), at("192.0.2.3:1"));
    let mut endpoints = Endpoints::new(&[a, b], None, Mono(0));
    endpoints.handle_authenticated(c.into(), Heard::Used, Mono(1));
    assert_eq!(endpoints.places(), [c, a, b].map(Place::Direct));
    endpoints.handle_unanswered(later());
    assert_eq!(endpoints.places(), [a, c, b].map(Place::Direct));
}

#[test]
fn an_unproven_endpoint_follows_the_hints() {
    let (a, b) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
    let mut endpoints = Endpoints::new(&[a], None, Mono(0));
    endpoints.set_candidates(&[b, a], None, Mono(1));
    assert_eq!(endpoints.current(), Some(a.into()), "still named");
    endpoints.set_candidates(&[b], None, Mono(2));
    assert_eq!(endpoints.current(), Some(b.into()));
    endpoints.set_candidates(&[], None, Mono(3));
    assert_eq!(endpoints.current(), None);
    assert_eq!(endpoints.handle_unanswered(Mono(4)), None);
}

#[test]
fn the_history_is_bounded() {
    let mut endpoints = Endpoints::default();
    for host in 1..100 {
        let place = SocketAddr::from(([192, 0, 2, host], 1)).into();
        endpoints.handle_authenticated(place, Heard::Used, Mono(u64::from(host)));
    }
    assert_eq!(endpoints.moves().count(), MAX_MOVES);
    assert_eq!(endpoints.moves().last().and_then(|m| m.to), Some(at("192.0.2.99:1").into()));
}

/// What closes UDP to a peer closes it to relays, too: they are asked before the direct place is given up, so that a door is open in time.
#[test]
fn when_a_direct_place_falls_silent_relays_are_asked_at_once_and_it_is_left_as_soon_as_one_carries_a_word() {
    let (direct, start) = (at("192.0.2.1:1"), Mono::from_millis(60_000));
    let mut endpoints = Endpoints::new(&[direct], Seat::new(SEAT), start);
    endpoints.set_relays(&relays(&[1, 2]), start);
    let mut hurried = Vec::new();
    // As long as answers come, nobody is asked.
    for ms in (0..5_000).step_by(500) {
        let now = start.plus_millis(ms);
        endpoints.handle_authenticated(direct.into(), Heard::Used, now);
        endpoints.poll_pings(ms + 1, now);
        hurried.extend(endpoints.poll_hurried(now));
    }
    assert_eq!(hurried, []);
    let silence = start.plus_millis(5_000);
    let (mut asked, mut left) = (Vec::new(), None);
    for ms in (0..5_000).step_by(500) {
        let now = silence.plus_millis(ms);
        let pings = endpoints.poll_pings(6_000 + ms, now);
        asked.extend(endpoints.poll_hurried(now).into_iter().map(|relay| (ms, relay)));
        // The peer answers over the relay.
        if pings.iter().any(|ping| ping.to == over(1))
            && endpoints.handle_authenticated(over(1), Heard::Asked, now.plus_millis(20))
        {
            left = Some(ms);
            break;
        }
    }
    assert!(asked.iter().all(|(ms, _)| *ms <= 500), "{asked:?}");
    let asked: Vec<RelayId> = asked.into_iter().map(|(_, relay)| relay).collect();
    assert_eq!(asked, relays(&[1, 2]).to_vec(), "once");
    assert!(left.is_some_and(|ms| ms <= probe::DOUBT_MS), "{left:?}");
}

/// The peer has not heard of it yet and goes on over the relay for a while.
#[test]
fn a_path_that_has_just_answered_is_not_left_because_the_peer_still_speaks_over_the_relay() {
    let (direct, seat) = (at("192.0.2.1:1"), Seat::new(7).unwrap());
    let mut endpoints = Endpoints::new(&[direct], Some(seat), Mono::from_millis(1000));
    let relayed = Place::Relayed(RelayId([1; 16]), seat);
    endpoints.set_relays(&[RelayId([1; 16])].into(), Mono::from_millis(1000));
    let mut now = Mono::from_millis(2000);
    endpoints.handle_authenticated(relayed, Heard::Used, now);
    assert_eq!(endpoints.current(), Some(relayed));
    let ping = endpoints.poll_pings(1, now.plus_millis(500))[0];
    now = now.plus_millis(510);
    assert!(
        !endpoints.handle_authenticated(direct.into(), Heard::Used, now)
            && endpoints.handle_pong(ping.nonce, now)
    );
    for _ in 0..15 {
        now = now.plus_millis(100);
        assert!(!endpoints.handle_authenticated(relayed, Heard::Used, now));
        assert_eq!(endpoints.current(), Some(direct.into()));
    }
}

// --- of several relays

const SEAT: u32 = 7;

fn over(relay: u8) -> Place {
    Place::Relayed(RelayId([relay; 16]), Seat::new(SEAT).unwrap())
}

fn relays(numbers: &[u8]) -> Arc<[RelayId]> {
    numbers.iter().map(|n| RelayId([*n; 16])).collect()
}

/// A peer at relays 1, 2 and 3 and nowhere else, reached over the first.
fn relayed(leads: bool, now: Mono) -> Endpoints {
    let mut endpoints = Endpoints::new(&[], Seat::new(SEAT), now).leading(leads);
    assert_eq!(endpoints.current(), None);
    assert!(endpoints.set_relays(&relays(&[1, 2, 3]), now));
    endpoints.handle_authenticated(over(1), Heard::Used, now);
    assert_eq!(endpoints.current(), Some(over(1)));
    endpoints
}

/// Lives for `ms`, sends all the time, and gets answers over each relay after so long (`None`: never). What came over the
/// relay in use is heard.
fn live(endpoints: &mut Endpoints, trips: [Option<u64>; 3], from: Mono, ms: u64) -> Mono {
    let mut due: Vec<(Mono, u64, Place)> = Vec::new();
    let mut now = from;
    for step in 0..ms / 10 {
        now = from.plus_millis(step * 10);
        if step % 50 == 0 {
            for ping in endpoints.poll_pings(now.0, now) {
                let number = ping.to.relay().unwrap().0[0];
                if let Some(ms) = trips[usize::from(number) - 1] {
                    due.push((now.plus_millis(ms), ping.nonce, ping.to));
                }
            }
        }
        let (come, rest): (Vec<_>, Vec<_>) = due.into_iter().partition(|(at, ..)| *at <= now);
        due = rest;
        for (_, nonce, place) in come {
            endpoints.handle_authenticated(place, Heard::Used, now);
            endpoints.handle_pong(nonce, now);
        }
    }
    now.plus_millis(10)
}

fn reason(endpoints: &Endpoints) -> Option<MoveReason> {
    endpoints.moves().last().map(|m| m.reason)
}

#[test]
fn a_handshake_without_proof_takes_the_two_nearest_relays_as_well() {
    let direct = at("192.0.2.1:1");
    let mut endpoints = Endpoints::new(&[direct], Seat::new(SEAT), Mono(0));
    assert!(endpoints.wants_relays() && endpoints.spares().is_empty());
    endpoints.set_relays(&relays(&[3, 1, 2]), Mono(0));
    assert_eq!((endpoints.current(), endpoints.spares()), (Some(direct.into()), vec![over(3), over(1)]));
    endpoints.handle_authenticated(direct.into(), Heard::Used, Mono(1));
    assert!(!endpoints.wants_relays() && endpoints.spares().is_empty(), "nothing is asked of a direct path");
}

#[test]
fn the_relay_that_is_nearest_to_both_is_used_within_five_seconds_and_not_left_for_a_few_milliseconds() {
    let start = Mono::from_millis(1000);
    let mut endpoints = relayed(true, start);
    let now = live(&mut endpoints, [Some(90), Some(40), Some(60)], start, 5_000);
    assert_eq!((endpoints.current(), reason(&endpoints)), (Some(over(2)), Some(MoveReason::Nearer)));
    let moves = endpoints.moves().count();
    let now = live(&mut endpoints, [Some(90), Some(40), Some(32)], now, 60_000);
    assert_eq!((endpoints.current(), endpoints.moves().count()), (Some(over(2)), moves));
    live(&mut endpoints, [Some(90), Some(40), Some(20)], now, 60_000);
    assert_eq!(endpoints.current(), Some(over(3)));
}

/// Two that both led would change places for ever.
#[test]
fn of_two_peers_one_chooses_and_the_other_follows() {
    let start = Mono::from_millis(1000);
    let mut follower = relayed(false, start);
    let now = live(&mut follower, [Some(90), Some(40), Some(60)], start, 5_000);
    assert_eq!(follower.current(), Some(over(1)), "it does not choose");
    // A packet of a question that came over another relay is followed by what comes over the one in use.
    assert!(!follower.handle_authenticated(over(2), Heard::Used, now));
    follower.handle_authenticated(over(1), Heard::Used, now.plus_millis(20));
    assert!(!follower.handle_authenticated(over(2), Heard::Used, now.plus_millis(600)));
    assert!(follower.handle_authenticated(over(2), Heard::Used, now.plus_millis(600 + probe::FOLLOW_MS)));
    assert_eq!((follower.current(), reason(&follower)), (Some(over(2)), Some(MoveReason::Roamed)));
    let mut leader = relayed(true, start);
    for step in 0..20 {
        leader.handle_authenticated(over(2), Heard::Used, start.plus_millis(step * 100));
    }
    assert_eq!(leader.current(), Some(over(1)));
}

#[test]
fn a_relay_over_which_nothing_comes_is_left_for_the_first_that_answers_within_three_seconds() {
    for leads in [true, false] {
        let start = Mono::from_millis(1000);
        let mut endpoints = relayed(leads, start);
        let now = live(&mut endpoints, [Some(30), Some(60), Some(90)], start, 10_000);
        assert_eq!(endpoints.current(), Some(over(1)));
        let now = live(&mut endpoints, [None, Some(60), Some(50)], now, 2_500);
        assert_eq!(endpoints.current(), Some(over(3)), "{leads}");
        live(&mut endpoints, [None, Some(60), Some(50)], now, 60_000);
        assert_eq!(endpoints.current(), Some(over(3)));
    }
}

/// As soon as an answer to the first question must have come, and no later than after a second.
#[test]
fn a_relay_that_answers_quickly_is_doubted_sooner_than_one_far_away() {
    let doubted_after = |trip: u64| {
        let start = Mono::from_millis(1000);
        let mut endpoints = relayed(true, start);
        let trips = [Some(trip), Some(trip), Some(trip)];
        let now = live(&mut endpoints, trips, start, 10_000);
        endpoints.handle_authenticated(over(1), Heard::Used, now);
        let asks_elsewhere = |ms: &u64| {
            let pings = endpoints.poll_pings(u64::MAX - ms, now.plus_millis(*ms));
            pings.iter().any(|ping| ping.to != over(1)) && *ms > 0
        };
        (0..2_000).step_by(10).find(asks_elsewhere).unwrap()
    };
    assert_eq!([5, 45, 100, 170, 400].map(doubted_after), [700, 700, 800, 940, 1_000]);
}

/// Who sends and gets no other answer asks the relay in use alone, and is not asked to go elsewhere by who is quicker.
#[test]
fn one_way_traffic_changes_no_relay() {
    let start = Mono::from_millis(1000);
    let mut endpoints = relayed(false, start);
    let moves = endpoints.moves().count();
    live(&mut endpoints, [Some(90), Some(40), Some(60)], start, 60_000);
    assert_eq!((endpoints.current(), endpoints.moves().count()), (Some(over(1)), moves));
}

#[test]
fn a_relay_that_may_not_be_used_any_more_is_left_at_once_for_the_quickest_that_answered() {
    let start = Mono::from_millis(1000);
    let mut endpoints = relayed(false, start);
    let now = live(&mut endpoints, [Some(30), Some(60), Some(50)], start, 5_000);
    assert!(!endpoints.set_relays(&relays(&[1, 2, 3]), now));
    assert!(endpoints.set_relays(&relays(&[2, 3]), now));
    assert_eq!((endpoints.current(), reason(&endpoints)), (Some(over(3)), Some(MoveReason::NoRelay)));
    // What still comes over the one that drains moves nothing.
    endpoints.handle_authenticated(over(3), Heard::Used, now);
    for step in 0..20 {
        endpoints.handle_authenticated(over(1), Heard::Used, now.plus_millis(step * 100));
    }
    assert_eq!(endpoints.current(), Some(over(3)));
}

/// Two NATs with another port for every destination, both of which let everybody in: each packet makes a mapping that the other has
/// not seen. Ends in packets and not in moves.
#[test]
fn two_peers_do_not_chase_each_other_from_port_to_port_for_ever() {
    let ms = Mono::from_millis;
    let port = |n: u16| Place::Direct(SocketAddr::from(([203, 0, 113, 7], n)));
    let mut path = Endpoints::new(&[SocketAddr::from(([203, 0, 113, 7], 1))], None, ms(0));
    path.handle_authenticated(port(1), Heard::Used, ms(0));
    // Every half second it speaks from another port; what is sent to the last one is heard there, too.
    let mut moves = Vec::new();
    for step in 1..200_u64 {
        let now = ms(step * 500);
        let current = path.current();
        if path.handle_authenticated(port(1 + step as u16), Heard::Used, now) {
            moves.push(step * 500);
        }
        for ping in path.poll_pings(step, now).into_iter().filter(|ping| Some(ping.to) == current) {
            path.handle_pong(ping.nonce, now.plus_millis(70));
        }
    }
    assert!(moves.len() <= 2 * CHASED, "{moves:?}");
    // A host that does not answer there any more is followed, as ever.
    let last = path.current();
    for step in 200..210_u64 {
        path.poll_pings(step, ms(step * 500));
        path.handle_authenticated(port(1 + step as u16), Heard::Used, ms(step * 500));
    }
    assert_ne!(path.current(), last, "silence is left");
    let elsewhere = Place::Direct(SocketAddr::from(([198, 51, 100, 1], 9)));
    assert!(path.handle_authenticated(elsewhere, Heard::Used, ms(105_000)), "another host is no chase");
}
