//! Flow records: what a node saw of one flow in one window. A node speaks only of its own side.

use serde::{Deserialize, Serialize};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
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
