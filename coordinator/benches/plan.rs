//! What `warren policy plan` takes over a full flow history. `scripts/bench policy` runs it in release.
//!
//! A thousand nodes under a thousand grants, half of which the new policy withdraws; a million stored records, each of
//! some flow between two nodes that a grant joins. Timed is all that the service does after the history was written:
//! opening it, reading every record, judging it under both policies, and putting it under the loss that takes it.

#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::question;
use warren_config::resolve::{Source, resolve};
use warren_config::time::UnixTime;
use warren_coordinator::store::flows::FlowStore;
use warren_coordinator_core::accounts::Entry;
use warren_coordinator_core::flows::{Batch, FlowPoint, FlowRow};
use warren_coordinator_core::plan::{Cuts, Forecast};
use warren_coordinator_core::policies::InForce;
use warren_wire::flow::{FlowRecord, FlowReport};
use warren_wire::id::NodeId;
use warren_wire::specimen::flow;

const NOW: UnixTime = UnixTime(1_780_000_000);
const ROLES: usize = 100;
const NODES: usize = 1_000;
const GRANTS: usize = 1_000;
const RECORDS: usize = 1_000_000;
const LIMIT: f64 = 10_000.0;

fn main() {
    // Without `--bench` cargo only wants to know whether it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flows.db");
    fill(&file);
    let mut times: Vec<f64> = (0..3)
        .map(|_| {
            let begun = Instant::now();
            let cuts = plan(&file);
            let took = begun.elapsed().as_secs_f64() * 1e3;
            let flows: u64 = cuts.cuts.iter().map(|cut| cut.flows).sum();
            assert!(flows > 0 && cuts.cuts.iter().all(|cut| cut.loss.is_some()), "it cut nothing");
            took
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let missed = if times[1] > LIMIT { " MISSED" } else { "" };
    let size = format!("{RECORDS} records, {GRANTS} grants");
    println!("| plan, half of the grants withdrawn | {size} | {:.0} ms | {LIMIT} ms{missed} |", times[1]);
    if !missed.is_empty() {
        std::process::exit(1);
    }
}

/// Grant `i` lets its source role open one port at its target role.
fn ends(i: usize) -> (usize, usize) {
    (i % ROLES, (i * 7 + i / ROLES) % ROLES)
}

fn policy(grants: usize) -> InForce {
    let mut text = "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n".to_owned();
    for role in 0..ROLES {
        writeln!(text, "[tag.t{role}]\nowners = [\"group:ops\"]").unwrap();
    }
    for i in 0..grants {
        let (from, to) = ends(i);
        writeln!(text, "[service.s{i}]\non = [\"tag:t{to}\"]\nlisten = [\"tcp/{}\"]", i + 1).unwrap();
        writeln!(text, "[[grant]]\nid = \"g{i}\"\nfrom = [\"tag:t{from}\"]\nto = [\"service:s{i}\"]")
            .unwrap();
    }
    InForce::new(resolve(&[Source { file: "town.toml".to_owned(), text }]).unwrap().policy)
}

fn id(node: usize) -> NodeId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(node as u64 + 1).to_be_bytes());
    NodeId(bytes)
}

fn subjects() -> BTreeMap<NodeId, Subject> {
    let name = |text: String| Name::parse(&text).unwrap();
    let node =
        |i: usize| Subject { name: name(format!("n{i}")), tags: [name(format!("t{}", i % ROLES))].into() };
    (0..NODES).map(|i| (id(i), node(i))).collect()
}

/// The `i`th record: its grant, and which of the nodes of its two roles.
fn row(i: usize) -> FlowRow {
    let grant = i % GRANTS;
    let (from, to) = ends(grant);
    let of_role = |role: usize, pick: usize| role + ROLES * (pick % (NODES / ROLES));
    let (from, to) = (of_role(from, i / GRANTS), of_role(to, i / GRANTS / 3));
    let point = |node: usize, port| FlowPoint {
        node: Some(id(node)),
        name: Some(format!("n{node}")),
        address: std::net::Ipv4Addr::from(0x6440_0100 + node as u32).into(),
        port,
        behind: false,
    };
    let at = NOW.0 - (RECORDS - i) as u64;
    let ends = [point(from, 40_000), point(to, grant as u16 + 1)];
    let record = FlowRecord {
        flow: i as u64,
        grant: format!("g{grant}"),
        service: format!("s{grant}"),
        ..flow(ends[0].address, ends[1].address, at * 1000 + 900)
    };
    let row = FlowRow::new(&record, (id(from), u64::MAX - 7), ends, UnixTime(at)).unwrap();
    FlowRow { cursor: i as u64, ..row }
}

fn fill(file: &Path) {
    let mut store = FlowStore::open(file).unwrap();
    for batch in 0..RECORDS / 10_000 {
        let rows: Vec<FlowRow> = (batch * 10_000..(batch + 1) * 10_000).map(row).collect();
        let report = FlowReport { sequence: batch as u64 + 1, boot: 1, ..FlowReport::default() };
        let entry = Entry::of(id(0), &report, NOW);
        store.append(&[Batch { entry, rows }], &mut { usize::MAX }).unwrap();
    }
}

fn plan(file: &Path) -> Cuts {
    let (before, after, nodes) = (policy(GRANTS), policy(GRANTS / 2), subjects());
    let some: Vec<Subject> = nodes.values().cloned().collect();
    let lost = question::diff(&before.policy, &after.policy, &some, NOW).lost;
    let mut forecast = Forecast::new(Arc::new(before), after, lost, nodes, NOW);
    let store = FlowStore::reader(file).unwrap();
    let read = store.each_since(UnixTime(0), |seen| {
        forecast.take(seen);
        ControlFlow::Continue(())
    });
    assert_eq!(read.unwrap(), RECORDS as u64);
    forecast.finish()
}
