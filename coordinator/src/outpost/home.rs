//! A relay's own directory.
//!
//! ```text
//! 0700 DIR/
//!   0600 relay.key    Ed25519 seed, made here; it never leaves the host
//!   0600 relay.json   network, roots and coordinators; written last, so that its presence means "has come in"
//!   0600 lock         held by the running relay
//! ```

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use warren_wire::id::{IdentityKey, NetworkId};
use warren_wire::token::Token;
use warren_wire::trust::Trust;
use zeroize::Zeroizing;

use crate::clock;
use crate::files::{self, FileError};

const FORMAT: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path} is damaged: {why}; remove the directory and let the relay in anew with `warren relay add`"
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{dir} is used by a relay that runs already: stop it first, or choose another directory with `--dir`"
    )]
    InUse { dir: PathBuf },
    #[error(transparent)]
    Random(#[from] clock::NoRandom),
}

/// What a relay remembers of where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    format: u32,
    pub network: NetworkId,
    pub authorities: Vec<IdentityKey>,
    /// `host:port`
    pub coordinators: Vec<String>,
    pub coordinator_key: IdentityKey,
}

impl Membership {
    pub fn of(token: &Token) -> Membership {
        Membership {
            format: FORMAT,
            network: token.network,
            authorities: token.authorities.clone(),
            coordinators: token.coordinators.clone(),
            coordinator_key: token.coordinator_key,
        }
    }

    pub fn trust(&self) -> Trust {
        Trust { network: self.network, authorities: self.authorities.clone() }
    }
}

/// Has a relay with this directory redeemed its token?
pub fn has_come_in(dir: &Path) -> bool {
    dir.join("relay.json").exists()
}

/// The directory, held for as long as this lives.
pub struct Home {
    dir: PathBuf,
    _lock: std::fs::File,
}

impl Home {
    /// Makes it if need be.
    pub fn open(dir: &Path) -> Result<Home, HomeError> {
        files::private_dir(dir)?;
        let path = dir.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let io = |error: rustix::io::Errno| FileError::Io {
            what: "lock",
            path: path.clone(),
            error: error.into(),
        };
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Home { dir: dir.to_owned(), _lock: std::fs::File::from(file) }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(HomeError::InUse { dir: dir.to_owned() }),
            Err(error) => Err(io(error).into()),
        }
    }

    /// The relay's key; made the first time.
    pub fn key(&self) -> Result<Zeroizing<[u8; 32]>, HomeError> {
        let path = self.dir.join("relay.key");
        match files::read_private(&path) {
            Ok(text) => {
                let seed = STANDARD.decode(text.trim_ascii_end()).map(Zeroizing::new).ok();
                let seed = seed.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
                let why = || "it is not a key of 44 base64 characters".to_owned();
                seed.map(Zeroizing::new).ok_or_else(|| HomeError::Damaged { path, why: why() })
            }
            Err(FileError::Missing { .. }) => {
                let seed = clock::secret::<32>()?;
                let mut text = Zeroizing::new(String::with_capacity(64));
                STANDARD.encode_string(*seed, &mut text);
                text.push('\n');
                files::create_private(&path, text.as_bytes())?;
                Ok(seed)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// `None` before it has come in.
    pub fn membership(&self) -> Result<Option<Membership>, HomeError> {
        let path = self.dir.join("relay.json");
        let text = match files::read_private(&path) {
            Ok(text) => text,
            Err(FileError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let damaged = |why: String| HomeError::Damaged { path: path.clone(), why };
        let known: Membership = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        match known.format {
            FORMAT => Ok(Some(known)),
            other => Err(damaged(format!("it has format {other}, this program knows {FORMAT}"))),
        }
    }

    pub fn remember(&self, membership: &Membership) -> Result<(), HomeError> {
        let text = serde_json::to_string_pretty(membership).unwrap_or_default() + "\n";
        Ok(files::create_private(&self.dir.join("relay.json"), text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_finds_its_key_and_its_network_again_and_two_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("relay");
        let home = Home::open(&dir).unwrap();
        let key = home.key().unwrap();
        assert_eq!((*home.key().unwrap(), home.membership().unwrap()), (*key, None));
        let membership = Membership {
            format: FORMAT,
            network: NetworkId([1; 16]),
            authorities: vec![IdentityKey([2; 32])],
            coordinators: vec!["coord:7946".into()],
            coordinator_key: IdentityKey([3; 32]),
        };
        home.remember(&membership).unwrap();
        assert_eq!(home.membership().unwrap(), Some(membership));
        assert!(matches!(Home::open(&dir), Err(HomeError::InUse { .. })));
    }
}
