//! Identifiers and public keys. Each has one text form, used in files, logs and output.

use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod hex {
    pub fn encode(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
    /// Lower case only: one identity has one spelling.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let pair = |p: &[u8]| Some(digit(*p.first()?)? << 4 | digit(*p.get(1)?)?);
        text.as_bytes().chunks(2).map(pair).collect()
    }
}

mod b64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    pub fn encode(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }
    /// Canonical only: the engine refuses stray padding bits.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text).ok()
    }
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $text:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $len]);

        impl $name {
            pub fn from_slice(bytes: &[u8]) -> Option<$name> {
                bytes.try_into().ok().map($name)
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$text::encode(&self.0))
            }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<$name, InvalidId> {
                $text::decode(text).and_then(|bytes| $name::from_slice(&bytes)).ok_or_else(|| InvalidId {
                    what: $what,
                    value: text.chars().take(80).collect::<String>().escape_debug().to_string(),
                })
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<$name, InvalidId> {
                text.parse()
            }
        }
    };
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {what}")]
pub struct InvalidId {
    pub what: &'static str,
    pub value: String,
}

bytes_id!(
    /// A node: the first 16 bytes of SHA-256 over `warren node v1\0`, network id and identity key. Text: 32 hex digits.
    NodeId,
    16,
    hex,
    "node id (32 hex digits)"
);
bytes_id!(
    /// A network, chosen at random by `warren init`. Text: 32 hex digits.
    NetworkId,
    16,
    hex,
    "network id (32 hex digits)"
);
bytes_id!(
    /// A relay: the first 16 bytes of SHA-256 over `warren relay v1\0` and its identity key. Text: 32 hex digits.
    RelayId,
    16,
    hex,
    "relay id (32 hex digits)"
);
bytes_id!(
    /// An Ed25519 public key (RFC 8032): authority, coordinator, token or node identity. Text: base64 with padding.
    IdentityKey,
    32,
    b64,
    "Ed25519 public key (44 base64 characters)"
);
bytes_id!(
    /// An X25519 public key (RFC 7748) of a WireGuard interface. Text: base64 with padding, as `wg` prints it.
    WgKey,
    32,
    b64,
    "WireGuard public key (44 base64 characters)"
);
bytes_id!(
    /// SHA-256. Text: 64 hex digits.
    Digest,
    32,
    hex,
    "SHA-256 digest (64 hex digits)"
);

impl RelayId {
    pub fn of(key: &IdentityKey) -> RelayId {
        let hash = Sha256::new_with_prefix(b"warren relay v1\0").chain_update(key.0).finalize();
        RelayId(hash.first_chunk().copied().unwrap_or_default())
    }
}

impl IdentityKey {
    /// The public half of `key`.
    pub fn of(key: &SigningKey) -> IdentityKey {
        IdentityKey(key.verifying_key().to_bytes())
    }

    /// The key as a curve point, if it is one, in its only encoding, and not of low order. Two spellings of one
    /// key would be two identities (RFC 8032 section 5.1.3 leaves this to the reader).
    pub fn verifying(&self) -> Option<VerifyingKey> {
        // Besides the height, the sign of a point without one could be spelled in two ways; both such points are of low order.
        let [rest @ .., top] = self.0;
        let height = [top & 0x7f].into_iter().chain(rest.into_iter().rev());
        let canonical = is_below_prime(height);
        let key = VerifyingKey::from_bytes(&self.0).ok()?;
        (canonical && !key.is_weak()).then_some(key)
    }
}

/// The prime 2^255 - 19 of Curve25519, little-endian (RFC 7748 section 4.1).
const FIELD_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// Bytes of a number, the highest first.
fn is_below_prime(bytes: impl Iterator<Item = u8>) -> bool {
    bytes.lt(FIELD_PRIME.iter().rev().copied())
}

impl WgKey {
    /// The public half of an X25519 private key, clamped or not (RFC 7748 section 5).
    pub fn of(private: &[u8; 32]) -> WgKey {
        WgKey(MontgomeryPoint::mul_base_clamped(*private).to_bytes())
    }

    /// True for the one encoding below 2^255 - 19. X25519 reads others as the same key; as a name they would be a
    /// second one.
    pub fn is_canonical(&self) -> bool {
        is_below_prime(self.0.iter().rev().copied())
    }
}

/// Number of a policy, from 1; 0 means that no policy was ever applied.
pub type Generation = u64;
/// Number of any change, one sequence for the network.
pub type Revision = u64;
/// Grows at `restore`, so that a restored coordinator cannot replay.
pub type Epoch = u64;
