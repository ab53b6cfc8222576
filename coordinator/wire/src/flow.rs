//! Flow records: what a node saw of one flow in one window. A node speaks only of its own side.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// At most so many records in one report.
pub const MAX_RECORDS: usize = 16_384;
/// Longest grant or service name in a record.
const MAX_NAME_BYTES: usize = 63;

#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Unique per reporting node and agent start; the same for later windows of the same flow.
    #[prost(uint64, tag = "1")]
    pub flow: u64,
    /// The other end's node id, 16 bytes; empty when there is none (refused before a peer was found).
    #[prost(bytes = "vec", tag = "2")]
    pub peer: Vec<u8>,
    /// True if the reporting node's host opened the flow.
    #[prost(bool, tag = "3")]
    pub outbound: bool,
    /// IP protocol number.
    #[prost(uint32, tag = "4")]
    pub protocol: u32,
    /// Address of the opener, 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub src: Vec<u8>,
    #[prost(uint32, tag = "6")]
    pub src_port: u32,
    #[prost(bytes = "vec", tag = "7")]
    pub dst: Vec<u8>,
    #[prost(uint32, tag = "8")]
    pub dst_port: u32,
    #[prost(enumeration = "FlowVerdict", tag = "9")]
    pub verdict: i32,
    /// The grant that decided; empty for a deny.
    #[prost(string, tag = "10")]
    pub grant: String,
    #[prost(string, tag = "11")]
    pub service: String,
    #[prost(uint64, tag = "12")]
    pub generation: u64,
    /// In this window, from opener to the other end.
    #[prost(uint64, tag = "13")]
    pub packets_out: u64,
    #[prost(uint64, tag = "14")]
    pub bytes_out: u64,
    #[prost(uint64, tag = "15")]
    pub packets_back: u64,
    #[prost(uint64, tag = "16")]
    pub bytes_back: u64,
    /// Milliseconds since 1970 (signed time) of the first and the last packet of the flow so far.
    #[prost(uint64, tag = "17")]
    pub started_ms: u64,
    #[prost(uint64, tag = "18")]
    pub last_ms: u64,
    #[prost(enumeration = "FlowEnd", tag = "19")]
    pub end: i32,
    /// Equal refused tries merged into this record (1 for a flow).
    #[prost(uint64, tag = "20")]
    pub count: u64,
    /// The first window of its flow: who counts these counts flows.
    #[prost(bool, tag = "21")]
    pub first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[repr(i32)]
pub enum FlowVerdict {
    Unknown = 0,
    Allow = 1,
    Deny = 2,
    WouldAllow = 3,
    WouldDeny = 4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[repr(i32)]
pub enum FlowEnd {
    /// Still alive.
    Open = 0,
    /// Both sides closed.
    Closed = 1,
    Reset = 2,
    Idle = 3,
    /// Cut by a policy change, an end of `until` or a revocation.
    Cut = 4,
    /// Never allowed.
    Refused = 5,
    /// Pushed out of a full table.
    Evicted = 6,
}

/// One report: records closed since the last, and how many were lost for want of room.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowReport {
    /// Grows by one; acknowledged by number.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    #[prost(message, repeated, tag = "2")]
    pub records: Vec<FlowRecord>,
    /// Records dropped before they could be sent, since the agent started.
    #[prost(uint64, tag = "3")]
    pub lost: u64,
    /// Random per agent start, so that sequences of two starts are told apart.
    #[prost(uint64, tag = "4")]
    pub boot: u64,
}

/// An address of 4 or 16 bytes.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The bytes of an address, as a record carries them.
pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a flow record is malformed: its {field} is {value}")]
pub struct FlowError {
    pub field: &'static str,
    pub value: String,
}

impl FlowRecord {
    pub fn source(&self) -> Option<IpAddr> {
        address(&self.src)
    }

    pub fn destination(&self) -> Option<IpAddr> {
        address(&self.dst)
    }

    /// The other end; `None` when there is none.
    pub fn other_end(&self) -> Option<NodeId> {
        NodeId::from_slice(&self.peer)
    }

    /// Refuses what no honest node would report. A record that passes has two addresses of one family, ports and
    /// protocol in range, a known verdict and end, and short names.
    pub fn check(&self) -> Result<(), FlowError> {
        let length = |field, bytes: usize| FlowError { field, value: format!("{bytes} bytes long") };
        let number = |field, value: &dyn std::fmt::Display| FlowError { field, value: value.to_string() };
        if !matches!(self.peer.len(), 0 | 16) {
            return Err(length("peer", self.peer.len()));
        }
        if !matches!(self.src.len(), 4 | 16) {
            return Err(length("source address", self.src.len()));
        }
        if self.dst.len() != self.src.len() {
            return Err(length("destination address", self.dst.len()));
        }
        if self.protocol > u32::from(u8::MAX) {
            return Err(number("protocol", &self.protocol));
        }
        for (field, port) in [("source port", self.src_port), ("destination port", self.dst_port)] {
            if port > u32::from(u16::MAX) {
                return Err(number(field, &port));
            }
        }
        for (field, name) in [("grant", &self.grant), ("service", &self.service)] {
            if name.len() > MAX_NAME_BYTES {
                return Err(length(field, name.len()));
            }
        }
        if matches!(FlowVerdict::try_from(self.verdict), Err(_) | Ok(FlowVerdict::Unknown)) {
            return Err(number("verdict", &self.verdict));
        }
        if FlowEnd::try_from(self.end).is_err() {
            return Err(number("end", &self.end));
        }
        Ok(())
    }
}
