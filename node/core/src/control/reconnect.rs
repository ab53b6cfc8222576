//! When to try the coordinator again: exponential back-off with jitter, capped; addresses in turn.
//!
//! Jitter is "full" above half: a thousand nodes that lost one coordinator must not come back as one.

use crate::clock::Mono;

/// Longest first wait, and longest wait, between two tries.
pub const FIRST_MS: u64 = 500;
pub const CAP_MS: u64 = 15_000;

#[derive(Clone, Debug)]
pub struct Reconnect {
    addresses: usize,
    next: usize,
    failures: u32,
    random: u64,
}

impl Reconnect {
    /// `random` seeds the jitter.
    pub fn new(addresses: usize, random: u64) -> Reconnect {
        Reconnect { addresses: addresses.max(1), next: 0, failures: 0, random }
    }

    /// The address to try now; the next call names the next one.
    pub fn address(&mut self) -> usize {
        let address = self.next % self.addresses;
        self.next = (address + 1) % self.addresses;
        address
    }

    /// A try failed, or a session ended: when to try again.
    pub fn failed(&mut self, now: Mono) -> Mono {
        // A whole round over the addresses counts as one failure.
        let round = self.failures / u32::try_from(self.addresses).unwrap_or(u32::MAX);
        let ceiling = FIRST_MS.saturating_mul(1 << round.min(16)).min(CAP_MS);
        self.failures = self.failures.saturating_add(1);
        now.plus_millis(ceiling / 2 + self.draw() % (ceiling / 2 + 1))
    }

    /// The coordinator will not have us soon: wait the longest.
    pub fn rebuffed(&mut self) {
        self.failures = u32::MAX;
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_capped_and_begin_again_after_a_success() {
        let mut reconnect = Reconnect::new(1, 42);
        let waits: Vec<u64> = (0..40)
            .map(|_| reconnect.failed(Mono::from_millis(100)).millis_since(Mono::from_millis(100)))
            .collect();
        for (i, wait) in waits.iter().enumerate() {
            let ceiling = (FIRST_MS << i.min(16)).min(CAP_MS);
            assert!((ceiling / 2..=ceiling).contains(wait), "wait {i} is {wait} ms");
        }
        reconnect.succeeded();
        assert!(reconnect.failed(Mono(0)) <= Mono::from_millis(FIRST_MS));
        reconnect.rebuffed();
        assert!(reconnect.failed(Mono(0)) >= Mono::from_millis(CAP_MS / 2));
    }

    #[test]
    fn addresses_are_tried_in_turn() {
        let mut reconnect = Reconnect::new(3, 0);
        assert_eq!((0..5).map(|_| reconnect.address()).collect::<Vec<_>>(), [0, 1, 2, 0, 1]);
        assert_eq!(Reconnect::new(0, 0).address(), 0);
    }

    #[test]
    fn two_nodes_do_not_wait_alike() {
        let waits = |seed| {
            let mut r = Reconnect::new(1, seed);
            (0..8).map(|_| r.failed(Mono(0))).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
    }
}
