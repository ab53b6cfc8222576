//! Frames between a node and a relay: a WireGuard datagram with a head of 20 bytes in front, on UDP.
//!
//! ```text
//!  0      1         4         7               12                20
//!  ┌──────┬─────────┬─────────┬───────────────┬─────────────────┬───────────────────────┐
//!  │ 0x80 │ from 24 │  to 24  │  counter 40   │  tag 64         │ WireGuard, or control │
//!  └──────┴─────────┴─────────┴───────────────┴─────────────────┴───────────────────────┘
//! ```
//!
//! Every node has a *seat* at the network's relays: a number that its coordinator gives it, with a key for each direction.
//! At each relay these keys are others ([`TagKey::at`]), so that no relay can use at another what it was sent.
//! `from` and `to` are seats; seat 0 is the relay itself. The tag is SipHash-2-4, keyed, over the first 12 bytes, the length
//! and the last 32 bytes of what follows: for the messages of WireGuard these hold their own tag or macs, so a frame
//! cannot be made from parts of others, and what is changed in the middle fails at the peer. The relay looks at nothing
//! else of it; it writes the receiver's tag over the sender's and passes the frame on, no byte longer.
//!
//! With the head a packet of the tunnel's MTU still fits an IPv4 path: 20 + 8 + 20 + 32 is what a tunnel reserves for IPv6
//! (40 + 8 + 32). The first bits `10` belong neither to QUIC nor to STUN (RFC 9443 section 3), and WireGuard's types are 1 to 4,
//! so that one port can serve all of them.

use std::hash::Hasher as _;

use sha2::{Digest as _, Sha256};
use siphasher::sip::SipHasher24;
use zeroize::Zeroizing;

use crate::id::RelayId;

/// First byte of a frame.
pub const FRAME: u8 = 0x80;
/// Bytes in front of what is carried.
pub const HEAD: usize = 20;
/// What is carried is at least as long as the shortest word to the relay itself.
pub const LEAST: usize = 8;
/// Bytes at the end of what is carried that the tag covers.
const TAIL: usize = 32;
/// The counter of a seat ends here; its coordinator gives a new seat long before.
pub const MAX_COUNTER: u64 = (1 << 40) - 1;

/// A node's number at the relays of its network, or the relay itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(u32);

impl Seat {
    pub const RELAY: Seat = Seat(0);

    /// `None` over 24 bits.
    pub const fn new(number: u32) -> Option<Seat> {
        if number < 1 << 24 { Some(Seat(number)) } else { None }
    }
    pub fn number(self) -> u32 {
        self.0
    }
    pub fn is_relay(self) -> bool {
        self == Seat::RELAY
    }
    fn read(bytes: [u8; 3]) -> Seat {
        let [a, b, c] = bytes;
        Seat(u32::from_be_bytes([0, a, b, c]))
    }
    fn bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// One direction's key. Not printable.
#[derive(Clone, PartialEq, Eq, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct TagKey([u8; 16]);

impl TagKey {
    pub fn new(bytes: [u8; 16]) -> TagKey {
        TagKey(bytes)
    }
    /// The same direction's key at one relay. Node and coordinator derive it; a relay is told its own and can find neither
    /// this one nor another relay's from it. Lengths are fixed and half of the hash is kept, so SHA-256 by itself is a PRF here.
    pub fn at(&self, relay: &RelayId) -> TagKey {
        let hash =
            Sha256::new_with_prefix(b"warren relay tag v1\0").chain_update(self.0).chain_update(relay.0);
        let hash: Zeroizing<[u8; 32]> = Zeroizing::new(hash.finalize().into());
        TagKey(hash.first_chunk().copied().unwrap_or_default())
    }
    /// For the frame that carries it to its node.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TagKey(…)")
    }
}

/// What stands in front, without the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub from: Seat,
    pub to: Seat,
    /// Never used twice by one seat.
    pub counter: u64,
}

/// Is this for a reader of frames?
pub fn is_frame(datagram: &[u8]) -> bool {
    datagram.first() == Some(&FRAME)
}

/// The head of a frame and what it carries. Whether it is genuine, only [`verify`] says.
pub fn read(frame: &[u8]) -> Option<(Head, &[u8])> {
    let (head, carried) = frame.split_at_checked(HEAD)?;
    let [FRAME, a, b, c, d, e, f, g, h, i, j, k, ..] = *head else { return None };
    let counter = u64::from_be_bytes([0, 0, 0, g, h, i, j, k]);
    let head = Head { from: Seat::read([a, b, c]), to: Seat::read([d, e, f]), counter };
    (carried.len() >= LEAST).then_some((head, carried))
}

/// Writes the head over the first [`HEAD`] bytes of `frame`. False if it is too short, or the counter used up.
pub fn write(frame: &mut [u8], head: Head, key: &TagKey) -> bool {
    if frame.len() < HEAD + LEAST || head.counter > MAX_COUNTER {
        return false;
    }
    let counter = head.counter.to_be_bytes();
    let fields = head.from.bytes().into_iter().chain(head.to.bytes()).chain(counter.into_iter().skip(3));
    for (to, byte) in frame.iter_mut().zip(std::iter::once(FRAME).chain(fields)) {
        *to = byte;
    }
    stamp(frame, key);
    true
}

/// Writes another key's tag over the one that is there: what a relay does to a frame.
pub fn stamp(frame: &mut [u8], key: &TagKey) {
    let tag = tag(frame, key).to_be_bytes();
    if let Some(place) = frame.get_mut(12..HEAD) {
        place.copy_from_slice(&tag);
    }
}

/// Was this frame written with `key`?
pub fn verify(frame: &[u8], key: &TagKey) -> bool {
    let want = tag(frame, key).to_be_bytes();
    frame.get(12..HEAD).is_some_and(|given| subtle::ConstantTimeEq::ct_eq(given, &want[..]).into())
}

fn tag(frame: &[u8], key: &TagKey) -> u64 {
    let (head, carried) = (frame.get(..12).unwrap_or_default(), frame.get(HEAD..).unwrap_or_default());
    let tail = carried.get(carried.len().saturating_sub(TAIL)..).unwrap_or_default();
    let mut hasher = SipHasher24::new_with_key(&key.0);
    hasher.write(head);
    hasher.write(&(carried.len() as u64).to_be_bytes());
    hasher.write(tail);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> TagKey {
        TagKey::new([byte; 16])
    }

    fn frame(head: Head, carried: &[u8], key: &TagKey) -> Vec<u8> {
        let mut bytes = [&[0; HEAD], carried].concat();
        assert!(write(&mut bytes, head, key));
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(from in 0u32..1 << 24, to in 0u32..1 << 24, counter in 0..=MAX_COUNTER, carried in prop::collection::vec(any::<u8>(), LEAST..200)) {
            let head = Head { from: Seat(from), to: Seat(to), counter };
            let bytes = frame(head, &carried, &key(1));
            prop_assert_eq!(read(&bytes), Some((head, &carried[..])));
            prop_assert!(verify(&bytes, &key(1)) && !verify(&bytes, &key(2)));
        }

        #[test]
        fn a_changed_head_length_or_tail_is_not_genuine(at in 0usize..HEAD + 100, carried in prop::collection::vec(any::<u8>(), 100)) {
            let head = Head { from: Seat(1), to: Seat(2), counter: 3 };
            let bytes = frame(head, &carried, &key(1));
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let covered = !(HEAD..HEAD + 100 - TAIL).contains(&at);
            prop_assert_eq!(verify(&changed, &key(1)), !covered);
            prop_assert!(!verify(&bytes[..bytes.len() - 1], &key(1)));
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (read(&bytes), verify(&bytes, &key(1)));
            let mut bytes = bytes;
            stamp(&mut bytes, &key(1));
            write(&mut bytes, Head { from: Seat(0), to: Seat(1), counter: 0 }, &key(1));
        }
    }

    #[test]
    fn a_relay_changes_nothing_but_the_tag() {
        let head = Head { from: Seat(7), to: Seat(9), counter: 1 << 39 };
        let sent = frame(head, &[4; 64], &key(1));
        let mut passed = sent.clone();
        stamp(&mut passed, &key(2));
        assert!(verify(&passed, &key(2)));
        assert_eq!((&sent[..12], &sent[HEAD..]), (&passed[..12], &passed[HEAD..]));
    }

    /// RL-04: what one relay was sent is nothing at another.
    #[test]
    fn every_relay_has_its_own_keys_of_a_seat_and_each_is_always_the_same() {
        let relays = [RelayId([1; 16]), RelayId([2; 16])];
        let [one, other] = relays.map(|relay| key(7).at(&relay));
        assert!(
            one != other && one != key(7) && one == key(7).at(&relays[0]) && one != key(8).at(&relays[0])
        );
        let sent = frame(Head { from: Seat(1), to: Seat(2), counter: 3 }, &[4; 64], &one);
        assert!(verify(&sent, &one) && !verify(&sent, &other) && !verify(&sent, &key(7)));
    }

    #[test]
    fn a_counter_ends_and_a_seat_has_24_bits() {
        let mut bytes = [0; HEAD + LEAST];
        let head = Head { from: Seat(1), to: Seat(2), counter: MAX_COUNTER + 1 };
        assert!(!write(&mut bytes, head, &key(1)));
        assert_eq!(
            (Seat::new(1 << 24), Seat::new((1 << 24) - 1).map(Seat::number)),
            (None, Some((1 << 24) - 1))
        );
    }

    /// One port serves all of them.
    #[test]
    fn a_frame_is_neither_wireguard_nor_quic_nor_stun() {
        let bytes = frame(Head { from: Seat(1), to: Seat(2), counter: 3 }, &[1; 148], &key(1));
        assert!(is_frame(&bytes) && !crate::stun::is_stun(&bytes));
        assert!(bytes[0] > 4 && bytes[0] & 0x40 == 0, "the fixed bit of QUIC (RFC 9000 section 17)");
    }
}
