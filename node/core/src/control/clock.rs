//! Signed time: the last freshness's `signed_at`, carried forward by the monotonic clock, never backwards.
//!
//! At a restart the time that has passed is not known. The host's clock may then close things early (a clock that is
//! ahead ends lives and `until`s), never open them: signed time is at least what was stored. The first freshness
//! replaces that guess.

use crate::clock::{Mono, Now};

/// A host clock that differs more than this is reported.
pub const TOLERANCE_MS: u64 = 60_000;

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

    /// The monotonic moment at which signed time is `wall_ms`; `base` if that is past.
    pub fn when(&self, wall_ms: u64) -> Mono {
        // Not `plus_millis`: a grant may end in a far century.
        let ms = wall_ms.saturating_sub(self.wall_ms);
        Mono(self.base.0.saturating_add(ms.saturating_mul(1_000_000)))
    }
}

/// The keeper of signed time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keeper {
    clock: SignedClock,
    /// Signed time that is certain, when the clock runs on a guess since the restart.
    guessed_from: Option<u64>,
    /// What the coordinator last said, unsigned, over its authenticated channel: it moves the clock forward only.
    informed: Option<SignedClock>,
}

impl Keeper {
    /// After a restart: at least `stored_ms`; further if the host says so, until a freshness tells better.
    pub fn start(stored_ms: u64, host_ms: u64, now: Mono) -> Keeper {
        let clock = SignedClock { base: now, wall_ms: stored_ms.max(host_ms) };
        Keeper { clock, guessed_from: Some(stored_ms), informed: None }
    }

    pub fn clock(&self) -> SignedClock {
        self.clock
    }

    /// True until a freshness has come since the restart.
    pub fn is_guess(&self) -> bool {
        self.guessed_from.is_some()
    }

    /// A valid freshness was signed at `signed_ms`. True if the clock was corrected.
    pub fn learn(&mut self, signed_ms: u64, now: Mono) -> bool {
        let floor = match self.guessed_from.take() {
            // What was certain at the restart, and what has passed since.
            Some(certain) => certain.saturating_add(now.millis_since(self.clock.base)),
            None => self.clock.at(now).wall_ms,
        };
        let informed = self.informed.map_or(0, |clock| clock.at(now).wall_ms);
        self.set(floor.max(signed_ms).max(informed), now)
    }

    /// The coordinator says what time it is: a freshness may be an hour old when it comes. Moving forward can only
    /// close. True if the clock was corrected.
    pub fn inform(&mut self, wall_ms: u64, now: Mono) -> bool {
        self.informed = Some(SignedClock { base: now, wall_ms });
        self.set(self.clock.at(now).wall_ms.max(wall_ms), now)
    }

    /// What the host's clock may be compared with; `None` while nothing but the host's clock is known.
    pub fn reference_ms(&self, now: Mono) -> Option<u64> {
        let informed = self.informed.map(|clock| clock.at(now).wall_ms);
        informed.max((!self.is_guess()).then(|| self.clock.at(now).wall_ms))
    }

    fn set(&mut self, wall_ms: u64, now: Mono) -> bool {
        let changed = wall_ms != self.clock.at(now).wall_ms;
        if changed {
            // What is certain goes on from the moment the clock was set.
            self.guessed_from =
                self.guessed_from.map(|certain| certain.saturating_add(now.millis_since(self.clock.base)));
            self.clock = SignedClock { base: now, wall_ms };
        }
        changed
    }

    /// What may be stored as certain.
    pub fn certain_ms(&self, now: Mono) -> u64 {
        match self.guessed_from {
            Some(certain) => certain.saturating_add(now.millis_since(self.clock.base)),
            None => self.clock.at(now).wall_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_time_never_goes_backwards() {
        let mut keeper = Keeper::start(0, 0, Mono(0));
        assert!(keeper.learn(10_000, Mono::from_millis(5)));
        assert!(!keeper.learn(9_000, Mono::from_millis(6)));
        assert_eq!(keeper.clock().at(Mono::from_millis(1_005)).wall_ms, 11_000);
    }

    #[test]
    fn a_host_clock_closes_after_a_restart_and_a_freshness_replaces_it() {
        let mut keeper = Keeper::start(50_000, 9_000_000, Mono(0));
        assert_eq!(keeper.clock().at(Mono(0)).wall_ms, 9_000_000);
        assert_eq!(keeper.certain_ms(Mono::from_millis(100)), 50_100, "a guess is never stored as certain");
        assert!(keeper.learn(60_000, Mono::from_millis(1_000)));
        assert_eq!(keeper.clock().at(Mono::from_millis(2_000)).wall_ms, 61_000);
        let behind = Keeper::start(50_000, 1_000, Mono(0));
        assert_eq!(behind.clock().at(Mono(0)).wall_ms, 50_000, "a clock that is behind opens nothing again");
    }

    #[test]
    fn what_the_coordinator_says_unsigned_moves_the_clock_forward_only() {
        let mut keeper = Keeper::start(50_000, 9_000_000, Mono(0));
        assert!(!keeper.inform(3_700_000, Mono(0)), "the guess is further: it stays");
        assert!(keeper.learn(100_000, Mono::from_millis(10)), "an old freshness ends the guess");
        assert_eq!(keeper.clock().at(Mono::from_millis(10)).wall_ms, 3_700_010);
        assert!(!keeper.inform(1_000, Mono::from_millis(20)));
        assert_eq!(keeper.clock().at(Mono::from_millis(20)).wall_ms, 3_700_020);
    }

    #[test]
    fn when_is_the_mirror_of_at() {
        let clock = SignedClock { base: Mono::from_millis(7), wall_ms: 1_000 };
        assert_eq!(clock.at(clock.when(5_000)).wall_ms, 5_000);
        assert_eq!(clock.when(u64::MAX), Mono(u64::MAX));
    }
}
