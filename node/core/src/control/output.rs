//! What control wants done and what it has to say.

use std::sync::Arc;

use serde::Serialize;
use warren_config::name::Name;
use warren_config::policy::Settings;
use warren_config::time::UnixTime;
use warren_wire::flow::Amount;
use warren_wire::frame::{Seated, ToCoordinator};
use warren_wire::id::{Epoch, Generation, NodeId, Revision};
use warren_wire::trust::TrustError;

use super::clock::SignedClock;
use crate::assembly::Assembly;
use crate::names::Names;

/// One thing to do. The order of outputs is the order to do them in.
#[derive(Clone, Debug)]
pub enum Output {
    /// Try coordinator address `coordinator` (index) now.
    Connect {
        coordinator: usize,
    },
    /// Give the control channel up; `handle_disconnected` need not be called for it.
    Disconnect {
        why: String,
    },
    Send(ToCoordinator),
    /// The data plane and the name server take this, then `handle_published` is called with its numbers.
    Publish(Arc<Publication>),
    /// Signed time was corrected: give it to all who judge. Always before the publication it matters for.
    Clock(SignedClock),
    /// Write these bytes as the last good view: a new file, fsync, rename. They hold no secret.
    Store(Vec<u8>),
    /// This peer wants to talk and is not heard: the data plane shows it this node.
    Knocked(NodeId),
    /// This node's seat at its network's relays from now on; none: there is no relay for it.
    Seated(Option<Seated>),
    /// This node was away for longer than its token's lease: its identity is out for ever, and it may enrol with another.
    LeaseEnded,
    /// All peers are cut (the publication that does it follows).
    Cut(CutReason),
    Notice(Notice),
}

/// What the data plane and names are to enforce from now on.
#[derive(Clone, Debug)]
pub struct Publication {
    pub assembly: Arc<Assembly>,
    pub names: Arc<Names>,
    /// The signed settings: zone, encrypted upstreams.
    pub settings: Settings,
    /// The policy says `mode = "observe"`: everything that is not granted passes and is recorded.
    pub observe: bool,
    /// Set when there are no peers because believing stopped.
    pub cut: Option<CutReason>,
}

/// Why there are no peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum CutReason {
    #[error("no view was ever received and verified: waiting for the coordinator")]
    NoView,
    #[error(
        "the coordinator has not confirmed this node's view since {since}; it ended at {end}: check the way to the coordinator"
    )]
    Stale { since: UnixTime, end: UnixTime },
    #[error("this node was revoked: {why}; enrol it again with a new token if that is wanted")]
    Revoked { why: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Warning,
    /// Somebody lies, or something is about to stop.
    Alarm,
}

/// For logs and `status`. `id` is stable kebab-case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    pub severity: Severity,
    pub id: &'static str,
    pub message: String,
}

/// Why control wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Try the coordinator again.
    Reconnect,
    /// The coordinator has not answered in time.
    Unanswered,
    /// A grant's `until` comes.
    GrantEnds,
    /// Freshness is half over.
    FreshnessHalf,
    /// Freshness ends: cut.
    FreshnessEnds,
    /// Time moves on in the stored view.
    Store,
    /// A peer has shown newer news than the coordinator has given this node.
    Doubt,
}

/// The stored identity cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("the stored charter does not hold: {0}; restore the state directory or enrol again")]
    Charter(TrustError),
    #[error("this node's own record does not hold: {0}; restore the state directory or enrol again")]
    Record(TrustError),
    #[error("these WireGuard keys do not replace the current ones: {why}")]
    Keys { why: String },
}

/// What became of what was judged. The rest waits: in live windows, in `flows_waiting`, or on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub offered: Amount,
    pub stored: Amount,
    pub lost: Amount,
}

/// What `warren-node status` shows of the control half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    pub node: NodeId,
    pub name: Name,
    pub network: String,
    /// `connected`, `connecting` or `away`.
    pub coordinator: &'static str,
    pub last_error: Option<String>,
    pub epoch: Epoch,
    pub revision: Revision,
    pub generation: Generation,
    /// What the data plane last said it enforces.
    pub enforced_revision: Revision,
    pub enforced_generation: Generation,
    pub fresh_since: Option<UnixTime>,
    pub fresh_until: Option<UnixTime>,
    pub cut: Option<CutReason>,
    pub observe: bool,
    pub peers: usize,
    pub flows_waiting: u64,
    pub flows_lost: u64,
    pub account: Account,
    /// The host's clock minus the network's time, milliseconds, when it is off by more than a minute.
    pub host_clock_off_ms: Option<i64>,
    /// Why the coordinator is not believed to tell this node everything it tells others.
    pub doubt: Option<String>,
    /// Newest last, at most 32.
    pub notices: Vec<Notice>,
}
