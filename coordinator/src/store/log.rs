//! The log in SQLite: [`warren_coordinator_core::store::Store`]. One entry, one row, one transaction, one fsync.
//!
//! A row holds the entry's JSON, which is what is chained, and the columns an operator with the `sqlite3` program
//! wants to read. The JSON alone is believed.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use warren_coordinator_core::change::Entry;
use warren_coordinator_core::store::{Store, StoreError};
use warren_wire::id::Revision;

use super::open::{self, Kind};
use super::{OpenStoreError, sort};

pub(super) const KIND: Kind = Kind {
    application_id: 0x5752_4e31, // "WRN1"
    version: 1,
    schema: "CREATE TABLE log (
                 revision INTEGER PRIMARY KEY,
                 at INTEGER NOT NULL,
                 principal TEXT NOT NULL,
                 previous BLOB NOT NULL CHECK (length(previous) = 32),
                 hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
                 entry TEXT NOT NULL
             ) STRICT;",
    synchronous: "FULL",
};

/// The log of one state directory.
pub struct LogStore {
    pub(super) connection: Connection,
}

impl LogStore {
    pub fn create(path: &Path) -> Result<LogStore, OpenStoreError> {
        open::create(path, &KIND).map(|connection| LogStore { connection })
    }

    /// Opens an existing log and checks the file; the chain is checked by whoever replays it.
    pub fn open(path: &Path) -> Result<LogStore, OpenStoreError> {
        open::open(path, &KIND).map(|connection| LogStore { connection })
    }

    /// A second connection that only reads, beside the owner's.
    pub fn reader(path: &Path) -> Result<LogStore, OpenStoreError> {
        open::reader(path).map(|connection| LogStore { connection })
    }

    /// Refuses to grow over so many pages: a full disk, for tests.
    pub fn limit_pages(&self, pages: u32) -> rusqlite::Result<()> {
        self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }

    pub fn pages(&self) -> rusqlite::Result<u32> {
        self.connection.pragma_query_value(None, "page_count", |row| row.get(0))
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Store for LogStore {
    fn read(&mut self, after: Revision, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT revision, entry FROM log WHERE revision > ?1 ORDER BY revision LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| sort(&e))?;
        let limit = i64::try_from(limit).unwrap_or(-1);
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
        let rows = statement.query_map(params![number(after), limit], row).map_err(|e| sort(&e))?;
        rows.map(|row| {
            let (revision, text) = row.map_err(|e| sort(&e))?;
            let revision = u64::try_from(revision).unwrap_or(0);
            let entry = Entry::from_json(revision, &text)?;
            match entry.revision() == revision {
                true => Ok(entry),
                false => Err(StoreError::Broken(format!(
                    "row {revision} of the log holds entry {}",
                    entry.revision()
                ))),
            }
        })
        .collect()
    }

    fn commit(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.append_all(std::slice::from_ref(entry))
    }
}

impl LogStore {
    /// Appends entries that follow each other in one transaction.
    pub(super) fn append_all(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| sort(&e))?;
        for entry in entries {
            append(&transaction, entry)?;
        }
        transaction.commit().map_err(|e| sort(&e))
    }
}

fn append(transaction: &Transaction<'_>, entry: &Entry) -> Result<(), StoreError> {
    let last: Option<i64> =
        transaction.query_row("SELECT max(revision) FROM log", [], |row| row.get(0)).map_err(|e| sort(&e))?;
    let found = last.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let expected = entry.revision().saturating_sub(1);
    if found != expected {
        return Err(StoreError::Conflict { expected, found });
    }
    let sql =
        "INSERT INTO log (revision, at, principal, previous, hash, entry) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut insert = transaction.prepare_cached(sql).map_err(|e| sort(&e))?;
    let written = insert.execute(params![
        number(entry.revision()),
        number(entry.body.at.0),
        entry.body.principal.to_string(),
        entry.previous.0.as_slice(),
        entry.hash.0.as_slice(),
        entry.to_json(),
    ]);
    written.map(|_| ()).map_err(|e| sort(&e))
}

#[cfg(test)]
mod tests {
    use warren_config::time::UnixTime;
    use warren_coordinator_core::alarm::AlarmKind;
    use warren_coordinator_core::change::{Change, LogHead, Principal};

    use super::*;

    fn entry(head: &LogHead, bytes: usize) -> Entry {
        let message = "x".repeat(bytes);
        let change = Change::AlarmRaised { kind: AlarmKind::Restored, subject: "s".into(), message };
        Entry::new(head, UnixTime(7), Principal::Coordinator, vec![change])
    }

    fn new() -> (tempfile::TempDir, std::path::PathBuf, LogStore) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("warren.db");
        let store = LogStore::create(&path).unwrap();
        (dir, path, store)
    }

    #[test]
    fn what_was_committed_is_there_after_reopening_and_the_chain_holds() {
        let (_dir, path, mut store) = new();
        let mut head = LogHead::default();
        for _ in 0..5 {
            let next = entry(&head, 10);
            store.commit(&next).unwrap();
            head = next.head();
        }
        drop(store);
        let mut store = LogStore::open(&path).unwrap();
        let mut check = LogHead::default();
        for read in store.read(0, usize::MAX).unwrap() {
            read.check(&check).unwrap();
            check = read.head();
        }
        assert_eq!(check, head);
        assert_eq!(store.read(3, 1).unwrap()[0].revision(), 4);
    }

    #[test]
    fn a_change_decided_on_an_older_revision_is_a_conflict() {
        let (_dir, path, mut store) = new();
        let first = entry(&LogHead::default(), 1);
        store.commit(&first).unwrap();
        let again = LogStore::open(&path).unwrap().commit(&first);
        assert_eq!(again, Err(StoreError::Conflict { expected: 0, found: 1 }));
    }

    #[test]
    fn a_full_disk_refuses_the_change_keeps_the_state_and_resumes_by_itself() {
        let (_dir, path, mut store) = new();
        let first = entry(&LogHead::default(), 10);
        store.commit(&first).unwrap();
        store.limit_pages(store.pages().unwrap() + 2).unwrap();
        let large = entry(&first.head(), 100_000);
        let refused = store.commit(&large).unwrap_err();
        assert!(matches!(refused, StoreError::Full(_)) && refused.nothing_changed(), "{refused}");
        assert_eq!(store.read(0, 10).unwrap().len(), 1);
        assert_eq!(LogStore::open(&path).unwrap().read(0, 10).unwrap().len(), 1);
        store.limit_pages(1_000_000).unwrap();
        store.commit(&large).unwrap();
        assert_eq!(store.read(0, 10).unwrap().len(), 2);
    }

    #[test]
    fn a_newer_a_foreign_and_a_damaged_file_are_told_apart() {
        let (dir, path, store) = new();
        store.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        let error = LogStore::open(&path).err().unwrap();
        assert!(matches!(error, OpenStoreError::TooNew { found: 99, known: 1, .. }), "{error}");

        let foreign = dir.path().join("foreign.db");
        files_private(&foreign, b"this is no database, it only has some text in it");
        let error = LogStore::open(&foreign).err().unwrap();
        assert!(matches!(error, OpenStoreError::NotOurs { .. }), "{error}");

        let missing = LogStore::open(&dir.path().join("missing.db")).err().unwrap();
        assert!(
            matches!(missing, OpenStoreError::File(crate::files::FileError::Missing { .. })),
            "{missing}"
        );
    }

    #[test]
    fn every_flipped_byte_of_an_entry_is_found() {
        let (_dir, path, mut store) = new();
        let first = entry(&LogHead::default(), 40);
        store.commit(&first).unwrap();
        let text = first.to_json();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(altered) = String::from_utf8(bytes) else { continue };
            store.connection.execute("UPDATE log SET entry = ?1", [&altered]).unwrap();
            let believed = store.read(0, 10).map(|entries| {
                entries.iter().all(|e| e.check(&LogHead::default()).is_ok()) && entries[0] != first
            });
            assert!(!matches!(believed, Ok(true)), "byte {at} of {altered}");
        }
        drop(path);
    }

    fn files_private(path: &Path, bytes: &[u8]) {
        crate::files::create_private(path, bytes).unwrap();
    }
}
