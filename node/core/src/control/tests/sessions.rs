//! The control channel: what is said when, what survives a loss.

use warren_config::item::ItemTree;
use warren_config::policy::Protocol;
use warren_config::time::UnixTime;
use warren_wire::flow::{Amount, FlowRecord};
use warren_wire::frame::{CoordinatorSays, NodeSays, RefusalCode, Refused};
use warren_wire::issue;
use warren_wire::names::{AskedName, NameClass, NamesReport};
use warren_wire::signed::Signed;
use warren_wire::view::{Key, View};

use super::super::*;
use super::world::{Driven, POLICY, T0, World, policy};
use crate::names::{Answer, Data, Order, Type};

#[test]
fn a_view_becomes_peers_with_rules_in_both_directions() {
    let world = World::new();
    let node = world.settled();
    let publication = node.control.publication().unwrap();
    let assembly = &publication.assembly;
    assert_eq!((assembly.epoch, assembly.revision, assembly.generation), (1, 10, 3));
    let orders = &assembly.peers[&world.orders.id];
    let now = UnixTime(T0);
    assert!(orders.outbound.judge(Protocol::Tcp, 8443, now).passes());
    assert!(!orders.outbound.judge(Protocol::Tcp, 8444, now).passes());
    assert!(!orders.inbound.joins());
    assert_eq!(orders.candidates, ["192.0.2.2:51820".parse().unwrap()]);
    assert_eq!(publication.names.zone(), "warren.internal");
}

#[test]
fn a_revision_is_acknowledged_only_when_it_is_enforced() {
    let world = World::new();
    let mut node = Driven::start(world.config(), None);
    node.welcome(&world, T0);
    node.view(world.whole(world.view()));
    let enforced = |node: &Driven| node.sent().iter().filter(|s| matches!(s, NodeSays::Enforced(_))).count();
    assert_eq!(enforced(&node), 0, "no freshness yet: nothing is enforced");
    node.say(CoordinatorSays::Freshness(world.freshness(T0)));
    assert_eq!(enforced(&node), 1);
}

#[test]
fn a_reconnect_says_what_is_held_and_a_delta_builds_on_it() {
    let mut world = World::new();
    let mut node = world.settled();
    let old = world.view();
    node.control.handle_disconnected("lost", node.now);
    node.drain();
    assert_eq!(node.peers().len(), 2, "losing the coordinator is a state, not an error");
    world.revision = 11;
    node.reconnect(&world, T0);
    let hello = node.sent().into_iter().rev().find_map(|s| match s {
        NodeSays::Hello(hello) => Some(hello.clone()),
        _ => None,
    });
    let hello = hello.unwrap();
    assert_eq!((hello.epoch, hello.revision, hello.digest), (1, 10, old.digest().0.to_vec()));
    let mut new = old.clone();
    new.entries.remove(&Key::Peer(world.db.id));
    new.entries.remove(&Key::Endpoints(world.db.id));
    node.view(world.deltas(Some(10), old, new));
    assert_eq!(node.peers(), ["orders-1"]);
    assert_eq!(node.control.status(node.now).enforced_revision, 11);
}

#[test]
fn empty_is_not_no_change() {
    let mut world = World::new();
    let mut node = world.settled();
    // No change: a delta on what is held, with nothing in it.
    world.revision = 11;
    node.view(world.deltas(Some(10), world.view(), world.view()));
    assert_eq!(node.peers().len(), 2);
    // Nothing: a whole view without peers.
    world.revision = 12;
    let mut empty = world.view();
    empty.entries.retain(|key, _| !matches!(key, Key::Peer(_) | Key::Endpoints(_)));
    node.view(world.whole(empty));
    assert!(node.peers().is_empty());
    assert_eq!(node.cut(), None, "an empty view is believed, it is no cut");
    // An error: a whole view of nothing at all, well signed. The last good view stays.
    let mut node = world.settled();
    node.view(world.whole(View::default()));
    assert_eq!(node.peers().len(), 2);
    assert!(node.has_notice("view-refused"));
}

#[test]
fn a_refused_view_is_followed_by_a_session_without_a_base() {
    let world = World::new();
    let mut node = world.settled();
    node.view(world.deltas(Some(9), View::default(), View::default()));
    assert!(node.has_notice("view-refused"));
    node.reconnect(&world, T0);
    let last = node.sent().into_iter().rev().find_map(|s| match s {
        NodeSays::Hello(hello) => Some((hello.revision, hello.digest.len())),
        _ => None,
    });
    assert_eq!(last, Some((0, 0)));
    node.view(world.whole(world.view()));
    assert_eq!(node.peers().len(), 2);
}

#[test]
fn connected_is_not_authorised() {
    let world = World::new();
    let mut node = Driven::start(world.config(), None);
    node.control.handle_connected(Mono(0));
    node.view(world.whole(world.view()));
    assert!(node.peers().is_empty());
    assert!(matches!(node.control.session, Session::Away { .. }));
    let mut silent = Driven::start(world.config(), None);
    silent.control.handle_connected(Mono(0));
    assert_eq!(silent.control.poll_timeout().unwrap().1, Why::Unanswered);
    silent.advance_to(Mono::from_millis(PATIENCE_MS));
    assert!(matches!(silent.control.session, Session::Away { .. }));
}

#[test]
fn an_unsigned_refusal_cuts_nobody() {
    let world = World::new();
    let mut node = world.settled();
    let refused = Refused { code: RefusalCode::Revoked as i32, message: "out\u{1b}[2J".into(), proof: None };
    node.say(CoordinatorSays::Refused(refused));
    assert_eq!(node.peers().len(), 2);
    assert!(node.notices().iter().all(|n| !n.message.contains('\u{1b}')), "no escape reaches a terminal");
    let (at, why) = node.control.poll_timeout().unwrap();
    assert_eq!(why, Why::Reconnect);
    assert!(at.millis_since(node.now) >= reconnect::CAP_MS / 2, "and asks again only later");
}

#[test]
fn a_refusal_with_the_authoritys_revocation_cuts_this_node_for_ever() {
    let world = World::new();
    let me = world.web.id;
    let say = |node: &mut Driven, proof: Signed| {
        let code = RefusalCode::Revoked as i32;
        node.say(CoordinatorSays::Refused(Refused { code, message: "out".into(), proof: Some(proof) }));
    };
    let net = world.net.id();
    for forged in [
        issue::revocation(net, me, UnixTime(T0), "out", &world.net.coordinator),
        issue::revocation(net, world.orders.id, UnixTime(T0), "out", &world.net.authority),
    ] {
        let mut node = world.settled();
        say(&mut node, forged);
        assert_eq!(node.peers().len(), 2, "not ours, or not signed: it changes nothing");
    }
    let mut node = world.settled();
    say(&mut node, issue::revocation(net, me, UnixTime(T0), "stolen", &world.net.authority));
    assert!(node.peers().is_empty());
    node.reconnect(&world, T0);
    assert!(node.peers().is_empty(), "also when a coordinator takes it back");
}

#[test]
fn flow_records_are_held_while_the_coordinator_is_away_and_sent_once_it_is_back() {
    let world = World::new();
    let mut node = world.settled();
    node.control.handle_disconnected("lost", node.now);
    let records = vec![FlowRecord { flow: 5, ..FlowRecord::default() }];
    node.control.handle_flow_records(records, node.now);
    node.control.handle_flow_losses(Amount { records: 2, packets: 3, bytes: 120 });
    node.drain();
    assert!(node.reports().is_empty());
    node.reconnect(&world, T0);
    let report = node.reports()[0].clone();
    assert_eq!((report.records[0].flow, report.lost, report.boot), (5, 2, 7));
    assert_eq!(node.control.status(node.now).flows_waiting, 1);
    node.flows_stored(report.sequence);
    assert_eq!(node.control.status(node.now).flows_waiting, 0);
}

#[test]
fn endpoints_that_could_not_be_ours_are_not_reported() {
    let world = World::new();
    let mut node = world.settled();
    let local = ["192.0.2.9:51820", "100.64.0.3:51820", "[fe80::1]:51820", "127.0.0.1:51820", "0.0.0.0:1"];
    node.control.handle_local_endpoints(local.iter().map(|a| a.parse().unwrap()).collect(), 51820);
    node.drain();
    let told = node.sent().into_iter().rev().find_map(|s| match s {
        NodeSays::Endpoints(mine) => Some(mine.clone()),
        _ => None,
    });
    assert_eq!(told.unwrap().candidates, ["192.0.2.9:51820"]);
}

#[test]
fn new_keys_are_told_until_the_view_shows_them() {
    let mut world = World::new();
    let mut node = world.settled();
    let keys_said = |node: &Driven| node.sent().iter().filter(|s| matches!(s, NodeSays::Keys(_))).count();
    let sign = |serial| {
        let lanes =
            [keys::LaneSecret { private: zeroize::Zeroizing::new([serial as u8; 32]), nonce: [1; 64] }];
        keys::sign(world.net.id(), &world.web.id, serial, &world.web.identity, &lanes)
    };
    assert!(node.control.handle_new_keys(sign(1), node.now).is_err(), "a serial already used");
    assert_eq!(node.control.next_key_serial(), 2);
    node.control.handle_new_keys(sign(2), node.now).unwrap();
    node.drain();
    assert_eq!(keys_said(&node), 1);
    assert_eq!(node.control.publication().unwrap().assembly.me.key_serial, 2);
    node.control.handle_disconnected("lost", node.now);
    node.reconnect(&world, T0);
    assert_eq!(keys_said(&node), 2);
    // The view shows them: not told again. The own lanes were never those of the view.
    let signed = sign(2);
    world.web.record.keys = Some(signed);
    world.revision = 11;
    node.view(world.whole(world.view()));
    node.control.handle_disconnected("lost", node.now);
    node.reconnect(&world, T0);
    assert_eq!(keys_said(&node), 2);
}

/// Whoever holds this node's identity key has signed other WireGuard keys with it.
#[test]
fn keys_of_its_own_that_it_does_not_hold_are_an_alarm() {
    let mut world = World::new();
    let mut node = world.settled();
    let lanes = [keys::LaneSecret { private: zeroize::Zeroizing::new([9; 32]), nonce: [1; 64] }];
    let stolen = keys::sign(world.net.id(), &world.web.id, 2, &world.web.identity, &lanes);
    world.web.record.keys = Some(stolen);
    world.revision += 1;
    node.view(world.whole(world.view()));
    assert!(node.has_notice("own-keys-behind"), "{:?}", node.notices());
    let publication = node.control.publication().unwrap();
    assert_eq!(
        publication.assembly.me.lanes,
        [world.web.wg_key(0).unwrap()],
        "it goes on with what it holds"
    );
}

/// What is asked on a node is known to nobody else, unless who holds the authority has signed that wish.
#[test]
fn names_are_told_only_while_the_signed_policy_asks_for_them() {
    let one =
        AskedName { name: "a.example".into(), class: NameClass::Forwarded.into(), asked: 1, unanswered: 0 };
    let report = NamesReport { names: vec![one], others: 2 };
    let told = |node: &Driven| node.sent().iter().filter(|says| matches!(says, NodeSays::Names(_))).count();
    let mut world = World::new();
    let mut node = world.settled();
    node.control.handle_names(report.clone());
    node.drain();
    assert_eq!((node.control.wants_names(), told(&node)), (false, 0), "nobody asked");

    world.tree = ItemTree::new(&policy(&format!("{POLICY}\n[dns]\nreport = \"names\"\n")));
    let mut node = world.settled();
    node.control.handle_names(report.clone());
    node.drain();
    assert!(node.control.wants_names());
    assert_eq!(node.sent().last(), Some(&&NodeSays::Names(report.clone())));
    node.control.handle_disconnected("lost", node.now);
    node.control.handle_names(report);
    node.drain();
    assert_eq!((node.control.wants_names(), told(&node)), (false, 1), "nobody is there to be told");
}

/// A change of policy changes answers when it changes the filter: both are of one publication.
#[test]
fn names_and_rules_change_together() {
    let mut world = World::new();
    let mut node = world.settled();
    let old = world.view();
    let granted = "[[grant]]\nid = \"web-reads-orders\"\nfrom = [\"tag:web\"]\nto = [\"service:orders\"]\n";
    assert!(POLICY.contains(granted));
    world.tree = ItemTree::new(&policy(&POLICY.replace(granted, "")));
    (world.generation, world.revision) = (4, 11);
    node.view(world.deltas(Some(10), old, world.view()));
    node.say(CoordinatorSays::Freshness(world.freshness(T0)));
    let published = node.outputs.iter().filter_map(|output| match output {
        Output::Publish(publication) => Some(publication),
        _ => None,
    });
    let (mut before, mut after) = (0, 0);
    for publication in published.filter(|publication| publication.cut.is_none()) {
        let now = UnixTime(T0);
        let said = publication.names.answer("orders.warren.internal", Type::A, now, Order::turn(0));
        let peer = publication.assembly.peers.get(&world.orders.id);
        let passes = peer.is_some_and(|peer| peer.outbound.judge(Protocol::Tcp, 8443, now).passes());
        assert_eq!(
            matches!(said, Answer::Records(_)),
            passes,
            "generation {}",
            publication.assembly.generation
        );
        assert_eq!(passes, publication.assembly.generation == 3);
        let Data::Soa { serial, .. } = publication.names.soa() else { panic!("no SOA") };
        assert_eq!(u64::from(serial), publication.assembly.revision);
        *(if passes { &mut before } else { &mut after }) += 1;
    }
    assert!(before > 0 && after > 0, "{before} {after}");
}

/// What the coordinator gave up meanwhile is not waited for, nor a pause that was meant for a coordinator that is down.
#[test]
fn after_a_sleep_the_coordinator_is_dialled_at_once() {
    let world = World::new();
    let mut node = world.settled();
    let dialled = |node: &Driven| node.outputs.iter().filter(|o| matches!(o, Output::Connect { .. })).count();
    let before = dialled(&node);
    node.now = node.now.plus_secs(4 * 3600);
    node.control.handle_resumed(node.now);
    node.drain();
    assert!(
        node.outputs.iter().any(|o| matches!(o, Output::Disconnect { .. })),
        "the old channel is given up"
    );
    assert_eq!(dialled(&node), before + 1);
    assert_eq!(node.peers().len(), 2, "nobody is cut");
    // In the longest pause between two tries.
    for _ in 0..12 {
        node.control.handle_disconnected("down", node.now);
        node.now = node.now.plus_secs(20);
        node.control.handle_timeout(node.now);
        node.drain();
    }
    node.control.handle_disconnected("down", node.now);
    let before = dialled(&node);
    node.control.handle_resumed(node.now);
    node.drain();
    assert_eq!(dialled(&node), before + 1);
    assert!(matches!(node.control.session, Session::Connecting { .. }));
}
