//! Devices without an agent as a node sees them: only the authority admits one, and the key of this node that its file
//! names is used for it and for nobody else.

use std::collections::BTreeSet;

use warren_wire::frame::CoordinatorSays;
use warren_wire::id::WgKey;
use warren_wire::issue::{self, Place};
use warren_wire::specimen::{SpecimenNode, seed_bytes};
use warren_wire::trust::{Record, external_id};
use warren_wire::view::{Entry, View};

use super::super::*;
use super::world::{Driven, T0, World};

fn key() -> WgKey {
    WgKey::of(&seed_bytes(4, "phone", 0))
}

fn phone_of(world: &World, place: &SpecimenNode, by: &ed25519_dalek::SigningKey) -> Record {
    let place = Place { enrolled: UnixTime(T0), ..place.place() };
    Record { external: Some(issue::external(world.net.id(), &place, &key(), by)), ..Record::default() }
}

fn phone(world: &World) -> Record {
    phone_of(world, &world.net.node(8, "phone", &["orders"]), &world.net.authority)
}

fn id(world: &World) -> NodeId {
    external_id(world.net.id(), &key())
}

/// The honest view with the phone in it, whose file names `filed`.
fn view(world: &World, record: Record, filed: Option<(WgKey, Vec<NodeId>)>) -> View {
    let mut view = world.view();
    view.insert(Entry::peer(id(world), record)).unwrap();
    filed.into_iter().for_each(|(key, peers)| view.insert(Entry::filed(key, peers)).unwrap());
    view
}

fn told(world: &mut World, view: View) -> Driven {
    let mut node = world.settled();
    world.revision += 1;
    node.view(world.whole(view));
    node
}

fn my_key(node: &Driven, world: &World) -> Option<WgKey> {
    node.control.publication().unwrap().assembly.peers[&id(world)].my_key
}

#[test]
fn a_device_is_a_peer_under_the_same_rules_as_a_node_with_its_tags() {
    let mut world = World::new();
    let view = view(&world, phone(&world), None);
    let node = told(&mut world, view);
    assert_eq!(node.peers(), ["db-1", "orders-1", "phone"]);
    let publication = node.control.publication().unwrap();
    let peers = &publication.assembly.peers;
    assert_eq!(peers[&id(&world)].outbound, peers[&world.orders.id].outbound);
    assert_eq!(peers[&id(&world)].inbound, peers[&world.orders.id].inbound);
}

#[test]
fn a_hostile_coordinator_admits_no_device() {
    let mut world = World::new();
    let place = world.net.node(8, "phone", &["orders"]);
    let forged = [
        phone_of(&world, &place, &world.net.coordinator),
        phone_of(&world, &place, &world.orders.identity),
        // A true device's statement beside a true node's chain.
        Record { external: phone(&world).external, ..world.orders.record.clone() },
    ];
    for record in forged {
        let view = view(&world, record, None);
        let node = told(&mut world, view);
        assert_eq!(node.peers(), ["db-1", "orders-1"]);
        assert!(node.complaints() > 0);
    }
}

#[test]
fn a_device_takes_no_address_key_or_name_of_a_node() {
    let mut world = World::new();
    let thief = SpecimenNode { v4: world.orders.v4, ..world.net.node(8, "phone", &["orders"]) };
    let view = view(&world, phone_of(&world, &thief, &world.net.authority), None);
    let node = told(&mut world, view);
    assert_eq!(node.peers(), ["db-1", "orders-1"], "the one that had it keeps it");
}

#[test]
fn the_key_that_a_file_names_is_used_for_that_device_and_no_other_peer() {
    let mut world = World::new();
    let old = WgKey([5; 32]);
    let everybody = vec![id(&world), world.orders.id, world.db.id];
    let view = view(&world, phone(&world), Some((old, everybody)));
    let node = told(&mut world, view);
    assert_eq!(my_key(&node, &world), Some(old));
    let publication = node.control.publication().unwrap();
    let others = publication.assembly.peers.values().filter(|peer| !peer.member.is_external());
    assert!(others.map(|peer| peer.my_key).all(|key| key.is_none()), "a lie about nodes changes nothing");
    assert_eq!(node.control.filed_keys(), Some(BTreeSet::from([old])));
}

#[test]
fn a_key_is_filed_until_the_view_says_otherwise_and_nobody_knows_without_a_view() {
    let mut world = World::new();
    assert_eq!(Driven::start(world.config(), None).control.filed_keys(), None);
    let (old, new) = (WgKey([5; 32]), world.web.wg_key(0).unwrap());
    // For devices that this node is not joined with, it only keeps the key.
    let first = view(&world, phone(&world), Some((old, vec![])));
    let mut node = told(&mut world, first);
    assert_eq!((my_key(&node, &world), node.control.filed_keys()), (None, Some([old].into())));
    world.revision += 1;
    node.view(world.whole(view(&world, phone(&world), Some((new, vec![id(&world)])))));
    assert_eq!((my_key(&node, &world), node.control.filed_keys()), (Some(new), Some([new].into())));
    // A cut is no reason to forget: when the coordinator is back, the file still names it.
    node.advance_to(node.now.plus_secs(super::world::LIFE + 3600));
    assert!(node.cut().is_some());
    assert_eq!(node.control.filed_keys(), Some([new].into()));
    // Over a restart as well.
    let again = Driven::start(world.config(), Some(&node.stored()));
    assert_eq!(again.control.filed_keys(), Some([new].into()));
}

#[test]
fn an_agent_does_not_start_as_a_device() {
    let world = World::new();
    let config = Config { record: phone(&world), ..world.config() };
    assert!(matches!(Control::new(config), Err(StartError::Record(_))));
}

#[test]
fn a_device_revoked_by_the_authority_is_gone_for_ever() {
    let mut world = World::new();
    let with = view(&world, phone(&world), None);
    let mut node = told(&mut world, with);
    let why = issue::revocation(world.net.id(), id(&world), UnixTime(T0), "lost", &world.net.authority);
    world.revision += 1;
    let mut gone = world.view();
    gone.insert(Entry::revoked(id(&world), why)).unwrap();
    node.view(world.whole(gone));
    assert_eq!(node.peers(), ["db-1", "orders-1"]);
    world.revision += 1;
    node.view(world.whole(view(&world, phone(&world), None)));
    assert_eq!(node.peers(), ["db-1", "orders-1"], "a coordinator does not bring it back");
    node.say(CoordinatorSays::Freshness(world.freshness(T0 + 1)));
}
