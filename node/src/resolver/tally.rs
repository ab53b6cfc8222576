//! What was asked and answered, in numbers: by class of name and outcome, never by name.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use warren_wire::names::NameClass;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In the zone, or a reverse name of ours.
    Overlay,
    /// With a meaning of its own.
    Special,
    /// Of a suffix with upstreams of its own.
    Split,
    /// Of everybody else.
    Forwarded,
    /// Not asked anywhere: no upstream is set.
    Elsewhere,
    /// No question that can be answered.
    Broken,
}

const CLASSES: [(Class, &str); 6] = [
    (Class::Overlay, "overlay"),
    (Class::Special, "special"),
    (Class::Split, "split"),
    (Class::Forwarded, "forwarded"),
    (Class::Elsewhere, "elsewhere"),
    (Class::Broken, "broken"),
];

impl Class {
    pub fn as_str(self) -> &'static str {
        CLASSES.iter().find(|(class, _)| *class == self).map_or("", |(_, text)| text)
    }

    /// As the coordinator is told, where it is; what is no question has no name.
    pub fn told(self) -> Option<NameClass> {
        Some(match self {
            Class::Overlay => NameClass::Overlay,
            Class::Special => NameClass::Special,
            Class::Split => NameClass::Split,
            Class::Forwarded => NameClass::Forwarded,
            Class::Elsewhere => NameClass::Elsewhere,
            Class::Broken => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From what is known here, the cache included.
    Local,
    Upstream,
    /// Past its life, because no upstream answered.
    Stale,
    Refused,
    Failed,
}

impl Outcome {
    /// "There is no such name" is an answer.
    pub fn is_answer(self) -> bool {
        matches!(self, Outcome::Local | Outcome::Upstream | Outcome::Stale)
    }
}

const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Local, "local"),
    (Outcome::Upstream, "upstream"),
    (Outcome::Stale, "stale"),
    (Outcome::Refused, "refused"),
    (Outcome::Failed, "failed"),
];

#[derive(Debug, Default)]
pub struct Tally {
    counts: [[AtomicU64; OUTCOMES.len()]; CLASSES.len()],
    prefetched: AtomicU64,
    remembered: AtomicU64,
    dropped: AtomicU64,
    crowded_out: AtomicU64,
}

impl Tally {
    pub fn count(&self, class: Class, outcome: Outcome) {
        let class = CLASSES.iter().position(|(c, _)| *c == class);
        let outcome = OUTCOMES.iter().position(|(o, _)| *o == outcome);
        if let (Some(class), Some(outcome)) = (class, outcome)
            && let Some(count) = self.counts.get(class).and_then(|row| row.get(outcome))
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn count_prefetch(&self) {
        self.prefetched.fetch_add(1, Ordering::Relaxed);
    }

    /// A failure that was given again without asking (RFC 9520).
    pub fn count_remembered(&self) {
        self.remembered.fetch_add(1, Ordering::Relaxed);
    }

    /// A question that found no room.
    pub fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A datagram that was not read, because others of its asker waited already.
    pub fn count_crowded_out(&self) {
        self.crowded_out.fetch_add(1, Ordering::Relaxed);
    }

    pub fn list(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for ((_, class), row) in CLASSES.iter().zip(&self.counts) {
            for ((_, outcome), count) in OUTCOMES.iter().zip(row) {
                all.insert(format!("dns-{class}-{outcome}"), count.load(Ordering::Relaxed));
            }
        }
        all.insert("dns-prefetched".to_owned(), self.prefetched.load(Ordering::Relaxed));
        all.insert("dns-failure-remembered".to_owned(), self.remembered.load(Ordering::Relaxed));
        all.insert("dns-no-room".to_owned(), self.dropped.load(Ordering::Relaxed));
        all.insert("dns-crowded-out".to_owned(), self.crowded_out.load(Ordering::Relaxed));
        all
    }
}
