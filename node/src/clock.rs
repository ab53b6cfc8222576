//! The agent's two clocks.
//!
//! Timers run on the boot-time clock: it never jumps and it counts suspend, so that after a sleep every session is
//! seen to be as old as it is. Lives and `until` are judged by signed time: what a coordinator signed last, plus the
//! boot-time clock since then. Before anything signed is known the host's clock stands in; it can close things too
//! early or too late by its error, never open what a signature does not allow.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use warren_node_core::clock::{Mono, Now};
use warren_node_core::control::SignedClock;

/// Nanoseconds on the boot-time clock.
pub fn boot() -> Mono {
    let t = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    let rest = u64::try_from(t.tv_nsec).unwrap_or(0);
    Mono(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}

/// Nanoseconds on the monotonic clock, which stands still while the host sleeps.
pub fn monotonic() -> Mono {
    let t = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    let rest = u64::try_from(t.tv_nsec).unwrap_or(0);
    Mono(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}

/// The host's wall clock, milliseconds since 1970; 0 if it stands before that. It is the clock that the WireGuard
/// library stamps handshakes with.
pub fn host_wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Shared by all threads; reading it costs two loads and one look at the boot-time clock.
#[derive(Debug)]
pub struct Clock {
    /// Wall milliseconds minus boot-time milliseconds.
    offset_ms: AtomicI64,
    /// Greatest host wall time seen, milliseconds.
    greatest_host_ms: AtomicU64,
}

impl Clock {
    /// `greatest_host_ms`: greatest host wall time an earlier agent used.
    pub fn new(greatest_host_ms: u64) -> Clock {
        let clock =
            Clock { offset_ms: AtomicI64::new(0), greatest_host_ms: AtomicU64::new(greatest_host_ms) };
        clock.set(SignedClock { base: boot(), wall_ms: host_wall_ms() });
        clock
    }

    pub fn now(&self) -> Now {
        let mono = boot();
        let ms = i64::try_from(mono.0 / 1_000_000).unwrap_or(i64::MAX);
        let wall = ms.saturating_add(self.offset_ms.load(Ordering::Relaxed));
        Now { mono, wall_ms: u64::try_from(wall).unwrap_or(0) }
    }

    /// Signed time was corrected.
    pub fn set(&self, signed: SignedClock) {
        let base = i64::try_from(signed.base.0 / 1_000_000).unwrap_or(i64::MAX);
        let wall = i64::try_from(signed.wall_ms).unwrap_or(i64::MAX);
        self.offset_ms.store(wall.saturating_sub(base), Ordering::Relaxed);
    }

    /// Looks at the host's clock. `Err(behind)` if it is more than a second behind a time it has shown before:
    /// handshakes stamped now would be refused, so the WireGuard keys must change.
    pub fn check_host(&self) -> Result<u64, u64> {
        self.check_host_at(host_wall_ms())
    }

    fn check_host_at(&self, now_ms: u64) -> Result<u64, u64> {
        let before = self.greatest_host_ms.fetch_max(now_ms, Ordering::Relaxed);
        match before.saturating_sub(now_ms) {
            behind if behind > 1000 => Err(behind),
            _ => Ok(before.max(now_ms)),
        }
    }

    /// The keys were changed: stamps begin again at the host's present time.
    pub fn forget_greatest(&self) {
        self.greatest_host_ms.store(host_wall_ms(), Ordering::Relaxed);
    }

    pub fn greatest_host_ms(&self) -> u64 {
        self.greatest_host_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_time_goes_on_with_the_boot_clock() {
        let clock = Clock::new(0);
        clock.set(SignedClock { base: boot(), wall_ms: 1_000_000_000_000 });
        let now = clock.now();
        assert!((1_000_000_000_000..1_000_000_002_000).contains(&now.wall_ms), "{}", now.wall_ms);
    }

    #[test]
    fn a_host_clock_that_went_back_is_noticed_once_it_matters() {
        let clock = Clock::new(10_000);
        assert_eq!(clock.check_host_at(9_500), Ok(10_000));
        assert_eq!(clock.check_host_at(5_000), Err(5_000));
        assert_eq!(clock.check_host_at(20_000), Ok(20_000));
        assert_eq!(clock.check_host_at(12_000), Err(8_000));
    }
}
