//! Reading and replacing one file of the state directory, always through the directory's handle.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::error::StateError;

/// Opens the directory without following a link at its end; creates it with mode 0700.
pub fn open_directory(path: &Path) -> Result<(OwnedFd, (u32, u32)), StateError> {
    match std::fs::DirBuilder::new().recursive(false).mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(StateError::io(path.to_owned(), "create", e)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| match e {
        Errno::LOOP | Errno::NOTDIR => {
            StateError::Kind { path: path.to_owned(), found: "not a directory itself", wanted: "a directory" }
        }
        e => StateError::io(path.to_owned(), "open", e.into()),
    })?;
    let stat = rustix::fs::fstat(&dir).map_err(|e| StateError::io(path.to_owned(), "examine", e.into()))?;
    let me = rustix::process::geteuid();
    if !me.is_root() && stat.st_uid != me.as_raw() {
        return Err(StateError::Owner { path: path.to_owned(), found: stat.st_uid, wanted: me.as_raw() });
    }
    check_mode(path, stat.st_mode, 0o700)?;
    Ok((dir, (stat.st_uid, stat.st_gid)))
}

fn check_mode(path: &Path, mode: u32, wanted: u32) -> Result<(), StateError> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(StateError::Mode { path: path.to_owned(), mode: mode & 0o7777, wanted })
}

/// A regular file with one name, private, of the right owner and of bounded size.
pub fn check(path: &Path, fd: impl AsFd, owner: (u32, u32), limit: u64) -> Result<(), StateError> {
    let stat = rustix::fs::fstat(&fd).map_err(|e| StateError::io(path.to_owned(), "examine", e.into()))?;
    let wrong = |found| Err(StateError::Kind { path: path.to_owned(), found, wanted: "a regular file" });
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return wrong("something else");
    }
    if stat.st_nlink > 1 {
        return wrong("a file with several names (hard links)");
    }
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != owner.0 && stat.st_uid != me {
        return Err(StateError::Owner { path: path.to_owned(), found: stat.st_uid, wanted: owner.0 });
    }
    check_mode(path, stat.st_mode, 0o600)?;
    let bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if bytes > limit {
        return Err(StateError::TooLarge { path: path.to_owned(), bytes, limit });
    }
    Ok(())
}

/// The content, or `None` if there is no such file. Never blocks on a FIFO.
pub fn read(
    base: &Path,
    dir: &OwnedFd,
    owner: (u32, u32),
    name: &str,
    limit: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
    let path = base.join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(StateError::io(path, "open", e.into())),
    };
    check(&path, &fd, owner, limit)?;
    let size = rustix::fs::fstat(&fd).map_or(0, |s| usize::try_from(s.st_size).unwrap_or(0));
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    File::from(fd).take(limit).read_to_end(&mut bytes).map_err(|e| StateError::io(path, "read", e))?;
    Ok(Some(bytes))
}

/// Replaces the file whole: new file (0600, exclusive), sync, rename, sync of the directory.
pub fn replace(
    base: &Path,
    dir: &OwnedFd,
    owner: (u32, u32),
    name: &str,
    bytes: &[u8],
) -> Result<(), StateError> {
    let path = base.join(name);
    let fresh = format!(".{name}.new");
    let result = write_new(base, dir, owner, &fresh, bytes).and_then(|()| {
        rustix::fs::renameat(dir, fresh.as_str(), dir, name)
            .map_err(|e| StateError::io(path.clone(), "replace", e.into()))?;
        rustix::fs::fsync(dir).map_err(|e| StateError::io(base.to_owned(), "sync", e.into()))
    });
    if result.is_err() {
        let _ = rustix::fs::unlinkat(dir, fresh.as_str(), AtFlags::empty());
    }
    result
}

/// Takes the file away; it is no fault if there is none. After a crash it may be there again.
pub fn remove(base: &Path, dir: &OwnedFd, name: &str) -> Result<(), StateError> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(StateError::io(base.join(name), "remove", e.into())),
    }
}

fn write_new(
    base: &Path,
    dir: &OwnedFd,
    owner: (u32, u32),
    fresh: &str,
    bytes: &[u8],
) -> Result<(), StateError> {
    let path = base.join(fresh);
    // A leftover of a crash; the lock says that nobody else writes here.
    let _ = rustix::fs::unlinkat(dir, fresh, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, fresh, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| StateError::io(path.clone(), "create", e.into()))?;
    if rustix::process::geteuid().is_root() && owner.0 != 0 {
        rustix::fs::fchown(&fd, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))
            .map_err(|e| StateError::io(path.clone(), "give away", e.into()))?;
    }
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(|e| StateError::io(path.clone(), "write", e))?;
    file.sync_all().map_err(|e| StateError::io(path, "sync", e))
}
