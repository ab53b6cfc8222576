//! The newest rows, in chunks that who reads can hold on to while more come: a long look holds nobody up.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{FlowRow, MAX_FLOWS};

/// A chunk that somebody holds is copied when one more row comes: at most so many.
const CHUNK: usize = 1024;

/// In the order they came, [`MAX_FLOWS`] and up to a chunk more. To clone it costs little, and what is cloned stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    chunks: VecDeque<Arc<Vec<FlowRow>>>,
    rows: usize,
}

impl Ring {
    pub fn push(&mut self, row: FlowRow) {
        match self.chunks.back_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => Arc::make_mut(last).push(row),
            None => self.chunks.push_back(Arc::new(vec![row])),
        }
        self.rows += 1;
        let oldest = self.chunks.front().map_or(0, |chunk| chunk.len());
        if self.rows.saturating_sub(oldest) >= MAX_FLOWS {
            self.chunks.pop_front();
            self.rows -= oldest;
        }
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &FlowRow> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Those that came after the one with this cursor.
    pub fn after(&self, cursor: u64) -> impl Iterator<Item = &FlowRow> {
        let before = move |row: &FlowRow| row.cursor <= cursor;
        let chunks = self.chunks.iter().skip_while(move |chunk| chunk.last().is_none_or(before));
        chunks.flat_map(|chunk| chunk.iter()).skip_while(move |row| before(row))
    }
}

#[cfg(test)]
mod tests {
    use super::super::specimen::row;
    use super::*;

    #[test]
    fn the_newest_are_kept_in_order_and_who_holds_a_copy_sees_no_more() {
        let mut ring = Ring::default();
        let most = MAX_FLOWS as u64 + 2000;
        for cursor in 1..=1500 {
            ring.push(FlowRow { cursor, ..row(cursor, 10) });
        }
        let held = ring.clone();
        for cursor in 1501..=most {
            ring.push(FlowRow { cursor, ..row(cursor, 10) });
        }
        assert_eq!(
            (held.len(), held.iter().count(), held.iter().next_back().map(|r| r.cursor)),
            (1500, 1500, Some(1500))
        );
        assert!((MAX_FLOWS..MAX_FLOWS + CHUNK).contains(&ring.len()), "{}", ring.len());
        assert_eq!(ring.iter().count(), ring.len());
        let first = most - ring.len() as u64 + 1;
        assert!(ring.iter().map(|row| row.cursor).eq(first..=most));
        for cursor in [0, first, first + 1023, first + 1024, most - 1, most, most + 5] {
            let after: Vec<u64> = ring.after(cursor).map(|row| row.cursor).collect();
            assert!(after.iter().copied().eq(first.max(cursor + 1)..=most), "{cursor}");
        }
    }
}
