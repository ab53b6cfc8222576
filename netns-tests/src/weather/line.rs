//! One direction of a bad link: what happens to each frame, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Weather;

/// Frames under way never hold more memory than this.
const MAX_HELD: usize = 64 << 20;
/// Longest that a frame waits for the rate, in microseconds.
const QUEUE: u64 = 250_000;

/// What became of the frames that were offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub offered: u64,
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub overtook: u64,
    /// The queue in front of the rate was full.
    pub overflowed: u64,
}

#[derive(Debug)]
pub struct Line {
    weather: Weather,
    chance: Chance,
    /// When the last frame will have left the queue in front of the rate.
    busy: u64,
    /// When the last frame that keeps the order arrives.
    latest: u64,
    under_way: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>>,
    held: usize,
    number: u64,
    pub counts: Counts,
}

impl Line {
    pub fn new(weather: Weather, seed: u64) -> Line {
        Line {
            weather,
            chance: Chance(seed),
            busy: 0,
            latest: 0,
            under_way: BinaryHeap::new(),
            held: 0,
            number: 0,
            counts: Counts::default(),
        }
    }

    /// A frame goes in at `now` (microseconds, never less than before).
    pub fn offer(&mut self, now: u64, frame: &[u8]) {
        self.counts.offered += 1;
        // All dice are thrown for every frame, so that one kind of mishap does not move another.
        let lost = self.chance.of_million(self.weather.loss);
        let twice = self.chance.of_million(self.weather.duplicate);
        let overtakes = self.chance.of_million(self.weather.reorder);
        let jitter = self.chance.up_to(self.weather.jitter);
        if lost {
            self.counts.lost += 1;
            return;
        }
        let Some(sent) = self.leave_queue(now, frame.len()) else {
            self.counts.overflowed += 1;
            return;
        };
        let due = if overtakes { sent } else { (sent + self.weather.delay + jitter).max(self.latest) };
        match overtakes {
            true => self.counts.overtook += 1,
            false => self.latest = due,
        }
        self.counts.duplicated += u64::from(twice);
        for _ in 0..1 + usize::from(twice) {
            self.number += 1;
            self.held += frame.len();
            self.under_way.push(Reverse((due, self.number, frame.to_vec())));
        }
    }

    /// When the frame has passed the rate; `None` if its queue is full.
    fn leave_queue(&mut self, now: u64, bytes: usize) -> Option<u64> {
        let start = self.busy.max(now);
        if start - now > QUEUE || self.held + 2 * bytes > MAX_HELD {
            return None;
        }
        let takes = (bytes as u64 * 8 * 1_000_000).checked_div(self.weather.rate).unwrap_or(0);
        self.busy = start + takes;
        Some(self.busy)
    }

    /// The next frame that has arrived by `now`.
    pub fn arrived(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, _, frame)) = self.under_way.pop()?;
        self.held -= frame.len();
        self.counts.delivered += 1;
        Some(frame)
    }

    /// When something arrives next.
    pub fn next(&self) -> Option<u64> {
        self.under_way.peek().map(|Reverse((due, ..))| *due)
    }
}

/// SplitMix64: small, seeded, good enough for weather.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of_million(&mut self, share: u32) -> bool {
        self.draw() % 1_000_000 < u64::from(share)
    }

    fn up_to(&mut self, most: u64) -> u64 {
        self.draw() % (most + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers `frames` frames of 1,000 bytes, one each `gap`, and says in which order and when they arrive.
    fn run(weather: &str, seed: u64, frames: u32, gap: u64) -> (Vec<(u32, u64)>, Counts) {
        let mut line = Line::new(weather.parse().unwrap(), seed);
        let mut seen = Vec::new();
        let mut take = |line: &mut Line, until: u64| {
            while let Some(at) = line.next().filter(|at| *at <= until) {
                let frame = line.arrived(at).unwrap();
                seen.push((u32::from_be_bytes(frame[..4].try_into().unwrap()), at));
            }
        };
        for i in 0..frames {
            let now = u64::from(i) * gap;
            take(&mut line, now);
            let mut frame = vec![0; 1000];
            frame[..4].copy_from_slice(&i.to_be_bytes());
            line.offer(now, &frame);
        }
        take(&mut line, u64::MAX);
        assert_eq!(line.held, 0);
        (seen, line.counts)
    }

    #[test]
    fn every_frame_is_delivered_lost_or_overflowed_and_counted() {
        let (seen, counts) =
            run("delay=500,jitter=300,loss=100000,duplicate=50000,reorder=20000", 7, 100_000, 10);
        assert_eq!(counts.offered + counts.duplicated, counts.delivered + counts.lost + counts.overflowed);
        assert_eq!(seen.len() as u64, counts.delivered);
        for (found, share) in [(counts.lost, 0.1), (counts.duplicated, 0.045), (counts.overtook, 0.018)] {
            let found = found as f64 / 100_000.0;
            assert!((found - share).abs() < share / 10.0, "{found} is not near {share}: {counts:?}");
        }
    }

    #[test]
    fn without_reordering_the_order_is_kept_whatever_the_jitter() {
        let (seen, _) = run("delay=1000,jitter=5000", 3, 10_000, 10);
        assert!(seen.is_sorted());
        assert!(seen.iter().all(|(i, at)| (1000..=6000).contains(&(at - u64::from(*i) * 10))));
        let (seen, counts) = run("delay=1000,reorder=10000", 3, 10_000, 10);
        let overtaken = seen.windows(2).filter(|pair| pair[0].0 > pair[1].0).count() as u64;
        assert!(counts.overtook > 50 && overtaken >= counts.overtook / 2, "{overtaken} {counts:?}");
    }

    #[test]
    fn a_rate_spaces_frames_and_a_full_queue_loses_them() {
        // 1,000 bytes at 8 Mbit/s are a millisecond each.
        let (seen, counts) = run("rate=8000000", 1, 1_000, 500);
        assert!(seen.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 1000));
        assert!(counts.overflowed > 200, "{counts:?}");
        assert!(seen.iter().all(|(i, at)| at - u64::from(*i) * 500 <= QUEUE + 1000));
    }

    #[test]
    fn the_same_seed_gives_the_same_fate() {
        let weather = "delay=100,jitter=900,loss=200000,duplicate=100000,reorder=100000";
        assert_eq!(run(weather, 5, 5_000, 7), run(weather, 5, 5_000, 7));
        assert_ne!(run(weather, 5, 5_000, 7), run(weather, 6, 5_000, 7));
    }

    #[test]
    fn weather_is_written_and_read_back() {
        let weather: Weather = "delay=20000,loss=10000,rate=8000000".parse().unwrap();
        assert_eq!(weather.to_string().parse(), Ok(weather));
        for bad in ["delay", "dealy=1", "loss=1000001", "rate=-1"] {
            assert!(bad.parse::<Weather>().is_err(), "{bad}");
        }
    }
}
