use warren_coordinator_core::edges::Tally;
use warren_coordinator_core::flows::{FlowPoint, FlowRow};
use warren_wire::flow::FlowRecord;
use warren_wire::specimen;

use super::*;

pub fn second(at: u64, opener: bool, bytes: u64, grant: &str) -> EdgeSecond {
    EdgeSecond {
        key: EdgeKey {
            from: EdgeEnd::Node(NodeId([1; 16])),
            to: EdgeEnd::Node(NodeId([2; 16])),
            service: Some("orders".into()),
            protocol: 6,
            port: 8080,
            verdict: FlowVerdict::Allow,
            grant: Some(grant.into()),
        },
        at: UnixTime(at),
        opener,
        sum: Sum { flows: 1, bytes_out: bytes, packets_out: 1, ..Sum::default() },
        quality: Quality::default(),
        generation: 1,
        first_ms: at * 1000,
        last_ms: at * 1000 + 1,
    }
}

pub fn store() -> (tempfile::TempDir, EdgeStore) {
    let dir = tempfile::tempdir().expect("directory");
    let store = EdgeStore::open(&dir.path().join("edges.db")).expect("store");
    (dir, store)
}

fn bytes(store: &EdgeStore, resolution: u64, from: u64, until: u64) -> Vec<u64> {
    let totals = store.totals(resolution, UnixTime(from), UnixTime(until), &EdgeFilter::default(), 100);
    totals.expect("read").iter().map(|t| t.sides.shown().bytes_out).collect()
}

#[test]
fn every_step_holds_the_same_sums_also_of_what_comes_late() {
    let (_dir, mut store) = store();
    let all: Vec<EdgeSecond> = (0..7200).step_by(100).map(|i| second(36_000 + i, true, i, "g")).collect();
    all.chunks(7).rev().for_each(|part| store.add(part, &[]).expect("add"));
    let sum: u64 = all.iter().map(|s| s.sum.bytes_out).sum();
    for step in RESOLUTIONS {
        assert_eq!(bytes(&store, step, 0, u64::MAX), [sum], "{step}");
        assert_eq!(bytes(&store, step, 36_000, 39_600), [(0..3600).step_by(100).sum::<u64>()], "{step}");
    }
}

#[test]
fn sides_are_kept_apart_and_grants_are_edges_of_their_own() {
    let (_dir, mut store) = store();
    store
        .add(&[second(10, true, 5, "a"), second(10, false, 4, "a"), second(10, true, 7, "b")], &[])
        .expect("add");
    assert_eq!(bytes(&store, 1, 0, 100), [5, 7]);
    let filter = EdgeFilter { grant: Some("b".into()), ..EdgeFilter::default() };
    assert_eq!(store.totals(1, UnixTime(0), UnixTime(100), &filter, 9).expect("read").len(), 1);
    let used = store.grant_use(3600, UnixTime(0), UnixTime(3600)).expect("use");
    assert_eq!(used.get("a").map(|u| (u.flows, u.bytes, u.last_ms)), Some((1, 5, 10_001)));
}

/// The opener's word on the way's length; of what was sent again, both ends': each speaks of its own segments.
#[test]
fn round_trips_are_kept_in_the_mean_and_what_was_sent_again_is_added_up() {
    let (_dir, mut store) = store();
    let told = |at, opener, (rtt_us, rtts), retransmissions, grant| EdgeSecond {
        quality: Quality { rtt_us, rtts, retransmissions },
        ..second(at, opener, 1, grant)
    };
    let all = [
        told(10, true, (300, 1), Some(2), "a"),
        told(10, true, (0, 0), None, "a"),
        told(11, true, (1500, 2), None, "a"),
        told(11, false, (90, 1), Some(5), "a"),
        told(12, false, (70, 1), None, "b"),
        told(13, true, (0, 0), None, "c"),
    ];
    all.iter().for_each(|second| store.add(std::slice::from_ref(second), &[]).expect("add"));
    let said = |sides: &Sides| (sides.rtt_us(), sides.retransmissions());
    for step in RESOLUTIONS {
        let totals = store.totals(step, UnixTime(0), UnixTime(7200), &EdgeFilter::default(), 9);
        let seen: Vec<_> = totals.expect("read").iter().map(|t| said(&t.sides)).collect();
        assert_eq!(seen, [(Some(600), Some(7)), (Some(70), None), (None, None)], "{step}");
    }
    let steps = store.series(1, UnixTime(0), UnixTime(99), &EdgeFilter::default(), None, 9).expect("read");
    let seen: Vec<_> = steps.iter().map(|(_, at, total)| (at.0, said(&total.sides))).collect();
    let expected =
        [(10, (Some(300), Some(2))), (11, (Some(750), Some(5))), (12, (Some(70), None)), (13, (None, None))];
    assert_eq!(seen, expected);
}

#[test]
fn a_file_of_an_earlier_version_goes_on() {
    let (dir, mut store) = store();
    store.add(&[second(10, true, 5, "a")], &[]).expect("add");
    for name in RESOLUTIONS.map(table).iter().flat_map(|table| ["rtt", "rtts", "again"].map(|n| (table, n))) {
        let drop = format!("ALTER TABLE {} DROP COLUMN {}", name.0, name.1);
        store.connection.execute_batch(&drop).expect("as it was");
    }
    let mut store = EdgeStore::open(&dir.path().join("edges.db")).expect("again");
    let quality = Quality { rtt_us: 40, rtts: 1, retransmissions: Some(1) };
    store.add(&[EdgeSecond { quality, ..second(10, true, 6, "a") }], &[]).expect("add");
    let totals = store.totals(1, UnixTime(0), UnixTime(99), &EdgeFilter::default(), 9).expect("read");
    let told: Vec<_> = totals.iter().map(|t| (t.sides.shown().bytes_out, t.sides.rtt_us())).collect();
    assert_eq!(told, [(11, Some(40))]);
}

#[test]
fn sums_and_accounts_are_kept_together() {
    let (dir, mut store) = store();
    let start = Start { boot: 7, sequence: 3, ..Start::default() };
    let node = NodeId([9; 16]);
    store.add(&[second(10, true, 5, "a")], &[(node, vec![start.clone()])]).expect("add");
    drop(store);
    let store = EdgeStore::open(&dir.path().join("edges.db")).expect("again");
    assert_eq!(store.accounts().expect("read").starts(&node).collect::<Vec<_>>(), [&start]);
}

/// One end counts a packet in the second before, or after, the other: at the edge of a stretch that is no contradiction.
#[test]
fn only_what_no_clock_can_explain_is_a_mismatch() {
    let (_dir, mut store) = store();
    let steady: Vec<EdgeSecond> =
        (0..100).flat_map(|i| [second(i, true, 10, "a"), second(i + 1, false, 10, "a")]).collect();
    let more: Vec<EdgeSecond> =
        (0..100).flat_map(|i| [second(i, true, 10, "b"), second(i, false, 15, "b")]).collect();
    store.add(&steady, &[]).and_then(|()| store.add(&more, &[])).expect("add");
    let (from, until, all) = (UnixTime(20), UnixTime(101), EdgeFilter::default());
    let mut totals = store.totals(1, from, until, &all, 9).expect("read");
    assert!(totals.iter().all(|t| t.sides.differs()), "both look like it");
    store.confirm(1, from, until, &all, &mut totals).expect("confirm");
    let found: Vec<_> = totals.iter().map(|t| (t.key.grant.as_deref(), t.mismatch.is_some())).collect();
    assert_eq!(found, [(Some("a"), false), (Some("b"), true)]);
}

#[test]
fn a_map_of_the_past_says_when_an_edge_was_last_seen_then() {
    let (_dir, mut store) = store();
    store.add(&[second(100, true, 1, "a"), second(4000, true, 1, "a")], &[]).expect("add");
    let last = |resolution, until| {
        let totals = store.totals(resolution, UnixTime(0), UnixTime(until), &EdgeFilter::default(), 9);
        totals.expect("read").first().map(|t| t.life.last_ms)
    };
    assert_eq!(last(1, 200), Some(100_999), "to the step, which is all that is kept");
    assert_eq!(last(60, 240), Some(119_999));
    assert_eq!(last(1, 5000), Some(4_000_001), "to the millisecond where it is the newest");
}

#[test]
fn a_port_scan_is_few_edges_and_every_attempt_is_counted() {
    let (dir, mut store) = store();
    let refused = |port: u16| {
        let mut second = second(10 + u64::from(port) / 1000, true, 40, "a");
        (second.key.port, second.key.verdict) = (port, FlowVerdict::Deny);
        (second.key.grant, second.key.service) = (None, None);
        second.sum.tries = 2;
        second
    };
    let scan: Vec<EdgeSecond> = (1..=5000).map(refused).collect();
    store.add(&scan[..2500], &[]).expect("add");
    // What was told apart is known again after a restart.
    let mut store = EdgeStore::open(&dir.path().join("edges.db")).expect("again");
    store.add(&scan[2500..], &[]).and_then(|()| store.add(&scan[..10], &[])).expect("add");
    for step in RESOLUTIONS {
        let totals = store.totals(step, UnixTime(0), UnixTime(10_000), &EdgeFilter::default(), 9999);
        let totals = totals.expect("read");
        assert_eq!(totals.len(), PORTS + 1, "{step}");
        assert_eq!(totals.iter().map(|t| t.sides.shown().tries).sum::<u64>(), 2 * 5010, "{step}");
        assert_eq!(totals.iter().filter(|t| t.key.port == 0).count(), 1);
    }
    let allowed: Vec<EdgeSecond> = (1..=100)
        .map(|port| {
            let mut second = second(10, true, 40, "a");
            second.key.port = port;
            second
        })
        .collect();
    store.add(&allowed, &[]).expect("add");
    let totals = store.totals(1, UnixTime(0), UnixTime(10_000), &EdgeFilter::default(), 9999).expect("read");
    assert_eq!(totals.len(), PORTS + 1 + 100, "what is allowed is always told apart");
}

#[test]
fn a_series_is_read_page_by_page_without_a_gap() {
    let (_dir, mut store) = store();
    let all: Vec<EdgeSecond> = (0..20)
        .flat_map(|i| [second(i, true, i, "a"), second(i, false, i, "a"), second(i, true, 1, "b")])
        .collect();
    store.add(&all, &[]).expect("add");
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page =
            store.series(1, UnixTime(0), UnixTime(100), &EdgeFilter::default(), after, 7).expect("page");
        let Some(last) = page.last() else { break };
        after = Some((last.1.0, last.0));
        seen.extend(page.iter().map(|(edge, at, _)| (at.0, *edge)));
    }
    assert_eq!(seen, (0..20).flat_map(|i| [(i, 1), (i, 2)]).collect::<Vec<_>>());
}

/// The one writer must not read every step for each edge that ends: in a large network some end every minute.
#[test]
fn edges_expire_without_a_look_at_the_steps() {
    let (_dir, store) = store();
    let mut plan = store.connection.prepare(&format!("EXPLAIN QUERY PLAN {EXPIRE}")).expect("plan");
    let lines = plan.query_map(params![1, 1], |row| row.get::<_, String>(3)).expect("plan");
    let lines: Vec<String> = lines.map(|line| line.expect("line")).collect();
    let bad = |line: &&String| line.contains("CORRELATED") || line.contains("step_");
    assert!(!lines.is_empty() && !lines.iter().any(|line| bad(&line)), "{lines:?}");
}

#[test]
fn an_edge_expires_when_its_last_step_is_gone_and_no_step_is_ever_without_its_edge() {
    let (_dir, mut store) = store();
    let keep = EdgeRetention { seconds: 60, minutes: 7200, hours: 20_000 };
    // Late records, records of a clock that is ahead, edges that come once and edges that come again.
    let mut tally = Tally::default();
    for i in 0_u64..300 {
        let at = 100_000 + i * 211 % 40_000;
        let record =
            FlowRecord { flow: i, ..specimen::flow([100, 64, 0, 1].into(), [100, 64, 0, 2].into(), 0) };
        let point = |node: u8| FlowPoint {
            node: Some(NodeId([node; 16])),
            name: None,
            address: [100, 64, 0, node].into(),
            port: 1000 + (i % 90) as u16,
            behind: false,
        };
        let ends = [point(1), point(2)];
        let row = FlowRow::new(&record, (NodeId([1; 16]), 1), ends, UnixTime(at + i % 3)).expect("a row");
        let last_ms = if i % 7 == 0 { u64::from(u32::MAX) * 1000 } else { at * 1000 + 999 };
        tally.add(&FlowRow { last_ms, started_ms: at * 1000, ..row });
    }
    store.add(&tally.drain(), &[]).expect("add");
    let count = |store: &EdgeStore, what: &str| {
        let query = format!("SELECT count(*) FROM {what}");
        store.connection.query_row(&query, [], |row| row.get::<_, i64>(0)).expect("count")
    };
    let (all, mut left) = (count(&store, "edge"), Vec::new());
    for now in (100_000..180_000).step_by(500) {
        while store.prune(keep, UnixTime(now)).expect("prune") {}
        for step in RESOLUTIONS.map(table) {
            let orphans = format!("{step} WHERE edge NOT IN (SELECT id FROM edge)");
            assert_eq!(count(&store, &orphans), 0, "{now} {step}");
        }
        left.push(count(&store, "edge"));
    }
    assert_eq!((left.first(), left.last()), (Some(&all), Some(&0)), "none too early, all in the end");
}

#[test]
fn each_step_is_kept_as_long_as_the_settings_say() {
    let (_dir, mut store) = store();
    store.add(&[second(7200, true, 1, "a"), second(20_000, true, 2, "b")], &[]).expect("add");
    let keep = EdgeRetention { seconds: 60, minutes: 3600, hours: 100_000 };
    assert!(!store.prune(keep, UnixTime(20_030)).expect("prune"));
    assert_eq!(bytes(&store, 1, 0, u64::MAX), [2]);
    assert_eq!(bytes(&store, 60, 0, u64::MAX), [2]);
    assert_eq!(bytes(&store, 3600, 0, u64::MAX), [1, 2]);
    store.prune(keep, UnixTime(200_000)).expect("prune");
    assert!(bytes(&store, 3600, 0, u64::MAX).is_empty());
    store.add(&[second(200_001, true, 3, "a")], &[]).expect("a forgotten edge comes back");
    assert_eq!(bytes(&store, 1, 0, u64::MAX), [3]);
}
