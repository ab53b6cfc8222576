//! The authority's key file. The administrator's commands read it; `warren serve` never does and has no argument
//! that could name it. It may lie on another machine, or offline, by moving the file.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use warren_wire::id::{IdentityKey, NetworkId};
use zeroize::Zeroizing;

use crate::files::{self, FileError};

pub const DEFAULT_PATH: &str = "/etc/warren/authority.key";
const KIND: &str = "warren authority key";
const VERSION: u32 = 1;

/// Holds a private key: no `Debug`, no `Clone`.
pub struct Authority {
    pub network: NetworkId,
    key: SigningKey,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(
        "the authority file {path} does not exist: name it with `--authority FILE` or WARREN_AUTHORITY, or run this command on the machine that has it"
    )]
    Missing { path: PathBuf },
    #[error("the authority file cannot be used: {0}")]
    File(#[from] FileError),
    #[error("{path} is not an authority key of Warren's: {why}")]
    NotAnAuthority { path: PathBuf, why: String },
    #[error(
        "{path} is from a newer version of Warren (format {found}, this program knows {VERSION}): upgrade this program"
    )]
    TooNew { path: PathBuf, found: u32 },
    #[error(
        "the authority in {path} belongs to network {theirs}, this coordinator serves {ours}: choose the right file with `--authority`"
    )]
    ForeignNetwork { path: PathBuf, theirs: NetworkId, ours: NetworkId },
    #[error(
        "the authority in {path} (key {key}) is not one of this network's authorities: choose the right file with `--authority`"
    )]
    NotOurs { path: PathBuf, key: IdentityKey },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    kind: String,
    version: u32,
    network: NetworkId,
    public: IdentityKey,
    /// Ed25519 seed (RFC 8032), base64.
    seed: String,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.seed);
    }
}

impl Authority {
    pub fn new(network: NetworkId, seed: &[u8; 32]) -> Authority {
        Authority { network, key: SigningKey::from_bytes(seed) }
    }

    pub fn key(&self) -> &SigningKey {
        &self.key
    }
    pub fn public(&self) -> IdentityKey {
        IdentityKey(self.key.verifying_key().to_bytes())
    }

    /// Writes a new file of mode 0600; its directory is made if it is missing.
    pub fn create(&self, path: &Path) -> Result<(), FileError> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
            files::private_dir(parent)?;
        }
        let seed = Zeroizing::new(self.key.to_bytes());
        let file = KeyFile {
            kind: KIND.to_owned(),
            version: VERSION,
            network: self.network,
            public: self.public(),
            seed: STANDARD.encode(seed.as_slice()),
        };
        let mut text = Zeroizing::new(serde_json::to_vec_pretty(&file).unwrap_or_default());
        text.push(b'\n');
        files::create_private(path, &text)
    }

    pub fn read(path: &Path) -> Result<Authority, AuthorityError> {
        let bytes = files::read_private(path).map_err(|error| match error {
            FileError::Missing { path } => AuthorityError::Missing { path },
            other => AuthorityError::File(other),
        })?;
        let wrong = |why: String| AuthorityError::NotAnAuthority { path: path.to_owned(), why };
        let head: Head =
            serde_json::from_slice(&bytes).map_err(|_| wrong("it cannot be read as JSON".into()))?;
        if head.kind != KIND {
            return Err(wrong(format!("it says it is `{}`", crate::text::plain(&head.kind, 40))));
        }
        if head.version > VERSION {
            return Err(AuthorityError::TooNew { path: path.to_owned(), found: head.version });
        }
        // The parser's own message could quote the key.
        let file: KeyFile =
            serde_json::from_slice(&bytes).map_err(|e| wrong(format!("line {} is damaged", e.line())))?;
        let seed =
            Zeroizing::new(STANDARD.decode(&file.seed).map_err(|_| wrong("its seed is damaged".into()))?);
        let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| wrong("its seed is cut off".into()))?;
        let authority = Authority::new(file.network, seed);
        match authority.public() == file.public {
            true => Ok(authority),
            false => Err(wrong("its two halves do not belong together".into())),
        }
    }

    /// Is this the authority of that network?
    pub fn check(
        &self,
        path: &Path,
        ours: NetworkId,
        authorities: &[IdentityKey],
    ) -> Result<(), AuthorityError> {
        if self.network != ours {
            return Err(AuthorityError::ForeignNetwork { path: path.to_owned(), theirs: self.network, ours });
        }
        match authorities.contains(&self.public()) {
            true => Ok(()),
            false => Err(AuthorityError::NotOurs { path: path.to_owned(), key: self.public() }),
        }
    }
}

#[derive(Deserialize)]
struct Head {
    kind: String,
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/authority.key");
        Authority::new(NetworkId([1; 16]), &[9; 32]).create(&path).unwrap();
        (dir, path)
    }

    fn damaged(path: &Path, from: &str, to: &str) -> String {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, text.replace(from, to)).unwrap();
        Authority::read(path).err().unwrap().to_string()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (_dir, path) = written();
        let read = Authority::read(&path).unwrap();
        assert_eq!((read.network, read.key().to_bytes()), (NetworkId([1; 16]), [9; 32]));
        let keys = [read.public()];
        assert!(read.check(&path, NetworkId([1; 16]), &keys).is_ok());
        assert!(matches!(
            read.check(&path, NetworkId([2; 16]), &keys),
            Err(AuthorityError::ForeignNetwork { .. })
        ));
        assert!(matches!(read.check(&path, NetworkId([1; 16]), &[]), Err(AuthorityError::NotOurs { .. })));
    }

    #[test]
    fn a_damaged_file_is_named_and_never_quoted() {
        let seed = STANDARD.encode([9; 32]);
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"seed\": \"C", "\"seed\": \"D"),
            ("\"seed\": \"CQ", "\"seed\": 5, \"x\": \"CQ"),
            ("warren authority key", "ssh key"),
            ("{", "["),
        ] {
            let (_dir, path) = written();
            let error = damaged(&path, from, to);
            assert!(error.contains("authority.key") && !error.contains(&seed[4..]), "{error}");
        }
    }

    #[test]
    fn a_missing_file_says_how_to_name_it() {
        let error = Authority::read(Path::new("/nonexistent/a.key")).err().unwrap().to_string();
        assert!(error.contains("--authority"), "{error}");
    }
}
