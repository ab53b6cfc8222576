//! Who is still to be told the newest roll ([`warren_wire::roll`]): everybody, but not all in one moment, because each view is
//! signed and there may be ten thousand. Whom a revocation or a tag change touches is told at once and not from here.

use std::collections::BTreeSet;
use std::ops::Bound;

use warren_config::time::UnixTime;
use warren_wire::id::NodeId;

/// Nodes told in one second, at least; and the seconds it takes at most, for any number of nodes.
pub const A_SECOND: usize = 64;
pub const SECONDS: usize = 20;

#[derive(Clone, Debug, Default)]
pub struct Rollcall {
    waiting: BTreeSet<NodeId>,
    /// Where the last turn ended: the next goes on from there, round and round, so that changes in a row keep nobody waiting.
    last: Option<NodeId>,
    share: usize,
    due: Option<UnixTime>,
}

impl Rollcall {
    /// The roll has changed.
    pub fn begin(&mut self, nodes: BTreeSet<NodeId>, now: UnixTime) {
        self.waiting.extend(nodes);
        self.share = self.waiting.len().div_ceil(SECONDS).max(A_SECOND).max(self.share);
        self.due = Some(self.due.unwrap_or(now));
    }

    /// Those whose turn it is.
    pub fn take(&mut self, now: UnixTime) -> BTreeSet<NodeId> {
        if self.due.is_none_or(|due| now < due) {
            return BTreeSet::new();
        }
        let from = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let ahead = self.waiting.range((from, Bound::Unbounded));
        let behind = self.waiting.iter().take_while(|node| self.last.is_some_and(|last| **node <= last));
        let turn: Vec<NodeId> = ahead.chain(behind).take(self.share).copied().collect();
        for node in &turn {
            self.waiting.remove(node);
        }
        self.last = turn.last().copied().or(self.last);
        (self.due, self.share) = match self.waiting.is_empty() {
            true => (None, 0),
            false => (Some(now.plus(1)), self.share),
        };
        turn.into_iter().collect()
    }

    pub fn next_due(&self) -> Option<UnixTime> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u32) -> BTreeSet<NodeId> {
        let id = |n: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            NodeId(id)
        };
        (0..count).map(id).collect()
    }

    #[test]
    fn everybody_is_called_once_in_twenty_seconds_however_many_there_are_and_few_at_once() {
        for count in [0, 1, A_SECOND as u32, 200, 10_001] {
            let (mut call, mut told, mut second) = (Rollcall::default(), BTreeSet::new(), 100);
            call.begin(nodes(count), UnixTime(second));
            while call.next_due().is_some() {
                let turn = call.take(UnixTime(second));
                assert!(turn.len() <= A_SECOND.max(count as usize / SECONDS + 1));
                assert!(turn.iter().all(|node| told.insert(*node)));
                assert!(call.take(UnixTime(second)).is_empty(), "once a second");
                second += 1;
            }
            assert_eq!(told, nodes(count));
            assert!(second - 100 <= SECONDS as u64, "{count} took {}", second - 100);
        }
    }

    #[test]
    fn a_change_every_second_keeps_nobody_waiting_for_longer_than_one_call() {
        for count in [1, 100, 1000, 10_001] {
            let (mut call, all) = (Rollcall::default(), nodes(count));
            let mut last: std::collections::BTreeMap<NodeId, u64> = all.iter().map(|n| (*n, 0)).collect();
            for second in 0..120 {
                call.begin(all.clone(), UnixTime(second));
                let turn = call.take(UnixTime(second));
                assert!(turn.len() <= A_SECOND.max(count as usize / SECONDS + 1), "few at once");
                for node in turn {
                    let before = last.insert(node, second).unwrap_or_default();
                    assert!(second - before <= SECONDS as u64 + 1, "{count}: told {before} and {second}");
                }
                assert!(last.values().all(|told| second - told <= SECONDS as u64 + 1), "{count} at {second}");
            }
        }
    }
}
