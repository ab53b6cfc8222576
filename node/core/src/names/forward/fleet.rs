//! Which upstream is asked first, and when the next one joins the race.
//!
//! Each has a smoothed time to answer and a row of failures. The quickest healthy one begins; the next joins when the
//! first takes clearly longer than it usually does, or fails. One that failed rests, longer each time, but is asked all the
//! same when nobody better is left: a network that came back is noticed by the first question.

use std::time::Duration;

use crate::clock::Mono;

/// Of one answer in the smoothed time: an eighth (RFC 6298 section 2).
const WEIGHT: u32 = 8;
const REST_MS: u64 = 1_000;
const LONGEST_REST_MS: u64 = 60_000;
/// Before an upstream has answered once, another joins after this.
const UNKNOWN_HEDGE_MS: u64 = 100;
const HEDGE_MS: std::ops::RangeInclusive<u64> = 20..=400;
/// Every so many questions a second upstream is asked at once, so that the times of the others stay known.
const PROBE_EVERY: u64 = 64;

/// Answers are counted by the time they took: within so many milliseconds, and one class for what took longer.
pub const WITHIN_MS: [u32; 5] = [5, 20, 100, 500, 2_000];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Smoothed milliseconds to an answer.
    pub answers_in_ms: Option<u32>,
    pub answers: u64,
    /// Of the answers, each counted once: by [`WITHIN_MS`], and the rest.
    pub within: [u64; WITHIN_MS.len() + 1],
    pub failures: u64,
    /// In a row, up to now.
    pub failing: u32,
    pub last_error: Option<String>,
    resting_until: Option<Mono>,
}

impl Health {
    pub fn is_resting(&self, now: Mono) -> bool {
        self.resting_until.is_some_and(|until| now < until)
    }
}

/// The upstreams of one group, by their place in it.
#[derive(Clone, Debug)]
pub struct Fleet {
    members: Vec<Health>,
    questions: u64,
}

/// A race: who begins, and after what silence each next one joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    /// Upstream and how long to wait for those before it.
    pub starters: Vec<(usize, Duration)>,
}

impl Fleet {
    pub fn new(members: usize) -> Fleet {
        Fleet { members: vec![Health::default(); members], questions: 0 }
    }

    pub fn health(&self) -> &[Health] {
        &self.members
    }

    pub fn race(&mut self, now: Mono) -> Race {
        self.questions += 1;
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|i| self.rank(*i, now));
        let probe = self.questions.is_multiple_of(PROBE_EVERY) && order.len() > 2;
        if probe {
            // Somebody behind the second place gets the second place.
            let behind = 2 + (self.questions / PROBE_EVERY) as usize % (order.len() - 2);
            order.swap(1, behind);
        }
        let wait = |place: usize, before: Option<usize>| match before {
            None => Duration::ZERO,
            Some(_) if probe && place == 1 => Duration::ZERO,
            Some(before) => self.patience(before),
        };
        let befores = std::iter::once(None).chain(order.iter().copied().map(Some));
        let starters = order.iter().zip(befores).enumerate().map(|(n, (i, b))| (*i, wait(n, b))).collect();
        Race { starters }
    }

    /// Healthy before failing, known before unknown, quick before slow, then as written.
    fn rank(&self, i: usize, now: Mono) -> (bool, u32, u32, usize) {
        let health = self.members.get(i).cloned().unwrap_or_default();
        (health.is_resting(now), health.failing, health.answers_in_ms.unwrap_or(u32::MAX), i)
    }

    /// How long the one in front may take before the next joins.
    fn patience(&self, i: usize) -> Duration {
        let usual = self.members.get(i).and_then(|health| health.answers_in_ms);
        let ms = usual.map_or(UNKNOWN_HEDGE_MS, |ms| u64::from(ms).saturating_mul(2));
        Duration::from_millis(ms.clamp(*HEDGE_MS.start(), *HEDGE_MS.end()))
    }

    pub fn handle_answer(&mut self, i: usize, took: Duration) {
        let Some(health) = self.members.get_mut(i) else { return };
        let ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX).max(1);
        let smoothed = health.answers_in_ms.map_or(ms, |old| old - old / WEIGHT + ms / WEIGHT);
        health.answers_in_ms = Some(smoothed.max(1));
        health.answers += 1;
        let class = WITHIN_MS.iter().position(|end| ms <= *end).unwrap_or(WITHIN_MS.len());
        if let Some(count) = health.within.get_mut(class) {
            *count += 1;
        }
        health.failing = 0;
        health.resting_until = None;
    }

    pub fn handle_failure(&mut self, i: usize, why: &str, now: Mono) {
        let Some(health) = self.members.get_mut(i) else { return };
        health.failures += 1;
        health.failing = health.failing.saturating_add(1);
        health.last_error = Some(why.chars().take(300).collect());
        let rest = REST_MS.saturating_mul(1 << health.failing.min(10).saturating_sub(1)).min(LONGEST_REST_MS);
        health.resting_until = Some(now.plus_millis(rest));
    }

    /// Another answered first: this one was slow, not wrong.
    pub fn handle_overtaken(&mut self, i: usize, after: Duration) {
        let Some(health) = self.members.get_mut(i) else { return };
        let ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
        if health.answers_in_ms.is_none_or(|old| old < ms) {
            health.answers_in_ms = Some(ms.max(1));
        }
    }
}
