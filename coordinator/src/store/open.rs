//! Opening a SQLite file of ours: right mode, right owner, right kind, known version, whole.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::OpenStoreError;
use crate::files;

/// What a file of ours is made of.
pub struct Kind {
    /// `PRAGMA application_id`.
    pub application_id: i64,
    /// `PRAGMA user_version`; a greater one is refused.
    pub version: i64,
    pub schema: &'static str,
    /// `PRAGMA synchronous`.
    pub synchronous: &'static str,
}

/// Makes a new file of mode 0600. It appears under its name only with its schema in it, so that a reader beside, or the
/// next start after a crash, never meets half of it. SQLite gives its `-wal` and `-shm` files the same mode.
pub fn create(path: &Path, kind: &Kind) -> Result<Connection, OpenStoreError> {
    let draft = path.with_extension("new");
    let broken = |why: String| OpenStoreError::Sqlite { path: path.to_owned(), why };
    // One that a crash left behind.
    let _ = std::fs::remove_file(&draft);
    drop(files::open_new(&draft)?);
    let script = format!(
        "BEGIN IMMEDIATE; {} PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT;",
        kind.schema, kind.application_id, kind.version
    );
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let made = Connection::open_with_flags(&draft, flags).and_then(|draft| draft.execute_batch(&script));
    made.map_err(|e| broken(e.to_string()))?;
    // A link, not a renaming: what is there already stays.
    let placed = std::fs::hard_link(&draft, path).and_then(|()| std::fs::remove_file(&draft));
    placed.map_err(|e| files::FileError::new("create", path, e))?;
    files::sync_parent(path).map_err(|e| broken(e.to_string()))?;
    connect(path, kind).map_err(|e| broken(e.to_string()))
}

pub fn open(path: &Path, kind: &Kind) -> Result<Connection, OpenStoreError> {
    files::check_private(path)?;
    let connection = connect(path, kind).map_err(|e| sort(path, &e))?;
    check(path, &connection, kind)?;
    Ok(connection)
}

/// For a file that is only read (a backup): it is not changed, not even its journal mode.
pub fn open_read_only(path: &Path, kind: &Kind) -> Result<Connection, OpenStoreError> {
    files::check_private(path)?;
    let connection = reader(path)?;
    check(path, &connection, kind)?;
    Ok(connection)
}

/// A second, reading connection to a file that this process has already opened and checked.
pub fn reader(path: &Path) -> Result<Connection, OpenStoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| sort(path, &e))?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(|e| sort(path, &e))?;
    Ok(connection)
}

fn connect(path: &Path, kind: &Kind) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {}; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
        kind.synchronous
    ))?;
    Ok(connection)
}

fn check(path: &Path, connection: &Connection, kind: &Kind) -> Result<(), OpenStoreError> {
    let pragma = |name: &str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(|e| sort(path, &e))
    };
    if pragma("application_id")? != kind.application_id {
        return Err(OpenStoreError::NotOurs { path: path.to_owned() });
    }
    let found = pragma("user_version")?;
    if found > kind.version {
        return Err(OpenStoreError::TooNew { path: path.to_owned(), found, known: kind.version });
    }
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(3)", [], |row| row.get(0))
        .map_err(|e| sort(path, &e))?;
    match verdict.as_str() {
        "ok" => Ok(()),
        why => Err(OpenStoreError::Damaged { path: path.to_owned(), why: why.to_owned() }),
    }
}

pub fn sort(path: &Path, error: &rusqlite::Error) -> OpenStoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let (path, why) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(NotADatabase) => OpenStoreError::NotOurs { path },
        Some(DatabaseCorrupt) => OpenStoreError::Damaged { path, why },
        _ => OpenStoreError::Sqlite { path, why },
    }
}
