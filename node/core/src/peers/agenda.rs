//! When which lane wants its timers run.
//!
//! A lane without a session is not in here, and one with a session is looked at when its time has come: ten thousand
//! silent peers cost nothing, and ten thousand sessions cost what their timers do. A lane asks for a turn under its own
//! lock whenever its deadline comes to lie before the turn it has; the one that asks is never looked for.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use parking_lot::Mutex;

use crate::clock::Mono;

/// The lane with this index, at that moment. In order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    pub at: Mono,
    pub index: u32,
}

/// Turns of the lanes of one node. A lane that asked twice has two; only the earlier is the one it waits for.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Asked for since the last look: workers must not wait for one who looks.
    asked: Mutex<Vec<Turn>>,
    turns: Mutex<BinaryHeap<Reverse<Turn>>>,
}

impl Agenda {
    pub fn ask(&self, turn: Turn) {
        self.asked.lock().push(turn);
    }

    /// Takes out every turn that has come, the earliest first.
    pub fn take_due(&self, now: Mono) -> Vec<Turn> {
        let asked = std::mem::take(&mut *self.asked.lock());
        let mut turns = self.turns.lock();
        turns.extend(asked.into_iter().map(Reverse));
        let mut due = Vec::new();
        while turns.peek().is_some_and(|Reverse(turn)| turn.at <= now) {
            due.extend(turns.pop().map(|Reverse(turn)| turn));
        }
        due
    }

    /// The next turn that [`Agenda::take_due`] will give, as far as it was asked for before the last call.
    pub fn next(&self) -> Option<Mono> {
        self.turns.lock().peek().map(|Reverse(turn)| turn.at)
    }

    /// All turns that are to come.
    pub fn turns(&self) -> BTreeSet<Turn> {
        let asked = self.asked.lock();
        let turns = self.turns.lock();
        asked.iter().copied().chain(turns.iter().map(|Reverse(turn)| *turn)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_order_of_time_and_not_before_it() {
        let agenda = Agenda::default();
        let turn = |ms, index| Turn { at: Mono::from_millis(ms), index };
        [turn(30, 1), turn(10, 2), turn(20, 3), turn(10, 1)].into_iter().for_each(|turn| agenda.ask(turn));
        assert_eq!(agenda.take_due(Mono::from_millis(9)), []);
        assert_eq!(agenda.next(), Some(Mono::from_millis(10)));
        assert_eq!(agenda.take_due(Mono::from_millis(20)), [turn(10, 1), turn(10, 2), turn(20, 3)]);
        assert_eq!(agenda.turns(), [turn(30, 1)].into());
    }
}
