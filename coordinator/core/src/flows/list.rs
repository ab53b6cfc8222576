//! A list of flows, page by page: each flow once, its windows added up, however many more come meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::id::NodeId;

use super::ring::Ring;
use super::{FlowFilter, FlowRow};
use crate::matching::{self, Silent};

/// The answer of `flow list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowList {
    /// One row a flow, its windows added up. Pages go back in the order in which the coordinator heard of flows; on one
    /// page what was seen last comes first.
    pub rows: Vec<FlowRow>,
    /// Ask for `before` this to go on; none: that was all.
    pub next: Option<String>,
    /// The search is not at its end, and `rows` not full: what was received before this has not been looked at yet. None:
    /// everything was, or `rows` are full.
    pub searched_to: Option<UnixTime>,
    /// When the oldest record that is kept was received; none: there is none.
    pub kept_since: Option<UnixTime>,
}

/// A place in a list. Only records up to `top` belong to it, so what comes meanwhile moves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which list: when the coordinator started, or 0: the history.
    pub list: u64,
    pub top: u64,
    pub before: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the `next` of a page before")]
pub struct NoPlace;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.list, self.top, self.before)
    }
}

impl FromStr for Place {
    type Err = NoPlace;
    fn from_str(text: &str) -> Result<Place, NoPlace> {
        // Digits alone: a number may be written in one way only.
        let number = |text: &str| {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten().ok_or(NoPlace)
        };
        match text.split('.').collect::<Vec<_>>()[..] {
            [list, top, before] => {
                Ok(Place { list: number(list)?, top: number(top)?, before: number(before)? })
            }
            _ => Err(NoPlace),
        }
    }
}

/// The newest records as they were at one moment: looked through beside who takes more.
#[derive(Clone, Debug, Default)]
pub struct FlowView {
    pub(super) rows: Ring,
    pub(super) newest: u64,
    /// Nodes that report at all, and how they have reported of late; none: never yet.
    pub(super) speakers: BTreeMap<NodeId, Option<Silent>>,
    /// When the coordinator was.
    pub(super) started: UnixTime,
}

impl FlowView {
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// One page, each row with what its other end says. `list`: how this list is called in [`Place`].
    pub fn list(&self, filter: &FlowFilter, list: u64, place: Option<Place>, now: UnixTime) -> FlowList {
        let top = place.map_or(self.newest, |place| place.top);
        let before = place.map_or(u64::MAX, |place| place.before);
        let mut places: BTreeMap<(NodeId, u64, u64), Option<usize>> = BTreeMap::new();
        let (mut rows, mut last, mut is_more): (Vec<FlowRow>, u64, bool) = (Vec::new(), before, false);
        for row in self.rows.iter().rev().filter(|row| row.cursor <= top && filter.matches(row)) {
            let key = (row.reporter, row.boot, row.flow);
            match places.get(&key) {
                Some(Some(place)) => rows.get_mut(*place).into_iter().for_each(|newer| newer.add(row)),
                // On a page before.
                Some(None) => {}
                None if row.cursor >= before => drop(places.insert(key, None)),
                None if rows.len() < filter.rows() => {
                    places.insert(key, Some(rows.len()));
                    (last, _) = (row.cursor, rows.push(row.clone()));
                }
                None => is_more = true,
            }
        }
        let kept = self.rows.iter().take_while(|row| row.cursor <= top);
        let then = place.and_then(|_| kept.last()).map_or(now, |row| row.received.min(now));
        let seen =
            self.rows.iter().filter(|row| filter.until.is_none_or(|until| row.last_ms / 1000 <= until.0));
        // What came before the oldest that is kept is not known any more.
        let forgotten = self.rows.iter().next().filter(|row| row.cursor > 1).map(|row| row.received);
        let speaks = |node: &NodeId| self.speakers.contains_key(node);
        matching::complete(&mut rows, seen, forgotten, speaks, filter.then(then));
        matching::excuse(&mut rows, self.started, |node| self.speakers.get(node).copied().flatten());
        newest_first(&mut rows);
        FlowList {
            rows,
            next: is_more.then(|| Place { list, top, before: last }.to_string()),
            searched_to: None,
            kept_since: self.rows.iter().next().map(|row| row.received),
        }
    }
}

/// Reports of several nodes arrive interleaved: what counts is when a flow was last alive.
pub fn newest_first(rows: &mut [FlowRow]) {
    rows.sort_by_key(|row| std::cmp::Reverse((row.last_ms, row.cursor)));
}

#[cfg(test)]
mod tests {
    use super::super::specimen::row;
    use super::*;

    fn view(rows: impl IntoIterator<Item = FlowRow>) -> FlowView {
        let mut view = FlowView::default();
        for row in rows {
            view.newest += 1;
            view.rows.push(FlowRow { cursor: view.newest, ..row });
        }
        view
    }

    fn pages(
        view: &mut FlowView,
        filter: &FlowFilter,
        between: impl Fn(&mut FlowView),
    ) -> Vec<Vec<(u64, u64)>> {
        let (mut pages, mut place) = (Vec::new(), None);
        loop {
            let page = view.list(filter, 7, place, UnixTime(1000));
            pages.push(page.rows.iter().map(|row| (row.flow, row.bytes_out)).collect());
            let Some(next) = page.next else { return pages };
            place = Some(next.parse().expect("a place"));
            between(view);
        }
    }

    /// Also within one second, of flows that go on, and of reports that come late.
    #[test]
    fn pages_together_hold_every_flow_once_with_all_its_windows() {
        let windows = (0..40).map(|i| row(i % 12, 100 - i % 3));
        let mut view = view(windows);
        let filter = FlowFilter { limit: 5, ..FlowFilter::default() };
        let found = pages(&mut view, &filter, |view| {
            // What comes between two pages belongs to neither, also of flows that are still to be told.
            for flow in [0, 3, 11, 99] {
                view.newest += 1;
                view.rows.push(FlowRow { cursor: view.newest, ..row(flow, 200) });
            }
        });
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 2]);
        let mut all: Vec<(u64, u64)> = found.into_iter().flatten().collect();
        all.sort_unstable();
        let expected: Vec<(u64, u64)> =
            (0..12).map(|flow| (flow, if flow < 4 { 400 } else { 300 })).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_page_that_is_full_to_the_row_and_the_last_says_that_it_is_the_last() {
        let mut view = view((0..10).map(|flow| row(flow, 10)));
        let filter = FlowFilter { limit: 5, ..FlowFilter::default() };
        assert_eq!(pages(&mut view, &filter, |_| {}).len(), 2);
        assert_eq!(view.list(&FlowFilter::default(), 7, None, UnixTime(20)).kept_since, Some(UnixTime(10)));
    }

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is_one() {
        let place = Place { list: 3, top: u64::MAX, before: 0 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in
            ["", "1", "1.2", "1.2.", "1.2.3.4", "a.b.c", "+1.2.3", "-1.2.3", "1.2.99999999999999999999"]
        {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
