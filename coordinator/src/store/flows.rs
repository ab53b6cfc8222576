//! Flow history in SQLite: the newest rows of the last days, in a file of its own.

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::{Connection, params};
use warren_config::time::UnixTime;
use warren_coordinator_core::accounts::Entry;
use warren_coordinator_core::flows::{Batch, FlowRow};
use warren_coordinator_core::plan;
use warren_wire::flow::{Amount, FlowVerdict};

use super::OpenStoreError;
use super::open::{self, Kind};

const KIND: Kind = Kind {
    application_id: 0x5752_4632, // "WRF2"
    version: 1,
    schema: "CREATE TABLE flow (
                 id INTEGER PRIMARY KEY,
                 received INTEGER NOT NULL,
                 last_ms INTEGER NOT NULL,
                 reporter TEXT NOT NULL,
                 boot TEXT NOT NULL,
                 flow TEXT NOT NULL,
                 source TEXT NOT NULL,
                 destination TEXT NOT NULL,
                 row TEXT NOT NULL
             ) STRICT;
             CREATE INDEX flow_received ON flow (received);
             CREATE INDEX flow_window ON flow (reporter, boot, flow);",
    synchronous: "NORMAL",
};

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Seconds.
    pub age: u64,
    pub rows: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { age: 30 * 24 * 3600, rows: 1_000_000 }
    }
}

/// The last report taken of each start of each node. A file of an earlier version gets it when it is opened; that one knew
/// only the last start.
const TAKEN: &str = "CREATE TABLE IF NOT EXISTS taken (
     reporter TEXT PRIMARY KEY, boot TEXT NOT NULL, sequence INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE IF NOT EXISTS taken_of_start (
     id INTEGER PRIMARY KEY, reporter TEXT NOT NULL, boot TEXT NOT NULL, sequence INTEGER NOT NULL,
     UNIQUE (reporter, boot)) STRICT;
     INSERT OR IGNORE INTO taken_of_start (reporter, boot, sequence) SELECT reporter, boot, sequence FROM taken;
     DROP TABLE taken;";

/// Windows of one connection at both of its ends are found by a number made of its addresses and ports, and by their time: one
/// connection may be all that is here. And in which hours records of a node went missing, so that sums without them accuse
/// nobody. A file of an earlier version gets both when it is opened: of what it holds, the other end is not known.
const BOTH_ENDS: &str = "DROP INDEX IF EXISTS flow_both_ends;
     CREATE INDEX IF NOT EXISTS flow_ends_by_time ON flow (connection, last_ms) WHERE connection IS NOT NULL;
     CREATE TABLE IF NOT EXISTS gap (reporter TEXT, at INTEGER, PRIMARY KEY (reporter, at)) STRICT, WITHOUT ROWID;";

/// Starts of one node that are told apart, as in its account.
const STARTS: i64 = 16;

const HOUR: u64 = 3600;

/// Rows deleted in one transaction.
const PRUNE_BATCH: u64 = 5_000;
/// A question reads at most so many rows to find others; then it says how far it has come.
pub(super) const SCAN: usize = 200_000;

pub struct FlowStore {
    pub(super) connection: Connection,
}

impl FlowStore {
    /// Opens the file, or makes it: history may be deleted by an operator at any time while the service is stopped.
    pub fn open(path: &Path) -> Result<FlowStore, OpenStoreError> {
        let connection = match path.exists() {
            true => open::open(path, &KIND)?,
            false => open::create(path, &KIND)?,
        };
        connection.execute_batch(TAKEN).map_err(|e| open::sort(path, &e))?;
        widen(&connection).map_err(|e| open::sort(path, &e))?;
        Ok(FlowStore { connection })
    }

    /// A connection that only reads, beside the writer's.
    pub fn reader(path: &Path) -> Result<FlowStore, OpenStoreError> {
        open::reader(path).map(|connection| FlowStore { connection })
    }

    /// Keeps the records of reports it does not have yet, `room` of them at most, report by report;
    /// returns how many are left out.
    pub fn append(&mut self, batches: &[Batch], room: &mut usize) -> rusqlite::Result<u64> {
        let transaction = self.connection.transaction()?;
        let mut unlisted = 0;
        for batch in batches {
            if !is_new(&transaction, &batch.entry)? {
                continue;
            }
            let is_left_out = batch.rows.len() > *room;
            if is_left_out || is_lossy(&batch.entry) {
                note_gap(&transaction, &batch.entry)?;
            }
            if is_left_out {
                unlisted += batch.rows.len() as u64;
                continue;
            }
            *room -= batch.rows.len();
            insert(&transaction, &batch.rows)?;
        }
        transaction.commit()?;
        Ok(unlisted)
    }

    /// Deletes one batch of what is too old or too much; true if there may be more.
    pub fn prune(&mut self, keep: Retention, now: UnixTime) -> rusqlite::Result<bool> {
        let oldest = number(now.0.saturating_sub(keep.age));
        let aged = self.connection.execute(
            "DELETE FROM flow WHERE id IN (SELECT id FROM flow WHERE received < ?1 ORDER BY id LIMIT ?2)",
            params![oldest, number(PRUNE_BATCH)],
        )?;
        let extra = self.connection.execute(
            "DELETE FROM flow WHERE id IN (SELECT id FROM flow WHERE id <= (SELECT max(id) FROM flow) - ?1 ORDER BY id LIMIT ?2)",
            params![number(keep.rows), number(PRUNE_BATCH)],
        )?;
        self.connection.execute("DELETE FROM gap WHERE at < ?1", params![oldest])?;
        Ok((aged + extra) as u64 >= PRUNE_BATCH)
    }

    /// What a plan looks at of every row received at `since` or later, oldest first, windows one by one. A row an older
    /// program wrote differently is left out. `each` may stop it. Returns how many there were.
    pub fn each_since(
        &self,
        since: UnixTime,
        mut each: impl FnMut(&plan::Window<'_>) -> ControlFlow<()>,
    ) -> rusqlite::Result<u64> {
        let mut statement =
            self.connection.prepare_cached("SELECT row FROM flow WHERE received >= ?1 ORDER BY id")?;
        let mut rows = statement.query(params![number(since.0)])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?.as_str().unwrap_or_default();
            let Ok(window) = serde_json::from_str(text) else { continue };
            count += 1;
            if each(&window).is_break() {
                break;
            }
        }
        Ok(count)
    }

    /// When the oldest row that is still here was received.
    pub fn oldest(&self) -> rusqlite::Result<Option<UnixTime>> {
        let oldest: Option<i64> =
            self.connection.query_row("SELECT min(received) FROM flow", [], |row| row.get(0))?;
        Ok(oldest.map(|at| UnixTime(at.unsigned_abs())))
    }

    pub fn len(&self) -> rusqlite::Result<u64> {
        let count: i64 = self.connection.query_row("SELECT count(*) FROM flow", [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }
    pub fn is_empty(&self) -> rusqlite::Result<bool> {
        self.len().map(|n| n == 0)
    }
}

/// True once for each report.
fn is_new(connection: &Connection, entry: &Entry) -> rusqlite::Result<bool> {
    let (node, boot, sequence) = (entry.node.to_string(), entry.boot.to_string(), number(entry.sequence));
    let next = "UPDATE taken_of_start SET sequence = ?3 WHERE reporter = ?1 AND boot = ?2 AND sequence < ?3";
    let first = "INSERT OR IGNORE INTO taken_of_start (reporter, boot, sequence) VALUES (?1, ?2, ?3)";
    if connection.prepare_cached(next)?.execute(params![node, boot, sequence])? > 0 {
        return Ok(true);
    }
    if connection.prepare_cached(first)?.execute(params![node, boot, sequence])? == 0 {
        return Ok(false);
    }
    let old = "DELETE FROM taken_of_start WHERE id IN
               (SELECT id FROM taken_of_start WHERE reporter = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2)";
    connection.prepare_cached(old)?.execute(params![node, STARTS])?;
    Ok(true)
}

fn insert(connection: &Connection, rows: &[FlowRow]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO flow (received, last_ms, reporter, boot, flow, source, destination, row, connection)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for row in rows {
        insert.execute(params![
            number(row.received.0),
            number(row.last_ms),
            row.reporter.to_string(),
            row.boot.to_string(),
            row.flow.to_string(),
            row.from.name.as_deref().unwrap_or(""),
            row.to.name.as_deref().unwrap_or(""),
            serde_json::to_string(row).unwrap_or_default(),
            connection_of(row),
        ])?;
    }
    Ok(())
}

fn widen(connection: &Connection) -> rusqlite::Result<()> {
    let known = "SELECT count(*) FROM pragma_table_info('flow') WHERE name = 'connection'";
    if connection.query_row(known, [], |row| row.get::<_, i64>(0))? == 0 {
        connection.execute_batch("ALTER TABLE flow ADD COLUMN connection INTEGER;")?;
    }
    connection.execute_batch(BOTH_ENDS)
}

/// Records were lost, or not taken; what was lost is counted from the agent's start on, so it says nothing of when.
fn is_lossy(entry: &Entry) -> bool {
    [entry.lost, entry.rejected, entry.skipped].iter().any(|amount| *amount != Amount::default())
}

/// By the end of its hour: an agent that has lost something says so in every report.
fn note_gap(connection: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let at = (entry.at.0 / HOUR).saturating_add(1).saturating_mul(HOUR);
    connection
        .prepare_cached("INSERT OR IGNORE INTO gap (reporter, at) VALUES (?1, ?2)")?
        .execute(params![entry.node.to_string(), number(at)])?;
    Ok(())
}

/// The same for both ends of a connection. None: only one end can know of it.
pub(super) fn connection_of(row: &FlowRow) -> Option<i64> {
    let passed = matches!(row.verdict, FlowVerdict::Allow | FlowVerdict::WouldDeny);
    if !passed || row.from.node.is_none() || row.to.node.is_none() {
        return None;
    }
    let (from, to) = (&row.from, &row.to);
    let text = format!("{} {} {} {} {}", row.protocol, from.address, from.port, to.address, to.port);
    // FNV-1a. That two connections may have one number costs a look: what is found is compared whole.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    Some(i64::from_be_bytes(hash.to_be_bytes()))
}

pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use warren_coordinator_core::flows::{FlowFilter, FlowPoint};
    use warren_wire::flow::{FlowRecord, FlowReport};
    use warren_wire::id::NodeId;
    use warren_wire::specimen;

    use super::*;

    pub fn row(flow: u64, received: u64) -> FlowRow {
        let point = |name: &str, port| FlowPoint {
            node: Some(NodeId([1; 16])),
            name: Some(name.to_owned()),
            address: "100.64.0.1".parse().unwrap(),
            port,
            behind: false,
        };
        let ends = [point("web-1", 40000), point("orders-1", 8443)];
        let record = FlowRecord { flow, ..specimen::flow(ends[0].address, ends[1].address, received * 1000) };
        let row = FlowRow::new(&record, (NodeId([2; 16]), u64::MAX), ends, UnixTime(received)).unwrap();
        FlowRow { cursor: flow, ..row }
    }

    pub fn batch(sequence: u64, rows: Vec<FlowRow>) -> Batch {
        batch_of(1, sequence, rows)
    }

    fn batch_of(boot: u64, sequence: u64, rows: Vec<FlowRow>) -> Batch {
        let report = FlowReport { sequence, boot, ..FlowReport::default() };
        Batch { entry: Entry::of(NodeId([2; 16]), &report, UnixTime(1)), rows }
    }

    pub fn batch_at(node: NodeId, at: UnixTime, rows: Vec<FlowRow>) -> Batch {
        let report = FlowReport { sequence: 1, boot: 9, ..FlowReport::default() };
        Batch { entry: Entry::of(node, &report, at), rows }
    }

    pub fn append(store: &mut FlowStore, rows: Vec<FlowRow>) {
        assert_eq!(store.append(&[batch(1, rows)], &mut 1000).unwrap(), 0);
    }

    fn list(store: &FlowStore, filter: &FlowFilter) -> Vec<FlowRow> {
        store.list(filter, None, UnixTime(1000), || true).unwrap().rows
    }

    #[test]
    fn a_report_is_kept_once_and_what_has_no_room_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = FlowStore::open(&dir.path().join("flows.db")).unwrap();
        let reports = [batch(1, vec![row(1, 10)]), batch(2, vec![row(2, 10), row(3, 10)])];
        for _ in 0..2 {
            assert_eq!(store.append(&reports, &mut 10).unwrap(), 0);
            assert_eq!(store.len().unwrap(), 3);
        }
        let mut room = 1;
        let more = [batch(3, vec![row(4, 10), row(5, 10)]), batch(4, vec![row(6, 10)])];
        assert_eq!(store.append(&more, &mut room).unwrap(), 2);
        assert_eq!((store.len().unwrap(), room), (4, 0));
    }

    #[test]
    fn a_report_of_an_earlier_start_that_comes_again_behind_a_later_one_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = FlowStore::open(&dir.path().join("flows.db")).unwrap();
        let reports = [batch_of(1, 7, vec![row(1, 10)]), batch_of(2, 1, vec![row(2, 10)])];
        for _ in 0..2 {
            assert_eq!(store.append(&reports, &mut 10).unwrap(), 0);
            assert_eq!(store.len().unwrap(), 2);
        }
        // Of so many starts nothing is told apart, and nothing grows.
        for boot in 3..100 {
            store.append(&[batch_of(boot, 1, Vec::new())], &mut 10).unwrap();
        }
        let starts: i64 =
            store.connection.query_row("SELECT count(*) FROM taken_of_start", [], |row| row.get(0)).unwrap();
        assert_eq!(starts, STARTS);
    }

    #[test]
    fn a_file_of_an_earlier_version_knows_the_last_report_it_took() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows.db");
        let mut store = FlowStore::open(&path).unwrap();
        append(&mut store, vec![row(1, 10)]);
        let earlier = "CREATE TABLE taken (reporter TEXT PRIMARY KEY, boot TEXT NOT NULL, sequence INTEGER NOT NULL) STRICT;
             INSERT INTO taken SELECT reporter, boot, sequence FROM taken_of_start; DROP TABLE taken_of_start;";
        store.connection.execute_batch(earlier).unwrap();
        drop(store);
        let mut store = FlowStore::open(&path).unwrap();
        append(&mut store, vec![row(1, 10)]);
        assert_eq!(store.len().unwrap(), 1);
    }

    #[test]
    fn windows_of_one_flow_are_added_up_and_the_newest_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = FlowStore::open(&dir.path().join("flows.db")).unwrap();
        append(&mut store, vec![row(1, 10), row(2, 11), row(1, 12)]);
        let rows = list(&store, &FlowFilter::default());
        assert_eq!(rows.iter().map(|r| (r.flow, r.bytes_out)).collect::<Vec<_>>(), [(1, 200), (2, 100)]);
        let filter = FlowFilter { from: Some("orders-1".into()), ..FlowFilter::default() };
        assert!(list(&store, &filter).is_empty());
        // Of a moment in the past: what came later is not there, windows neither.
        let until = |at| FlowFilter { until: Some(UnixTime(at)), ..FlowFilter::default() };
        let rows = list(&store, &until(11));
        assert_eq!(rows.iter().map(|r| (r.flow, r.bytes_out)).collect::<Vec<_>>(), [(2, 100), (1, 100)]);
        assert!(list(&store, &until(9)).is_empty());
    }

    #[test]
    fn a_plan_reads_of_a_stored_row_what_it_would_read_of_the_row() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = FlowStore::open(&dir.path().join("flows.db")).unwrap();
        let mut bare = row(2, 11);
        (bare.from.node, bare.grant, bare.service, bare.to.name) = (None, None, None, None);
        let rows = [row(1, 10), bare, row(1, 12)];
        append(&mut store, rows.to_vec());
        let mut expected = rows[1..].iter().map(plan::Window::from);
        let count = store.each_since(UnixTime(11), |seen| {
            assert_eq!(Some(seen), expected.next().as_ref());
            ControlFlow::Continue(())
        });
        assert_eq!((count.unwrap(), expected.next()), (2, None));
        assert_eq!(store.each_since(UnixTime(10), |_| ControlFlow::Break(())).unwrap(), 1);
    }

    #[test]
    fn history_is_bounded_by_age_and_by_rows() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = FlowStore::open(&dir.path().join("flows.db")).unwrap();
        append(&mut store, (0..100).map(|i| row(i, i)).collect());
        let keep = |age, rows| Retention { age, rows };
        assert!(!store.prune(keep(40, 1000), UnixTime(100)).unwrap());
        assert_eq!(store.len().unwrap(), 40);
        store.prune(keep(1000, 10), UnixTime(100)).unwrap();
        let left: Vec<u64> = list(&store, &FlowFilter::default()).iter().map(|r| r.flow).collect();
        assert_eq!(left, (90..100).rev().collect::<Vec<_>>());
    }
}
