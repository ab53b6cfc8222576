//! Two nodes with a relay between them that does what a relay does and nothing more, and direct paths that come and go.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use warren_node_core::packet::vnet::Vnet;
use warren_node_core::path::{MoveReason, Place};
use warren_node_core::session::standin::StandinEngine;
use warren_wire::frame::{RelayAt, Seated};
use warren_wire::id::{IdentityKey, NodeId, RelayId};
use warren_wire::relay::{self, HEAD, Head, Seat, TagKey};

use crate::both;
use crate::world::{Datagram, Keyed, World, assembly, pairs, udp4, underlay};

fn id(node: usize) -> NodeId {
    NodeId([node as u8 + 1; 16])
}

fn seat(node: usize) -> Seat {
    Seat::new(node as u32 + 101).unwrap()
}

fn key(node: usize, up: bool) -> TagKey {
    TagKey::new([node as u8 * 2 + u8::from(up) + 1; 16])
}

/// Relay 0 is where the coordinator is, and the only one in most of these tests.
fn relay_at() -> SocketAddr {
    at(0)
}

fn at(relay: u8) -> SocketAddr {
    (Ipv4Addr::new(198, 51, 100, 9 + relay), 7946).into()
}

fn told(relay: u8) -> RelayAt {
    RelayAt::new(IdentityKey([relay + 1; 32]), "relay", vec![at(relay)])
}

fn name(relay: u8) -> RelayId {
    told(relay).id
}

fn seated(node: usize, relays: Vec<RelayAt>) -> Seated {
    Seated { seat: seat(node), up: key(node, true), down: key(node, false), relays, until: 9 }
}

/// Which datagrams arrive.
#[derive(Clone, Copy)]
struct Paths {
    /// From node 0 to node 1, and back.
    direct: [bool; 2],
    /// Between each relay and each node.
    relays: [[bool; 2]; 2],
}

struct Town<E: warren_node_core::session::Engine> {
    world: World<E>,
    paths: Paths,
    /// What each relay knows.
    places: [BTreeMap<Seat, SocketAddr>; 2],
    /// Frames the relays have passed on.
    passed: usize,
    passed_by: [usize; 2],
    /// Node 0 is seen there by node 1, and reached there.
    behind: Option<SocketAddr>,
    /// Keys that were given later.
    up: BTreeMap<usize, TagKey>,
    /// So many initiations get lost on their way to a relay.
    lost: usize,
}

impl<E: Keyed> Town<E> {
    fn new(paths: Paths) -> Town<E> {
        Town::with(paths, 1)
    }

    fn with(paths: Paths, relays: u8) -> Town<E> {
        let world = World::<E>::new(2, 2, false);
        for node in 0..2 {
            let seated = seated(node, (0..relays).map(told).collect());
            world.nodes[node].plane.set_berths(Some(&seated), None);
            let mut told = assembly(node, &[1 - node], &pairs(2), 2, world.lanes);
            told.peers.get_mut(&id(1 - node)).unwrap().seat = Some(seat(1 - node));
            world.nodes[node].plane.publish(&told, world.now);
        }
        let mut town = Town {
            world,
            paths,
            places: Default::default(),
            passed: 0,
            passed_by: [0; 2],
            behind: None,
            up: BTreeMap::new(),
            lost: 0,
        };
        town.live(1000);
        town
    }

    /// What a relay does with one datagram.
    fn relay(&mut self, by: u8, from: SocketAddr, mut frame: Vec<u8>) {
        let Some((head, carried)) = relay::read(&frame) else { return };
        if carried.first() == Some(&1) && self.lost > 0 {
            self.lost -= 1;
            return;
        }
        let node = head.from.number() as usize - 101;
        let up = self.up.get(&node).cloned().unwrap_or_else(|| key(node, true));
        assert!(relay::verify(&frame, &up.at(&name(by))), "a node's frames are authentic");
        let places = &mut self.places[usize::from(by)];
        places.insert(head.from, from);
        let (to, frame) = if head.to.is_relay() {
            let mut answer = [&[0; HEAD], carried].concat();
            let head = Head { from: Seat::RELAY, to: head.from, counter: head.counter };
            relay::write(&mut answer, head, &key(node, false).at(&name(by)));
            (from, answer)
        } else {
            let Some(to) = places.get(&head.to) else { return };
            relay::stamp(&mut frame, &key(head.to.number() as usize - 101, false).at(&name(by)));
            self.passed += 1;
            self.passed_by[usize::from(by)] += 1;
            (*to, frame)
        };
        let stride = frame.len();
        self.world.put(vec![Datagram { from: at(by), to, bytes: frame, stride }]);
    }

    /// Does a datagram between the relay and this place of a node arrive?
    fn carries(&self, relay: u8, place: SocketAddr) -> bool {
        let node = self.world.nodes.iter().position(|n| n.address == place);
        node.is_none_or(|node| self.paths.relays[usize::from(relay)][node])
    }

    fn settle(&mut self) {
        while let Some(d) = self.world.wire.pop_front() {
            if let Some(by) = (0..2).find(|by| at(*by) == d.to) {
                if self.carries(by, d.from) {
                    d.bytes.chunks(d.stride).for_each(|frame| self.relay(by, d.from, frame.to_vec()));
                }
                continue;
            }
            let relay = (0..2).find(|by| at(*by) == d.from);
            let d = self.translated(d);
            let Some(node) = self.world.nodes.iter().position(|n| n.address == d.to) else { continue };
            if relay.map_or(self.paths.direct[1 - node], |by| self.carries(by, d.to)) {
                let answers = self.world.deliver(node, &d);
                self.world.put(answers);
            }
        }
    }

    /// As a NAT before node 0 has it: it is where nobody was told.
    fn translated(&self, d: Datagram) -> Datagram {
        match self.behind {
            Some(outside) if d.from == underlay(0) && d.to == underlay(1) => Datagram { from: outside, ..d },
            Some(outside) if d.to == outside => Datagram { to: underlay(0), ..d },
            Some(_) if d.to == underlay(0) && d.from == underlay(1) => Datagram { to: underlay(7), ..d },
            _ => d,
        }
    }

    fn live(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.world.pass(100);
            self.world.tick();
            self.settle();
        }
    }

    fn say(&mut self, from: usize) {
        let (sport, dport) = if from == 0 { (4000, 53) } else { (53, 4000) };
        self.world.send(from, Vnet::PLAIN, &udp4(from, 1 - from, sport, dport, b"word"));
        self.settle();
    }

    /// A question and an answer every 100 ms; how many of both arrived.
    fn talk(&mut self, ms: u64) -> (usize, usize) {
        let mut heard = (0, 0);
        for _ in 0..ms / 100 {
            self.say(0);
            self.say(1);
            self.live(100);
            heard.0 += self.world.received(1).len();
            heard.1 += self.world.received(0).len();
        }
        heard
    }

    fn is_direct(&self, node: usize) -> bool {
        self.world.endpoint(node, 1 - node) == Some(underlay(1 - node))
    }

    fn reasons(&self, node: usize) -> Vec<MoveReason> {
        let places = self.world.nodes[node].plane.whereabouts(id(1 - node)).unwrap();
        places.moves().map(|m| m.reason).collect()
    }
}

const ALL: [[bool; 2]; 2] = [[true; 2]; 2];
const OPEN: Paths = Paths { direct: [true, true], relays: ALL };
const SHUT: Paths = Paths { direct: [false, false], relays: ALL };

fn where_no_direct_path_works_the_first_packet_goes_over_the_relay_at_once<E: Keyed>() {
    let mut town = Town::<E>::new(SHUT);
    town.say(0);
    assert_eq!(town.world.received(1).len(), 1, "no timeout is waited for");
    assert_eq!(town.talk(5000), (50, 50));
    assert!(!town.is_direct(0) && !town.is_direct(1) && town.passed > 100);
}

fn where_a_direct_path_works_nothing_goes_over_the_relay<E: Keyed>() {
    let mut town = Town::<E>::new(OPEN);
    town.say(0);
    town.talk(1000);
    let before = town.passed;
    assert!(before <= 2, "{before}: a first initiation, as long as nothing is proven");
    assert_eq!(town.talk(5000), (50, 50));
    assert!(town.is_direct(0) && town.is_direct(1));
    assert_eq!(town.passed, before);
}

fn when_the_obstacle_goes_the_path_is_direct_within_half_a_minute_and_nothing_is_lost<E: Keyed>() {
    let mut town = Town::<E>::new(SHUT);
    town.say(0);
    town.talk(60_000);
    town.paths = OPEN;
    assert_eq!(town.talk(30_000), (300, 300));
    assert!(town.is_direct(0) && town.is_direct(1));
    assert_eq!(town.reasons(0).last(), Some(&MoveReason::Answered));
    let before = town.passed;
    town.talk(5000);
    assert_eq!(town.passed, before);
}

fn when_the_direct_path_dies_the_relay_takes_over_within_five_seconds<E: Keyed>() {
    let mut town = Town::<E>::new(OPEN);
    town.say(0);
    town.talk(2000);
    assert!(town.is_direct(0));
    town.paths = SHUT;
    town.talk(5000);
    assert_eq!(town.talk(3000), (30, 30));
    assert!(!town.is_direct(0) && !town.is_direct(1));
    assert_eq!(town.reasons(0).last(), Some(&MoveReason::Silent));
}

/// That something comes from there is no proof that anything gets there.
fn a_path_that_works_one_way_only_is_not_used<E: Keyed>() {
    for direct in [[true, false], [false, true]] {
        let mut town = Town::<E>::new(OPEN);
        town.say(0);
        town.talk(2000);
        town.paths = Paths { direct, relays: ALL };
        town.talk(12_000);
        for _ in 0..4 {
            assert_eq!(town.talk(10_000), (100, 100));
        }
        assert!(!town.is_direct(0) && !town.is_direct(1));
    }
}

/// A second try goes everywhere, and the copy that comes first comes where no answer gets back.
fn a_lost_rekey_is_made_good_although_a_path_works_one_way_only<E: Keyed>() {
    for direct in [[true, false], [false, true]] {
        let mut town = Town::<E>::new(Paths { direct, relays: ALL });
        town.say(0);
        town.talk(100_000);
        town.lost = 1;
        for second in 0..9 {
            assert_eq!(town.talk(10_000), (100, 100), "{direct:?}, from {} s on", 100 + 10 * second);
        }
        assert_eq!(town.lost, 0, "there were new keys");
        assert!(!town.is_direct(0) && !town.is_direct(1));
    }
}

fn a_relay_that_is_gone_keeps_nobody_from_a_direct_path<E: Keyed>() {
    let mut town = Town::<E>::new(SHUT);
    town.say(0);
    town.talk(2000);
    town.paths = Paths { direct: [true, true], relays: [[false; 2]; 2] };
    town.talk(12_000);
    assert_eq!(town.talk(2000), (20, 20));
    assert!(town.is_direct(0) && town.is_direct(1));
}

/// RFC 8445 section 7.3.1.3 calls it peer-reflexive: a NAT has made the place for this peer alone, so nobody could name it.
fn a_direct_place_that_nobody_named_is_found_by_what_comes_from_it<E: Keyed>() {
    let mut town = Town::<E>::new(SHUT);
    let elsewhere = underlay(9);
    town.behind = Some(elsewhere);
    town.say(0);
    town.talk(2000);
    town.paths = OPEN;
    town.talk(30_000);
    assert!(town.is_direct(0));
    assert_eq!(town.world.endpoint(1, 0), Some(elsewhere));
}

/// A new control session gives new keys.
fn who_is_reached_over_the_relay_notices_nothing_of_new_keys<E: Keyed>() {
    let mut town = Town::<E>::new(SHUT);
    town.say(0);
    town.talk(1000);
    let seated = Seated { until: 99, ..seated(0, vec![told(0)]) };
    // The same keys are the same seat; new ones are asked about at once.
    town.world.nodes[0].plane.set_berths(Some(&seated), None);
    assert_eq!(town.talk(1000), (10, 10));
    town.up.insert(0, TagKey::new([0xee; 16]));
    let fresh = Seated { up: TagKey::new([0xee; 16]), ..seated };
    town.world.nodes[0].plane.set_berths(Some(&fresh), None);
    assert_eq!(town.talk(3000), (30, 30));
    assert!(!town.is_direct(0));
}

/// The relay over which node 0 sends.
fn used<E: Keyed>(town: &Town<E>, node: usize) -> Option<u8> {
    let relay = town.world.nodes[node].plane.endpoint(id(1 - node)).and_then(Place::relay);
    (0..2).find(|by| Some(name(*by)) == relay)
}

/// Packets that got through while somebody talks, by tenths of a second; the longest time in which none did, in ms.
fn longest_silence<E: Keyed>(town: &mut Town<E>, ms: u64) -> u64 {
    let (mut silent, mut longest) = ([0; 2], 0);
    for _ in 0..ms / 100 {
        let (there, back) = town.talk(100);
        for (silent, heard) in silent.iter_mut().zip([there, back]) {
            *silent = if heard > 0 { 0 } else { *silent + 100 };
            longest = longest.max(*silent);
        }
    }
    longest
}

fn a_relay_that_dies_is_left_for_another_within_three_seconds<E: Keyed>() {
    let mut town = Town::<E>::with(SHUT, 2);
    assert_eq!(town.talk(3000), (30, 30));
    let dead = used(&town, 0).unwrap();
    assert_eq!(used(&town, 1), Some(dead), "both use the same");
    town.paths.relays[usize::from(dead)] = [false; 2];
    let silence = longest_silence(&mut town, 8000);
    assert!(silence <= 2500, "{silence} ms");
    assert_eq!((used(&town, 0), used(&town, 1)), (Some(1 - dead), Some(1 - dead)));
    assert_eq!(town.talk(3000), (30, 30));
}

fn a_relay_that_one_of_two_cannot_reach_is_used_by_neither<E: Keyed>() {
    for cut in [0, 1] {
        let mut town = Town::<E>::with(SHUT, 2);
        town.say(0);
        town.talk(3000);
        let dead = used(&town, 0).unwrap();
        town.paths.relays[usize::from(dead)][cut] = false;
        let silence = longest_silence(&mut town, 8000);
        assert!(silence <= 2500, "{silence} ms");
        assert_eq!(town.talk(20_000), (200, 200), "and nobody goes back to it");
        assert_eq!((used(&town, 0), used(&town, 1)), (Some(1 - dead), Some(1 - dead)));
    }
}

fn a_relay_that_drains_is_left_and_nothing_is_lost<E: Keyed>() {
    let mut town = Town::<E>::with(SHUT, 2);
    assert_eq!(town.talk(3000), (30, 30));
    let drains = used(&town, 0).unwrap();
    let said = |n| RelayAt { draining: n == drains, ..told(n) };
    for node in 0..2 {
        // One hears of it before the other.
        town.world.nodes[node].plane.set_berths(Some(&seated(node, vec![said(0), said(1)])), None);
        assert_eq!(town.talk(2000), (20, 20));
    }
    assert_eq!((used(&town, 0), used(&town, 1)), (Some(1 - drains), Some(1 - drains)));
    let before = town.passed_by[usize::from(drains)];
    assert_eq!(town.talk(3000), (30, 30));
    assert_eq!(town.passed_by[usize::from(drains)], before, "nothing is sent over it any more");
}

/// What was sent to one relay and comes from the other is nothing.
fn a_frame_of_one_relay_is_nothing_from_another<E: Keyed>() {
    let mut town = Town::<E>::with(SHUT, 2);
    town.say(0);
    town.talk(1000);
    let by = used(&town, 0).unwrap();
    let genuine = town.world.seen.iter().rfind(|d| d.from == at(by) && d.to == underlay(1)).unwrap().clone();
    let replayed = Datagram { from: at(1 - by), ..genuine };
    let before = town.world.count(1, "relay-bad-frame");
    assert!(town.world.deliver(1, &replayed).is_empty());
    assert_eq!(town.world.count(1, "relay-bad-frame"), before + 1);
}

fn a_frame_that_is_not_ours_or_not_the_relays_is_counted_and_nothing_else<E: Keyed>() {
    let mut town = Town::<E>::new(SHUT);
    town.say(0);
    town.talk(1000);
    let genuine =
        town.world.seen.iter().rfind(|d| d.from == relay_at() && d.to == underlay(1)).unwrap().clone();
    let forged = |change: &dyn Fn(&mut Datagram)| {
        let mut datagram = genuine.clone();
        change(&mut datagram);
        datagram
    };
    let bad = [
        forged(&|d| d.from = underlay(7)),
        forged(&|d| d.bytes[5] ^= 1),
        forged(&|d| d.bytes[15] ^= 1),
        forged(&|d| d.bytes.truncate(20)),
        forged(&|d| d.bytes.truncate(3)),
    ];
    for (n, datagram) in bad.iter().enumerate() {
        assert!(town.world.deliver(1, datagram).is_empty());
        assert_eq!(town.world.count(1, "relay-bad-frame"), n as u64 + 1);
    }
    assert_eq!(town.talk(1000), (10, 10));
}

both!(
    where_no_direct_path_works_the_first_packet_goes_over_the_relay_at_once,
    where_a_direct_path_works_nothing_goes_over_the_relay,
    a_frame_that_is_not_ours_or_not_the_relays_is_counted_and_nothing_else,
    who_is_reached_over_the_relay_notices_nothing_of_new_keys,
    a_frame_of_one_relay_is_nothing_from_another,
    a_relay_that_drains_is_left_and_nothing_is_lost,
);

/// In virtual time, so with the stand-in alone.
#[test]
fn paths_change_by_evidence() {
    when_the_obstacle_goes_the_path_is_direct_within_half_a_minute_and_nothing_is_lost::<StandinEngine>();
    when_the_direct_path_dies_the_relay_takes_over_within_five_seconds::<StandinEngine>();
    a_path_that_works_one_way_only_is_not_used::<StandinEngine>();
    a_relay_that_is_gone_keeps_nobody_from_a_direct_path::<StandinEngine>();
    a_direct_place_that_nobody_named_is_found_by_what_comes_from_it::<StandinEngine>();
    a_relay_that_dies_is_left_for_another_within_three_seconds::<StandinEngine>();
    a_relay_that_one_of_two_cannot_reach_is_used_by_neither::<StandinEngine>();
}

#[test]
fn lost_rekeys_are_made_good() {
    a_lost_rekey_is_made_good_although_a_path_works_one_way_only::<StandinEngine>();
}
