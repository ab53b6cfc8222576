//! Questions that wait while more come than can be answered at once: one of each asker in turn.
//!
//! Who floods makes his own row long and nobody else's. Room is bounded; when there is none, the longest row gives way.

use std::collections::VecDeque;
use std::net::SocketAddr;

use hashbrown::HashMap;

#[derive(Debug)]
pub struct Crowd<T> {
    rows: HashMap<SocketAddr, VecDeque<T>>,
    /// Askers with somebody in their row, in the order of their turns.
    turns: VecDeque<SocketAddr>,
    waiting: usize,
    room: usize,
}

impl<T> Crowd<T> {
    pub fn new(room: usize) -> Crowd<T> {
        Crowd { rows: HashMap::new(), turns: VecDeque::new(), waiting: 0, room: room.max(1) }
    }

    pub fn len(&self) -> usize {
        self.waiting
    }

    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// What finds no room is given back: this, or the last of a longer row.
    pub fn push(&mut self, asker: SocketAddr, question: T) -> Option<T> {
        let given_up = if self.waiting < self.room {
            None
        } else if self.rows.get(&asker).is_some_and(|row| row.len() >= self.share()) {
            return Some(question);
        } else {
            self.shorten_the_longest()
        };
        let row = self.rows.entry(asker).or_default();
        if row.is_empty() {
            self.turns.push_back(asker);
        }
        row.push_back(question);
        self.waiting += 1;
        given_up
    }

    /// The next one, of whoever has waited longest for his turn.
    pub fn pop(&mut self) -> Option<(SocketAddr, T)> {
        let asker = self.turns.pop_front()?;
        let row = self.rows.get_mut(&asker)?;
        let question = row.pop_front()?;
        self.waiting -= 1;
        if row.is_empty() {
            self.rows.remove(&asker);
        } else {
            self.turns.push_back(asker);
        }
        Some((asker, question))
    }

    /// What each may have when there is no room; who has less takes it from whoever has more.
    fn share(&self) -> usize {
        (self.room / self.rows.len().max(1)).max(1)
    }

    fn shorten_the_longest(&mut self) -> Option<T> {
        let longest = self.rows.values().map(VecDeque::len).max()?;
        // Of several whose turn comes last: who has waited longest is next, and must not lose that to an address.
        let is_longest = |asker: &SocketAddr| self.rows.get(asker).is_some_and(|row| row.len() == longest);
        let place = self.turns.iter().rposition(is_longest)?;
        let asker = *self.turns.get(place)?;
        let row = self.rows.get_mut(&asker)?;
        let last = row.pop_back()?;
        self.waiting -= 1;
        if row.is_empty() {
            self.rows.remove(&asker);
            self.turns.remove(place);
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asker(n: u8) -> SocketAddr {
        SocketAddr::from(([100, 64, 0, 1], 1000 + u16::from(n)))
    }

    fn drain(crowd: &mut Crowd<u32>) -> Vec<(u16, u32)> {
        std::iter::from_fn(|| crowd.pop()).map(|(asker, n)| (asker.port() - 1000, n)).collect()
    }

    #[test]
    fn each_has_a_turn_before_anybody_has_two() {
        let mut crowd = Crowd::new(100);
        for n in 0..5 {
            crowd.push(asker(1), n);
        }
        crowd.push(asker(2), 10);
        crowd.push(asker(3), 20);
        crowd.push(asker(3), 21);
        let order = drain(&mut crowd);
        assert_eq!(order, [(1, 0), (2, 10), (3, 20), (1, 1), (3, 21), (1, 2), (1, 3), (1, 4)]);
        assert!(crowd.is_empty() && crowd.rows.is_empty() && crowd.turns.is_empty());
    }

    #[test]
    fn a_flood_from_many_ports_takes_nobody_else_his_place() {
        let mut crowd = Crowd::new(256);
        for n in 0..100_000u32 {
            crowd.push(asker((n % 64) as u8), n);
        }
        assert_eq!(crowd.len(), 256);
        assert!(crowd.push(asker(200), 7).is_some(), "somebody else gave way");
        let order = drain(&mut crowd);
        assert_eq!(order.len(), 256);
        let place = order.iter().position(|(port, _)| *port == 200);
        assert!(place.is_some_and(|place| place <= 64), "{place:?}");
    }

    #[test]
    fn where_all_have_one_question_the_newest_gives_way_whatever_his_address() {
        let mut crowd = Crowd::new(4);
        for n in [9, 1, 7, 3] {
            assert_eq!(crowd.push(asker(n), n.into()), None);
        }
        assert_eq!(crowd.push(asker(5), 5), Some(3), "who came last before this one");
        assert_eq!(crowd.push(asker(6), 6), Some(5));
        assert_eq!(drain(&mut crowd), [(9, 9), (1, 1), (7, 7), (6, 6)]);
    }

    #[test]
    fn with_more_askers_than_room_the_last_one_gives_way() {
        let mut crowd = Crowd::new(4);
        for n in 0..20u8 {
            crowd.push(asker(n), n.into());
        }
        assert_eq!(crowd.len(), 4);
        assert_eq!(drain(&mut crowd).len(), 4);
    }

    proptest! {
        /// Against plain lists: nothing is lost but what was given back, each row keeps its order, and who waits is passed
        /// over by nobody twice.
        #[test]
        fn rows_are_fair_and_nothing_is_lost(acts in proptest::collection::vec((any::<bool>(), 0u8..9), 0..400), room in 1usize..40) {
            let mut crowd = Crowd::new(room);
            let mut rows: Vec<Vec<u32>> = vec![Vec::new(); 9];
            let mut since: Vec<Vec<u8>> = vec![Vec::new(); 9];
            for (n, (push, who)) in (0u32..).zip(acts) {
                if push {
                    let given_up = crowd.push(asker(who), n);
                    rows[usize::from(who)].push(n);
                    if let Some(gone) = given_up {
                        let of = rows.iter().position(|row| row.contains(&gone)).expect("it waited");
                        prop_assert_eq!(rows[of].pop(), Some(gone), "the last of its row");
                        // Who has nobody left in his row begins anew.
                        if rows[of].is_empty() {
                            since[of].clear();
                        }
                    }
                } else if let Some((asker, question)) = crowd.pop() {
                    let who = (asker.port() - 1000) as u8;
                    prop_assert_eq!(rows[usize::from(who)].remove(0), question);
                    since[usize::from(who)].clear();
                    for (other, row) in rows.iter().enumerate().filter(|(o, _)| *o != usize::from(who)) {
                        if row.is_empty() {
                            since[other].clear();
                        } else {
                            prop_assert!(!since[other].contains(&who), "{} was passed over twice by {}", other, who);
                            since[other].push(who);
                        }
                    }
                }
                prop_assert!(crowd.len() <= room);
                prop_assert_eq!(crowd.len(), rows.iter().map(Vec::len).sum::<usize>());
            }
        }
    }
}
