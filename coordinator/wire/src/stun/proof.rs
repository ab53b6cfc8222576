//! Proof that whoever shows it has received an answer at a place: a tag over that place and the minute, under a key that only the
//! coordinator and its relays have.
//!
//! ```text
//! minute since 1970 (u32 BE)   SipHash-2-4-128(key, "warren place" minute  IPv6 or mapped IPv4 (16)  port (u16 BE))
//! ```
//!
//! It lets a node say where it is seen by another address family than that of its control channel, and nobody say so of a place
//! where he receives nothing. It names no node: two hosts at one place could say the same of it without.

use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use subtle::ConstantTimeEq as _;
use warren_config::time::UnixTime;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a proof.
pub const PROOF: usize = 4 + 16;
/// Minutes for which it holds, in both directions: relays have clocks of their own.
pub const LIFE_MINUTES: u32 = 5;
const LABEL: &[u8] = b"warren place";

/// What a proof is made and checked with. It never reaches a log.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PlaceKey([u8; 16]);

impl PartialEq for PlaceKey {
    fn eq(&self, other: &PlaceKey) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for PlaceKey {}

impl std::fmt::Debug for PlaceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlaceKey(..)")
    }
}

/// As it is passed on by a node, which cannot read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof(pub [u8; PROOF]);

impl Proof {
    pub fn from_slice(bytes: &[u8]) -> Option<Proof> {
        bytes.try_into().ok().map(Proof)
    }
}

impl PlaceKey {
    /// `bytes` are random.
    pub fn new(bytes: [u8; 16]) -> PlaceKey {
        PlaceKey(bytes)
    }

    pub fn from_slice(bytes: &[u8]) -> Option<PlaceKey> {
        bytes.try_into().ok().map(PlaceKey)
    }

    /// For a relay, over its encrypted channel.
    pub fn to_bytes(&self) -> [u8; 16] {
        self.0
    }

    /// Somebody asks from `place`, and hears of it there.
    pub fn prove(&self, place: SocketAddr, now: UnixTime) -> Proof {
        let minute = minute(now);
        let mut bytes = [0; PROOF];
        let parts = minute.to_be_bytes().into_iter().chain(self.tag(place, minute));
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        Proof(bytes)
    }

    pub fn holds(&self, proof: &Proof, place: SocketAddr, now: UnixTime) -> bool {
        let [m0, m1, m2, m3, tag @ ..] = &proof.0;
        let of = u32::from_be_bytes([*m0, *m1, *m2, *m3]);
        let recent = minute(now).abs_diff(of) <= LIFE_MINUTES;
        recent && bool::from(self.tag(place, of).ct_eq(tag))
    }

    fn tag(&self, place: SocketAddr, minute: u32) -> [u8; 16] {
        let ip = match place.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut hash = SipHasher24::new_with_key(&self.0);
        hash.write(LABEL);
        hash.write(&minute.to_be_bytes());
        hash.write(&ip.octets());
        hash.write(&place.port().to_be_bytes());
        hash.finish128().as_bytes()
    }
}

fn minute(now: UnixTime) -> u32 {
    u32::try_from(now.0 / 60).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn key() -> PlaceKey {
        PlaceKey::new([7; 16])
    }

    #[test]
    fn a_proof_holds_for_its_place_its_key_and_a_few_minutes() {
        let place = "203.0.113.7:40123".parse().unwrap();
        let proof = key().prove(place, NOW);
        assert!(key().holds(&proof, place, NOW));
        assert!(key().holds(&proof, "[::ffff:203.0.113.7]:40123".parse().unwrap(), NOW), "the same place");
        for other in ["203.0.113.7:40124", "203.0.113.8:40123", "[2001:db8::7]:40123"] {
            assert!(!key().holds(&proof, other.parse().unwrap(), NOW), "{other}");
        }
        assert!(!PlaceKey::new([8; 16]).holds(&proof, place, NOW));
        let life = u64::from(LIFE_MINUTES) * 60;
        assert!(key().holds(&proof, place, NOW.plus(life)));
        assert!(!key().holds(&proof, place, NOW.plus(life + 60)));
        assert!(!key().holds(&proof, place, UnixTime(NOW.0 - life - 60)));
        assert_eq!(format!("{:?}", key()), "PlaceKey(..)");
    }

    proptest! {
        #[test]
        fn a_changed_bit_proves_nothing(at in 0..PROOF, bit in 0..8u8) {
            let place = "[2001:db8::1]:51820".parse().unwrap();
            let mut proof = key().prove(place, NOW);
            proof.0[at] ^= 1 << bit;
            prop_assert!(!key().holds(&proof, place, NOW));
        }
    }
}
