//! Backup: SQLite's online copy of the log into one file, with the settings and the online key beside it in a table
//! `kept`. The file is 0600 and as secret as the state directory: enough to be the coordinator, never the authority.

use std::path::Path;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OptionalExtension};
use warren_coordinator_core::store::Store;
use zeroize::Zeroizing;

use super::log::{KIND, LogStore};
use super::{OpenStoreError, open};
use crate::files;

/// What a backup holds beside the log.
pub struct Kept {
    pub online_seed: Zeroizing<[u8; 32]>,
    /// Settings as JSON.
    pub settings: Vec<u8>,
    /// Seconds since 1970.
    pub taken: u64,
}

/// Copies the log of `source` (which may be in use) and `kept` into a new file.
pub fn write(source: &Path, target: &Path, kept: &Kept) -> Result<(), OpenStoreError> {
    let broken = |e: rusqlite::Error| open::sort(target, &e);
    let from = open::open(source, &KIND)?;
    drop(files::open_new(target)?);
    let result = (|| {
        let mut to = Connection::open(target)?;
        copy(&from, &mut to)?;
        to.execute_batch(
            "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;
             CREATE TABLE kept (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;",
        )?;
        let mut insert = to.prepare("INSERT INTO kept (name, value) VALUES (?1, ?2)")?;
        insert.execute(("online-key", kept.online_seed.as_slice()))?;
        insert.execute(("settings", kept.settings.as_slice()))?;
        insert.execute(("taken", kept.taken.to_be_bytes().as_slice()))?;
        Ok(())
    })();
    result.map_err(|e| {
        let _ = std::fs::remove_file(target);
        broken(e)
    })
}

fn copy(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    Backup::new(from, to)?.run_to_completion(1000, std::time::Duration::ZERO, None)
}

/// Reads what a backup keeps, after the file was checked like any store.
pub fn read_kept(path: &Path) -> Result<Kept, OpenStoreError> {
    let connection = open::open_read_only(path, &KIND)?;
    let damaged =
        |what: &str| OpenStoreError::Damaged { path: path.to_owned(), why: format!("its {what} is missing") };
    let value = |name: &str| -> Result<Option<Zeroizing<Vec<u8>>>, OpenStoreError> {
        connection
            .query_row("SELECT value FROM kept WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map(|bytes: Option<Vec<u8>>| bytes.map(Zeroizing::new))
            .map_err(|e| OpenStoreError::Damaged {
                path: path.to_owned(),
                why: format!("it is not a backup ({e})"),
            })
    };
    let seed = value("online-key")?.ok_or_else(|| damaged("online key"))?;
    let online_seed =
        <[u8; 32]>::try_from(seed.as_slice()).map(Zeroizing::new).map_err(|_| damaged("online key"))?;
    let taken = value("taken")?
        .and_then(|b| <[u8; 8]>::try_from(b.as_slice()).ok())
        .ok_or_else(|| damaged("date"))?;
    let settings = value("settings")?.ok_or_else(|| damaged("settings"))?.to_vec();
    Ok(Kept { online_seed, settings, taken: u64::from_be_bytes(taken) })
}

/// Makes the new log `target` from the backup `source`: every entry is read, checked and committed anew.
pub fn restore_log(source: &Path, target: &Path) -> Result<LogStore, RestoreError> {
    let mut from = LogStore { connection: open::open_read_only(source, &KIND)? };
    let mut to = LogStore::create(target)?;
    let mut head = warren_coordinator_core::change::LogHead::default();
    loop {
        let entries = from.read(head.revision, 500)?;
        if entries.is_empty() {
            return Ok(to);
        }
        for entry in &entries {
            entry.check(&head).map_err(warren_coordinator_core::store::StoreError::Log)?;
            head = entry.head();
        }
        to.append_all(&entries)?;
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Open(#[from] OpenStoreError),
    #[error(transparent)]
    Store(#[from] warren_coordinator_core::store::StoreError),
}
