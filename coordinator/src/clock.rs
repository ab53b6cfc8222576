//! The one place in the coordinator that reads the host's clock and its random source.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use warren_config::time::UnixTime;
use zeroize::Zeroizing;

/// Wall time in whole seconds. A host whose clock is before 1970 reads as 1970: everything signed is then in the
/// future and refused, nothing is opened.
pub fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Wall time in milliseconds since 1970, for logs of flows.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What only goes on, whatever is done to the host's clock: since this was first asked.
pub fn mono() -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the system's random source failed ({0}): no key can be made; try again after the host has finished booting"
)]
pub struct NoRandom(getrandom::Error);

/// Fresh bytes for a key.
pub fn secret<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandom> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(NoRandom)?;
    Ok(bytes)
}
