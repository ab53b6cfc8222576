//! Laws of enrolment: exactly as many as were allowed, over races, restarts and faults.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use std::net::IpAddr;

use common::*;
use warren_coordinator_core::alarm::AlarmKind;
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::store::Fault;
use warren_wire::frame::RefusalCode;
use warren_wire::id::IdentityKey;
use warren_wire::issue::NameRule;

fn applicants(world: &mut World, count: usize, token: &IdentityKey) -> Vec<usize> {
    let hosts: Vec<usize> = (0..count).map(|_| world.add_host()).collect();
    for host in &hosts {
        world.connect(*host);
        world.begin(*host, token, "");
        assert!(world.hosts[*host].offer.is_some());
    }
    hosts
}

fn admitted(world: &World) -> usize {
    world.coordinator.state().directory().alive().count()
}

#[test]
fn of_fifty_in_one_moment_a_one_shot_token_admits_one() {
    let mut world = World::new(1);
    let token = world.token(&["web"], 1);
    let hosts = applicants(&mut world, 50, &token);
    for host in &hosts {
        world.finish(*host, &token);
    }
    assert_eq!(admitted(&world), 1);
    let in_now = hosts.iter().filter(|h| world.hosts[**h].record.is_some()).count();
    let spent = hosts.iter().filter(|h| world.hosts[**h].code() == Some(RefusalCode::TokenSpent)).count();
    assert_eq!((in_now, spent), (1, 49));
}

#[test]
fn a_token_admits_exactly_its_uses() {
    let mut world = World::new(2);
    let token = world.token(&[], 7);
    for host in applicants(&mut world, 12, &token) {
        world.finish(host, &token);
    }
    assert_eq!(admitted(&world), 7);
}

#[test]
fn a_second_redemption_is_one_durable_alarm_that_names_the_first() {
    let mut world = World::new(3);
    let token = world.token(&[], 1);
    let hosts = applicants(&mut world, 4, &token);
    for host in &hosts {
        world.finish(*host, &token);
    }
    let revision = world.coordinator.state().head().revision;
    world.restart();
    let alarms: Vec<_> = world.coordinator.status(world.now).alarms;
    let reused: Vec<_> = alarms.iter().filter(|a| a.kind == AlarmKind::TokenReused).collect();
    assert_eq!(reused.len(), 1, "one, however often it is tried");
    assert!(reused[0].message.contains(&world.id(hosts[0]).to_string()), "{}", reused[0].message);
    assert_eq!(revision, world.coordinator.state().head().revision);
}

#[test]
fn a_member_that_asks_again_gets_its_record_and_spends_nothing() {
    let mut world = World::new(4);
    let token = world.token(&["web"], 2);
    let host = applicants(&mut world, 1, &token)[0];
    world.finish(host, &token);
    let record = world.hosts[host].record.take().unwrap();
    let revision = world.coordinator.state().head().revision;
    world.disconnect(host);
    world.connect(host);
    world.begin(host, &token, "");
    world.now = world.now.plus(5);
    world.finish(host, &token);
    assert_eq!(world.hosts[host].record, Some(record));
    assert_eq!(world.coordinator.state().head().revision, revision);
    assert_eq!(world.coordinator.tokens(world.now)[0].used, 1);
}

#[test]
fn a_crash_between_write_and_answer_loses_no_use_and_gives_none_away() {
    let mut world = World::new(5);
    let token = world.token(&[], 1);
    let hosts = applicants(&mut world, 2, &token);
    world.store.fail_next(Fault::AfterCommit);
    let outcome = world.finish(hosts[0], &token).unwrap();
    assert!(!outcome.unwrap_err().nothing_changed());
    assert!(world.hosts[hosts[0]].record.is_none(), "nothing is acknowledged that may not be");
    world.restart();
    world.connect(hosts[0]);
    world.begin(hosts[0], &token, "");
    assert!(world.finish(hosts[0], &token).is_none(), "nothing is committed twice");
    assert!(world.hosts[hosts[0]].record.is_some(), "it was in after all");
    world.connect(hosts[1]);
    world.begin(hosts[1], &token, "");
    assert_eq!(world.hosts[hosts[1]].code(), Some(RefusalCode::TokenSpent));
    assert_eq!(admitted(&world), 1);
}

#[test]
fn a_full_disk_admits_nobody_and_says_so() {
    let mut world = World::new(6);
    let token = world.token(&[], 1);
    let host = applicants(&mut world, 1, &token)[0];
    world.store.fail_next(Fault::BeforeCommit);
    assert!(world.finish(host, &token).unwrap().unwrap_err().nothing_changed());
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::Overloaded));
    assert_eq!(admitted(&world), 0);
    world.connect(host);
    world.begin(host, &token, "");
    assert!(world.finish(host, &token).unwrap().is_ok(), "and it goes on when there is room");
}

#[test]
fn an_expired_revoked_or_unknown_token_is_refused_by_its_name() {
    let mut world = World::new(7);
    let host = world.add_host();
    let expired = world.token_with(NameRule::AnyFree, &[], 1, 10).unwrap();
    let revoked = world.token(&[], 1);
    world.command(warren_coordinator_core::command::Command::RevokeToken { token: revoked }).unwrap();
    world.wait(11);
    let unknown = IdentityKey([7; 32]);
    let cases = [
        (expired, RefusalCode::TokenExpired),
        (revoked, RefusalCode::TokenRevoked),
        (unknown, RefusalCode::TokenUnknown),
    ];
    for (token, code) in cases {
        world.connect(host);
        world.begin(host, &token, "");
        assert_eq!(world.hosts[host].code(), Some(code));
    }
}

#[test]
fn a_token_that_ends_between_offer_and_commit_admits_nobody() {
    let mut world = World::new(8);
    let token = world.token_with(NameRule::AnyFree, &[], 1, 30).unwrap();
    let host = applicants(&mut world, 1, &token)[0];
    world.now = world.now.plus(31);
    world.finish(host, &token);
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::TokenExpired));
}

#[test]
fn an_offer_runs_out_and_leaves_nothing() {
    let mut world = World::new(9);
    let token = world.token(&[], 1);
    let host = applicants(&mut world, 1, &token)[0];
    let statements = world.statements(host, &token);
    world.wait(61);
    assert!(world.hosts[host].refused.is_some(), "a stranger's minute is over too");
    world.connect(host);
    world.says(host, warren_wire::frame::NodeSays::EnrolCommit(statements));
    assert!(world.hosts[host].refused.as_ref().unwrap().message.contains("offer"));
    assert_eq!(admitted(&world), 0);
}

#[test]
fn only_what_was_offered_can_be_committed() {
    let mut world = World::new(10);
    let token = world.token(&[], 1);
    let host = applicants(&mut world, 1, &token)[0];
    let mut offer = world.hosts[host].offer.clone().unwrap();
    offer.v4 = vec![100, 64, 9, 9];
    world.hosts[host].offer = Some(offer);
    world.finish(host, &token);
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::BadStatement));
    assert_eq!(admitted(&world), 0);
}

#[test]
fn nobody_enrols_with_another_connections_statements() {
    let mut world = World::new(11);
    let token = world.token(&[], 1);
    let hosts = applicants(&mut world, 2, &token);
    world.hosts[hosts[0]].offer = world.hosts[hosts[1]].offer.clone();
    let stolen = world.statements(hosts[0], &token);
    world.says(hosts[1], warren_wire::frame::NodeSays::EnrolCommit(stolen));
    assert!(world.hosts[hosts[1]].refused.is_some());
    assert_eq!(admitted(&world), 0);
}

#[test]
fn names_belong_to_the_first_comer_and_reserved_ones_to_bound_tokens() {
    let mut world = World::new(12);
    world.apply(&CHAIN.replace("\"tag:db\"", "\"tag:db\", \"node:vault\"")).unwrap();
    let free = world.token(&[], 9);
    for (wanted, code) in [
        ("vault", RefusalCode::NameNotAllowed),
        ("orders-api", RefusalCode::NameTaken),
        ("Bad Name", RefusalCode::BadStatement),
    ] {
        let host = world.add_host();
        world.connect(host);
        world.begin(host, &free, wanted);
        assert_eq!(world.hosts[host].code(), Some(code), "{wanted}");
    }
    let vault = world.join("vault", &["db"]);
    assert_eq!(world.coordinator.node("vault").unwrap().id, world.id(vault));
    let second = world.token_with(NameRule::Exactly(name("vault")), &[], 1, 60);
    assert!(matches!(second, Err(Refusal::NameTaken { .. })));
}

#[test]
fn a_prefix_gives_the_first_free_number() {
    let mut world = World::new(13);
    let token = world.token_with(NameRule::Prefix("web-".into()), &["web"], 3, 60).unwrap();
    for host in applicants(&mut world, 3, &token) {
        world.finish(host, &token);
    }
    let names: Vec<String> = world.coordinator.nodes(false).into_iter().map(|n| n.name).collect();
    assert_eq!(names, ["web-1", "web-2", "web-3"]);
}

/// Who asks shows no key of a token, and the token's public key stands in records that others have.
#[test]
fn one_connection_asks_for_two_offers_and_no_more() {
    let mut world = World::new(40);
    let token = world.token(&["web"], 1);
    let host = applicants(&mut world, 1, &token)[0];
    world.begin(host, &token, "");
    assert!(world.hosts[host].offer.is_some() && world.hosts[host].refused.is_none());
    world.begin(host, &token, "");
    assert!(world.hosts[host].offer.is_none());
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::Protocol));
    world.disconnect(host);
    world.connect(host);
    world.begin(host, &token, "");
    world.finish(host, &token);
    assert_eq!(admitted(&world), 1, "on another connection it may go on");
}

/// What an offer costs does not grow with the names, promised or given, that are taken already.
#[test]
fn an_offer_walks_over_no_names_that_are_taken() {
    const TAKEN: usize = 10_000;
    let mut world = World::with_range(41, "100.64.0.0/10");
    let token = world.token_with(NameRule::Prefix("web".into()), &[], 1_000_000, 600).unwrap();
    let mut took = Vec::new();
    for taken in 0..TAKEN {
        let host = world.add_host();
        world.hosts[host].source = IpAddr::from([10, 0, (taken / 200) as u8, (taken % 200) as u8]);
        world.connect(host);
        let began = std::time::Instant::now();
        match taken % 2 {
            0 => world.begin(host, &token, ""),
            _ => world.begin_liking(host, &token, "web"),
        }
        took.push(began.elapsed());
        let offer = world.hosts[host].offer.as_ref().expect("an offer");
        assert!(offer.name.starts_with("web"), "{}", offer.name);
    }
    let median = |took: &[std::time::Duration]| {
        let mut sorted = took.to_vec();
        sorted.sort();
        sorted[sorted.len() / 2]
    };
    let (first, last) = (median(&took[..200]), median(&took[TAKEN - 200..]));
    println!("an offer among few names {first:?}, among {TAKEN} {last:?}");
    assert!(last < first * 30, "{first:?} among few names, {last:?} among {TAKEN}");
}

#[test]
fn when_ipv4_is_used_up_nodes_enrol_with_ipv6_and_an_alarm_says_so() {
    let mut world = World::with_range(14, "100.64.0.0/29");
    for i in 0..8 {
        world.join(&format!("n-{i}"), &[]);
    }
    let without = world.coordinator.nodes(false).iter().filter(|n| n.v4.is_none()).count();
    assert!(without > 0 && without < 8, "{without}");
    let used_up = world.alarms.iter().filter(|a| a.kind == AlarmKind::AddressesUsedUp).count();
    assert_eq!(used_up, 1);
}

#[test]
fn addresses_are_distinct_and_rest_after_their_holder_has_gone() {
    let mut world = World::with_range(15, "100.64.0.0/29");
    let first = world.join("a", &[]);
    let address = world.coordinator.node("a").unwrap().v4.unwrap();
    world.revoke(first).unwrap();
    world.join("b", &[]);
    assert_ne!(world.coordinator.node("b").unwrap().v4, Some(address));
    world.wait(WEEK + 3600 - 1);
    world.join("c", &[]);
    assert_ne!(world.coordinator.node("c").unwrap().v4, Some(address));
    world.wait(1);
    world.join("d", &[]);
    assert_eq!(world.coordinator.node("d").unwrap().v4, Some(address));
}

#[test]
fn a_revoked_identity_stays_out_over_restarts_and_with_a_new_token() {
    let mut world = World::new(16);
    let host = world.join("a", &[]);
    world.revoke(host).unwrap();
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::Revoked));
    for _ in 0..2 {
        world.restart();
        world.online(host);
        assert_eq!(world.hosts[host].code(), Some(RefusalCode::Revoked));
        let token = world.token(&[], 1);
        world.connect(host);
        world.begin(host, &token, "");
        assert_eq!(world.hosts[host].code(), Some(RefusalCode::Revoked));
    }
    assert_eq!(admitted(&world), 0);
}

#[test]
fn a_wireguard_key_belongs_to_one_node() {
    let mut world = World::new(17);
    let first = world.join("a", &[]);
    let token = world.token(&[], 1);
    let thief = world.add_host();
    world.hosts[thief].lane = world.hosts[first].lane;
    world.connect(thief);
    world.begin(thief, &token, "");
    world.finish(thief, &token);
    assert_eq!(world.hosts[thief].code(), Some(RefusalCode::KeyTaken));
}

#[test]
fn offers_to_one_source_are_bounded() {
    let mut world = World::new(18);
    let token = world.token(&[], 1000);
    let mut offered = 0;
    for _ in 0..300 {
        let host = world.add_host();
        world.hosts[host].source = [198, 51, 100, 1].into();
        world.connect(host);
        world.begin(host, &token, "");
        offered += usize::from(world.hosts[host].offer.is_some());
    }
    assert_eq!(offered, warren_coordinator_core::enrolment::MAX_OFFERS_PER_SOURCE);
    let other = world.add_host();
    world.hosts[other].source = [203, 0, 113, 9].into();
    world.connect(other);
    world.begin(other, &token, "");
    assert!(world.hosts[other].offer.is_some(), "others are served");
}

#[test]
fn tags_that_exclude_each_other_are_refused_at_the_token() {
    let mut world = World::new(19);
    world.apply(&CHAIN.replace("[tag.web]", "[tag.web]\nnot-with = [\"tag:db\"]")).unwrap();
    let both = world.token_with(NameRule::AnyFree, &["db", "web"], 1, 60);
    assert!(matches!(both, Err(Refusal::NotWith { .. })));
}

#[test]
fn tags_that_came_to_exclude_each_other_are_refused_at_the_enrolment() {
    let mut world = World::new(20);
    world.apply(CHAIN).unwrap();
    let token = world.token(&["db", "web"], 1);
    world.apply(&CHAIN.replace("[tag.web]", "[tag.web]\nnot-with = [\"tag:db\"]")).unwrap();
    let host = applicants(&mut world, 1, &token)[0];
    assert!(world.finish(host, &token).is_none());
    assert_eq!(world.hosts[host].code(), Some(RefusalCode::PolicyForbids));
    let told = world.hosts[host].refused.as_ref().unwrap();
    assert!(told.message.contains("tags `db` and `web` may not be worn together"), "{}", told.message);
    assert_eq!(admitted(&world), 0);
}
