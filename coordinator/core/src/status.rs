//! What administrators read: plain serialisable values, computed on demand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::id::{Epoch, Generation, IdentityKey, NetworkId, NodeId, Revision, WgKey};

use crate::alarm::Alarm;
use crate::doors::{ChannelCounts, Transport};
use crate::external::{ExternalRow, StaleFile};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Status {
    pub network: NetworkId,
    pub name: String,
    pub epoch: Epoch,
    pub revision: Revision,
    pub generation: Generation,
    /// True while the policy only records.
    pub observe: bool,
    pub nodes: usize,
    pub online: usize,
    /// What the control channels of those go by.
    #[serde(default)]
    pub channels: ChannelCounts,
    /// So many of the nodes are devices without an agent.
    pub externals: usize,
    pub freshness: FreshnessStatus,
    pub enforcement: Enforcement,
    pub flows: FlowStatus,
    /// Files of external devices that no longer say what is true.
    pub stale_files: Vec<StaleFile>,
    pub alarms: Vec<Alarm>,
    pub now: UnixTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FreshnessStatus {
    pub life: u64,
    pub signed_at: UnixTime,
    pub not_after: UnixTime,
    pub next: UnixTime,
}

/// Who enforces the current generation, and who is behind since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Enforcement {
    pub generation: Generation,
    pub enforced: usize,
    pub of: usize,
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, usize>))]
    pub by_generation: BTreeMap<Generation, usize>,
    pub behind: Vec<Behind>,
    /// One sentence: `gen 3 enforced on 2/3; db-1 behind since …`.
    pub summary: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Behind {
    pub node: NodeId,
    pub name: String,
    pub online: bool,
    /// Generation it last said it enforces, if it has said so since the coordinator started.
    pub enforces: Option<Generation>,
    /// Since when it should enforce a newer one.
    pub since: UnixTime,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowStatus {
    /// Records taken since start, and how many nodes say they lost before they could be sent.
    pub recorded: u64,
    pub declared_lost: u64,
    pub rejected: u64,
    pub kept: usize,
}

/// What `node list` and `node show` show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodeRow {
    pub id: NodeId,
    pub name: String,
    pub tags: Vec<String>,
    /// `None`: a device without an agent.
    pub identity: Option<IdentityKey>,
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub v4: Option<std::net::Ipv4Addr>,
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub v6: std::net::Ipv6Addr,
    pub wireguard: Vec<WgKey>,
    pub enrolled: UnixTime,
    /// `None`: the authority itself admitted it.
    pub token: Option<IdentityKey>,
    pub external: Option<ExternalRow>,
    pub key_serial: u64,
    /// Since when its present WireGuard keys are in force: their possession was proven then.
    pub keys_since: UnixTime,
    pub amendment_serial: u64,
    /// When it was revoked, or taken out because its lease had ended.
    pub revoked: Option<UnixTime>,
    /// Seconds it may be away before it is taken out; `None`: it stays until it is revoked.
    #[serde(default)]
    pub lease: Option<u64>,
    /// When its lease ends if it does not come back; `None`: it is online, or has none.
    #[serde(default)]
    pub lease_ends: Option<UnixTime>,
    pub online: bool,
    /// When it last came or went; `None` if not seen since the coordinator started.
    pub since: Option<UnixTime>,
    /// Underlay address the coordinator sees it at.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub seen_at: Option<std::net::SocketAddr>,
    /// What its control channel goes by; `None`: it is not online.
    #[serde(default)]
    pub transport: Option<Transport>,
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub endpoints: Vec<std::net::SocketAddr>,
    pub agent: Option<String>,
    pub sent: Option<Progress>,
    pub enforced: Option<Progress>,
    /// Services it may offer itself under the current policy.
    pub offers: Vec<String>,
    /// Services of hosts without an agent that it is a gateway to.
    #[serde(default)]
    pub leads_to: Vec<String>,
    /// Names that lead to it in the network's own DNS: its own first, then those of its services.
    pub dns: Vec<String>,
    pub peers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Progress {
    pub revision: Revision,
    pub generation: Generation,
    pub at: UnixTime,
}

/// One line of `policy history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PolicyRow {
    pub generation: Generation,
    pub epoch: Epoch,
    pub root: String,
    pub items: u64,
    pub applied: UnixTime,
    pub by: String,
    pub files: Vec<String>,
    pub current: bool,
}
