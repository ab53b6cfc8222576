//! The wall round the WireGuard library: everything above it sees five verbs (seal, open, initiate, tick, stats).
//!
//! Two traits, both used as generics, never as objects:
//!
//! - an [`Engine`] is a node's set of WireGuard keys. It checks handshake messages of strangers and makes sessions;
//! - a [`Session`] is one lane to one peer: one key of ours joined with one key of theirs. One lane has one owner of
//!   state; it is `&mut`, and [`crate::peers::Lane`] puts it behind a lock of its own that is taken once per batch.
//!
//! [`boring`] implements them with `boringtun::noise::Tunn`; it is the only place in this crate where a clock is
//! read, and it is the library that reads it. [`standin`] has the same verbs for the simulated world: no real
//! cryptography, no clock, the same messages on the wire by shape.
//!
//! A receiver index is `index << 8 | counter`: the upper 24 bits are chosen by us at random and name the lane, the
//! low 8 belong to the session (WireGuard paper, section 5.4.2).

pub mod boring;
mod initiation;
pub mod message;
pub mod standin;

use std::time::Duration;

use warren_wire::id::WgKey;

use crate::clock::{Mono, Now};

/// Bytes a data message adds to the inner packet (WireGuard paper, section 5.4.6).
pub const DATA_OVERHEAD: usize = 32;
/// A handshake initiation, the longest message that carries no data.
pub const MAX_CONTROL: usize = 148;

/// The smallest output buffer that is safe for an input of `len` bytes: the library panics below it.
pub const fn buffer_for(len: usize) -> usize {
    let sealed = len + DATA_OVERHEAD;
    if sealed > MAX_CONTROL { sealed } else { MAX_CONTROL }
}

/// A private X25519 key of one lane. Wiped on drop, never shown.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct LaneSecret([u8; 32]);

impl LaneSecret {
    pub fn new(bytes: [u8; 32]) -> LaneSecret {
        LaneSecret(bytes)
    }
    /// The public half, as the node record carries it.
    pub fn public(&self) -> WgKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        WgKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for LaneSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LaneSecret({}, private half hidden)", self.public())
    }
}

/// The handshake timestamp an initiation carries (TAI64N, 12 bytes, compared as a big-endian number).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Stamp(pub [u8; 12]);

/// Who knocks: an initiation whose static key and timestamp could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    pub peer: WgKey,
    /// Present once the peer is known to be ours: reading it needs the static-static secret.
    pub stamp: Stamp,
}

/// A node's WireGuard keys and the way to make sessions under them.
pub trait Engine: Send + Sync + Sized + 'static {
    type Session: Session;

    /// Public keys in ring order. A lane names its key by the position here.
    fn keys(&self) -> &[WgKey];

    /// The key whose mac1 the handshake message carries, if any (WireGuard paper, section 5.4.4). Cheap, no state.
    fn addressee(&self, datagram: &[u8]) -> Option<usize>;

    /// True if mac2 holds for `cookie` (paper, section 5.4.4).
    fn proves(&self, datagram: &[u8], cookie: &[u8; 16]) -> bool;

    /// A cookie reply of 64 bytes to a message with a valid mac1 (paper, section 5.4.7). `nonce` is used once.
    fn cookie_reply(
        &self,
        key: usize,
        datagram: &[u8],
        cookie: &[u8; 16],
        nonce: &[u8; 24],
    ) -> Option<[u8; 64]>;

    /// Reads who knocks on `key`. Costs Diffie-Hellman work: call it behind a limit. `known` says whether a public
    /// key belongs to a peer; for all others the answer is `None` before any further work.
    fn knock(&self, key: usize, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Option<Knock>;

    /// A session under our `key` with the peer's key. `index` has 24 bits; `jitter` seeds its retry jitter.
    fn session(&self, key: usize, peer: &WgKey, index: u32, jitter: u64, now: Now) -> Option<Self::Session>;
}

/// Packets to seal, one after the other; each already padded by the source.
pub trait Segments {
    /// Hands every plaintext to `seal`, in order.
    fn each(&mut self, seal: impl FnMut(&[u8]));
}

/// Where a session writes what must go to the peer.
pub trait Sink {
    /// Room for at least `need` bytes, or `None` when the buffer is full.
    fn room(&mut self, need: usize) -> Option<&mut [u8]>;
    /// The first `len` bytes of the room are a data message.
    fn data(&mut self, len: usize);
    /// The first `len` bytes of the room are a handshake message or a keepalive.
    fn control(&mut self, len: usize);

    /// A whole handshake message; lost when there is no room.
    fn control_bytes(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room(bytes.len()).and_then(|room| room.get_mut(..bytes.len())) {
            room.copy_from_slice(bytes);
            self.control(bytes.len());
        }
    }
}

/// Where a session writes opened packets.
pub trait Arena {
    /// Room for at least `need` bytes, or `None` when full.
    fn room(&mut self, need: usize) -> Option<&mut [u8]>;
    /// The first `len` bytes of the room are an inner packet.
    fn opened(&mut self, len: usize);
}

/// What became of a batch given to [`Session::seal`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    pub packets: u64,
    /// Kept until a handshake is done (at most 256 in a session).
    pub queued: u64,
    /// Lost: no room in the sink, or the session refused.
    pub lost: u64,
}

/// Why a datagram gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A tag that no key in use makes, or a counter that nobody may use.
    Forged,
    /// Its counter was taken before.
    Duplicate,
    /// Its counter is further back than the replay window reaches, or the keys it was sealed with are gone.
    Late,
    /// An answer to a handshake message that waits for none: it was answered, or a newer one stands in its place.
    Superseded,
    /// Authentic, but what it holds is no IP packet.
    NoPacket,
}

/// How many gave nothing, by reason. Duplicates, late and superseded ones are told by their numbers alone, before any key is
/// used: an honest peer's look like that when a network reorders them, and so does whatever bears the same numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub forged: u64,
    pub duplicate: u64,
    pub late: u64,
    pub superseded: u64,
    pub no_packet: u64,
}

impl Refused {
    pub fn count(&mut self, refusal: Refusal) {
        *match refusal {
            Refusal::Forged => &mut self.forged,
            Refusal::Duplicate => &mut self.duplicate,
            Refusal::Late => &mut self.late,
            Refusal::Superseded => &mut self.superseded,
            Refusal::NoPacket => &mut self.no_packet,
        } += 1;
    }
}

/// What became of datagrams given to [`Session::open`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// At least one message was authentic: only then may the endpoint move. A cookie is not: whoever sees an
    /// initiation and knows the peer's public key can make one.
    pub authentic: bool,
    /// Inner packets written to the arena.
    pub packets: u64,
    /// Authentic keepalives, handshake messages and cookies.
    pub control: u64,
    /// A handshake was completed.
    pub established: bool,
    pub refused: Refused,
    /// Lost for want of room.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Age of the newest handshake whose keys are still in use.
    pub handshake_age: Option<Duration>,
    /// An initiation is on its way.
    pub pending: bool,
    /// Initiations sent since the last answer: a reason to try another endpoint.
    pub unanswered: u32,
    /// Nothing left: no keys, no handshake under way. The session may be dropped.
    pub idle: bool,
    /// From the last initiation sent to its answer, if this end ever sent one that was answered.
    pub round_trip: Option<Duration>,
}

/// One lane to one peer.
pub trait Session: Send + 'static {
    /// Seals the batch under one guard. Without a session the packets are queued and a handshake begins.
    fn seal<G: Segments, K: Sink>(&mut self, segments: &mut G, out: &mut K, now: Now) -> Sealed;

    /// Opens datagrams of this lane, in order; answers (handshake, queued packets) go to `replies`.
    fn open<'a, D, A, K>(&mut self, datagrams: D, arena: &mut A, replies: &mut K, now: Now) -> Opened
    where
        D: Iterator<Item = &'a [u8]>,
        A: Arena,
        K: Sink;

    /// Begins a handshake unless one is under way; revives an expired session.
    fn initiate<K: Sink>(&mut self, out: &mut K, now: Now);

    /// The same, also while one is under way: the answer to that one may never come.
    fn initiate_anew<K: Sink>(&mut self, out: &mut K, now: Now);

    /// Packets that wait for a handshake are never sent: what allowed them is gone.
    fn forget_queued(&mut self);

    /// Timers. Call at [`Session::deadline`] or later.
    fn tick<K: Sink>(&mut self, out: &mut K, now: Now);

    /// When [`Session::tick`] wants to be called next.
    fn deadline(&self) -> Mono;

    fn stats(&self, now: Now) -> Stats;

    /// An upper bound of the greatest handshake timestamp sent, in nanoseconds since 1970; 0 if none was sent.
    fn greatest_sent(&self) -> u64;
}
