//! Which counters of a seat have been used (RFC 6479): a ring of words, of which only those in front are cleared.

const WORDS: u64 = 64;
const BITS: u64 = 64;
/// A counter that is so much older than the newest is refused, whether or not it was used.
pub const WINDOW: u64 = (WORDS - 1) * BITS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    /// As new as none before.
    Newest,
    /// Overtaken on its way.
    Late,
    /// Used before, or too old to be known.
    Used,
}

#[derive(Clone, Debug)]
pub(super) struct Window {
    newest: u64,
    ring: [u64; WORDS as usize],
}

impl Default for Window {
    fn default() -> Window {
        Window { newest: 0, ring: [0; WORDS as usize] }
    }
}

impl Window {
    /// Uses a counter.
    pub fn take(&mut self, counter: u64) -> Counter {
        let newest = counter >= self.newest;
        if self.newest.saturating_sub(counter) >= WINDOW {
            return Counter::Used;
        }
        if newest {
            self.advance(counter);
        }
        let bit = 1 << (counter % BITS);
        let Some(word) = self.ring.get_mut((counter / BITS % WORDS) as usize) else { return Counter::Used };
        let used = *word & bit != 0;
        *word |= bit;
        match (used, newest) {
            (true, _) => Counter::Used,
            (false, true) => Counter::Newest,
            (false, false) => Counter::Late,
        }
    }

    fn advance(&mut self, counter: u64) {
        let (old, new) = (self.newest / BITS, counter / BITS);
        for word in old.saturating_add(1).max(new.saturating_sub(WORDS - 1))..=new {
            if let Some(word) = self.ring.get_mut((word % WORDS) as usize) {
                *word = 0;
            }
        }
        self.newest = counter;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The slow judge remembers every counter.
        #[test]
        fn a_counter_is_taken_once_and_the_newest_is_known(steps in prop::collection::vec((any::<bool>(), 0u64..6000), 1..400)) {
            let (mut window, mut used, mut newest) = (Window::default(), BTreeSet::new(), 0u64);
            for (forth, by) in steps {
                let counter = if forth { newest + by % 200 } else { newest.saturating_sub(by) };
                let known = used.contains(&counter) || newest.saturating_sub(counter) >= WINDOW;
                let want = if known { Counter::Used } else if counter >= newest { Counter::Newest } else { Counter::Late };
                prop_assert_eq!(window.take(counter), want, "{} after {}", counter, newest);
                used.insert(counter);
                newest = newest.max(counter);
            }
        }
    }

    #[test]
    fn a_leap_forgets_all_that_was_before() {
        let mut window = Window::default();
        let steps = [0, 1, 5000, 5000 - WINDOW, 5001 - WINDOW, 1 << 40, (1 << 40) - 1, 1 << 40];
        use Counter::{Late, Newest, Used};
        let want = [Newest, Newest, Newest, Used, Late, Newest, Late, Used];
        assert_eq!(steps.map(|counter| window.take(counter)), want);
    }
}
