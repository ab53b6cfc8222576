//! Who is still to be told the newest roll ([`warren_wire::roll`]): everybody, but not all in one moment, because each view is
//! signed and there may be ten thousand. Whom a revocation or a tag change touches is told at once and not from here.

use std::collections::BTreeSet;

use warren_config::time::UnixTime;
use warren_wire::id::NodeId;

/// Nodes told in one second, at least; and the seconds it takes at most, for any number of nodes.
pub const A_SECOND: usize = 64;
pub const SECONDS: usize = 20;

#[derive(Clone, Debug, Default)]
pub struct Rollcall {
    waiting: BTreeSet<NodeId>,
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
        let rest = self.waiting.iter().nth(self.share).copied();
        let later = rest.map(|first| self.waiting.split_off(&first)).unwrap_or_default();
        let turn = std::mem::replace(&mut self.waiting, later);
        (self.due, self.share) = match self.waiting.is_empty() {
            true => (None, 0),
            false => (Some(now.plus(1)), self.share),
        };
        turn
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
    fn a_change_on_the_way_begins_with_who_was_told_already_and_delays_nobody() {
        let mut call = Rollcall::default();
        call.begin(nodes(100), UnixTime(10));
        let first = call.take(UnixTime(10));
        call.begin(nodes(100), UnixTime(10));
        assert!(call.take(UnixTime(10)).is_empty());
        let mut told: BTreeSet<NodeId> = call.take(UnixTime(11));
        told.extend(call.take(UnixTime(12)));
        assert!(first.is_subset(&told) && told == nodes(100));
    }
}
