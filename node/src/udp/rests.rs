//! Places to which the kernel would not send segmented batches. Each rests for itself: a peer behind a device without
//! checksum offload does not slow down the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use warren_node_core::clock::Mono;
use warren_node_core::dataplane::Rest;

/// More than that are forgotten, and then asked once more.
const MAX_PLACES: usize = 1024;

#[derive(Debug, Default)]
pub struct Rests {
    /// Nothing was refused yet: nobody needs the lock or the time.
    any: AtomicBool,
    places: Mutex<BTreeMap<SocketAddr, Place>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    rest: Rest,
    /// Refused, and not yet taken again.
    refused: bool,
}

/// What may be done with a batch for some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    Segmented,
    /// It was refused before: tell whether it is taken now.
    SegmentedAgain,
    OneByOne,
}

impl Rests {
    pub fn ask(&self, to: SocketAddr, now: impl Fn() -> Mono) -> Try {
        if !self.any.load(Ordering::Relaxed) {
            return Try::Segmented;
        }
        match self.places.lock().get(&to) {
            None | Some(Place { refused: false, .. }) => Try::Segmented,
            Some(place) if place.rest.is_over(now()) => Try::SegmentedAgain,
            Some(_) => Try::OneByOne,
        }
    }

    pub fn refused(&self, to: SocketAddr, now: Mono) {
        let mut places = self.places.lock();
        if places.len() >= MAX_PLACES && !places.contains_key(&to) {
            places.pop_first();
        }
        let place = places.entry(to).or_default();
        place.rest.begin(now);
        place.refused = true;
        self.any.store(true, Ordering::Relaxed);
    }

    /// Taken after a rest.
    pub fn taken(&self, to: SocketAddr) {
        if let Some(place) = self.places.lock().get_mut(&to) {
            place.refused = false;
        }
    }

    /// Places that rest, or wait to be tried again.
    pub fn count(&self) -> u64 {
        self.places.lock().values().filter(|place| place.refused).count() as u64
    }
}
