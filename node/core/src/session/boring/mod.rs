//! The wall's real side: `boringtun::noise::Tunn` with a guard for each of its known sharp edges.
//!
//! | edge | guard |
//! |---|---|
//! | keys do not expire if the timers are not run | `freshen`: timers before use when the last run is over a second old |
//! | its limiter counts for the whole device | one limiter without a limit in every tunnel; the real one is `dataplane::gate` |
//! | retries at exactly 5 s | timers run at random distances, so a retry comes 0–333 ms late |
//! | an expired tunnel stays expired | traffic and [`Session::initiate`] revive it |
//! | small buffers panic | every buffer comes from a sink that keeps [`buffer_for`] |
//! | no padding | the data plane pads before it calls [`Session::seal`] |
//! | queued packets wait for an empty datagram | drained as soon as the session can send |
//! | a counter near 2^64 overflows in its window, which ends the process | `is_spent` refuses it before the library sees it |
//! | initiations forgotten with the tunnel | the greatest timestamp is read in `initiation` and kept outside |
//!
//! The library reads the boot-time clock and, once per tunnel, wall time for its handshake timestamps. `SystemTime`
//! is read here a second time right after, to know an upper bound of those timestamps.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use warren_wire::id::WgKey;
use x25519_dalek::PublicKey;

use super::initiation::{Door, proves};
use super::message::{Message, is_spent};
use super::{
    Arena, Engine, Knock, LaneSecret, MAX_CONTROL, Opened, Refusal, Sealed, Segments, Session, Sink, Stats,
    buffer_for,
};
use crate::clock::{Mono, Now};

/// Packets the library keeps while a handshake is under way.
const QUEUE: u64 = 256;
/// Timers are run before use when they are older than this.
const STALE_MS: u64 = 1000;
/// An expired session is dropped after this time without use.
const FORGET_MS: u64 = 600_000;

/// This node's keys.
pub struct BoringEngine {
    publics: Vec<WgKey>,
    doors: Vec<(Door, Arc<RateLimiter>)>,
}

impl BoringEngine {
    pub fn new(secrets: impl IntoIterator<Item = LaneSecret>) -> BoringEngine {
        let doors: Vec<_> = secrets
            .into_iter()
            .map(|secret| {
                let door = Door::new(secret);
                let unlimited = Arc::new(RateLimiter::new(door.public(), u64::MAX));
                (door, unlimited)
            })
            .collect();
        let publics = doors.iter().map(|(door, _)| WgKey(door.public().to_bytes())).collect();
        BoringEngine { publics, doors }
    }
}

impl Engine for BoringEngine {
    type Session = BoringSession;

    fn keys(&self) -> &[WgKey] {
        &self.publics
    }
    fn addressee(&self, datagram: &[u8]) -> Option<usize> {
        self.doors.iter().position(|(door, _)| door.is_addressed(datagram))
    }
    fn proves(&self, datagram: &[u8], cookie: &[u8; 16]) -> bool {
        proves(datagram, cookie)
    }
    fn cookie_reply(
        &self,
        key: usize,
        datagram: &[u8],
        cookie: &[u8; 16],
        nonce: &[u8; 24],
    ) -> Option<[u8; 64]> {
        self.doors.get(key)?.0.cookie_reply(datagram, cookie, nonce)
    }
    fn knock(&self, key: usize, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Option<Knock> {
        self.doors.get(key)?.0.knock(datagram, known)
    }
    fn session(&self, key: usize, peer: &WgKey, index: u32, jitter: u64, now: Now) -> Option<BoringSession> {
        let (door, unlimited) = self.doors.get(key)?;
        let peer = PublicKey::from(peer.0);
        // A key of low order gives a shared secret that everybody knows.
        if !door.secret().diffie_hellman(&peer).was_contributory() {
            return None;
        }
        let tunn = Tunn::new(door.secret(), peer, None, None, index & 0x00ff_ffff, Some(unlimited.clone()));
        Some(BoringSession::new(tunn, jitter, now))
    }
}

pub struct BoringSession {
    tunn: Box<Tunn>,
    jitter: u64,
    last_tick: Mono,
    deadline: Mono,
    /// Since when an initiation waits for its answer, and how many were sent since the last one.
    pending: Option<Mono>,
    unanswered: u32,
    /// Packets in the library's queue, and the longest of them.
    waiting: u64,
    largest: usize,
    /// So many of the first in the queue must not leave: the library has no way to drop them.
    forgotten: u64,
    /// Since when the library calls the connection expired.
    expired: Option<Mono>,
    /// Early retries left: a peer that has just learnt of us must not wait for the 5 s of the protocol.
    early: u32,
    next_early: Mono,
    /// A message that timers made when the place to send it to was not known to be the peer's.
    held: Option<([u8; MAX_CONTROL], usize)>,
    wall_at_start: u64,
    mono_at_start: Mono,
    greatest_sent: u64,
}

/// Keeps one message instead of sending it.
struct Hold {
    bytes: [u8; MAX_CONTROL],
    len: usize,
}

impl Default for Hold {
    fn default() -> Hold {
        Hold { bytes: [0; MAX_CONTROL], len: 0 }
    }
}

impl Hold {
    fn taken(self) -> Option<([u8; MAX_CONTROL], usize)> {
        (self.len > 0).then_some((self.bytes, self.len))
    }
}

impl Sink for Hold {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        (need <= MAX_CONTROL).then_some(&mut self.bytes)
    }
    fn data(&mut self, len: usize) {
        self.len = len;
    }
    fn control(&mut self, len: usize) {
        self.len = len;
    }
}

/// What a message written by the library was.
enum Wrote {
    Nothing,
    Data,
    Initiation,
    Control,
    Expired,
    Refused,
}

impl BoringSession {
    fn new(tunn: Tunn, jitter: u64, now: Now) -> BoringSession {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut session = BoringSession {
            tunn: Box::new(tunn),
            jitter,
            last_tick: now.mono,
            deadline: now.mono,
            pending: None,
            unanswered: 0,
            waiting: 0,
            largest: 0,
            forgotten: 0,
            expired: None,
            early: 2,
            next_early: now.mono,
            held: None,
            wall_at_start: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            mono_at_start: now.mono,
            greatest_sent: 0,
        };
        session.schedule(now);
        session
    }

    /// A random phase that never falls into step with other sessions (splitmix64).
    fn random(&mut self, below: u64) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.jitter;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below.max(1)
    }

    fn schedule(&mut self, now: Now) {
        let distance = match (self.pending, self.expired) {
            (Some(_), _) => 1 + self.random(333),
            (None, Some(_)) => 30_000 + self.random(10_000),
            (None, None) => 667 + self.random(333),
        };
        self.deadline = now.mono.plus_millis(distance);
    }

    fn is_stale(&self, now: Now) -> bool {
        now.mono.millis_since(self.last_tick) > STALE_MS
    }

    /// Runs the library's timers if they have not been run for a second: without it keys would never expire.
    fn freshen<K: Sink>(&mut self, out: &mut K, now: Now) {
        if self.is_stale(now) || self.held.is_some() {
            self.tick(out, now);
        }
    }

    /// The same before a message is authenticated: what the timers say must not go to whoever sent it.
    fn freshen_silently(&mut self, now: Now) {
        if self.is_stale(now) {
            let mut hold = Hold::default();
            self.run_timers(&mut hold, now);
            self.held = hold.taken();
            if self.held.is_some() {
                self.deadline = now.mono;
            }
        }
    }

    fn run_timers<K: Sink>(&mut self, out: &mut K, now: Now) {
        let Some(room) = out.room(MAX_CONTROL) else { return };
        let result = self.tunn.update_timers(room);
        let len = written(&result);
        self.last_tick = now.mono;
        match self.wrote(&result, now) {
            Wrote::Data | Wrote::Initiation | Wrote::Control => out.control(len),
            Wrote::Expired => self.note_expired(now),
            Wrote::Nothing if self.pending.is_some() && self.early > 0 && now.mono >= self.next_early => {
                self.early -= 1;
                self.send_initiation(out, true, now);
            }
            Wrote::Nothing | Wrote::Refused => {}
        }
        self.schedule(now);
    }

    fn send_initiation<K: Sink>(&mut self, out: &mut K, force: bool, now: Now) {
        let Some(room) = out.room(MAX_CONTROL) else { return };
        let result = self.tunn.format_handshake_initiation(room, force);
        let len = written(&result);
        if let Wrote::Initiation = self.wrote(&result, now) {
            out.control(len);
        }
    }

    fn wrote(&mut self, result: &TunnResult<'_>, now: Now) -> Wrote {
        match result {
            TunnResult::WriteToNetwork(bytes) => match bytes.first() {
                Some(4) => Wrote::Data,
                Some(1) => {
                    self.note_initiation(now);
                    Wrote::Initiation
                }
                _ => Wrote::Control,
            },
            TunnResult::Err(WireGuardError::ConnectionExpired) => Wrote::Expired,
            TunnResult::Err(_) => Wrote::Refused,
            _ => Wrote::Nothing,
        }
    }

    fn note_initiation(&mut self, now: Now) {
        let elapsed = now.mono.0.saturating_sub(self.mono_at_start.0);
        // The library stamped before us with the same clocks; a second covers the distance between the readings.
        let bound = self.wall_at_start.saturating_add(elapsed).saturating_add(1_000_000_000);
        self.greatest_sent = self.greatest_sent.max(bound);
        if self.pending.is_none() {
            self.pending = Some(now.mono);
            self.early = 2;
            self.unanswered = 0;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.expired = None;
        let wait = 1000 + self.random(333);
        self.next_early = now.mono.plus_millis(wait);
        self.schedule(now);
    }

    fn note_established(&mut self, now: Now) {
        self.pending = None;
        self.unanswered = 0;
        self.expired = None;
        self.schedule(now);
    }

    fn note_expired(&mut self, now: Now) {
        self.pending = None;
        self.waiting = 0;
        self.forgotten = 0;
        self.expired.get_or_insert(now.mono);
    }

    /// Packets that waited for the handshake.
    fn drain<K: Sink>(&mut self, out: &mut K, now: Now) {
        while self.waiting > 0 {
            let Some(room) = out.room(buffer_for(self.largest)) else { return };
            let result = self.tunn.decapsulate(None, &[], room);
            let len = written(&result);
            match self.wrote(&result, now) {
                // Sealed, and not sent.
                Wrote::Data if self.forgotten > 0 => self.forgotten -= 1,
                Wrote::Data => out.data(len),
                Wrote::Initiation => return out.control(len), // no session after all: it was queued again
                _ => break,
            }
            self.waiting -= 1;
        }
        self.waiting = 0;
        self.forgotten = 0;
    }

    fn open_one<A: Arena, K: Sink>(
        &mut self,
        datagram: &[u8],
        arena: &mut A,
        replies: &mut K,
        now: Now,
        seen: &mut Opened,
    ) {
        if is_spent(datagram) {
            seen.refused.count(Refusal::Forged);
            return;
        }
        let Some(room) = arena.room(buffer_for(datagram.len())) else {
            seen.lost += 1;
            return;
        };
        match self.tunn.decapsulate(None, datagram, room) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                let len = packet.len();
                arena.opened(len);
                seen.packets += 1;
                seen.authentic = true;
            }
            TunnResult::WriteToNetwork(answer) => {
                replies.control_bytes(answer);
                seen.established = true;
                seen.authentic = true;
                seen.control += 1;
                self.note_established(now);
                // A responder may send only after it has heard from the initiator.
                if matches!(Message::parse(datagram), Some(Message::Response { .. })) {
                    self.drain(replies, now);
                }
            }
            TunnResult::Done => {
                // A cookie proves that somebody saw our initiation, not that it was the peer.
                seen.authentic |= !matches!(Message::parse(datagram), Some(Message::Cookie { .. }));
                seen.control += 1;
            }
            TunnResult::Err(error) => seen.refused.count(refusal(&error, Message::parse(datagram))),
        }
    }
}

/// The library's word for what an honest peer's datagram meets that comes late or twice is one of a few; all else is forged.
fn refusal(error: &WireGuardError, message: Option<Message>) -> Refusal {
    let is_data = message.is_some_and(Message::is_data);
    match error {
        WireGuardError::DuplicateCounter => Refusal::Duplicate,
        WireGuardError::InvalidCounter => Refusal::Late,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex if is_data => Refusal::Late,
        WireGuardError::InvalidPacket if is_data => Refusal::NoPacket,
        // A response or a cookie for another initiation than the last ones; an initiation older than one that was answered.
        WireGuardError::UnexpectedPacket
        | WireGuardError::WrongIndex
        | WireGuardError::WrongTai64nTimestamp => Refusal::Superseded,
        _ => Refusal::Forged,
    }
}

fn written(result: &TunnResult<'_>) -> usize {
    match result {
        TunnResult::WriteToNetwork(bytes) => bytes.len(),
        _ => 0,
    }
}

impl Session for BoringSession {
    fn seal<G: Segments, K: Sink>(&mut self, segments: &mut G, out: &mut K, now: Now) -> Sealed {
        self.freshen(out, now);
        // No room for what the timers say: rather lose packets than use keys whose age nobody has looked at.
        let unchecked = self.is_stale(now);
        let mut sealed = Sealed::default();
        segments.each(|plain| {
            let Some(room) = out.room(buffer_for(plain.len())).filter(|_| !unchecked) else {
                sealed.lost += 1;
                return;
            };
            let result = self.tunn.encapsulate(plain, room);
            let len = written(&result);
            match self.wrote(&result, now) {
                Wrote::Data => {
                    out.data(len);
                    sealed.packets += 1;
                    return;
                }
                Wrote::Initiation => out.control(len),
                Wrote::Nothing => {}
                _ => {
                    sealed.lost += 1;
                    return;
                }
            }
            // No session yet: the library has queued it, or dropped it when its queue was full.
            if self.waiting < QUEUE {
                self.waiting += 1;
                self.largest = self.largest.max(plain.len());
                sealed.queued += 1;
            } else {
                sealed.lost += 1;
            }
        });
        sealed
    }

    fn open<'a, D, A, K>(&mut self, datagrams: D, arena: &mut A, replies: &mut K, now: Now) -> Opened
    where
        D: Iterator<Item = &'a [u8]>,
        A: Arena,
        K: Sink,
    {
        self.freshen_silently(now);
        let mut seen = Opened::default();
        for datagram in datagrams.filter(|d| !d.is_empty()) {
            self.open_one(datagram, arena, replies, now, &mut seen);
        }
        if self.waiting > 0 && seen.authentic && self.tunn.time_since_last_handshake().is_some() {
            self.drain(replies, now);
        }
        seen
    }

    fn initiate<K: Sink>(&mut self, out: &mut K, now: Now) {
        self.freshen(out, now);
        self.send_initiation(out, false, now);
    }

    fn initiate_anew<K: Sink>(&mut self, out: &mut K, now: Now) {
        self.freshen(out, now);
        self.send_initiation(out, true, now);
    }

    fn forget_queued(&mut self) {
        self.forgotten = self.waiting;
    }

    fn tick<K: Sink>(&mut self, out: &mut K, now: Now) {
        if let Some((bytes, len)) = self.held.take() {
            out.control_bytes(bytes.get(..len).unwrap_or_default());
        }
        self.run_timers(out, now);
    }

    fn deadline(&self) -> Mono {
        self.deadline
    }

    fn stats(&self, now: Now) -> Stats {
        Stats {
            handshake_age: self.tunn.time_since_last_handshake(),
            pending: self.pending.is_some(),
            unanswered: self.unanswered,
            idle: self.expired.is_some_and(|at| now.mono.millis_since(at) > FORGET_MS),
            round_trip: self.tunn.stats().4.map(|ms| Duration::from_millis(ms.into())),
        }
    }

    fn greatest_sent(&self) -> u64 {
        self.greatest_sent
    }
}

#[cfg(test)]
mod tests;
