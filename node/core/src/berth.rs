//! This node's end at its network's relays: its seat, its keys at each, and whether they answer.
//!
//! A question every [`EVERY_MS`], from the WireGuard socket, keeps the NAT's mapping towards the relay open and tells the
//! relay where this node is (RFC 4787 section 4.3: a mapping may be forgotten after two minutes, and many are after half
//! of one). A relay that owes three answers is not used until it gives one; it is asked at each of its addresses in turn.
//! An answer counts whichever of the last [`RECENT`] questions it is to, so a relay that is further away than the distance
//! of two questions is found after one round trip, and one whose round trip is known is given twice that time.
//!
//! A node sits at every relay it is told of, so that leaving one for another needs nobody's help. Those that answer and do not
//! drain are *usable*, the nearest first. One overtakes another in that order only if its round trip is by a quarter and by
//! [`CLEARLY_MS`] the shorter one: what differs by less would change places with every gust of wind.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use warren_wire::door::DoorAt;
use warren_wire::frame::{RelayAt, Seated};
use warren_wire::id::{IdentityKey, RelayId};
use warren_wire::relay::{self, HEAD, Head, LEAST, Seat, TagKey};

use crate::clock::Mono;

/// Between two questions while they are answered.
pub const EVERY_MS: u64 = 10_000;
/// After one without an answer, at least.
const AGAIN_MS: u64 = 500;
/// The same at most, however far away the relay was.
const AGAIN_MOST_MS: u64 = 5_000;
/// So often at that pace; then as while they are answered.
const HURRIED: u32 = 6;
/// So many without an answer, and the relay is not used.
const PATIENCE: u32 = 3;
/// Questions whose answers still count, the newest ones, for as long as [`EVERY_MS`].
const RECENT: usize = 8;
/// A round trip that is shorter by less is no reason for anything.
pub const CLEARLY_MS: u64 = 10;

/// A question to the relay.
pub type Question = [u8; HEAD + LEAST];

/// Is `a` so much shorter than `b` that it is worth a change?
pub fn is_clearly_shorter(a: Duration, b: Duration) -> bool {
    a.saturating_mul(4) < b.saturating_mul(3) && a.saturating_add(Duration::from_millis(CLEARLY_MS)) <= b
}

/// At one relay.
#[derive(Debug)]
pub struct Berth {
    relay: RelayAt,
    seat: Seat,
    up: TagKey,
    down: TagKey,
    /// Which of its addresses is used.
    at: AtomicUsize,
    life: Arc<Life>,
}

/// What goes on as long as the keys do, whatever else is told of the relay.
#[derive(Debug)]
struct Life {
    counter: AtomicU64,
    answers: AtomicBool,
    watch: Mutex<Watch>,
}

/// A question that was not answered yet.
#[derive(Debug)]
struct Asked {
    nonce: u64,
    since: Mono,
    /// At which of the relay's addresses.
    to: SocketAddr,
}

#[derive(Debug, Default)]
struct Watch {
    next: Mono,
    /// Newest last.
    asked: VecDeque<Asked>,
    /// Something was asked since the last answer.
    owes: bool,
    unanswered: u32,
    /// Somebody is silent who is, or would be, reached over it.
    suspected: bool,
    round_trip: Option<Duration>,
}

/// What `status` and `path` show of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub relay: RelayId,
    /// What it proves where it is reached through a door.
    pub key: IdentityKey,
    pub name: String,
    pub at: SocketAddr,
    /// All of its addresses.
    pub addresses: Vec<SocketAddr>,
    /// Its doors there, if they were told.
    pub doors: Option<Vec<DoorAt>>,
    pub seat: Seat,
    pub answers: bool,
    pub draining: bool,
    /// Questions in a row without an answer.
    pub owed: u32,
    /// Somebody is silent who is, or would be, reached over it, and it has said nothing since.
    pub suspected: bool,
    pub round_trip: Option<Duration>,
    /// The first choice of this node.
    pub nearest: bool,
}

/// No address stands for this one.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Watch {
    fn ask(&mut self, question: Asked) {
        if self.asked.len() >= RECENT {
            self.asked.pop_front();
        }
        self.asked.push_back(question);
        self.owes = true;
    }

    /// The question with this number, if its answer may still count. Older ones go with it: their answers tell nothing new.
    fn take(&mut self, nonce: u64, now: Mono) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.nonce == nonce)?;
        let answered = self.asked.drain(..=at).next_back()?;
        (now.millis_since(answered.since) < EVERY_MS).then_some(answered)
    }

    /// How long an answer may take before the question is put again.
    fn patience(&self) -> u64 {
        let twice = self.round_trip.map_or(0, |trip| 2 * trip.as_millis() as u64);
        twice.clamp(AGAIN_MS, AGAIN_MOST_MS)
    }
}

impl Berth {
    /// In place of `before`, at the same relay. Nothing goes through it before it has answered; one that answered under
    /// the old keys a moment ago is there, and who is reached over it notices nothing of the new ones. Under the same keys
    /// the counter goes on.
    pub fn new(seated: &Seated, relay: &RelayAt, before: Option<&Berth>) -> Berth {
        let (up, down) = (seated.up.at(&relay.id), seated.down.at(&relay.id));
        let place = before.and_then(|before| relay.addresses.iter().position(|a| *a == before.at()));
        let same = |before: &&Berth| before.seat == seated.seat && before.up == up && before.down == down;
        let life = before.filter(same).map(|before| before.life.clone());
        let answers = place.is_some() && before.is_some_and(Berth::is_up);
        let life = life.unwrap_or_else(|| {
            let answers = AtomicBool::new(answers);
            Arc::new(Life { counter: AtomicU64::new(1), answers, watch: Mutex::default() })
        });
        if place.is_none() {
            life.answers.store(false, Ordering::Relaxed);
        }
        let at = AtomicUsize::new(place.unwrap_or(0));
        Berth { relay: relay.clone(), seat: seated.seat, up, down, at, life }
    }

    pub fn relay(&self) -> RelayId {
        self.relay.id
    }

    /// The address that is used.
    pub fn at(&self) -> SocketAddr {
        self.relay.addresses.get(self.at.load(Ordering::Relaxed)).copied().unwrap_or(NOWHERE)
    }

    /// Does the relay answer?
    pub fn is_up(&self) -> bool {
        self.life.answers.load(Ordering::Relaxed)
    }

    fn round_trip(&self) -> Option<Duration> {
        self.life.watch.lock().round_trip
    }

    /// Writes the head in front of what goes to `to`. False if the counter is used up: then the coordinator owes a new seat.
    pub fn write(&self, frame: &mut [u8], to: Seat) -> bool {
        let counter = self.life.counter.fetch_add(1, Ordering::Relaxed);
        relay::write(frame, Head { from: self.seat, to, counter }, &self.up)
    }

    /// Who sent this, if it is for this node and came through the relay.
    pub fn read<'a>(&self, from: SocketAddr, frame: &'a [u8]) -> Option<(Seat, &'a [u8])> {
        let (head, carried) = relay::read(frame).filter(|_| self.relay.addresses.contains(&from))?;
        let ours = head.to == self.seat && relay::verify(frame, &self.down);
        ours.then_some((head.from, carried))
    }

    /// The next question, when it is due.
    pub fn poll_question(&self, now: Mono) -> Option<Question> {
        let mut watch = self.life.watch.lock();
        if now < watch.next {
            return None;
        }
        watch.unanswered = if watch.owes { watch.unanswered.saturating_add(1) } else { 0 };
        if watch.unanswered >= PATIENCE {
            self.life.answers.store(false, Ordering::Relaxed);
        }
        if watch.unanswered > 0 && !self.is_up() {
            let next = self.at.load(Ordering::Relaxed).saturating_add(1);
            self.at.store(next % self.relay.addresses.len().max(1), Ordering::Relaxed);
        }
        let mut question = [0; HEAD + LEAST];
        let nonce = self.life.counter.load(Ordering::Relaxed);
        // Never over 40 bits, so its first byte is 0 and steers to the worker for what is not data.
        if let Some(place) = question.get_mut(HEAD..) {
            place.copy_from_slice(&nonce.to_be_bytes());
        }
        watch.ask(Asked { nonce, since: now, to: self.at() });
        let hurried = !self.is_up() && watch.unanswered < HURRIED || watch.unanswered > 0 && self.is_up();
        let pause = if hurried || watch.unanswered == 0 { watch.patience() } else { EVERY_MS };
        watch.next = now.plus_millis(pause);
        drop(watch);
        self.write(&mut question, Seat::RELAY).then_some(question)
    }

    /// Somebody who is, or would be, reached over it is silent: it is asked at once.
    pub fn hurry(&self, now: Mono) {
        let mut watch = self.life.watch.lock();
        watch.suspected = true;
        if !watch.owes {
            watch.next = watch.next.min(now);
        }
    }

    /// It is reached in another way: what was asked before is not owed.
    pub fn ask_anew(&self, now: Mono) {
        let mut watch = self.life.watch.lock();
        watch.asked.clear();
        (watch.owes, watch.unanswered, watch.next, watch.suspected) = (false, 0, now, false);
    }

    /// When [`Berth::poll_question`] has something to say.
    pub fn deadline(&self) -> Mono {
        self.life.watch.lock().next
    }

    /// What came from the relay itself. True if it answers one of the last questions.
    pub fn handle_answer(&self, carried: &[u8], now: Mono) -> bool {
        let mut watch = self.life.watch.lock();
        let Ok(nonce) = carried.try_into().map(u64::from_be_bytes) else { return false };
        let Some(Asked { since, to, .. }) = watch.take(nonce, now) else { return false };
        (watch.owes, watch.unanswered, watch.suspected) = (false, 0, false);
        watch.round_trip = Some(Duration::from_millis(now.millis_since(since)));
        watch.next = since.plus_millis(EVERY_MS).max(now);
        // Others may have been tried meanwhile: this is the one that works.
        if let Some(works) = self.relay.addresses.iter().position(|address| *address == to) {
            self.at.store(works, Ordering::Relaxed);
        }
        self.life.answers.store(true, Ordering::Relaxed);
        true
    }

    fn standing(&self, nearest: bool) -> Standing {
        let (owed, suspected, round_trip) = {
            let watch = self.life.watch.lock();
            (watch.unanswered, watch.suspected, watch.round_trip)
        };
        Standing {
            relay: self.relay.id,
            key: self.relay.key,
            name: self.relay.name.clone(),
            at: self.at(),
            addresses: self.relay.addresses.clone(),
            doors: self.relay.doors.clone(),
            seat: self.seat,
            answers: self.is_up(),
            draining: self.relay.draining,
            owed,
            suspected,
            round_trip,
            nearest,
        }
    }
}

/// At all relays.
#[derive(Debug, Default)]
pub struct Berths {
    all: Vec<Arc<Berth>>,
    usable: Arc<[RelayId]>,
}

impl Berths {
    /// In place of these. Relays of no address are where the coordinator is: `here`.
    pub fn seated(&self, seated: Option<&Seated>, here: Option<SocketAddr>) -> Berths {
        let Some(seated) = seated else { return Berths::default() };
        let located = seated.relays.iter().filter_map(|relay| {
            let addresses = match relay.addresses.is_empty() {
                true => vec![here?],
                false => relay.addresses.clone(),
            };
            Some(RelayAt { addresses, ..relay.clone() })
        });
        let berth = |relay: RelayAt| Arc::new(Berth::new(seated, &relay, self.get(&relay.id).map(|b| &**b)));
        let all: Vec<Arc<Berth>> = located.map(berth).collect();
        let new = Berths { all, usable: self.usable.clone() };
        new.reordered().unwrap_or(new)
    }

    pub fn get(&self, relay: &RelayId) -> Option<&Arc<Berth>> {
        self.all.iter().find(|berth| berth.relay.id == *relay)
    }

    pub fn all(&self) -> &[Arc<Berth>] {
        &self.all
    }

    /// Relays that something may be sent over, the nearest first. The same value as long as nothing changes.
    pub fn usable(&self) -> &Arc<[RelayId]> {
        &self.usable
    }

    /// Who sent this, over which relay, if it is for this node.
    pub fn read<'a>(&self, from: SocketAddr, frame: &'a [u8]) -> Option<(RelayId, Seat, &'a [u8])> {
        self.all.iter().find_map(|berth| {
            let (seat, carried) = berth.read(from, frame)?;
            Some((berth.relay.id, seat, carried))
        })
    }

    /// After answers or their absence: `None` if the same relays are usable in the same order.
    pub fn reordered(&self) -> Option<Berths> {
        let up = |draining: bool| {
            let mut up =
                self.all.iter().filter(move |b| b.is_up() && b.relay.draining == draining).peekable();
            up.peek().is_some().then(|| up.map(|berth| berth.relay.id).collect::<Vec<RelayId>>())
        };
        // What drains is better than nothing.
        let now = up(false).or_else(|| up(true)).unwrap_or_default();
        let known = self.usable.iter().filter(|relay| now.contains(relay));
        let new = now.iter().filter(|relay| !self.usable.contains(relay));
        let mut order: Vec<RelayId> = known.chain(new).copied().collect();
        let trip = |relay: &RelayId| self.get(relay).and_then(|berth| berth.round_trip());
        let clearly = |a: &RelayId, b: &RelayId| match (trip(a), trip(b)) {
            (Some(a), Some(b)) => is_clearly_shorter(a, b),
            (a, b) => a.is_some() && b.is_none(),
        };
        for end in 1..order.len() {
            for at in (1..=end).rev() {
                if order.get(at).zip(order.get(at - 1)).is_some_and(|(a, b)| clearly(a, b)) {
                    order.swap(at, at - 1);
                }
            }
        }
        (order[..] != self.usable[..]).then(|| Berths { all: self.all.clone(), usable: order.into() })
    }

    pub fn standings(&self) -> Vec<Standing> {
        let first = self.usable.first();
        self.all.iter().map(|berth| berth.standing(first == Some(&berth.relay.id))).collect()
    }
}

#[cfg(test)]
mod tests;
