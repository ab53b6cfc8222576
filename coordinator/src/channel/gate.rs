//! Who may even begin a handshake: caps on strangers and on connections, in total and per source.
//!
//! A stranger has a place for as long as nobody else wants it: when the places of its source (or all of them) are taken,
//! the oldest of them that has had its time goes. So slow clients keep out nobody, and honest ones, who need a few round
//! trips, are not thrown out by a crowd that comes at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::source::Source;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connection attempts that wait to be looked at.
    pub incoming: usize,
    /// Connections that are not authorised yet.
    pub strangers: usize,
    pub strangers_per_source: usize,
    /// Bytes of unfinished messages that the strangers of one source may have gathered here, together.
    pub bytes_per_source: usize,
    /// All connections. Many nodes may share one address behind a NAT.
    pub connections: usize,
    pub connections_per_source: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            incoming: 512,
            strangers: 384,
            strangers_per_source: 8,
            bytes_per_source: 32 * 1024,
            connections: 20_000,
            connections_per_source: 4096,
        }
    }
}

/// From this many strangers of one source on, a new one must first prove that it receives at its address.
const RETRY_PER_SOURCE: usize = 4;
/// A stranger is not thrown out for another one before it has had this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the strangers of one source hold.
#[derive(Default)]
struct Held {
    places: usize,
    bytes: usize,
}

struct Stranger {
    source: Source,
    since: Instant,
    bytes: usize,
    leave: Arc<Notify>,
}

#[derive(Default)]
struct Counts {
    strangers: BTreeMap<Source, Held>,
    members: BTreeMap<Source, usize>,
    all_members: usize,
    /// In the order in which they came.
    queue: BTreeMap<u64, Stranger>,
    next: u64,
}

#[derive(Clone)]
pub struct Gate {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

pub enum Answer {
    Accept(Place),
    Retry,
    Refuse,
}

/// A counted place; given back when dropped.
pub struct Place {
    gate: Gate,
    source: Source,
    number: u64,
    leave: Arc<Notify>,
    member: bool,
}

impl Gate {
    pub fn new(limits: Limits) -> Gate {
        Gate { limits, counts: Arc::default() }
    }

    pub fn admit(&self, remote: SocketAddr, validated: bool, now: Instant) -> Answer {
        let source = Source::of(remote.ip());
        let limits = &self.limits;
        let mut counts = lock(&self.counts);
        let strangers = counts.strangers.get(&source).map_or(0, |held| held.places);
        let members = counts.members.get(&source).copied().unwrap_or(0);
        if strangers + members >= limits.connections_per_source
            || counts.queue.len() + counts.all_members >= limits.connections
        {
            return Answer::Refuse;
        }
        // Nobody is thrown out, and nothing remembered, for an address that may be forged.
        let busy = strangers >= RETRY_PER_SOURCE.min(limits.strangers_per_source)
            || counts.queue.len() * 2 >= limits.strangers;
        if !validated && busy {
            return Answer::Retry;
        }
        let full = strangers >= limits.strangers_per_source;
        let made_room = match (full, counts.queue.len() >= limits.strangers) {
            (true, _) => counts.evict(Some(source), now),
            (_, true) => counts.evict(None, now),
            (false, false) => true,
        };
        if !made_room {
            return Answer::Refuse;
        }
        let (number, leave) = counts.enter(source, now);
        Answer::Accept(Place { gate: self.clone(), source, number, leave, member: false })
    }
}

impl Place {
    /// The client is authorised: it counts as a connection, no more as a stranger.
    pub fn promote(&mut self) {
        if !self.member {
            let mut counts = lock(&self.gate.counts);
            counts.leave(self.number);
            *counts.members.entry(self.source).or_default() += 1;
            counts.all_members += 1;
            self.member = true;
        }
    }

    /// Of an unfinished message, so many bytes are held now. False if that is more than strangers of this source may hold
    /// together: then it is let go, and what it held is the others' at once, so that one who asks too much takes no second
    /// with it. Members are not counted here.
    pub fn holds(&self, bytes: usize) -> bool {
        let mut counts = lock(&self.gate.counts);
        let counts = &mut *counts;
        let Some(stranger) = counts.queue.get_mut(&self.number) else { return true };
        let Some(held) = counts.strangers.get_mut(&self.source) else { return true };
        let others = held.bytes.saturating_sub(stranger.bytes);
        let fits = others.saturating_add(bytes) <= self.gate.limits.bytes_per_source;
        stranger.bytes = if fits { bytes } else { 0 };
        held.bytes = others.saturating_add(stranger.bytes);
        fits
    }

    /// Wakes once if somebody else wants this place; never a member's.
    pub fn leave(&self) -> Arc<Notify> {
        Arc::clone(&self.leave)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.gate.counts);
        if !self.member {
            return counts.leave(self.number);
        }
        counts.all_members = counts.all_members.saturating_sub(1);
        if let Some(count) = counts.members.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.members.remove(&self.source);
            }
        }
    }
}

impl Counts {
    fn enter(&mut self, source: Source, now: Instant) -> (u64, Arc<Notify>) {
        let (number, leave) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.strangers.entry(source).or_default().places += 1;
        self.queue.insert(number, Stranger { source, since: now, bytes: 0, leave: Arc::clone(&leave) });
        (number, leave)
    }

    /// One that was thrown out has left already.
    fn leave(&mut self, number: u64) {
        let Some(stranger) = self.queue.remove(&number) else { return };
        if let Some(held) = self.strangers.get_mut(&stranger.source) {
            held.places = held.places.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(stranger.bytes);
            if held.places == 0 {
                self.strangers.remove(&stranger.source);
            }
        }
    }

    /// The oldest stranger (of `source`) goes if it has had its time.
    fn evict(&mut self, source: Option<Source>, now: Instant) -> bool {
        let oldest = self.queue.iter().find(|(_, s)| source.is_none_or(|source| s.source == source));
        let late = oldest.filter(|(_, stranger)| now.duration_since(stranger.since) >= PATIENCE);
        let Some((number, leave)) = late.map(|(number, s)| (*number, Arc::clone(&s.leave))) else {
            return false;
        };
        self.leave(number);
        leave.notify_one();
        true
    }
}

/// Counters stay whole even if a holder panicked: they are changed in single steps.
fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
    fn take(gate: &Gate, from: &str) -> Place {
        take_at(gate, from, Instant::now())
    }
    fn take_at(gate: &Gate, from: &str, now: Instant) -> Place {
        match gate.admit(addr(from), true, now) {
            Answer::Accept(place) => place,
            Answer::Retry => panic!("retry"),
            Answer::Refuse => panic!("refused"),
        }
    }
    fn small() -> Gate {
        Gate::new(Limits {
            strangers: 8,
            strangers_per_source: 5,
            bytes_per_source: 100,
            connections: 10,
            connections_per_source: 6,
            incoming: 1,
        })
    }

    #[test]
    fn one_source_cannot_take_the_places_of_all() {
        let gate = small();
        let held: Vec<_> = (0..5).map(|i| take(&gate, &format!("10.0.0.1:{}", 1000 + i))).collect();
        assert!(matches!(gate.admit(addr("10.0.0.1:9"), true, Instant::now()), Answer::Refuse));
        assert!(matches!(gate.admit(addr("[::ffff:10.0.0.1]:9"), true, Instant::now()), Answer::Refuse));
        let _other = take(&gate, "10.0.0.2:1");
        drop(held);
        let _again = take(&gate, "10.0.0.1:9");
    }

    #[test]
    fn an_ipv6_slash_64_is_one_source() {
        let gate = small();
        let _held: Vec<_> = (0..5).map(|i| take(&gate, &format!("[2001:db8::{i}]:1"))).collect();
        assert!(matches!(gate.admit(addr("[2001:db8::ffff:1]:1"), true, Instant::now()), Answer::Refuse));
        let _other = take(&gate, "[2001:db8:0:1::1]:1");
    }

    #[test]
    fn a_busy_source_must_prove_its_address_first() {
        let gate = small();
        let _held: Vec<_> = (0..4).map(|i| take(&gate, &format!("10.0.0.1:{}", 1000 + i))).collect();
        assert!(matches!(gate.admit(addr("10.0.0.1:9"), false, Instant::now()), Answer::Retry));
        // Half of all places taken: everybody must.
        assert!(matches!(gate.admit(addr("10.9.9.9:9"), false, Instant::now()), Answer::Retry));
        let _proved = take(&gate, "10.0.0.1:9");
    }

    #[test]
    fn an_authorised_client_frees_its_strangers_place_but_still_counts() {
        let gate = small();
        let mut held: Vec<_> = (0..5).map(|i| take(&gate, &format!("10.0.0.1:{}", 1000 + i))).collect();
        held.iter_mut().for_each(Place::promote);
        let _sixth = take(&gate, "10.0.0.1:9");
        assert!(matches!(gate.admit(addr("10.0.0.1:10"), true, Instant::now()), Answer::Refuse));
        drop(held);
        let counts = lock(&gate.counts);
        assert_eq!((counts.all_members, counts.queue.len(), counts.members.len()), (0, 1, 0));
    }

    fn is_told(leave: &Notify) -> bool {
        use std::task::{Context, Poll, Waker};
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(leave.notified()).poll(&mut context) == Poll::Ready(())
    }

    #[test]
    fn the_oldest_stranger_of_a_source_makes_room_for_the_next_but_not_before_its_time() {
        let (gate, start) = (small(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let held: Vec<_> =
            (0..5u16).map(|i| take_at(&gate, &format!("10.0.0.1:{i}"), at(u64::from(i)))).collect();
        let elsewhere = take_at(&gate, "10.0.0.2:1", at(0));
        assert!(matches!(gate.admit(addr("10.0.0.1:9"), true, at(999)), Answer::Refuse));
        let _next = take_at(&gate, "10.0.0.1:9", at(1000));
        assert!(is_told(&held[0].leave) && !is_told(&held[1].leave) && !is_told(&elsewhere.leave));
        // Its place is given back once, not twice.
        drop(held);
        assert_eq!(lock(&gate.counts).queue.len(), 2);
    }

    #[test]
    fn when_all_places_are_taken_the_oldest_of_all_goes_and_an_unproven_address_moves_nobody() {
        let (gate, start) = (small(), Instant::now());
        let held: Vec<_> = (0..8u16).map(|i| take_at(&gate, &format!("10.0.{i}.1:1"), start)).collect();
        let later = start + PATIENCE;
        assert!(matches!(gate.admit(addr("10.9.9.9:1"), false, later), Answer::Retry));
        assert!(!is_told(&held[0].leave));
        let _honest = take_at(&gate, "10.9.9.9:1", later);
        assert!(is_told(&held[0].leave) && !is_told(&held[1].leave));
    }

    #[test]
    fn a_member_is_never_thrown_out() {
        let (gate, start) = (small(), Instant::now());
        let mut member = take_at(&gate, "10.0.0.1:1", start);
        member.promote();
        let _strangers: Vec<_> = (2..7).map(|i| take_at(&gate, &format!("10.0.0.1:{i}"), start)).collect();
        assert!(matches!(gate.admit(addr("10.0.0.1:9"), true, start + PATIENCE), Answer::Refuse));
        assert!(!is_told(&member.leave));
        assert!(member.holds(1 << 20), "nor are its bytes counted here");
    }

    #[test]
    fn what_the_strangers_of_one_source_gather_is_bounded_together() {
        let gate = small();
        let (a, b) = (take(&gate, "10.0.0.1:1"), take(&gate, "10.0.0.1:2"));
        assert!(a.holds(60) && b.holds(40));
        assert!(!b.holds(41));
        assert!(b.holds(10) && a.holds(90), "what was read is free again");
        assert!(take(&gate, "10.0.0.2:1").holds(100), "another source has its own");
        drop(a);
        assert!(b.holds(100));
    }
}
