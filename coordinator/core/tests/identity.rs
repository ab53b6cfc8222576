//! Stolen and copied identities.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_coordinator_core::alarm::AlarmKind;
use warren_wire::frame::{EnrolCommit, NodeSays, RefusalCode};
use warren_wire::issue::{self, LaneSecret, NameRule, Place};
use warren_wire::specimen::seed_bytes;
use zeroize::Zeroizing;

fn cloned(world: &World) -> Vec<String> {
    let of_kind = world.alarms.iter().filter(|alarm| alarm.kind == AlarmKind::Cloned);
    of_kind.map(|alarm| alarm.message.clone()).collect()
}

#[test]
fn two_hosts_with_one_state_directory_are_an_alarm_that_names_both_places() {
    let mut world = World::new(1);
    let victim = world.join("web-1", &["web"]);
    let thief = world.add_host();
    world.hosts[thief].identity = world.hosts[victim].identity.clone();
    let (from_victim, from_thief) = (world.hosts[victim].source, world.hosts[thief].source);
    assert_ne!(from_victim, from_thief);
    for turn in 0..3 {
        assert!(cloned(&world).is_empty(), "turn {turn}");
        world.online(if turn % 2 == 0 { thief } else { victim });
        world.wait(5);
    }
    let alarms = cloned(&world);
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    for word in [from_victim.to_string(), from_thief.to_string(), "web-1".to_owned()] {
        assert!(alarms[0].contains(&word), "`{word}` in {alarms:?}");
    }
}

#[test]
fn a_host_that_restarts_or_moves_is_no_clone() {
    let mut world = World::new(2);
    let host = world.join("web-1", &["web"]);
    // Restarts in a loop, without saying goodbye.
    for _ in 0..20 {
        world.online(host);
        world.wait(1);
    }
    // Moves between two networks, once an hour.
    let home = world.hosts[host].source;
    for hour in 0..10 {
        world.hosts[host].source = if hour % 2 == 0 { "198.51.100.7".parse().unwrap() } else { home };
        world.online(host);
        world.wait(3600);
    }
    // Moves once and stays.
    world.hosts[host].source = "198.51.100.9".parse().unwrap();
    for _ in 0..5 {
        world.online(host);
        world.wait(1);
    }
    assert!(cloned(&world).is_empty(), "{:?}", cloned(&world));
}

/// An applicant with a token for tag `web`, offered its place; what it commits is `change`d first.
fn enrols_as(change: impl Fn(&World, &mut Place)) -> (World, usize) {
    let mut world = World::new(3);
    world.join("victim", &["orders"]);
    let token = world.token_with(NameRule::AnyFree, &["web"], 1, 3600).unwrap();
    let host = world.add_host();
    world.connect(host);
    world.begin(host, &token, "thief");
    let offer = world.hosts[host].offer.clone().unwrap();
    let mut place = Place {
        name: name(&offer.name),
        tags: [name("web")].into(),
        v4: Some(<[u8; 4]>::try_from(offer.v4.as_slice()).unwrap().into()),
        v6: <[u8; 16]>::try_from(offer.v6.as_slice()).unwrap().into(),
        enrolled: world.now,
    };
    change(&world, &mut place);
    let (identity, key) = (&world.hosts[host].identity, &world.tokens[&token]);
    let admission = Some(issue::admission(world.net.id(), &place, key, identity));
    let keys = Some(world.hosts[host].lane_keys(&world, 1));
    world.says(host, NodeSays::EnrolCommit(EnrolCommit { admission, keys }));
    (world, host)
}

#[test]
fn a_node_gets_the_tags_name_and_addresses_of_its_token_and_no_others() {
    let (world, host) = enrols_as(|_, _| {});
    assert!(world.hosts[host].record.is_some(), "the honest one is in: {:?}", world.hosts[host].refused);
    let victim = |world: &World| world.coordinator.node("victim").unwrap();
    type Wish = fn(&World, &mut Place, &dyn Fn(&World) -> warren_coordinator_core::status::NodeRow);
    let wishes: [(&str, Wish); 5] = [
        ("another tag", |_, place, _| place.tags = [name("orders")].into()),
        ("one tag more", |_, place, _| place.tags.extend([name("orders")])),
        ("the victim's name", |_, place, _| place.name = name("victim")),
        ("the victim's IPv4 address", |world, place, victim| place.v4 = victim(world).v4),
        ("the victim's IPv6 address", |world, place, victim| place.v6 = victim(world).v6),
    ];
    for (what, wish) in wishes {
        let (world, host) = enrols_as(|world, place| wish(world, place, &victim));
        assert!(world.hosts[host].record.is_none() && world.hosts[host].refused.is_some(), "{what}");
        assert_eq!(world.coordinator.nodes(false).len(), 1, "{what}");
    }
}

/// Keys that `host` signs as its own, by these private halves.
fn renews(world: &mut World, host: usize, serial: u64, private: [u8; 32]) -> bool {
    let lane = LaneSecret { private: Zeroizing::new(private), nonce: Zeroizing::new([9; 64]) };
    let keys = issue::sign_lane_keys(world.net.id(), &world.hosts[host].identity, serial, &[lane]);
    world.says(host, NodeSays::Keys(keys)).is_some()
}

#[test]
fn a_members_wireguard_key_is_taken_by_nobody_who_renews_his_own() {
    let mut world = World::new(4);
    let (victim, thief) = (world.join("victim", &["web"]), world.join("thief", &["web"]));
    let stolen = world.hosts[victim].lane;
    assert!(!renews(&mut world, thief, 2, stolen));
    assert_eq!(world.hosts[thief].code(), Some(RefusalCode::KeyTaken));
    // Also one that the victim had once: who recorded its tunnels must not come to be believed with it.
    world.online(thief);
    assert!(renews(&mut world, victim, 2, seed_bytes(4, "new", 0)));
    assert!(!renews(&mut world, thief, 2, stolen));
    assert_eq!(world.hosts[thief].code(), Some(RefusalCode::KeyTaken));
}

#[test]
fn a_stolen_wireguard_key_without_the_identity_key_speaks_for_nobody() {
    let mut world = World::new(5);
    let victim = world.join("victim", &["web"]);
    let thief = world.add_host();
    world.hosts[thief].lane = world.hosts[victim].lane;
    // No session, no new keys for the victim, no membership of its own.
    world.online(thief);
    assert_eq!(world.hosts[thief].code(), Some(RefusalCode::NotAMember));
    let token = world.token(&["web"], 1);
    world.connect(thief);
    world.begin(thief, &token, "");
    world.finish(thief, &token);
    assert_eq!(world.hosts[thief].code(), Some(RefusalCode::KeyTaken));
    let forged = world.hosts[thief].lane_keys(&world, 2);
    assert!(world.says(victim, NodeSays::Keys(forged)).is_none(), "signed by another identity");
    assert_eq!(world.hosts[victim].code(), Some(RefusalCode::BadStatement));
}

/// The identity key may sign new WireGuard keys: that is what it is for. It takes no other node's, and its owner is told
/// (`own-keys-behind` at the node) as soon as he hears of it.
#[test]
fn a_stolen_identity_key_changes_nothing_but_its_own_nodes_keys() {
    let mut world = World::new(6);
    let (victim, other) = (world.join("victim", &["web"]), world.join("other", &["web"]));
    let thief = world.add_host();
    world.hosts[thief].identity = world.hosts[victim].identity.clone();
    world.online(thief);
    assert_eq!(world.hosts[victim].code(), Some(RefusalCode::Replaced), "one session: the owner is put out");
    let before = world.coordinator.node("victim").unwrap();
    let private = world.hosts[other].lane;
    assert!(!renews(&mut world, thief, 2, private), "another node's key is not among what it may sign");
    world.online(thief);
    assert!(renews(&mut world, thief, 2, seed_bytes(6, "thief", 0)));
    let after = world.coordinator.node("victim").unwrap();
    assert_eq!(
        (&after.tags, &after.name, after.v4, after.v6),
        (&before.tags, &before.name, before.v4, before.v6)
    );
    assert_eq!(after.key_serial, 2, "and everybody sees that there were new keys");
    world.online(victim);
    let shown = world.hosts[victim].view.entries.get(&warren_wire::view::Key::Me).unwrap();
    assert!(matches!(&shown.body, Some(warren_wire::view::Body::Me(record)) if record.keys.is_some()));
}
