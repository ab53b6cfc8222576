//! The host has slept: noticed by its two clocks. The boot-time clock counts a suspend, the monotonic one does not
//! (Linux, `clock_gettime(2)`, `CLOCK_BOOTTIME` and `CLOCK_MONOTONIC`); both run at the same rate otherwise.
//!
//! Timers of this crate run by the boot-time clock, so what has ended by time has ended after a sleep. What does not come by itself is
//! done then: the control channel is made anew ([`crate::control::Control::handle_resumed`]), peers with live flows are
//! greeted everywhere they may be ([`crate::dataplane::DataPlane::resumed`]), and it is asked where this node is seen ([`crate::mapping`]).

use std::time::Duration;

use crate::clock::Mono;

/// A shorter sleep is none: NATs and peers have noticed nothing.
pub const LEAST: Duration = Duration::from_secs(2);

/// How far the boot-time clock is ahead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sleeper {
    ahead: Option<u64>,
}

impl Sleeper {
    /// Both clocks, read one after the other; how long the host has slept since the last call, if it has.
    pub fn look(&mut self, boot: Mono, monotonic: Mono) -> Option<Duration> {
        let ahead = boot.0.saturating_sub(monotonic.0);
        let before = self.ahead.replace(ahead)?;
        let slept = Duration::from_nanos(ahead.saturating_sub(before));
        (slept >= LEAST).then_some(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_sleep_is_noticed_once_and_as_long_as_it_was() {
        let mut sleeper = Sleeper::default();
        let (mut boot, mut monotonic) = (Mono::from_millis(5 * HOUR), Mono::from_millis(HOUR));
        assert_eq!(sleeper.look(boot, monotonic), None, "sleeps before the start are nobody's business");
        for slept in [3, 8 * 3600] {
            (boot, monotonic) = (boot.plus_secs(slept).plus_millis(250), monotonic.plus_millis(250));
            assert_eq!(sleeper.look(boot, monotonic), Some(Duration::from_secs(slept)));
            (boot, monotonic) = (boot.plus_millis(250), monotonic.plus_millis(250));
            assert_eq!(sleeper.look(boot, monotonic), None);
        }
    }

    /// A program that got no processor for an hour, and clocks that are not read at the same instant.
    #[test]
    fn a_long_wait_is_no_sleep() {
        let mut sleeper = Sleeper::default();
        let at = Mono::from_millis(HOUR);
        assert_eq!(sleeper.look(at, at), None);
        assert_eq!(sleeper.look(at.plus_millis(HOUR), at.plus_millis(HOUR)), None);
        assert_eq!(sleeper.look(at.plus_millis(2 * HOUR), at.plus_millis(2 * HOUR - 1_900)), None);
        assert_eq!(sleeper.look(at.plus_millis(3 * HOUR), at.plus_millis(3 * HOUR + 7)), None);
    }
}
