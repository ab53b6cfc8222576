//! What the coordinator wants done. Drained with one `poll_output`.

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::frame::{Refused, Seated, ToNode, ToRelay};
use warren_wire::id::NodeId;
use warren_wire::relay::Seat;

use crate::alarm::Alarm;
use crate::flows::Batch;

/// A control connection, numbered by the IO layer; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId(pub u64);

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// In order per connection. A connection that cannot take it is closed: the node asks for the difference later.
    Send(ConnId, ToNode),
    /// The peer is a member with a session: its frames may now be as long as `MAX_FRAME`.
    Authorised(ConnId, NodeId),
    /// A node has this seat at the relay from now on; comes before the node itself hears of it.
    Seated(NodeId, Seated),
    /// It has it no longer.
    Unseated(Seat),
    /// As `Send`, to a relay.
    SendRelay(ConnId, ToRelay),
    /// As `Authorised`: a relay has a session.
    RelayAuthorised(ConnId),
    /// As `Close`, of a relay.
    CloseRelay(ConnId, Refused),
    /// Send this as the last frame, then close.
    Close(ConnId, Refused),
    /// Keep these and their account, then call `handle_flows_written`: only then they are acknowledged.
    StoreFlows(Batch),
    Log(Notice),
    /// Something an administrator must see; also in `status`.
    Alarm(Alarm),
    /// What it was about is over.
    AlarmCleared(Alarm),
}

/// A line for the log. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    pub level: Level,
    pub node: Option<NodeId>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Info,
    Warn,
}

/// When to call `handle_timeout`, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout {
    pub at: UnixTime,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A new freshness statement is due.
    Freshness,
    /// A node may have been away for longer than its lease.
    Leases,
    /// An enrolment offer and its leased addresses run out.
    Offer,
    /// A connection has not become a session in time.
    Stranger,
    /// A grant's `until` passes.
    GrantEnds,
    /// An alarm may have to be raised or cleared.
    Conditions,
    /// A seat at the relay is given more time.
    Seats,
    /// A node that has not enforced one change is told the next all the same.
    Patience,
    /// Somebody is to be told the newest roll.
    Roll,
}
