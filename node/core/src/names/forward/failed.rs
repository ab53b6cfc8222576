//! Failures kept (RFC 9520): what just failed is not asked again at once, however often it is asked here.
//!
//! A network that was away may be back at any moment: such a failure is kept for a second, and the upstreams' own rest
//! ([`super::fleet`]) spares the servers. What an upstream said (or what its signatures do not prove) is kept longer each
//! time.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::ask::Asked;
use super::{Failure, Loss};
use crate::clock::Mono;

/// RFC 9520 section 3.2: at least a second, never more than five minutes.
const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 300_000;
/// More are pushed out, oldest first.
const ENTRIES: usize = 4_096;

#[derive(Debug)]
struct Entry {
    failure: Failure,
    until: Mono,
    /// Failures one after the other, up to now.
    row: u32,
}

/// Questions that failed lately.
#[derive(Debug, Default)]
pub struct Failures {
    entries: HashMap<Asked, Entry>,
    /// As they came; what was forgotten meanwhile may still stand in it.
    order: VecDeque<Asked>,
}

impl Failures {
    /// The failure that still stands for this question.
    pub fn find(&self, asked: &Asked, now: Mono) -> Option<&Failure> {
        self.entries.get(asked).filter(|entry| now < entry.until).map(|entry| &entry.failure)
    }

    pub fn handle_failure(&mut self, asked: &Asked, failure: &Failure, now: Mono) {
        let Some(growing) = grows(failure) else { return };
        let before = self.entries.get(asked).filter(|entry| now < entry.until.plus_millis(LONGEST_MS));
        let row = before.filter(|_| growing).map_or(0, |entry| entry.row.saturating_add(1));
        let until = now.plus_millis(FIRST_MS.saturating_mul(1 << row.min(10)).min(LONGEST_MS));
        let entry = Entry { failure: failure.clone(), until, row };
        if self.entries.insert(asked.clone(), entry).is_none() {
            self.order.push_back(asked.clone());
        }
        while self.order.len() > ENTRIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    pub fn handle_answer(&mut self, asked: &Asked) {
        self.entries.remove(asked);
    }

    /// Other upstreams or other rules.
    pub fn clear(&mut self) {
        *self = Failures::default();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Is it kept longer each time? `None`: it is not kept, because it says nothing about the question.
fn grows(failure: &Failure) -> Option<bool> {
    match failure {
        Failure::NoUpstream | Failure::Busy => None,
        Failure::Tried(tried) => Some(tried.iter().any(|(_, loss)| !matches!(loss, Loss::Network(_)))),
        Failure::Screened(_) => Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::super::screen::Refusal;
    use super::*;

    fn asked(name: &str) -> Asked {
        Asked { name: name.to_owned(), kind: 1, dnssec_ok: false, checking_disabled: false }
    }

    fn tried(loss: Loss) -> Failure {
        Failure::Tried(vec![("tls://192.0.2.1:853#a".to_owned(), loss)])
    }

    fn servfail() -> Failure {
        tried(Loss::Answer(Refusal::Code("Server Failure".to_owned())))
    }

    /// For how many milliseconds it is found after it happened.
    fn kept(failures: &Failures, asked: &Asked, since: Mono) -> u64 {
        (0..400_000).step_by(500).find(|ms| failures.find(asked, since.plus_millis(*ms)).is_none()).unwrap()
    }

    #[test]
    fn a_failure_stands_for_a_second_and_longer_each_time_up_to_five_minutes() {
        let (mut failures, a) = (Failures::default(), asked("a.example"));
        let mut now = Mono::from_millis(1_000_000);
        let mut times = Vec::new();
        for _ in 0..11 {
            failures.handle_failure(&a, &servfail(), now);
            times.push(kept(&failures, &a, now) / 1000);
            now = now.plus_millis(times.last().unwrap() * 1000);
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(failures.find(&asked("b.example"), now).is_none());
        failures.handle_answer(&a);
        failures.handle_failure(&a, &servfail(), now);
        assert_eq!(kept(&failures, &a, now), 1_000, "an answer begins anew");
    }

    #[test]
    fn a_network_that_is_away_is_asked_every_second_and_what_is_our_own_fault_is_not_kept() {
        let (mut failures, a) = (Failures::default(), asked("a.example"));
        let mut now = Mono::from_millis(1_000_000);
        for _ in 0..5 {
            failures.handle_failure(&a, &tried(Loss::Network("no answer in time".to_owned())), now);
            assert_eq!(kept(&failures, &a, now), 1_000);
            now = now.plus_millis(1_000);
        }
        failures.clear();
        for ours in [Failure::Busy, Failure::NoUpstream] {
            failures.handle_failure(&a, &ours, now);
            assert!(failures.is_empty(), "{ours:?}");
        }
    }

    #[test]
    fn a_flood_of_failures_takes_bounded_room() {
        let (mut failures, now) = (Failures::default(), Mono::from_millis(1_000_000));
        for i in 0..20_000 {
            let one = asked(&format!("r{i}.example"));
            failures.handle_failure(&one, &servfail(), now);
            if i % 3 == 0 {
                failures.handle_answer(&one);
            }
        }
        assert!(failures.len() <= ENTRIES && failures.order.len() <= ENTRIES);
        assert!(failures.find(&asked("r19999.example"), now).is_some());
        assert!(failures.find(&asked("r1.example"), now).is_none());
    }
}
