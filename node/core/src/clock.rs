//! Time as an argument. Nobody in this crate reads a clock, except inside the WireGuard library behind `session`.

use warren_config::time::UnixTime;

/// Nanoseconds on the boot-time clock (it counts suspend) since some fixed point before the agent began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    pub const fn from_millis(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }
    pub const fn plus_millis(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms * 1_000_000))
    }
    pub const fn plus_secs(self, s: u64) -> Mono {
        self.plus_millis(s * 1000)
    }
    /// Milliseconds from `earlier` to `self`; zero when `earlier` is later.
    pub const fn millis_since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// One moment: monotonic for timers, signed wall time for lives and `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    /// Wall time as the signed freshness and the monotonic clock give it; milliseconds since 1970.
    pub wall_ms: u64,
}

impl Now {
    pub fn wall(&self) -> UnixTime {
        UnixTime(self.wall_ms / 1000)
    }
}
