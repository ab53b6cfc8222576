//! Everything a command can end with, and the exit code that says whose turn it is.

use std::path::PathBuf;

use warren_node_core::control::StartError;
use warren_node_core::host::InvalidInterfaceName;
use warren_wire::token::TokenError;
use warren_wire::trust::TrustError;

use crate::cli::FileError;
use crate::host::HostError;
use crate::link::EnrolFailure;
use crate::resolver::DnsError;
use crate::resolver::proof::AnchorError;
use crate::resolver::tls::TlsError;
use crate::state::StateError;
use crate::tun::TunError;
use crate::udp::UdpError;

/// Exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// A finding or a refusal.
    Finding = 1,
    /// Usage or bad input.
    Usage = 2,
    /// Somebody that is needed cannot be reached.
    Unreachable = 3,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Tun(#[from] TunError),
    #[error(transparent)]
    Udp(#[from] UdpError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{0}{hint}", hint = crate::cli::hint(.0))]
    Enrol(#[from] EnrolFailure),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the stored identity does not hold: {0}; restore the state directory or enrol again")]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Dns(#[from] DnsError),
    #[error(transparent)]
    DnsAuthorities(#[from] TlsError),
    #[error(transparent)]
    DnsAnchors(#[from] AnchorError),
    #[error(transparent)]
    Interface(#[from] InvalidInterfaceName),
    #[error(
        "this host is not enrolled (state directory {}): run `warren-node up --token-file FILE` with a token of \
         `warren token create`", .0.display()
    )]
    NotEnrolled(PathBuf),
    #[error(
        "this node was away for longer than its lease and was taken out of the network; its identity is forgotten, the next start \
         enrols anew"
    )]
    LeaseEnded,
    #[error(transparent)]
    Settings(#[from] FileError),
    #[error(
        "{path} in the state directory is missing or unreadable: restore it from a backup or enrol again"
    )]
    Incomplete { path: PathBuf },
    #[error("no random numbers from the operating system: {0}")]
    Random(getrandom::Error),
    #[error("cannot {what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("no agent answers at {}: is it running? start it with `warren-node run`, or name its socket with --socket", .0.display())]
    NoAgent(PathBuf),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

impl Error {
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Error::State(_)
            | Error::Token(_)
            | Error::Usage(_)
            | Error::Settings(_)
            | Error::DnsAuthorities(_)
            | Error::DnsAnchors(_)
            | Error::Interface(_)
            | Error::NotEnrolled(_) => Exit::Usage,
            Error::Enrol(EnrolFailure::Unreachable(_) | EnrolFailure::BrokenOff { .. })
            | Error::NoAgent(_) => Exit::Unreachable,
            _ => Exit::Finding,
        }
    }
}
