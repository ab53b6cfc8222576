//! One envelope for every signed statement. Signatures are a list from the start, so that a threshold of
//! authorities can come later without a new format.

use base64::Engine as _;
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use prost::Message as _;

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
    /// The network the statement speaks of; every kind has one, so that none can be carried over to another.
    fn network(&self) -> &[u8];
}

/// At most so many signatures of one statement are looked at: checking costs, and a stranger chooses how many.
pub const MAX_SIGNATURES: usize = 16;

const DOMAIN: &[u8] = b"warren statement v1\0";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    #[error("expected a {expected}, got statement kind {found}")]
    WrongKind { expected: &'static str, found: u32 },
    #[error("{what} of {bytes} bytes is over the limit of {limit}")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
    #[error("{what} is not signed by {signer}")]
    NotSignedBy { what: &'static str, signer: IdentityKey },
    #[error("{what} carries no signature that counts")]
    Unsigned { what: &'static str },
    #[error("{signer}, the signer of the {what}, is not a usable Ed25519 key")]
    UnusableKey { what: &'static str, signer: IdentityKey },
    #[error("{what} has a signature that does not hold")]
    BadSignature { what: &'static str },
    #[error("{what} carries {count} signatures, at most {MAX_SIGNATURES} are allowed")]
    TooManySignatures { what: &'static str, count: usize },
    /// Fields of a newer version may narrow what the statement says; leaving them out would widen it.
    #[error("{what} says more than this version understands: upgrade this program")]
    Newer { what: &'static str },
    #[error("{what} cannot be read: {why}")]
    Unreadable { what: &'static str, why: String },
}

/// The bytes that are signed.
fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    [DOMAIN, &kind.to_be_bytes(), body].concat()
}

impl Signed {
    /// Signs with every key given.
    pub fn seal<T: Statement>(statement: &T, keys: &[&SigningKey]) -> Signed {
        let mut signed = Signed { kind: T::KIND, body: statement.encode_to_vec(), signatures: Vec::new() };
        for key in keys {
            signed.countersign(key);
        }
        signed
    }

    /// Adds one more signature over the same body; one of the same key is replaced.
    pub fn countersign(&mut self, key: &SigningKey) {
        let signer = IdentityKey::of(key).0.to_vec();
        let signature = key.sign(&message(self.kind, &self.body)).to_bytes().to_vec();
        self.signatures.retain(|s| s.key != signer);
        self.signatures.push(SignatureBy { key: signer, signature });
    }

    /// Reads the statement if `signer` signed it. Every other signature present is ignored.
    pub fn open<T: Statement>(&self, signer: &IdentityKey) -> Result<T, SignedError> {
        self.check_shape::<T>()?;
        self.check_signer::<T>(signer)?;
        self.read()
    }

    /// Reads the statement if any one of `signers` signed it.
    pub fn open_by_any<T: Statement>(&self, signers: &[IdentityKey]) -> Result<T, SignedError> {
        self.check_shape::<T>()?;
        let mut blame = SignedError::Unsigned { what: T::NAME };
        for signer in signers {
            match self.check_signer::<T>(signer) {
                Ok(()) => return self.read(),
                // A signature that does not hold says more than one that is absent.
                Err(error @ SignedError::BadSignature { .. }) => blame = error,
                Err(error) if matches!(blame, SignedError::Unsigned { .. }) => blame = error,
                Err(_) => {}
            }
        }
        Err(blame)
    }

    /// Reads the statement WITHOUT checking anything: only to learn whose signature to look for.
    pub fn peek<T: Statement>(&self) -> Result<T, SignedError> {
        self.check_shape::<T>()?;
        self.read()
    }

    /// The envelope from untrusted bytes, e.g. of a request to the coordinator.
    pub fn from_bytes(bytes: &[u8]) -> Result<Signed, SignedError> {
        const LIMIT: usize = 32 * 1024;
        if bytes.len() > LIMIT {
            return Err(SignedError::TooLarge { what: "signed statement", bytes: bytes.len(), limit: LIMIT });
        }
        let signed = Signed::decode(bytes)
            .map_err(|e| SignedError::Unreadable { what: "signed statement", why: e.to_string() })?;
        signed.check_count("signed statement")?;
        Ok(signed)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Base64 with padding (RFC 4648 section 4) of [`Signed::to_bytes`], for JSON and files.
    pub fn to_base64(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(self.to_bytes())
    }

    pub fn from_base64(text: &str) -> Result<Signed, SignedError> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|e| SignedError::Unreadable { what: "signed statement", why: e.to_string() })?;
        Signed::from_bytes(&bytes)
    }

    fn check_count(&self, what: &'static str) -> Result<(), SignedError> {
        match self.signatures.len() {
            count if count > MAX_SIGNATURES => Err(SignedError::TooManySignatures { what, count }),
            _ => Ok(()),
        }
    }

    fn check_shape<T: Statement>(&self) -> Result<(), SignedError> {
        if self.kind != T::KIND {
            return Err(SignedError::WrongKind { expected: T::NAME, found: self.kind });
        }
        if self.body.len() > T::MAX_BYTES {
            let bytes = self.body.len();
            return Err(SignedError::TooLarge { what: T::NAME, bytes, limit: T::MAX_BYTES });
        }
        self.check_count(T::NAME)
    }

    fn check_signer<T: Statement>(&self, signer: &IdentityKey) -> Result<(), SignedError> {
        let what = T::NAME;
        let key = signer.verifying().ok_or(SignedError::UnusableKey { what, signer: *signer })?;
        let message = message(self.kind, &self.body);
        let holds = |by: &SignatureBy| {
            Signature::from_slice(&by.signature).is_ok_and(|s| key.verify_strict(&message, &s).is_ok())
        };
        let mut theirs = self.signatures.iter().filter(|by| by.key == signer.0).peekable();
        if theirs.peek().is_none() {
            return Err(SignedError::NotSignedBy { what, signer: *signer });
        }
        if theirs.any(holds) { Ok(()) } else { Err(SignedError::BadSignature { what }) }
    }

    /// Only the bytes this version would write itself are read: what it does not know is not skipped.
    fn read<T: Statement>(&self) -> Result<T, SignedError> {
        let statement = T::decode(self.body.as_slice())
            .map_err(|e| SignedError::Unreadable { what: T::NAME, why: e.to_string() })?;
        if statement.encode_to_vec() != self.body {
            return Err(SignedError::Newer { what: T::NAME });
        }
        Ok(statement)
    }
}
