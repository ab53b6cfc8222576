//! Virtual time: nanoseconds since the world began, and what the clocks of its hosts make of it.

use warren_config::time::UnixTime;
use warren_node_core::clock::Mono;
use warren_wire::specimen::EPOCH_TIME;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
/// The world begins so long after the specimen networks were made, seconds.
const LEAD: u64 = 3_600;

/// The wall clock of a host that is right, milliseconds since 1970.
pub fn wall_ms(now: u64) -> u64 {
    (EPOCH_TIME.0 + LEAD) * 1_000 + now / MS
}

pub fn wall(now: u64) -> UnixTime {
    UnixTime(wall_ms(now) / 1_000)
}

/// The wall clock of a host that is `skew_ms` ahead.
pub fn skewed_ms(now: u64, skew_ms: i64) -> u64 {
    wall_ms(now).saturating_add_signed(skew_ms)
}

/// The boot-time clock of a host that was switched on `up` nanoseconds before the world began.
pub fn mono(now: u64, up: u64) -> Mono {
    Mono(now + up)
}
