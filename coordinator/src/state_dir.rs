//! The state directory: everything `warren serve` needs, and nothing that could add a node or widen a policy.
//!
//! ```text
//! 0700 STATE/
//!   0600 settings.json   where to listen; written last by `init`, so that its presence means "complete"
//!   0600 online.key      Ed25519 seed of the coordinator's online key
//!   0600 warren.db       the log (SQLite; also -wal and -shm while it runs)
//!   0600 flows.db        flow history; may be deleted while the service is stopped
//!   0600 edges.db        sums of flows; may be deleted while the service is stopped
//!   0600 web.key web.crt certificate of the HTTP API where it needs one and none was given
//!   0600 lock            held by the running service
//! ```
//!
//! The authority's key is never here.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use warren_coordinator_core::change::LogError;
use warren_coordinator_core::store::StoreError;
use zeroize::Zeroizing;

use crate::api::web::WebSettings;
use crate::door::{DoorSettings, DoorSettingsError};
use crate::files::{self, FileError};
use crate::otlp::OtlpSettings;
use crate::relay::{RelaySettings, RelaySettingsError};
use crate::store::OpenStoreError;
use crate::store::edges::EdgeRetention;
use crate::store::flows::Retention;

pub const DEFAULT_DIR: &str = "/var/lib/warren";
/// Version of the directory as a whole. A greater one is refused.
pub const FORMAT: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "there is no coordinator state in {dir}: run `warren init`, or name the directory with `--state DIR`"
    )]
    NotInitialised { dir: PathBuf },
    #[error(
        "{dir} is not empty (it has `{found}`): nothing was changed; choose another directory with `--state DIR`"
    )]
    NotEmpty { dir: PathBuf, found: String },
    #[error("{dir} already holds a coordinator's state: nothing was changed; start it with `warren serve`")]
    Initialised { dir: PathBuf },
    #[error(
        "the state in {dir} is from a newer version of Warren (format {found}, this program knows {FORMAT}): upgrade this program; nothing was changed"
    )]
    TooNew { dir: PathBuf, found: u32 },
    #[error(
        "{path} is damaged: {why}; put it right, or restore a backup with `warren restore FILE` into an empty state directory"
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "another `warren serve` uses {dir}: stop it first, or choose another directory with `--state DIR`"
    )]
    InUse { dir: PathBuf },
    #[error("the state directory cannot be used: {0}")]
    File(#[from] FileError),
    #[error("the store cannot be used: {0}")]
    Store(#[from] OpenStoreError),
    #[error(
        "the log cannot be read: {0}; restore a backup with `warren restore FILE` into an empty state directory"
    )]
    Log(#[from] StoreError),
    #[error(
        "the log is damaged: {0}; restore a backup with `warren restore FILE` into an empty state directory"
    )]
    Chain(#[from] LogError),
    #[error(transparent)]
    Relay(#[from] RelaySettingsError),
    #[error(transparent)]
    Doors(#[from] DoorSettingsError),
}

/// What an operator may edit while the service is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub format: u32,
    /// UDP address of the control channel.
    pub listen: SocketAddr,
    /// `host:port` that nodes are told to use, best first.
    pub advertise: Vec<String>,
    /// Members of this group may administer.
    pub group: String,
    /// The API and the page on a TCP port. Missing: only the local socket.
    #[serde(default)]
    pub api: WebSettings,
    /// How long flows are kept.
    #[serde(default)]
    pub history: HistorySettings,
    /// How large a map may be.
    #[serde(default)]
    pub map: MapSettings,
    /// Frames of nodes that find no way to each other.
    #[serde(default)]
    pub relay: RelaySettings,
    /// The same port for networks without UDP.
    #[serde(default)]
    pub doors: DoorSettings,
    /// Flow records for an OpenTelemetry receiver. Missing: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpSettings>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    /// Single records.
    pub flows: Retention,
    /// Sums in steps of a second, a minute and an hour.
    pub edges: EdgeRetention,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MapSettings {
    /// Edges on one map; of more the lightest are left out, and the map says so.
    pub edges: usize,
}

impl Default for MapSettings {
    fn default() -> MapSettings {
        MapSettings { edges: 100_000 }
    }
}

pub const DEFAULT_GROUP: &str = "warren";

/// The files of one directory.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
}

/// Held for as long as the service runs; the kernel gives it back however the process ends.
pub struct Lock(#[expect(dead_code, reason = "holding the file is holding the lock")] File);

impl StateDir {
    pub fn at(dir: &Path) -> StateDir {
        StateDir { dir: dir.to_owned() }
    }
    pub fn path(&self) -> &Path {
        &self.dir
    }
    pub fn log(&self) -> PathBuf {
        self.dir.join("warren.db")
    }
    pub fn edges(&self) -> PathBuf {
        self.dir.join("edges.db")
    }
    pub fn flows(&self) -> PathBuf {
        self.dir.join("flows.db")
    }
    pub fn online_key_file(&self) -> PathBuf {
        self.dir.join("online.key")
    }
    pub fn settings_file(&self) -> PathBuf {
        self.dir.join("settings.json")
    }

    /// Looks, and touches nothing.
    pub fn check_new(&self) -> Result<(), StateError> {
        match self.settings_file().symlink_metadata().is_ok() {
            true => Err(StateError::Initialised { dir: self.dir.clone() }),
            false => Ok(()),
        }
    }

    /// Accepts a directory that is missing or empty, and makes it. Says which it was, so that a failed `init` can
    /// take away exactly what it made.
    pub fn make_empty(&self) -> Result<Made, StateError> {
        self.check_new()?;
        let existed = self.dir.symlink_metadata().is_ok();
        files::private_dir(&self.dir)?;
        let mut entries = std::fs::read_dir(&self.dir).map_err(|error| self.unreadable(error))?;
        match entries.next() {
            Some(entry) => {
                let found = entry.map(|e| e.file_name().to_string_lossy().into_owned()).unwrap_or_default();
                Err(StateError::NotEmpty { dir: self.dir.clone(), found: crate::text::plain(&found, 80) })
            }
            None => Ok(Made { dir: self.dir.clone(), existed, keep: false }),
        }
    }

    fn unreadable(&self, error: std::io::Error) -> FileError {
        FileError::Io { what: "read", path: self.dir.clone(), error }
    }

    /// The directory of an existing coordinator: right mode, right owner, known format.
    pub fn open(&self) -> Result<Settings, StateError> {
        match files::check_dir(&self.dir) {
            Err(FileError::Missing { .. }) => {
                return Err(StateError::NotInitialised { dir: self.dir.clone() });
            }
            other => other?,
        }
        let path = self.settings_file();
        let bytes = match files::read_private(&path) {
            Err(FileError::Missing { .. }) => {
                return Err(StateError::NotInitialised { dir: self.dir.clone() });
            }
            other => other?,
        };
        let damaged = |e: serde_json::Error| StateError::Damaged { path: path.clone(), why: e.to_string() };
        let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
        if head.format > FORMAT {
            return Err(StateError::TooNew { dir: self.dir.clone(), found: head.format });
        }
        let settings: Settings = serde_json::from_slice(&bytes).map_err(damaged)?;
        settings.relay.check()?;
        settings.doors.check()?;
        Ok(settings)
    }

    pub fn write_settings(&self, settings: &Settings) -> Result<(), FileError> {
        let mut text = serde_json::to_vec_pretty(settings).unwrap_or_default();
        text.push(b'\n');
        files::create_private(&self.settings_file(), &text)
    }

    pub fn write_online_key(&self, seed: &[u8; 32]) -> Result<(), FileError> {
        let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(STANDARD.encode(seed))));
        files::create_private(&self.online_key_file(), text.as_bytes())
    }

    pub fn read_online_key(&self) -> Result<Zeroizing<[u8; 32]>, StateError> {
        let path = self.online_key_file();
        let text = files::read_private(&path)?;
        let seed = STANDARD.decode(text.trim_ascii_end()).map(Zeroizing::new).ok();
        let seed = seed.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()).map(Zeroizing::new);
        seed.ok_or(StateError::Damaged { path, why: "it is not a key of 44 base64 characters".into() })
    }

    /// One service per directory.
    pub fn lock(&self) -> Result<Lock, StateError> {
        let path = self.dir.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let io = |error: rustix::io::Errno| FileError::Io {
            what: "lock",
            path: path.clone(),
            error: error.into(),
        };
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(File::from(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::InUse { dir: self.dir.clone() }),
            Err(error) => Err(io(error).into()),
        }
    }
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// A state directory in the making: taken away again unless it is kept.
pub struct Made {
    dir: PathBuf,
    existed: bool,
    keep: bool,
}

impl Made {
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for name in [
            "settings.json",
            "online.key",
            "warren.db",
            "warren.db-wal",
            "warren.db-shm",
            "warren.db-journal",
            "lock",
        ] {
            let _ = std::fs::remove_file(self.dir.join(name));
        }
        if !self.existed {
            let _ = std::fs::remove_dir(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            format: FORMAT,
            listen: "127.0.0.1:7946".parse().unwrap(),
            advertise: vec!["coord:7946".into()],
            api: WebSettings::default(),
            history: HistorySettings::default(),
            map: MapSettings::default(),
            relay: RelaySettings::default(),
            doors: DoorSettings::default(),
            otlp: None,
            group: DEFAULT_GROUP.into(),
        }
    }

    #[test]
    fn a_directory_with_anything_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(&dir.path().join("state"));
        files::private_dir(state.path()).unwrap();
        std::fs::write(state.path().join("notes"), "mine").unwrap();
        let error = state.make_empty().err().unwrap();
        assert!(error.to_string().contains("`notes`"), "{error}");
        assert_eq!(std::fs::read(state.path().join("notes")).unwrap(), b"mine");
    }

    #[test]
    fn what_was_half_made_is_taken_away_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(&dir.path().join("state"));
        let made = state.make_empty().unwrap();
        state.write_online_key(&[1; 32]).unwrap();
        drop(made);
        assert!(!state.path().exists());
        let made = state.make_empty().unwrap();
        state.write_online_key(&[1; 32]).unwrap();
        state.write_settings(&settings()).unwrap();
        made.keep();
        assert_eq!((state.open().unwrap(), *state.read_online_key().unwrap()), (settings(), [1; 32]));
        assert!(matches!(state.make_empty(), Err(StateError::Initialised { .. })));
    }

    #[test]
    fn a_newer_format_is_refused_before_anything_else_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(&dir.path().join("state"));
        state.make_empty().unwrap().keep();
        files::create_private(&state.settings_file(), br#"{"format": 9, "unknown": true}"#).unwrap();
        assert!(matches!(state.open(), Err(StateError::TooNew { found: 9, .. })));
    }

    #[test]
    fn only_one_service_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(&dir.path().join("state"));
        state.make_empty().unwrap().keep();
        let first = state.lock().unwrap();
        assert!(matches!(state.lock(), Err(StateError::InUse { .. })));
        drop(first);
        // A process that another test of this program starts holds its files until it is another program.
        let free = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            state.lock().is_ok()
        });
        assert!(free, "free again");
    }
}
