//! The wall's other side for the simulated world: the same verbs and message shapes, virtual time, no library.
//!
//! It is not a cipher: payloads travel in clear. What it keeps of WireGuard is what the rest of the program relies
//! on: one round trip before data, only the right pair of keys agrees, receiver indices, a counter with a replay
//! window, a timestamp that must grow, rekey after 120 s, no use after 180 s, a retry every 5 s for 90 s (two early ones), keepalive
//! after 10 s. Everything depends on the arguments alone, so one seed gives one run.

mod engine;

use std::collections::VecDeque;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use warren_wire::id::WgKey;

use super::initiation::equal;
use super::message::{INITIATION_LEN, Message, RESPONSE_LEN, is_spent};
use super::{
    Arena, DATA_OVERHEAD, Opened, Refusal, Sealed, Segments, Session, Sink, Stamp, Stats, buffer_for,
};
use crate::clock::{Mono, Now};

const REKEY_AFTER_MS: u64 = 120_000;
const REJECT_AFTER_MS: u64 = 180_000;
const RETRY_MS: u64 = 5_000;
/// The first two tries come sooner: a peer that has just learnt of us must not wait for 5 s.
const EARLY_MS: u64 = 1_000;
const EARLY: u32 = 2;
const GIVE_UP_MS: u64 = 90_000;
const KEEPALIVE_MS: u64 = 10_000;
const QUEUE: usize = 256;

pub use engine::StandinEngine;

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Sha256::new();
    for part in parts {
        state.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        state.update(part);
    }
    state.finalize().into()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn mac1(responder: &WgKey, body: &[u8]) -> [u8; 32] {
    digest(&[b"mac1", &responder.0, body])
}

/// One key pair in use.
struct Keys {
    local: u32,
    remote: u32,
    key: [u8; 32],
    born: Mono,
    initiator: bool,
    /// A responder may send only after it has heard from the initiator.
    confirmed: bool,
    next: u64,
    window: Window,
}

/// Accepts each counter once, and none further back than 128.
#[derive(Default)]
struct Window {
    next: u64,
    seen: u128,
}

impl Window {
    fn check(&self, counter: u64) -> Result<(), Refusal> {
        match self.next.checked_sub(counter) {
            None | Some(0) => Ok(()),
            Some(back) if back > 128 => Err(Refusal::Late),
            Some(back) if self.seen >> (back - 1) & 1 == 1 => Err(Refusal::Duplicate),
            Some(_) => Ok(()),
        }
    }

    /// One that was found to be good.
    fn take(&mut self, counter: u64) {
        match self.next.checked_sub(counter) {
            Some(back) if back > 0 => self.seen |= 1 << (back - 1),
            _ => {
                let step = counter - self.next + 1;
                self.seen = if step >= 128 { 0 } else { self.seen << step };
                self.seen |= 1;
                self.next = counter + 1;
            }
        }
    }
}

struct Pending {
    since: Mono,
    last: Mono,
    local: u32,
    secret: [u8; 32],
}

pub struct StandinSession {
    me: WgKey,
    peer: WgKey,
    pair: [u8; 32],
    index: u32,
    counter: u8,
    jitter: u64,
    /// Newest last; at most three.
    keys: Vec<Keys>,
    pending: Option<Pending>,
    unanswered: u32,
    queue: VecDeque<Vec<u8>>,
    greatest_received: Stamp,
    greatest_sent: u64,
    cookie: Option<[u8; 16]>,
    last_mac1: [u8; 16],
    data_sent: Option<Mono>,
    data_received: Option<Mono>,
    sent: Mono,
    received: Mono,
    deadline: Mono,
}

impl StandinSession {
    fn expire(&mut self, now: Now) {
        self.keys.retain(|k| now.mono.millis_since(k.born) < REJECT_AFTER_MS);
        if self.pending.as_ref().is_some_and(|p| now.mono.millis_since(p.since) >= GIVE_UP_MS) {
            self.pending = None;
            self.queue.clear();
        }
    }

    fn next_index(&mut self) -> u32 {
        self.counter = self.counter.wrapping_add(1);
        self.index | u32::from(self.counter)
    }

    fn current(&mut self) -> Option<&mut Keys> {
        self.keys.iter_mut().rev().find(|k| k.confirmed)
    }

    fn install(&mut self, keys: Keys) {
        self.keys.push(keys);
        if self.keys.len() > 3 {
            self.keys.remove(0);
        }
    }

    fn send_initiation<K: Sink>(&mut self, out: &mut K, now: Now) {
        let local = self.next_index();
        // Strictly growing, like TAI64N of a clock that is never set back.
        self.greatest_sent = now.wall_ms.saturating_mul(1_000_000).max(self.greatest_sent.saturating_add(1));
        let mut bytes = [0u8; INITIATION_LEN];
        put(&mut bytes, 0, &[1]);
        put(&mut bytes, 4, &local.to_le_bytes());
        put(&mut bytes, 8, &self.me.0);
        put(&mut bytes, 44, &self.greatest_sent.to_be_bytes());
        put(&mut bytes, 52, &self.jitter.to_le_bytes());
        let secret = digest(&[b"initiation", &self.pair, bytes.get(8..60).unwrap_or_default()]);
        put(&mut bytes, 60, &secret);
        let mac = mac1(&self.peer, bytes.get(..INITIATION_LEN - 32).unwrap_or_default());
        put(&mut bytes, INITIATION_LEN - 32, mac.get(..16).unwrap_or_default());
        self.last_mac1.copy_from_slice(mac.get(..16).unwrap_or(&[0; 16]));
        if let Some(cookie) = self.cookie {
            let mac2 = digest(&[b"mac2", &cookie, bytes.get(..INITIATION_LEN - 16).unwrap_or_default()]);
            put(&mut bytes, INITIATION_LEN - 16, mac2.get(..16).unwrap_or_default());
        }
        let since = self.pending.as_ref().map_or(now.mono, |p| p.since);
        self.pending = Some(Pending { since, last: now.mono, local, secret });
        self.unanswered = self.unanswered.saturating_add(1);
        self.sent = now.mono;
        out.control_bytes(&bytes);
    }

    fn on_initiation<K: Sink>(&mut self, datagram: &[u8], out: &mut K, now: Now) -> Result<(), Refusal> {
        let fields = datagram.get(8..60).ok_or(Refusal::Forged)?;
        let secret = digest(&[b"initiation", &self.pair, fields]);
        let stamp = fields.get(32..44).and_then(|b| b.try_into().ok()).map(Stamp).unwrap_or_default();
        let authentic =
            fields.starts_with(&self.peer.0) && datagram.get(60..92).is_some_and(|m| equal(m, &secret));
        if !authentic {
            return Err(Refusal::Forged);
        }
        if stamp <= self.greatest_received {
            return Err(Refusal::Superseded);
        }
        self.greatest_received = stamp;
        let (local, remote) = (self.next_index(), word(datagram, 4));
        let mut bytes = [0u8; RESPONSE_LEN];
        put(&mut bytes, 0, &[2]);
        put(&mut bytes, 4, &local.to_le_bytes());
        put(&mut bytes, 8, &remote.to_le_bytes());
        let proof = digest(&[b"response", &secret, bytes.get(4..12).unwrap_or_default()]);
        put(&mut bytes, 12, &proof);
        let mac = mac1(&self.peer, bytes.get(..RESPONSE_LEN - 32).unwrap_or_default());
        put(&mut bytes, RESPONSE_LEN - 32, mac.get(..16).unwrap_or_default());
        self.install(Keys {
            local,
            remote,
            key: digest(&[b"keys", &secret, &proof]),
            born: now.mono,
            initiator: false,
            confirmed: false,
            next: 0,
            window: Window::default(),
        });
        self.pending = None;
        self.unanswered = 0;
        self.sent = now.mono;
        out.control_bytes(&bytes);
        Ok(())
    }

    fn on_response<K: Sink>(&mut self, datagram: &[u8], out: &mut K, now: Now) -> Result<(), Refusal> {
        let (remote, local) = (word(datagram, 4), word(datagram, 8));
        let pending = self.pending.as_ref().filter(|p| p.local == local).ok_or(Refusal::Superseded)?;
        let proof = digest(&[b"response", &pending.secret, datagram.get(4..12).unwrap_or_default()]);
        if !datagram.get(12..44).is_some_and(|m| equal(m, &proof)) {
            return Err(Refusal::Forged);
        }
        let key = digest(&[b"keys", &pending.secret, &proof]);
        let (born, window) = (now.mono, Window::default());
        self.install(Keys { local, remote, key, born, initiator: true, confirmed: true, next: 0, window });
        self.pending = None;
        self.unanswered = 0;
        self.send_data(&[], out, now); // tells the responder that it may send
        self.drain(out, now);
        Ok(())
    }

    fn on_cookie(&mut self, datagram: &[u8]) -> Result<(), Refusal> {
        let sealed = datagram.get(32..48).and_then(|b| <[u8; 16]>::try_from(b).ok());
        let cookie = sealed.ok_or(Refusal::Forged)?;
        if self.pending.as_ref().is_none_or(|p| p.local != word(datagram, 4)) {
            return Err(Refusal::Superseded);
        }
        let tag = digest(&[b"cookie", &self.last_mac1, &cookie]);
        if !datagram.get(48..64).zip(tag.get(..16)).is_some_and(|(a, b)| equal(a, b)) {
            return Err(Refusal::Forged);
        }
        self.cookie = Some(cookie);
        Ok(())
    }

    fn send_data<K: Sink>(&mut self, plain: &[u8], out: &mut K, now: Now) -> bool {
        let Some(keys) = self.current() else { return false };
        let counter = keys.next;
        let Some(room) = out.room(buffer_for(plain.len())) else { return false };
        put(room, 0, &4u32.to_le_bytes());
        put(room, 4, &keys.remote.to_le_bytes());
        put(room, 8, &counter.to_le_bytes());
        put(room, 16, plain);
        let tag = digest(&[&keys.key, &[u8::from(keys.initiator)], &counter.to_le_bytes(), plain]);
        put(room, 16 + plain.len(), tag.get(..16).unwrap_or_default());
        keys.next += 1;
        self.sent = now.mono;
        if plain.is_empty() {
            out.control(DATA_OVERHEAD);
        } else {
            self.data_sent = Some(now.mono);
            out.data(plain.len() + DATA_OVERHEAD);
        }
        true
    }

    fn on_data<A: Arena>(
        &mut self,
        datagram: &[u8],
        arena: &mut A,
        now: Now,
        seen: &mut Opened,
    ) -> Result<(), Refusal> {
        let local = word(datagram, 4);
        let keys = self.keys.iter_mut().find(|k| k.local == local).ok_or(Refusal::Late)?;
        let (body, counter) = datagram.get(16..).zip(datagram.get(8..16)).ok_or(Refusal::Forged)?;
        let (plain, tag) = body.split_last_chunk::<16>().ok_or(Refusal::Forged)?;
        let number = counter.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        keys.window.check(number)?;
        let want = digest(&[&keys.key, &[u8::from(!keys.initiator)], counter, plain]);
        if !want.get(..16).is_some_and(|w| equal(w, tag)) || is_spent(datagram) {
            return Err(Refusal::Forged);
        }
        keys.window.take(number);
        keys.confirmed = true;
        self.received = now.mono;
        if plain.is_empty() {
            seen.control += 1;
            return Ok(());
        }
        self.data_received = Some(now.mono);
        match arena.room(plain.len()).and_then(|room| room.get_mut(..plain.len())) {
            Some(room) => {
                room.copy_from_slice(plain);
                arena.opened(inner_length(plain));
                seen.packets += 1;
            }
            None => seen.lost += 1,
        }
        Ok(())
    }

    fn drain<K: Sink>(&mut self, out: &mut K, now: Now) {
        while let Some(packet) = self.queue.pop_front() {
            if !self.send_data(&packet, out, now) {
                self.queue.push_front(packet);
                return;
            }
        }
    }

    fn wants_rekey(&self, now: Now) -> bool {
        let Some(keys) = self.keys.iter().rev().find(|k| k.confirmed) else { return false };
        let aged = |limit| now.mono.millis_since(keys.born) >= limit;
        let used = |at: Option<Mono>| at.is_some_and(|at| at > keys.born);
        let old = keys.initiator
            && (used(self.data_sent) && aged(REKEY_AFTER_MS)
                || used(self.data_received) && aged(REJECT_AFTER_MS - KEEPALIVE_MS - RETRY_MS));
        let silent = self.data_sent.is_some_and(|at| at > self.received)
            && now.mono.millis_since(self.received) >= KEEPALIVE_MS + RETRY_MS;
        old || silent
    }

    fn schedule(&mut self, now: Now) {
        self.jitter = u64::from_le_bytes(
            digest(&[&self.jitter.to_le_bytes()]).first_chunk().copied().unwrap_or_default(),
        );
        let distance = if self.pending.is_some() { 1 + self.jitter % 333 } else { 667 + self.jitter % 333 };
        self.deadline = now.mono.plus_millis(distance);
    }
}

/// The length the inner header says, so that padding is cut off.
fn inner_length(plain: &[u8]) -> usize {
    let half = |at: usize| plain.get(at..at + 2).map_or(0, |b| usize::from(b[0]) << 8 | usize::from(b[1]));
    let said = match plain.first().map(|b| b >> 4) {
        Some(4) => half(2),
        Some(6) => half(4) + 40,
        _ => plain.len(),
    };
    said.min(plain.len())
}

impl Session for StandinSession {
    fn seal<G: Segments, K: Sink>(&mut self, segments: &mut G, out: &mut K, now: Now) -> Sealed {
        self.expire(now);
        let mut sealed = Sealed::default();
        segments.each(|plain| {
            if self.current().is_some() {
                match self.send_data(plain, out, now) {
                    true => sealed.packets += 1,
                    false => sealed.lost += 1,
                }
            } else if self.queue.len() < QUEUE {
                self.queue.push_back(plain.to_vec());
                sealed.queued += 1;
                self.initiate(out, now);
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
        self.expire(now);
        let mut seen = Opened::default();
        for datagram in datagrams {
            let handshake = |result: Result<(), Refusal>, seen: &mut Opened| {
                seen.established |= result.is_ok();
                seen.control += u64::from(result.is_ok());
                result
            };
            let message = Message::parse(datagram);
            let result = match message {
                Some(Message::Initiation) => handshake(self.on_initiation(datagram, replies, now), &mut seen),
                Some(Message::Response { .. }) => {
                    handshake(self.on_response(datagram, replies, now), &mut seen)
                }
                Some(Message::Cookie { .. }) => self.on_cookie(datagram),
                Some(Message::Data { .. }) => self.on_data(datagram, arena, now, &mut seen),
                None => Err(Refusal::Forged),
            };
            match result {
                Err(refusal) => seen.refused.count(refusal),
                Ok(()) if matches!(message, Some(Message::Cookie { .. })) => {}
                Ok(()) => {
                    seen.authentic = true;
                    self.received = now.mono;
                }
            }
        }
        if seen.authentic {
            self.drain(replies, now);
        }
        seen
    }

    fn initiate<K: Sink>(&mut self, out: &mut K, now: Now) {
        self.expire(now);
        if self.pending.is_none() {
            self.send_initiation(out, now);
            self.schedule(now);
        }
    }

    fn initiate_anew<K: Sink>(&mut self, out: &mut K, now: Now) {
        self.expire(now);
        self.send_initiation(out, now);
        self.schedule(now);
    }

    fn forget_queued(&mut self) {
        self.queue.clear();
    }

    fn tick<K: Sink>(&mut self, out: &mut K, now: Now) {
        self.expire(now);
        let patience = if self.unanswered <= EARLY { EARLY_MS } else { RETRY_MS };
        let retry = self.pending.as_ref().is_some_and(|p| now.mono.millis_since(p.last) >= patience);
        if retry || self.pending.is_none() && self.wants_rekey(now) {
            self.send_initiation(out, now);
        } else if self.data_received.is_some_and(|at| at > self.sent)
            && now.mono.millis_since(self.sent) >= KEEPALIVE_MS
        {
            self.send_data(&[], out, now);
        }
        self.schedule(now);
    }

    fn deadline(&self) -> Mono {
        self.deadline
    }

    fn stats(&self, now: Now) -> Stats {
        let born = self.keys.iter().filter(|k| k.confirmed).map(|k| k.born).max();
        Stats {
            handshake_age: born.map(|at| Duration::from_millis(now.mono.millis_since(at))),
            pending: self.pending.is_some(),
            unanswered: self.unanswered,
            idle: false,
            round_trip: None,
        }
    }

    fn greatest_sent(&self) -> u64 {
        self.greatest_sent
    }
}
