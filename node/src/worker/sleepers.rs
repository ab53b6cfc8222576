//! Packet threads that may sleep in a read of the TUN or a receive, where no timer and no event reaches them: once a second,
//! and when the agent stops, they are interrupted, so that each shows that it lives and sees the end. (A time limit on the
//! receive would do for sockets, but the kernel then starts and stops a timer for every packet that comes alone.)

use std::sync::atomic::{AtomicI32, Ordering};

use super::pulse::{SLOTS, Worker};
use warren_kernel::interrupt::{Thread, interrupt, this_thread};

/// Thread numbers; 0 for none.
#[derive(Debug, Default)]
pub struct Sleepers([AtomicI32; SLOTS]);

/// As long as it lives, the thread may be interrupted.
pub struct Bed<'a>(&'a AtomicI32);

impl Sleepers {
    /// The calling thread is this one.
    pub fn lie_down(&self, worker: Worker) -> Option<Bed<'_>> {
        let slot = self.0.get(worker.slot())?;
        slot.store(this_thread().0, Ordering::Relaxed);
        Some(Bed(slot))
    }

    /// Interrupts all; false when there is none left.
    pub fn wake(&self) -> bool {
        let mut any = false;
        for thread in self.0.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|thread| *thread != 0) {
            any = true;
            // One that has just ended needs no waking.
            let _ = interrupt(Thread(thread));
        }
        any
    }
}

impl Drop for Bed<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
