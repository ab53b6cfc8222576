//! The flow map, first form: the newest flow records of all nodes, each end named.
//!
//! A node speaks only of its own side; the other end is attributed by the coordinator's own directory. Reports are
//! numbered per agent start, so that a report that comes twice counts once ([`crate::accounts`]).

mod filter;
mod list;
mod ring;
mod row;
#[cfg(test)]
mod specimen;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::flow::FlowReport;
use warren_wire::id::NodeId;

use crate::accounts::{Accounts, Entry};
use crate::directory::Node;
use crate::matching::Silent;
use crate::state::State;
use crate::status::FlowStatus;

pub use filter::{BadFilter, FlowFilter, check_limit, check_node};
pub use list::{FlowList, FlowView, NoPlace, Place, newest_first};
use ring::Ring;
use row::row;
pub use row::{FlowPoint, FlowRow, OtherEnd};

/// So many of the newest records are kept in memory.
pub const MAX_FLOWS: usize = 200_000;

/// The answer of `flow watch`: records after a cursor, and whether older ones were overwritten meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowPage {
    pub rows: Vec<FlowRow>,
    /// Ask for what comes after this next time.
    pub cursor: u64,
    /// Records after the asked cursor that were overwritten before they were read.
    pub missed: u64,
}

/// Reports of one node that wait to be written. An honest node has fewer under way.
const UNWRITTEN: u32 = 64;
/// Records one answer may hold.
const MAX_ANSWER: usize = 10_000;
const DEFAULT_ANSWER: usize = 1_000;

/// Records to be kept, and the account of them: both or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub entry: Entry,
    pub rows: Vec<FlowRow>,
}

/// What became of a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// To be kept; it is acknowledged after that.
    pub batch: Option<Batch>,
    /// It is kept already.
    pub written: bool,
    /// Why records were not taken, once for the report.
    pub rejected: Option<&'static str>,
}

/// The newest records, in the order they came.
#[derive(Clone, Debug, Default)]
pub struct FlowMap {
    rows: Ring,
    cursor: u64,
    accounts: Accounts,
    /// Of each node and start: sequence of the last report that was written; and of each node, how many are not yet.
    written: BTreeMap<(NodeId, u64), u64>,
    unwritten: BTreeMap<NodeId, u32>,
    recorded: u64,
    rejected: u64,
}

impl FlowMap {
    pub fn status(&self) -> FlowStatus {
        FlowStatus {
            recorded: self.recorded,
            declared_lost: self.accounts.total().lost.records,
            rejected: self.rejected,
            kept: self.rows.len(),
        }
    }

    /// As an earlier coordinator left them.
    pub fn restore(&mut self, accounts: Accounts) {
        for node in accounts.nodes() {
            let starts = accounts.starts(&node);
            self.written.extend(starts.map(|start| ((node, start.boot), start.sequence)));
        }
        self.accounts = accounts;
    }

    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Takes a report of `node`, once.
    pub fn report(&mut self, state: &State, node: &Node, report: &FlowReport, now: UnixTime) -> Taken {
        let (id, boot, sequence) = (node.id(), report.boot, report.sequence);
        let mut taken = Taken::default();
        if self.accounts.knows(&id, boot, sequence) {
            taken.written = self.written.get(&(id, boot)).is_some_and(|written| *written >= sequence);
            return taken;
        }
        let unwritten = self.unwritten.entry(id).or_default();
        if *unwritten >= UNWRITTEN {
            taken.rejected = Some("more reports at once than an agent has under way");
            return taken;
        }
        *unwritten += 1;
        let (mut entry, mut rows) = (Entry::of(id, report, now), Vec::with_capacity(report.records.len()));
        for record in &report.records {
            match row(state, node, boot, record, now) {
                Ok(row) => {
                    entry.recorded.add(record.amount());
                    rows.push(self.push(row));
                }
                Err(why) => {
                    entry.rejected.add(record.amount());
                    self.rejected = self.rejected.saturating_add(1);
                    taken.rejected = taken.rejected.or(Some(why));
                }
            }
        }
        self.accounts.take(&entry);
        taken.batch = Some(Batch { entry, rows });
        taken
    }

    /// Everything of this report, and of those before it, is on the disk.
    pub fn handle_written(&mut self, node: NodeId, boot: u64, sequence: u64) {
        self.written.insert((node, boot), sequence);
        self.forget_folded(node);
        if let Some(count) = self.unwritten.get_mut(&node) {
            *count = count.saturating_sub(1);
        }
    }

    /// Nobody asks any more about starts that their account does not tell apart.
    fn forget_folded(&mut self, node: NodeId) {
        let boots = self.written.range((node, 0)..=(node, u64::MAX)).map(|((_, boot), _)| *boot);
        let told_apart = |boot: &u64| self.accounts.starts(&node).any(|start| start.boot == *boot);
        let folded: Vec<u64> = boots.filter(|boot| !told_apart(boot)).collect();
        for boot in folded {
            self.written.remove(&(node, boot));
        }
    }

    fn push(&mut self, mut row: FlowRow) -> FlowRow {
        self.cursor = self.cursor.saturating_add(1);
        self.recorded = self.recorded.saturating_add(1);
        row.cursor = self.cursor;
        self.rows.push(row.clone());
        row
    }

    /// All there is now, to be looked through elsewhere; `speakers` are the nodes that report at all.
    pub fn view(&self, speakers: BTreeMap<NodeId, Option<Silent>>, started: UnixTime) -> FlowView {
        FlowView { rows: self.rows.clone(), newest: self.cursor, speakers, started }
    }

    /// Records after `cursor` that match, oldest first.
    pub fn since(&self, cursor: u64, filter: &FlowFilter, limit: usize) -> FlowPage {
        let first = self.rows.iter().next().map_or(self.cursor.saturating_add(1), |row| row.cursor);
        let missed = first.saturating_sub(cursor.saturating_add(1));
        let mut page = FlowPage { rows: Vec::new(), cursor: cursor.min(self.cursor), missed };
        for row in self.rows.after(cursor) {
            if page.rows.len() >= limit.clamp(1, MAX_ANSWER) {
                break;
            }
            page.cursor = row.cursor;
            if filter.matches(row) {
                page.rows.push(row.clone());
            }
        }
        page
    }

    pub fn cursor(&self) -> u64 {
        self.cursor
    }
}
