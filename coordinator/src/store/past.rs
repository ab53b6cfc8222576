//! A page of flow history: searched backwards from where the page before ended, at most so far at once, and it says how far.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::ops::{ControlFlow, RangeInclusive};

use rusqlite::{Connection, Row, params};
use warren_config::time::UnixTime;
use warren_coordinator_core::flows::{FlowFilter, FlowList, FlowRow, Place, newest_first};
use warren_coordinator_core::matching;
use warren_wire::flow::FlowEnd;
use warren_wire::id::NodeId;

use super::flows::{FlowStore, SCAN, connection_of, number};

/// How the history is called in a [`Place`].
pub const LIST: u64 = 0;
/// Windows of both ends of a flow lie so far apart at most in ordinary times, seconds.
const LATE: u64 = 60;

/// Windows of one flow.
const NEWEST_FIRST: &str = "SELECT row FROM flow
    WHERE reporter = ?1 AND boot = ?2 AND flow = ?3 AND id >= ?4 AND id <= ?5 ORDER BY id DESC";
const OLDEST_FIRST: &str = "SELECT row FROM flow
    WHERE reporter = ?1 AND boot = ?2 AND flow = ?3 AND id >= ?4 AND id <= ?5 ORDER BY id";
/// Whose windows of one connection lie in a stretch of time. By the index of connections, and not by `id`: that is what the
/// `+` says.
const OF_CONNECTION: &str = "SELECT reporter, boot, flow FROM flow
    WHERE connection = ?1 AND last_ms >= ?2 AND last_ms <= ?3 AND +id <= ?4";

type Flow = (NodeId, u64, u64);

fn flow_of(row: &FlowRow) -> Flow {
    (row.reporter, row.boot, row.flow)
}

/// What may still be read. A caller who has gone waits for nothing more.
struct Reads<'a> {
    left: Cell<usize>,
    is_awaited: &'a dyn Fn() -> bool,
}

impl Reads<'_> {
    fn one(&self) -> bool {
        let left = self.left.get().checked_sub(1).filter(|_| (self.is_awaited)());
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

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

impl Found {
    /// The page ends here: all that was received after this second was looked at, and of this second some.
    fn cut(&mut self, before: u64, received: UnixTime) {
        (self.next, self.searched_to) = (Some(before), Some(received.plus(1)));
    }
}

impl FlowStore {
    /// Flows that match, newest first, the windows of one flow added up and with what the other end says. It ends early
    /// where so much is read that it would take long, and where nobody waits for it.
    pub fn list(
        &self,
        filter: &FlowFilter,
        place: Option<Place>,
        now: UnixTime,
        is_awaited: impl Fn() -> bool,
    ) -> rusqlite::Result<FlowList> {
        self.list_within(filter, place, now, SCAN, &is_awaited)
    }

    fn list_within(
        &self,
        filter: &FlowFilter,
        place: Option<Place>,
        now: UnixTime,
        scan: usize,
        is_awaited: &dyn Fn() -> bool,
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
        // Once to find flows, once to tell of them.
        let reads = || Reads { left: Cell::new(scan), is_awaited };
        let found = search.complete(search.find(&reads())?, filter.then(search.then(now)?), &reads())?;
        let mut rows: Vec<FlowRow> = found.rows.into_iter().map(|(_, row)| row).collect();
        newest_first(&mut rows);
        let next = found.next.map(|before| Place { list: LIST, top, before }.to_string());
        Ok(FlowList { rows, next, searched_to: found.searched_to, kept_since: self.oldest()? })
    }
}

impl Search<'_> {
    fn find(&self, reads: &Reads<'_>) -> rusqlite::Result<Found> {
        let mut found = Found::default();
        let Some(lowest) = self.lowest()? else { return Ok(found) };
        let before = self.place.map_or(self.top.saturating_add(1), |place| place.before);
        let mut statement = self.connection.prepare_cached(
            "SELECT id, received, row FROM flow WHERE id < ?1 AND id >= ?2 AND last_ms < ?3 ORDER BY id DESC",
        )?;
        let mut rows = statement.query(params![number(before), lowest, number(self.end)])?;
        let mut known: HashSet<Flow> = HashSet::new();
        let mut last = before;
        while let Some(one) = rows.next()? {
            let (id, received) = (one.get::<_, i64>(0)?.unsigned_abs(), one.get::<_, i64>(1)?.unsigned_abs());
            if !reads.one() {
                found.cut(last, UnixTime(received));
                return Ok(found);
            }
            let row = parse(one.get_ref(2)?.as_str()?).filter(|row| self.filter.matches(row));
            if let Some(row) = row.filter(|row| known.insert(flow_of(row))) {
                match self.was_on_a_page_before(&row, before, reads)? {
                    Some(true) => {}
                    // Where that alone is too much for a page, a flow told twice is better than one not told.
                    None if last < before => {
                        found.cut(last, row.received);
                        return Ok(found);
                    }
                    _ if found.rows.len() == self.limit => {
                        found.next = found.rows.last().map(|(id, _)| *id);
                        return Ok(found);
                    }
                    _ => found.rows.push((id, row)),
                }
            }
            last = id;
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

    /// A newer window of it matched: then it was told there, with this one. None: that is too much to read.
    fn was_on_a_page_before(
        &self,
        row: &FlowRow,
        before: u64,
        reads: &Reads<'_>,
    ) -> rusqlite::Result<Option<bool>> {
        if self.place.is_none() {
            return Ok(Some(false));
        }
        let mut is_told = false;
        // What is asked for may end long before the flow does: the next newer ones first.
        let is_whole = self.windows(OLDEST_FIRST, flow_of(row), before..=self.top, reads, |newer| {
            is_told |= self.filter.matches(&newer);
            if is_told { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(is_whole.then_some(is_told))
    }

    /// Adds up the windows of each and finds its other end. What is too much for this page is on the next; what is too much
    /// for any is told as far as it was read, and so without its first window.
    fn complete(&self, found: Found, then: UnixTime, reads: &Reads<'_>) -> rusqlite::Result<Found> {
        let mut told = Found { rows: Vec::with_capacity(found.rows.len()), ..found };
        for (id, mut row) in found.rows {
            let is_whole =
                self.add_windows(id, &mut row, reads)? && self.match_ends(&mut row, then, reads)?;
            let last = told.rows.last().map(|(id, _)| *id);
            if !is_whole {
                told.cut(last.unwrap_or(id), row.received);
            }
            if is_whole || last.is_none() {
                told.rows.push((id, row));
            }
            if !is_whole {
                break;
            }
        }
        Ok(told)
    }

    /// However far back they lie: a flow is not searched for, its windows are known.
    fn add_windows(&self, id: u64, row: &mut FlowRow, reads: &Reads<'_>) -> rusqlite::Result<bool> {
        self.windows(NEWEST_FIRST, flow_of(row), 0..=id.saturating_sub(1), reads, |older| {
            if self.filter.matches(&older) {
                row.add(&older);
            }
            ControlFlow::Continue(())
        })
    }

    /// Windows of a flow, one after the other: true if there was no more to read than may be, or `each` wants no more.
    fn windows(
        &self,
        order: &str,
        (reporter, boot, flow): Flow,
        ids: RangeInclusive<u64>,
        reads: &Reads<'_>,
        mut each: impl FnMut(FlowRow) -> ControlFlow<()>,
    ) -> rusqlite::Result<bool> {
        let (first, last) = (number(*ids.start()), number(*ids.end()));
        let mut statement = self.connection.prepare_cached(order)?;
        let mut rows = statement.query(params![
            reporter.to_string(),
            boot.to_string(),
            flow.to_string(),
            first,
            last
        ])?;
        while let Some(one) = rows.next()? {
            if !reads.one() {
                return Ok(false);
            }
            if parse(one.get_ref(0)?.as_str()?).is_some_and(|window| each(window).is_break()) {
                break;
            }
        }
        Ok(true)
    }

    /// What the other end says, if it has said something: here nobody is accused of silence, as what is not kept, or has not
    /// come yet, nobody knows. False: that is too much to read.
    fn match_ends(&self, row: &mut FlowRow, then: UnixTime, reads: &Reads<'_>) -> rusqlite::Result<bool> {
        let Some(near) = self.near(row, around(row), reads)? else { return Ok(false) };
        let mut nearest: Option<(FlowRow, FlowRow)> = None;
        for flow in near.into_iter().filter(|(reporter, ..)| *reporter != row.reporter) {
            let Some(sum) = self.whole(flow, reads)? else { return Ok(false) };
            let Some(other) = sum else { continue };
            let mut told = row.clone();
            matching::complete(std::slice::from_mut(&mut told), [&other].into_iter(), None, |_| false, then);
            let away = |other: &FlowRow| other.started_ms.abs_diff(row.started_ms);
            if told.other.is_some() && nearest.as_ref().is_none_or(|(_, least)| away(&other) < away(least)) {
                nearest = Some((told, other));
            }
        }
        let Some((mut told, other)) = nearest else { return Ok(true) };
        if told.mismatch.is_some() {
            let Some(is_sure) = self.is_sure(&told, &other, reads)? else { return Ok(false) };
            told.mismatch = told.mismatch.filter(|_| is_sure);
        }
        *row = told;
        Ok(true)
    }

    /// Flows of this connection, by either end, in a stretch of time. None: that is too much to read.
    fn near(
        &self,
        row: &FlowRow,
        (since, until): (i64, i64),
        reads: &Reads<'_>,
    ) -> rusqlite::Result<Option<BTreeSet<Flow>>> {
        let mut near = BTreeSet::new();
        let Some(connection) = connection_of(row) else { return Ok(Some(near)) };
        let mut statement = self.connection.prepare_cached(OF_CONNECTION)?;
        let mut rows = statement.query(params![connection, since, until, number(self.top)])?;
        while let Some(one) = rows.next()? {
            if !reads.one() {
                return Ok(None);
            }
            near.extend(named(one)?);
        }
        Ok(Some(near))
    }

    /// All windows of a flow that are asked for. None: that is too much to read.
    fn whole(&self, flow: Flow, reads: &Reads<'_>) -> rusqlite::Result<Option<Option<FlowRow>>> {
        let mut sum: Option<FlowRow> = None;
        let is_whole = self.windows(NEWEST_FIRST, flow, 0..=self.top, reads, |window| {
            match &mut sum {
                _ if window.last_ms >= self.end => {}
                Some(sum) => sum.add(&window),
                None => sum = Some(window),
            }
            ControlFlow::Continue(())
        })?;
        Ok(is_whole.then_some(sum))
    }

    /// Both have told of all of it. A node that was away, or was killed, has told of no end; one that forgot the flow while it
    /// went on tells of it as of two. None: that is too much to read.
    fn is_sure(&self, row: &FlowRow, other: &FlowRow, reads: &Reads<'_>) -> rusqlite::Result<Option<bool>> {
        let have_ended = row.end != FlowEnd::Open && other.end != FlowEnd::Open;
        if !have_ended || self.is_patchy(row)? || self.is_folded(row)? {
            return Ok(Some(false));
        }
        let (a, b) = (around(row), around(other));
        let near = self.near(row, (a.0.min(b.0), a.1.max(b.1)), reads)?;
        Ok(near.map(|near| near.len() == 2))
    }

    fn is_patchy(&self, row: &FlowRow) -> rusqlite::Result<bool> {
        let name = |node: Option<NodeId>| node.map(|node| node.to_string()).unwrap_or_default();
        let since = (row.started_ms / 1000).saturating_sub(LATE);
        self.connection
            .prepare_cached("SELECT 1 FROM gap WHERE reporter IN (?1, ?2) AND at >= ?3 LIMIT 1")?
            .exists(params![name(row.from.node), name(row.to.node), number(since)])
    }

    /// Flows that a node put together have lost the port they came from.
    fn is_folded(&self, row: &FlowRow) -> rusqlite::Result<bool> {
        let mut portless = row.clone();
        portless.from.port = 0;
        let (since, _) = around(row);
        self.connection
            .prepare_cached("SELECT 1 FROM flow WHERE connection = ?1 AND last_ms >= ?2 LIMIT 1")?
            .exists(params![connection_of(&portless), since])
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

/// When windows of its other end may have ended, milliseconds.
fn around(row: &FlowRow) -> (i64, i64) {
    let late = LATE * 1000;
    (number(row.started_ms.saturating_sub(late)), number(row.last_ms.saturating_add(late)))
}

fn named(one: &Row<'_>) -> rusqlite::Result<Option<Flow>> {
    let (reporter, boot) = (one.get_ref(0)?.as_str()?.parse().ok(), one.get_ref(1)?.as_str()?.parse().ok());
    let flow = one.get_ref(2)?.as_str()?.parse().ok();
    Ok(reporter.zip(boot).zip(flow).map(|((reporter, boot), flow)| (reporter, boot, flow)))
}

#[cfg(test)]
mod tests {
    use warren_coordinator_core::flows::Batch;
    use warren_wire::flow::Amount;

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
            let page = store.list(&filter(5), place, NOW, || true).unwrap();
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
        rows[3].from.port = 1; // no other is of this connection
        let (_dir, store) = store(rows);
        let rare = FlowFilter { grant: Some("rare".into()), ..filter(1) };
        let (mut place, mut pages, mut found) = (None, 0, Vec::new());
        loop {
            let page = store.list_within(&rare, place, NOW, 30, &|| true).unwrap();
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
        let found = store.list(&filter(0), None, UnixTime(13), || true).unwrap().rows;
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
            let found = store.list(&filter(0), None, NOW, || true).unwrap().rows;
            assert_eq!(found.len(), 2);
            assert!(
                found.iter().all(|row| row.other.is_some() && row.mismatch.is_some() == is_wrong),
                "{found:?}"
            );
        }
    }

    /// What history says of the newer of two rows.
    fn said(store: &FlowStore) -> (bool, Option<String>) {
        let row = store.list(&filter(1), None, NOW, || true).unwrap().rows.remove(0);
        (row.other.is_some(), row.mismatch)
    }

    /// It was cut off from the coordinator while its peers were not, or was killed, or its records were lost.
    #[test]
    fn nobody_is_accused_of_silence_in_history() {
        let early = FlowRow { reporter: NodeId([1; 16]), ..row(8, 10) };
        let (_dir, store) = store(vec![early, told()]);
        assert_eq!(said(&store), (false, None));
    }

    #[test]
    fn nobody_is_accused_of_what_it_had_no_more_time_to_tell() {
        let row = told();
        let cut_off = FlowRow { end: FlowEnd::Open, ..other_end(&row, row.bytes_out + 1) };
        let (_dir, store) = store(vec![cut_off, row]);
        assert_eq!(said(&store), (true, None), "it has not told of the end");
    }

    /// A node that forgot it (it was restarted, its table was full) began it anew.
    #[test]
    fn nobody_is_accused_of_a_part_of_a_flow() {
        let row = told();
        let began = FlowRow { started_ms: row.started_ms - 90_000, ..other_end(&row, row.bytes_out + 1) };
        let part = FlowRow {
            flow: 7,
            last_ms: row.started_ms - 80_000,
            started_ms: began.started_ms,
            ..row.clone()
        };
        let (_dir, store) = store(vec![part, began, row]);
        assert_eq!(said(&store), (true, None));
    }

    #[test]
    fn nobody_is_accused_where_records_went_missing() {
        let (row, one) = (told(), Amount { records: 1, ..Amount::default() });
        let wrong = other_end(&row, row.bytes_out + 1);
        let gap = |change: fn(&mut Batch, Amount), room: usize| {
            let (_dir, mut store) = store(vec![wrong.clone(), row.clone()]);
            assert!(said(&store).1.is_some_and(|why| why.contains("received")));
            let mut unlike = super::super::flows::tests::row(9, 500);
            unlike.from.port = 1;
            let mut late = batch_at(NodeId([1; 16]), UnixTime(500), vec![unlike]);
            change(&mut late, one);
            store.append(&[late], &mut { room }).unwrap();
            said_of(&store, 1)
        };
        assert!(gap(|_, _| {}, 10).is_some(), "nothing is missing");
        assert_eq!(gap(|_, _| {}, 0), None, "there was no room for it");
        assert_eq!(gap(|late, one| late.entry.lost = one, 10), None);
        assert_eq!(gap(|late, one| late.entry.rejected = one, 10), None);
        assert_eq!(gap(|late, one| late.entry.skipped = one, 10), None);
    }

    fn said_of(store: &FlowStore, flow: u64) -> Option<String> {
        let rows = store.list(&filter(0), None, NOW, || true).unwrap().rows;
        rows.into_iter().find(|row| row.flow == flow).unwrap().mismatch
    }

    /// As it comes after a long absence.
    #[test]
    fn nobody_is_accused_of_what_it_put_together_with_other_flows() {
        let row = told();
        let mut folded = FlowRow { flow: 7, first: false, ..other_end(&row, 1) };
        folded.from.port = 0;
        let (_dir, store) = store(vec![other_end(&row, row.bytes_out + 1), folded, row]);
        assert_eq!(said_of(&store, 1), None);
    }

    /// All of a page, counted.
    fn page(store: &FlowStore, filter: &FlowFilter, place: Option<Place>, scan: usize) -> (FlowList, usize) {
        let reads = Cell::new(0);
        let count = || {
            reads.set(reads.get() + 1);
            true
        };
        let list = store.list_within(filter, place, NOW, scan, &count).unwrap();
        (list, reads.get())
    }

    #[test]
    fn a_million_windows_of_one_flow_are_read_as_far_as_a_page_may_read_and_the_next_page_goes_on() {
        let (long, short) = (|i: u64| FlowRow { first: i == 0, ..row(1, 100 + i) }, row(2, 99));
        let is_first = short.first;
        let (_dir, store) = store([vec![short], (0..900).map(long).collect()].concat());
        let (mut place, mut seen) = (None, Vec::new());
        for _ in 0..30 {
            let (page, reads) = page(&store, &filter(0), place, 50);
            assert!(reads <= 100, "{reads}");
            seen.extend(page.rows.iter().map(|row| (row.flow, row.bytes_out, row.first)));
            assert_eq!(page.searched_to.is_some(), page.next.is_some(), "that it is not all is said");
            let Some(next) = page.next else { break };
            place = Some(next.parse().unwrap());
        }
        assert_eq!(seen, [(1, 5100, false), (2, 100, is_first)]);
    }

    #[test]
    fn flows_that_are_too_much_for_one_page_are_whole_on_the_next() {
        let rows = (0..40).flat_map(|_| (0..5).map(|flow| row(flow, 100 + flow)));
        let (_dir, store) = store(rows.collect());
        let (mut place, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let (page, reads) = page(&store, &filter(0), place, 100);
            assert!(reads <= 200, "{reads}");
            (pages, seen) = (pages + 1, [seen, page.rows].concat());
            let Some(next) = page.next else { break };
            place = Some(next.parse().unwrap());
        }
        seen.sort_by_key(|row| row.flow);
        let seen: Vec<_> = seen.iter().map(|row| (row.flow, row.bytes_out)).collect();
        assert_eq!(seen, (0..5).map(|flow| (flow, 4000)).collect::<Vec<_>>());
        assert!(pages > 1);
    }

    /// As NTP has it, whose clients ask from the port they are asked at.
    #[test]
    fn of_a_connection_that_is_always_the_same_only_what_lies_near_a_flow_is_read_for_it() {
        let rows = (0..300).flat_map(|i| {
            let row = FlowRow { flow: i, received: UnixTime(100 * i), ..told() };
            let row = FlowRow { started_ms: 100_000 * i, last_ms: 100_000 * i + 1, ..row };
            [other_end(&row, row.bytes_out), row]
        });
        let (_dir, store) = store(rows.collect());
        let (list, reads) = page(&store, &filter(0), None, SCAN);
        assert!(list.rows.len() == 600 && list.rows.iter().all(|row| row.other.is_some()));
        assert!(reads < 10 * 600, "{reads}");
        let (index, explain) =
            ("flow_ends_by_time (connection=? AND last_ms>?", format!("EXPLAIN QUERY PLAN {OF_CONNECTION}"));
        let plan = store.connection.query_row(&explain, [1, 1, 1, 1], |row| row.get::<_, String>(3)).unwrap();
        assert!(plan.contains(index), "{plan}");
    }

    #[test]
    fn a_page_that_nobody_waits_for_reads_nothing_more() {
        let (_dir, store) = store((0..500).map(|i| row(i % 7, 100 + i)).collect());
        let asked = Cell::new(0);
        let goes = || {
            asked.set(asked.get() + 1);
            asked.get() <= 20
        };
        store.list(&filter(0), None, NOW, goes).unwrap();
        assert!(asked.get() < 40, "{}", asked.get());
    }
}
