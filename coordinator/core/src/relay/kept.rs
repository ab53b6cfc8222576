//! Frames that wait for a permit: the first of each pair, so that a handshake need not be sent twice.

use std::collections::BTreeMap;

use warren_wire::relay::Seat;

use super::Moment;
use super::pairs::{Pair, REFUSAL_LIFE};

/// Bytes of all of them.
pub const MAX_KEPT: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Waiting {
    pub to: Seat,
    pub frame: Vec<u8>,
    since: Moment,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    frames: BTreeMap<Pair, Waiting>,
    bytes: usize,
}

impl Kept {
    /// False if there is no room.
    pub fn keep(&mut self, pair: Pair, to: Seat, frame: &[u8], now: Moment) -> bool {
        let fits = !frame.is_empty() && self.bytes.saturating_add(frame.len()) <= MAX_KEPT;
        if !fits || self.frames.contains_key(&pair) {
            return false;
        }
        self.bytes = self.bytes.saturating_add(frame.len());
        self.frames.insert(pair, Waiting { to, frame: frame.to_vec(), since: now });
        true
    }

    pub fn take(&mut self, pair: Pair) -> Option<Waiting> {
        let waiting = self.frames.remove(&pair)?;
        self.bytes = self.bytes.saturating_sub(waiting.frame.len());
        Some(waiting)
    }

    /// How many have waited in vain.
    pub fn expire(&mut self, now: Moment) -> u64 {
        let vain = |waiting: &Waiting| now.saturating_sub(waiting.since) >= REFUSAL_LIFE;
        let over: Vec<Pair> = self.frames.iter().filter(|(_, w)| vain(w)).map(|(pair, _)| *pair).collect();
        over.iter().filter_map(|pair| self.take(*pair)).count() as u64
    }

    pub fn forget(&mut self, which: impl Fn(&Pair) -> bool) {
        let gone: Vec<Pair> = self.frames.keys().filter(|pair| which(pair)).copied().collect();
        gone.into_iter().for_each(|pair| drop(self.take(pair)));
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
