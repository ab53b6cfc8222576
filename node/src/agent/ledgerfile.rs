//! What this agent has judged, in a file under `/run` that the next one reads: how much one that was killed took with it is
//! known, to the packet.
//!
//! 64-bit words in this machine's order: magic, number of this start, number of ended starts, those (start, packets, bytes),
//! then the cells of the [`Ledger`]. A new start writes a new file and puts it in the place of the old one, so that whoever
//! dies in between leaves a whole one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use warren_node_core::ledger::{self, Ledger};
use warren_wire::flow::{Ended, MAX_ENDED};

use warren_kernel::map;

const MAGIC: u64 = u64::from_be_bytes(*b"wledger1");
const HEAD: usize = 3 + 3 * MAX_ENDED;
const WORDS: usize = HEAD.next_multiple_of(ledger::STRIDE) + ledger::WORDS;
const CELLS: usize = WORDS - ledger::WORDS;

/// The ledger of this start, and what is known of earlier ones.
pub struct LedgerFile {
    pub ledger: Ledger,
    pub ended: Vec<Ended>,
    words: Option<&'static [AtomicU64]>,
}

impl LedgerFile {
    /// In `directory`. Where there can be no file, the ledger works and dies with its agent. `left`: what the last start that
    /// stopped in order left on the disk; it counts where this file does not know that start (the host was restarted).
    pub fn open(directory: &Path, boot: u64, left: &[Ended]) -> LedgerFile {
        let path = directory.join("ledger");
        let ended = with_left(read(&path), left);
        match make(&path, boot, &ended) {
            Ok(words) => LedgerFile {
                ledger: Ledger::within(words.get(CELLS..).unwrap_or_default()),
                ended,
                words: Some(words),
            },
            Err(e) => {
                tracing::warn!(path = %path.display(), "what this agent judges cannot be kept for the next ({e}): if it is killed, nobody will know how much it took with it");
                LedgerFile { ledger: Ledger::default(), ended, words: None }
            }
        }
    }

    /// The coordinator has taken down every earlier start.
    pub fn forget_ended(&mut self) {
        if !std::mem::take(&mut self.ended).is_empty()
            && let Some(count) = self.words.and_then(|words| words.get(2))
        {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Starts that have ended, as the file of the last one tells; none if there is no file, or not one of ours.
fn read(path: &Path) -> Vec<Ended> {
    let Some(words) = words_of(path).filter(|words| words.len() == WORDS && words.first() == Some(&MAGIC))
    else {
        return Vec::new();
    };
    let known = usize::try_from(words.get(2).copied().unwrap_or(0)).unwrap_or(0).min(MAX_ENDED);
    let triple = |three: &[u64]| match three {
        [boot, packets, bytes] => Some(Ended { boot: *boot, packets: *packets, bytes: *bytes }),
        _ => None,
    };
    let mut ended: Vec<Ended> =
        words.get(3..HEAD).unwrap_or_default().chunks(3).take(known).filter_map(triple).collect();
    let judged = ledger::read(words.iter().skip(CELLS).copied());
    let boot = words.get(1).copied().unwrap_or(0);
    ended.push(Ended { boot, packets: judged.packets, bytes: judged.bytes });
    bounded(ended)
}

fn with_left(known: Vec<Ended>, left: &[Ended]) -> Vec<Ended> {
    let last = left.last().map(|last| last.boot);
    if known.iter().any(|ended| Some(ended.boot) == last) {
        return known;
    }
    bounded(left.iter().copied().chain(known).collect())
}

fn bounded(mut ended: Vec<Ended>) -> Vec<Ended> {
    while ended.len() > MAX_ENDED {
        // A node that was killed so often without reaching its coordinator: the sum stays right.
        let oldest = ended.remove(0);
        if let Some(next) = ended.first_mut() {
            next.packets = next.packets.saturating_add(oldest.packets);
            next.bytes = next.bytes.saturating_add(oldest.bytes);
        }
    }
    ended
}

fn words_of(path: &Path) -> Option<Vec<u64>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(WORDS as u64 * 8 + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect())
}

fn make(path: &Path, boot: u64, ended: &[Ended]) -> std::io::Result<&'static [AtomicU64]> {
    let mut words = vec![MAGIC, boot, ended.len() as u64];
    words.extend(ended.iter().flat_map(|e| [e.boot, e.packets, e.bytes]));
    words.resize(WORDS, 0);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let fresh: PathBuf = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&bytes)?;
    let map = map::words(&file, WORDS)?;
    std::fs::rename(&fresh, path)?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use warren_node_core::conntrack::Load;

    use super::*;

    #[test]
    fn the_next_start_knows_what_the_last_one_had_judged() {
        let dir = tempfile::tempdir().expect("directory");
        let first = LedgerFile::open(dir.path(), 7, &[]);
        assert_eq!(first.ended, []);
        first.ledger.add(Ledger::cell_of(0, true), Load { packets: 3, bytes: 120 });
        first.ledger.add(Ledger::cell_of(1, false), Load { packets: 1, bytes: 40 });
        let mut second = LedgerFile::open(dir.path(), 8, &[]);
        let told = Ended { boot: 7, packets: 4, bytes: 160 };
        assert_eq!(second.ended, [told]);
        second.ledger.add(0, Load { packets: 9, bytes: 9 });
        first.ledger.add(0, Load { packets: 5, bytes: 5 });
        let mut third = LedgerFile::open(dir.path(), 9, &[]);
        assert_eq!(third.ended, [told, Ended { boot: 8, packets: 9, bytes: 9 }], "until it is told");
        second.forget_ended();
        third.forget_ended();
        let fourth = LedgerFile::open(dir.path(), 10, &[]);
        assert_eq!(fourth.ended, [Ended { boot: 9, packets: 0, bytes: 0 }]);
    }

    #[test]
    fn a_file_that_is_not_ours_or_not_whole_says_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("ledger");
        let whole = || {
            let _ = LedgerFile::open(dir.path(), 1, &[]);
            std::fs::read(&path).expect("read")
        };
        let bytes = whole();
        for broken in [&bytes[..bytes.len() - 1], &bytes[8..], &b""[..], &[0xff; 9000][..]] {
            std::fs::write(&path, broken).expect("write");
            assert_eq!(read(&path), []);
        }
        std::fs::write(&path, &bytes).expect("write");
        assert_eq!(read(&path).len(), 1);
        std::fs::remove_file(&path).expect("remove");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("link");
        assert_eq!(read(&path), [], "a link is not followed");
    }

    #[test]
    fn a_start_whose_file_is_gone_is_known_from_what_it_left() {
        let dir = tempfile::tempdir().expect("directory");
        let left = [Ended { boot: 3, packets: 1, bytes: 40 }, Ended { boot: 4, packets: 2, bytes: 80 }];
        assert_eq!(LedgerFile::open(dir.path(), 5, &left).ended, left, "the host was restarted");
        let five = Ended { boot: 5, packets: 0, bytes: 0 };
        let again = LedgerFile::open(dir.path(), 6, &left).ended;
        assert_eq!(again, [left[0], left[1], five], "and is not counted twice");
    }

    #[test]
    fn more_ends_than_there_is_room_for_keep_their_sum() {
        let dir = tempfile::tempdir().expect("directory");
        for boot in 0..70 {
            LedgerFile::open(dir.path(), boot, &[]).ledger.add(0, Load { packets: 1, bytes: 10 });
        }
        let ended = read(&dir.path().join("ledger"));
        assert_eq!(ended.len(), MAX_ENDED);
        assert_eq!(ended.iter().map(|e| e.packets).sum::<u64>(), 70);
    }
}
