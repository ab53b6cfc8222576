//! Who goes first when there is no room.
//!
//! A flow that is over is worth nothing, one that nobody has answered little, and one question with its answer can be asked
//! again. What lasts (an established connection, or a dialogue that went on after its first answer) never has a turn.

use std::collections::VecDeque;

use super::flow::{Flow, Standing};

/// In this order, and of one kind the oldest first.
const ORDER: [Standing; 3] = [Standing::Over, Standing::HalfOpen, Standing::Brief];

/// A flow's place and number.
pub(super) type Entry = (usize, u64);

/// Entries are checked when they are taken, so stale ones do no harm.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queues: [VecDeque<Entry>; ORDER.len()],
}

impl Turns {
    /// The flow at `entry` has come to this standing.
    pub fn enter(&mut self, entry: Entry, standing: Standing, slots: &[Option<Flow>], flows: usize) {
        let of_kind = ORDER.iter().zip(&mut self.queues).find(|(kind, _)| **kind == standing);
        if let Some((kind, queue)) = of_kind {
            push_bounded(queue, entry, slots, flows, |flow| flow.standing() == *kind);
        }
    }

    /// Who goes now. It is not asked again.
    pub fn first(&mut self, slots: &[Option<Flow>]) -> Option<usize> {
        ORDER.iter().zip(&mut self.queues).find_map(|(kind, queue)| {
            std::iter::from_fn(|| queue.pop_front())
                .find(|entry| is_valid(slots, entry, |flow| flow.standing() == *kind))
                .map(|(slot, _)| slot)
        })
    }

    /// Flows have moved.
    pub fn move_to(&mut self, place_of: impl Fn(&usize) -> Option<usize>) {
        for queue in &mut self.queues {
            move_to(queue, &place_of);
        }
    }
}

pub(super) fn move_to(queue: &mut VecDeque<Entry>, place_of: impl Fn(&usize) -> Option<usize>) {
    let moved = |(slot, id)| Some((place_of(&slot)?, id));
    *queue = std::mem::take(queue).into_iter().filter_map(moved).collect();
}

pub(super) fn is_valid(slots: &[Option<Flow>], entry: &Entry, class: impl Fn(&Flow) -> bool) -> bool {
    let flow = slots.get(entry.0).and_then(Option::as_ref);
    flow.is_some_and(|flow| flow.id == entry.1 && class(flow))
}

/// Stale entries are swept before the queue grows over twice the flows there can be.
pub(super) fn push_bounded(
    queue: &mut VecDeque<Entry>,
    entry: Entry,
    slots: &[Option<Flow>],
    flows: usize,
    class: impl Fn(&Flow) -> bool,
) {
    if queue.len() >= flows.saturating_mul(2).max(64) {
        queue.retain(|entry| is_valid(slots, entry, &class));
    }
    queue.push_back(entry);
}
