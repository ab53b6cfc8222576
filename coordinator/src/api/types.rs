//! What the routes take and give, beyond the types of `warren-coordinator-core`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_coordinator_core::audit::AuditRow;
use warren_coordinator_core::change::SourceText;
use warren_coordinator_core::external::ExternalOffer;
use warren_coordinator_core::flows::FlowRow;
use warren_coordinator_core::plan::{Cuts, Seen};
use warren_coordinator_core::query::PolicyReview;
use warren_coordinator_core::status::Status;
use warren_wire::id::{Digest, Epoch, Generation, Revision, WgKey};

use crate::door::DoorReport;
use crate::otlp::ExportStatus;
use crate::relay::RelayReport;
use warren_coordinator_core::relays::RelayRow;

/// [`Status`] with two fields more, on one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "serde_json::Value")]
pub struct StatusReply {
    #[serde(flatten)]
    pub status: Status,
    #[serde(flatten)]
    pub service: ServiceStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceStatus {
    pub version: String,
    /// Flow records that could not be written to history since start.
    pub history_skipped: u64,
    /// Export of flow records to an OTLP receiver; none: nothing is exported.
    #[serde(default)]
    pub export: Option<ExportStatus>,
    /// The relay on the control channel's port; none: there is no relay.
    #[serde(default)]
    pub relay: Option<RelayReport>,
    /// The control channel's port for networks without UDP.
    #[serde(default)]
    pub doors: DoorReport,
    /// All relays, the coordinator's own first.
    #[serde(default)]
    pub relays: Vec<RelayRow>,
}

/// By way of a value: serde's own flattening cannot read maps with numbers as keys.
impl TryFrom<serde_json::Value> for StatusReply {
    type Error = serde_json::Error;
    fn try_from(value: serde_json::Value) -> Result<StatusReply, serde_json::Error> {
        let service = serde_json::from_value(value.clone())?;
        Ok(StatusReply { status: serde_json::from_value(value)?, service })
    }
}

/// The change is stored and true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Committed {
    pub revision: Revision,
    pub epoch: Epoch,
    pub generation: Generation,
}

/// What was signed about one node, so that nobody who signs more about it has to take a coordinator's word. Both are
/// protobuf in base64: a [`warren_wire::signed::Signed`] charter and a [`warren_wire::trust::Record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeRecord {
    pub charter: String,
    pub record: String,
}

/// What a file for a device without an agent is made of: records as in [`NodeRecord`], and places, which nobody signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeFile {
    pub charter: String,
    pub record: String,
    #[schema(value_type = Option<String>)]
    pub endpoint: Option<SocketAddr>,
    pub peers: Vec<FilePeerRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FilePeerRecord {
    pub record: String,
    #[schema(value_type = Option<String>)]
    pub endpoint: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct OfferAsked {
    pub key: WgKey,
    pub name: String,
}

/// Free addresses for a device, and the charter that says which there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Offered {
    pub charter: String,
    #[serde(flatten)]
    pub addresses: ExternalOffer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct NodesAsked {
    pub revoked: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyAsked {
    /// None: the current one.
    pub generation: Option<Generation>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct DiffAsked {
    /// Generation before; 0: nothing is allowed. None: the one before `to`.
    pub from: Option<Generation>,
    /// None: the current one.
    pub to: Option<Generation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewAsked {
    pub sources: Vec<SourceText>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanAsked {
    pub sources: Vec<SourceText>,
    /// How far back to look for flows, seconds, at most a year.
    pub within: u64,
}

/// [`warren_coordinator_core::query::PolicyReview`] and what the policy would cut of what was seen.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PlanReply {
    #[serde(flatten)]
    pub review: PolicyReview,
    pub ends_observing: bool,
    pub seen: Seen,
    #[serde(flatten)]
    pub cuts: Cuts,
}

/// `can --ever`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct EverAsked {
    pub from: String,
    pub to: String,
    pub port: Option<String>,
    /// Also through other services, hop by hop.
    #[serde(default)]
    pub through: bool,
}

/// `can` and `why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub from: String,
    pub to: String,
    pub port: Option<String>,
    /// As things were then, seconds since 1970. Without: now.
    #[serde(default)]
    pub at: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct SinceAsked {
    /// `cursor` of the answer before. 0: from the oldest record that is in memory. None: from now on.
    pub cursor: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub verdict: Option<warren_wire::flow::FlowVerdict>,
    pub grant: Option<String>,
    pub service: Option<String>,
    /// IP protocol number: 6 is TCP, 17 UDP.
    pub protocol: Option<u8>,
    /// The port at the other end, whom it went to.
    pub port: Option<u16>,
    /// At most so many rows, up to 10,000; 0: 1,000.
    pub limit: usize,
}

/// Records after a cursor, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FlowsSince {
    pub rows: Vec<FlowRow>,
    /// Ask for what comes after this next time.
    pub cursor: String,
    /// Records after the asked cursor that were overwritten before they were read.
    pub missed: u64,
    /// The coordinator was started anew since the asked cursor: what it had taken before that is not here (see
    /// `/v1/flows/history`), and the rows begin with the first after its start.
    pub restarted: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct AuditAsked {
    /// Only revisions after this; None: the newest.
    pub after: Option<Revision>,
    /// At most so many rows, up to 10,000; 0: 100.
    pub limit: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditPage {
    pub rows: Vec<AuditRow>,
    /// Where the log ends.
    pub revision: Revision,
    pub hash: Digest,
}

/// The whole chain holds up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditVerified {
    pub revision: Revision,
    pub hash: Digest,
    pub at: UnixTime,
}
