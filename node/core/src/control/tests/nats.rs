//! What a node says of its place behind a NAT, and what it does for a peer behind another.

use warren_wire::frame::{CoordinatorSays, Knock, MyEndpoints, ProvenPlace, RelayPlace, RelaySeat};
use warren_wire::stun::Proof;

use super::super::*;
use super::world::{Driven, World};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn seen(places: &[SocketAddr]) -> Vec<Seen> {
    places.iter().map(|place| Seen { place: *place, proof: None }).collect()
}

fn last_endpoints(node: &Driven) -> Option<&MyEndpoints> {
    node.sent().into_iter().rev().find_map(|says| match says {
        NodeSays::Endpoints(mine) => Some(mine),
        _ => None,
    })
}

#[test]
fn the_place_outside_is_told_once_and_only_if_it_is_another_than_inside() {
    let world = World::new();
    let mut node = world.settled();
    let inside = at("192.168.1.2:51820");
    node.control.handle_local_endpoints(vec![inside], 51820);
    node.control.handle_mapped(seen(&[inside]));
    node.drain();
    assert!(last_endpoints(&node).unwrap().mapped.is_empty());
    for _ in 0..3 {
        node.control.handle_mapped(seen(&[at("203.0.113.7:40123")]));
    }
    node.drain();
    let all = node.sent().into_iter().filter(|says| matches!(says, NodeSays::Endpoints(_))).count();
    assert_eq!(
        (last_endpoints(&node).unwrap().mapped.as_slice(), all),
        (&["203.0.113.7:40123".to_owned()][..], 2)
    );
    // An answer that is no place at all, whoever forged it, is none.
    for nonsense in ["100.64.0.9:1", "127.0.0.1:1", "0.0.0.0:1", "203.0.113.7:0"] {
        node.control.handle_mapped(seen(&[at(nonsense)]));
        node.drain();
        assert!(last_endpoints(&node).unwrap().mapped.is_empty(), "{nonsense}");
    }
}

#[test]
fn a_peer_that_does_not_answer_is_told_by_the_coordinator_if_there_is_one() {
    let world = World::new();
    let mut node = world.settled();
    node.control.handle_unanswering(vec![world.orders.id]);
    node.drain();
    let knocks = |node: &Driven| node.sent().into_iter().filter(|s| matches!(s, NodeSays::Knock(_))).count();
    assert_eq!(node.sent().last(), Some(&&NodeSays::Knock(Knock::of(world.orders.id))));
    node.control.handle_disconnected("gone", node.now);
    node.control.handle_unanswering(vec![world.orders.id]);
    node.drain();
    assert_eq!(knocks(&node), 1, "nothing is kept for later");
}

#[test]
fn a_knock_shows_this_node_and_changes_nothing_else() {
    let world = World::new();
    let mut node = world.settled();
    let before = node.outputs.len();
    node.say(CoordinatorSays::Knock(Knock::of(world.orders.id)));
    assert!(matches!(node.outputs[before..], [Output::Knocked(peer)] if peer == world.orders.id));
    assert_eq!(node.peers(), ["db-1", "orders-1"]);
}

/// A coordinator that lies can name any place; it is asked once in a while, but never through the tunnel itself.
#[test]
fn a_seat_leads_to_no_relay_inside_the_overlay_nor_nowhere() {
    let world = World::new();
    let mut node = world.settled();
    let mut seat = |places: &[&[&str]]| {
        let relay = |(n, places): (u8, &&[&str])| RelayPlace {
            key: vec![n; 32],
            addresses: places.iter().map(ToString::to_string).collect(),
            ..RelayPlace::default()
        };
        let relays = (1..).zip(places).map(relay).collect();
        let said = RelaySeat { number: 7, up: vec![1; 16], down: vec![2; 16], relays, until: 9 };
        node.say(CoordinatorSays::Relay(said));
        match node.outputs.last() {
            Some(Output::Seated(seated)) => seated
                .clone()
                .map(|seated| seated.relays.into_iter().map(|relay| relay.addresses).collect::<Vec<_>>()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(seat(&[]), None, "at no relay");
    assert_eq!(seat(&[&[]]), Some(vec![vec![]]), "where the coordinator is");
    let (bad, mixed) = (
        ["100.64.0.9:7946", "255.255.255.255:7946"],
        ["100.64.0.9:7946", "203.0.113.5:7946", "127.0.0.1:7946"],
    );
    assert_eq!(seat(&[&bad, &mixed]), Some(vec![vec![at("203.0.113.5:7946")]]));
    assert_eq!(seat(&[&bad]), None);
}

#[test]
fn what_the_gateway_has_granted_is_told_first_and_only_if_it_could_be_true() {
    let world = World::new();
    let mut node = world.settled();
    node.control.handle_local_endpoints(vec![at("192.168.1.2:51820")], 51820);
    node.control.handle_mapped(seen(&[at("203.0.113.7:40123")]));
    node.control.handle_granted(Some(at("203.0.113.7:51820")));
    node.drain();
    assert_eq!(last_endpoints(&node).unwrap().mapped, ["203.0.113.7:51820", "203.0.113.7:40123"]);
    node.control.handle_mapped(seen(&[at("203.0.113.7:51820")]));
    node.drain();
    assert_eq!(last_endpoints(&node).unwrap().mapped, ["203.0.113.7:51820"], "once is enough");
    for lie in
        ["100.64.0.9:1", "127.0.0.1:1", "224.0.0.1:1", "169.254.1.1:1", "203.0.113.7:0", "192.168.1.2:51820"]
    {
        node.control.handle_granted(Some(at(lie)));
        node.drain();
        assert_eq!(last_endpoints(&node).unwrap().mapped, ["203.0.113.7:51820"], "{lie}");
    }
}

/// Of each family; the proof goes along, and a newer one of the same place is kept for the next session.
#[test]
fn what_is_proven_of_a_place_outside_is_told_with_it() {
    let world = World::new();
    let mut node = world.settled();
    node.control.handle_local_endpoints(vec![at("192.168.1.2:51820")], 51820);
    let (four, six) = (at("203.0.113.7:40123"), at("[2001:db8::7]:51820"));
    let proven =
        |n: u8| vec![Seen { place: four, proof: None }, Seen { place: six, proof: Some(Proof([n; 20])) }];
    for n in [1, 2, 3] {
        node.control.handle_mapped(proven(n));
        node.drain();
    }
    let told = |node: &Driven| {
        let mine = last_endpoints(node).unwrap();
        (mine.mapped.clone(), mine.proven.iter().filter_map(ProvenPlace::read).collect::<Vec<_>>())
    };
    let places = vec![four.to_string(), six.to_string()];
    assert_eq!(told(&node), (places.clone(), vec![(six, Proof([1; 20]))]), "told once");
    node.control.handle_disconnected("gone", node.now);
    node.drain();
    node.reconnect(&world, super::world::T0);
    assert_eq!(told(&node), (places, vec![(six, Proof([3; 20]))]));
}
