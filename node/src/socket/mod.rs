//! The local socket: one JSON object a line, a request and its answer.
//!
//! Who asks is taken from the kernel (`SO_PEERCRED`): root and the agent's own user may ask everything, everybody else
//! only for the status.

mod client;
mod server;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::ask;
pub use server::{Server, Waiting, metrics, serve};

/// Longest line either way.
pub const MAX_LINE: usize = 16 * 1024 * 1024;
/// Longest request.
pub const MAX_REQUEST: usize = 16 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Status,
    Peers,
    Flows {
        limit: usize,
    },
    /// May `from` (this node if absent) open `port` at `to`?
    Why {
        from: Option<String>,
        to: String,
        port: String,
    },
    Path {
        peer: String,
    },
    /// Overlay addresses of a node or service.
    Resolve {
        name: String,
    },
    Counters,
    /// The same and more, as text for a scraper.
    Metrics,
    /// Resolve a name and say how; a record type by its name.
    DnsQuery {
        name: String,
        kind: String,
    },
    /// Upstreams and cache of the resolver.
    DnsStatus,
    /// Asks every DNS server something now; the answer is the status afterwards.
    DnsProbe,
    /// Stop the agent.
    Stop,
}

impl Request {
    /// May a user who is neither root nor the agent ask this?
    pub fn is_public(&self) -> bool {
        matches!(self, Request::Status)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    Ok(Value),
    /// A finding or refusal: the command ends with 1.
    Finding(Value),
    /// The request made no sense: 2.
    Bad(String),
}
