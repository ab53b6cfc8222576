//! The state directory: what a node must not lose, and what nobody else may read.
//!
//! | file | content | written |
//! |---|---|---|
//! | `version` | format of this directory | once |
//! | `lock` | held (`flock`) by the one agent that may use it | – |
//! | `identity.key` | Ed25519 seed | once, at enrolment |
//! | `wg.keys` | X25519 private keys, one per lane, their serial, and older ones that files of external devices name | at enrolment and rotation |
//! | `wg.stamp` | greatest wall time a handshake may have used | every half minute and at stop |
//! | `trust.json` | network, authorities, coordinators: the roots | at enrolment |
//! | `charter` | the signed charter of the network | at enrolment |
//! | `record` | the node's own record with its newest keys; there last, so that it makes the node a member | at enrolment and rotation |
//! | `stamps` | greatest handshake stamps received, by key | within 5 s of a handshake, and at stop |
//! | `view` | the last good view | at every change |
//! | `places` | where coordinators that are known by name answered last | when one answers elsewhere |
//! | `mappings` | port mappings without end that a gateway must be asked to take back | before one is asked for; removed when none is left |
//! | `legacy` | flow records the coordinator has not acknowledged, and what this start had judged | at an orderly stop; removed when the coordinator has it |
//!
//! The directory is 0700, every file 0600, made with that mode (no `chmod` afterwards), through a directory handle and
//! without following links. A change is a new file, synced, then renamed over the old one, then the directory synced:
//! after a crash either the old or the new content is there, whole.

mod error;
mod file;
mod keys;
pub mod places;
mod trust;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use warren_node_core::dataplane::Stamps;
use warren_node_core::portmap::owed::Owed;
use warren_node_core::session::Stamp;
use warren_wire::id::WgKey;
use zeroize::Zeroizing;

pub use error::StateError;
pub use keys::{WgKeys, identity_from_seed, lanes_for, new_seed};
pub use trust::StoredTrust;

/// Format of the directory that this program writes.
pub const VERSION: u32 = 1;
/// Where the state lies unless `--state` or `WARREN_NODE_STATE` says otherwise.
pub const DEFAULT_PATH: &str = "/var/lib/warren-node";

const IDENTITY: &str = "identity.key";
const WG_KEYS: &str = "wg.keys";
const WG_STAMP: &str = "wg.stamp";
const TRUST: &str = "trust.json";
const CHARTER: &str = "charter";
const RECORD: &str = "record";
const STAMPS: &str = "stamps";
const VIEW: &str = "view";
const LEGACY: &str = "legacy";
const MAPPINGS: &str = "mappings";
const PLACES: &str = "places";
const VERSION_FILE: &str = "version";
const LOCK: &str = "lock";
/// Largest file read back; a view of thousands of peers stays far below.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StampLine {
    mine: WgKey,
    theirs: WgKey,
    stamp: Stamp,
}

/// An open, checked and locked state directory.
pub struct StateDir {
    path: PathBuf,
    dir: OwnedFd,
    owner: (u32, u32),
    /// Kept open: closing it gives the lock back.
    _lock: OwnedFd,
}

impl StateDir {
    /// Opens `path`, creating it (0700) if it is missing, and takes its lock. Fails at once if another agent has it.
    pub fn open(path: &Path) -> Result<StateDir, StateError> {
        let (dir, owner) = file::open_directory(path)?;
        let lock = take_lock(path, &dir, owner)?;
        let state = StateDir { path: path.to_owned(), dir, owner, _lock: lock };
        state.check_version()?;
        Ok(state)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if this node was enrolled: its record is written last.
    pub fn is_enrolled(&self) -> Result<bool, StateError> {
        Ok(self.read(IDENTITY)?.is_some() && self.read(TRUST)?.is_some() && self.read(RECORD)?.is_some())
    }

    fn check_version(&self) -> Result<(), StateError> {
        let Some(bytes) = self.read(VERSION_FILE)? else {
            return self.write(VERSION_FILE, format!("{VERSION}\n").as_bytes());
        };
        let text = String::from_utf8_lossy(&bytes);
        match text.trim().parse::<u32>() {
            Ok(VERSION) => Ok(()),
            Ok(found) => Err(StateError::Version { path: self.path.clone(), found, known: VERSION }),
            Err(_) => Err(self.damaged(VERSION_FILE, "it holds no number")),
        }
    }

    fn read(&self, name: &'static str) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        file::read(&self.path, &self.dir, self.owner, name, MAX_BYTES)
    }

    fn write(&self, name: &'static str, bytes: &[u8]) -> Result<(), StateError> {
        file::replace(&self.path, &self.dir, self.owner, name, bytes)
    }

    fn damaged(&self, name: &'static str, why: impl Into<String>) -> StateError {
        StateError::Damaged { path: self.path.join(name), why: why.into() }
    }

    fn text(&self, name: &'static str) -> Result<Option<Zeroizing<String>>, StateError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(self.damaged(name, "it is not text")),
        }
    }
}

/// Keys and roots.
impl StateDir {
    /// Seed of the Ed25519 identity key.
    pub fn identity(&self) -> Result<Option<Zeroizing<[u8; 32]>>, StateError> {
        let Some(text) = self.text(IDENTITY)? else { return Ok(None) };
        keys::decode_seed(&text).map(Some).map_err(|why| self.damaged(IDENTITY, why))
    }

    pub fn store_identity(&self, seed: &[u8; 32]) -> Result<(), StateError> {
        self.write(IDENTITY, keys::encode_seed(seed).as_bytes())
    }

    pub fn wg_keys(&self) -> Result<Option<WgKeys>, StateError> {
        let Some(text) = self.text(WG_KEYS)? else { return Ok(None) };
        WgKeys::decode(&text).map(Some).map_err(|why| self.damaged(WG_KEYS, why))
    }

    pub fn store_wg_keys(&self, keys: &WgKeys) -> Result<(), StateError> {
        self.write(WG_KEYS, keys.encode().as_bytes())
    }

    /// Greatest wall time, in milliseconds since 1970, at which a handshake may have been sent; 0 if never.
    pub fn stamp(&self) -> Result<u64, StateError> {
        let Some(text) = self.text(WG_STAMP)? else { return Ok(0) };
        text.trim().parse().map_err(|_| self.damaged(WG_STAMP, "it holds no number"))
    }

    pub fn store_stamp(&self, unix_ms: u64) -> Result<(), StateError> {
        self.write(WG_STAMP, format!("{unix_ms}\n").as_bytes())
    }

    pub fn trust(&self) -> Result<Option<StoredTrust>, StateError> {
        let Some(text) = self.text(TRUST)? else { return Ok(None) };
        StoredTrust::decode(&text).map(Some).map_err(|why| self.damaged(TRUST, why))
    }

    pub fn store_trust(&self, trust: &StoredTrust) -> Result<(), StateError> {
        self.write(TRUST, trust.encode().as_bytes())
    }
}

/// What the coordinator gave; checked by `node_core` each time it is read back.
impl StateDir {
    pub fn record(&self) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.read(RECORD)?.map(|bytes| bytes.to_vec()))
    }

    pub fn store_record(&self, bytes: &[u8]) -> Result<(), StateError> {
        self.write(RECORD, bytes)
    }

    pub fn charter(&self) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.read(CHARTER)?.map(|bytes| bytes.to_vec()))
    }

    pub fn store_charter(&self, bytes: &[u8]) -> Result<(), StateError> {
        self.write(CHARTER, bytes)
    }

    /// Received handshake stamps: without them an old initiation could be replayed after a restart.
    pub fn stamps(&self) -> Result<Stamps, StateError> {
        let Some(bytes) = self.read(STAMPS)? else { return Ok(Stamps::new()) };
        let list: Vec<StampLine> =
            serde_json::from_slice(&bytes).map_err(|e| self.damaged(STAMPS, e.to_string()))?;
        Ok(list.into_iter().map(|line| ((line.mine, line.theirs), line.stamp)).collect())
    }

    pub fn store_stamps(&self, stamps: &Stamps) -> Result<(), StateError> {
        let line = |((mine, theirs), stamp): (&(WgKey, WgKey), &Stamp)| StampLine {
            mine: *mine,
            theirs: *theirs,
            stamp: *stamp,
        };
        let list: Vec<StampLine> = stamps.iter().map(line).collect();
        self.write(STAMPS, &serde_json::to_vec(&list).unwrap_or_default())
    }

    /// What the last start left to be reported, if it stopped in order.
    pub fn legacy(&self) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.read(LEGACY)?.map(|bytes| bytes.to_vec()))
    }

    pub fn store_legacy(&self, bytes: &[u8]) -> Result<(), StateError> {
        self.write(LEGACY, bytes)
    }

    /// It is reported.
    pub fn remove_legacy(&self) -> Result<(), StateError> {
        file::remove(&self.path, &self.dir, LEGACY)
    }

    /// What gateways must be asked to take back.
    pub fn owed(&self) -> Result<Vec<Owed>, StateError> {
        let Some(bytes) = self.read(MAPPINGS)? else { return Ok(Vec::new()) };
        serde_json::from_slice(&bytes).map_err(|e| self.damaged(MAPPINGS, e.to_string()))
    }

    pub fn store_owed(&self, owed: &[Owed]) -> Result<(), StateError> {
        match owed.is_empty() {
            true => file::remove(&self.path, &self.dir, MAPPINGS),
            false => self.write(MAPPINGS, &serde_json::to_vec(owed).unwrap_or_default()),
        }
    }

    /// Where coordinators answered last.
    pub fn places(&self) -> Result<places::Places, StateError> {
        let Some(bytes) = self.read(PLACES)? else { return Ok(places::Places::new()) };
        serde_json::from_slice(&bytes).map(places::sane).map_err(|e| self.damaged(PLACES, e.to_string()))
    }

    pub fn store_places(&self, places: &places::Places) -> Result<(), StateError> {
        self.write(PLACES, &serde_json::to_vec(places).unwrap_or_default())
    }

    /// Makes this host a stranger again: the record goes first, because it makes the node a member. Its keys are never used again.
    /// What gateways still hold for it stays known.
    pub fn forget(&self) -> Result<(), StateError> {
        let files = [RECORD, IDENTITY, WG_KEYS, VIEW, STAMPS, LEGACY, PLACES, CHARTER, TRUST];
        files.iter().try_for_each(|name| file::remove(&self.path, &self.dir, name))
    }

    pub fn view(&self) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.read(VIEW)?.map(|bytes| bytes.to_vec()))
    }

    pub fn store_view(&self, bytes: &[u8]) -> Result<(), StateError> {
        self.write(VIEW, bytes)
    }
}

fn take_lock(path: &Path, dir: &OwnedFd, owner: (u32, u32)) -> Result<OwnedFd, StateError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::openat(dir, LOCK, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| StateError::io(path.join(LOCK), "open", e.into()))?;
    file::check(&path.join(LOCK), &lock, owner, MAX_BYTES)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::InUse { path: path.to_owned() }),
        Err(e) => Err(StateError::io(path.join(LOCK), "lock", e.into())),
    }
}

#[cfg(test)]
mod tests;
