//! Which edges a map shows when there are more than it may hold, and what it leaves out. A node that lies can make edges without
//! end, so nothing here grows with their number.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use warren_config::time::UnixTime;
use warren_coordinator_core::edges::{EdgeKey, Quality, Sides, Sum};
use warren_coordinator_core::map::MapExtent;

use super::edges::{EdgeFilter, EdgeStore, EdgeTotal, MATCH, bounds, sum_of, table};

impl EdgeStore {
    /// At most `limit` edges of `[from, until)`, and how much there is besides. Of too many, half of the room belongs to those
    /// on which something passed, most bytes first, and half to those on which nothing did, most attempts first; what one half
    /// does not need the other has.
    pub fn busiest(
        &self,
        resolution: u64,
        from: UnixTime,
        until: UnixTime,
        filter: &EdgeFilter,
        limit: usize,
    ) -> rusqlite::Result<(Vec<EdgeTotal>, MapExtent)> {
        // Both looks see the same rows.
        let _one_moment = self.connection.unchecked_transaction()?;
        let edges = self.totals(resolution, from, until, filter, limit.saturating_add(1))?;
        if edges.len() <= limit {
            let extent = extent(edges.len(), edges.len(), limit, Sum::default());
            return Ok((edges, extent));
        }
        drop(edges);
        let ranking = self.rank(resolution, from, until, filter, limit)?;
        let (total, all) = (ranking.total, ranking.sum);
        let kept = ranking.kept();
        let these = |edge: i64, _: &EdgeKey| kept.contains(&edge);
        let edges = self.totals_of(resolution, from, until, filter, usize::MAX, these)?;
        let mut shown = Sum::default();
        edges.iter().for_each(|edge| shown.add(&edge.sides.shown()));
        let extent = extent(edges.len(), total, limit, all.without(&shown));
        Ok((edges, extent))
    }

    fn rank(
        &self,
        resolution: u64,
        from: UnixTime,
        until: UnixTime,
        filter: &EdgeFilter,
        limit: usize,
    ) -> rusqlite::Result<Ranking> {
        let table = table(resolution);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT s.edge, e.verdict, s.opener, sum(s.flows), sum(s.tries), sum(s.po), sum(s.bo), sum(s.pb), sum(s.bb)
             FROM {table} s JOIN edge e ON e.id = s.edge
             WHERE s.at >= ?1 AND s.at < ?2 AND {MATCH} GROUP BY s.edge, s.opener ORDER BY s.edge"
        ))?;
        let mut rows = statement.query(bounds(from, until, filter))?;
        let mut ranking = Ranking { limit, ..Ranking::default() };
        let mut under_way: Option<(i64, bool, Sides)> = None;
        while let Some(row) = rows.next()? {
            let edge: i64 = row.get(0)?;
            if under_way.as_ref().is_none_or(|(known, ..)| *known != edge) {
                let nothing_passed = matches!(row.get_ref(1)?.as_str()?, "deny" | "would-allow");
                let done = under_way.replace((edge, nothing_passed, Sides::default()));
                done.into_iter().for_each(|done| ranking.add(done));
            }
            if let Some((_, _, sides)) = &mut under_way {
                sides.add(row.get::<_, i64>(2)? != 0, &sum_of(row, 3)?, &Quality::default());
            }
        }
        under_way.into_iter().for_each(|done| ranking.add(done));
        Ok(ranking)
    }
}

fn extent(shown: usize, total: usize, limit: usize, left_out: Sum) -> MapExtent {
    MapExtent { shown: shown as u64, total: total as u64, limit: limit as u64, left_out }
}

/// The lightest comes out first; of equals the youngest.
type Heap = BinaryHeap<Reverse<(u64, Reverse<i64>)>>;

/// The heaviest edges of each kind, and the sum over all.
#[derive(Default)]
struct Ranking {
    limit: usize,
    passed: Heap,
    refused: Heap,
    total: usize,
    sum: Sum,
}

impl Ranking {
    fn add(&mut self, (edge, nothing_passed, sides): (i64, bool, Sides)) {
        let sum = sides.shown();
        self.total += 1;
        self.sum.add(&sum);
        let (heap, weight) = match nothing_passed {
            true => (&mut self.refused, sum.tries.max(sum.flows)),
            false => (&mut self.passed, sum.bytes()),
        };
        heap.push(Reverse((weight, Reverse(edge))));
        if heap.len() > self.limit {
            heap.pop();
        }
    }

    fn kept(self) -> HashSet<i64> {
        let spare = self.limit.saturating_sub(self.passed.len());
        let refused = self.refused.len().min(spare.max(self.limit / 2));
        let heaviest = |heap: Heap, room: usize| heap.into_sorted_vec().into_iter().take(room);
        heaviest(self.refused, refused)
            .chain(heaviest(self.passed, self.limit - refused))
            .map(|Reverse((_, Reverse(edge)))| edge)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use warren_coordinator_core::edges::{EdgeEnd, EdgeSecond};
    use warren_wire::flow::FlowVerdict;
    use warren_wire::id::NodeId;

    use super::*;

    /// Edge `n`: `n` kB, or `n` attempts.
    fn second(n: u8, verdict: FlowVerdict, opener: bool) -> EdgeSecond {
        let refused = verdict == FlowVerdict::Deny;
        let sum = match refused {
            true => Sum { tries: n.into(), ..Sum::default() },
            false => Sum { flows: 1, bytes_out: 1000 * u64::from(n), packets_out: 1, ..Sum::default() },
        };
        EdgeSecond {
            key: EdgeKey {
                from: EdgeEnd::Address(IpAddr::from([100, 64, 1, n])),
                to: EdgeEnd::Node(NodeId([2; 16])),
                service: None,
                protocol: 6,
                port: 443,
                verdict,
                grant: None,
            },
            at: UnixTime(10),
            opener,
            sum,
            quality: Quality::default(),
            generation: 1,
            first_ms: 10_000,
            last_ms: 10_001,
        }
    }

    fn store(passed: u8, refused: u8) -> (tempfile::TempDir, EdgeStore) {
        let dir = tempfile::tempdir().expect("directory");
        let mut store = EdgeStore::open(&dir.path().join("edges.db")).expect("store");
        // The other end repeats what the opener says: an edge counts once.
        let sides = |n, verdict| [second(n, verdict, true), second(n, verdict, false)];
        let all: Vec<EdgeSecond> = (1..=passed)
            .flat_map(|n| sides(n, FlowVerdict::Allow))
            .chain((1..=refused).flat_map(|n| sides(n, FlowVerdict::Deny)))
            .collect();
        store.add(&all, &[]).expect("add");
        (dir, store)
    }

    /// Kilobytes of those that passed, attempts of those that did not, and the extent.
    fn shown(store: &EdgeStore, limit: usize) -> (Vec<u64>, Vec<u64>, MapExtent) {
        let all = EdgeFilter::default();
        let (edges, extent) = store.busiest(1, UnixTime(0), UnixTime(100), &all, limit).expect("read");
        let sums: Vec<Sum> = edges.iter().map(|edge| edge.sides.shown()).collect();
        let passed = sums.iter().filter(|sum| sum.tries == 0).map(|sum| sum.bytes_out / 1000).collect();
        (passed, sums.iter().filter(|sum| sum.tries > 0).map(|sum| sum.tries).collect(), extent)
    }

    #[test]
    fn what_fits_is_whole_and_nothing_is_left_out() {
        let (_dir, store) = store(4, 3);
        for limit in [7, 8, usize::MAX] {
            let (passed, refused, extent) = shown(&store, limit);
            assert_eq!((passed.len(), refused.len()), (4, 3));
            assert_eq!((extent.shown, extent.total, extent.left_out), (7, 7, Sum::default()), "{limit}");
        }
    }

    #[test]
    fn of_too_many_the_heaviest_of_both_kinds_are_shown_and_the_rest_is_added_up() {
        let (_dir, store) = store(6, 5);
        let (passed, refused, extent) = shown(&store, 4);
        assert_eq!((passed, refused), (vec![5, 6], vec![4, 5]));
        assert_eq!((extent.shown, extent.total, extent.limit), (4, 11, 4));
        let left_out = Sum { flows: 4, tries: 6, packets_out: 4, bytes_out: 10_000, ..Sum::default() };
        assert_eq!(extent.left_out, left_out, "1 to 4 kB, 1 to 3 attempts");
    }

    #[test]
    fn room_that_one_kind_does_not_need_the_other_has() {
        let (_dir, store) = store(9, 1);
        let (passed, refused, _) = shown(&store, 6);
        assert_eq!((passed, refused), (vec![5, 6, 7, 8, 9], vec![1]));
        let (_dir, store) = self::store(1, 9);
        let (passed, refused, _) = shown(&store, 6);
        assert_eq!((passed, refused), (vec![1], vec![5, 6, 7, 8, 9]));
        let (passed, refused, extent) = shown(&store, 0);
        assert_eq!((passed.len(), refused.len(), extent.total), (0, 0, 10));
    }
}
