//! A page of flow history: searched backwards from where the page before ended, at most so far at once, and it says how far.

use std::collections::HashSet;

use rusqlite::{Connection, params};
use warren_config::time::UnixTime;
use warren_coordinator_core::flows::{FlowFilter, FlowList, FlowRow, Place, newest_first};
use warren_coordinator_core::matching;
use warren_wire::id::NodeId;

use super::flows::{FlowStore, SCAN, connection_of, number};

/// How the history is called in a [`Place`].
pub const LIST: u64 = 0;
/// A report is this late at most in ordinary times, seconds.
const LATE: u64 = 60;

type Flow = (NodeId, u64, u64);

/// What a page looks at.
struct Search<'a> {
    connection: &'a Connection,
    filter: &'a FlowFilter,
    place: Option<Place>,
    top: u64,
    /// Only windows that ended before this, milliseconds.
    end: u64,
    limit: usize,
}

/// Flows of this page, each with the number of its newest window.
#[derive(Default)]
struct Found {
    rows: Vec<(u64, FlowRow)>,
    /// The page after this begins here.
    next: Option<u64>,
    searched_to: Option<UnixTime>,
}

impl FlowStore {
    /// Flows that match, newest first, the windows of one flow added up and with what the other end says.
    pub fn list(
        &self,
        filter: &FlowFilter,
        place: Option<Place>,
        now: UnixTime,
    ) -> rusqlite::Result<FlowList> {
        self.list_within(filter, place, now, SCAN)
    }

    fn list_within(
        &self,
        filter: &FlowFilter,
        place: Option<Place>,
        now: UnixTime,
        scan: usize,
    ) -> rusqlite::Result<FlowList> {
        // All looks see the same rows.
        let _one_moment = self.connection.unchecked_transaction()?;
        let newest = "SELECT ifnull(max(id), 0) FROM flow";
        let top = match place {
            Some(place) => place.top,
            None => self.connection.query_row(newest, [], |row| row.get::<_, i64>(0))?.unsigned_abs(),
        };
        let end = filter.until.map_or(u64::MAX, |t| t.0.saturating_add(1).saturating_mul(1000));
        let search = Search { connection: &self.connection, filter, place, top, end, limit: filter.rows() };
        let found = search.find(scan)?;
        let then = filter.then(search.then(now)?);
        let mut rows = Vec::with_capacity(found.rows.len());
        for (id, mut row) in found.rows {
            search.add_windows(id, &mut row)?;
            search.match_ends(&mut row, then)?;
            rows.push(row);
        }
        newest_first(&mut rows);
        let next = found.next.map(|before| Place { list: LIST, top, before }.to_string());
        Ok(FlowList { rows, next, searched_to: found.searched_to, kept_since: self.oldest()? })
    }
}

impl Search<'_> {
    fn find(&self, scan: usize) -> rusqlite::Result<Found> {
        let mut found = Found::default();
        let Some(lowest) = self.lowest()? else { return Ok(found) };
        let before = self.place.map_or(self.top.saturating_add(1), |place| place.before);
        let mut statement = self.connection.prepare_cached(
            "SELECT id, received, row FROM flow WHERE id < ?1 AND id >= ?2 AND last_ms < ?3 ORDER BY id DESC",
        )?;
        let mut rows = statement.query(params![number(before), lowest, number(self.end)])?;
        let mut known: HashSet<Flow> = HashSet::new();
        let (mut looked, mut last) = (0, before);
        while let Some(one) = rows.next()? {
            let id = one.get::<_, i64>(0)?.unsigned_abs();
            if looked == scan {
                found.next = Some(last);
                // Received in this second, or later: all of that was looked at but for this.
                found.searched_to = Some(UnixTime(one.get::<_, i64>(1)?.unsigned_abs().saturating_add(1)));
                return Ok(found);
            }
            (looked, last) = (looked + 1, id);
            let Some(row) = parse(one.get_ref(2)?.as_str()?).filter(|row| self.filter.matches(row)) else {
                continue;
            };
            let flow = (row.reporter, row.boot, row.flow);
            if !known.insert(flow) || self.was_on_a_page_before(&row, before)? {
                continue;
            }
            if found.rows.len() == self.limit {
                found.next = found.rows.last().map(|(id, _)| *id);
                return Ok(found);
            }
            found.rows.push((id, row));
        }
        Ok(found)
    }

    /// Nothing that was received before `since` can have been seen after it.
    fn lowest(&self) -> rusqlite::Result<Option<i64>> {
        let Some(since) = self.filter.since else { return Ok(Some(0)) };
        // By the index of times, not from the oldest row on: that is what the `+` says.
        self.connection
            .prepare_cached("SELECT min(+id) FROM flow WHERE received >= ?1")?
            .query_row([number(since.0)], |row| row.get(0))
    }

    /// A newer window of it matched: then it was told there, with this one.
    fn was_on_a_page_before(&self, row: &FlowRow, before: u64) -> rusqlite::Result<bool> {
        if self.place.is_none() {
            return Ok(false);
        }
        let mut is_told = false;
        self.windows(row, before, self.top, |newer| is_told |= self.filter.matches(&newer))?;
        Ok(is_told)
    }

    /// However far back they lie: a flow is not searched for, its windows are known.
    fn add_windows(&self, id: u64, row: &mut FlowRow) -> rusqlite::Result<()> {
        let newest = row.clone();
        self.windows(&newest, 0, id.saturating_sub(1), |older| {
            if self.filter.matches(&older) {
                row.add(&older);
            }
        })
    }

    /// Windows of a flow in `first..=last`, newest first.
    fn windows(
        &self,
        of: &FlowRow,
        first: u64,
        last: u64,
        each: impl FnMut(FlowRow),
    ) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT row FROM flow WHERE reporter = ?1 AND boot = ?2 AND flow = ?3 AND id >= ?4 AND id <= ?5 ORDER BY id DESC",
        )?;
        let asked = params![
            of.reporter.to_string(),
            of.boot.to_string(),
            of.flow.to_string(),
            number(first),
            number(last)
        ];
        let mut rows = statement.query(asked)?;
        let mut all = Vec::new();
        while let Some(one) = rows.next()? {
            all.extend(parse(one.get_ref(0)?.as_str()?));
        }
        all.into_iter().for_each(each);
        Ok(())
    }

    /// What the other end says. Where records of either may be missing, nobody is accused of anything.
    fn match_ends(&self, row: &mut FlowRow, then: UnixTime) -> rusqlite::Result<()> {
        let Some(connection) = connection_of(row) else { return Ok(()) };
        let mut statement = self.connection.prepare_cached(
            "SELECT row FROM flow WHERE connection = ?1 AND received >= ?2 AND id <= ?3 AND last_ms < ?4 ORDER BY id",
        )?;
        let since = (row.started_ms / 1000).saturating_sub(LATE);
        let asked = params![connection, number(since), number(self.top), number(self.end)];
        let mut rows = statement.query(asked)?;
        let mut all = Vec::new();
        while let Some(one) = rows.next()? {
            all.extend(parse(one.get_ref(0)?.as_str()?));
        }
        let other = if row.outbound { row.to.node } else { row.from.node };
        let speaks = match other {
            Some(node) => self.spoke_before(&node, since)?,
            None => false,
        };
        matching::complete(std::slice::from_mut(row), all.iter(), None, |_| speaks, then);
        if row.mismatch.is_some() && self.is_patchy(row, since)? {
            row.mismatch = None;
        }
        Ok(())
    }

    /// Whoever has told of nothing yet is not silent about this.
    fn spoke_before(&self, node: &NodeId, at: u64) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM flow WHERE reporter = ?1 AND received < ?2 LIMIT 1")?
            .exists(params![node.to_string(), number(at)])
    }

    fn is_patchy(&self, row: &FlowRow, since: u64) -> rusqlite::Result<bool> {
        let name = |node: Option<NodeId>| node.map(|node| node.to_string()).unwrap_or_default();
        self.connection
            .prepare_cached("SELECT 1 FROM gap WHERE reporter IN (?1, ?2) AND at >= ?3 LIMIT 1")?
            .exists(params![name(row.from.node), name(row.to.node), number(since.saturating_sub(60))])
    }

    /// On a later page, things are as they were on the first.
    fn then(&self, now: UnixTime) -> rusqlite::Result<UnixTime> {
        if self.place.is_none() {
            return Ok(now);
        }
        let newest: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT max(received) FROM flow WHERE id = (SELECT max(id) FROM flow WHERE id <= ?1)",
            )?
            .query_row([number(self.top)], |row| row.get(0))?;
        Ok(newest.map_or(now, |at| UnixTime(at.unsigned_abs()).min(now)))
    }
}

/// A row an older program wrote differently is left out; it decides nothing.
fn parse(text: &str) -> Option<FlowRow> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use warren_wire::flow::FlowEnd;

    use super::super::flows::tests::{append, batch, batch_at, row};
    use super::*;

    const NOW: UnixTime = UnixTime(1000);

    fn store(rows: Vec<FlowRow>) -> (tempfile::TempDir, FlowStore) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = FlowStore::open(&dir.path().join("flows.db")).unwrap();
        append(&mut store, rows);
        (dir, store)
    }

    fn filter(limit: usize) -> FlowFilter {
        FlowFilter { limit, ..FlowFilter::default() }
    }

    #[test]
    fn pages_of_history_together_hold_every_flow_once_also_of_one_busy_second() {
        let (_dir, mut store) = store((0..40).map(|i| row(i % 12, 100)).collect());
        let (mut seen, mut place) = (Vec::new(), None);
        for sequence in 2.. {
            let page = store.list(&filter(5), place, NOW).unwrap();
            seen.extend(page.rows.iter().map(|row| (row.flow, row.bytes_out)));
            let Some(next) = page.next else { break };
            place = Some(next.parse().unwrap());
            // What comes meanwhile belongs to no page of this list.
            store.append(&[batch(sequence, vec![row(0, 101), row(3, 101), row(77, 101)])], &mut 10).unwrap();
        }
        seen.sort_unstable();
        let expected: Vec<(u64, u64)> =
            (0..12).map(|flow| (flow, if flow < 4 { 400 } else { 300 })).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_search_that_is_bounded_says_how_far_it_came_and_goes_on_from_there() {
        let mut rows: Vec<FlowRow> = (0..100).map(|i| row(i, 100 + i)).collect();
        rows[3].grant = Some("rare".into());
        let (_dir, store) = store(rows);
        let rare = FlowFilter { grant: Some("rare".into()), ..filter(1) };
        let (mut place, mut pages, mut found) = (None, 0, Vec::new());
        loop {
            let page = store.list_within(&rare, place, NOW, 30).unwrap();
            (pages, found) = (pages + 1, [found, page.rows].concat());
            assert_eq!(page.searched_to.is_some(), page.next.is_some(), "what was not searched is said");
            if pages == 1 {
                assert_eq!((page.searched_to, page.kept_since), (Some(UnixTime(170)), Some(UnixTime(100))));
            }
            let Some(next) = page.next else { break };
            place = Some(next.parse().unwrap());
        }
        assert_eq!((found.iter().map(|row| row.flow).collect::<Vec<_>>(), pages), (vec![3], 4));
    }

    /// Of one flow history says what the live list says: every field, also those that the last window does not know.
    #[test]
    fn history_adds_the_windows_of_a_flow_up_as_the_live_list_does() {
        let first = FlowRow { first: true, rtt_us: Some(300), retransmissions: Some(2), ..row(1, 10) };
        let last = FlowRow { retransmissions: Some(3), rtt_us: None, first: false, ..row(1, 12) };
        let mut live = last.clone();
        live.add(&first);
        let (_dir, store) = store(vec![first, row(2, 11), last]);
        let found = store.list(&filter(0), None, UnixTime(13)).unwrap().rows;
        assert_eq!(found.iter().find(|row| row.flow == 1), Some(&live));
        assert_eq!((live.first, live.rtt_us, live.retransmissions), (true, Some(300), Some(5)));
    }

    /// The same flow as its other end tells it.
    fn other_end(of: &FlowRow, bytes_out: u64) -> FlowRow {
        FlowRow { reporter: NodeId([1; 16]), outbound: false, boot: 9, bytes_out, ..of.clone() }
    }

    fn told() -> FlowRow {
        let mut row = FlowRow { first: true, end: FlowEnd::Closed, ..row(1, 500) };
        (row.from.node, row.to.node) = (Some(NodeId([2; 16])), Some(NodeId([1; 16])));
        row
    }

    #[test]
    fn both_ends_of_a_flow_find_each_other_in_history_and_what_cannot_be_is_said() {
        let row = told();
        for (bytes, is_wrong) in [(row.bytes_out, false), (row.bytes_out + 1, true)] {
            let (_dir, store) = store(vec![row.clone(), other_end(&row, bytes)]);
            let found = store.list(&filter(0), None, NOW).unwrap().rows;
            assert_eq!(found.len(), 2);
            assert!(
                found.iter().all(|row| row.other.is_some() && row.mismatch.is_some() == is_wrong),
                "{found:?}"
            );
        }
    }

    #[test]
    fn nobody_is_accused_of_what_was_left_out_of_history() {
        let (row, early) = (told(), FlowRow { reporter: NodeId([1; 16]), ..row(8, 10) });
        let silent = |store: &FlowStore| store.list(&filter(1), None, NOW).unwrap().rows[0].mismatch.clone();
        let (_dir, store_) = store(vec![row.clone()]);
        assert_eq!(silent(&store_), None, "who has never spoken is not silent");
        let (_dir, mut store) = store(vec![early, row.clone()]);
        assert!(silent(&store).is_some_and(|why| why.contains("has not reported it")));
        let late = batch_at(NodeId([1; 16]), UnixTime(500), vec![other_end(&row, 1)]);
        assert_eq!(store.append(&[late], &mut 0).unwrap(), 1, "there was no room for it");
        assert_eq!(silent(&store), None);
    }
}
