//! Laws of the flow map: once, named, bounded, and only of one's own side.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_config::time::UnixTime;
use warren_coordinator_core::accounts::{Accounts, Start};
use warren_coordinator_core::alarm::AlarmKind;
use warren_coordinator_core::flows::{FlowFilter, FlowRow};
use warren_wire::flow::{Ended, FlowEnd, FlowPath, FlowRecord, FlowReport, FlowVerdict, Workload};
use warren_wire::frame::NodeSays;
use warren_wire::specimen;

fn street(seed: u64) -> World {
    let mut world = World::new(seed);
    world.apply(CHAIN).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    world
}

fn record(world: &World, flow: u64, outbound: bool) -> FlowRecord {
    FlowRecord {
        flow,
        outbound,
        service: "orders-api".into(),
        packets_out: 3,
        bytes_out: 300,
        packets_back: 0,
        bytes_back: 0,
        started_ms: 1000,
        first: false,
        path: FlowPath::Unknown as i32,
        ..specimen::flow(world.v4("web-1"), world.v4("orders-1"), 2000)
    }
}

fn report(world: &mut World, host: usize, boot: u64, sequence: u64, records: Vec<FlowRecord>) {
    world.says(host, NodeSays::Flows(FlowReport { sequence, records, lost: 2, boot, ..Default::default() }));
}

/// As `report`, and nothing was lost.
fn told(world: &mut World, host: usize, sequence: u64, records: Vec<FlowRecord>) {
    world.says(host, NodeSays::Flows(FlowReport { sequence, records, boot: 1, ..Default::default() }));
}

fn list(world: &World, filter: FlowFilter) -> Vec<FlowRow> {
    world.coordinator.flows().list(&filter, 0, None, world.now).rows
}

#[test]
fn a_report_counts_once_and_is_acknowledged_by_number() {
    let mut world = street(1);
    let one = record(&world, 1, true);
    for _ in 0..3 {
        report(&mut world, 0, 5, 1, vec![one.clone()]);
    }
    assert_eq!(world.hosts[0].stored.len(), 3, "acknowledged each time, or the node would send for ever");
    assert_eq!(world.stored_flows, 1);
    report(&mut world, 0, 6, 1, vec![one]);
    let status = world.coordinator.status(world.now).flows;
    assert_eq!((status.recorded, status.declared_lost, status.kept), (2, 4, 2));
}

#[test]
fn both_ends_are_named_and_windows_add_up() {
    let mut world = street(2);
    for sequence in 1..=3 {
        let (rtt_us, retransmissions) =
            ((sequence < 3).then_some(100 * sequence), (sequence > 1).then_some(sequence));
        let window = FlowRecord { rtt_us, retransmissions, ..record(&world, 1, true) };
        report(&mut world, 0, 5, sequence, vec![window]);
    }
    let rows = list(&world, FlowFilter::default());
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].from.name.as_deref(), rows[0].to.name.as_deref()), (Some("web-1"), Some("orders-1")));
    assert_eq!((rows[0].packets_out, rows[0].bytes_out), (9, 900));
    assert_eq!(
        (rows[0].rtt_us, rows[0].retransmissions),
        (Some(200), Some(5)),
        "the newest, and all, that is known"
    );
}

#[test]
fn a_node_cannot_speak_for_others() {
    let mut world = street(3);
    world.join("liar", &["web"]);
    let claim = record(&world, 1, true);
    report(&mut world, 2, 1, 1, vec![claim]);
    let backwards = record(&world, 1, true);
    report(&mut world, 1, 1, 1, vec![backwards]);
    assert!(list(&world, FlowFilter::default()).is_empty());
    assert_eq!(world.coordinator.status(world.now).flows.rejected, 2);
    assert_eq!(world.alarms.iter().filter(|a| a.kind == AlarmKind::ForeignFlow).count(), 2);
    let own_side = record(&world, 2, false);
    report(&mut world, 1, 1, 2, vec![own_side]);
    assert_eq!(list(&world, FlowFilter::default()).len(), 1);
}

#[test]
fn malformed_records_are_left_out_and_the_rest_is_taken() {
    let mut world = street(4);
    let good = record(&world, 1, true);
    let bad = [
        FlowRecord { src: vec![1, 2, 3], ..good.clone() },
        FlowRecord { dst_port: 70_000, ..good.clone() },
        FlowRecord { protocol: 999, ..good.clone() },
        FlowRecord { verdict: 99, ..good.clone() },
        FlowRecord { grant: "x\u{1b}[2J".into(), ..good.clone() },
    ];
    let mut records = bad.to_vec();
    records.push(good);
    report(&mut world, 0, 1, 1, records);
    assert_eq!(list(&world, FlowFilter::default()).len(), 1);
    assert_eq!(world.coordinator.status(world.now).flows.rejected, 5);
}

#[test]
fn filters_and_the_cursor_find_exactly_what_they_ask_for() {
    let mut world = street(5);
    let mut records: Vec<FlowRecord> = (1..=10).map(|n| record(&world, n, true)).collect();
    records[9].verdict = FlowVerdict::Deny as i32;
    report(&mut world, 0, 1, 1, records);
    let deny = FlowFilter { verdict: Some(FlowVerdict::Deny), ..Default::default() };
    assert_eq!(list(&world, deny.clone()).len(), 1);
    let from = |text: &str| FlowFilter { from: Some(text.into()), ..Default::default() };
    assert_eq!(list(&world, from("web-1")).len(), 10);
    assert_eq!(list(&world, from("orders-1")).len(), 0);
    assert_eq!(list(&world, from(&world.id(0).to_string())).len(), 10);
    assert_eq!(list(&world, FlowFilter { limit: 3, ..Default::default() }).len(), 3);
    let page = world.coordinator.flows_since(0, &FlowFilter::default(), 4);
    assert_eq!((page.rows.len(), page.cursor, page.missed), (4, 4, 0));
    let page = world.coordinator.flows_since(page.cursor, &FlowFilter::default(), 100);
    assert_eq!((page.rows.len(), page.cursor), (6, 10));
    let page = world.coordinator.flows_since(0, &deny, 100);
    assert_eq!((page.rows.len(), page.cursor), (1, 10));
}

#[test]
fn strangers_report_nothing() {
    let mut world = street(6);
    let stranger = world.add_host();
    world.connect(stranger);
    let claim = record(&world, 1, true);
    report(&mut world, stranger, 1, 1, vec![claim]);
    assert!(world.hosts[stranger].refused.is_some());
    assert_eq!(world.coordinator.status(world.now).flows.recorded, 0);
}

/// One flow as both ends report it: whole, over, and long ago.
fn both(world: &mut World, opener: FlowRecord, responder: FlowRecord) -> Vec<FlowRow> {
    let ended = FlowRecord { first: true, end: FlowEnd::Closed as i32, ..Default::default() };
    let whole = |record: FlowRecord| FlowRecord { first: true, end: ended.end, ..record };
    told(world, 0, 1, vec![whole(opener)]);
    told(world, 1, 1, vec![FlowRecord { outbound: false, ..whole(responder) }]);
    world.wait(60);
    list(world, FlowFilter::default())
}

#[test]
fn both_ends_of_a_flow_find_each_other_and_agree() {
    let mut world = street(10);
    let named = |process: &str| Some(Workload { process: process.into(), ..Default::default() });
    let opener = FlowRecord { bytes_back: 900, workload: named("curl"), ..record(&world, 1, true) };
    // What was lost on the way is no contradiction.
    let responder =
        FlowRecord { bytes_out: 250, bytes_back: 1000, workload: named("nginx"), ..record(&world, 7, false) };
    let rows = both(&mut world, opener, responder);
    assert_eq!(rows.len(), 2);
    for row in &rows {
        let other = row.other.as_ref().unwrap();
        assert_ne!(other.reporter, row.reporter);
        assert_eq!(row.mismatch, None);
        let (own, there) = (row.workload.as_ref().unwrap(), other.workload.as_ref().unwrap());
        let expected = if row.outbound { ("curl", "nginx") } else { ("nginx", "curl") };
        assert_eq!((own.process.as_str(), there.process.as_str()), expected);
    }
}

#[test]
fn more_received_than_sent_and_silence_are_said() {
    let mut world = street(11);
    let (opener, responder) =
        (record(&world, 1, true), FlowRecord { bytes_out: 301, ..record(&world, 7, false) });
    for row in both(&mut world, opener, responder) {
        let said = row.mismatch.unwrap();
        assert_eq!(said, "orders-1 received 301 bytes, the other end sent 300");
    }
    let mut world = street(12);
    let spoke = |sequence| FlowReport { sequence, boot: 1, ..Default::default() };
    met(&mut world, 0, |_| spoke(2));
    assert_eq!(silence(&world), None, "the other end still has time");
    world.wait(60);
    world.says(1, NodeSays::Flows(spoke(3)));
    assert_eq!(silence(&world).as_deref(), Some("orders-1 took part in it and has not reported it"));
}

/// What it got after its last word is not in what it told: away from the coordinator, killed, or lost.
#[test]
fn nobody_is_contradicted_by_what_he_had_no_turn_to_tell() {
    let ends = |world: &World| {
        let (started_ms, last_ms) = (world.now.0 * 1000, world.now.0 * 1000 + 500);
        let open =
            |record| FlowRecord { first: true, end: FlowEnd::Open as i32, started_ms, last_ms, ..record };
        let opener = open(record(world, 1, true));
        let responder = FlowRecord { bytes_out: 301, outbound: false, ..open(record(world, 7, false)) };
        (opener, responder)
    };
    let contradicted =
        |world: &World| list(world, FlowFilter::default()).iter().any(|row| row.mismatch.is_some());
    let mut world = street(45);
    let (opener, responder) = ends(&world);
    told(&mut world, 0, 1, vec![opener]);
    told(&mut world, 1, 1, vec![responder]);
    world.wait(60);
    assert!(!contradicted(&world), "both are silent since");
    told(&mut world, 1, 2, Vec::new());
    assert!(!contradicted(&world), "its opener is");
    told(&mut world, 0, 2, Vec::new());
    assert!(contradicted(&world), "both went on, and had nothing more to say of it");
    report(&mut world, 0, 1, 3, Vec::new());
    assert!(!contradicted(&world), "it may be what was lost");
}

/// orders-1 reports, a flow to it is reported by web-1 alone, and after a while orders-1 says what `then` makes.
fn met(world: &mut World, after: u64, then: impl FnOnce(&World) -> FlowReport) {
    world.says(1, NodeSays::Flows(FlowReport { sequence: 1, boot: 1, ..Default::default() }));
    world.wait(60);
    let ms = world.now.0 * 1000;
    let opener = FlowRecord {
        packets_back: 1,
        first: true,
        started_ms: ms,
        last_ms: ms + 500,
        ..record(world, 1, true)
    };
    report(world, 0, 1, 1, vec![opener]);
    world.wait(after);
    let said = then(world);
    world.says(1, NodeSays::Flows(said));
}

fn silence(world: &World) -> Option<String> {
    let from = FlowFilter { from: Some("web-1".into()), ..FlowFilter::default() };
    list(world, from).into_iter().find(|row| row.outbound).unwrap().mismatch
}

#[test]
fn silence_is_held_against_nobody_who_may_have_told_or_had_no_turn() {
    let spoke = FlowReport { sequence: 2, boot: 1, ..Default::default() };
    let mut world = street(40);
    met(&mut world, 60, |_| spoke.clone());
    assert!(silence(&world).is_some(), "it went on reporting, and left this out");
    // Away from the coordinator, which is not away from the flow; and back only now.
    let mut world = street(41);
    met(&mut world, 0, |_| spoke.clone());
    world.disconnect(1);
    world.wait(600);
    assert_eq!(silence(&world), None, "it cannot tell");
    world.online(1);
    world.says(1, NodeSays::Flows(FlowReport { sequence: 3, ..spoke.clone() }));
    assert_eq!(silence(&world), None, "it has only begun to tell");
    world.wait(60);
    world.says(1, NodeSays::Flows(FlowReport { sequence: 4, ..spoke.clone() }));
    assert!(silence(&world).is_some());
    // Put together with others for want of room.
    let mut world = street(42);
    met(&mut world, 60, |world| FlowReport {
        records: vec![FlowRecord { src_port: 0, count: 9, ..record(world, 3, false) }],
        ..spoke.clone()
    });
    assert_eq!(silence(&world), None, "it may be in that record");
    // Declared lost; another start of the agent; a record that was not taken.
    let mut world = street(43);
    met(&mut world, 60, |_| FlowReport { lost: 1, ..spoke.clone() });
    assert_eq!(silence(&world), None, "it may be what was lost");
    let mut world = street(44);
    met(&mut world, 60, |_| FlowReport { boot: 2, ..spoke.clone() });
    assert_eq!(silence(&world), None, "the agent that saw it was killed");
    let mut world = street(45);
    met(&mut world, 60, |world| FlowReport {
        records: vec![FlowRecord { dst_port: 70_000, ..record(world, 3, false) }],
        ..spoke.clone()
    });
    assert_eq!(silence(&world), None, "it may be the record that was not taken");
    // The record of the other end went to the coordinator that ran before.
    let mut world = street(46);
    let started_ms = world.now.0 * 1000;
    world.wait(60);
    let mut accounts = Accounts::default();
    let start = Start { boot: 1, sequence: 1, began: UnixTime(1), last: world.now, ..Start::default() };
    accounts.restore(world.id(1), start);
    world.restart();
    world.coordinator.restore_accounts(accounts);
    [0, 1].into_iter().for_each(|host| world.online(host));
    let ms = world.now.0 * 1000;
    let opener =
        FlowRecord { packets_back: 1, first: true, started_ms, last_ms: ms, ..record(&world, 1, true) };
    report(&mut world, 0, 1, 1, vec![opener]);
    world.wait(60);
    world.says(1, NodeSays::Flows(spoke));
    assert_eq!(silence(&world), None, "nobody knows here what was told before");
}

#[test]
fn a_workload_with_a_hostile_name_is_only_text() {
    let mut world = street(13);
    let hostile = Workload { process: "a\u{1b}[31m\n".repeat(500), ..Default::default() };
    let claim = FlowRecord { workload: Some(hostile), ..record(&world, 1, true) };
    report(&mut world, 0, 1, 1, vec![claim]);
    let shown = list(&world, FlowFilter::default())[0].workload.clone().unwrap().process;
    assert!(shown.len() <= Workload::PROCESS && shown.chars().all(|c| !c.is_control()), "{shown:?}");
}

#[test]
fn an_account_says_what_became_of_what_was_judged() {
    let mut world = street(14);
    let good = FlowRecord { packets_back: 2, bytes_back: 50, ..record(&world, 1, true) };
    let bad = FlowRecord { dst_port: 70_000, ..record(&world, 2, true) };
    let first = FlowReport {
        sequence: 1,
        boot: 5,
        records: vec![good, bad],
        lost: 1,
        lost_packets: 4,
        lost_bytes: 400,
        offered_packets: 20,
        offered_bytes: 2000,
        ..Default::default()
    };
    for _ in 0..3 {
        world.says(0, NodeSays::Flows(first.clone()));
    }
    let of = |world: &World| world.coordinator.accounts().nodes[0].balance;
    let balance = of(&world);
    assert_eq!((balance.recorded.packets, balance.rejected.packets, balance.lost.packets), (5, 3, 4));
    assert_eq!((balance.underway.packets, balance.lost_at_end.packets), (8, 0));
    // The agent is killed; the next one knows how much it had judged.
    let told = Ended { boot: 5, packets: 25, bytes: 2500 };
    let next = FlowReport { sequence: 1, boot: 6, ended: vec![told], ..Default::default() };
    world.says(0, NodeSays::Flows(next));
    let balance = of(&world);
    assert_eq!((balance.underway.packets, balance.lost_at_end.packets, balance.untold_ends), (0, 13, 0));
    assert_eq!(balance.offered.packets, 25);
    // The next but one knows nothing of it.
    world.says(0, NodeSays::Flows(FlowReport { sequence: 1, boot: 7, ..Default::default() }));
    assert_eq!(of(&world).untold_ends, 1);
    // Nobody records more than was judged.
    let records = vec![record(&world, 9, true)];
    let liar = FlowReport { sequence: 2, boot: 7, records, offered_packets: 1, ..Default::default() };
    world.says(0, NodeSays::Flows(liar));
    assert_eq!(of(&world).excess.packets, 2);
}

/// A grant to one service of a host, and a try at the port of another.
#[test]
fn a_refused_try_at_a_host_behind_a_gateway_is_of_the_service_at_its_port_and_one_at_the_gateway_is_not() {
    let mut world = World::new(31);
    let text = "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n\
        [tag.gw]\nowners = [\"group:ops\"]\n[service.lan]\nvia = [\"tag:gw\"]\n\
        addresses = [\"192.168.10.0/24\"]\nlisten = [\"tcp/80\", \"tcp/445\"]\n[service.nas]\nvia = [\"tag:gw\"]\n\
        addresses = [\"192.168.10.5\"]\nlisten = [\"tcp/445\"]\n[service.ssh]\non = [\"tag:gw\"]\nlisten = [\"tcp/22\"]\n\
        [[grant]]\nid = \"web-uses-lan\"\nfrom = [\"tag:web\"]\nto = [\"service:lan\", \"service:ssh\"]\n";
    world.apply(text).unwrap();
    world.join("web-1", &["web"]);
    world.join("gw-1", &["gw"]);
    let gateway = world.coordinator.node("gw-1").unwrap().id;
    let refused = |flow: u64, to: std::net::IpAddr, port: u32| FlowRecord {
        flow,
        dst_port: port,
        verdict: FlowVerdict::Deny as i32,
        end: FlowEnd::Refused as i32,
        grant: String::new(),
        service: String::new(),
        peer: gateway.0.to_vec(),
        ..specimen::flow(world.v4("web-1"), to, 2000)
    };
    let host = |text: &str| text.parse().unwrap();
    let records = vec![
        refused(1, host("192.168.10.5"), 445),
        refused(2, host("192.168.10.7"), 445),
        refused(3, host("192.168.10.7"), 9),
        refused(4, world.v4("gw-1"), 445),
    ];
    report(&mut world, 0, 5, 1, records);
    let rows = list(&world, FlowFilter::default());
    let service = |flow: u64| {
        let row = rows.iter().find(|row| row.flow == flow).unwrap();
        (row.to.name.clone().unwrap(), row.to.address.to_string(), row.service.clone())
    };
    let gw = || "gw-1".to_owned();
    assert_eq!(service(1), (gw(), "192.168.10.5".to_owned(), Some("nas".to_owned())), "the narrowest");
    assert_eq!(service(2), (gw(), "192.168.10.7".to_owned(), Some("lan".to_owned())));
    assert_eq!(service(3).2, None, "nobody listens there");
    assert_eq!(service(4).2, None, "that is the gateway itself");
    let label = |flow: u64| rows.iter().find(|row| row.flow == flow).unwrap().to.label();
    assert_eq!([label(1), label(4)], ["192.168.10.5 by gw-1", "gw-1"], "what people read");
    let row = world.coordinator.node("gw-1").unwrap();
    assert_eq!(
        (row.offers, row.leads_to),
        (vec!["ssh".to_owned()], vec!["lan".to_owned(), "nas".to_owned()])
    );
    assert!(row.dns.iter().all(|name| !name.starts_with("lan.")), "{:?}", row.dns);
}
