//! One envelope for every signed statement. Signatures are a list from the start, so that a threshold of
//! authorities can come later without a new format.

use ed25519_dalek::SigningKey;

use crate::id::IdentityKey;

/// A statement as it travels: opaque bytes until [`Signed::open`] has checked a signature over them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Signed {
    /// Names the kind of statement; part of what is signed.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub body: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub signatures: Vec<SignatureBy>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignatureBy {
    /// The Ed25519 public key, 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Ed25519 signature (RFC 8032), checked strictly, over `warren statement v1\0`, kind (u32 BE), then `body`.
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// A statement kind: its number and its bounded size.
pub trait Statement: prost::Message + Default {
    const KIND: u32;
    const NAME: &'static str;
    const MAX_BYTES: usize = 16 * 1024;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    #[error("expected a {expected}, got statement kind {found}")]
    WrongKind { expected: &'static str, found: u32 },
    #[error("{what} of {bytes} bytes is over the limit of {limit}")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
    #[error("{what} is not signed by {signer}")]
    NotSignedBy { what: &'static str, signer: IdentityKey },
    #[error("{what} has a signature that does not hold")]
    BadSignature { what: &'static str },
    #[error("{what} cannot be read: {why}")]
    Unreadable { what: &'static str, why: String },
}

impl Signed {
    /// Signs with every key given.
    pub fn seal<T: Statement>(_statement: &T, _keys: &[&SigningKey]) -> Signed {
        todo!()
    }
    /// Adds one more signature over the same body.
    pub fn countersign(&mut self, _key: &SigningKey) {
        todo!()
    }
    /// Reads the statement if `signer` signed it. Every other signature present is ignored.
    pub fn open<T: Statement>(&self, _signer: &IdentityKey) -> Result<T, SignedError> {
        todo!()
    }
    /// Reads the statement if any one of `signers` signed it.
    pub fn open_by_any<T: Statement>(&self, _signers: &[IdentityKey]) -> Result<T, SignedError> {
        todo!()
    }
    /// Reads the statement WITHOUT checking anything: only to learn whose signature to look for.
    pub fn peek<T: Statement>(&self) -> Result<T, SignedError> {
        todo!()
    }
}
