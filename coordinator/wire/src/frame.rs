//! Messages on the control channel: one QUIC stream opened by the node, each message a u32 (big-endian) length and
//! a protobuf body. The length is checked against a limit before a byte of the body is read.
//!
//! A node is authorised only when [`Welcome`] has come: with raw public keys, "connected" proves nothing.

use crate::flow::FlowReport;
use crate::signed::Signed;
use crate::trust::Record;
use crate::view::Delta;

/// ALPN of the control channel (RFC 7301); its number is the protocol version.
pub const ALPN: &[u8] = b"warren/1";
/// Largest frame before a peer is authorised, and after.
pub const MAX_FRAME_STRANGER: usize = 64 * 1024;
pub const MAX_FRAME: usize = 1024 * 1024;
/// UDP port of the coordinator, and of a node's WireGuard socket, unless set otherwise.
pub const COORDINATOR_PORT: u16 = 7946;
pub const WIREGUARD_PORT: u16 = 51820;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ToCoordinator {
    #[prost(oneof = "NodeSays", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub says: Option<NodeSays>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum NodeSays {
    /// A stranger with a token asks what it would get.
    #[prost(message, tag = "1")]
    EnrolBegin(EnrolBegin),
    /// The signed statements that make it a member.
    #[prost(message, tag = "2")]
    EnrolCommit(EnrolCommit),
    /// A member begins its session.
    #[prost(message, tag = "3")]
    Hello(Hello),
    /// A view is enforced on this node.
    #[prost(message, tag = "4")]
    Enforced(Enforced),
    #[prost(message, tag = "5")]
    Endpoints(MyEndpoints),
    #[prost(message, tag = "6")]
    Flows(FlowReport),
    /// Something the node refused to believe; shown to the administrator.
    #[prost(message, tag = "7")]
    Complaint(Complaint),
    /// New WireGuard keys, signed by the identity key.
    #[prost(message, tag = "8")]
    Keys(Signed),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ToNode {
    #[prost(oneof = "CoordinatorSays", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub says: Option<CoordinatorSays>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum CoordinatorSays {
    #[prost(message, tag = "1")]
    EnrolOffer(EnrolOffer),
    #[prost(message, tag = "2")]
    Enrolled(Enrolled),
    #[prost(message, tag = "3")]
    Refused(Refused),
    #[prost(message, tag = "4")]
    Welcome(Welcome),
    #[prost(message, tag = "5")]
    Delta(Delta),
    /// A signed [`crate::statement::Freshness`].
    #[prost(message, tag = "6")]
    Freshness(Signed),
    #[prost(message, tag = "7")]
    FlowsStored(FlowsStored),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EnrolBegin {
    /// Public half of the token's key.
    #[prost(bytes = "vec", tag = "1")]
    pub token_key: Vec<u8>,
    /// Wanted name; empty: the token's, or one derived from its prefix.
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub agent: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EnrolOffer {
    #[prost(message, optional, tag = "1")]
    pub charter: Option<Signed>,
    #[prost(message, optional, tag = "2")]
    pub delegation: Option<Signed>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(bytes = "vec", tag = "4")]
    pub v4: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub v6: Vec<u8>,
    /// The coordinator's time, seconds since 1970.
    #[prost(uint64, tag = "6")]
    pub now: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EnrolCommit {
    /// [`crate::statement::Admission`], signed by the token's key and the identity key.
    #[prost(message, optional, tag = "1")]
    pub admission: Option<Signed>,
    /// [`crate::statement::NodeKeys`], signed by the identity key.
    #[prost(message, optional, tag = "2")]
    pub keys: Option<Signed>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Enrolled {
    #[prost(message, optional, tag = "1")]
    pub record: Option<Record>,
}

/// What is wrong and what to do, for the person at the node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refused {
    #[prost(enumeration = "RefusalCode", tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RefusalCode {
    Unspecified = 0,
    /// This identity key is not a member.
    NotAMember = 1,
    Revoked = 2,
    TokenUnknown = 3,
    TokenExpired = 4,
    TokenSpent = 5,
    TokenRevoked = 6,
    NameTaken = 7,
    NameNotAllowed = 8,
    BadStatement = 9,
    KeyTaken = 10,
    AddressesUsedUp = 11,
    PolicyForbids = 12,
    Protocol = 13,
    Overloaded = 14,
    /// The same identity opened a newer session.
    Replaced = 15,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    /// What the node holds, so that only the difference is sent; zeros for nothing.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// Digest of the view it holds; empty for none. A coordinator that cannot match it sends the whole view.
    #[prost(bytes = "vec", tag = "3")]
    pub digest: Vec<u8>,
    #[prost(string, tag = "4")]
    pub agent: String,
    /// Random per agent start.
    #[prost(uint64, tag = "5")]
    pub boot: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Welcome {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// The coordinator's time, seconds since 1970: informs, never opens anything.
    #[prost(uint64, tag = "3")]
    pub now: u64,
    /// The address the coordinator sees this node at.
    #[prost(string, tag = "4")]
    pub seen_as: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Enforced {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    #[prost(uint64, tag = "3")]
    pub generation: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MyEndpoints {
    /// `address:port` of the WireGuard socket on each local address, at most 8.
    #[prost(string, repeated, tag = "1")]
    pub candidates: Vec<String>,
    /// Port of the WireGuard socket, to pair with the address the coordinator sees.
    #[prost(uint32, tag = "2")]
    pub port: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Complaint {
    #[prost(string, tag = "1")]
    pub message: String,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlowsStored {
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    #[prost(uint64, tag = "2")]
    pub boot: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("a frame cannot be read: {0}")]
    Unreadable(String),
    #[error("a frame says nothing this version understands")]
    Empty,
}

/// Takes frames off a byte stream. Never holds more than one frame of the current limit.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    limit: usize,
}

impl Decoder {
    pub fn new(limit: usize) -> Decoder {
        Decoder { buffer: Vec::new(), limit }
    }
    /// Raised once, when the peer is authorised.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }
    pub fn push(&mut self, _bytes: &[u8]) {
        todo!()
    }
    /// The next whole message, `None` if more bytes are needed. An error ends the stream.
    pub fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        todo!()
    }
}

/// Length and body, ready for the stream.
pub fn encode<M: prost::Message>(_message: &M) -> Vec<u8> {
    todo!()
}
