//! What is kept of flows, written by one thread of its own: single records in `flows.db`, sums and accounts in `edges.db`.
//!
//! Collected for a tenth of a second, written at once, pruned once a minute. A report is acknowledged after both files have
//! it; each file knows by itself which reports it has, so one that comes again after a crash is written once. What cannot
//! be written waits here and at the nodes; the log is never risked for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use warren_coordinator_core::accounts::Accounts;
use warren_coordinator_core::edges::Tally;
use warren_coordinator_core::flows::Batch;
use warren_wire::id::NodeId;

use super::edges::{EdgeRetention, EdgeStore};
use super::flows::{FlowStore, Retention};
use super::{OpenStoreError, open};
use crate::clock;

const COLLECT: Duration = Duration::from_millis(100);
const MAX_ROWS: usize = 50_000;
const PRUNE: Duration = Duration::from_secs(60);
/// Tries in a row that fail before the records (not their account) are let go.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_secs(1);
/// Single records kept of one second at most. The sums have all of them.
const SINGLE: usize = 10_000;

/// A report that is on the disk: node, agent start, number.
pub type Written = (NodeId, u64, u64);

/// Where it is written, and for how long.
#[derive(Clone, Debug)]
pub struct History {
    pub flows: PathBuf,
    pub edges: PathBuf,
    pub keep_flows: Retention,
    pub keep_edges: EdgeRetention,
    /// Records that could not be written at all.
    pub failed: Arc<AtomicU64>,
    /// Records that are in the sums and not one by one, because there were too many.
    pub unlisted: Arc<AtomicU64>,
}

impl History {
    /// What an earlier coordinator knew of the nodes' accounts. Nothing if there is no file yet.
    pub fn accounts(&self) -> Result<Accounts, OpenStoreError> {
        match self.edges.exists() {
            true => EdgeStore::open(&self.edges)?.accounts().map_err(|e| open::sort(&self.edges, &e)),
            false => Ok(Accounts::default()),
        }
    }
}

/// Open files, and the accounts as they stand in them.
struct Files {
    flows: FlowStore,
    edges: EdgeStore,
    accounts: Accounts,
}

/// The writer's loop. Ends with its channel. `done` hears of every report that is on the disk, in order.
pub fn write_all(history: &History, inbox: &Receiver<Batch>, done: impl Fn(Vec<Written>)) {
    let (mut files, mut pruned, mut allowance) = (None, Instant::now(), Allowance::new());
    let (mut batches, mut tries): (Vec<Batch>, u32) = (Vec::new(), 0);
    loop {
        match batches.is_empty() {
            true => match inbox.recv_timeout(PRUNE) {
                Ok(first) => batches = collect(first, inbox),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            },
            false => match inbox.recv_timeout(AGAIN) {
                Ok(more) if tries < TRIES => batches.push(more),
                Ok(more) => batches.push(let_go(history, more)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if tries > 1 => return,
                Err(RecvTimeoutError::Disconnected) => {}
            },
        }
        match write(&mut files, history, &batches, &mut pruned, &mut allowance) {
            Ok(()) => {
                tries = 0;
                let written = batches.drain(..).map(|b| (b.entry.node, b.entry.boot, b.entry.sequence));
                done(written.collect());
            }
            Err(error) => {
                tries += 1;
                files = None;
                tracing::warn!(%error, reports = batches.len(), tries, "flow history cannot be written: it waits; live flows are not affected");
                if tries == TRIES {
                    batches = batches.drain(..).map(|batch| let_go(history, batch)).collect();
                }
            }
        }
    }
}

/// The account still says that there were records.
fn let_go(history: &History, mut batch: Batch) -> Batch {
    history.failed.fetch_add(batch.rows.len() as u64, Ordering::Relaxed);
    batch.rows = Vec::new();
    batch.entry.skip();
    batch
}

fn collect(first: Batch, inbox: &Receiver<Batch>) -> Vec<Batch> {
    let end = Instant::now() + COLLECT;
    let mut rows = first.rows.len();
    let mut batches = vec![first];
    while rows < MAX_ROWS {
        match inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(more) => {
                rows += more.rows.len();
                batches.push(more);
            }
            Err(_) => break,
        }
    }
    batches
}

fn write(
    files: &mut Option<Files>,
    history: &History,
    batches: &[Batch],
    pruned: &mut Instant,
    allowance: &mut Allowance,
) -> Result<(), OpenStoreError> {
    let Files { flows, edges, accounts } = match files {
        Some(open) => open,
        None => files.insert(open_files(history)?),
    };
    if !batches.is_empty() {
        let unlisted = flows.append(batches, allowance.take()).map_err(|e| open::sort(&history.flows, &e))?;
        let (mut tally, mut touched) = (Tally::default(), BTreeSet::new());
        let mut after = accounts.clone();
        for batch in batches {
            if after.take(&batch.entry) {
                batch.rows.iter().for_each(|row| tally.add(row));
            }
            touched.insert(batch.entry.node);
        }
        let kept: Vec<_> =
            touched.into_iter().map(|node| (node, after.starts(&node).cloned().collect())).collect();
        edges.add(&tally.drain(), &kept).map_err(|e| open::sort(&history.edges, &e))?;
        *accounts = after;
        history.unlisted.fetch_add(unlisted, Ordering::Relaxed);
    }
    if pruned.elapsed() >= PRUNE {
        while flows.prune(history.keep_flows, clock::now()).map_err(|e| open::sort(&history.flows, &e))? {}
        while edges.prune(history.keep_edges, clock::now()).map_err(|e| open::sort(&history.edges, &e))? {}
        *pruned = Instant::now();
    }
    Ok(())
}

fn open_files(history: &History) -> Result<Files, OpenStoreError> {
    let flows = FlowStore::open(&history.flows)?;
    let edges = EdgeStore::open(&history.edges)?;
    let accounts = edges.accounts().map_err(|e| open::sort(&history.edges, &e))?;
    Ok(Files { flows, edges, accounts })
}

/// How many single records may be written now: [`SINGLE`] a second.
struct Allowance {
    left: usize,
    since: Instant,
}

impl Allowance {
    fn new() -> Allowance {
        Allowance { left: SINGLE, since: Instant::now() }
    }

    fn take(&mut self) -> &mut usize {
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Allowance::new();
        }
        &mut self.left
    }
}
