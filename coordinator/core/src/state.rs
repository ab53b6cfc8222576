//! The log folded into what is true now.

use warren_config::time::UnixTime;

use crate::change::{Change, Entry, LogError, LogHead, Principal, Proposal};
use crate::command::Command;
use crate::refusal::Refusal;

/// Durable state: the same log gives the same state.
#[derive(Clone, Debug, Default)]
pub struct State {
    head: LogHead,
}

impl State {
    pub fn replay<'a>(_entries: impl IntoIterator<Item = &'a Entry>) -> Result<State, LogError> {
        todo!()
    }
    /// Folds one committed entry in. An entry that does not follow is refused and changes nothing.
    pub fn apply(&mut self, _entry: &Entry) -> Result<(), LogError> {
        todo!()
    }
    /// Decides without doing. `warren init` uses this before a coordinator exists.
    pub fn decide(&self, _command: Command, _now: UnixTime) -> Result<Vec<Change>, Refusal> {
        todo!()
    }
    /// Decides a command and makes the entry for it.
    pub fn propose(
        &self,
        _command: Command,
        _principal: Principal,
        _now: UnixTime,
    ) -> Result<Proposal, Refusal> {
        todo!()
    }
    pub fn head(&self) -> LogHead {
        self.head
    }
}
