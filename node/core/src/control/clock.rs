//! Signed time: the last freshness's `signed_at`, carried forward by the monotonic clock, never backwards.
//!
//! At a restart the time that has passed is not known. The host's clock may then close things early (a clock that is
//! ahead ends lives and `until`s), never open them: signed time is at least what was stored. The first freshness
//! replaces that guess.

use crate::clock::{Mono, Now};

/// Copy it to each packet worker: it gives [`Now`] without asking anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedClock {
    pub base: Mono,
    pub wall_ms: u64,
}

impl SignedClock {
    pub fn at(&self, now: Mono) -> Now {
        Now { mono: now, wall_ms: self.wall_ms.saturating_add(now.millis_since(self.base)) }
    }
}
