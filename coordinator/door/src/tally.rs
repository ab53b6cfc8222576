//! What a door has carried.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one door, or of many together.
#[derive(Debug, Default)]
pub struct Tally {
    /// From the connection to the socket on this host, and the other way.
    inward: AtomicU64,
    outward: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
}

/// [`Tally`], read: datagrams, and bytes of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub inward: u64,
    pub outward: u64,
    pub bytes: u64,
    /// Found no room, did not fit, or had a half missing. What the kernel drops before a door sees it is not in here.
    pub lost: u64,
}

impl Tally {
    pub fn read(&self) -> Carried {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Carried {
            inward: read(&self.inward),
            outward: read(&self.outward),
            bytes: read(&self.bytes),
            lost: read(&self.lost),
        }
    }

    pub(crate) fn inward(&self, bytes: usize) {
        self.inward.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn outward(&self, bytes: usize) {
        self.outward.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self, datagrams: u64) {
        if datagrams > 0 {
            self.lost.fetch_add(datagrams, Ordering::Relaxed);
        }
    }
}
