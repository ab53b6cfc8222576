//! The control channel as control sees it: away, connecting, greeting, authorised. Losing it is a state, not an error.

use crate::clock::Mono;

/// How long a connection may take, and how long a coordinator may keep a `Hello` unanswered.
pub const PATIENCE_MS: u64 = 15_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Try again at that moment.
    Away {
        until: Mono,
    },
    /// The agent was told to connect; give up at that moment.
    Connecting {
        until: Mono,
    },
    /// `Hello` was said; "connected" is not "authorised" until the answer.
    Greeting {
        until: Mono,
    },
    Authorised,
}

impl Session {
    pub fn name(&self) -> &'static str {
        match self {
            Session::Away { .. } => "away",
            Session::Connecting { .. } | Session::Greeting { .. } => "connecting",
            Session::Authorised => "connected",
        }
    }
}
