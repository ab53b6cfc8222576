//! Laws of distribution: least knowledge, exact fan-out, the difference on reconnect, and never "nothing" for "no change".

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use std::collections::BTreeSet;

use common::*;
use proptest::prelude::*;
use warren_config::oracle;
use warren_config::policy::Protocol;
use warren_coordinator_core::alarm::AlarmKind;
use warren_wire::frame::RefusalCode;
use warren_wire::id::{NetworkId, NodeId};
use warren_wire::roll::{REVOKED, Roll};
use warren_wire::view::{Body, Key};

/// Deltas about peers and policy; of the roll everybody hears.
fn counts(world: &World) -> Vec<usize> {
    world.hosts.iter().map(|h| h.deltas - h.rolls).collect()
}

/// The roll as a host holds it.
fn roll(host: &Host, network: NetworkId) -> Roll {
    let pages = host.view.entries.values().filter_map(|entry| match &entry.body {
        Some(Body::Roll(page)) => page.read(),
        _ => None,
    });
    Roll::of(network, pages.collect())
}

/// Which hosts got how many deltas by `act`.
fn told(world: &mut World, act: impl FnOnce(&mut World)) -> Vec<usize> {
    let before = counts(world);
    act(world);
    let after = counts(world);
    after.iter().enumerate().map(|(i, n)| n - before.get(i).copied().unwrap_or(0)).collect()
}

/// web-1, orders-1, db-1, lone.
fn street(seed: u64) -> World {
    let mut world = World::new(seed);
    world.apply(CHAIN).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    world.join("db-1", &["db"]);
    world.join("lone", &[]);
    world
}

fn set(ids: &[NodeId]) -> BTreeSet<NodeId> {
    ids.iter().copied().collect()
}

#[test]
fn a_node_knows_its_peers_and_nobody_else() {
    let world = street(1);
    let ids: Vec<NodeId> = (0..4).map(|h| world.id(h)).collect();
    assert_eq!(world.hosts[0].peers(), [ids[1]]);
    assert_eq!(set(&world.hosts[1].peers()), set(&[ids[0], ids[2]]));
    assert_eq!(world.hosts[2].peers(), [ids[1]]);
    assert!(world.hosts[3].peers().is_empty());
    // Items: web-1 must not hear of the database, lone of nothing but the settings.
    let items = |h: usize| world.hosts[h].view.entries.keys().filter(|k| matches!(k, Key::Item(_))).count();
    assert_eq!((items(0), items(1), items(3)), (3, 5, 1));
}

#[test]
fn items_come_with_proofs_that_hold_against_the_signed_head() {
    let world = street(2);
    for host in &world.hosts {
        let head = host.view.entries.get(&Key::PolicyHead).unwrap();
        let Some(Body::PolicyHead(signed)) = &head.body else { panic!() };
        let policy = world.net.trust.policy(signed).unwrap();
        for entry in host.view.entries.values() {
            let Some(Body::Item(item)) = &entry.body else { continue };
            let proof = warren_config::item::InclusionProof { index: item.index, path: item.path.clone() };
            warren_config::item::verify(policy.root, policy.items, &item.item, &proof).unwrap();
        }
    }
}

#[test]
fn one_event_is_one_delta_for_exactly_those_it_touches() {
    let mut world = street(3);
    assert_eq!(
        told(&mut world, |w| {
            w.join("web-2", &["web"]);
        }),
        [0, 1, 0, 0, 1]
    );
    assert_eq!(
        told(&mut world, |w| {
            w.amend(0, 1, "web-1b", &["web"]).unwrap();
        }),
        [1, 1, 0, 0, 0]
    );
    assert_eq!(
        told(&mut world, |w| {
            w.amend(0, 2, "web-1b", &["db"]).unwrap();
        }),
        [1, 1, 0, 0, 0]
    );
    assert_eq!(
        told(&mut world, |w| {
            w.revoke(2).unwrap();
        }),
        [0, 1, 0, 0, 0]
    );
    assert_eq!(
        told(&mut world, |w| {
            w.token(&[], 1);
        }),
        [0, 0, 0, 0, 0]
    );
    assert_eq!(
        told(&mut world, |w| {
            w.apply(&format!("{CHAIN}\n[tag.new]")).unwrap();
        }),
        [1, 1, 0, 1, 1]
    );
}

/// An id and a number, also of who is no peer of theirs; and the freshness they get with it speaks of it.
#[test]
fn everybody_is_told_of_whom_the_authority_revokes_or_amends_and_of_nobody_else() {
    let mut world = street(31);
    let (network, ids) = (*world.net.id(), (0..4).map(|h| world.id(h)).collect::<Vec<_>>());
    let all = |world: &World, left: &[usize], expected: &[(NodeId, u64)]| {
        let mut roll_there_is = Roll::new(network);
        for (node, serial) in expected {
            roll_there_is.set(node, *serial);
        }
        for host in left.iter().map(|host| &world.hosts[*host]) {
            assert_eq!(roll(host, network), roll_there_is);
            let fresh = world.net.trust.freshness(&world.net.network, host.freshness.last().unwrap());
            assert_eq!(fresh.unwrap().roll, roll_there_is.root().0);
        }
    };
    all(&world, &[0, 1, 2, 3], &[]);
    world.amend(2, 1, "db-1b", &["db"]).unwrap();
    all(&world, &[0, 1, 2, 3], &[(ids[2], 1)]);
    world.amend(2, 2, "db-1b", &[]).unwrap();
    all(&world, &[0, 1, 2, 3], &[(ids[2], 2)]);
    world.revoke(1).unwrap();
    all(&world, &[0, 2, 3], &[(ids[2], 2), (ids[1], REVOKED)]);
    // Who is away is told when it comes back, and a coordinator that is started anew says the same.
    world.disconnect(3);
    world.revoke(2).unwrap();
    world.restart();
    (0..4).filter(|host| [0, 3].contains(host)).for_each(|host| world.online(host));
    all(&world, &[0, 3], &[(ids[2], REVOKED), (ids[1], REVOKED)]);
    // Nothing else of it: no name, no key, no tag.
    let lone = format!("{:?}", world.hosts[3].view);
    assert!(!lone.contains("orders-1") && !lone.contains("db-1"), "{lone}");
}

#[test]
fn connecting_and_leaving_change_nothing_for_anyone() {
    let mut world = street(4);
    let revision = world.coordinator.state().head().revision;
    let deltas = told(&mut world, |w| {
        for _ in 0..5 {
            w.disconnect(1);
            w.online(1);
        }
    });
    assert_eq!(deltas, [0, 0, 0, 0]);
    assert_eq!(world.coordinator.state().head().revision, revision);
}

#[test]
fn who_comes_back_gets_only_the_difference() {
    let mut world = street(5);
    world.disconnect(1);
    world.join("web-2", &["web"]);
    let whole = world.hosts[1].whole;
    assert_eq!(told(&mut world, |w| w.online(1))[1], 1);
    assert_eq!(world.hosts[1].whole, whole, "not the whole view");
    assert!(world.hosts[1].peers().contains(&world.id(4)));
}

#[test]
fn after_a_coordinator_restart_a_node_with_the_right_view_gets_no_entries() {
    let mut world = street(6);
    world.restart();
    let whole = world.hosts[1].whole;
    world.online(1);
    assert_eq!(world.hosts[1].whole, whole);
    world.disconnect(1);
    world.restart();
    assert_eq!(told(&mut world, |w| w.online(1))[1], 0, "revision and digest agree: not even a head");
}

#[test]
fn a_node_that_holds_something_else_gets_everything() {
    let mut world = street(7);
    world.disconnect(1);
    world.hosts[1].view.entries.remove(&Key::PolicyHead);
    let whole = world.hosts[1].whole;
    world.online(1);
    assert_eq!(world.hosts[1].whole, whole + 1);
    assert!(world.hosts[1].view.entries.contains_key(&Key::PolicyHead));
}

#[test]
fn losing_the_last_peer_is_told_and_is_not_silence() {
    let mut world = street(8);
    world.revoke(1).unwrap();
    assert!(world.hosts[0].peers().is_empty());
    assert!(world.hosts[0].view.entries.contains_key(&Key::Revoked(world.id(1))));
    assert!(world.hosts[0].view.entries.contains_key(&Key::Me));
}

#[test]
fn a_revoked_node_is_named_only_to_those_who_were_its_peers() {
    let mut world = street(9);
    world.revoke(2).unwrap();
    let gone = Key::Revoked(world.id(2));
    let knows: Vec<bool> = world.hosts.iter().map(|h| h.view.entries.contains_key(&gone)).collect();
    assert_eq!(knows, [false, true, false, false]);
    world.restart();
    world.hosts[1].held = (0, 0);
    world.online(1);
    assert!(world.hosts[1].view.entries.contains_key(&gone), "after a restart too");
    assert_eq!(world.hosts[2].code(), Some(RefusalCode::Revoked));
}

#[test]
fn endpoints_reach_peers_filtered_and_without_a_revision() {
    let mut world = street(10);
    let revision = world.coordinator.state().head().revision;
    let bad =
        ["127.0.0.1:1", "[fe80::1]:5", "100.64.3.4:5", "224.0.0.1:9", "0.0.0.0:7", "nonsense", "10.0.0.9:0"];
    let deltas = told(&mut world, |w| {
        let mut all = bad.to_vec();
        all.push("10.1.2.3:51820");
        w.endpoints(0, &all);
    });
    assert_eq!(deltas, [0, 1, 0, 0]);
    let entry = &world.hosts[1].view.entries[&Key::Endpoints(world.id(0))];
    let Some(Body::Endpoints(endpoints)) = &entry.body else { panic!() };
    let seen = format!("{}:51820", world.hosts[0].source);
    assert_eq!(endpoints.candidates, [seen, "10.1.2.3:51820".to_owned()]);
    assert_eq!(world.coordinator.state().head().revision, revision);
    assert_eq!(told(&mut world, |w| w.endpoints(0, &["10.1.2.3:51820"])), [0, 0, 0, 0], "nothing new");
}

/// Each change makes views for all peers: a hostile node must not have the coordinator for itself.
#[test]
fn a_node_that_changes_without_end_is_let_go_and_may_come_back_later() {
    let mut world = street(8);
    let elsewhere =
        |world: &mut World, i: u64| world.endpoints(0, &[&format!("10.1.{}.{}:51820", i / 200, i % 200 + 1)]);
    let before = counts(&world)[1];
    for i in 0..1000 {
        if world.hosts[0].conn.is_some() {
            elsewhere(&mut world, i);
        }
    }
    let heard = counts(&world)[1] - before;
    assert!((10..=40).contains(&heard), "its peer heard {heard} changes");
    assert_eq!(world.hosts[0].code(), Some(RefusalCode::Overloaded));
    world.wait(60);
    world.online(0);
    let before = counts(&world)[1];
    elsewhere(&mut world, 5000);
    assert_eq!(counts(&world)[1] - before, 1);
}

#[test]
fn renewed_keys_reach_peers_once_and_older_ones_are_refused() {
    let mut world = street(11);
    world.hosts[0].lane = [9; 32];
    let newer = world.hosts[0].lane_keys(&world, 2);
    let says = |keys| warren_wire::frame::NodeSays::Keys(keys);
    assert_eq!(
        told(&mut world, |w| {
            w.says(0, says(newer.clone()));
        }),
        [1, 1, 0, 0]
    );
    assert_eq!(
        told(&mut world, |w| {
            w.says(0, says(newer.clone()));
        }),
        [0, 0, 0, 0],
        "the same again is no change"
    );
    let older = world.hosts[0].lane_keys(&world, 1);
    world.says(0, says(older));
    assert!(world.hosts[0].refused.is_some());
}

#[test]
fn a_stranger_and_a_second_session_are_told_why() {
    let mut world = street(12);
    let stranger = world.add_host();
    world.online(stranger);
    assert_eq!(world.hosts[stranger].code(), Some(RefusalCode::NotAMember));
    let first = world.hosts[0].conn;
    world.hosts[0].conn = None;
    let mut closed = None;
    world.connect(0);
    let hello = warren_wire::frame::Hello::default();
    let frame = warren_wire::frame::ToCoordinator { says: Some(warren_wire::frame::NodeSays::Hello(hello)) };
    let conn = world.hosts[0].conn.unwrap();
    assert!(world.coordinator.handle_frame(conn, frame, world.now).is_none());
    while let Some(output) = world.coordinator.poll_output() {
        if let warren_coordinator_core::output::Output::Close(conn, refused) = output {
            closed = Some((conn, refused.code));
        }
    }
    assert_eq!(closed, first.map(|conn| (conn, RefusalCode::Replaced as i32)));
}

#[test]
fn a_record_that_no_longer_holds_is_left_out_and_everyone_else_is_served() {
    let mut world = street(13);
    let state = world.coordinator.state();
    let record = state.directory().get(&world.id(2)).unwrap().record.clone();
    let broken = warren_wire::trust::Record { keys: None, ..record };
    let token = token_of(&world, 2);
    let changes = vec![warren_coordinator_core::change::Change::NodeAdmitted {
        token,
        node: NodeId([9; 16]),
        name: "broken".into(),
        record: broken,
    }];
    let entry = warren_coordinator_core::change::Entry::new(&state.head(), world.now, admin(), changes);
    warren_coordinator_core::store::Store::commit(&mut world.store, &entry).unwrap();
    world.restart();
    for host in 0..4 {
        world.online(host);
    }
    assert_eq!(world.hosts[1].peers().len(), 2);
    let status = world.coordinator.status(world.now);
    assert!(
        status.alarms.iter().any(|a| a.kind == AlarmKind::BadRecord && a.message.contains(&"09".repeat(16)))
    );
}

fn token_of(world: &World, host: usize) -> warren_wire::id::IdentityKey {
    world.coordinator.state().directory().get(&world.id(host)).unwrap().token.unwrap()
}

#[test]
fn every_delta_is_followed_by_a_freshness_of_the_same_state() {
    let mut world = street(14);
    world.apply(&format!("{CHAIN}\n[tag.new]")).unwrap();
    for host in &world.hosts {
        let fresh = world.net.trust.freshness(&world.net.network, host.freshness.last().unwrap()).unwrap();
        assert_eq!((fresh.generation, fresh.revision), (2, host.held.1));
    }
}

#[test]
fn freshness_is_renewed_hourly_and_at_a_quarter_of_short_lives() {
    for (life, step) in [(WEEK, 3600), (120, 30)] {
        let mut world = World::founded(warren_wire::specimen::SpecimenNetwork::new(15), life);
        world.join("a", &[]);
        let before = world.hosts[0].freshness.len();
        let due = world.coordinator.poll_timeout().unwrap();
        assert!(due.at <= START.plus(step), "it asks to be woken in time: {due:?}");
        world.wait(step - 1);
        assert_eq!(world.hosts[0].freshness.len(), before);
        world.wait(1);
        assert_eq!(world.hosts[0].freshness.len(), before + 1);
    }
}

#[test]
fn status_says_who_enforces_what_and_who_is_behind() {
    let mut world = street(16);
    world.hosts.iter_mut().for_each(|host| host.enforces = false);
    world.apply(&format!("{CHAIN}\n[tag.old]")).unwrap();
    (0..3).for_each(|h| world.enforce(h));
    let status = world.coordinator.status(world.now);
    assert_eq!((status.nodes, status.online), (4, 4));
    assert_eq!((status.enforcement.enforced, status.enforcement.of), (3, 4));
    assert!(
        status.enforcement.summary.starts_with("gen 2 enforced on 3/4; lone behind since "),
        "{}",
        status.enforcement.summary
    );
    world.wait(100);
    world.disconnect(2);
    world.apply(&format!("{CHAIN}\n[tag.new]")).unwrap();
    [0, 1, 3].into_iter().for_each(|h| world.enforce(h));
    let behind = world.coordinator.status(world.now).enforcement.behind;
    assert_eq!(behind.len(), 1);
    assert_eq!((behind[0].name.as_str(), behind[0].enforces, behind[0].since), ("db-1", Some(2), world.now));
    assert!(!behind[0].online);
}

#[test]
fn a_node_that_has_seen_more_than_there_is_raises_an_alarm() {
    let mut world = street(17);
    world.disconnect(0);
    world.hosts[0].held.1 += 100;
    world.connect(0);
    let hello = warren_wire::frame::Hello { epoch: 1, revision: 1000, ..Default::default() };
    let frame = warren_wire::frame::ToCoordinator { says: Some(warren_wire::frame::NodeSays::Hello(hello)) };
    world.coordinator.handle_frame(world.hosts[0].conn.unwrap(), frame, world.now);
    let status = world.coordinator.status(world.now);
    assert!(status.alarms.iter().any(|a| a.kind == AlarmKind::RolledBack));
}

#[test]
fn an_epoch_raised_reaches_everyone_and_voids_tokens() {
    let mut world = street(18);
    let token = world.token(&[], 1);
    world.command(warren_coordinator_core::command::Command::RaiseEpoch { why: "restore".into() }).unwrap();
    assert!(world.hosts.iter().all(|h| h.held.0 == 2));
    let host = world.add_host();
    world.connect(host);
    world.begin(host, &token, "");
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::TokenRevoked));
}

const TAGS: [&str; 4] = ["a", "b", "c", "d"];

fn random_policy(grants: &[(usize, usize, bool, bool)], observe: bool) -> String {
    let mut text = format!("version = 1\nmode = \"{}\"\n", if observe { "observe" } else { "enforce" });
    for tag in TAGS {
        text += &format!("[tag.{tag}]\n[service.s-{tag}]\non = [\"tag:{tag}\"]\nlisten = [\"tcp/80\"]\n");
    }
    for (i, (from, to, except, audit)) in grants.iter().enumerate() {
        let mode = if *audit { "audit" } else { "enforce" };
        let (from, to) = (TAGS[*from], TAGS[*to]);
        text += &format!(
            "[[grant]]\nid = \"g-{i}\"\nfrom = [\"tag:{from}\"]\nto = [\"service:s-{to}\"]\nmode = \"{mode}\"\n"
        );
        if *except {
            text += "except = [\"node:n-0\"]\n";
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// ID-12, judged by the oracle of the policy, which shares nothing with the compiler.
    #[test]
    fn a_view_holds_exactly_the_joined_peers(
        grants in prop::collection::vec((0usize..4, 0usize..4, any::<bool>(), any::<bool>()), 0..6),
        wears in prop::collection::vec(prop::collection::btree_set(0usize..4, 0..3), 2..7),
        later in prop::collection::vec((0usize..4, 0usize..4, any::<bool>(), any::<bool>()), 0..6),
    ) {
        let mut world = World::new(99);
        for (i, tags) in wears.iter().enumerate() {
            let tags: Vec<&str> = tags.iter().map(|t| TAGS[*t]).collect();
            world.join(&format!("n-{i}"), &tags);
        }
        for grants in [grants, later] {
            world.apply(&random_policy(&grants, false)).unwrap();
            let state = world.coordinator.state();
            let policy = &state.policies().in_force().unwrap().policy;
            for host in &world.hosts {
                let me = warren_wire::trust::node_id(world.net.id(), &host.key());
                let mine = state.directory().get(&me).unwrap().subject();
                let opens = |a, b| oracle::allows(policy, a, b, Protocol::Tcp, 80, world.now);
                let expected: Vec<NodeId> = state.directory().alive()
                    .filter(|n| n.id() != me && (opens(mine, n.subject()) || opens(n.subject(), mine)))
                    .map(|n| n.id()).collect();
                prop_assert_eq!(host.peers(), expected.clone());
                prop_assert_eq!(state.peers_of(&me), expected, "the slow judge agrees");
            }
        }
    }
}

const AUDIT: &str = r#"
[[grant]]
id = "web-would-read-db"
from = ["tag:web"]
to = ["service:db-sql"]
mode = "audit"
"#;

#[test]
fn an_audited_grant_joins_nobody_and_tells_only_its_sender_what_to_recognise() {
    let mut world = street(20);
    world.apply(&format!("{CHAIN}{AUDIT}")).unwrap();
    let db = world.coordinator.node("db-1").unwrap();
    let ids: Vec<NodeId> = (0..4).map(|h| world.id(h)).collect();
    assert_eq!(world.hosts[0].peers(), [ids[1]], "the database is no peer");
    let audited = |world: &World, h: usize| -> Vec<Key> {
        world.hosts[h].view.entries.keys().filter(|k| matches!(k, Key::Audited(_))).cloned().collect()
    };
    assert_eq!(audited(&world, 0), [Key::Audited(db.v6)]);
    for other in 1..4 {
        assert!(audited(&world, other).is_empty(), "host {other} is told nothing of it");
    }
    // Its addresses and the service, and nothing else of it: no key, no name, no place, no id.
    let Some(Body::Audited(entry)) = &world.hosts[0].view.entries[&Key::Audited(db.v6)].body else {
        panic!()
    };
    assert_eq!(entry.v4, db.v4.unwrap().octets());
    let item = &world.hosts[0].view.entries[&Key::Item(entry.services[0])];
    let Some(Body::Item(item)) = &item.body else { panic!() };
    assert!(String::from_utf8_lossy(&item.item).contains("db-sql"));
    let told = format!("{:?}", world.hosts[0].view);
    let bytes = format!("{:?}", db.wireguard[0].0);
    for secret in ["db-1".to_owned(), format!("{:?}", db.id.0), bytes] {
        assert!(!told.contains(&secret), "{secret}");
    }

    // Who comes and goes there is told to that sender alone; what is granted after all is a peer instead.
    let fan_out = told_of(&mut world, |w| {
        w.join("db-2", &["db"]);
    });
    assert_eq!(fan_out, [1, 1, 0, 0], "web-1 by the audited grant, orders-1 as a peer");
    assert_eq!(audited(&world, 0).len(), 2);
    let gone = world.id(2);
    let fan_out = told_of(&mut world, |w| {
        w.revoke(2).unwrap();
    });
    assert_eq!((fan_out[0], fan_out[3]), (1, 0), "{gone}");
    assert_eq!(audited(&world, 0), [Key::Audited(world.coordinator.node("db-2").unwrap().v6)]);
    world.apply(&format!("{CHAIN}{}", AUDIT.replace("audit", "enforce"))).unwrap();
    assert_eq!((audited(&world, 0).len(), world.hosts[0].peers().len()), (0, 2));
}

/// Deltas to the first four hosts.
fn told_of(world: &mut World, act: impl FnOnce(&mut World)) -> Vec<usize> {
    told(world, act).into_iter().take(4).collect()
}

/// `orders-1`, which has not enforced yet what it was told at its start; how often it was told.
fn busy(seed: u64) -> (World, usize) {
    let mut world = World::new(seed);
    world.apply(CHAIN).unwrap();
    let busy = world.add_host();
    world.hosts[busy].enforces = false;
    let token = world.token(&["orders"], 1);
    world.connect(busy);
    world.begin(busy, &token, "orders-1");
    world.finish(busy, &token).unwrap().unwrap();
    world.hello(busy);
    (world, busy)
}

#[test]
fn what_is_added_while_a_node_is_busy_is_told_it_in_one_step_afterwards() {
    let (mut world, busy) = busy(61);
    let (before, mut expected) = (world.hosts[busy].deltas, Vec::new());
    for n in 0..5 {
        let web = world.join(&format!("web-{n}"), &["web"]);
        world.endpoints(web, &["198.51.100.7:51820"]);
        expected.push(world.id(web));
    }
    assert_eq!(world.hosts[busy].deltas, before, "one step is under way");
    expected.sort();
    world.enforce(busy);
    let host = &world.hosts[busy];
    assert_eq!((host.deltas, host.peers()), (before + 1, expected), "all five at once");
    world.join("web-late", &["web"]);
    assert_eq!(world.hosts[busy].deltas, before + 1, "and that is the next step under way");
}

#[test]
fn what_takes_something_away_waits_for_nobody() {
    let (mut world, busy) = busy(62);
    let webs: Vec<usize> = (0..3).map(|n| world.join(&format!("web-{n}"), &["web"])).collect();
    assert_eq!(world.hosts[busy].peers(), []);
    let before = world.hosts[busy].deltas;
    world.revoke(webs[0]).unwrap();
    let mut left = vec![world.id(webs[1]), world.id(webs[2])];
    left.sort();
    assert_eq!((world.hosts[busy].deltas, world.hosts[busy].peers()), (before + 1, left));
    world.apply(&CHAIN.replace("orders-api\"]", "db-sql\"]")).unwrap();
    assert_eq!((world.hosts[busy].deltas, world.hosts[busy].peers()), (before + 2, vec![]), "a grant went");
}

#[test]
fn who_does_not_say_that_it_enforces_is_told_all_the_same_after_two_seconds() {
    let (mut world, busy) = busy(63);
    let web = world.join("web-1", &["web"]);
    assert_eq!(world.hosts[busy].peers(), []);
    let due = world.coordinator.poll_timeout().unwrap();
    assert!(due.at <= world.now.plus(2), "it asks to be woken: {due:?}");
    world.wait(1);
    assert_eq!(world.hosts[busy].peers(), []);
    world.wait(1);
    assert_eq!(world.hosts[busy].peers(), [world.id(web)]);
}
