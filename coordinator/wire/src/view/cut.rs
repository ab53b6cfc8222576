//! Cutting a change into frames.

use prost::Message as _;
use prost::encoding::encoded_len_varint;

use super::{Delta, Entry, Key, RemovedKey};
use crate::id::Revision;
use crate::signed::Signed;

/// Cuts a change into deltas of at most about `max_bytes`; the last one carries the head. One entry that is larger
/// than that alone has a frame of its own.
pub fn cut(
    base: Option<Revision>,
    put: Vec<Entry>,
    remove: Vec<Key>,
    head: Signed,
    max_bytes: usize,
) -> Vec<Delta> {
    let mut cutter = Cutter::new(base, max_bytes);
    for key in &remove {
        let removed = RemovedKey::from(key);
        cutter.room_for(removed.encoded_len());
        cutter.current.remove.push(removed);
    }
    for entry in put {
        cutter.room_for(entry.encoded_len());
        cutter.current.put.push(entry);
    }
    cutter.room_for(head.encoded_len());
    cutter.current.head = Some(head);
    cutter.done.push(cutter.current);
    cutter.done
}

struct Cutter {
    base: Option<Revision>,
    max_bytes: usize,
    done: Vec<Delta>,
    current: Delta,
    bytes: usize,
}

impl Cutter {
    fn new(base: Option<Revision>, max_bytes: usize) -> Cutter {
        let current = empty(base);
        let bytes = current.encoded_len();
        Cutter { base, max_bytes, done: Vec::new(), current, bytes }
    }

    /// Begins a new frame unless a field of `body` bytes still fits the current one.
    fn room_for(&mut self, body: usize) {
        let field = 1 + encoded_len_varint(body as u64) + body;
        let begun = !(self.current.put.is_empty() && self.current.remove.is_empty());
        if begun && self.bytes.saturating_add(field) > self.max_bytes {
            self.done.push(std::mem::replace(&mut self.current, empty(self.base)));
            self.bytes = self.current.encoded_len();
        }
        self.bytes = self.bytes.saturating_add(field);
    }
}

fn empty(base: Option<Revision>) -> Delta {
    Delta { base_revision: base, put: Vec::new(), remove: Vec::new(), head: None }
}
