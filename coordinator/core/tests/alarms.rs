//! Laws of alarms that are about how things are: each is raised with its reason when it begins to hold, and cleared when it no
//! longer does. All in virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_config::time::UnixTime;
use warren_coordinator_core::access::{KeyHash, KeyText, Scope};
use warren_coordinator_core::alarm::{Alarm, AlarmKind};
use warren_coordinator_core::command::Command;
use warren_coordinator_core::conditions::{COME_BACK, ENFORCE, GRANT_ENDS, KEY_ENDS};
use warren_coordinator_core::overdue::PATIENCE;
use warren_coordinator_core::refusals::{BURST, WINDOW};
use warren_wire::flow::{FlowRecord, FlowReport};
use warren_wire::frame::NodeSays;
use warren_wire::specimen;

const DAY: u64 = 24 * 3600;

/// Lets time go on in the steps the coordinator itself asks for.
fn pass(world: &mut World, seconds: u64) {
    let end = world.now.plus(seconds);
    while world.now < end {
        let due = world.coordinator.poll_timeout().map_or(end, |timeout| timeout.at);
        let next = due.max(world.now.plus(1)).min(end);
        let step = next.since(world.now);
        world.wait(step);
    }
}

fn standing(world: &World, kind: AlarmKind) -> Vec<Alarm> {
    world.coordinator.status(world.now).alarms.into_iter().filter(|alarm| alarm.kind == kind).collect()
}

fn street(seed: u64) -> World {
    let mut world = World::new(seed);
    world.apply(CHAIN).unwrap();
    for (name, tag) in [("web-1", "web"), ("orders-1", "orders")] {
        let host = world.join(name, &[tag]);
        world.hosts[host].enforces = false;
    }
    world
}

#[test]
fn a_node_that_does_not_enforce_in_time_is_an_alarm_until_it_does() {
    let mut world = street(1);
    pass(&mut world, 2 * ENFORCE);
    assert_eq!(standing(&world, AlarmKind::NotEnforcing), []);
    world.apply(&CHAIN.replace("8443", "8444")).unwrap();
    world.enforce(1);
    pass(&mut world, ENFORCE - 1);
    assert_eq!(standing(&world, AlarmKind::NotEnforcing), [], "it has its time");
    pass(&mut world, 1);
    let alarms = standing(&world, AlarmKind::NotEnforcing);
    let [alarm] = &alarms[..] else { panic!("{alarms:?}") };
    assert_eq!(alarm.subject, world.id(0).to_string());
    for word in ["web-1", "enforces generation 1", "generation 2 is in force", "doctor"] {
        assert!(alarm.message.contains(word), "{}", alarm.message);
    }
    assert!(world.alarms.contains(alarm), "it was told");
    pass(&mut world, 10 * ENFORCE);
    assert_eq!(standing(&world, AlarmKind::NotEnforcing), alarms, "once, and it stays");
    world.enforce(0);
    pass(&mut world, 1);
    assert_eq!(standing(&world, AlarmKind::NotEnforcing), []);
    assert_eq!(world.cleared, alarms);
}

#[test]
fn who_is_away_while_the_policy_changes_has_an_hour_to_come_back() {
    let mut world = street(2);
    world.disconnect(0);
    pass(&mut world, 3 * COME_BACK);
    assert_eq!(standing(&world, AlarmKind::NotEnforcing), [], "nothing changed meanwhile");
    world.apply(&CHAIN.replace("8443", "8444")).unwrap();
    world.enforce(1);
    pass(&mut world, COME_BACK - 1);
    assert_eq!(standing(&world, AlarmKind::NotEnforcing), []);
    pass(&mut world, 1);
    let alarms = standing(&world, AlarmKind::NotEnforcing);
    assert!(alarms.len() == 1 && alarms[0].message.contains("is away since"), "{alarms:?}");
    world.revoke(0).unwrap();
    pass(&mut world, 10);
    assert_eq!(standing(&world, AlarmKind::NotEnforcing), [], "of a revoked node nothing is expected");
}

fn refused(world: &World, flow: u64, outbound: bool, count: u64) -> FlowRecord {
    let now = world.now.0 * 1000;
    FlowRecord {
        flow,
        outbound,
        dst_port: 22,
        packets_out: 0,
        bytes_out: 0,
        count,
        ..specimen::refused(world.v4("web-1"), world.v4("orders-1"), now)
    }
}

fn report(world: &mut World, host: usize, sequence: u64, record: FlowRecord) {
    world.says(
        host,
        NodeSays::Flows(FlowReport { sequence, records: vec![record], boot: 1, ..Default::default() }),
    );
}

#[test]
fn a_burst_of_refusals_names_its_identity_and_ends_when_it_is_over() {
    let mut world = street(3);
    // Both ends say the same: it counts once.
    for (host, outbound) in [(0, true), (1, false)] {
        let record = refused(&world, 1, outbound, BURST - 1);
        report(&mut world, host, 1, record);
    }
    pass(&mut world, 1);
    assert_eq!(standing(&world, AlarmKind::RefusalBurst), []);
    let record = refused(&world, 2, true, 1);
    report(&mut world, 0, 2, record);
    pass(&mut world, 1);
    let alarms = standing(&world, AlarmKind::RefusalBurst);
    let [alarm] = &alarms[..] else { panic!("{alarms:?}") };
    assert_eq!(alarm.subject, world.id(0).to_string(), "who tries, not who is tried");
    assert!(alarm.message.contains(&format!("web-1 was refused {BURST} times")), "{}", alarm.message);
    assert!(alarm.message.contains("orders-1 tcp/22"), "{}", alarm.message);
    pass(&mut world, WINDOW / 2);
    assert_eq!(standing(&world, AlarmKind::RefusalBurst).len(), 1);
    pass(&mut world, WINDOW);
    assert_eq!(standing(&world, AlarmKind::RefusalBurst), []);
    assert_eq!(world.cleared.len(), 1);
}

#[test]
fn an_identity_that_is_silent_about_its_refusals_is_seen_by_the_others() {
    let mut world = street(4);
    let record = refused(&world, 1, false, BURST);
    report(&mut world, 1, 1, record);
    pass(&mut world, 1);
    assert_eq!(standing(&world, AlarmKind::RefusalBurst)[0].subject, world.id(0).to_string());
}

#[test]
fn who_reports_more_than_it_judged_is_an_alarm_until_the_account_balances() {
    let mut world = street(8);
    let record = FlowRecord { packets_out: 3, bytes_out: 300, ..refused(&world, 1, true, 1) };
    let say = |world: &mut World, sequence, records, offered_packets| {
        let offered_bytes = offered_packets * 100;
        let report =
            FlowReport { sequence, records, boot: 1, offered_packets, offered_bytes, ..Default::default() };
        world.says(0, NodeSays::Flows(report));
        pass(world, 1);
    };
    say(&mut world, 1, vec![record.clone()], 3);
    assert_eq!(standing(&world, AlarmKind::AccountsUnbalanced), []);
    say(&mut world, 2, vec![FlowRecord { flow: 2, ..record }], 4);
    let alarms = standing(&world, AlarmKind::AccountsUnbalanced);
    let [alarm] = &alarms[..] else { panic!("{alarms:?}") };
    assert!(alarm.message.contains("web-1 reports 2 packets (200 bytes) more"), "{}", alarm.message);
    say(&mut world, 3, vec![], 6);
    assert_eq!(standing(&world, AlarmKind::AccountsUnbalanced), []);
    assert_eq!(world.cleared.len(), 1);
}

/// web-1 has judged so many packets of 100 bytes, recorded or declared lost so many, and says so in report `sequence`.
fn account(world: &mut World, sequence: u64, [offered, recorded, lost]: [u64; 3]) {
    let record =
        FlowRecord { packets_out: recorded, bytes_out: 100 * recorded, ..refused(world, sequence, true, 1) };
    let report = FlowReport {
        sequence,
        records: if recorded > 0 { vec![record] } else { Vec::new() },
        boot: 1,
        offered_packets: offered,
        offered_bytes: 100 * offered,
        lost: lost.min(1),
        lost_packets: lost,
        lost_bytes: 100 * lost,
        ..Default::default()
    };
    world.says(0, NodeSays::Flows(report));
    pass(world, 1);
}

#[test]
fn who_goes_on_reporting_and_leaves_out_what_it_judged_is_an_alarm_until_it_says_what_became_of_it() {
    let mut world = street(9);
    for second in 1..=PATIENCE {
        account(&mut world, second, [1_000_000, u64::from(second == 1) * 10, 0]);
    }
    assert_eq!(standing(&world, AlarmKind::AccountsUnbalanced), [], "it has its time");
    for second in 1..=20 {
        account(&mut world, PATIENCE + second, [1_000_000, 0, 0]);
    }
    let alarms = standing(&world, AlarmKind::AccountsUnbalanced);
    let [alarm] = &alarms[..] else { panic!("{alarms:?}") };
    assert!(alarm.message.contains("999990 packets (99999000 bytes)"), "{}", alarm.message);
    assert!(alarm.message.contains("web-1"), "{}", alarm.message);
    account(&mut world, 200, [1_000_000, 0, 999_990]);
    assert_eq!(standing(&world, AlarmKind::AccountsUnbalanced), [], "it has declared them lost");
    assert_eq!(world.cleared.len(), 1);
}

#[test]
fn who_is_on_time_behind_for_a_reason_or_away_is_no_alarm_about_accounts() {
    let mut world = street(10);
    let mut sequence = 0;
    let mut say = |world: &mut World, account_of: [u64; 3]| {
        sequence += 1;
        account(world, sequence, account_of);
    };
    // Always a second behind.
    for second in 0..200 {
        say(&mut world, [100 * (second + 1), if second == 0 { 0 } else { 100 }, 0]);
    }
    // Away for an hour, then a backlog: not even what was judged before has come after half a minute.
    world.disconnect(0);
    pass(&mut world, 3600);
    world.online(0);
    for _ in 0..30 {
        say(&mut world, [100_000, 3, 0]);
    }
    say(&mut world, [100_000, 100_000 - 19_900 - 90, 0]);
    // The coordinator's clock goes on an hour at once, and back.
    for jump in [3600_i64, -7200] {
        say(&mut world, [100_200, 0, 0]);
        world.now = UnixTime(world.now.0.checked_add_signed(jump).unwrap());
        say(&mut world, [100_300, 0, 0]);
        say(&mut world, [100_300, 300 * u64::from(jump > 0), 0]);
    }
    assert_eq!(standing(&world, AlarmKind::AccountsUnbalanced), []);
    assert!(world.alarms.iter().all(|alarm| alarm.kind != AlarmKind::AccountsUnbalanced), "not for a moment");
}

#[test]
fn an_agent_older_than_the_store_is_asked_for_what_it_judges_from_now_on_only() {
    let mut world = street(11);
    for second in 0..200 {
        account(&mut world, 500 + second, [1_000_000 + second, u64::from(second > 0), 0]);
    }
    assert_eq!(standing(&world, AlarmKind::AccountsUnbalanced), [], "the store was put back");
    for second in 0..200 {
        account(&mut world, 800 + second, [2_000_000, 0, 0]);
    }
    assert_eq!(standing(&world, AlarmKind::AccountsUnbalanced).len(), 1);
}

#[test]
fn many_who_are_refused_now_and_then_are_no_burst() {
    let mut world = street(5);
    for minute in 0..20 {
        let record = refused(&world, minute, true, BURST / 2);
        report(&mut world, 0, minute + 1, record);
        pass(&mut world, WINDOW);
    }
    assert_eq!(standing(&world, AlarmKind::RefusalBurst), []);
    assert_eq!(world.alarms, []);
}

#[test]
fn a_grant_near_its_end_is_an_alarm_until_it_is_prolonged_or_has_ended() {
    let mut world = street(6);
    let until = |at: UnixTime| {
        let grant = format!("id = \"web-reads-orders\"\nuntil = {at}");
        let text = CHAIN.replacen("id = \"web-reads-orders\"", &grant, 1);
        assert_ne!(text, CHAIN, "the policy has that grant");
        text
    };
    let end = world.now.plus(10 * DAY);
    world.apply(&until(end)).unwrap();
    [0, 1].into_iter().for_each(|host| world.enforce(host));
    pass(&mut world, 10 * DAY - GRANT_ENDS - 1);
    assert_eq!(standing(&world, AlarmKind::EndsSoon), []);
    pass(&mut world, 1);
    let alarms = standing(&world, AlarmKind::EndsSoon);
    assert!(alarms.len() == 1 && alarms[0].subject == "grant web-reads-orders", "{alarms:?}");
    assert!(alarms[0].message.contains(&end.to_string()), "{}", alarms[0].message);
    world.apply(&until(end.plus(30 * DAY))).unwrap();
    pass(&mut world, 10);
    assert_eq!(standing(&world, AlarmKind::EndsSoon), [], "prolonged");
    pass(&mut world, 30 * DAY - 10);
    assert_eq!(standing(&world, AlarmKind::EndsSoon).len(), 1);
    pass(&mut world, GRANT_ENDS);
    assert_eq!(standing(&world, AlarmKind::EndsSoon), [], "it has ended");
}

#[test]
fn freshness_that_a_clock_put_back_keeps_from_being_signed_is_an_alarm_until_the_clock_is_right() {
    let mut world = street(9);
    pass(&mut world, 30 * DAY);
    assert_eq!(standing(&world, AlarmKind::EndsSoon), [], "it is signed anew in time");
    let right = world.now;
    world.now = UnixTime(right.0 - DAY);
    world.disconnect(0);
    world.online(0);
    pass(&mut world, 10);
    let alarms = standing(&world, AlarmKind::EndsSoon);
    let [alarm] = &alarms[..] else { panic!("{alarms:?}") };
    assert_eq!(alarm.subject, "freshness");
    assert!(alarm.message.contains(&format!("clock says {}", world.now)), "{}", alarm.message);
    world.now = right.plus(10);
    pass(&mut world, 10);
    assert_eq!(standing(&world, AlarmKind::EndsSoon), []);
}

#[test]
fn an_api_key_near_its_end_is_an_alarm_and_a_short_one_is_not() {
    let mut world = street(7);
    let mut make = |name: &str, byte: u8, life: u64| {
        let key = KeyText::new([byte; 7], [byte; 32]);
        let ends = Some(world.now.plus(life));
        let (id, hash) = (key.id(), KeyHash::of(&key));
        let made = Command::MakeApiKey { id: id.clone(), name: name.into(), scope: Scope::Read, hash, ends };
        world.command(made).unwrap();
        id
    };
    let long = make("grafana", 1, 90 * DAY);
    make("today", 2, DAY);
    pass(&mut world, 90 * DAY - KEY_ENDS - 1);
    assert_eq!(standing(&world, AlarmKind::EndsSoon), []);
    pass(&mut world, 1);
    let alarms = standing(&world, AlarmKind::EndsSoon);
    assert!(alarms.len() == 1 && alarms[0].subject == "API key grafana", "{alarms:?}");
    world.command(Command::RevokeApiKey { id: long }).unwrap();
    pass(&mut world, 10);
    assert_eq!(standing(&world, AlarmKind::EndsSoon), []);
}
