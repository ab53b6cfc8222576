//! One flag that every thread can wait for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};

/// Why the agent ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Asked to, by a signal or a command.
    Asked,
    /// Something it cannot go on without is gone; the text says what and what to do.
    Failed(String),
}

/// Set once; an eventfd that stays readable from then on.
#[derive(Debug)]
pub struct Stop {
    event: OwnedFd,
    reason: OnceLock<StopReason>,
}

impl Stop {
    pub fn new() -> std::io::Result<Stop> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Stop { event, reason: OnceLock::new() })
    }

    /// The first reason stands.
    pub fn set(&self, reason: StopReason) {
        let _ = self.reason.set(reason);
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    pub fn is_set(&self) -> bool {
        self.reason.get().is_some()
    }

    pub fn reason(&self) -> Option<&StopReason> {
        self.reason.get()
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
