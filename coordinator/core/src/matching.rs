//! Both ends report a flow; here their records find each other, and where not both can be true, that is said.
//!
//! What one end received is never more than what the other sent; less is loss on the way. Two records are compared only
//! when both are whole (their first window is among those that are added up) and still (ended, or nothing was added for a
//! while), so that nothing that is merely on its way is called a contradiction.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use warren_config::time::UnixTime;
use warren_wire::flow::{FlowEnd, FlowVerdict};
use warren_wire::id::NodeId;

use crate::flows::{FlowPoint, FlowRow, OtherEnd};

/// Both ends have said all they have to say of a flow that has been still for so many seconds.
pub const STILL: u64 = 10;

/// A flow as both ends see it: protocol and the ends as its opener has them.
type Tuple = (u8, IpAddr, u16, IpAddr, u16);

fn tuple(row: &FlowRow) -> Option<Tuple> {
    // Flows that were put together for want of room have lost their ports.
    let ports = !matches!(row.protocol, 6 | 17) || row.from.port != 0;
    let passed = matches!(row.verdict, FlowVerdict::Allow | FlowVerdict::WouldDeny);
    let known = row.from.node.is_some() && row.to.node.is_some();
    let tuple = (row.protocol, row.from.address, row.from.port, row.to.address, row.to.port);
    (ports && passed && known).then_some(tuple)
}

/// What is known of a node that is silent about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Since when it is there, when its agent reported for the first time, and when last.
    pub online: UnixTime,
    pub began: UnixTime,
    pub last: UnixTime,
    /// It has declared losses, or records of it were not taken: this flow may have been among them.
    pub lossy: bool,
}

impl Silent {
    /// It went on reporting long enough to have told of this flow, and lost nothing.
    fn had_its_turn(&self, row: &FlowRow) -> bool {
        let (began, ended) = (row.started_ms / 1000, row.last_ms / 1000);
        let told = self.last > UnixTime(ended).max(self.online).plus(STILL);
        told && self.began.0 < began && !self.lossy
    }

    /// Its record of this flow has ended, or it went on reporting and had nothing more to say of it.
    fn has_told_all(&self, row: &FlowRow, end: FlowEnd) -> bool {
        let told = self.last > UnixTime(row.last_ms / 1000).plus(STILL);
        !self.lossy && (end != FlowEnd::Open || told)
    }
}

/// Takes back what is said against a node that may not have had its turn: that it is silent, also where it has told of it to a
/// coordinator that ran before this one `started`; or that it tells something else, where it has not told all.
pub fn excuse(rows: &mut [FlowRow], started: UnixTime, silent: impl Fn(&NodeId) -> Option<Silent>) {
    for row in rows.iter_mut().filter(|row| row.mismatch.is_some()) {
        let fresh = row.started_ms / 1000 > started.plus(STILL).0;
        let stands = match &row.other {
            None => {
                let node = other_end(row).node;
                fresh && node.and_then(|node| silent(&node)).is_some_and(|silent| silent.had_its_turn(row))
            }
            Some(other) => {
                let ends = [(row.reporter, row.end), (other.reporter, other.end)];
                ends.iter()
                    .all(|(node, end)| silent(node).is_some_and(|silent| silent.has_told_all(row, *end)))
            }
        };
        if !stands {
            row.mismatch = None;
        }
    }
}

fn other_end(row: &FlowRow) -> &FlowPoint {
    if row.outbound { &row.to } else { &row.from }
}

/// Records in which flows of one kind were put together: by whom, and between whom.
type Folded = (NodeId, u8, IpAddr, IpAddr);

fn folded(row: &FlowRow) -> Option<Folded> {
    let portless = matches!(row.protocol, 6 | 17) && row.from.port == 0;
    portless.then_some((row.reporter, row.protocol, row.from.address, row.to.address))
}

/// Fills in what the other end says. `all` are windows of any flows, without those that were received before `forgotten`; `speaks`
/// says which nodes report at all.
pub fn complete<'a>(
    rows: &mut [FlowRow],
    all: impl Iterator<Item = &'a FlowRow>,
    forgotten: Option<UnixTime>,
    speaks: impl Fn(&NodeId) -> bool,
    now: UnixTime,
) {
    let wanted: BTreeSet<Tuple> = rows.iter().filter_map(tuple).collect();
    let mut folds = BTreeSet::new();
    let mut found: BTreeMap<Tuple, BTreeMap<(NodeId, u64, u64), FlowRow>> = BTreeMap::new();
    for row in all {
        folds.extend(folded(row));
        let Some(tuple) = tuple(row).filter(|tuple| wanted.contains(tuple)) else { continue };
        let flows = found.entry(tuple).or_default();
        match flows.get_mut(&(row.reporter, row.boot, row.flow)) {
            Some(sum) => {
                let mut newer = row.clone();
                newer.add(sum);
                *sum = newer;
            }
            None => drop(flows.insert((row.reporter, row.boot, row.flow), row.clone())),
        }
    }
    for row in rows {
        let Some(flows) = tuple(row).and_then(|tuple| found.get(&tuple)) else { continue };
        let other = flows.values().filter(|other| other.reporter != row.reporter && overlaps(row, other));
        let other = other.min_by_key(|other| other.started_ms.abs_diff(row.started_ms));
        row.mismatch = match other {
            Some(other) => contradiction(row, other, now),
            None if is_forgotten(row, forgotten) || is_folded(row, &folds) => None,
            None => silence(row, &speaks, now),
        };
        row.other = other.map(|other| OtherEnd {
            reporter: other.reporter,
            packets_out: other.packets_out,
            bytes_out: other.bytes_out,
            packets_back: other.packets_back,
            bytes_back: other.bytes_back,
            end: other.end,
            workload: other.workload.clone(),
        });
    }
}

/// The other end's record may have been pushed out by newer ones.
fn is_forgotten(row: &FlowRow, forgotten: Option<UnixTime>) -> bool {
    forgotten.is_some_and(|until| UnixTime(row.started_ms / 1000) <= until.plus(STILL))
}

fn is_folded(row: &FlowRow, folds: &BTreeSet<Folded>) -> bool {
    let key = |node| (node, row.protocol, row.from.address, row.to.address);
    other_end(row).node.is_some_and(|node| folds.contains(&key(node)))
}

/// Signed time of two nodes differs by little.
fn overlaps(a: &FlowRow, b: &FlowRow) -> bool {
    let slack = STILL * 1000;
    a.started_ms <= b.last_ms.saturating_add(slack) && b.started_ms <= a.last_ms.saturating_add(slack)
}

fn is_settled(row: &FlowRow, now: UnixTime) -> bool {
    let still = row.received.plus(STILL) < now && row.last_ms / 1000 + STILL < now.0;
    row.first && (row.end != FlowEnd::Open && row.received.plus(2) < now || still)
}

fn contradiction(row: &FlowRow, other: &FlowRow, now: UnixTime) -> Option<String> {
    if !is_settled(row, now) || !is_settled(other, now) {
        return None;
    }
    let (opener, responder) = if row.outbound { (row, other) } else { (other, row) };
    let more = |who: &str, got: u64, sent: u64| {
        (got > sent).then(|| format!("{who} received {got} bytes, the other end sent {sent}"))
    };
    let name = |row: &FlowRow| {
        let end = if row.outbound { &row.from } else { &row.to };
        end.name.clone().unwrap_or_else(|| end.address.to_string())
    };
    more(&name(responder), responder.bytes_out, opener.bytes_out)
        .or_else(|| more(&name(opener), opener.bytes_back, responder.bytes_back))
}

/// The other end has answered, so it must have seen the flow.
fn silence(row: &FlowRow, speaks: impl Fn(&NodeId) -> bool, now: UnixTime) -> Option<String> {
    let other = other_end(row);
    let took_part = if row.outbound { row.packets_back > 0 } else { row.packets_out > 0 };
    let must = is_settled(row, now) && took_part && other.node.as_ref().is_some_and(speaks);
    let name = || other.name.clone().unwrap_or_else(|| other.address.to_string());
    must.then(|| format!("{} took part in it and has not reported it", name()))
}
