//! How much a seat may send.

use std::time::Duration;

use super::Moment;

/// What a seat may send at once, as the time in which it could send that evenly.
pub const BURST: Duration = Duration::from_millis(100);

/// Of each seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Megabits a second.
    pub megabits: u64,
    /// Frames a second.
    pub packets: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { megabits: 1000, packets: 250_000 }
    }
}

impl Limits {
    /// The time that is filled by so many bytes, and by one frame.
    fn cost(&self, bytes: usize) -> [Duration; 2] {
        let nanos = (bytes as u64).saturating_mul(8000) / self.megabits.max(1);
        [Duration::from_nanos(nanos), Duration::from_nanos(1_000_000_000 / self.packets.max(1))]
    }
}

/// Until when what was sent has filled the time: by bytes, and by frames.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    filled: [Moment; 2],
}

impl Bucket {
    pub fn new(now: Moment) -> Bucket {
        Bucket { filled: [now; 2] }
    }

    /// False for what is too much.
    pub fn take(&mut self, bytes: usize, limits: &Limits, now: Moment) -> bool {
        let cost = limits.cost(bytes);
        let [a, b] = std::array::from_fn(|i| fill(self.filled.get(i), cost.get(i), now));
        let (Some(a), Some(b)) = (a, b) else { return false };
        self.filled = [a, b];
        true
    }
}

/// `None` if it is filled for longer than a burst. What is longer alone still goes, now and then.
fn fill(filled: Option<&Moment>, cost: Option<&Duration>, now: Moment) -> Option<Moment> {
    let (filled, cost) = ((*filled?).max(now), *cost?);
    let full = filled.saturating_sub(now) >= BURST;
    filled.checked_add(cost).filter(|_| !full)
}

/// So many at once, and then so many a second.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    filled: Moment,
}

impl Budget {
    pub fn new(now: Moment) -> Budget {
        Budget { filled: now }
    }

    pub fn take(&mut self, burst: u32, per_second: u32, now: Moment) -> bool {
        let one = Duration::from_secs(1) / per_second.max(1);
        let filled = self.filled.max(now);
        let ok = filled.saturating_sub(now) < one.saturating_mul(burst);
        if let Some(later) = filled.checked_add(one).filter(|_| ok) {
            self.filled = later;
        }
        ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_sends_what_its_limits_say_and_a_burst() {
        let start = Duration::from_secs(1000);
        for (limits, bytes, per_second) in [
            (Limits { megabits: 8, packets: 1_000_000 }, 1000, 1000),
            (Limits { megabits: 1000, packets: 500 }, 100, 500),
        ] {
            let mut bucket = Bucket::new(start);
            let mut taken = 0;
            for tenth_ms in 0..20_000 {
                let now = start + Duration::from_micros(tenth_ms * 100);
                taken += (0..2).filter(|_| bucket.take(bytes, &limits, now)).count();
            }
            let want = 2 * per_second + per_second / 10;
            assert!((want - 2..=want + 2).contains(&taken), "{taken} of {limits:?}, not {want}");
        }
    }

    #[test]
    fn questions_are_few_once_the_first_are_asked() {
        let start = Duration::from_secs(1000);
        let mut budget = Budget::new(start);
        let mut asked = |now| (0..1000).filter(|_| budget.take(100, 10, now)).count();
        assert_eq!((asked(start), asked(start + Duration::from_secs(1))), (100, 10));
    }
}
