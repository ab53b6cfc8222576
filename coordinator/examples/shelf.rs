//! How much disk 30 days of a network of 1,000 nodes take: `scripts/bench store`.
//!
//! A small network lives through 32 days in virtual time. Every second what its edges did is written to SQLite as the
//! service does it (into seconds, minutes and hours, batch by batch, with the accounts of the nodes), and every minute what the
//! settings give up is deleted. After 30 days all steps are full and the file must not grow any more. A network of twice as many
//! edges lives until seconds and minutes are full and deleted again, too; that it then takes as much an edge is the law by which
//! the large network is reckoned. Single records have a limit of their own, whatever the network: they are written in two sizes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement ends at the first surprise")]

use std::path::Path;
use std::time::Instant;

use warren_config::time::UnixTime;
use warren_coordinator::store::edges::{EdgeRetention, EdgeStore};
use warren_coordinator::store::flows::{FlowStore, Retention};
use warren_coordinator_core::accounts::{Entry, Start};
use warren_coordinator_core::edges::{EdgeEnd, EdgeKey, EdgeSecond, Quality, Sum};
use warren_coordinator_core::flows::{Batch, FlowPoint, FlowRow};
use warren_wire::flow::{Amount, FlowRecord, FlowReport, FlowVerdict, Workload};
use warren_wire::id::NodeId;
use warren_wire::specimen::flow;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// The first day begins here.
const START: u64 = 20_000 * DAY;
/// Virtual seconds written in one transaction.
const BATCH: u64 = 10;
/// After so many days seconds and minutes are full, and what is older is being deleted.
const FULL: u64 = 4;
/// Edges get numbers as large as in the whole network.
const NUMBERS: u64 = 60_000;
const LIMIT: f64 = 50.0;

/// How an edge is used.
#[derive(Clone, Copy)]
enum Habit {
    /// Pools and health checks: half of all seconds, day and night.
    Chatty,
    /// People at work: one second of 20 by day (14 hours), of 100 by night.
    Daily,
    /// Jobs and timers: one second of 600.
    Rare,
    /// Somebody tries again and again what is refused: one second of 600.
    Refused,
}

/// Of 20 edges: 2 chatty, 8 daily, 9 rare, 1 refused.
fn habit(edge: u64) -> Habit {
    match edge % 20 {
        0 | 10 => Habit::Chatty,
        19 => Habit::Refused,
        n if n % 2 == 1 => Habit::Daily,
        _ => Habit::Rare,
    }
}

impl Habit {
    /// Busy in so many of 1,200 seconds.
    fn share(self, hour: u64) -> u64 {
        match self {
            Habit::Chatty => 600,
            Habit::Daily if (7..21).contains(&hour) => 60,
            Habit::Daily => 12,
            Habit::Rare | Habit::Refused => 2,
        }
    }
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

fn key(edge: u64) -> EdgeKey {
    let service = edge % 25;
    let refused = matches!(habit(edge), Habit::Refused);
    EdgeKey {
        from: EdgeEnd::Node(node(edge / 20)),
        to: EdgeEnd::Node(node(1_000_000 + mix(edge) % 1000)),
        service: (!refused).then(|| format!("service-{service}")),
        protocol: 6,
        port: 8000 + service as u16,
        verdict: if refused { FlowVerdict::Deny } else { FlowVerdict::Allow },
        grant: (!refused).then(|| format!("grant-of-service-{service}")),
    }
}

/// What the ends of an edge say of one second: both, or of a refused try only the opener's.
fn second(key: &EdgeKey, edge: u64, at: u64) -> impl Iterator<Item = EdgeSecond> {
    let refused = matches!(habit(edge), Habit::Refused);
    let bytes = 200 + mix(edge ^ at << 20) % 60_000;
    let back = if refused { 0 } else { 1 };
    let sum = Sum {
        flows: back,
        tries: 3 * (1 - back),
        packets_out: bytes / 900 + 3,
        bytes_out: bytes,
        packets_back: back * (bytes / 700 + 2),
        bytes_back: back * 2 * bytes,
    };
    let sides = if refused { &[true][..] } else { &[true, false] };
    sides.iter().map(move |opener| EdgeSecond {
        key: key.clone(),
        at: UnixTime(at),
        opener: *opener,
        sum,
        quality: if refused {
            Quality::default()
        } else {
            Quality { rtt_us: 350 + bytes % 999, rtts: 1, retransmissions: Some(0) }
        },
        generation: 7,
        first_ms: at * 1000,
        last_ms: at * 1000 + 900,
    })
}

/// The account of a node after `sums` of them, with a few earlier starts.
fn account(number: u64, sums: u64) -> (NodeId, Vec<Start>) {
    let amount = Amount { records: sums, packets: 9 * sums, bytes: 9_000 * sums };
    let start = |boot| Start {
        boot: mix(boot),
        sequence: sums,
        offered: amount,
        recorded: amount,
        ..Start::default()
    };
    (node(number), (0..4).map(start).collect())
}

/// Of the file itself. What is not in it yet lies in a journal of a few megabytes, whatever the network: it is written in.
fn bytes(path: &Path) -> u64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    std::fs::metadata(path).unwrap().len()
}

/// What one small network took.
struct Life {
    edges: u64,
    sums: u64,
    seconds: f64,
    /// At the end of each day.
    days: Vec<u64>,
    steps: Vec<(&'static str, u64, f64)>,
}

fn live(edges: u64, days: u64, dir: &Path) -> Life {
    let path = dir.join(format!("edges-{edges}.db"));
    let mut store = EdgeStore::open(&path).unwrap();
    raise_numbers(&path);
    let (keep, keys): (_, Vec<EdgeKey>) = (EdgeRetention::default(), (0..edges).map(key).collect());
    let mut life = Life { edges, sums: 0, seconds: 0.0, days: Vec::new(), steps: Vec::new() };
    let began = Instant::now();
    for at in (START..START + days * DAY).step_by(BATCH as usize) {
        let batch = stretch(&keys, at);
        life.sums += batch.len() as u64;
        let accounts: Vec<_> = (0..edges.div_ceil(20)).map(|number| account(number, life.sums)).collect();
        store.add(&batch, &accounts).unwrap();
        let end = at + BATCH;
        if end.is_multiple_of(60) {
            while store.prune(keep, UnixTime(end)).unwrap() {}
        }
        if end.is_multiple_of(DAY) {
            life.days.push(bytes(&path));
        }
    }
    life.seconds = began.elapsed().as_secs_f64();
    drop(store);
    life.steps = steps(&path);
    life
}

/// A row with a large number, which stays: those that come have larger ones.
fn raise_numbers(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let row = "INSERT INTO edge (id, key, verdict, generation, first_ms, last_ms) VALUES (?1, '', 'allow', 0, 0, ?2)";
    connection.execute(row, (NUMBERS as i64, i64::MAX)).unwrap();
}

fn stretch(keys: &[EdgeKey], from: u64) -> Vec<EdgeSecond> {
    let mut batch = Vec::new();
    for at in from..from + BATCH {
        let hour = at / HOUR % 24;
        for (edge, key) in (0u64..).zip(keys) {
            if mix(edge.wrapping_mul(7_919) ^ at) % 1200 < habit(edge).share(hour) {
                batch.extend(second(key, edge, at));
            }
        }
    }
    batch
}

/// Rows and bytes of each table.
fn steps(path: &Path) -> Vec<(&'static str, u64, f64)> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let ask = |query: String| {
        connection.query_row(&query, [], |row| row.get::<_, i64>(0)).unwrap_or(0).unsigned_abs()
    };
    let measure = |table: &'static str| {
        let rows = ask(format!("SELECT count(*) FROM {table}"));
        (table, rows, ask(format!("SELECT sum(pgsize) FROM dbstat WHERE name = '{table}'")) as f64)
    };
    ["step_1", "step_60", "step_3600", "edge", "account"].into_iter().map(measure).collect()
}

/// Bytes of `count` single records, written in reports and pruned as the service does.
fn records(count: u64, dir: &Path) -> u64 {
    let path = dir.join(format!("flows-{count}.db"));
    let mut store = FlowStore::open(&path).unwrap();
    let keep = Retention { rows: count, ..Retention::default() };
    // Once and a half as many as are kept, so that room is given back and taken again.
    for sequence in 0..count * 3 / 2 / 1000 {
        let rows = (0..1000).map(|i| row(sequence * 1000 + i)).collect();
        let report = FlowReport { sequence: sequence + 1, boot: 1, ..FlowReport::default() };
        let entry = Entry::of(node(1), &report, UnixTime(START));
        store.append(&[Batch { entry, rows }], &mut { usize::MAX }).unwrap();
        if sequence.is_multiple_of(10) {
            while store.prune(keep, UnixTime(START + sequence)).unwrap() {}
        }
    }
    while store.prune(keep, UnixTime(START + 10 * DAY)).unwrap() {}
    assert_eq!(store.len().unwrap(), count);
    bytes(&path)
}

fn row(number: u64) -> FlowRow {
    let point = |node_number: u64, port| FlowPoint {
        node: Some(node(node_number)),
        name: Some(format!("node-of-team-{node_number}")),
        address: std::net::Ipv4Addr::from(0x6440_0000 + node_number as u32).into(),
        port,
        behind: false,
    };
    let ends = [point(number % 1000, 30_000 + (number % 30_000) as u16), point(mix(number) % 1000, 8443)];
    let workload = Workload {
        process: "gunicorn".into(),
        executable: "/usr/lib/orders/venv/bin/python3.12".into(),
        user: "orders".into(),
        unit: "orders-api.service".into(),
        container: String::new(),
    };
    let record = FlowRecord {
        flow: number,
        bytes_back: 40_000,
        workload: Some(workload),
        rtt_us: Some(350),
        retransmissions: Some(0),
        ..flow(ends[0].address, ends[1].address, (START + number / 100) * 1000)
    };
    FlowRow::new(&record, (node(number % 1000), mix(number % 1000)), ends, UnixTime(START + number / 100))
        .unwrap()
}

fn print_lives(lives: &[Life], days: u64) {
    println!(
        "| edges | sums written | took | sums/s | day 1 | day 3 | day {FULL} | day 10 | day 30 | day {days} | bytes an edge |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for life in lives {
        let day = |day: u64| {
            life.days.get(day as usize - 1).map_or("-".to_owned(), |b| format!("{:.1} MB", *b as f64 / 1e6))
        };
        println!(
            "| {} | {} | {:.0} s | {:.0} | {} | {} | {} | {} | {} | {} | {:.0} |",
            life.edges,
            life.sums,
            life.seconds,
            life.sums as f64 / life.seconds,
            day(1),
            day(3),
            day(FULL),
            day(10),
            day(30),
            day(days),
            an_edge(life, days)
        );
    }
    let Some(last) = lives.first() else { return };
    println!("\n| table of {} edges | rows | MB | bytes a row |\n|---|---|---|---|", last.edges);
    for (table, rows, bytes) in &last.steps {
        println!("| {table} | {rows} | {:.2} | {:.1} |", bytes / 1e6, bytes / *rows as f64);
    }
}

/// After so many days, or at its end.
fn an_edge(life: &Life, days: u64) -> f64 {
    let bytes = life.days.get(days as usize - 1).or(life.days.last()).copied().unwrap_or(0);
    bytes as f64 / life.edges as f64
}

fn option(name: &str, otherwise: u64) -> u64 {
    let words: Vec<String> = std::env::args().collect();
    let given = words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].parse().unwrap());
    given.unwrap_or(otherwise)
}

fn main() {
    let (nodes, out, days) = (option("--nodes", 1000), option("--edges", 50), option("--days", 32));
    let (slice, single) = (option("--slice", 20), option("--records", 100_000));
    let dir = tempfile::tempdir().unwrap();
    let keep = EdgeRetention::default();
    println!(
        "Edges of a day: 10 % busy in every second second, 40 % in every 20th by day and every 100th by night, 50 % in every \
         600th (one of ten of those refused). Both ends report. Kept: seconds {} h, minutes {} days, hours {} days.\n",
        keep.seconds / HOUR,
        keep.minutes / DAY,
        keep.hours / DAY
    );
    let short = days.min(FULL);
    let lives = [live(slice, days, dir.path()), live(2 * slice, short, dir.path())];
    print_lives(&lives, days);
    let [one, two] = lives.each_ref().map(|life| an_edge(life, short));
    let law = two / one;
    let last = lives[0].days.last().copied().unwrap_or(0) as f64;
    let grown = last / lives[0].days.get(29).map_or(last, |bytes| *bytes as f64);
    println!(
        "\nTwice the edges take {law:.2} times an edge after {short} days; after day 30 the file is {grown:.3} times as large."
    );

    let (few, more) = (records(single, dir.path()) as f64, records(2 * single, dir.path()) as f64);
    let a_record = (more - few) / single as f64;
    println!(
        "Single records: {single} take {:.1} MB, twice as many {:.1} MB: {a_record:.0} bytes each.\n",
        few / 1e6,
        more / 1e6
    );

    // What the smaller network takes more an edge is its fixed part; what the larger one takes more is added.
    let per_edge = an_edge(&lives[0], days) * law.max(1.0);
    let edges = (nodes * out) as f64 * per_edge / 1e9;
    let kept = Retention::default().rows as f64;
    let (singles, sum) = (kept * a_record / 1e9, edges + kept * a_record / 1e9);
    println!("{nodes} nodes x {out} edges x {per_edge:.0} bytes = {edges:.1} GB");
    println!("{kept:.0} single records x {a_record:.0} bytes = {singles:.1} GB");
    println!("30 days: {sum:.1} GB. Within {LIMIT} GB: {}", if sum < LIMIT { "yes" } else { "NO" });
    let holds = sum < LIMIT && (0.8..1.2).contains(&law) && (grown < 1.05 || days < 31);
    std::process::exit(i32::from(!holds));
}
