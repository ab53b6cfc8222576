//! The enrolment token: what the operator carries from the administrator to the new host.
//!
//! Text form: `warren1_` and base64url (RFC 4648 section 5, no padding) of a protobuf message and a 4-byte checksum
//! (SHA-256), so that a token cut off in a terminal is called that and not "wrong".

use zeroize::Zeroizing;

use crate::id::{IdentityKey, NetworkId};

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
    #[error("the enrolment token is damaged or cut off ({characters} characters read): copy it whole")]
    Damaged { characters: usize },
}

impl Token {
    pub fn encode(&self) -> Zeroizing<String> {
        todo!()
    }
    pub fn decode(_text: &str) -> Result<Token, TokenError> {
        todo!()
    }
    /// Public half of the token's key: the name of the token at the coordinator.
    pub fn key(&self) -> IdentityKey {
        todo!()
    }
}
