//! Files that hold secrets or state: right mode from the first moment, never through a link, never half written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// No key or settings file is larger.
const MAX_BYTES: u64 = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path} does not exist")]
    Missing { path: PathBuf },
    #[error("{path} exists already")]
    Exists { path: PathBuf },
    #[error("no permission to {what} {path}: run as its owner or as root")]
    Permission { what: &'static str, path: PathBuf },
    #[error(
        "{path} can be read by others (mode {mode:04o}): it holds a secret; run `chmod {want} {path}` and make sure nobody copied it"
    )]
    TooOpen { path: PathBuf, mode: u32, want: &'static str },
    #[error(
        "{path} belongs to user {owner}, not to this user or root: run the command as that user, or give it to this one with `chown` if you trust what is in it"
    )]
    ForeignOwner { path: PathBuf, owner: u32 },
    #[error("{path} is not a regular file (links are not followed)")]
    NotAFile { path: PathBuf },
    #[error("{path} is not a directory (links are not followed)")]
    NotADirectory { path: PathBuf },
    #[error("{path} is larger than {limit} bytes: not a file of Warren's")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("cannot {what} {path}: {error}")]
    Io { what: &'static str, path: PathBuf, error: std::io::Error },
}

impl FileError {
    pub(crate) fn new(what: &'static str, path: &Path, error: std::io::Error) -> FileError {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::NotFound => FileError::Missing { path },
            ErrorKind::AlreadyExists => FileError::Exists { path },
            ErrorKind::PermissionDenied => FileError::Permission { what, path },
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                FileError::NotAFile { path }
            }
            _ => FileError::Io { what, path, error },
        }
    }
}

/// Makes `path` a directory of mode 0700 with its missing parents, or accepts one that already is like that.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|e| FileError::new("make", parent, e))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => check_dir(path),
        Err(e) => Err(FileError::new("make", path, e)),
    }
}

/// Accepts only a real directory of ours that nobody else can enter.
pub fn check_dir(path: &Path) -> Result<(), FileError> {
    let meta = std::fs::symlink_metadata(path).map_err(|e| FileError::new("read", path, e))?;
    if !meta.is_dir() {
        return Err(FileError::NotADirectory { path: path.to_owned() });
    }
    trusted(path, &meta, "700")
}

fn trusted(path: &Path, meta: &std::fs::Metadata, want: &'static str) -> Result<(), FileError> {
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me && meta.uid() != 0 {
        return Err(FileError::ForeignOwner { path: path.to_owned(), owner: meta.uid() });
    }
    if meta.mode() & 0o077 != 0 {
        return Err(FileError::TooOpen { path: path.to_owned(), mode: meta.mode() & 0o7777, want });
    }
    Ok(())
}

/// Creates `path` with mode 0600 (never a moment wider), writes and syncs it with its directory. Refuses whatever
/// is already there, links included. Leaves nothing behind when it fails half way.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = open_new(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| sync_parent(path)) {
        let _ = std::fs::remove_file(path);
        return Err(FileError::new("write", path, error));
    }
    Ok(())
}

/// An empty new file of mode 0600, for a writer that opens it by name (SQLite).
pub fn open_new(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags(OFlags::NOFOLLOW))
        .open(path)
        .map_err(|e| FileError::new("create", path, e))
}

/// Reads a secret: a regular file of ours or root's, no link, mode 0600 or less.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
        .open(path)
        .map_err(|e| FileError::new("read", path, e))?;
    let meta = file.metadata().map_err(|e| FileError::new("read", path, e))?;
    if !meta.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    trusted(path, &meta, "600")?;
    if meta.len() > MAX_BYTES {
        return Err(FileError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(meta.len() as usize + 1));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|e| FileError::new("read", path, e))?;
    Ok(bytes)
}

/// The checks of [`read_private`] for a file that another library opens by name.
pub fn check_private(path: &Path) -> Result<(), FileError> {
    let meta = std::fs::symlink_metadata(path).map_err(|e| FileError::new("read", path, e))?;
    match meta.is_file() {
        true => trusted(path, &meta, "600"),
        false => Err(FileError::NotAFile { path: path.to_owned() }),
    }
}

/// Makes a rename or a new name in this directory durable.
pub fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

/// For tests. Without starting a program: a fork would keep the locked files of other tests open for a moment.
#[cfg(test)]
pub(crate) fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_secret_is_0600_in_a_0700_directory_whatever_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        private_dir(&state).unwrap();
        create_private(&state.join("key"), b"secret").unwrap();
        assert_eq!((mode(&state), mode(&state.join("key"))), (0o700, 0o600));
        assert_eq!(read_private(&state.join("key")).unwrap().as_slice(), b"secret");
        private_dir(&state).unwrap();
    }

    #[test]
    fn what_is_already_there_is_never_overwritten_or_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(create_private(&link, b"x"), Err(FileError::Exists { .. })));
        assert!(!target.exists());
        create_private(&target, b"x").unwrap();
        assert!(matches!(read_private(&link), Err(FileError::NotAFile { .. })));
        assert!(matches!(create_private(&target, b"y"), Err(FileError::Exists { .. })));
        assert!(matches!(check_dir(&link), Err(FileError::NotADirectory { .. })));
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create_private(&path, b"x").unwrap();
        for open in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(open)).unwrap();
            assert!(matches!(read_private(&path), Err(FileError::TooOpen { .. })), "{open:o}");
        }
    }

    #[test]
    fn a_fifo_and_a_directory_are_not_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read_private(dir.path()), Err(FileError::NotAFile { .. })));
        let fifo = dir.path().join("fifo");
        make_fifo(&fifo);
        assert!(matches!(read_private(&fifo), Err(FileError::NotAFile { .. })));
    }
}
