//! How large a packet the path to a peer carries, found out by asking (RFC 8899): routers that are silent about what they drop
//! are common, and then nothing else tells.
//!
//! A question is padded to the size it asks about and leaves unfragmented; its answer is small, so each end finds out
//! its own direction. The full size is asked alone; only if that gets no answer, all sizes are asked together, twice: the largest
//! that is answered is the path's. What is lost by chance costs a minute of smaller packets, never a connection.

use crate::clock::Mono;

/// For an answer.
const PATIENCE_MS: u64 = 700;
/// A path may become narrower, or wider.
const AGAIN_MS: u64 = 60_000;
/// After a search in which nothing was answered: then it is not the size.
const DEAD_MS: u64 = 2_000;
/// Rounds in which all sizes are asked.
const ROUNDS: u8 = 2;

/// A question: the inner packet is padded to `size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub nonce: u64,
    pub size: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The path in use was never asked about.
    #[default]
    Unknown,
    /// The full size was asked.
    Asked,
    /// All sizes were asked so often.
    Searching(u8),
    /// Until it is asked again.
    Known,
}

#[derive(Clone, Debug, Default)]
pub struct Sizes {
    state: State,
    next: Mono,
    open: Vec<Probe>,
    /// The largest that was answered since the search began.
    largest: usize,
    full: usize,
    /// Less than the full size, if that is known.
    limit: Option<usize>,
    drawn: u64,
}

impl Sizes {
    /// The path in use is another.
    pub fn moved(&mut self) {
        *self = Sizes { drawn: self.drawn, ..Sizes::default() };
    }

    /// The largest packet the path carries, if it is less than was tried first.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// What to ask, if it is time. `full`: the largest that makes sense; `sizes`: smaller ones to try.
    pub fn poll(&mut self, full: usize, sizes: &[usize], now: Mono) -> Vec<Probe> {
        if full != self.full {
            *self = Sizes {
                drawn: self.drawn,
                full,
                limit: self.limit.filter(|l| *l < full),
                ..Sizes::default()
            };
        }
        if now < self.next {
            return Vec::new();
        }
        self.next = now.plus_millis(PATIENCE_MS);
        match self.state {
            State::Unknown | State::Known => {
                self.open.clear();
                self.largest = 0;
                self.state = State::Asked;
                self.ask(&[])
            }
            State::Asked => {
                self.state = State::Searching(1);
                self.ask(sizes)
            }
            State::Searching(rounds) if rounds < ROUNDS => {
                self.state = State::Searching(rounds + 1);
                self.ask(sizes)
            }
            State::Searching(_) => {
                self.conclude(now);
                Vec::new()
            }
        }
    }

    fn ask(&mut self, sizes: &[usize]) -> Vec<Probe> {
        let smaller = sizes.iter().copied().filter(|size| *size < self.full);
        let asked: Vec<usize> = std::iter::once(self.full).chain(smaller).collect();
        let from = self.open.len();
        for size in asked {
            self.drawn = self.drawn.wrapping_add(1);
            self.open.push(Probe { nonce: self.drawn, size });
        }
        self.open.iter().skip(from).copied().collect()
    }

    fn conclude(&mut self, now: Mono) {
        if self.largest == 0 {
            self.state = State::Unknown;
            self.next = now.plus_millis(DEAD_MS);
            return;
        }
        self.limit = Some(self.largest).filter(|largest| *largest < self.full);
        self.state = State::Known;
        self.next = now.plus_millis(AGAIN_MS);
    }

    /// True if this answers a question of ours.
    pub fn answered(&mut self, nonce: u64, now: Mono) -> bool {
        let Some(at) = self.open.iter().position(|probe| probe.nonce == nonce) else { return false };
        let probe = self.open.swap_remove(at);
        self.largest = self.largest.max(probe.size);
        if probe.size == self.full {
            self.conclude(now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LADDER: [usize; 4] = [1412, 1320, 1220, 1044];

    /// Asks for `ms` over a path that carries `carries` bytes and loses every `lost`-th question; how many were asked.
    fn walk(sizes: &mut Sizes, carries: usize, lost: usize, from: Mono, ms: u64) -> usize {
        let mut asked = 0;
        for step in 0..ms / 100 {
            let now = from.plus_millis(step * 100);
            for probe in sizes.poll(1420, &LADDER, now) {
                asked += 1;
                if probe.size <= carries && asked % lost != 0 {
                    assert!(sizes.answered(probe.nonce, now.plus_millis(20)));
                    assert!(!sizes.answered(probe.nonce, now), "an answer counts once");
                }
            }
        }
        asked
    }

    #[test]
    fn a_path_that_carries_everything_costs_one_question_a_minute() {
        let mut sizes = Sizes::default();
        assert_eq!(walk(&mut sizes, 1420, usize::MAX, Mono::from_millis(1000), 600_000), 10);
        assert_eq!(sizes.limit(), None);
    }

    #[test]
    fn the_largest_size_that_is_answered_is_the_paths_within_three_seconds() {
        for (carries, want) in [(1419, 1412), (1412, 1412), (1400, 1320), (1219, 1044)] {
            let mut sizes = Sizes::default();
            walk(&mut sizes, carries, usize::MAX, Mono::from_millis(1000), 3000);
            assert_eq!(sizes.limit(), Some(want), "{carries}");
        }
    }

    #[test]
    fn a_path_that_widens_is_used_a_minute_later_and_one_that_narrows_as_well() {
        let mut sizes = Sizes::default();
        let (mut now, minute) = (Mono::from_millis(1000), 64_000);
        for (carries, want) in [(1320, Some(1320)), (1420, None), (1220, Some(1220)), (1412, Some(1412))] {
            walk(&mut sizes, carries, usize::MAX, now, minute);
            assert_eq!(sizes.limit(), want);
            now = now.plus_millis(minute);
        }
    }

    /// A question that is lost by chance: the second round asks again.
    #[test]
    fn chance_makes_no_path_narrow() {
        for lost in [2, 3, 5] {
            let mut sizes = Sizes::default();
            walk(&mut sizes, 1420, lost, Mono::from_millis(1000), 10_000);
            assert_eq!(sizes.limit(), None, "every {lost}");
        }
    }

    #[test]
    fn a_path_that_answers_nothing_is_not_narrow() {
        let mut sizes = Sizes::default();
        let asked = walk(&mut sizes, 0, usize::MAX, Mono::from_millis(1000), 60_000);
        assert_eq!(sizes.limit(), None);
        assert!(asked < 200, "{asked} in a minute");
    }

    #[test]
    fn another_path_begins_anew() {
        let mut sizes = Sizes::default();
        walk(&mut sizes, 1220, usize::MAX, Mono::from_millis(1000), 3000);
        sizes.moved();
        assert_eq!(sizes.limit(), None);
        assert_eq!(sizes.poll(1420, &LADDER, Mono::from_millis(5000)).len(), 1);
    }
}
