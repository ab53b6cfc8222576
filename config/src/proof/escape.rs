//! The smallest nodes that a set of doors does not let in.
//!
//! A node grows only to escape: a door that lets it in is shut only by one of its `except`s, so one of them must be
//! worn. Trying each of them in turn finds every smallest node that escapes, or proves that none does.

use std::collections::BTreeSet;

use super::doors::Doors;
use super::reach::{MAX_STEPS, TooHard};
use super::space::{Conj, Space};

pub(crate) struct Escape<'a> {
    pub space: &'a Space,
    pub doors: &'a Doors,
    /// Node sets looked at so far, over all questions of one proof.
    pub steps: &'a mut usize,
}

impl Escape<'_> {
    /// Smallest nodes with all of `base` that none of `shut` lets in and that `wanted` holds for. `wanted` must hold for a
    /// node if it holds for a larger one. At most `limit` of them.
    pub fn all(
        &mut self,
        base: &Conj,
        shut: &[usize],
        wanted: impl Fn(&Conj) -> bool,
        limit: usize,
    ) -> Result<Vec<Conj>, TooHard> {
        let mut found: Vec<Conj> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut todo = vec![base.clone()];
        while let Some(node) = todo.pop() {
            if !self.space.possible(&node) || !wanted(&node) || !seen.insert(node.clone()) {
                continue;
            }
            *self.steps += 1;
            if *self.steps > MAX_STEPS {
                return Err(TooHard);
            }
            match self.tightest(&node, shut) {
                None => found.push(node),
                Some(except) => todo.extend(except.iter().rev().map(|except| node.and(except))),
            }
            if found.len() >= limit {
                break;
            }
        }
        let smallest = |node: &&Conj| !found.iter().any(|other| other != *node && other.within(node));
        Ok(found.iter().filter(smallest).cloned().collect())
    }

    /// The `except`s of the open door that has the fewest: one of them must be worn.
    fn tightest(&self, node: &Conj, shut: &[usize]) -> Option<&[Conj]> {
        let open = shut.iter().filter_map(|door| self.doors.door(*door)).filter(|door| door.lets_in(node));
        open.map(|door| door.except.as_slice()).min_by_key(|except| except.len())
    }
}
