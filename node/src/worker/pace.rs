//! How an egress thread shares the processors with those who send.
//!
//! A lone packet should leave at once, so the thread goes before ordinary programs. But small packets that come one by one
//! at a high rate would then each interrupt their sender, and the thread would find one packet, send it alone and sleep
//! again. So when many come it goes before nobody, and when very many come it lets some gather, as a network card does
//! before it interrupts: fewer wake-ups, and full batches.

use std::time::Duration;

use warren_node_core::clock::Mono;

/// Frames a millisecond. An exchange of single packets, however fast, stays below the first.
const BRISK: u64 = 24;
const FLOOD: u64 = 64;
const WINDOW_NANOS: u64 = 1_000_000;
/// What gathers meanwhile must fit the queue of the TUN (500 packets), also at a million packets a second.
const GATHER: Duration = Duration::from_micros(50);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tempo {
    #[default]
    Calm,
    Brisk,
    Flood,
}

impl Tempo {
    /// How long to let frames gather.
    pub fn gather(self) -> Option<Duration> {
        (self == Tempo::Flood).then_some(GATHER)
    }
}

#[derive(Debug, Default)]
pub struct Pace {
    since: Mono,
    frames: u64,
    tempo: Tempo,
}

impl Pace {
    /// `frames` were taken, the last one at `now`.
    pub fn took(&mut self, frames: u64, now: Mono) -> Tempo {
        self.frames = self.frames.saturating_add(frames);
        let passed = now.0.saturating_sub(self.since.0);
        if self.frames >= FLOOD || passed >= WINDOW_NANOS {
            let rate = self.frames.saturating_mul(WINDOW_NANOS) / passed.max(1);
            self.tempo = match rate {
                FLOOD.. => Tempo::Flood,
                BRISK.. => Tempo::Brisk,
                _ => Tempo::Calm,
            };
            (self.since, self.frames) = (now, 0);
        }
        self.tempo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(us: u64) -> Mono {
        Mono(1_000_000_000 + 1000 * us)
    }

    /// What it comes to when frames come one by one, `apart` microseconds from each other.
    fn tempo(apart: u64) -> Tempo {
        let (mut pace, mut tempo) = (Pace::default(), Tempo::default());
        for n in 0..1000 {
            tempo = pace.took(1, micros(n * apart));
        }
        tempo
    }

    #[test]
    fn single_packets_never_wait_and_only_a_flood_gathers() {
        let wanted = [(1, Tempo::Flood), (14, Tempo::Flood), (17, Tempo::Brisk), (39, Tempo::Brisk)];
        for (apart, want) in wanted.into_iter().chain([(45, Tempo::Calm), (200, Tempo::Calm)]) {
            assert_eq!(tempo(apart), want, "{apart} µs apart");
            assert_eq!(want.gather().is_some(), want == Tempo::Flood);
        }
    }

    #[test]
    fn batches_count_as_what_is_in_them() {
        let mut pace = Pace::default();
        for n in 0..10 {
            pace.took(20, micros(n * 100));
        }
        assert_eq!(pace.took(20, micros(1000)), Tempo::Flood);
    }

    #[test]
    fn after_a_flood_the_first_lone_frame_finds_it_calm() {
        let mut pace = Pace::default();
        for n in 0..1000 {
            pace.took(1, micros(n));
        }
        assert_eq!(pace.took(1, micros(1001)), Tempo::Flood);
        assert_eq!(pace.took(1, micros(5000)), Tempo::Calm);
    }
}
