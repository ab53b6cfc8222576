//! The embedded store: three SQLite files in the state directory.
//!
//! - `warren.db`: the log, and nothing else ([`log`]). WAL with `synchronous=FULL`: a commit is on the disk before
//!   anybody hears of it. The owner's thread is its only writer.
//! - `edges.db`: who talked to whom, summed over seconds, minutes and hours ([`edges`]; [`busiest`]: what a map shows of it; [`reach`]:
//!   which steps answer).
//! - `flows.db`: flow history ([`flows`]; `past`: how it is searched), in a file of its own so that no flood of flows can delay or fill the log.
//!
//! [`backup`] copies the log, the settings and the online key into one file.

pub mod backup;
pub mod busiest;
pub mod edges;
pub mod flows;
pub mod history;
pub mod log;
mod open;
pub mod past;
pub mod reach;

use std::path::PathBuf;

use rusqlite::ErrorCode;
use warren_coordinator_core::store::StoreError;

use crate::files::FileError;

/// Why a store cannot be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path} is from a newer version of Warren (schema {found}, this program knows {known}): upgrade this program; nothing was changed"
    )]
    TooNew { path: PathBuf, found: i64, known: i64 },
    #[error("{path} is not a store of Warren's")]
    NotOurs { path: PathBuf },
    #[error(
        "{path} is damaged: {why}; restore a backup with `warren restore FILE` into an empty state directory"
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{path} cannot be opened: {why}; check that its disk has space and is writable")]
    Sqlite { path: PathBuf, why: String },
}

/// Sorts SQLite's errors by what is known about the data afterwards.
fn sort(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(text),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Broken(text),
        // Also a failed fsync: the page cache may lie from now on, so nothing more is acknowledged.
        _ => StoreError::Unknown(text),
    }
}
