//! The flow map, first form: the newest flow records of all nodes, each end named.
//!
//! A node speaks only of its own side; the other end is attributed by the coordinator's own directory. Reports are
//! numbered per agent start, so that a report that comes twice counts once ([`crate::accounts`]).

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use warren_config::name::{InvalidName, Name};
use warren_config::time::UnixTime;
use warren_wire::flow::{FlowEnd, FlowPath, FlowRecord, FlowReport, FlowVerdict, Workload};
use warren_wire::id::{Generation, NodeId};

use crate::accounts::{Accounts, Entry};
use crate::directory::Node;
use crate::state::State;
use crate::status::FlowStatus;

/// So many of the newest records are kept in memory.
pub const MAX_FLOWS: usize = 200_000;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowPoint {
    pub node: Option<NodeId>,
    pub name: Option<String>,
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: IpAddr,
    pub port: u16,
}

/// One window of one flow, as one of its two nodes saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowRow {
    /// Grows by one with every record the coordinator takes: the cursor of `flow watch`.
    pub cursor: u64,
    pub received: UnixTime,
    pub reporter: NodeId,
    /// The agent start and the flow's number in it: the same for all windows of one flow.
    pub boot: u64,
    pub flow: u64,
    pub outbound: bool,
    /// The first window of its flow.
    #[serde(default)]
    pub first: bool,
    /// Who opened it.
    pub from: FlowPoint,
    pub to: FlowPoint,
    pub protocol: u8,
    pub verdict: FlowVerdict,
    pub grant: Option<String>,
    pub service: Option<String>,
    pub generation: Generation,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub packets_back: u64,
    pub bytes_back: u64,
    pub started_ms: u64,
    pub last_ms: u64,
    pub end: FlowEnd,
    pub count: u64,
    /// Whose the flow is on the reporter's host; none: not known.
    #[serde(default)]
    pub workload: Option<Workload>,
    /// Of the reporter's own TCP connection; none: not known.
    #[serde(default)]
    pub rtt_us: Option<u64>,
    #[serde(default)]
    pub retransmissions: Option<u64>,
    #[serde(default = "no_path")]
    pub path: FlowPath,
    /// What the other end says of the same flow, where both have reported it.
    #[serde(default)]
    pub other: Option<OtherEnd>,
    /// In words, where not both ends can be right, or one is silent; none: nothing of the kind, or not known yet.
    #[serde(default)]
    pub mismatch: Option<String>,
}

fn no_path() -> FlowPath {
    FlowPath::Unknown
}

/// The record of the same flow by its other node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OtherEnd {
    pub reporter: NodeId,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub packets_back: u64,
    pub bytes_back: u64,
    pub end: FlowEnd,
    pub workload: Option<Workload>,
}

/// What `flow list` asks for. Empty: everything, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams))]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// Node name or id, or an address.
    pub from: Option<String>,
    pub to: Option<String>,
    pub verdict: Option<FlowVerdict>,
    pub grant: Option<String>,
    pub service: Option<String>,
    /// Only what was seen at or after this.
    pub since: Option<UnixTime>,
    /// Only what was seen at or before this.
    pub until: Option<UnixTime>,
    /// At most so many; 0 means 1,000, never more than 10,000.
    pub limit: usize,
}

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
    rows: VecDeque<FlowRow>,
    cursor: u64,
    accounts: Accounts,
    /// Of each node: start and sequence of the last report that was written, and how many are not yet.
    written: BTreeMap<NodeId, (u64, u64)>,
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
            if let Some(newest) = accounts.starts(&node).last() {
                self.written.insert(node, (newest.boot, newest.sequence));
            }
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
            taken.written = self.written.get(&id).is_some_and(|(b, s)| *b == boot && *s >= sequence);
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
        self.written.insert(node, (boot, sequence));
        if let Some(count) = self.unwritten.get_mut(&node) {
            *count = count.saturating_sub(1);
        }
    }

    fn push(&mut self, mut row: FlowRow) -> FlowRow {
        self.cursor = self.cursor.saturating_add(1);
        self.recorded = self.recorded.saturating_add(1);
        row.cursor = self.cursor;
        if self.rows.len() >= MAX_FLOWS {
            self.rows.pop_front();
        }
        self.rows.push_back(row.clone());
        row
    }

    /// One row per flow, its windows added up, newest first.
    pub fn list(&self, filter: &FlowFilter) -> Vec<FlowRow> {
        let limit = if filter.limit == 0 { DEFAULT_ANSWER } else { filter.limit.min(MAX_ANSWER) };
        let mut places: BTreeMap<(NodeId, u64, u64), usize> = BTreeMap::new();
        let mut list: Vec<FlowRow> = Vec::new();
        for row in self.rows.iter().rev().filter(|row| filter.matches(row)) {
            let key = (row.reporter, row.boot, row.flow);
            if let Some(newer) = places.get(&key).and_then(|place| list.get_mut(*place)) {
                newer.add(row);
            } else if list.len() < limit {
                places.insert(key, list.len());
                list.push(row.clone());
            }
        }
        // Reports of several nodes arrive interleaved: what counts is when a flow was last alive.
        list.sort_by_key(|row| std::cmp::Reverse((row.last_ms, row.cursor)));
        list
    }

    /// As [`FlowMap::list`], each row with what its other end says.
    pub fn list_matched(
        &self,
        filter: &FlowFilter,
        speaks: impl Fn(&NodeId) -> bool,
        now: UnixTime,
    ) -> Vec<FlowRow> {
        let mut list = self.list(filter);
        crate::matching::complete(&mut list, self.rows.iter(), speaks, now);
        list
    }

    /// Records after `cursor` that match, oldest first.
    pub fn since(&self, cursor: u64, filter: &FlowFilter, limit: usize) -> FlowPage {
        let first = self.rows.front().map_or(self.cursor.saturating_add(1), |row| row.cursor);
        let missed = first.saturating_sub(cursor.saturating_add(1));
        let skip = usize::try_from(cursor.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut page = FlowPage { rows: Vec::new(), cursor: cursor.min(self.cursor), missed };
        for row in self.rows.iter().skip(skip) {
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

impl FlowRow {
    /// Adds an older window of the same flow.
    pub(crate) fn add(&mut self, older: &FlowRow) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        sum(&mut self.packets_out, older.packets_out);
        sum(&mut self.bytes_out, older.bytes_out);
        sum(&mut self.packets_back, older.packets_back);
        sum(&mut self.bytes_back, older.bytes_back);
        self.started_ms = self.started_ms.min(older.started_ms);
        if self.end == FlowEnd::Refused {
            sum(&mut self.count, older.count);
        }
        self.first |= older.first;
        if self.workload.is_none() {
            self.workload.clone_from(&older.workload);
        }
        self.rtt_us = self.rtt_us.or(older.rtt_us);
        self.retransmissions = self.retransmissions.or(older.retransmissions);
    }
}

/// A filter that nothing could ever match, and what could.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    #[error("`since` is {since} and `until` is {until}: the stretch must not end before it begins")]
    Backwards { since: u64, until: u64 },
    #[error("`since` is {since}, in the future: a time is in seconds since 1970 and at most {now}")]
    Future { since: u64, now: u64 },
    #[error("`{field}` is `{value}`: it is a node's name, its id, or an overlay address")]
    End { field: &'static str, value: String },
    #[error("`{field}`: {fault}")]
    Name { field: &'static str, fault: InvalidName },
}

/// A clock that asks may be ahead of this one by so many seconds.
const AHEAD: u64 = 60;

impl FlowFilter {
    /// Could this match anything, whatever there is?
    pub fn check(&self, now: UnixTime) -> Result<(), BadFilter> {
        let shown = |text: &String| text.chars().take(80).collect::<String>().escape_debug().to_string();
        for (field, value) in [("from", &self.from), ("to", &self.to)] {
            if let Some(value) = value.as_ref().filter(|value| !FlowPoint::could_be(value)) {
                return Err(BadFilter::End { field, value: shown(value) });
            }
        }
        for (field, value) in [("grant", &self.grant), ("service", &self.service)] {
            if let Some(Err(fault)) = value.as_ref().map(|value| Name::parse(value)) {
                return Err(BadFilter::Name { field, fault });
            }
        }
        match (self.since, self.until) {
            (Some(since), _) if since.since(now) > AHEAD => {
                Err(BadFilter::Future { since: since.0, now: now.0 })
            }
            (Some(since), Some(until)) if until < since => {
                Err(BadFilter::Backwards { since: since.0, until: until.0 })
            }
            _ => Ok(()),
        }
    }

    pub fn matches(&self, row: &FlowRow) -> bool {
        let end = |wanted: &Option<String>, point: &FlowPoint| wanted.as_ref().is_none_or(|w| point.is(w));
        let text = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        end(&self.from, &row.from)
            && end(&self.to, &row.to)
            && self.verdict.is_none_or(|verdict| verdict == row.verdict)
            && text(&self.grant, &row.grant)
            && text(&self.service, &row.service)
            && self.since.is_none_or(|since| row.last_ms / 1000 >= since.0)
            && self.until.is_none_or(|until| row.last_ms / 1000 <= until.0)
    }
}

impl FlowPoint {
    /// Could `text` be a node or an address?
    fn could_be(text: &str) -> bool {
        let text = text.strip_prefix("node:").unwrap_or(text);
        Name::parse(text).is_ok() || text.parse::<IpAddr>().is_ok() || text.parse::<NodeId>().is_ok()
    }

    /// Is this the node or address meant by `text`?
    fn is(&self, text: &str) -> bool {
        let text = text.strip_prefix("node:").unwrap_or(text);
        self.name.as_deref() == Some(text)
            || text.parse().is_ok_and(|address: IpAddr| address == self.address)
            || text.parse().is_ok_and(|id: NodeId| Some(id) == self.node)
    }
}

/// A record with both ends named, if it speaks of the reporter's own side and is well formed.
fn row(
    state: &State,
    node: &Node,
    boot: u64,
    record: &FlowRecord,
    now: UnixTime,
) -> Result<FlowRow, &'static str> {
    let from = point(state, &record.src, record.src_port)?;
    let to = point(state, &record.dst, record.dst_port)?;
    let own = if record.outbound { &from } else { &to };
    if !node.member.addresses().any(|address| address == own.address) {
        return Err("a flow that has neither end at its reporter's address");
    }
    let protocol = u8::try_from(record.protocol).map_err(|_| "an IP protocol number over 255")?;
    Ok(FlowRow {
        cursor: 0,
        received: now,
        reporter: node.id(),
        boot,
        flow: record.flow,
        outbound: record.outbound,
        first: record.first,
        from,
        to,
        protocol,
        verdict: FlowVerdict::try_from(record.verdict).map_err(|_| "an unknown verdict")?,
        grant: name(&record.grant)?,
        service: name(&record.service)?,
        generation: record.generation,
        packets_out: record.packets_out,
        bytes_out: record.bytes_out,
        packets_back: record.packets_back,
        bytes_back: record.bytes_back,
        started_ms: record.started_ms,
        last_ms: record.last_ms,
        end: FlowEnd::try_from(record.end).map_err(|_| "an unknown end")?,
        count: record.count,
        workload: record.workload.clone().map(Workload::harmless),
        rtt_us: record.rtt_us,
        retransmissions: record.retransmissions,
        path: record.path(),
        other: None,
        mismatch: None,
    })
}

fn name(text: &str) -> Result<Option<String>, &'static str> {
    match text {
        "" => Ok(None),
        text => {
            Name::parse(text).map(|n| Some(n.into())).map_err(|_| "a grant or service that is not a name")
        }
    }
}

/// Names an end by the coordinator's own address table, never by what the reporter says of it.
fn point(state: &State, bytes: &[u8], port: u32) -> Result<FlowPoint, &'static str> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    let address = address.map_err(|_| "an address of neither 4 nor 16 bytes")?;
    let port = u16::try_from(port).map_err(|_| "a port over 65535")?;
    let node = state.addresses().last_holder(address);
    let name = node.and_then(|id| state.directory().get(&id)).map(|n| n.member.name().to_string());
    Ok(FlowPoint { node, name, address, port })
}
