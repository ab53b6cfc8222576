//! How much disk 30 days of a network of 1,000 nodes take: `scripts/bench store`.
//!
//! Two synthetic days are written to SQLite as the service does (every sum into seconds, minutes and hours, pruned by the
//! settings); the file is measured, and what a day adds once the shorter steps are full is reckoned up to 30 days.

#![allow(clippy::unwrap_used, reason = "a measurement ends at the first surprise")]

use std::time::Instant;

use warren_config::time::UnixTime;
use warren_coordinator::store::edges::{EdgeRetention, EdgeStore};
use warren_coordinator_core::edges::{EdgeEnd, EdgeKey, EdgeSecond, Sum};
use warren_wire::flow::FlowVerdict;
use warren_wire::id::NodeId;

const DAY: u64 = 24 * 3600;
/// A day begins here.
const START: u64 = 20_000 * DAY;

struct Shape {
    nodes: u64,
    /// Edges of one node as opener.
    out: u64,
    /// An edge is busy in so many of 1,000 seconds while it is awake.
    busy: u64,
    /// Hours a day an edge is awake.
    hours: u64,
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn node(number: u64) -> NodeId {
    let mut id = [0xab; 16];
    id.iter_mut().zip(mix(number).to_be_bytes()).for_each(|(place, byte)| *place = byte);
    NodeId(id)
}

fn key(shape: &Shape, edge: u64) -> EdgeKey {
    let (from, slot) = (edge / shape.out, edge % shape.out);
    let service = slot % 25;
    EdgeKey {
        from: EdgeEnd::Node(node(from)),
        to: EdgeEnd::Node(node(mix(edge) % shape.nodes)),
        service: Some(format!("service-{service}")),
        protocol: 6,
        port: 8000 + service as u16,
        verdict: FlowVerdict::Allow,
        grant: Some(format!("grant-of-service-{service}")),
    }
}

/// What both ends say of one edge in one second.
fn second(shape: &Shape, edge: u64, at: u64) -> [EdgeSecond; 2] {
    let bytes = 200 + mix(edge ^ at << 20) % 60_000;
    [true, false].map(|opener| EdgeSecond {
        key: key(shape, edge),
        at: UnixTime(at),
        opener,
        sum: Sum {
            flows: 1,
            tries: 0,
            packets_out: bytes / 900 + 3,
            bytes_out: bytes,
            packets_back: bytes / 700 + 2,
            bytes_back: 2 * bytes,
        },
        generation: 7,
        first_ms: at * 1000,
        last_ms: at * 1000 + 900,
    })
}

fn megabytes(path: &std::path::Path) -> f64 {
    ["", "-wal"]
        .iter()
        .filter_map(|end| std::fs::metadata(format!("{}{end}", path.display())).ok())
        .map(|m| m.len() as f64 / 1e6)
        .sum()
}

/// One stretch of `[from, until)`, in slices of `slice` seconds so that a test day ends this year: within a slice each edge is
/// written once a minute and once a second in proportion.
fn fill(store: &mut EdgeStore, shape: &Shape, from: u64, until: u64, every: u64) -> u64 {
    let edges = shape.nodes * shape.out;
    let (mut written, mut batch) = (0, Vec::new());
    for at in (from..until).step_by(usize::try_from(every).unwrap()) {
        for edge in 0..edges {
            let awake = (at / 3600 + mix(edge)) % 24 < shape.hours;
            if awake && mix(edge.wrapping_mul(7_919) ^ at) % 1000 < shape.busy {
                batch.extend(second(shape, edge, at));
            }
        }
        if batch.len() > 50_000 {
            written += batch.len() as u64;
            store.add(&std::mem::take(&mut batch), &[]).unwrap();
        }
    }
    written += batch.len() as u64;
    store.add(&batch, &[]).unwrap();
    written
}

fn pages(path: &std::path::Path, table: &str) -> (f64, u64) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let rows: i64 =
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
    let bytes: rusqlite::Result<i64> =
        connection.query_row("SELECT sum(pgsize) FROM dbstat WHERE name = ?1", [table], |row| row.get(0));
    (bytes.unwrap_or(0) as f64, rows.unsigned_abs())
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let shape = Shape {
        nodes: arguments.first().copied().unwrap_or(1000),
        out: arguments.get(1).copied().unwrap_or(50),
        busy: 100,
        hours: 24,
    };
    let keep = EdgeRetention::default();
    let edges = shape.nodes * shape.out;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edges.db");
    let mut store = EdgeStore::open(&path).unwrap();
    println!(
        "{} nodes, {edges} edges (each seen by both ends), awake {} h a day, busy in {} % of the seconds",
        shape.nodes,
        shape.hours,
        shape.busy / 10
    );
    println!(
        "kept: seconds {} s, minutes {} h, hours {} days\n",
        keep.seconds,
        keep.minutes / 3600,
        keep.hours / DAY
    );

    // A minute of every second, and an hour of one second a minute: bytes a row are what is wanted of them.
    let began = Instant::now();
    let rows = fill(&mut store, &shape, START, START + 60, 1)
        + fill(&mut store, &shape, START + 3600, START + 7200, 60);
    let took = began.elapsed().as_secs_f64();
    drop(store);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM;").unwrap();
    drop(connection);
    println!(
        "written: {rows} sums in {took:.1} s ({:.0}/s), file {:.1} MB\n",
        rows as f64 / took,
        megabytes(&path)
    );

    println!("| step | rows measured | bytes a row | rows kept at once | GB |");
    println!("|---|---|---|---|---|");
    let awake = edges as f64 * shape.hours as f64 / 24.0;
    let busy = shape.busy as f64 / 1000.0;
    // In how many minutes, hours an awake edge is busy at least once.
    let in_step = |seconds: f64| 1.0 - (1.0 - busy).powf(seconds);
    let hour = if shape.hours == 24 { 1.0 } else { in_step(3600.0) };
    let mut sum = 0.0;
    for (table, kept) in [
        ("step_1", 2.0 * awake * busy * keep.seconds as f64),
        ("step_60", 2.0 * awake * in_step(60.0) * keep.minutes as f64 / 60.0),
        ("step_3600", 2.0 * awake * hour * keep.hours as f64 / 3600.0),
        ("edge", edges as f64),
    ] {
        let (bytes, rows) = pages(&path, table);
        let row = bytes / rows as f64;
        // Rows are inserted in any order and old ones deleted: pages of a B-tree are then two thirds full.
        let gb = kept * row * 1.5 / 1e9;
        sum += gb;
        println!("| {table} | {rows} | {row:.1} | {kept:.0} | {gb:.2} |");
    }
    println!(
        "\nAll edges: {sum:.1} GB with pages two thirds full; single records (1,000,000 rows of about 1 kB): 1.0 GB."
    );
    println!("Within 50 GB: {}", if sum + 1.0 < 50.0 { "yes" } else { "NO" });
    std::process::exit(i32::from(sum + 1.0 >= 50.0));
}
