//! Policy files on this machine: one file, or every `*.toml` of a directory.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use warren_config::proof::{self, Proof};
use warren_config::question::TestOutcome;
use warren_config::resolve::{self, Claim, Claims, Context, Faults, Finding, Resolved, Source};

use warren_coordinator_core::policies::{MAX_SOURCE_BYTES, MAX_SOURCES};

use super::{Failure, output};

/// What can be checked can be applied: the limits are the coordinator's.
const MAX_BYTES: u64 = MAX_SOURCE_BYTES as u64;
const MAX_FILES: usize = MAX_SOURCES;

pub fn read(path: &Path) -> Result<Vec<Source>, Failure> {
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if !meta.is_dir() {
        return Ok(vec![read_file(path, MAX_BYTES)?]);
    }
    let files = list(path)?;
    if files.is_empty() {
        return Err(Failure::usage(format!(
            "{} has no `*.toml` file: name the policy's file or directory",
            path.display()
        )));
    }
    let mut left = MAX_BYTES;
    let mut sources = Vec::new();
    for file in files {
        let source = read_file(&file, left)?;
        left = left.saturating_sub(source.text.len() as u64);
        sources.push(source);
    }
    Ok(sources)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
        let path = entry.map_err(|e| unreadable(dir, &e))?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(Failure::usage(format!("{} has more than {MAX_FILES} policy files", dir.display())));
        }
    }
    files.sort();
    Ok(files)
}

/// Opens without waiting (a FIFO has no writer, perhaps) and reads no more than it may.
fn read_file(path: &Path, limit: u64) -> Result<Source, Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|e| unreadable(path, &e))?;
    if !file.metadata().map_err(|e| unreadable(path, &e))?.is_file() {
        return Err(Failure::usage(format!(
            "{} is not a regular file: write the policy to a file first",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, &e))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::usage(format!(
            "the policy at {} is over {MAX_BYTES} bytes: is it the right file?",
            path.display()
        )));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        Failure::usage(format!(
            "{} is not UTF-8 text (byte {}): is it the right file?",
            path.display(),
            e.utf8_error().valid_up_to()
        ))
    })?;
    Ok(Source { file: path.display().to_string(), text })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("the policy at {} cannot be read: {error}", path.display()))
}

/// A policy that cannot be resolved, already shown to the person.
pub struct Faulty(Failure);

impl Faulty {
    /// For `check` and `apply`: something in the policy is wrong.
    pub fn into_finding(self) -> Failure {
        self.0
    }
    /// For questions: a bad file.
    pub fn into_usage(self) -> Failure {
        Failure::usage("the policy file has faults (above): correct them first")
    }
}

/// As of now, by this host's clock.
pub fn resolve_now(sources: &[Source]) -> Result<Resolved, Faults> {
    let context = Context { at: Some(crate::clock::now()), nodes: None };
    resolve::resolve_in(sources, &context)
}

/// The tests that fail and the invariants that do not hold, each where it stands.
pub fn broken(claims: &Claims, tests: &[TestOutcome], proofs: &[Proof]) -> Vec<Finding> {
    let tests = tests.iter().filter(|test| !test.passed).filter_map(|test| {
        let text = format!("test {} fails: {}", test.id, test.message);
        claims.error(Claim::Test(test.id.clone()), "test-fails", text)
    });
    let proofs = proofs.iter().filter_map(|proof| {
        let (id, word) = match proof.outcome {
            proof::Outcome::Proved => return None,
            proof::Outcome::Broken => ("invariant-broken", "is broken"),
            proof::Outcome::Undecided => ("invariant-undecided", "is not decided"),
        };
        let text = format!("invariant {} {word}: {}", proof.id, proof.message);
        claims.error(Claim::Invariant(proof.id.clone()), id, text)
    });
    tests.chain(proofs).collect()
}

/// Resolves; faults are rendered to standard error.
pub fn resolve(sources: &[Source]) -> Result<Resolved, Faulty> {
    resolve_now(sources).map_err(|Faults { findings }| {
        output::error_line(resolve::render(&findings, sources, colour()).trim_end());
        Faulty(Failure::shown())
    })
}

pub fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_waiting_and_binary_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        crate::files::make_fifo(&fifo);
        let binary = dir.path().join("b.toml");
        std::fs::write(&binary, [0xff, 0xfe]).unwrap();
        for path in [Path::new("/dev/zero"), &fifo, &binary, Path::new("/nonexistent")] {
            assert!(read(path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_directory_is_its_toml_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_err(), "nothing in it is not an empty policy");
        for name in ["b.toml", "a.toml", "notes.txt"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let texts: Vec<String> = read(dir.path()).unwrap().into_iter().map(|s| s.text).collect();
        assert_eq!(texts, ["a.toml", "b.toml"]);
    }
}
