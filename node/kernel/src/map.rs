//! Memory that is a file's: what is written to it survives the process that wrote it, without a system call.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;

/// The first `words` 64-bit words of `file`, which has at least so many, for as long as this process lives.
pub fn words(file: &File, words: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = words.checked_mul(8).filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    if file.metadata()?.len() < bytes as u64 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than the map of it"));
    }
    // SAFETY: a new mapping at an address the kernel chooses, of a file that is long enough; it is never unmapped. The file
    // lies in a directory of mode 0700 and nobody shortens it.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `words` aligned words (a page is), readable and writable, valid for ever; atomics allow others to write them.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), words) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_is_written_to_memory_is_in_the_file() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("map");
        std::fs::write(&path, [0; 64]).expect("file");
        let file = File::options().read(true).write(true).open(&path).expect("open");
        let map = words(&file, 8).expect("map");
        map.get(3).expect("word").store(u64::from_ne_bytes(*b"survives"), Ordering::Relaxed);
        assert_eq!(std::fs::read(&path).expect("read").get(24..32), Some(&b"survives"[..]));
        assert!(words(&file, 9).is_err(), "no word behind the end");
        assert!(words(&file, 0).is_err());
    }
}
