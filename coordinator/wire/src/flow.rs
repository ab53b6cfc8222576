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
    /// Equal refused tries merged into this record; 1 for a flow, and more for flows of one kind that were put together
    /// for want of room (then the source port is 0).
    #[prost(uint64, tag = "20")]
    pub count: u64,
    /// The first window of its flow: who counts these counts flows.
    #[prost(bool, tag = "21")]
    pub first: bool,
    /// Whose the flow is on the reporting host, or who made the first of these refused tries; none: not known.
    #[prost(message, optional, tag = "22")]
    pub workload: Option<Workload>,
    /// Of the reporting host's own TCP connection: smoothed round-trip time in microseconds, and segments it has sent again
    /// since the flow's last window. None: not known.
    #[prost(uint64, optional, tag = "23")]
    pub rtt_us: Option<u64>,
    #[prost(uint64, optional, tag = "24")]
    pub retransmissions: Option<u64>,
    #[prost(enumeration = "FlowPath", tag = "25")]
    pub path: i32,
}

/// How a flow travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[repr(i32)]
pub enum FlowPath {
    /// It did not travel, or nobody said how.
    Unknown = 0,
    /// From node to node.
    Direct = 1,
    Relayed = 2,
}

/// A process on a host, in words. An empty word: not known, or there is none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Workload {
    /// Its own name for itself.
    #[prost(string, tag = "1")]
    pub process: String,
    #[prost(string, tag = "2")]
    pub executable: String,
    /// Name, or number where the host knows no name.
    #[prost(string, tag = "3")]
    pub user: String,
    /// systemd unit, such as `nginx.service`.
    #[prost(string, tag = "4")]
    pub unit: String,
    /// `docker:`, `podman:`, `kubernetes:` or `container:` and the first 12 digits of its id.
    #[prost(string, tag = "5")]
    pub container: String,
}

impl Workload {
    /// Bytes of each word at most.
    pub const PROCESS: usize = 64;
    pub const EXECUTABLE: usize = 256;
    pub const USER: usize = 64;
    pub const UNIT: usize = 128;
    pub const CONTAINER: usize = 64;

    /// Words a process could choose, made fit for a log, a terminal and a page: cut to length, and what is invisible or
    /// moves the cursor is escaped. Harmless words stay as they are.
    #[must_use]
    pub fn harmless(self) -> Workload {
        Workload {
            process: word(&self.process, Workload::PROCESS),
            executable: word(&self.executable, Workload::EXECUTABLE),
            user: word(&self.user, Workload::USER),
            unit: word(&self.unit, Workload::UNIT),
            container: word(&self.container, Workload::CONTAINER),
        }
    }
}

fn word(text: &str, most: usize) -> String {
    let mut word = String::new();
    for character in text.chars() {
        let before = word.len();
        match character {
            '\\' | '\'' | '"' => word.push(character),
            other => word.extend(other.escape_debug()),
        }
        if word.len() > most {
            word.truncate(before);
            break;
        }
    }
    word
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

/// Records, and the packets and bytes (of whole IP packets, both ways) they stand for.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Amount {
    #[prost(uint64, tag = "1")]
    pub records: u64,
    #[prost(uint64, tag = "2")]
    pub packets: u64,
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
}

impl Amount {
    pub fn add(&mut self, other: Amount) {
        self.records = self.records.saturating_add(other.records);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// What is left of it; never below nothing.
    #[must_use]
    pub fn less(self, other: Amount) -> Amount {
        Amount {
            records: self.records.saturating_sub(other.records),
            packets: self.packets.saturating_sub(other.packets),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Number by number.
    #[must_use]
    pub fn most(self, other: Amount) -> Amount {
        Amount {
            records: self.records.max(other.records),
            packets: self.packets.max(other.packets),
            bytes: self.bytes.max(other.bytes),
        }
    }
}

/// What an agent start that has ended had judged in all. Less what was recorded of it and declared lost is what it took
/// with it: nobody can report that any more.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Ended {
    #[prost(uint64, tag = "1")]
    pub boot: u64,
    #[prost(uint64, tag = "2")]
    pub packets: u64,
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
}

/// At most so many ended starts in one report.
pub const MAX_ENDED: usize = 64;

/// One report: records closed since the last, and what was lost for want of room.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowReport {
    /// Grows by one; acknowledged by number, and with it all before.
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
    /// Packets and bytes of the lost records.
    #[prost(uint64, tag = "5")]
    pub lost_packets: u64,
    #[prost(uint64, tag = "6")]
    pub lost_bytes: u64,
    /// Judged since the agent started, counted where packets are judged and not where records are made.
    #[prost(uint64, tag = "7")]
    pub offered_packets: u64,
    #[prost(uint64, tag = "8")]
    pub offered_bytes: u64,
    /// Earlier starts on this machine, until the coordinator has taken it down.
    #[prost(message, repeated, tag = "9")]
    pub ended: Vec<Ended>,
}

impl FlowReport {
    /// Lost since the agent started.
    pub fn lost_amount(&self) -> Amount {
        Amount { records: self.lost, packets: self.lost_packets, bytes: self.lost_bytes }
    }
}

/// The sum of two counts as far as they are known.
pub fn more(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    }
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
    /// What the record accounts for.
    pub fn amount(&self) -> Amount {
        Amount {
            records: 1,
            packets: self.packets_out.saturating_add(self.packets_back),
            bytes: self.bytes_out.saturating_add(self.bytes_back),
        }
    }

    /// Flows that began with this record: one of one flow counts once, one that stands for many counts them all.
    pub fn began(&self) -> u64 {
        if self.first && self.end() != FlowEnd::Refused { self.count.max(1) } else { 0 }
    }

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
