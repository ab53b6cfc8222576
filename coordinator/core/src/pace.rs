//! What is only added is told a node when it has enforced what it was told before: of a hundred hosts that start at once, each
//! hears of the others in a few large steps instead of hundreds of small ones.
//!
//! What takes something away never waits ([`Coordinator::tell`](crate::Coordinator)), and takes along whatever was waiting. A node that does not answer
//! is told all the same after [`PATIENCE`].

use std::collections::{BTreeMap, BTreeSet};

use warren_config::time::UnixTime;
use warren_wire::id::NodeId;

/// Seconds a node has to enforce one step before it is told the next.
pub const PATIENCE: u64 = 2;

#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Told, and not said to be enforced; since when.
    under_way: BTreeMap<NodeId, UnixTime>,
    /// Something more is true for them.
    waiting: BTreeSet<NodeId>,
    /// When somebody has waited for long enough.
    due: Option<UnixTime>,
}

impl Pace {
    /// May it be told now? If not, it waits.
    pub fn may_tell(&mut self, node: NodeId, now: UnixTime) -> bool {
        let Some(end) = self.under_way.get(&node).map(|since| since.plus(PATIENCE)) else { return true };
        if end <= now {
            return true;
        }
        self.waiting.insert(node);
        self.due = Some(self.due.map_or(end, |due| due.min(end)));
        false
    }

    /// All that is true now is on its way to the node.
    pub fn told(&mut self, node: NodeId, now: UnixTime) {
        self.waiting.remove(&node);
        self.under_way.insert(node, now);
    }

    /// The node has nothing more to enforce. True if something waits for it.
    pub fn done(&mut self, node: &NodeId) -> bool {
        self.under_way.remove(node);
        self.waiting.remove(node)
    }

    /// Those who have been waited for long enough: they are to be told now.
    pub fn overdue(&mut self, now: UnixTime) -> BTreeSet<NodeId> {
        if self.due.is_none_or(|due| now < due) {
            return BTreeSet::new();
        }
        let end = |node: &NodeId| self.under_way.get(node).map_or(now, |since| since.plus(PATIENCE));
        let overdue: BTreeSet<NodeId> =
            self.waiting.iter().filter(|node| end(node) <= now).copied().collect();
        self.due = self.waiting.difference(&overdue).map(end).min();
        self.waiting.retain(|node| !overdue.contains(node));
        overdue
    }

    pub fn next_due(&self) -> Option<UnixTime> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 16]);
    const B: NodeId = NodeId([2; 16]);

    #[test]
    fn a_second_step_waits_for_the_first_to_be_enforced() {
        let mut pace = Pace::default();
        assert!(pace.may_tell(A, UnixTime(10)));
        pace.told(A, UnixTime(10));
        assert!(!pace.may_tell(A, UnixTime(10)));
        assert!(pace.may_tell(B, UnixTime(10)), "others do not wait for it");
        assert!(pace.done(&A), "and is told then");
        assert!(pace.may_tell(A, UnixTime(10)));
        assert!(!pace.done(&A), "nothing waits any more");
    }

    #[test]
    fn who_does_not_answer_is_told_after_a_while() {
        let mut pace = Pace::default();
        pace.told(A, UnixTime(10));
        pace.told(B, UnixTime(11));
        assert!(!pace.may_tell(A, UnixTime(11)) && !pace.may_tell(B, UnixTime(11)));
        assert_eq!(pace.next_due(), Some(UnixTime(10 + PATIENCE)));
        assert!(pace.overdue(UnixTime(9 + PATIENCE)).is_empty());
        assert_eq!(pace.overdue(UnixTime(10 + PATIENCE)), BTreeSet::from([A]));
        assert_eq!(pace.next_due(), Some(UnixTime(11 + PATIENCE)));
        assert_eq!(pace.overdue(UnixTime(11 + PATIENCE)), BTreeSet::from([B]));
        assert_eq!(pace.next_due(), None);
    }

    #[test]
    fn what_cannot_wait_takes_along_what_waited() {
        let mut pace = Pace::default();
        pace.told(A, UnixTime(10));
        assert!(!pace.may_tell(A, UnixTime(10)));
        pace.told(A, UnixTime(11));
        assert!(pace.overdue(UnixTime(100)).is_empty());
        assert!(!pace.done(&A));
    }
}
