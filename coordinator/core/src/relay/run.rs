//! Datagrams of one batch that follow each other and have the same ends: one look-up for all of them.

use std::ops::Range;

use warren_wire::relay::{self, Seat};

use super::count_of;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// `None`: it is one datagram, and no frame.
    pub ends: Option<(Seat, Seat)>,
    start: usize,
    pub end: usize,
    pub stride: usize,
}

impl Run {
    /// The run that begins at this byte; `None` at the end.
    pub fn at(batch: &[u8], start: usize, stride: usize) -> Option<Run> {
        let stride = stride.max(1);
        let ends = |at: usize| {
            let end = at.saturating_add(stride).min(batch.len());
            relay::read(batch.get(at..end)?).map(|(head, _)| (head.from, head.to))
        };
        if start >= batch.len() {
            return None;
        }
        let first = ends(start);
        let mut end = start.saturating_add(stride);
        while first.is_some() && end < batch.len() && ends(end) == first {
            end = end.saturating_add(stride);
        }
        Some(Run { ends: first, start, end: end.min(batch.len()), stride })
    }

    pub fn count(&self) -> u64 {
        count_of(&(self.start..self.end), self.stride)
    }

    pub fn frames(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, stride) = (self.end, self.stride);
        (self.start..end).step_by(stride).map(move |at| at..at.saturating_add(stride).min(end))
    }

    /// Datagrams in some of its stretches; `None` for none.
    pub fn count_in(&self, stretches: &[Range<usize>]) -> Option<u64> {
        let count = stretches.iter().map(|range| count_of(range, self.stride)).sum();
        (count > 0).then_some(count)
    }
}
