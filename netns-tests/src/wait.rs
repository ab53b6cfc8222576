//! Waiting for what can be observed.

use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(20);

/// Polls `probe` until it gives something; panics with `what` when `limit` has passed.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(STEP);
    }
}

/// Polls until `probe` holds, and says how long that took.
pub fn until(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    eventually(what, limit, || probe().then_some(()));
    start.elapsed()
}
