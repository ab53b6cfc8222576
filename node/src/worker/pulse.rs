//! Signs of life of the packet workers; the service manager's watchdog is fed only while all of them show some.

use std::sync::atomic::{AtomicU64, Ordering};

use warren_node_core::clock::Mono;

/// Which worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    Egress = 0,
    Ingress4 = 1,
    Ingress6 = 2,
    Tick = 3,
}

/// Last sign of each worker, nanoseconds on the boot-time clock; 0 for one that never began.
#[derive(Debug, Default)]
pub struct Pulse([AtomicU64; 4]);

impl Pulse {
    pub fn beat(&self, worker: Worker, now: Mono) {
        if let Some(slot) = self.0.get(worker as usize) {
            slot.store(now.0, Ordering::Relaxed);
        }
    }

    /// True if every worker that began showed itself within `seconds`.
    pub fn alive(&self, now: Mono, seconds: u64) -> bool {
        let oldest = Mono(now.0.saturating_sub(seconds.saturating_mul(1_000_000_000)));
        self.0.iter().map(|slot| slot.load(Ordering::Relaxed)).all(|beat| beat == 0 || beat >= oldest.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_worker_starves_the_watchdog() {
        let pulse = Pulse::default();
        let start = Mono::from_millis(1000);
        pulse.beat(Worker::Egress, start);
        pulse.beat(Worker::Tick, start);
        assert!(pulse.alive(start.plus_secs(5), 5));
        pulse.beat(Worker::Tick, start.plus_secs(6));
        assert!(!pulse.alive(start.plus_secs(6), 5));
    }
}
