//! Edges in SQLite: the same sums in steps of a second, a minute and an hour, each kept for as long as the settings say.
//!
//! A sum is added to all three at once, so a record that comes late changes the hour it belongs to as well, and nothing
//! has to be rolled up afterwards. What an edge is stands once in `edge`; a step is a row of integers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_coordinator_core::accounts::{Accounts, Start};
use warren_coordinator_core::edges::{EdgeEnd, EdgeKey, EdgeSecond, Quality, Sides, Sum};
use warren_coordinator_core::map::{EdgeLife, Mismatch, RESOLUTIONS};

use warren_wire::flow::FlowVerdict;
use warren_wire::id::NodeId;

use super::OpenStoreError;
use super::open::{self, Kind};

const KIND: Kind = Kind {
    application_id: 0x5752_4531, // "WRE1"
    version: 1,
    schema: "CREATE TABLE edge (
                 id INTEGER PRIMARY KEY,
                 key TEXT NOT NULL UNIQUE,
                 source TEXT,
                 destination TEXT,
                 service TEXT,
                 verdict TEXT NOT NULL,
                 permit TEXT,
                 generation INTEGER NOT NULL,
                 first_ms INTEGER NOT NULL,
                 last_ms INTEGER NOT NULL
             ) STRICT;
             CREATE TABLE step_1 (at INTEGER, edge INTEGER, opener INTEGER, flows INTEGER, tries INTEGER, po INTEGER,
                 bo INTEGER, pb INTEGER, bb INTEGER, rtt INTEGER, rtts INTEGER, again INTEGER, PRIMARY KEY (at, edge, opener)) STRICT, WITHOUT ROWID;
             CREATE TABLE step_60 (at INTEGER, edge INTEGER, opener INTEGER, flows INTEGER, tries INTEGER, po INTEGER,
                 bo INTEGER, pb INTEGER, bb INTEGER, rtt INTEGER, rtts INTEGER, again INTEGER, PRIMARY KEY (at, edge, opener)) STRICT, WITHOUT ROWID;
             CREATE TABLE step_3600 (at INTEGER, edge INTEGER, opener INTEGER, flows INTEGER, tries INTEGER, po INTEGER,
                 bo INTEGER, pb INTEGER, bb INTEGER, rtt INTEGER, rtts INTEGER, again INTEGER, PRIMARY KEY (at, edge, opener)) STRICT, WITHOUT ROWID;",
    synchronous: "NORMAL",
};

/// How long each step is kept, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeRetention {
    pub seconds: u64,
    pub minutes: u64,
    pub hours: u64,
}

impl Default for EdgeRetention {
    fn default() -> EdgeRetention {
        EdgeRetention { seconds: 3600, minutes: 3 * 24 * 3600, hours: 30 * 24 * 3600 }
    }
}

/// Beside the sums they account for. A file of an earlier version gets it when it is opened.
const ACCOUNTS: &str =
    "CREATE TABLE IF NOT EXISTS account (node TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
     CREATE INDEX IF NOT EXISTS edge_pair ON edge (source, destination);";

/// Ports at which one pair's refused attempts are told apart.
pub const PORTS: usize = 32;
/// Pairs whose ports are remembered.
const PAIRS: usize = 10_000;

/// What two ends count of one packet may lie so many seconds apart.
const MARGIN: u64 = 5;
/// Rows deleted in one transaction.
const PRUNE_BATCH: usize = 20_000;

const EXPIRE: &str = "DELETE FROM edge WHERE id IN (SELECT id FROM edge WHERE last_ms < ?1 LIMIT ?2)";

pub struct EdgeStore {
    pub(super) connection: Connection,
    /// Of the writer: which number an edge has.
    numbers: HashMap<String, i64>,
    /// Of the writer: ports that each pair of ends has been refused at.
    tried: BTreeMap<Pair, BTreeSet<u16>>,
}

/// Opener, other end, protocol.
type Pair = (EdgeEnd, EdgeEnd, u8);

/// Edges that match; empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeFilter {
    /// Node ids or addresses as the key writes them.
    pub from: Option<String>,
    pub to: Option<String>,
    pub service: Option<String>,
    pub verdict: Option<String>,
    pub grant: Option<String>,
}

/// One edge over a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeTotal {
    pub key: EdgeKey,
    pub sides: Sides,
    pub life: EdgeLife,
    /// Only where [`EdgeStore::confirm`] was asked.
    pub mismatch: Option<Mismatch>,
}

/// What a grant was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantUse {
    pub flows: u64,
    pub bytes: u64,
    pub last_ms: u64,
}

/// What [`MATCH`] and the stretch before it are filled with.
pub(super) fn bounds(from: UnixTime, until: UnixTime, filter: &EdgeFilter) -> impl rusqlite::Params {
    let EdgeFilter { from: opener, to, service, verdict, grant } = filter;
    (number(from.0), number(until.0), opener, to, service, verdict, grant)
}

impl EdgeStore {
    /// Opens the file, or makes it: it may be deleted by an operator while the service is stopped.
    pub fn open(path: &Path) -> Result<EdgeStore, OpenStoreError> {
        let connection = match path.exists() {
            true => open::open(path, &KIND)?,
            false => open::create(path, &KIND)?,
        };
        connection.execute_batch(ACCOUNTS).map_err(|e| open::sort(path, &e))?;
        widen(&connection).map_err(|e| open::sort(path, &e))?;
        Ok(EdgeStore { connection, numbers: HashMap::new(), tried: BTreeMap::new() })
    }

    /// What every node judged and what became of it, as of the last [`EdgeStore::add`].
    pub fn accounts(&self) -> rusqlite::Result<Accounts> {
        let mut statement = self.connection.prepare("SELECT node, body FROM account")?;
        let mut rows = statement.query([])?;
        let mut accounts = Accounts::default();
        while let Some(row) = rows.next()? {
            let (node, body): (String, String) = (row.get(0)?, row.get(1)?);
            let read = node.parse().ok().zip(serde_json::from_str::<Vec<Start>>(&body).ok());
            let Some((node, starts)) = read else { continue };
            starts.into_iter().for_each(|start| accounts.restore(node, start));
        }
        Ok(accounts)
    }

    /// A connection that only reads, beside the writer's.
    pub fn reader(path: &Path) -> Result<EdgeStore, OpenStoreError> {
        open::reader(path).map(|connection| EdgeStore {
            connection,
            numbers: HashMap::new(),
            tried: BTreeMap::new(),
        })
    }

    /// Adds sums to every step they belong to, and keeps the accounts they belong to: all or none.
    pub fn add(&mut self, seconds: &[EdgeSecond], accounts: &[(NodeId, Vec<Start>)]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for (node, starts) in accounts {
            keep_account(&transaction, node, starts)?;
        }
        for second in seconds {
            let folded = fold(&transaction, &mut self.tried, second)?;
            let second = folded.as_ref().unwrap_or(second);
            let number = number_of(&transaction, &mut self.numbers, second)?;
            for step in RESOLUTIONS {
                add_step(&transaction, step, number, second)?;
            }
        }
        let outcome = transaction.commit();
        if outcome.is_err() {
            self.numbers.clear();
            self.tried.clear();
        }
        outcome
    }

    /// All edges with traffic or tries in `[from, until)`, in steps of `resolution`.
    pub fn totals(
        &self,
        resolution: u64,
        from: UnixTime,
        until: UnixTime,
        filter: &EdgeFilter,
        limit: usize,
    ) -> rusqlite::Result<Vec<EdgeTotal>> {
        self.totals_of(resolution, from, until, filter, limit, |_, _| true)
    }

    /// Only edges that are `wanted`, by number and key.
    pub(super) fn totals_of(
        &self,
        resolution: u64,
        from: UnixTime,
        until: UnixTime,
        filter: &EdgeFilter,
        limit: usize,
        wanted: impl Fn(i64, &EdgeKey) -> bool,
    ) -> rusqlite::Result<Vec<EdgeTotal>> {
        let table = table(resolution);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT e.key, e.generation, e.first_ms, e.last_ms, s.opener, sum(s.flows), sum(s.tries), sum(s.po), sum(s.bo),
                    sum(s.pb), sum(s.bb), max(s.at), s.edge, sum(s.rtt), sum(s.rtts), sum(s.again)
             FROM {table} s JOIN edge e ON e.id = s.edge
             WHERE s.at >= ?1 AND s.at < ?2 AND {MATCH} GROUP BY s.edge, s.opener ORDER BY s.edge"
        ))?;
        let mut rows = statement.query(bounds(from, until, filter))?;
        let mut totals: Vec<EdgeTotal> = Vec::new();
        while let Some(row) = rows.next()? {
            let Some((key, mut life)) = edge_of(row)? else { continue };
            if !wanted(row.get(12)?, &key) {
                continue;
            }
            let (opener, sum, quality) = (row.get::<_, i64>(4)? != 0, sum_of(row, 5)?, quality_of(row, 13)?);
            // Of the past it is not said what came after it.
            let end = unsigned(row, 11)?.saturating_add(resolution).saturating_mul(1000);
            life.last_ms = life.last_ms.min(end.saturating_sub(1));
            if totals.last().is_none_or(|last| last.key != key) {
                if totals.len() >= limit {
                    break;
                }
                totals.push(EdgeTotal { key, sides: Sides::default(), life, mismatch: None });
            }
            if let Some(last) = totals.last_mut() {
                last.life.last_ms = last.life.last_ms.max(life.last_ms);
                last.sides.add(opener, &sum, &quality);
            }
        }
        Ok(totals)
    }

    /// Says of each edge whether its two ends contradict each other, also when what each of them counted a little earlier or
    /// later is thought of. Reads nothing if none seems to.
    pub fn confirm(
        &self,
        resolution: u64,
        from: UnixTime,
        until: UnixTime,
        filter: &EdgeFilter,
        totals: &mut [EdgeTotal],
    ) -> rusqlite::Result<()> {
        let doubtful: BTreeSet<EdgeKey> =
            totals.iter().filter(|total| total.sides.differs()).map(|total| total.key.clone()).collect();
        if doubtful.is_empty() {
            return Ok(());
        }
        let margin = resolution.max(MARGIN);
        let read = |from: UnixTime, until: UnixTime| -> rusqlite::Result<BTreeMap<EdgeKey, Sides>> {
            let these = |_: i64, key: &EdgeKey| doubtful.contains(key);
            let totals = self.totals_of(resolution, from, until, filter, usize::MAX, these)?;
            Ok(totals.into_iter().map(|total| (total.key, total.sides)).collect())
        };
        let inner = read(from.plus(margin), UnixTime(until.0.saturating_sub(margin)))?;
        let outer = read(UnixTime(from.0.saturating_sub(margin)), until.plus(margin))?;
        for total in totals {
            let (Some(inner), Some(outer)) = (inner.get(&total.key), outer.get(&total.key)) else { continue };
            let contradiction = total.sides.contradiction(inner, outer);
            total.mismatch =
                contradiction.map(|(a, b)| Mismatch { from_bytes: a.bytes(), to_bytes: b.bytes() });
        }
        Ok(())
    }

    /// The steps themselves, oldest first, beginning after `after`: (step, edge) of the last row of the page before.
    pub fn series(
        &self,
        resolution: u64,
        from: UnixTime,
        until: UnixTime,
        filter: &EdgeFilter,
        after: Option<(u64, u64)>,
        limit: usize,
    ) -> rusqlite::Result<Vec<(u64, UnixTime, EdgeTotal)>> {
        let table = table(resolution);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT e.key, e.generation, e.first_ms, e.last_ms, s.opener, s.flows, s.tries, s.po, s.bo, s.pb, s.bb, s.at, s.edge,
                    s.rtt, s.rtts, s.again
             FROM {table} s JOIN edge e ON e.id = s.edge
             WHERE s.at >= ?1 AND s.at < ?2 AND {MATCH} AND (s.at, s.edge) > (?8, ?9) ORDER BY s.at, s.edge, s.opener"
        ))?;
        let after = after.map_or((-1, -1), |(at, edge)| (number(at), number(edge)));
        let mut rows = statement.query(params![
            number(from.0),
            number(until.0),
            filter.from,
            filter.to,
            filter.service,
            filter.verdict,
            filter.grant,
            after.0,
            after.1
        ])?;
        let mut steps: Vec<(u64, UnixTime, EdgeTotal)> = Vec::new();
        while let Some(row) = rows.next()? {
            let (at, edge) = (unsigned(row, 11)?, unsigned(row, 12)?);
            let Some((key, life)) = edge_of(row)? else { continue };
            let same = |last: &(u64, UnixTime, EdgeTotal)| last.0 == edge && last.1.0 == at;
            if !steps.last().is_some_and(same) {
                if steps.len() >= limit {
                    break;
                }
                let total = EdgeTotal { key, sides: Sides::default(), life, mismatch: None };
                steps.push((edge, UnixTime(at), total));
            }
            if let Some(last) = steps.last_mut() {
                last.2.sides.add(row.get::<_, i64>(4)? != 0, &sum_of(row, 5)?, &quality_of(row, 13)?);
            }
        }
        Ok(steps)
    }

    /// Use of each grant in `[from, until)`: the opener's word, the other end's where there is none.
    pub fn grant_use(
        &self,
        resolution: u64,
        from: UnixTime,
        until: UnixTime,
    ) -> rusqlite::Result<BTreeMap<String, GrantUse>> {
        let all = self.totals(resolution, from, until, &EdgeFilter::default(), usize::MAX)?;
        let mut used: BTreeMap<String, GrantUse> = BTreeMap::new();
        for total in all {
            let Some(grant) = total.key.grant else { continue };
            let (sum, entry) = (total.sides.shown(), used.entry(grant).or_default());
            entry.flows = entry.flows.saturating_add(sum.flows);
            entry.bytes = entry.bytes.saturating_add(sum.bytes());
            entry.last_ms = entry.last_ms.max(total.life.last_ms);
        }
        Ok(used)
    }

    /// The oldest step that is still here.
    pub fn oldest(&self, resolution: u64) -> rusqlite::Result<Option<UnixTime>> {
        let query = format!("SELECT min(at) FROM {}", table(resolution));
        let oldest: Option<i64> = self.connection.query_row(&query, [], |row| row.get(0))?;
        Ok(oldest.map(|at| UnixTime(at.unsigned_abs())))
    }

    /// Deletes one batch of what is too old; true if there may be more.
    pub fn prune(&mut self, keep: EdgeRetention, now: UnixTime) -> rusqlite::Result<bool> {
        let mut gone = 0;
        for (step, age) in RESOLUTIONS.into_iter().zip([keep.seconds, keep.minutes, keep.hours]) {
            let table = table(step);
            let oldest = floor(UnixTime(now.0.saturating_sub(age)), step);
            gone = gone.max(self.connection.execute(
                &format!("DELETE FROM {table} WHERE (at, edge, opener) IN (SELECT at, edge, opener FROM {table} WHERE at < ?1 LIMIT ?2)"),
                params![number(oldest.0), PRUNE_BATCH as i64],
            )?);
        }
        if gone < PRUNE_BATCH {
            gone = self.expire(keep, now)?;
        }
        Ok(gone >= PRUNE_BATCH)
    }

    /// Deletes one batch of edges that no step names any more. No step is looked at for it: an edge has none after its last
    /// record, and [`EdgeStore::prune`] has just deleted every step as old as that.
    fn expire(&mut self, keep: EdgeRetention, now: UnixTime) -> rusqlite::Result<usize> {
        let oldest = now.0.saturating_sub(keep.hours.max(keep.minutes).max(keep.seconds) + 2 * 3600);
        let gone = self
            .connection
            .execute(EXPIRE, params![number(oldest.saturating_mul(1000)), PRUNE_BATCH as i64])?;
        self.numbers.clear();
        self.tried.clear();
        Ok(gone)
    }

    /// Nodes named by some edge.
    pub fn named(totals: &[EdgeTotal]) -> BTreeSet<warren_wire::id::NodeId> {
        totals.iter().flat_map(|t| [t.key.from.node(), t.key.to.node()]).flatten().copied().collect()
    }
}

/// A file of an earlier version has no columns for [`Quality`]: of what it holds, that is not known.
fn widen(connection: &Connection) -> rusqlite::Result<()> {
    for table in RESOLUTIONS.map(table) {
        let known = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = 'rtt'";
        if connection.query_row(known, [table], |row| row.get::<_, i64>(0))? == 0 {
            let add = ["rtt", "rtts", "again"]
                .map(|name| format!("ALTER TABLE {table} ADD COLUMN {name} INTEGER;"));
            connection.execute_batch(&add.concat())?;
        }
    }
    Ok(())
}

pub(super) const MATCH: &str =
    "(?3 IS NULL OR e.source = ?3) AND (?4 IS NULL OR e.destination = ?4) AND (?5 IS NULL OR e.service = ?5)
     AND (?6 IS NULL OR e.verdict = ?6) AND (?7 IS NULL OR e.permit = ?7)";

/// The greatest multiple of `step` that is not after `at`.
pub fn floor(at: UnixTime, step: u64) -> UnixTime {
    UnixTime(at.0 - at.0 % step.max(1))
}

/// Only names of tables that exist.
pub(super) fn table(resolution: u64) -> &'static str {
    match resolution {
        1 => "step_1",
        60 => "step_60",
        _ => "step_3600",
    }
}

pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

pub(super) fn sum_of(row: &Row<'_>, from: usize) -> rusqlite::Result<Sum> {
    Ok(Sum {
        flows: unsigned(row, from)?,
        tries: unsigned(row, from + 1)?,
        packets_out: unsigned(row, from + 2)?,
        bytes_out: unsigned(row, from + 3)?,
        packets_back: unsigned(row, from + 4)?,
        bytes_back: unsigned(row, from + 5)?,
    })
}

fn quality_of(row: &Row<'_>, from: usize) -> rusqlite::Result<Quality> {
    let count = |column| row.get::<_, Option<i64>>(column).map(|value| value.map(i64::unsigned_abs));
    Ok(Quality {
        rtt_us: count(from)?.unwrap_or_default(),
        rtts: count(from + 1)?.unwrap_or_default(),
        retransmissions: count(from + 2)?,
    })
}

/// An edge an older program wrote differently is left out; it decides nothing.
fn edge_of(row: &Row<'_>) -> rusqlite::Result<Option<(EdgeKey, EdgeLife)>> {
    let life =
        EdgeLife { generation: unsigned(row, 1)?, first_ms: unsigned(row, 2)?, last_ms: unsigned(row, 3)? };
    Ok(serde_json::from_str(&row.get::<_, String>(0)?).ok().map(|key| (key, life)))
}

fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Object(one)) => {
            one.into_iter().next().and_then(|(_, v)| v.as_str().map(str::to_owned)).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// Refused attempts of one pair at more ports than [`PORTS`] are one edge, with port 0: a port scan makes no thousands of them.
/// Which ports they were is in the single records, as long as those are kept; how many attempts is in the sums.
fn fold(
    connection: &Connection,
    tried: &mut BTreeMap<Pair, BTreeSet<u16>>,
    second: &EdgeSecond,
) -> rusqlite::Result<Option<EdgeSecond>> {
    let key = &second.key;
    if key.port == 0 || !matches!(key.verdict, FlowVerdict::Deny | FlowVerdict::WouldDeny) {
        return Ok(None);
    }
    let pair = (key.from.clone(), key.to.clone(), key.protocol);
    if tried.len() >= PAIRS && !tried.contains_key(&pair) {
        tried.clear();
    }
    let ports = match tried.entry(pair) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(refused_ports(connection, key)?),
    };
    if ports.contains(&key.port) || ports.len() < PORTS && ports.insert(key.port) {
        return Ok(None);
    }
    Ok(Some(EdgeSecond { key: EdgeKey { port: 0, ..key.clone() }, ..second.clone() }))
}

fn refused_ports(connection: &Connection, key: &EdgeKey) -> rusqlite::Result<BTreeSet<u16>> {
    let mut statement =
        connection.prepare_cached("SELECT key FROM edge WHERE source = ?1 AND destination = ?2")?;
    let mut rows = statement.query(params![word(&key.from), word(&key.to)])?;
    let mut ports = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let Ok(known) = serde_json::from_str::<EdgeKey>(&row.get::<_, String>(0)?) else { continue };
        let refused = matches!(known.verdict, FlowVerdict::Deny | FlowVerdict::WouldDeny);
        if refused && known.protocol == key.protocol && known.port != 0 {
            ports.insert(known.port);
        }
    }
    Ok(ports)
}

fn number_of(
    connection: &Connection,
    known: &mut HashMap<String, i64>,
    second: &EdgeSecond,
) -> rusqlite::Result<i64> {
    let key = serde_json::to_string(&second.key).unwrap_or_default();
    let (generation, first, last) =
        (number(second.generation), number(second.first_ms), number(second.last_ms));
    if let Some(id) = known.get(&key) {
        connection
            .prepare_cached(
                "UPDATE edge SET generation = max(generation, ?2), last_ms = max(last_ms, ?3) WHERE id = ?1",
            )?
            .execute(params![id, generation, last])?;
        return Ok(*id);
    }
    let id = connection
        .prepare_cached(
            "INSERT INTO edge (key, source, destination, service, verdict, permit, generation, first_ms, last_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (key) DO UPDATE SET generation = max(generation, excluded.generation),
                 first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)
             RETURNING id",
        )?
        .query_row(
            params![
                key,
                word(&second.key.from),
                word(&second.key.to),
                second.key.service,
                word(&second.key.verdict),
                second.key.grant,
                generation,
                first,
                last
            ],
            |row| row.get(0),
        )?;
    known.insert(key, id);
    Ok(id)
}

fn keep_account(connection: &Connection, node: &NodeId, starts: &[Start]) -> rusqlite::Result<()> {
    let body = serde_json::to_string(starts).unwrap_or_default();
    connection
        .prepare_cached("INSERT OR REPLACE INTO account (node, body) VALUES (?1, ?2)")?
        .execute(params![node.to_string(), body])?;
    Ok(())
}

fn add_step(connection: &Connection, step: u64, edge: i64, second: &EdgeSecond) -> rusqlite::Result<()> {
    let table = table(step);
    let sum = &second.sum;
    connection
        .prepare_cached(&format!(
            "INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (at, edge, opener) DO UPDATE SET flows = flows + excluded.flows, tries = tries + excluded.tries,
                 po = po + excluded.po, bo = bo + excluded.bo, pb = pb + excluded.pb, bb = bb + excluded.bb,
                 rtt = ifnull(rtt, 0) + excluded.rtt, rtts = ifnull(rtts, 0) + excluded.rtts,
                 again = ifnull(again + excluded.again, ifnull(again, excluded.again))"
        ))?
        .execute(params![
            number(floor(second.at, step).0),
            edge,
            second.opener,
            number(sum.flows),
            number(sum.tries),
            number(sum.packets_out),
            number(sum.bytes_out),
            number(sum.packets_back),
            number(sum.bytes_back),
            number(second.quality.rtt_us),
            number(second.quality.rtts),
            second.quality.retransmissions.map(number)
        ])?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
