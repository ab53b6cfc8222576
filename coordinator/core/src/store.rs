//! Where the log is kept. One entry, one transaction, one revision. A store knows nothing of what entries mean.

use warren_wire::id::Revision;

use crate::change::{Entry, LogError, LogHead};

/// Why a commit did not happen, or may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(
        "somebody else committed revision {found} first; this change was decided on {expected}: try again"
    )]
    Conflict { expected: Revision, found: Revision },
    #[error("the store is full ({0}): free some space; nothing was changed")]
    Full(String),
    #[error("the store is busy ({0}): try again; nothing was changed")]
    Busy(String),
    /// Nobody knows whether the entry is in: stop, open the store again and replay.
    #[error("the store failed while writing ({0}): the coordinator must read it again before it goes on")]
    Unknown(String),
    #[error("the store is damaged: {0}")]
    Log(#[from] LogError),
    #[error("the store cannot be used: {0}")]
    Broken(String),
}

impl StoreError {
    /// True if the entry is certainly not in the store.
    pub fn nothing_changed(&self) -> bool {
        matches!(self, StoreError::Conflict { .. } | StoreError::Full(_) | StoreError::Busy(_))
    }
}

/// An append-only log. `commit` returns only when the entry survives the loss of power.
pub trait Store {
    /// Entries after `after`, oldest first, at most `limit`. `read(0, usize::MAX)` is the whole log.
    fn read(&mut self, after: Revision, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Appends `entry` in one transaction if the log ends at revision `entry.revision() - 1`, else `Conflict`.
    fn commit(&mut self, entry: &Entry) -> Result<(), StoreError>;
}

/// A fault for the next commit of a [`MemoryStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails and keeps nothing: a full disk.
    BeforeCommit,
    /// Keeps the entry and then fails: a crash between the write and the answer.
    AfterCommit,
}

/// A store in memory, for tests and the simulated world; lines are kept as JSON, as a real store keeps them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    lines: Vec<String>,
    head: LogHead,
    fault: Option<Fault>,
}

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
    /// The next commit meets this fault.
    pub fn fail_next(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }
    /// The raw lines, so that a test can damage them.
    pub fn lines_mut(&mut self) -> &mut Vec<String> {
        &mut self.lines
    }
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl Store for MemoryStore {
    fn read(&mut self, after: Revision, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let numbered = self.lines.iter().zip(1u64..).skip(skip).take(limit);
        numbered.map(|(line, revision)| Entry::from_json(revision, line).map_err(StoreError::Log)).collect()
    }

    fn commit(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let fault = self.fault.take();
        if fault == Some(Fault::BeforeCommit) {
            return Err(StoreError::Full("injected".into()));
        }
        let expected = entry.revision().saturating_sub(1);
        if self.head.revision != expected {
            return Err(StoreError::Conflict { expected, found: self.head.revision });
        }
        entry.check(&self.head)?;
        self.lines.push(entry.to_json());
        self.head = entry.head();
        match fault {
            Some(_) => Err(StoreError::Unknown("injected".into())),
            None => Ok(()),
        }
    }
}
