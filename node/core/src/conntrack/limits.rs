//! How much one peer may hold or cause.

use crate::clock::Mono;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub flows: usize,
    /// So many of them whatever other peers hold; what is beyond must find room among all.
    pub share: usize,
    /// Fragmented packets under way, both directions together.
    pub fragments: usize,
    /// Kinds of refused tries merged in one window.
    pub refusals: usize,
    /// Records of ended flows kept until they are drained.
    pub records: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { flows: 16_384, share: 256, fragments: 512, refusals: 4096, records: 16_384 }
    }
}

/// A token bucket over monotonic time: `per_second` on average, that many at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    /// Thousandths of a token.
    level: u64,
    last: Mono,
}

impl Bucket {
    pub fn new(per_second: u64) -> Bucket {
        Bucket { per_second, level: per_second * 1000, last: Mono(0) }
    }

    /// A new bucket would allow no more.
    pub fn is_full(&self, now: Mono) -> bool {
        let gained = now.millis_since(self.last).saturating_mul(self.per_second);
        self.level.saturating_add(gained) >= self.per_second * 1000
    }

    pub fn take(&mut self, now: Mono) -> bool {
        let gained = now.millis_since(self.last).saturating_mul(self.per_second);
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(self.per_second * 1000);
            self.last = now;
        }
        if self.level < 1000 {
            return false;
        }
        self.level -= 1000;
        true
    }
}
