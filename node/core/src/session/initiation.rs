//! Reading who knocks, before any state exists: mac1, cookies, and the two encrypted fields of an initiation.
//!
//! The library keeps the timestamp of the last initiation inside a tunnel and forgets it with the tunnel. So it is
//! read here as well, and the greatest one outlives the tunnel and the agent: an initiation recorded earlier is
//! never answered again. The same work names the peer, so nothing is paid twice.
//!
//! Formulas: WireGuard paper, sections 5.4.2 (initiation), 5.4.4 (mac1, mac2) and 5.4.7 (cookie reply).

use blake2::digest::{FixedOutput as _, KeyInit, Update, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::aead::{Aead as _, AeadInPlace as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use hmac::SimpleHmac;
use warren_wire::id::WgKey;
use x25519_dalek::{PublicKey, StaticSecret};

use super::message::{COOKIE_LEN, INITIATION_LEN, RESPONSE_LEN};
use super::{Knock, LaneSecret, Stamp};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

pub(super) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is accepted; 32 bytes always are.
    let Ok(mut state) = <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        Update::update(&mut state, part);
    }
    state.finalize_fixed().into()
}

/// `(chain, key)` of KDF2.
pub(super) fn kdf2(chain: &[u8; 32], input: &[u8]) -> ([u8; 32], [u8; 32]) {
    let secret = hmac(chain, &[input]);
    let first = hmac(&secret, &[&[1]]);
    let second = hmac(&secret, &[&first, &[2]]);
    (first, second)
}

/// Keyed BLAKE2s with 16 bytes of output.
pub(super) fn mac16(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 16]> {
    let mut state = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).ok()?;
    for part in parts {
        state = state.chain(part);
    }
    Some(state.finalize_fixed().into())
}

fn open<const N: usize>(key: &[u8; 32], sealed: &[u8], hash: &[u8; 32]) -> Option<[u8; N]> {
    let cipher = ChaCha20Poly1305::new(key.into());
    let nonce = [0u8; 12];
    let plain = cipher.decrypt(&nonce.into(), Payload { msg: sealed, aad: hash }).ok()?;
    plain.try_into().ok()
}

/// One of our keys, with everything that can be computed before a message comes.
pub(super) struct Door {
    secret: LaneSecret,
    public: PublicKey,
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    /// Hash state behind the responder's public key.
    hash: [u8; 32],
    chain: [u8; 32],
}

impl Door {
    pub fn new(secret: LaneSecret) -> Door {
        let public = PublicKey::from(secret.public().0);
        let chain = hash(&[CONSTRUCTION]);
        let start = hash(&[&chain, IDENTIFIER]);
        Door {
            public,
            mac1_key: hash(&[b"mac1----", public.as_bytes()]),
            cookie_key: hash(&[b"cookie--", public.as_bytes()]),
            hash: hash(&[&start, public.as_bytes()]),
            chain,
            secret,
        }
    }

    pub fn secret(&self) -> StaticSecret {
        StaticSecret::from(*self.secret.expose())
    }
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Does the mac1 of this handshake message name our key?
    pub fn is_addressed(&self, datagram: &[u8]) -> bool {
        let Some((body, mac1, _)) = macs(datagram) else { return false };
        mac16(&self.mac1_key, &[body]).is_some_and(|want| equal(&want, mac1))
    }

    pub fn cookie_reply(
        &self,
        datagram: &[u8],
        cookie: &[u8; 16],
        nonce: &[u8; 24],
    ) -> Option<[u8; COOKIE_LEN]> {
        let (_, mac1, _) = macs(datagram)?;
        let mut reply = [0u8; COOKIE_LEN];
        let (head, sealed) = reply.split_at_mut_checked(32)?;
        head.get_mut(..4)?.copy_from_slice(&3u32.to_le_bytes());
        head.get_mut(4..8)?.copy_from_slice(datagram.get(4..8)?);
        head.get_mut(8..32)?.copy_from_slice(nonce);
        let (body, tag) = sealed.split_at_mut_checked(16)?;
        body.copy_from_slice(cookie);
        let cipher = XChaCha20Poly1305::new((&self.cookie_key).into());
        let made = cipher.encrypt_in_place_detached(nonce.into(), mac1, body).ok()?;
        tag.copy_from_slice(&made);
        Some(reply)
    }

    pub fn knock(&self, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Option<Knock> {
        if datagram.len() != INITIATION_LEN {
            return None;
        }
        let secret = self.secret();
        let ephemeral: [u8; 32] = datagram.get(8..40)?.try_into().ok()?;
        let sealed_static = datagram.get(40..88)?;
        let sealed_stamp = datagram.get(88..116)?;

        let seen = hash(&[&self.hash, &ephemeral]);
        let (chain, _) = kdf2(&self.chain, &ephemeral);
        let shared = secret.diffie_hellman(&PublicKey::from(ephemeral));
        if !shared.was_contributory() {
            return None;
        }
        let (chain, key) = kdf2(&chain, shared.as_bytes());
        let peer = WgKey(open::<32>(&key, sealed_static, &seen)?);
        if !known(&peer) {
            return None;
        }
        let seen = hash(&[&seen, sealed_static]);
        let shared = secret.diffie_hellman(&PublicKey::from(peer.0));
        let (_, key) = kdf2(&chain, shared.as_bytes());
        Some(Knock { peer, stamp: Stamp(open::<12>(&key, sealed_stamp, &seen)?) })
    }
}

/// Body, mac1 and mac2 of a handshake message.
fn macs(datagram: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    if !matches!(datagram.len(), INITIATION_LEN | RESPONSE_LEN) {
        return None;
    }
    let (body, both) = datagram.split_at_checked(datagram.len() - 32)?;
    let (mac1, mac2) = both.split_at_checked(16)?;
    Some((body, mac1, mac2))
}

/// mac2 over everything before it, under the cookie.
pub(super) fn proves(datagram: &[u8], cookie: &[u8; 16]) -> bool {
    let Some((body, mac1, mac2)) = macs(datagram) else { return false };
    mac16(cookie, &[body, mac1]).is_some_and(|want| equal(&want, mac2))
}

/// Constant time.
pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}
