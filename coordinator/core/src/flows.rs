//! The flow map, first form: the newest flow records of all nodes, each end named.
//!
//! A node speaks only of its own side; the other end is attributed by the coordinator's own directory. Reports are
//! numbered per agent start, so that a report that comes twice counts once.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::flow::{FlowEnd, FlowVerdict};
use warren_wire::id::{Generation, NodeId};

/// So many of the newest records are kept in memory.
pub const MAX_FLOWS: usize = 200_000;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowPoint {
    pub node: Option<NodeId>,
    pub name: Option<String>,
    pub address: IpAddr,
    pub port: u16,
}

/// One window of one flow, as one of its two nodes saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// Grows by one with every record the coordinator takes: the cursor of `flow watch`.
    pub cursor: u64,
    pub received: UnixTime,
    pub reporter: NodeId,
    /// The agent start and the flow's number in it: the same for all windows of one flow.
    pub boot: u64,
    pub flow: u64,
    pub outbound: bool,
    /// Who opened it.
    pub from: FlowPoint,
    pub to: FlowPoint,
    pub protocol: u8,
    pub verdict: FlowVerdict,
    pub grant: Option<String>,
    pub service: Option<String>,
    pub generation: Generation,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub packets_back: u64,
    pub bytes_back: u64,
    pub started_ms: u64,
    pub last_ms: u64,
    pub end: FlowEnd,
    pub count: u64,
}

/// What `flow list` asks for. Empty: everything, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// Node name or id, or an address.
    pub from: Option<String>,
    pub to: Option<String>,
    pub verdict: Option<FlowVerdict>,
    pub grant: Option<String>,
    pub service: Option<String>,
    /// Only flows with a packet at or after this.
    pub since: Option<UnixTime>,
    /// At most so many; 0 means 1,000, never more than 10,000.
    pub limit: usize,
}

/// The answer of `flow watch`: records after a cursor, and whether older ones were overwritten meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowPage {
    pub rows: Vec<FlowRow>,
    /// Ask for what comes after this next time.
    pub cursor: u64,
    /// Records after the asked cursor that were overwritten before they were read.
    pub missed: u64,
}
