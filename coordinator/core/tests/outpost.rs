//! A relay that is a program of its own, and its coordinator: both real, with no network between them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::*;
use ed25519_dalek::{Signer as _, SigningKey};
use warren_coordinator_core::command::Command;
use warren_coordinator_core::outpost::{Act, Outpost};
use warren_coordinator_core::output::ConnId;
use warren_coordinator_core::relay::{Limits, Moment, PERMIT_LIFE, PLACE_LIFE, Place, Relay, Verdicts};
use warren_coordinator_core::relays::RelayState;
use warren_wire::door::{Carriage, DoorAt, DoorPlaces};
use warren_wire::frame::{
    Draining, FromRelay, NodePair, PairAnswer, Pairs, RefusalCode, RelayAt, RelayEnrol, RelayHello,
    RelaySays, SaidToRelay, SeatFor, enrolment,
};
use warren_wire::id::{IdentityKey, NodeId, RelayId};
use warren_wire::relay::{self, HEAD, Head, Seat};
use warren_wire::stun::PlaceKey;
use warren_wire::trust::{Record, Trust};
use zeroize::Zeroizing;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn here() -> RelayAt {
    RelayAt::new(IdentityKey([9; 32]), "coordinator", vec![])
}

fn host(number: u8) -> Place {
    Place { at: SocketAddr::from(([192, 0, 2, number], 4000)), by: None }
}

/// One relay: its own end, and its heart.
struct Far {
    conn: ConnId,
    key: SigningKey,
    outpost: Outpost,
    heart: Relay,
    acts: Vec<Act>,
    /// What it was told, as it came.
    told: Vec<SaidToRelay>,
    counter: u64,
}

struct Street {
    world: World,
    next: u64,
    /// The relay's clock.
    mono: Moment,
}

impl Street {
    /// web-1, orders-1, db-1, and the coordinator's own relay.
    fn new(seed: u64) -> Street {
        let mut world = World::new(seed);
        world.coordinator.offer_relay(Zeroizing::new([seed as u8; 32]), Some(here()));
        world.apply(CHAIN).unwrap();
        for (name, tag) in [("web-1", "web"), ("orders-1", "orders"), ("db-1", "db")] {
            world.join(name, &[tag]);
        }
        Street { world, next: 1_000_000, mono: Duration::from_secs(5000) }
    }

    fn add(&mut self, name: &str, token: u8) {
        let ends = self.world.now.plus(3600);
        let command =
            Command::AddRelay { name: name.into(), token: IdentityKey::of(&key(token)), at: vec![], ends };
        self.world.command(command).unwrap();
    }

    /// A connection of a relay with this key; it has said nothing.
    fn connect(&mut self, seed: u8) -> Far {
        let (conn, key) = (ConnId(self.next), key(seed));
        self.next += 1;
        let from = SocketAddr::from(([203, 0, 113, seed], 999));
        self.world.coordinator.handle_relay_connected(conn, IdentityKey::of(&key), from);
        Far {
            conn,
            key,
            outpost: Outpost::new(self.world.net.trust.clone()),
            heart: Relay::new(Limits::default()),
            acts: Vec::new(),
            told: Vec::new(),
            counter: 0,
        }
    }

    fn say(&mut self, far: &mut Far, says: RelaySays) {
        let frame = FromRelay { says: Some(says) };
        if let Some(proposal) = self.world.coordinator.handle_relay_frame(far.conn, frame, self.world.now) {
            self.world.coordinator.commit(&mut self.world.store, proposal, self.world.now).unwrap();
        }
        self.settle(far);
    }

    /// What the coordinator has said is heard, until nobody has anything to say.
    fn settle(&mut self, far: &mut Far) {
        self.world.drain();
        loop {
            let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.world.to_relays)
                .into_iter()
                .partition(|(conn, _)| *conn == far.conn);
            self.world.to_relays = others;
            if mine.is_empty() {
                return;
            }
            for (_, said) in mine {
                let said = said.said().unwrap();
                far.told.push(said.clone());
                far.acts.extend(far.outpost.handle(said, &far.heart, self.mono));
            }
            for pairs in far.outpost.poll_ask() {
                let frame = FromRelay { says: Some(RelaySays::Ask(pairs)) };
                assert!(self.world.coordinator.handle_relay_frame(far.conn, frame, self.world.now).is_none());
            }
            self.world.drain();
        }
    }

    fn enrol(&mut self, far: &mut Far, token: u8) {
        let key = IdentityKey::of(&far.key);
        let signature = self::key(token).sign(&enrolment(self.world.net.id(), &key)).to_bytes().to_vec();
        let token_key = self::key(token).verifying_key().to_bytes().to_vec();
        self.say(far, RelaySays::Enrol(RelayEnrol { token_key, signature }));
    }

    fn hello(&mut self, far: &mut Far) {
        self.hello_with(far, None);
    }

    fn hello_with(&mut self, far: &mut Far, doors: Option<DoorPlaces>) {
        self.say(
            far,
            RelaySays::Hello(RelayHello { agent: "test".into(), port: 7946, places: vec![], doors }),
        );
    }

    /// A relay that was let in and has a session.
    fn relay(&mut self, name: &str, seed: u8) -> Far {
        self.add(name, seed);
        let mut far = self.connect(seed + 100);
        self.enrol(&mut far, seed);
        self.hello(&mut far);
        far
    }

    fn refusal(&self, far: &Far) -> Option<RefusalCode> {
        let closed = self.world.relays_closed.iter().find(|(conn, _)| *conn == far.conn);
        closed.map(|(_, refused)| RefusalCode::try_from(refused.code).unwrap())
    }

    /// A host sends a frame; what the relay sends on, after its questions were answered.
    fn frame(&mut self, far: &mut Far, from: usize, to: Option<usize>) -> Vec<(SocketAddr, Vec<u8>)> {
        let id = RelayId::of(&IdentityKey::of(&far.key));
        let seated = self.world.hosts[from].seats.last().unwrap().clone();
        let to = to.map_or(Seat::RELAY, |to| self.world.hosts[to].seats.last().unwrap().seat);
        far.counter += 1;
        let mut bytes = [&[0; HEAD][..], &[7; 16]].concat();
        assert!(relay::write(
            &mut bytes,
            Head { from: seated.seat, to, counter: far.counter },
            &seated.up.at(&id)
        ));
        let (mut verdicts, stride) = (Verdicts::default(), bytes.len());
        far.heart.handle(host(from as u8 + 1), &mut bytes, stride, self.mono, &mut verdicts);
        let mut sent: Vec<(SocketAddr, Vec<u8>)> =
            verdicts.forwards.iter().map(|f| (f.to.at, bytes[f.range.clone()].to_vec())).collect();
        verdicts.asks.into_iter().for_each(|ask| far.outpost.ask(ask));
        for pairs in far.outpost.poll_ask() {
            self.say(far, RelaySays::Ask(pairs));
        }
        for act in std::mem::take(&mut far.acts) {
            if let Act::Release(released) = act {
                sent.push((released.to.at, released.frame));
            }
        }
        sent
    }

    /// All three hosts show where they are.
    fn show(&mut self, far: &mut Far) {
        for from in 0..3 {
            assert_eq!(self.frame(far, from, None).len(), 1);
        }
    }

    fn relays_told(&self, at: usize) -> Vec<(String, bool)> {
        let seated = self.world.hosts[at].seats.last().unwrap();
        seated.relays.iter().map(|relay| (relay.name.clone(), relay.draining)).collect()
    }
}

fn plain(names: &[&str]) -> Vec<(String, bool)> {
    names.iter().map(|name| ((*name).to_owned(), false)).collect()
}

#[test]
fn a_relay_with_a_token_comes_in_and_every_node_hears_where_it_is() {
    let mut street = Street::new(1);
    assert_eq!(street.relays_told(0), plain(&["coordinator"]));
    let place_key = PlaceKey::new([99; 16]);
    street.world.coordinator.prove_places_with(place_key.clone());
    let far = street.relay("fra", 7);
    let begun = Act::Begun { name: "fra".into(), place_key: Some(place_key) };
    assert!(far.acts.contains(&begun) && !format!("{:?}", far.acts).contains("99"), "{:?}", far.acts);
    for at in 0..3 {
        assert_eq!(street.relays_told(at), plain(&["coordinator", "fra"]));
        let told = &street.world.hosts[at].seats.last().unwrap().relays[1];
        assert_eq!(told.addresses, [SocketAddr::from(([203, 0, 113, 107], 7946))], "where it was seen");
        assert_eq!(told.key, IdentityKey::of(&far.key));
    }
    let row = &street.world.coordinator.relay_rows(street.world.now)[0];
    assert_eq!(
        (row.name.as_str(), row.state, row.id),
        ("fra", RelayState::Up, Some(RelayId::of(&IdentityKey::of(&far.key))))
    );
    assert_eq!(far.heart.status(street.mono).seats, 3);
    // It is known after a restart of the coordinator, too, and nodes hear of it at once.
    street.world.restart();
    street.world.seated.clear();
    street.world.coordinator.offer_relay(Zeroizing::new([77; 32]), Some(here()));
    street.world.online(0);
    assert_eq!(street.relays_told(0), plain(&["coordinator", "fra"]));
}

#[test]
fn a_token_lets_in_one_relay_once_and_a_second_try_is_an_alarm() {
    let mut street = Street::new(2);
    let mut first = street.relay("fra", 7);
    let mut second = street.connect(44);
    street.enrol(&mut second, 7);
    assert_eq!(street.refusal(&second), Some(RefusalCode::TokenSpent));
    assert!(street.world.alarms.iter().any(|alarm| alarm.message.contains("spent by relay fra")));
    // The first may come again, with and without its token.
    let mut again = street.connect(107);
    street.enrol(&mut again, 7);
    street.hello(&mut again);
    assert_eq!((street.refusal(&again), street.refusal(&first)), (None, Some(RefusalCode::Replaced)));
    street.settle(&mut first);
}

#[test]
fn who_holds_no_token_or_an_old_one_is_no_relay() {
    let mut street = Street::new(3);
    street.add("fra", 7);
    let mut stranger = street.connect(50);
    street.hello(&mut stranger);
    assert_eq!(street.refusal(&stranger), Some(RefusalCode::NotAMember));
    // The right token, signed for another key.
    let mut thief = street.connect(51);
    let other = IdentityKey::of(&key(52));
    let signature = key(7).sign(&enrolment(street.world.net.id(), &other)).to_bytes().to_vec();
    let token_key = key(7).verifying_key().to_bytes().to_vec();
    street.say(&mut thief, RelaySays::Enrol(RelayEnrol { token_key, signature }));
    assert_eq!(street.refusal(&thief), Some(RefusalCode::BadStatement));
    let mut unknown = street.connect(53);
    street.enrol(&mut unknown, 9);
    assert_eq!(street.refusal(&unknown), Some(RefusalCode::TokenUnknown));
    street.world.wait(3600);
    let mut late = street.connect(54);
    street.enrol(&mut late, 7);
    assert_eq!(street.refusal(&late), Some(RefusalCode::TokenExpired));
    assert_eq!(street.world.coordinator.relay_rows(street.world.now)[0].state, RelayState::Expired);
    let mut silent = street.connect(55);
    street.say(&mut silent, RelaySays::Draining(Draining {}));
    assert_eq!(street.refusal(&silent), Some(RefusalCode::Protocol));
    assert_eq!(street.relays_told(0), plain(&["coordinator"]));
}

#[test]
fn pairs_that_a_grant_joins_talk_there_and_a_change_of_policy_cuts_them_in_the_same_step() {
    let mut street = Street::new(4);
    let mut far = street.relay("fra", 7);
    street.show(&mut far);
    let passed = street.frame(&mut far, 0, Some(1));
    assert_eq!(passed.len(), 1, "the first frame waits for the answer and goes on");
    let (down, id) =
        (&street.world.hosts[1].seats.last().unwrap().down, RelayId::of(&IdentityKey::of(&far.key)));
    assert!(passed[0].0 == host(2).at && relay::verify(&passed[0].1, &down.at(&id)));
    assert_eq!(street.frame(&mut far, 0, Some(2)).len(), 0, "no grant joins web and db");
    assert_eq!(street.frame(&mut far, 1, Some(2)).len(), 1);
    street
        .world
        .apply(&CHAIN.replace("tag:web", "tag:other").replace("[tag.web]", "[tag.web]\n[tag.other]"))
        .unwrap();
    street.settle(&mut far);
    let web_orders = (street.world.id(0), street.world.id(1));
    let withdrawn: BTreeSet<(NodeId, NodeId)> = far
        .told
        .iter()
        .filter_map(|said| match said {
            SaidToRelay::Withdraw(pairs) => Some(pairs.nodes().collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(withdrawn, BTreeSet::from([(web_orders.0.min(web_orders.1), web_orders.0.max(web_orders.1))]));
    assert_eq!(street.frame(&mut far, 0, Some(1)).len(), 0);
    assert_eq!(street.frame(&mut far, 1, Some(2)).len(), 1, "others notice nothing");
}

#[test]
fn who_is_revoked_loses_its_seat_there_at_once() {
    let mut street = Street::new(5);
    let mut far = street.relay("fra", 7);
    street.show(&mut far);
    assert_eq!(street.frame(&mut far, 0, Some(1)).len(), 1);
    street.world.revoke(0).unwrap();
    street.settle(&mut far);
    assert_eq!(far.heart.status(street.mono).seats, 2);
    assert_eq!(street.frame(&mut far, 0, Some(1)).len(), 0);
}

/// A coordinator that lies names a node no authority stands behind.
#[test]
fn a_node_of_another_network_or_with_a_forged_record_is_not_seated() {
    let mut street = Street::new(6);
    let mut far = street.relay("fra", 7);
    let foreign = Street::new(66);
    let record = |street: &Street, at: usize| street.world.hosts[at].record.clone().unwrap();
    let mut forged = record(&street, 0);
    forged.admission = record(&street, 1).admission;
    let mut unsigned = record(&street, 0);
    unsigned.delegation = None;
    for (number, record) in (40..).zip([record(&foreign, 0), forged, unsigned, Record::default()]) {
        let seat = SeatFor { number, up: vec![1; 16], down: vec![2; 16], life: 600, record: Some(record) };
        let acts = far.outpost.handle(SaidToRelay::Seat(seat), &far.heart, street.mono);
        assert!(matches!(&acts[..], [Act::Warn(_)]), "{acts:?}");
    }
    assert_eq!(far.heart.status(street.mono).seats, 3);
    assert_eq!(far.outpost.counts(&far.heart, 1, 0, street.mono).unproven, 4);
    let good = SeatFor {
        number: 50,
        up: vec![1; 16],
        down: vec![2; 16],
        life: 600,
        record: Some(record(&street, 0)),
    };
    assert!(far.outpost.handle(SaidToRelay::Seat(good), &far.heart, street.mono).is_empty());
    // A charter of another authority begins nothing.
    let trust = Trust { network: foreign.world.net.trust.network, ..street.world.net.trust.clone() };
    let mut stranger = Outpost::new(trust);
    let welcome = far.told.iter().find(|said| matches!(said, SaidToRelay::Welcome(_))).unwrap().clone();
    let acts = stranger.handle(welcome, &far.heart, street.mono);
    assert!(matches!(&acts[..], [Act::Warn(_)]), "{acts:?}");
}

/// A permit is for the pair that was asked about, once: for another, or said again when it has ended, it opens nothing and is counted.
#[test]
fn an_answer_nobody_asked_for_opens_nothing() {
    let mut street = Street::new(7);
    let mut far = street.relay("fra", 7);
    street.show(&mut far);
    let yes = |street: &Street, a: usize, b: usize| {
        let pair = NodePair::of((street.world.id(a), street.world.id(b)));
        SaidToRelay::Answer(PairAnswer { may: Some(Pairs { pairs: vec![pair] }), may_not: None })
    };
    let unasked = |far: &Far, street: &Street| far.outpost.counts(&far.heart, 1, 0, street.mono).unasked;
    far.outpost.handle(yes(&street, 0, 2), &far.heart, street.mono);
    assert!(far.heart.allowed().is_empty());
    assert_eq!(street.frame(&mut far, 0, Some(2)).len(), 0);
    assert_eq!(unasked(&far, &street), 1);
    // One that was asked for ends, and is said again by nobody who was asked.
    assert_eq!(street.frame(&mut far, 0, Some(1)).len(), 1);
    street.mono += PERMIT_LIFE;
    far.heart.tidy(street.mono);
    far.outpost.handle(yes(&street, 0, 1), &far.heart, street.mono);
    assert!(far.heart.allowed().is_empty(), "what has ended is not lengthened by an old answer");
    assert_eq!(unasked(&far, &street), 2);
    // Nothing stands in the way of the next that is asked for.
    street.show(&mut far);
    assert_eq!(street.frame(&mut far, 0, Some(1)).len(), 1);
    assert_eq!(unasked(&far, &street), 2);
}

#[test]
fn while_the_coordinator_is_away_what_was_allowed_goes_on_and_nobody_new_talks() {
    let mut street = Street::new(8);
    let mut far = street.relay("fra", 7);
    street.show(&mut far);
    assert_eq!(street.frame(&mut far, 0, Some(1)).len(), 1);
    far.outpost.handle_gone(&far.heart);
    for _ in 0..20 {
        street.mono += Duration::from_secs(100);
        far.heart.tidy(street.mono);
        for from in 0..2 {
            let passed =
                street.frame(&mut far, from, None).len() + street.frame(&mut far, from, Some(1 - from)).len();
            assert_eq!(passed, 2);
        }
    }
    // The policy changes meanwhile: it is asked about all it allows as soon as there is somebody to ask.
    street
        .world
        .apply(&CHAIN.replace("tag:web", "tag:other").replace("[tag.web]", "[tag.web]\n[tag.other]"))
        .unwrap();
    street.world.coordinator.handle_relay_disconnected(far.conn, street.world.now);
    street.world.to_relays.clear();
    let again = street.connect(107);
    far.conn = again.conn;
    street.hello(&mut far);
    assert!(far.heart.allowed().is_empty());
    assert_eq!(street.frame(&mut far, 0, Some(1)).len(), 0);
}

#[test]
fn a_relay_that_drains_or_is_removed_is_told_so_and_nodes_hear_it() {
    let mut street = Street::new(9);
    let mut far = street.relay("fra", 7);
    let mut other = street.relay("ams", 8);
    street.world.command(Command::DrainRelay { name: "fra".into(), draining: true }).unwrap();
    street.settle(&mut far);
    assert!(far.acts.contains(&Act::Drain));
    let told = |name: &str, draining| (name.to_owned(), draining);
    let expected = [told("coordinator", false), told("fra", true), told("ams", false)];
    assert_eq!(street.relays_told(0), expected);
    assert!(street.world.command(Command::DrainRelay { name: "fra".into(), draining: true }).is_err());
    // It ends: nobody is told of it any more.
    street.world.coordinator.handle_relay_disconnected(far.conn, street.world.now);
    street.settle(&mut far);
    assert_eq!(street.relays_told(0), plain(&["coordinator", "ams"]));
    // By its own word; it goes and comes back.
    street.say(&mut other, RelaySays::Draining(Draining {}));
    assert_eq!(street.relays_told(0), [told("coordinator", false), told("ams", true)]);
    street.world.coordinator.handle_relay_disconnected(other.conn, street.world.now);
    street.settle(&mut other);
    assert_eq!(street.relays_told(0), plain(&["coordinator"]));
    other.conn = street.connect(108).conn;
    street.hello(&mut other);
    assert_eq!(street.relays_told(0), plain(&["coordinator", "ams"]));
    street.world.command(Command::RemoveRelay { name: "ams".into() }).unwrap();
    street.settle(&mut other);
    assert_eq!(street.relays_told(0), plain(&["coordinator"]));
    assert_eq!(street.refusal(&other), Some(RefusalCode::NotAMember));
    let mut back = street.connect(108);
    street.hello(&mut back);
    assert_eq!(street.refusal(&back), Some(RefusalCode::NotAMember));
}

/// Two nodes must sit at one together, so all are told of the same.
#[test]
fn of_more_than_eight_relays_every_node_is_told_of_the_same_oldest() {
    let mut street = Street::new(10);
    for n in 0..10 {
        street.relay(&format!("relay-{n}"), 7 + n);
    }
    let mut want = vec!["coordinator".to_owned()];
    want.extend((0..7).map(|n| format!("relay-{n}")));
    for at in 0..3 {
        let told: Vec<String> = street.relays_told(at).into_iter().map(|(name, _)| name).collect();
        assert_eq!(told, want);
    }
}

/// RL-04: each is given its own keys of a seat.
#[test]
fn no_two_relays_are_given_the_same_keys() {
    let mut street = Street::new(11);
    let [one, other] = [("fra", 7), ("ams", 8)].map(|(name, seed)| street.relay(name, seed));
    let keys = |far: &Far| -> BTreeSet<Vec<u8>> {
        let seats = far.told.iter().filter_map(|said| match said {
            SaidToRelay::Seat(seat) => Some([seat.up.clone(), seat.down.clone()]),
            _ => None,
        });
        seats.flatten().collect()
    };
    assert_eq!((keys(&one).len(), keys(&other).len()), (6, 6));
    assert!(keys(&one).is_disjoint(&keys(&other)));
    let own: BTreeSet<Vec<u8>> =
        street.world.hosts.iter().flat_map(|h| h.seats.iter().map(|s| s.up.expose().to_vec())).collect();
    assert!(keys(&one).is_disjoint(&own), "nor those the nodes derive them from");
}

#[test]
fn nodes_are_told_of_the_doors_of_a_relay_also_after_a_restart_and_when_it_says_others() {
    let mut street = Street::new(12);
    let mut far = street.relay("fra", 7);
    let doors_told = |street: &Street| {
        street.world.hosts[0].seats.last().and_then(|s| s.relays.get(1)).map(|r| r.doors.clone())
    };
    assert_eq!(doors_told(&street), Some(None), "it has not said");
    let web = |port| vec![DoorAt { carriage: Carriage::WebSocket, port }];
    for doors in [web(8443), web(443), Vec::new()] {
        street.world.coordinator.handle_relay_disconnected(far.conn, street.world.now);
        far.conn = street.connect(107).conn;
        street.hello_with(&mut far, Some(DoorPlaces::of(&doors)));
        assert_eq!(doors_told(&street), Some(Some(doors.clone())));
        // From the log alone.
        let again = open(&mut street.world.store, &street.world.net, street.world.now);
        assert_eq!(again.state().relays().in_order()[0].doors, Some(doors));
    }
    let revision = street.world.coordinator.state().head().revision;
    street.world.coordinator.handle_relay_disconnected(far.conn, street.world.now);
    far.conn = street.connect(107).conn;
    street.hello_with(&mut far, Some(DoorPlaces::of(&[])));
    assert_eq!(street.world.coordinator.state().head().revision, revision, "nothing new, nothing written");
}

impl Far {
    fn seat_told(&self, at: usize) -> SeatFor {
        let seats = self.told.iter().filter_map(|said| match said {
            SaidToRelay::Seat(seat) => Some(seat.clone()),
            _ => None,
        });
        seats.take(at + 1).last().unwrap()
    }

    /// The node of this seat shows itself there.
    fn shows(&mut self, seat: &SeatFor, now: Moment) {
        self.counter += 1;
        let mut bytes = [&[0; HEAD][..], &[7; 16]].concat();
        let (from, (up, _)) = (seat.seat().unwrap(), seat.keys().unwrap());
        assert!(relay::write(&mut bytes, Head { from, to: Seat::RELAY, counter: self.counter }, &up));
        let (mut verdicts, stride) = (Verdicts::default(), bytes.len());
        self.heart.handle(host(9), &mut bytes, stride, now, &mut verdicts);
        assert_eq!(verdicts.forwards.len(), 1);
    }

    fn has(&self, seat: &SeatFor) -> bool {
        self.heart.has_seat(seat.seat().unwrap())
    }
}

#[test]
fn a_seat_from_before_the_coordinators_restart_is_given_back_when_its_node_has_taken_up_the_newer() {
    let mut street = Street::new(13);
    let mut far = street.relay("fra", 7);
    let seats = [0, 1, 2].map(|at| far.seat_told(at));
    seats.iter().for_each(|seat| far.shows(seat, street.mono));
    let other = (1..).map(|n| seats[0].number % 1000 + n).find(|n| seats.iter().all(|s| s.number != *n));
    let newer = SeatFor { number: other.unwrap(), up: vec![1; 16], down: vec![2; 16], ..seats[0].clone() };
    far.outpost.handle(SaidToRelay::Seat(newer.clone()), &far.heart, street.mono);
    far.outpost.tidy(&far.heart, street.mono);
    assert!(far.has(&seats[0]) && far.has(&newer), "its node has not heard of the newer one yet");
    far.shows(&newer, street.mono);
    far.outpost.tidy(&far.heart, street.mono);
    assert!(!far.has(&seats[0]) && far.has(&newer));
    assert!(far.has(&seats[1]) && far.has(&seats[2]), "the others' stay");
}

#[test]
fn a_seat_whose_node_is_neither_here_nor_named_by_the_coordinator_that_was_started_again_is_given_back() {
    let mut street = Street::new(14);
    let mut far = street.relay("fra", 7);
    let [here, named, gone] = [0, 1, 2].map(|at| far.seat_told(at));
    let welcome = far.told.iter().find(|said| matches!(said, SaidToRelay::Welcome(_))).unwrap().clone();
    far.outpost.handle_gone(&far.heart);
    street.mono += PLACE_LIFE * 3;
    far.outpost.tidy(&far.heart, street.mono);
    assert!([&here, &named, &gone].iter().all(|seat| far.has(seat)), "nobody can give them others");
    // It is there for a moment only, and nobody was named; then it is there to stay.
    far.outpost.handle(welcome.clone(), &far.heart, street.mono);
    far.outpost.handle_gone(&far.heart);
    street.mono += PLACE_LIFE * 3;
    far.outpost.tidy(&far.heart, street.mono);
    assert!([&here, &named, &gone].iter().all(|seat| far.has(seat)), "nobody can give them others");
    far.outpost.handle(welcome, &far.heart, street.mono);
    far.outpost.handle(SaidToRelay::Seat(named.clone()), &far.heart, street.mono);
    far.shows(&here, street.mono);
    street.mono += PLACE_LIFE - Duration::from_secs(1);
    far.outpost.tidy(&far.heart, street.mono);
    assert!(far.has(&gone), "it may be about to come back");
    far.shows(&here, street.mono);
    street.mono += Duration::from_secs(1);
    far.outpost.tidy(&far.heart, street.mono);
    assert_eq!([&here, &named, &gone].map(|seat| far.has(seat)), [true, true, false]);
}
