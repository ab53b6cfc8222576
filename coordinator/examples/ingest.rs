//! How many flow records a second one coordinator takes and keeps: `scripts/bench accounts`.
//!
//! Nodes report as agents do (frames, numbers, at most 16 reports unacknowledged each); the frames are encoded and decoded and
//! become rows with both ends named (here by arithmetic, there by the coordinator's tables), kept in memory and written by
//! the real writer to SQLite on this disk. One thread does all but the writing. What is measured is from the first frame to
//! the last acknowledgement, and how old a report is when it is on the map.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement ends at the first surprise"
)]

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use warren_config::time::UnixTime;
use warren_coordinator::store::edges::{EdgeFilter, EdgeRetention, EdgeStore};
use warren_coordinator::store::flows::Retention;
use warren_coordinator::store::history::{self, History, Written};
use warren_coordinator_core::accounts::Entry;
use warren_coordinator_core::flows::{Batch, FlowPoint, FlowRow};
use warren_wire::flow::{Amount, FlowEnd, FlowRecord, FlowReport};
use warren_wire::frame::{Decoder, MAX_FRAME, NodeSays, ToCoordinator};
use warren_wire::id::NodeId;
use warren_wire::specimen::flow;

const RECORDS: usize = 2_000;
const IN_FLIGHT: usize = 16;

fn record(node: u64, number: u64, now_ms: u64, peers: u64) -> FlowRecord {
    let peer = number % peers;
    let address = |net: u8, host: u64| IpAddr::from([100, net, (host >> 8) as u8, host as u8]);
    FlowRecord {
        flow: number,
        peer: vec![1; 16],
        src_port: 30_000 + (number % 30_000) as u32,
        packets_out: 5,
        bytes_out: 700,
        packets_back: 4,
        bytes_back: 4_000,
        started_ms: now_ms.saturating_sub(20),
        end: FlowEnd::Closed as i32,
        ..flow(address(64, node), address(65, peer), now_ms)
    }
}

/// What the coordinator makes of a record: both ends named by its own tables.
fn row(node: NodeId, record: &FlowRecord, now: UnixTime) -> FlowRow {
    let point = |bytes: &[u8], port: u32| {
        let address = warren_wire::flow::address(bytes).unwrap();
        let mut id = [0; 16];
        id[..bytes.len()].copy_from_slice(bytes);
        FlowPoint {
            node: Some(NodeId(id)),
            name: Some(format!("node-{}-{}", bytes[2], bytes[3])),
            address,
            port: port as u16,
            behind: false,
        }
    };
    let ends = [point(&record.src, record.src_port), point(&record.dst, record.dst_port)];
    FlowRow::new(record, (node, 1), ends, now).unwrap()
}

fn now_ms() -> u64 {
    warren_coordinator::clock::now_ms()
}

struct Outcome {
    records: u64,
    seconds: f64,
    oldest_ms: u64,
    written_ms: Vec<u64>,
}

/// `nodes` report `rate` records a second together, for `seconds`.
fn run(nodes: u64, rate: u64, seconds: u64, peers: u64, dir: &std::path::Path) -> Outcome {
    let history = History {
        flows: dir.join("flows.db"),
        edges: dir.join("edges.db"),
        keep_flows: Retention::default(),
        keep_edges: EdgeRetention::default(),
        failed: Arc::default(),
        unlisted: Arc::default(),
    };
    let (batches, inbox) = mpsc::sync_channel::<Batch>(256);
    let (acks, acknowledged) = mpsc::channel::<Written>();
    let writer = std::thread::spawn(move || {
        history::write_all(&history, &inbox, |written| {
            for report in written {
                let _ = acks.send(report);
            }
        });
    });
    let (began, mut outcome) =
        (Instant::now(), Outcome { records: 0, seconds: 0.0, oldest_ms: 0, written_ms: Vec::new() });
    let mut flight: BTreeMap<NodeId, VecDeque<(u64, u64)>> = BTreeMap::new();
    let mut sequences: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut recent: VecDeque<FlowRow> = VecDeque::new();
    let total = rate * seconds;
    let (mut sent, mut flow) = (0u64, 0u64);
    let id = |node: u64| NodeId(*(u128::from(node) + 1).to_be_bytes().first_chunk().unwrap());
    let mut turn = 0u64;
    while sent < total || flight.values().any(|f| !f.is_empty()) {
        for (node, _, sequence) in acknowledged.try_iter() {
            let waiting = flight.get_mut(&node).unwrap();
            while let Some((_, at)) = waiting.pop_front_if(|(s, _)| *s <= sequence) {
                outcome.written_ms.push(now_ms().saturating_sub(at));
            }
        }
        let due = ((began.elapsed().as_secs_f64() * rate as f64) as u64).min(total);
        if sent >= due {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        turn += 1;
        let node = turn % nodes;
        let waiting = flight.entry(id(node)).or_default();
        if waiting.len() >= IN_FLIGHT {
            std::thread::yield_now();
            continue;
        }
        let count = (due - sent).min(RECORDS as u64);
        let (at, now) = (now_ms(), warren_coordinator::clock::now());
        let records = (0..count).map(|i| record(node, flow + i, at, peers)).collect();
        flow += count;
        let sequence = sequences.entry(id(node)).or_default();
        *sequence += 1;
        let report = FlowReport { sequence: *sequence, records, boot: 1, ..FlowReport::default() };
        // As the control channel does.
        let bytes = NodeSays::Flows(report).into_frame();
        let mut decoder = Decoder::new(MAX_FRAME);
        decoder.push(&bytes);
        let frame: ToCoordinator = decoder.next().unwrap().unwrap();
        let Ok(NodeSays::Flows(report)) = frame.said() else { panic!("a report") };
        let mut entry = Entry::of(id(node), &report, now);
        let mut rows = Vec::with_capacity(report.records.len());
        for record in &report.records {
            entry.recorded.add(record.amount());
            let row = row(id(node), record, now);
            if recent.len() >= warren_coordinator_core::flows::MAX_FLOWS {
                recent.pop_front();
            }
            recent.push_back(row.clone());
            rows.push(row);
        }
        waiting.push_back((*sequence, at));
        batches.send(Batch { entry, rows }).unwrap();
        sent += count;
    }
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome.records = sent;
    outcome.oldest_ms = outcome.written_ms.iter().copied().max().unwrap_or(0);
    drop(batches);
    writer.join().unwrap();
    check(dir, sent);
    outcome
}

/// Nothing was dropped: the sums on the disk are the sums of what was reported.
fn check(dir: &std::path::Path, records: u64) {
    let store = EdgeStore::open(&dir.join("edges.db")).unwrap();
    let all =
        store.totals(3600, UnixTime(0), UnixTime(u64::MAX >> 2), &EdgeFilter::default(), usize::MAX).unwrap();
    let flows: u64 = all.iter().map(|t| t.sides.shown().flows).sum();
    let recorded: Amount = store.accounts().unwrap().total().recorded;
    assert_eq!((flows, recorded.records, recorded.packets), (records, records, 9 * records));
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let seconds = arguments.first().copied().unwrap_or(10);
    println!(
        "| nodes | asked for, records/s | taken and written, records/s | edges | report to disk, median ms | longest ms |"
    );
    println!("|---|---|---|---|---|---|");
    for (nodes, rate, peers) in [(1, 20_000, 50), (50, 100_000, 20), (100, 200_000, 20), (100, 1_000_000, 20)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut outcome =
            run(nodes, rate, if rate > 200_000 { seconds.min(3) } else { seconds }, peers, dir.path());
        outcome.written_ms.sort_unstable();
        let median = outcome.written_ms.get(outcome.written_ms.len() / 2).copied().unwrap_or(0);
        println!(
            "| {nodes} | {rate} | {:.0} | {} | {median} | {} |",
            outcome.records as f64 / outcome.seconds,
            nodes * peers,
            outcome.oldest_ms
        );
    }
}
