//! Answers kept: fresh ones are given at once, those near their end are asked again before anybody waits for it, and
//! those past it are still better than none when no upstream answers (RFC 8767).
//!
//! Bounded in number and bytes. What was asked for since it was last looked at gets a second chance; so a flood of names
//! that are asked once pushes out its own kind first.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::ask::Asked;
use super::stored::Stored;
use crate::clock::Mono;

/// How long past its end an answer may still be given, in seconds (RFC 8767 section 5: between one and three days).
const STALE_SECONDS: u64 = 86_400;
/// Asked again when this part of its life is left.
const PREFETCH_PART: u64 = 10;
/// What lives shorter is not worth asking for ahead of time.
const PREFETCH_LIFE: u64 = 10;
/// After a try that found no upstream, a stale answer is given at once for so long (RFC 8767 section 5).
const RECHECK_MS: u64 = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub entries: usize,
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 20_000, bytes: 16 << 20 }
    }
}

#[derive(Clone, Debug)]
pub enum Found {
    /// `age` in seconds. With `prefetch` the caller should ask again now; it is told so once.
    Fresh {
        stored: Arc<Stored>,
        age: u32,
        prefetch: bool,
    },
    /// Ask, and give this if nobody answers; at once, and without asking, if `hopeless`.
    Stale {
        stored: Arc<Stored>,
        hopeless: bool,
    },
    Missing,
}

#[derive(Debug)]
struct Entry {
    stored: Arc<Stored>,
    at: Mono,
    used: bool,
    prefetched: bool,
    /// No upstream answered: nobody is asked until then.
    hopeless_until: Option<Mono>,
    /// What upstreams say now must not be passed on, and this does not become better by that: as if it were not there.
    revoked: bool,
}

impl Entry {
    fn is_hopeless(&self, now: Mono) -> bool {
        self.hopeless_until.is_some_and(|until| now < until)
    }

    fn age(&self, now: Mono) -> u64 {
        now.millis_since(self.at) / 1000
    }
    fn size(&self, asked: &Asked) -> usize {
        self.stored.size() + asked.name.len() * 2 + 200
    }
}

#[derive(Debug, Default)]
pub struct Cache {
    limits: Limits,
    entries: HashMap<Asked, Entry>,
    /// Each entry once, in the order in which they are looked at for removal.
    order: VecDeque<Asked>,
    bytes: usize,
}

impl Cache {
    pub fn new(limits: Limits) -> Cache {
        Cache { limits, ..Cache::default() }
    }

    pub fn find(&mut self, asked: &Asked, now: Mono) -> Found {
        let Some(entry) = self.entries.get_mut(asked).filter(|entry| !entry.revoked) else {
            return Found::Missing;
        };
        entry.used = true;
        let (age, life) = (entry.age(now), u64::from(entry.stored.ttl));
        let stored = Arc::clone(&entry.stored);
        if age < life {
            let near = life >= PREFETCH_LIFE && (life - age) * PREFETCH_PART <= life;
            let prefetch = near && !entry.prefetched && !entry.is_hopeless(now);
            entry.prefetched |= prefetch;
            return Found::Fresh { stored, age: age as u32, prefetch };
        }
        if age - life >= STALE_SECONDS {
            return Found::Missing;
        }
        Found::Stale { stored, hopeless: entry.is_hopeless(now) }
    }

    /// Answers without a life are not kept, and take nothing away.
    pub fn insert(&mut self, asked: Asked, stored: Arc<Stored>, now: Mono) {
        if stored.ttl == 0 {
            return;
        }
        let entry =
            Entry { stored, at: now, used: false, prefetched: false, hopeless_until: None, revoked: false };
        let size = entry.size(&asked);
        if size > self.limits.bytes {
            return;
        }
        self.bytes += size;
        match self.entries.insert(asked.clone(), entry) {
            Some(old) => self.bytes -= old.size(&asked),
            None => self.order.push_back(asked),
        }
        self.make_room();
    }

    /// No upstream answered this.
    pub fn handle_failure(&mut self, asked: &Asked, now: Mono) {
        if let Some(entry) = self.entries.get_mut(asked) {
            entry.hopeless_until = Some(now.plus_millis(RECHECK_MS));
            entry.prefetched = false;
        }
    }

    /// An upstream answered this, and the answer must be given to nobody: neither must what was known before.
    pub fn handle_verdict(&mut self, asked: &Asked) {
        // Its room is given back in its turn.
        if let Some(entry) = self.entries.get_mut(asked) {
            (entry.revoked, entry.used) = (true, false);
        }
    }

    fn make_room(&mut self) {
        while self.entries.len() > self.limits.entries || self.bytes > self.limits.bytes {
            let Some(asked) = self.order.pop_front() else { return };
            match self.entries.get_mut(&asked) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.order.push_back(asked);
                }
                Some(_) => self.remove(&asked),
                None => {}
            }
        }
    }

    fn remove(&mut self, asked: &Asked) {
        if let Some(entry) = self.entries.remove(asked) {
            self.bytes -= entry.size(asked);
        }
    }

    /// Other upstreams or other rules: what the old ones let in is forgotten.
    pub fn clear(&mut self) {
        *self = Cache::new(self.limits);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
