//! Every reason a packet did not pass and every event, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::notes::{Note, Notes};
use crate::packet::DropReason;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What can happen outside the inner packet. Stable kebab-case names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $name,)* }

        impl Event {
            pub const ALL: &[Event] = &[$(Event::$name,)*];
            pub const fn as_str(self) -> &'static str {
                match self { $(Event::$name => $text,)* }
            }
        }
    };
}

events! {
    /// Not one of the four WireGuard messages.
    NotWireGuard = "wg-not-a-message",
    /// No key of ours made this mac1.
    BadMac1 = "wg-bad-mac1",
    /// Right mac1, but not a peer (or not readable).
    Stranger = "wg-stranger",
    /// An initiation that is not newer than one seen before.
    OldInitiation = "wg-old-initiation",
    /// Over the limit of its source, even with a cookie.
    RateLimited = "wg-rate-limited",
    CookieSent = "wg-cookie-sent",
    UnknownIndex = "wg-unknown-index",
    /// A tag that no key in use makes: never an honest peer's, however late or often it comes.
    NotAuthentic = "wg-not-authentic",
    /// A counter that was taken before: the network gave it twice, or somebody recorded it.
    Duplicate = "wg-duplicate",
    /// A counter that the replay window has passed, or of keys that are gone.
    Late = "wg-late",
    /// An answer to a handshake message that was answered before, or that a newer one has replaced.
    Superseded = "wg-superseded",
    /// Authentic, but no IP packet is in it.
    NoPacket = "wg-no-packet",
    Handshake = "wg-handshake",
    /// No room for opened packets in one batch.
    ArenaFull = "arena-full",
    /// No room for sealed packets: the worker did not send in time.
    NoRoom = "send-buffer-full",
    /// Packets given up while a handshake was not answered.
    Unsent = "no-session",
    Queued = "queued-for-handshake",
    NoLane = "no-common-lane",
    NoEndpoint = "no-endpoint",
    TooBig = "larger-than-mtu",
    Roamed = "peer-roamed",
    /// An authenticated packet from an address that cannot be an endpoint (inside the overlay).
    BadEndpoint = "endpoint-not-acceptable",
    /// Words of other agents that came faster than they were read.
    Unheard = "words-unheard",
    /// A relay's frame that is not for this node, not from its relay, or an answer nobody waits for.
    BadFrame = "relay-bad-frame",
    /// A gateway that did not answer was left for another one.
    GatewayLeft = "gateway-left",
    /// No peer owns the destination.
    NoPeer = "destination-no-peer",
}

pub(super) struct Counters {
    drops: Vec<AtomicU64>,
    events: Vec<AtomicU64>,
    notes: Notes,
}

impl Counters {
    pub fn new() -> Counters {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Counters { drops: zeros(DropReason::COUNT), events: zeros(Event::ALL.len()), notes: Notes::default() }
    }

    pub fn event(&self, event: Event, times: u64) {
        if let Some(counter) = self.events.get(event as usize).filter(|_| times > 0) {
            counter.fetch_add(times, Ordering::Relaxed);
        }
    }

    pub fn drop(&self, reason: DropReason, times: u64) {
        if let Some(counter) = self.drops.get(reason.index()) {
            counter.fetch_add(times, Ordering::Relaxed);
        }
    }

    pub fn note(&self, note: Note) {
        self.notes.note(note);
    }

    /// Oldest first.
    pub fn notes(&self) -> Vec<Note> {
        self.notes.all()
    }

    pub fn read(&self) -> BTreeMap<&'static str, u64> {
        let drops = DropReason::ALL.iter().map(|r| r.as_str()).zip(&self.drops);
        let events = Event::ALL.iter().map(|e| e.as_str()).zip(&self.events);
        drops.chain(events).map(|(name, counter)| (name, counter.load(Ordering::Relaxed))).collect()
    }
}
