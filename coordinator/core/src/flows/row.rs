//! One record with both ends named.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use warren_config::name::Name;
use warren_config::time::UnixTime;
use warren_wire::flow::{FlowEnd, FlowPath, FlowRecord, FlowVerdict, Workload, more};
use warren_wire::id::{Generation, NodeId};

use crate::directory::Node;
use crate::state::State;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowPoint {
    pub node: Option<NodeId>,
    pub name: Option<String>,
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: IpAddr,
    pub port: u16,
    /// The address is not the node's own, but of a host without an agent behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub behind: bool,
}

impl FlowPoint {
    /// As people call it: a node by its name, a host behind a gateway by its address.
    pub fn label(&self) -> String {
        match &self.name {
            Some(gateway) if self.behind => format!("{} by {gateway}", self.address),
            Some(name) => name.clone(),
            None => self.address.to_string(),
        }
    }

    /// The node that it is, or that leads there.
    pub fn node_label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.address.to_string())
    }
}

/// One window of one flow, as one of its two nodes saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowRow {
    /// Grows by one with every record the coordinator takes: the cursor of `flow watch`.
    pub cursor: u64,
    pub received: UnixTime,
    pub reporter: NodeId,
    /// The agent start and the flow's number in it: the same for all windows of one flow.
    pub boot: u64,
    pub flow: u64,
    pub outbound: bool,
    /// The first window of its flow.
    #[serde(default)]
    pub first: bool,
    /// Who opened it.
    pub from: FlowPoint,
    pub to: FlowPoint,
    pub protocol: u8,
    pub verdict: FlowVerdict,
    pub grant: Option<String>,
    /// As the reporter says; of a refused try at a host behind a gateway, the service that is at its port.
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
    /// Whose the flow is on the reporter's host; none: not known.
    #[serde(default)]
    pub workload: Option<Workload>,
    /// Of the reporter's own TCP connection: smoothed round-trip time, and segments it sent again; none: not known.
    #[serde(default)]
    pub rtt_us: Option<u64>,
    #[serde(default)]
    pub retransmissions: Option<u64>,
    #[serde(default = "no_path")]
    pub path: FlowPath,
    /// What the other end says of the same flow, where both have reported it.
    #[serde(default)]
    pub other: Option<OtherEnd>,
    /// In words, where not both ends can be right, or one is silent; none: nothing of the kind, or not known yet. The history
    /// says it only where both have told of the whole flow, and of no silence: what is not kept accuses nobody.
    #[serde(default)]
    pub mismatch: Option<String>,
}

fn no_path() -> FlowPath {
    FlowPath::Unknown
}

/// The record of the same flow by its other node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OtherEnd {
    pub reporter: NodeId,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub packets_back: u64,
    pub bytes_back: u64,
    pub end: FlowEnd,
    pub workload: Option<Workload>,
}

impl FlowRow {
    /// A record of one agent start with its ends named, opener first. Refused: what no honest node reports.
    pub fn new(
        record: &FlowRecord,
        (reporter, boot): (NodeId, u64),
        [from, to]: [FlowPoint; 2],
        received: UnixTime,
    ) -> Result<FlowRow, &'static str> {
        Ok(FlowRow {
            cursor: 0,
            received,
            reporter,
            boot,
            flow: record.flow,
            outbound: record.outbound,
            first: record.first,
            from,
            to,
            protocol: u8::try_from(record.protocol).map_err(|_| "an IP protocol number over 255")?,
            verdict: FlowVerdict::try_from(record.verdict).map_err(|_| "an unknown verdict")?,
            grant: name(&record.grant)?,
            service: name(&record.service)?,
            generation: record.generation,
            packets_out: record.packets_out,
            bytes_out: record.bytes_out,
            packets_back: record.packets_back,
            bytes_back: record.bytes_back,
            started_ms: record.started_ms,
            last_ms: record.last_ms,
            end: FlowEnd::try_from(record.end).map_err(|_| "an unknown end")?,
            count: record.count,
            workload: record.workload.clone().map(Workload::harmless),
            rtt_us: record.rtt_us,
            retransmissions: record.retransmissions,
            path: record.path(),
            other: None,
            mismatch: None,
        })
    }

    /// Adds an older window of the same flow.
    pub fn add(&mut self, older: &FlowRow) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        sum(&mut self.packets_out, older.packets_out);
        sum(&mut self.bytes_out, older.bytes_out);
        sum(&mut self.packets_back, older.packets_back);
        sum(&mut self.bytes_back, older.bytes_back);
        self.started_ms = self.started_ms.min(older.started_ms);
        if self.end == FlowEnd::Refused {
            sum(&mut self.count, older.count);
        }
        self.first |= older.first;
        if self.workload.is_none() {
            self.workload.clone_from(&older.workload);
        }
        self.rtt_us = self.rtt_us.or(older.rtt_us);
        self.retransmissions = more(self.retransmissions, older.retransmissions);
    }
}

/// A record with both ends named, if it speaks of the reporter's own side and is well formed.
pub(super) fn row(
    state: &State,
    node: &Node,
    boot: u64,
    record: &FlowRecord,
    now: UnixTime,
) -> Result<FlowRow, &'static str> {
    let mut from = point(state, &record.src, record.src_port)?;
    let mut to = point(state, &record.dst, record.dst_port)?;
    let (own, other) = if record.outbound { (&mut from, &mut to) } else { (&mut to, &mut from) };
    let is_own = node.member.addresses().any(|address| address == own.address);
    if !is_own && !behind(state, own, Some(node)) {
        return Err("a flow that has neither end at its reporter's address");
    }
    if is_own {
        behind(state, other, record.other_end().and_then(|peer| state.directory().get(&peer)));
    }
    let mut row = FlowRow::new(record, (node.id(), boot), [from, to], now)?;
    // Whoever was refused did not learn its name. A host without an agent has no other.
    let is_host = row.to.node.is_some() && state.addresses().last_holder(row.to.address).is_none();
    if row.service.is_none() && is_host {
        row.service = state.policies().service_at(row.to.address, row.protocol, row.to.port);
    }
    Ok(row)
}

fn name(text: &str) -> Result<Option<String>, &'static str> {
    match text {
        "" => Ok(None),
        text => {
            Name::parse(text).map(|n| Some(n.into())).map_err(|_| "a grant or service that is not a name")
        }
    }
}

/// An end at a host behind a gateway is the gateway's: true if it is one. It keeps the host's address.
fn behind(state: &State, end: &mut FlowPoint, gateway: Option<&Node>) -> bool {
    let Some(gateway) = gateway.filter(|_| end.node.is_none() && state.policies().has_subnet(end.address))
    else {
        return false;
    };
    end.node = Some(gateway.id());
    end.name = Some(gateway.member.name().to_string());
    end.behind = true;
    true
}

/// Names an end by the coordinator's own address table, never by what the reporter says of it.
fn point(state: &State, bytes: &[u8], port: u32) -> Result<FlowPoint, &'static str> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    let address = address.map_err(|_| "an address of neither 4 nor 16 bytes")?;
    let port = u16::try_from(port).map_err(|_| "a port over 65535")?;
    let node = state.addresses().last_holder(address);
    let name = node.and_then(|id| state.directory().get(&id)).map(|n| n.member.name().to_string());
    Ok(FlowPoint { node, name, address, port, behind: false })
}
