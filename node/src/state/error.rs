//! What can be wrong with a state directory, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::DEFAULT_PATH;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "cannot {action} {path}: {source}; choose a directory this user may write with --state or WARREN_NODE_STATE, \
         or run as the agent's user (default {DEFAULT_PATH})"
    )]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("no room left to write {path}: free some space; the old content is untouched")]
    Full { path: PathBuf },
    #[error("{path} may be read or written by others (mode {mode:04o}): run `chmod {wanted:04o} {path}`")]
    Mode { path: PathBuf, mode: u32, wanted: u32 },
    #[error(
        "{path} belongs to uid {found}, not to uid {wanted}: run as that user, or `chown -R {wanted} {path}`"
    )]
    Owner { path: PathBuf, found: u32, wanted: u32 },
    #[error("{path} is {found}, not {wanted}: remove it; nothing was followed or written")]
    Kind { path: PathBuf, found: &'static str, wanted: &'static str },
    #[error(
        "another warren-node uses the state directory {path}: stop it, or give this one its own with --state"
    )]
    InUse { path: PathBuf },
    #[error(
        "the state directory {path} has format {found}, this program knows {known}: install the newer warren-node again; \
         nothing was changed"
    )]
    Version { path: PathBuf, found: u32, known: u32 },
    #[error(
        "{path} is damaged: {why}; restore it from a backup, or remove the whole state directory and enrol again \
         (nothing was changed)"
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{path} is {bytes} bytes long, over the limit of {limit}: it was not written by this program")]
    TooLarge { path: PathBuf, bytes: u64, limit: u64 },
}

impl StateError {
    pub(super) fn io(path: PathBuf, action: &'static str, source: io::Error) -> StateError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StateError::Full { path },
            _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                StateError::Kind { path, found: "a symbolic link", wanted: "a regular file" }
            }
            _ => StateError::Io { path, action, source },
        }
    }
}
