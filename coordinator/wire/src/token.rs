//! The enrolment token: what the operator carries from the administrator to the new host.
//!
//! Text form: `warren1_` and base64url (RFC 4648 section 5, no padding) of a protobuf message and a 4-byte checksum
//! (SHA-256), so that a token cut off in a terminal is called that and not "wrong".

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::id::{IdentityKey, NetworkId};

const PREFIX: &str = "warren1_";
/// Of a token that lets a relay in: the same, and no host takes one for the other.
const RELAY_PREFIX: &str = "warrenrelay1_";
const CHECKSUM: usize = 4;
/// Longest text of a token, its most coordinators and its most authorities.
pub const MAX_TOKEN_BYTES: usize = 2048;
pub const MAX_COORDINATORS: usize = 8;
pub const MAX_AUTHORITIES: usize = 8;

/// Holds a private key: no `Debug`, no `Display`, no `Clone`.
pub struct Token {
    pub network: NetworkId,
    pub authorities: Vec<IdentityKey>,
    /// `host:port` of the coordinators.
    pub coordinators: Vec<String>,
    /// The coordinator's online key: who must answer at those addresses.
    pub coordinator_key: IdentityKey,
    /// Seed of the token's Ed25519 key.
    pub seed: Zeroizing<[u8; 32]>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this is not an enrolment token: it must begin with `warren1_`")]
    NotAToken,
    #[error(
        "this is not a relay's token: it must begin with `warrenrelay1_`; make one with `warren relay add`"
    )]
    NotARelayToken,
    #[error("the enrolment token is damaged or cut off ({characters} characters read): copy it whole")]
    Damaged { characters: usize },
    #[error("the enrolment token is of no use: {why}; ask for a new one")]
    Unusable { why: String },
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct TokenBody {
    #[prost(bytes = "vec", tag = "1")]
    network: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    authorities: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "3")]
    coordinators: Vec<String>,
    #[prost(bytes = "vec", tag = "4")]
    coordinator_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    seed: Vec<u8>,
}

impl Drop for TokenBody {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl Token {
    pub fn encode(&self) -> Zeroizing<String> {
        self.encode_behind(PREFIX)
    }

    /// For a relay.
    pub fn encode_for_relay(&self) -> Zeroizing<String> {
        self.encode_behind(RELAY_PREFIX)
    }

    fn encode_behind(&self, prefix: &str) -> Zeroizing<String> {
        let body = TokenBody {
            network: self.network.0.to_vec(),
            authorities: self.authorities.iter().map(|key| key.0.to_vec()).collect(),
            coordinators: self.coordinators.clone(),
            coordinator_key: self.coordinator_key.0.to_vec(),
            seed: self.seed.to_vec(),
        };
        // Room for all at once: growing would leave copies of the seed behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(body.encoded_len() + CHECKSUM));
        body.encode_raw(&mut *bytes);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + bytes.len().div_ceil(3) * 4));
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(&*bytes, &mut text);
        text
    }

    /// Reads a token; white space around it is ignored.
    pub fn decode(text: &str) -> Result<Token, TokenError> {
        Token::decode_behind(PREFIX, text).ok_or(TokenError::NotAToken)?
    }

    /// The same for a relay's.
    pub fn decode_for_relay(text: &str) -> Result<Token, TokenError> {
        Token::decode_behind(RELAY_PREFIX, text).ok_or(TokenError::NotARelayToken)?
    }

    /// `None`: it begins otherwise.
    fn decode_behind(prefix: &str, text: &str) -> Option<Result<Token, TokenError>> {
        let text = text.trim();
        Some(Token::decode_rest(text.strip_prefix(prefix)?, text))
    }

    fn decode_rest(encoded: &str, text: &str) -> Result<Token, TokenError> {
        let damaged = || TokenError::Damaged { characters: text.chars().count() };
        if text.len() > MAX_TOKEN_BYTES {
            return Err(damaged());
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| damaged())?);
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or_else(damaged)?;
        if checksum(body) != *sum {
            return Err(damaged());
        }
        let body = TokenBody::decode(body).map_err(|_| damaged())?;
        Token::from_body(&body)
    }

    /// Public half of the token's key: the name of the token at the coordinator.
    pub fn key(&self) -> IdentityKey {
        IdentityKey::of(&self.signing_key())
    }

    /// The token's key itself (wiped when dropped): it signs one admission.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.seed)
    }

    /// What a new token must pass before it is handed out; [`Token::decode`] asks the same.
    pub fn check(&self) -> Result<(), TokenError> {
        let unusable = |why: String| Err(TokenError::Unusable { why });
        if !(1..=MAX_AUTHORITIES).contains(&self.authorities.len()) {
            return unusable(format!("it names {} authorities, not 1 to 8", self.authorities.len()));
        }
        if !(1..=MAX_COORDINATORS).contains(&self.coordinators.len()) {
            return unusable(format!("it names {} coordinators, not 1 to 8", self.coordinators.len()));
        }
        if let Some(bad) = self.coordinators.iter().find(|text| !is_host_port(text)) {
            return unusable(format!("`{}` is not a coordinator's host:port", bad.escape_debug()));
        }
        let mut keys = self.authorities.iter().chain([&self.coordinator_key]);
        if let Some(bad) = keys.find(|key| key.verifying().is_none()) {
            return unusable(format!("{bad} is not a usable Ed25519 key"));
        }
        match self.encode().len() {
            length if length > MAX_TOKEN_BYTES => unusable(format!("it is {length} characters long")),
            _ => Ok(()),
        }
    }

    fn from_body(body: &TokenBody) -> Result<Token, TokenError> {
        let part = |what: &str| TokenError::Unusable { why: format!("its {what} is malformed") };
        let seed: [u8; 32] = body.seed.as_slice().try_into().map_err(|_| part("key"))?;
        let authorities = body.authorities.iter().take(MAX_AUTHORITIES + 1);
        let token = Token {
            network: NetworkId::from_slice(&body.network).ok_or_else(|| part("network"))?,
            authorities: authorities
                .map(|key| IdentityKey::from_slice(key).ok_or_else(|| part("authority")))
                .collect::<Result<_, _>>()?,
            coordinators: body.coordinators.clone(),
            coordinator_key: IdentityKey::from_slice(&body.coordinator_key)
                .ok_or_else(|| part("coordinator key"))?,
            seed: Zeroizing::new(seed),
        };
        token.check()?;
        Ok(token)
    }
}

/// `host:port`, `192.0.2.1:7946` or `[2001:db8::1]:7946`; the port is not 0.
pub fn is_host_port(text: &str) -> bool {
    if text.len() > 255 {
        return false;
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return address.port() != 0;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    host.split('.').all(label) && digits && port.parse::<u16>().is_ok_and(|p| p != 0)
}
