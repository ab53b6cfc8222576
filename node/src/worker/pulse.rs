//! Signs of life of the workers; the service manager's watchdog is fed only while all of them show some.

use std::sync::atomic::{AtomicU64, Ordering};

use warren_node_core::clock::Mono;

use super::MAX_WORKERS;

/// Which thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    Tick,
    Control,
    Egress {
        number: usize,
    },
    /// `at`: which of the worker's sockets.
    Ingress {
        number: usize,
        at: usize,
    },
}

impl Worker {
    /// Below [`SLOTS`].
    pub(super) fn slot(self) -> usize {
        match self {
            Worker::Tick => 0,
            Worker::Control => 1,
            Worker::Egress { number } => 2 + 3 * number,
            Worker::Ingress { number, at } => 3 + 3 * number + at.min(1),
        }
    }
}

/// Tick, control, and three for each packet worker.
pub(super) const SLOTS: usize = 2 + 3 * MAX_WORKERS;

/// Last sign of each thread, nanoseconds on the boot-time clock; 0 for one that never began.
#[derive(Debug, Default)]
pub struct Pulse([AtomicU64; SLOTS]);

impl Pulse {
    pub fn beat(&self, worker: Worker, now: Mono) {
        if let Some(slot) = self.0.get(worker.slot()) {
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
        let workers = [
            Worker::Tick,
            Worker::Control,
            Worker::Egress { number: 0 },
            Worker::Ingress { number: 0, at: 0 },
            Worker::Ingress { number: 0, at: 1 },
            Worker::Egress { number: MAX_WORKERS - 1 },
            Worker::Ingress { number: MAX_WORKERS - 1, at: 1 },
        ];
        let start = Mono::from_millis(1000);
        for silent in workers {
            let pulse = Pulse::default();
            workers.iter().for_each(|worker| pulse.beat(*worker, start));
            assert!(pulse.alive(start.plus_secs(5), 5));
            let others = workers.iter().filter(|worker| **worker != silent);
            others.for_each(|worker| pulse.beat(*worker, start.plus_secs(6)));
            assert!(!pulse.alive(start.plus_secs(6), 5), "{silent:?}");
        }
    }
}
