//! Initiations without a key of ours: random inside, but with the mac1 that makes a responder look at them (WireGuard
//! paper, section 5.4.4). The target's public key is all it takes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput as _, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead as _, Payload};

/// An X25519 public key, as `wg` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl std::str::FromStr for Key {
    type Err = String;
    fn from_str(text: &str) -> Result<Key, String> {
        let bytes = STANDARD.decode(text).map_err(|e| e.to_string())?;
        bytes.try_into().map(Key).map_err(|_| "not 32 bytes".to_owned())
    }
}

/// Pseudo-random bytes: enough for what is only to be refused.
#[derive(Debug)]
pub struct Noise(pub u64);

impl Noise {
    pub fn draw(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.draw().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

/// The mac2 of a message whose mac1 is in place: the proof that a cookie came back to where the message came from.
pub fn prove(message: &mut [u8], cookie: &[u8; 16]) {
    if let Ok(mut mac) = <Blake2sMac<U16> as KeyInit>::new_from_slice(cookie) {
        Update::update(&mut mac, &message[..132]);
        message[132..148].copy_from_slice(&mac.finalize_fixed());
    }
}

/// The cookie in a reply of 64 bytes to `message` (paper, section 5.4.7).
pub fn cookie(from: &Key, message: &[u8], reply: &[u8]) -> Option<[u8; 16]> {
    let (nonce, sealed) = (reply.get(8..32)?, reply.get(32..64)?);
    let key = Blake2s256::new().chain_update(b"cookie--").chain_update(from.0).finalize();
    let cipher = <XChaCha20Poly1305 as chacha20poly1305::KeyInit>::new_from_slice(&key).ok()?;
    let sealed = Payload { msg: sealed, aad: message.get(116..132)? };
    cipher.decrypt(nonce.into(), sealed).ok()?.try_into().ok()
}

/// 148 bytes from the sender's `index`; with `right` a mac1 that is right, else not.
pub fn initiation(to: &Key, noise: &mut Noise, right: bool, index: u32) -> Vec<u8> {
    let mut message = vec![1, 0, 0, 0];
    message.extend(index.to_le_bytes());
    message.extend(noise.bytes(140));
    message[132..].fill(0);
    if right {
        let key = Blake2s256::new().chain_update(b"mac1----").chain_update(to.0).finalize();
        if let Ok(mut mac) = <Blake2sMac<U16> as KeyInit>::new_from_slice(&key) {
            Update::update(&mut mac, &message[..116]);
            message[116..132].copy_from_slice(&mac.finalize_fixed());
        }
    }
    message
}
