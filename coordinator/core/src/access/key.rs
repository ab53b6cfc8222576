//! A key as text, its public id, and the hash of its secret.
//!
//! `wrn_` ID `_` SECRET: 12 characters of base32 (RFC 4648 section 6, lower case) that name it, and 32 random bytes in base64url
//! (section 5) that prove it. The secret is random and long, so a plain SHA-256 of it tells nobody anything.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub const HASH_BYTES: usize = 32;
const PREFIX: &str = "wrn_";
const ID_CHARS: usize = 12;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a key is called in lists; no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

/// SHA-256 of the secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; HASH_BYTES]);

/// The whole key. It is shown once, when it is made, and is never stored or logged.
pub struct KeyText {
    id: KeyId,
    secret: Zeroizing<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key is `wrn_`, 12 characters, `_` and 43 characters, as `warren key create` printed it")]
pub struct MalformedKey;

impl KeyText {
    /// From random bytes; the first are the id.
    pub fn new(id: [u8; 7], secret: [u8; 32]) -> KeyText {
        let mut bits = id.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let mut text = String::with_capacity(ID_CHARS);
        for _ in 0..ID_CHARS {
            text.push(char::from(ALPHABET[(bits & 31) as usize]));
            bits >>= 5;
        }
        KeyText { id: KeyId(text), secret: Zeroizing::new(secret) }
    }

    pub fn parse(text: &str) -> Result<KeyText, MalformedKey> {
        let (id, secret) = text.strip_prefix(PREFIX).and_then(|t| t.split_once('_')).ok_or(MalformedKey)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).map_err(|_| MalformedKey)?);
        let secret = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| MalformedKey)?;
        Ok(KeyText { id: KeyId::try_from(id.to_owned())?, secret: Zeroizing::new(secret) })
    }

    pub fn id(&self) -> KeyId {
        self.id.clone()
    }

    /// For the one who made it, once.
    pub fn reveal(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.secret.as_slice()));
        Zeroizing::new(format!("{PREFIX}{}_{}", self.id.0, *secret))
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({})", self.id.0)
    }
}

impl KeyHash {
    pub fn of(key: &KeyText) -> KeyHash {
        let mut hasher = Sha256::new();
        hasher.update(b"warren api key v1\0");
        hasher.update(key.secret.as_slice());
        KeyHash(hasher.finalize().into())
    }

    /// In time that does not depend on where they differ.
    pub fn is_of(&self, key: &KeyText) -> bool {
        let other = KeyHash::of(key);
        self.0.iter().zip(other.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

impl KeyId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyId {
    type Error = MalformedKey;
    fn try_from(text: String) -> Result<KeyId, MalformedKey> {
        match text.len() == ID_CHARS && text.bytes().all(|b| ALPHABET.contains(&b)) {
            true => Ok(KeyId(text)),
            false => Err(MalformedKey),
        }
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.0
    }
}

impl TryFrom<String> for KeyHash {
    type Error = MalformedKey;
    fn try_from(text: String) -> Result<KeyHash, MalformedKey> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MalformedKey)?;
        <[u8; HASH_BYTES]>::try_from(bytes.as_slice()).map(KeyHash).map_err(|_| MalformedKey)
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> String {
        URL_SAFE_NO_PAD.encode(hash.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_shown() {
        let key = KeyText::new([1, 2, 3, 4, 5, 6, 7], [9; 32]);
        let text = key.reveal();
        assert_eq!(text.len(), 4 + 12 + 1 + 43);
        let read = KeyText::parse(&text).expect("reads");
        assert_eq!(read.id(), key.id());
        assert!(KeyHash::of(&key).is_of(&read));
        assert!(!KeyHash::of(&key).is_of(&KeyText::new([1, 2, 3, 4, 5, 6, 7], [8; 32])));
    }

    #[test]
    fn what_is_no_key_is_refused_and_nothing_of_it_is_shown() {
        let good = KeyText::new([0; 7], [0; 32]).reveal();
        for bad in ["", "wrn_", "wrn_a_b", &good[1..], &good[..good.len() - 1], &good.to_uppercase()] {
            assert!(KeyText::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(format!("{:?}", KeyText::new([0; 7], [0; 32])), "KeyText(aaaaaaaaaaaa)");
    }
}
