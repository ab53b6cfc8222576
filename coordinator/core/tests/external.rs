//! Devices without an agent: how they come in, what their files name, and what nodes are told about both.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use std::net::SocketAddr;

use common::*;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::external::FilePeer;
use warren_coordinator_core::refusal::Refusal;
use warren_wire::frame::{EnrolBegin, NodeSays};
use warren_wire::id::{NodeId, Revision, WgKey};
use warren_wire::issue::{self, LaneSecret, Place};
use warren_wire::signed::Signed;
use warren_wire::specimen::seed_bytes;
use warren_wire::trust::external_id;
use warren_wire::view::{Body, Key};
use zeroize::Zeroizing;

/// Phones may read orders; nothing else concerns them.
const POLICY: &str = r#"
version = 1
[tag.web]
[tag.orders]
[tag.phone]
[service.orders-api]
on = ["tag:orders"]
listen = ["tcp/8443"]
[[grant]]
id = "phones-read-orders"
from = ["tag:phone"]
to = ["service:orders-api"]
"#;

fn key(seed: u64) -> WgKey {
    WgKey::of(&seed_bytes(seed, "device", 0))
}

/// What the administrator's command signs for `key`.
fn statement(world: &World, key: &WgKey, node_name: &str, tags: &[&str]) -> Signed {
    let offer = world.coordinator.external_offer(key, node_name, world.now).unwrap();
    let tags = tags.iter().map(|tag| name(tag)).collect();
    let place = Place { name: name(node_name), tags, v4: offer.v4, v6: offer.v6, enrolled: world.now };
    issue::external(world.net.id(), &place, key, &world.net.authority)
}

fn add(world: &mut World, seed: u64, node_name: &str, tags: &[&str]) -> NodeId {
    let external = statement(world, &key(seed), node_name, tags);
    world.command(Command::AddExternal { external, endpoint: None }).unwrap();
    external_id(world.net.id(), &key(seed))
}

/// Issues the file that the draft gives.
fn issue_file(world: &mut World, who: &str) -> Result<Revision, Refusal> {
    let node = world.coordinator.node_id(who).unwrap();
    let draft = world.coordinator.file_draft(who).unwrap();
    let member = |record| world.net.trust.member(&world.net.network, record).unwrap();
    let peers = draft.peers.iter().map(|(record, endpoint)| {
        let member = member(record);
        FilePeer { node: member.id, key: member.lanes[0], endpoint: *endpoint }
    });
    let peers = peers.collect();
    world.command(Command::IssueFile { node, endpoint: draft.endpoint, peers })
}

/// Keys of its own that a host is told to keep, each with the devices that it knows to have it.
fn filed(world: &World, host: usize) -> Vec<(WgKey, Vec<NodeId>)> {
    let entries = world.hosts[host].view.entries.iter();
    let filed = entries.filter_map(|(key, entry)| match (key, &entry.body) {
        (Key::Filed(key), Some(Body::Filed(filed))) => Some((*key, filed.peers().collect())),
        _ => None,
    });
    filed.collect()
}

fn stale(world: &World) -> Vec<(String, String)> {
    let files = world.coordinator.status(world.now).stale_files;
    files.into_iter().map(|file| (file.name, file.why.join("; "))).collect()
}

/// New WireGuard keys, as after a clock that went back.
fn rotate(world: &mut World, host: usize, serial: u64) -> WgKey {
    let private = seed_bytes(serial, "rotated", 0);
    let lane = LaneSecret { private: Zeroizing::new(private), nonce: Zeroizing::new([7; 64]) };
    let keys = issue::sign_lane_keys(world.net.id(), &world.hosts[host].identity, serial, &[lane]);
    world.says(host, NodeSays::Keys(keys)).unwrap().unwrap();
    WgKey::of(&private)
}

fn lane(world: &World, host: usize) -> WgKey {
    WgKey::of(&world.hosts[host].lane)
}

/// web, orders and a phone under the policy, the phone's file issued.
fn town() -> (World, usize, usize, NodeId) {
    let mut world = World::new(1);
    let (web, orders) = (world.join("web-1", &["web"]), world.join("orders-1", &["orders"]));
    world.endpoints(orders, &["198.51.100.4:51820"]);
    world.apply(POLICY).unwrap();
    let phone = add(&mut world, 1, "phone", &["phone"]);
    issue_file(&mut world, "phone").unwrap();
    (world, web, orders, phone)
}

#[test]
fn a_device_is_a_peer_of_exactly_the_nodes_that_a_grant_joins_it_to() {
    let (world, web, orders, phone) = town();
    assert_eq!(world.hosts[orders].peers(), [phone]);
    assert_eq!(world.hosts[web].peers(), []);
    assert_eq!(filed(&world, orders), [(lane(&world, orders), vec![phone])]);
    assert_eq!(filed(&world, web), []);
    let status = world.coordinator.status(world.now);
    assert_eq!((status.nodes, status.externals, status.stale_files), (3, 1, vec![]));
}

#[test]
fn nobody_waits_for_a_device_to_enforce_anything() {
    let (mut world, web, orders, _) = town();
    world.enforce(web);
    world.enforce(orders);
    let enforcement = world.coordinator.status(world.now).enforcement;
    assert_eq!((enforcement.enforced, enforcement.of, enforcement.behind), (2, 2, vec![]));
}

#[test]
fn a_device_comes_in_once_and_takes_nothing_from_others() {
    let (mut world, _, orders, phone) = town();
    let again = world.coordinator.external_offer(&key(1), "phone-2", world.now);
    assert!(matches!(again, Err(Refusal::KeyTaken { owner, .. }) if owner == phone));
    // Another node's WireGuard key, past or present, and another node's name.
    let theirs = lane(&world, orders);
    assert!(matches!(
        world.coordinator.external_offer(&theirs, "thief", world.now),
        Err(Refusal::KeyTaken { .. })
    ));
    let taken = world.coordinator.external_offer(&key(2), "orders-1", world.now);
    assert!(matches!(taken, Err(Refusal::NameTaken { .. })));
    // Signed by the authority all the same, as by an administrator who was told so: still refused.
    let place = |v6, v4| Place { name: name("thief"), tags: [].into(), v4, v6, enrolled: world.now };
    let node = world.coordinator.node("orders-1").unwrap();
    let offer = world.coordinator.external_offer(&key(2), "thief", world.now).unwrap();
    let net = (world.net.id(), &world.net.authority);
    let key_thief = issue::external(net.0, &place(offer.v6, offer.v4), &theirs, net.1);
    let address_thief = issue::external(net.0, &place(offer.v6, node.v4), &key(2), net.1);
    let refused = world.command(Command::AddExternal { external: key_thief, endpoint: None });
    assert!(matches!(refused, Err(Refusal::KeyTaken { .. })), "{refused:?}");
    let refused = world.command(Command::AddExternal { external: address_thief, endpoint: None });
    assert!(matches!(refused, Err(Refusal::AddressTaken { .. })), "{refused:?}");
}

#[test]
fn an_address_promised_to_a_host_goes_to_no_device_and_the_other_way_round() {
    let mut world = World::new(1);
    let (first, second) = (world.token(&["web"], 1), world.token(&["web"], 1));
    let (a, b) = (world.add_host(), world.add_host());
    world.connect(a);
    world.begin(a, &first, "");
    let promised = world.hosts[a].offer.as_ref().unwrap().v4.clone();
    let offer = world.coordinator.external_offer(&key(1), "phone", world.now).unwrap();
    assert_ne!(offer.v4.unwrap().octets().to_vec(), promised);
    // A host is promised what a device then takes: the host begins again.
    world.connect(b);
    let external = statement(&world, &key(1), "phone", &[]);
    world.begin(b, &second, "");
    world.command(Command::AddExternal { external, endpoint: None }).unwrap();
    assert!(world.finish(b, &second).is_none());
    assert!(world.hosts[b].refused.as_ref().unwrap().message.contains("begin the enrolment again"));
    world.connect(b);
    world.begin(b, &second, "");
    assert!(world.finish(b, &second).unwrap().is_ok());
    let v4s: Vec<_> = world.coordinator.nodes(false).into_iter().map(|node| node.v4).collect();
    assert_eq!(v4s.len(), 2);
    assert_ne!(v4s[0], v4s[1]);
}

#[test]
fn an_endpoint_is_a_place_underneath_that_others_can_send_to() {
    let (mut world, _, orders, _) = town();
    let v6: SocketAddr = format!("[{}]:51820", world.coordinator.node("phone").unwrap().v6).parse().unwrap();
    for bad in ["100.64.1.1:51820", "127.0.0.1:51820", "0.0.0.0:51820", "203.0.113.9:0", "224.0.0.1:5"]
        .map(|text| text.parse().unwrap())
        .into_iter()
        .chain([v6])
    {
        let external = statement(&world, &key(2), "printer", &["phone"]);
        let refused = world.command(Command::AddExternal { external, endpoint: Some(bad) });
        assert!(matches!(refused, Err(Refusal::Malformed { what: "endpoint", .. })), "{bad}");
    }
    let external = statement(&world, &key(2), "printer", &["phone"]);
    let at: SocketAddr = "203.0.113.9:51820".parse().unwrap();
    world.command(Command::AddExternal { external, endpoint: Some(at) }).unwrap();
    let printer = external_id(world.net.id(), &key(2));
    let told = |world: &World| match &world.hosts[orders].view.entries.get(&Key::Endpoints(printer))?.body {
        Some(Body::Endpoints(endpoints)) => Some(endpoints.candidates.clone()),
        _ => None,
    };
    assert_eq!(told(&world), Some(vec![at.to_string()]));
    // It outlives the process, and goes when a new file says so.
    world.restart();
    world.online(orders);
    assert_eq!(told(&world), Some(vec![at.to_string()]));
    let peers = vec![];
    world.apply("version = 1\n").unwrap();
    world.command(Command::IssueFile { node: printer, endpoint: None, peers }).unwrap();
    world.apply(POLICY).unwrap();
    assert_eq!(told(&world), None);
}

#[test]
fn a_key_that_a_file_names_is_kept_until_a_new_file_is_issued() {
    let (mut world, _, orders, phone) = town();
    let old = lane(&world, orders);
    let new = rotate(&mut world, orders, 2);
    assert_eq!(filed(&world, orders), [(old, vec![phone])], "the file still names the old one");
    assert_eq!(stale(&world).len(), 1);
    assert!(stale(&world)[0].1.contains("orders-1 has new WireGuard keys"), "{:?}", stale(&world));
    issue_file(&mut world, "phone").unwrap();
    assert_eq!(filed(&world, orders), [(new, vec![phone])]);
    assert_eq!(stale(&world), []);
    // What the log says is what is true: also after a restart.
    world.restart();
    world.online(orders);
    assert_eq!(filed(&world, orders), [(new, vec![phone])]);
}

#[test]
fn a_key_is_kept_also_while_no_grant_joins_the_two_and_says_nothing_of_the_device_then() {
    let (mut world, _, orders, phone) = town();
    let old = lane(&world, orders);
    world.apply("version = 1\n").unwrap();
    assert_eq!(world.hosts[orders].peers(), []);
    assert_eq!(filed(&world, orders), [(old, vec![])]);
    assert!(stale(&world)[0].1.contains("orders-1 is no peer of it any more"), "{:?}", stale(&world));
    world.apply(POLICY).unwrap();
    assert_eq!(filed(&world, orders), [(old, vec![phone])]);
    // A new file without it: the key may go.
    world.apply("version = 1\n").unwrap();
    issue_file(&mut world, "phone").unwrap();
    assert_eq!(filed(&world, orders), []);
}

#[test]
fn a_file_is_stale_when_a_peer_comes_goes_or_moves_and_not_for_want_of_news() {
    let (mut world, _, orders, _) = town();
    let before = world.hosts[orders].source;
    world.hosts[orders].source = "203.0.113.77".parse().unwrap();
    world.online(orders);
    world.endpoints(orders, &[]);
    let said = format!("orders-1 is not at {before}:51820 any more");
    assert!(stale(&world).iter().any(|(_, why)| why.contains(&said)), "{:?}", stale(&world));
    issue_file(&mut world, "phone").unwrap();
    assert_eq!(stale(&world), []);
    world.join("orders-2", &["orders"]);
    assert!(stale(&world)[0].1.contains("orders-2 is not in it"), "{:?}", stale(&world));
    issue_file(&mut world, "phone").unwrap();
    // The coordinator has just started and knows no place of anybody: that is no news.
    world.restart();
    assert_eq!(stale(&world), []);
    world.revoke(orders).unwrap();
    assert!(stale(&world)[0].1.contains("orders-1 is no peer of it any more"), "{:?}", stale(&world));
}

#[test]
fn a_file_names_what_is_true_at_the_moment_it_is_issued() {
    let (mut world, web, orders, phone) = town();
    let peer =
        |world: &World, host| FilePeer { node: world.id(host), key: lane(world, host), endpoint: None };
    let issue =
        |world: &mut World, peers| world.command(Command::IssueFile { node: phone, endpoint: None, peers });
    let stranger = peer(&world, web);
    assert!(
        matches!(issue(&mut world, vec![stranger]), Err(Refusal::FileMoved { .. })),
        "no grant joins them"
    );
    let twice = vec![peer(&world, orders), peer(&world, orders)];
    assert!(matches!(issue(&mut world, twice), Err(Refusal::FileMoved { .. })));
    let old = peer(&world, orders);
    rotate(&mut world, orders, 2);
    assert!(matches!(issue(&mut world, vec![old]), Err(Refusal::FileMoved { .. })), "the keys moved on");
    let node = world.id(web);
    let refused = world.command(Command::IssueFile { node, endpoint: None, peers: vec![] });
    assert!(matches!(refused, Err(Refusal::NotExternal { .. })));
}

#[test]
fn two_devices_are_never_peers() {
    let (mut world, ..) = town();
    world.apply(&POLICY.replace("on = [\"tag:orders\"]", "on = [\"tag:orders\", \"tag:phone\"]")).unwrap();
    add(&mut world, 2, "kiosk", &["phone"]);
    let draft = world.coordinator.file_draft("kiosk").unwrap();
    assert!(draft.peers.iter().all(|(record, _)| record.external.is_none()));
    assert_eq!(draft.peers.len(), 1);
}

#[test]
fn a_revoked_device_is_out_for_ever_and_its_keys_are_forgotten() {
    let (mut world, web, orders, phone) = town();
    let revocation = issue::revocation(world.net.id(), phone, world.now, "lost", &world.net.authority);
    world.command(Command::RevokeNode { revocation }).unwrap();
    assert_eq!(world.hosts[orders].peers(), []);
    assert!(world.hosts[orders].view.entries.contains_key(&Key::Revoked(phone)));
    assert!(!world.hosts[web].view.entries.contains_key(&Key::Revoked(phone)));
    assert_eq!(filed(&world, orders), []);
    assert_eq!(stale(&world), []);
    let again = world.coordinator.external_offer(&key(1), "phone", world.now);
    assert!(matches!(again, Err(Refusal::KeyTaken { .. })));
}

#[test]
fn a_device_has_no_place_on_the_control_channel() {
    let (mut world, _, _, phone) = town();
    // Whoever had an identity key with the device's id would speak for it: none has.
    let host = world.add_host();
    assert_ne!(world.id(host), phone);
    world.online(host);
    assert_eq!(world.hosts[host].code(), Some(warren_wire::frame::RefusalCode::NotAMember));
    // And the device's key is no token.
    let wish = EnrolBegin {
        token_key: key(1).0.to_vec(),
        name: String::new(),
        agent: String::new(),
        ..EnrolBegin::default()
    };
    world.connect(host);
    world.says(host, NodeSays::EnrolBegin(wish));
    assert_eq!(world.hosts[host].code(), Some(warren_wire::frame::RefusalCode::TokenUnknown));
}

#[test]
fn the_log_gives_the_same_state_again() {
    let (mut world, _, orders, _) = town();
    rotate(&mut world, orders, 2);
    issue_file(&mut world, "phone").unwrap();
    let before = world.coordinator.state().clone();
    world.restart();
    assert_eq!(*world.coordinator.state(), before);
}
