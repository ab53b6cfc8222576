//! What is kept of flows, written by one thread of its own: single records in `flows.db`, sums in `edges.db`.
//!
//! Collected for a third of a second, written at once, pruned once a minute. Losing the last second of it at a crash is
//! accepted; the log is never risked for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use warren_coordinator_core::edges::Tally;
use warren_coordinator_core::flows::FlowRow;

use super::edges::{EdgeRetention, EdgeStore};
use super::flows::{FlowStore, Retention};
use super::{OpenStoreError, open};
use crate::clock;

const COLLECT: Duration = Duration::from_millis(300);
const MAX_ROWS: usize = 20_000;
const PRUNE: Duration = Duration::from_secs(60);

/// Where it is written, and for how long.
#[derive(Clone, Debug)]
pub struct History {
    pub flows: PathBuf,
    pub edges: PathBuf,
    pub keep_flows: Retention,
    pub keep_edges: EdgeRetention,
    /// Records that could not be written.
    pub failed: Arc<AtomicU64>,
}

/// The writer's loop. Ends with its channel.
pub fn write_all(history: &History, inbox: &Receiver<Vec<FlowRow>>) {
    let mut open = None;
    let mut pruned = Instant::now();
    loop {
        let first = match inbox.recv_timeout(PRUNE) {
            Ok(rows) => rows,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let rows = collect(first, inbox);
        if let Err(error) = write(&mut open, history, &rows, &mut pruned) {
            history.failed.fetch_add(rows.len() as u64, Ordering::Relaxed);
            tracing::warn!(%error, lost = rows.len(), "flow history could not be written; live flows are not affected");
            open = None;
        }
    }
}

fn collect(mut rows: Vec<FlowRow>, inbox: &Receiver<Vec<FlowRow>>) -> Vec<FlowRow> {
    let end = Instant::now() + COLLECT;
    while rows.len() < MAX_ROWS {
        match inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(more) => rows.extend(more),
            Err(_) => break,
        }
    }
    rows
}

fn write(
    stores: &mut Option<(FlowStore, EdgeStore)>,
    history: &History,
    rows: &[FlowRow],
    pruned: &mut Instant,
) -> Result<(), OpenStoreError> {
    let (flows, edges) = match stores {
        Some(open) => open,
        None => stores.insert((FlowStore::open(&history.flows)?, EdgeStore::open(&history.edges)?)),
    };
    if !rows.is_empty() {
        let mut tally = Tally::default();
        rows.iter().for_each(|row| tally.add(row));
        edges.add(&tally.drain()).map_err(|e| open::sort(&history.edges, &e))?;
        flows.append(rows).map_err(|e| open::sort(&history.flows, &e))?;
    }
    if pruned.elapsed() >= PRUNE {
        while flows.prune(history.keep_flows, clock::now()).map_err(|e| open::sort(&history.flows, &e))? {}
        while edges.prune(history.keep_edges, clock::now()).map_err(|e| open::sort(&history.edges, &e))? {}
        *pruned = Instant::now();
    }
    Ok(())
}
