//! XEdDSA (Signal, "The XEdDSA and VXEdDSA Signature Schemes", section 2): an Ed25519-shaped signature made with an
//! X25519 private key, so that a node record proves that its author holds the WireGuard keys it names.
//!
//! An X25519 public key has no sign bit, so both sides agree on the Edwards point with sign 0, and the signer
//! negates its scalar when the real point has sign 1. The verifier then is plain, strict Ed25519.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use crate::id::{NetworkId, NodeId, WgKey};

const DOMAIN: &[u8] = b"warren possession v1\0";

/// `hash_1` of the XEdDSA paper begins with 2^256 - 2, little-endian: no point encodes so.
const NONCE_PREFIX: [u8; 32] = {
    let mut prefix = [0xff; 32];
    prefix[0] = 0xfe;
    prefix
};

/// The bytes a lane key signs. Every part has a fixed length.
pub fn message(network: &NetworkId, node: &NodeId, serial: u64, key: &WgKey) -> Vec<u8> {
    [DOMAIN, &network.0, &node.0, &serial.to_be_bytes(), &key.0].concat()
}

/// The Edwards key pair with sign bit 0 that belongs to an X25519 private key (`calculate_key_pair`).
fn key_pair(private: &[u8; 32]) -> (Zeroizing<Scalar>, [u8; 32]) {
    let clamped = Zeroizing::new(clamp_integer(*private));
    let scalar = Zeroizing::new(Scalar::from_bytes_mod_order(*clamped));
    let mut public = EdwardsPoint::mul_base(&scalar).compress().0;
    let negative = public[31] >> 7 == 1;
    public[31] &= 0x7f;
    // Both are computed, so that time does not tell the sign of a long-lived key.
    let negated = Zeroizing::new(-*scalar);
    let choice = subtle::Choice::from(u8::from(negative));
    let chosen = <Scalar as subtle::ConditionallySelectable>::conditional_select(&scalar, &negated, choice);
    (Zeroizing::new(chosen), public)
}

fn hash_to_scalar(parts: &[&[u8]]) -> Scalar {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// Signs `message` with an X25519 private key (clamped or not). `nonce` is 64 fresh random bytes.
pub fn sign(private: &[u8; 32], message: &[u8], nonce: &[u8; 64]) -> [u8; 64] {
    let (secret, public) = key_pair(private);
    let secret_bytes = Zeroizing::new(secret.to_bytes());
    let r = Zeroizing::new(hash_to_scalar(&[&NONCE_PREFIX, secret_bytes.as_slice(), message, nonce]));
    let commitment = EdwardsPoint::mul_base(&r).compress().0;
    let challenge = hash_to_scalar(&[&commitment, &public, message]);
    let response = *r + challenge * *secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&commitment);
    signature[32..].copy_from_slice(&response.to_bytes());
    signature
}

/// Can this be the public half of a key that somebody holds: canonical, on the curve, not of low order?
pub fn is_usable(key: &WgKey) -> bool {
    verifying_key(key).is_some()
}

/// False for every malformed key or signature, and for low-order keys.
pub fn verify(key: &WgKey, message: &[u8], signature: &[u8]) -> bool {
    let Some(public) = verifying_key(key) else { return false };
    Signature::from_slice(signature).is_ok_and(|s| public.verify_strict(message, &s).is_ok())
}

fn verifying_key(key: &WgKey) -> Option<VerifyingKey> {
    if !key.is_canonical() {
        return None;
    }
    let point = MontgomeryPoint(key.0).to_edwards(0)?;
    let public = VerifyingKey::from_bytes(&point.compress().0).ok()?;
    (!public.is_weak()).then_some(public)
}
