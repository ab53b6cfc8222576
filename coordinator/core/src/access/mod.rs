//! Keys of the HTTP API: who made them, what they may, until when. Only a hash of the secret is ever here; the log
//! carries each key's making and revocation, so that the audit names them.

mod key;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;

pub use key::{HASH_BYTES, KeyHash, KeyId, KeyText, MalformedKey};

/// At most so many keys are ever stored.
pub const MAX_KEYS: usize = 10_000;
/// Characters of a key's name.
pub const MAX_KEY_NAME: usize = 64;

/// What a caller of the API may do; each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Look at everything but secrets.
    Read,
    /// Send what the authority has signed, revoke tokens.
    Operate,
    /// Make and revoke keys, take backups.
    Admin,
}

impl Scope {
    pub fn word(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Operate => "operate",
            Scope::Admin => "admin",
        }
    }
}

/// One key as it was made, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    pub name: String,
    pub scope: Scope,
    pub hash: KeyHash,
    pub created: UnixTime,
    pub ends: Option<UnixTime>,
    pub revoked: Option<UnixTime>,
}

/// Why a key opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    #[error("this API key is not known")]
    Unknown,
    #[error("API key `{name}` ended at {at}")]
    Ended { name: String, at: UnixTime },
    #[error("API key `{name}` was revoked at {at}")]
    Revoked { name: String, at: UnixTime },
}

/// What `key list` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyRow {
    pub id: KeyId,
    pub name: String,
    pub scope: Scope,
    pub created: UnixTime,
    /// None: until it is revoked.
    pub ends: Option<UnixTime>,
    pub revoked: Option<UnixTime>,
    /// Since the coordinator started; None: not once.
    pub last_used: Option<UnixTime>,
}

/// All keys, whatever became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeys {
    keys: BTreeMap<KeyId, ApiKey>,
}

impl ApiKeys {
    pub fn get(&self, id: &KeyId) -> Option<&ApiKey> {
        self.keys.get(id)
    }
    pub fn len(&self) -> usize {
        self.keys.len()
    }
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.keys.values()
    }

    /// The key that `text` is, if it may be used at `now`. Says no more of a key than its holder proves to know.
    pub fn check(&self, text: &KeyText, now: UnixTime) -> Result<&ApiKey, KeyRefused> {
        let known =
            self.keys.get(&text.id()).filter(|key| key.hash.is_of(text)).ok_or(KeyRefused::Unknown)?;
        known.usable(now).map(|()| known)
    }

    pub(crate) fn insert(&mut self, key: ApiKey) {
        self.keys.insert(key.id.clone(), key);
    }
    pub(crate) fn revoke(&mut self, id: &KeyId, at: UnixTime) {
        if let Some(key) = self.keys.get_mut(id) {
            key.revoked.get_or_insert(at);
        }
    }
}

impl ApiKey {
    pub fn usable(&self, now: UnixTime) -> Result<(), KeyRefused> {
        let name = self.name.clone();
        match (self.revoked, self.ends) {
            (Some(at), _) => Err(KeyRefused::Revoked { name, at }),
            (None, Some(at)) if now >= at => Err(KeyRefused::Ended { name, at }),
            _ => Ok(()),
        }
    }

    pub fn row(&self, last_used: Option<UnixTime>) -> KeyRow {
        KeyRow {
            id: self.id.clone(),
            name: self.name.clone(),
            scope: self.scope,
            created: self.created,
            ends: self.ends,
            revoked: self.revoked,
            last_used,
        }
    }
}

/// A name goes into logs and pages as it is: letters, digits and `._@-`.
pub fn is_key_name(name: &str) -> bool {
    (1..=MAX_KEY_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: u8, ends: Option<u64>) -> (KeyText, ApiKey) {
        let text = KeyText::new([secret; 7], [secret; 32]);
        let made = ApiKey {
            id: text.id(),
            name: "ci".into(),
            scope: Scope::Read,
            hash: KeyHash::of(&text),
            created: UnixTime(1),
            ends: ends.map(UnixTime),
            revoked: None,
        };
        (text, made)
    }

    #[test]
    fn a_key_opens_until_its_end_and_never_after_its_revocation() {
        let (text, made) = key(1, Some(100));
        let mut keys = ApiKeys::default();
        keys.insert(made);
        assert!(keys.check(&text, UnixTime(99)).is_ok());
        assert!(matches!(keys.check(&text, UnixTime(100)), Err(KeyRefused::Ended { .. })));
        keys.revoke(&text.id(), UnixTime(50));
        keys.revoke(&text.id(), UnixTime(60));
        assert_eq!(
            keys.check(&text, UnixTime(51)),
            Err(KeyRefused::Revoked { name: "ci".into(), at: UnixTime(50) })
        );
    }

    #[test]
    fn the_id_alone_learns_nothing() {
        let (text, made) = key(1, Some(1));
        let mut keys = ApiKeys::default();
        keys.insert(made);
        let forged = KeyText::new([1; 7], [2; 32]);
        assert_eq!(forged.id(), text.id());
        assert_eq!(keys.check(&forged, UnixTime(5)), Err(KeyRefused::Unknown), "not even that it has ended");
    }

    #[test]
    fn scopes_include_one_another() {
        assert!(Scope::Read < Scope::Operate && Scope::Operate < Scope::Admin);
    }
}
