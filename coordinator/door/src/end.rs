//! Why a door has closed.

use std::fmt;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The other end closed it, or went.
    Gone(String),
    /// It said something that has no place here.
    Protocol(String),
    /// It did not take what was for it.
    Slow,
    /// The socket on this host cannot be used.
    Local(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Gone(why) => write!(f, "the other end is gone: {why}"),
            End::Protocol(why) => write!(f, "the other end does not speak as a door does: {why}"),
            End::Slow => f.write_str("the other end does not take what is sent to it"),
            End::Local(why) => write!(f, "the socket on this host: {why}"),
        }
    }
}
