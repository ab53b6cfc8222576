//! Messages on the control channel: one QUIC stream opened by the node, each message a u32 (big-endian) length and
//! a protobuf body. The length is checked against a limit before a byte of the body is read.
//!
//! A node is authorised only when [`Welcome`] has come: with raw public keys, "connected" proves nothing.

mod decoder;
mod relaying;
mod seat;

use std::net::SocketAddr;
use std::time::Duration;

use crate::flow::{FlowReport, MAX_ENDED, MAX_RECORDS};
use crate::id::NodeId;
use crate::names::NamesReport;
use crate::path::PathsReport;
use crate::signed::Signed;
use crate::stun::{PROOF, Proof};
use crate::trust::Record;
use crate::view::{Delta, MAX_CANDIDATE_BYTES, MAX_CANDIDATES};

pub use decoder::{Decoder, encode};
pub use relaying::{
    DoorCounts, Draining, FromRelay, MAX_PAIRS, NodePair, PairAnswer, Pairs, RELAY_ALPN, Reason, RelayCounts,
    RelayEnrol, RelayHello, RelaySays, RelayWelcome, SaidToRelay, SeatFor, ToRelay, Unseat, enrolment,
};
pub use seat::{MAX_RELAYS, RelayAt, RelayPlace, RelaySeat, Seated};

/// ALPN of the control channel (RFC 7301); its number is the protocol version.
pub const ALPN: &[u8] = b"warren/1";
/// Largest frame before a peer is authorised, and after.
pub const MAX_FRAME_STRANGER: usize = 16 * 1024;
pub const MAX_FRAME: usize = 1024 * 1024;
/// What both ends of the control channel take for its round trip before they know it. A lost first packet is sent again after
/// three times this (RFC 9002 section 6.2.1) and not after a second as is usual: where a crowd fills the coordinator's socket,
/// tries are what counts. On a longer way some are sent twice.
pub const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);
/// UDP port of the coordinator, and of a node's WireGuard socket, unless set otherwise.
pub const COORDINATOR_PORT: u16 = 7946;
pub const WIREGUARD_PORT: u16 = 51820;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ToCoordinator {
    #[prost(oneof = "NodeSays", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
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
    /// This peer does not answer: it shall show itself, in case a NAT on its side keeps this node out.
    #[prost(message, tag = "9")]
    Knock(Knock),
    /// Only where the policy asks for it.
    #[prost(message, tag = "10")]
    Names(NamesReport),
    /// Which way this node's packets take; shown, never acted on.
    #[prost(message, tag = "11")]
    Paths(PathsReport),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ToNode {
    #[prost(oneof = "CoordinatorSays", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
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
    /// This peer wants to talk and is not heard here.
    #[prost(message, tag = "8")]
    Knock(Knock),
    /// Where what finds no other way may go.
    #[prost(message, tag = "9")]
    Relay(RelaySeat),
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
    /// A name it would like, if `name` is empty: the host's. If that is taken, the first of `LIKE-2`, `LIKE-3`, … that is free.
    #[prost(string, tag = "4")]
    pub like: String,
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
    /// With [`RefusalCode::Revoked`]: the signed [`crate::statement::Revocation`], so that the node believes it and cuts
    /// itself off; without a signature a refusal changes nothing.
    #[prost(message, optional, tag = "3")]
    pub proof: Option<Signed>,
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
    /// It was away for longer than its token's lease: this identity is out, another may enrol.
    LeaseEnded = 16,
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
    /// `address:port` that the socket has outside a NAT, as STUN at this coordinator told ([`crate::stun`]), or as the gateway has
    /// granted; at most [`MAX_MAPPED`].
    #[prost(string, repeated, tag = "3")]
    pub mapped: Vec<String>,
    /// Those of them that STUN has proven: they are believed although the control channel comes from elsewhere.
    #[prost(message, repeated, tag = "4")]
    pub proven: Vec<ProvenPlace>,
}

/// A place where whoever says this receives; at most [`MAX_MAPPED`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProvenPlace {
    /// `address:port`.
    #[prost(string, tag = "1")]
    pub place: String,
    /// A [`crate::stun::Proof`].
    #[prost(bytes = "vec", tag = "2")]
    pub proof: Vec<u8>,
}

impl ProvenPlace {
    pub fn of(place: SocketAddr, proof: Proof) -> ProvenPlace {
        ProvenPlace { place: place.to_string(), proof: proof.0.to_vec() }
    }

    /// `None`: nothing that anybody could have been given.
    pub fn read(&self) -> Option<(SocketAddr, Proof)> {
        let place = Some(&self.place).filter(|place| place.len() <= MAX_CANDIDATE_BYTES)?;
        Some((place.parse().ok()?, Proof::from_slice(&self.proof)?))
    }
}

/// Unsigned: it can only make a node send a few handshakes to where that peer is said to be anyway.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Knock {
    #[prost(bytes = "vec", tag = "1")]
    pub peer: Vec<u8>,
}

impl Knock {
    pub fn of(peer: NodeId) -> Knock {
        Knock { peer: peer.0.to_vec() }
    }
    /// `None` for what [`NodeSays::check`] would not have let through.
    pub fn peer(&self) -> Option<NodeId> {
        self.peer.as_slice().try_into().ok().map(NodeId)
    }
    fn check(&self) -> Result<(), FrameError> {
        ensure(self.peer().is_some(), "the peer's id is not 16 bytes")
    }
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
    #[error("a message is malformed: {0}")]
    Malformed(&'static str),
}

/// Hostile text made fit for a log line or a terminal: control and other invisible characters are escaped, the rest
/// is cut at `characters`.
pub fn printable(text: &str, characters: usize) -> String {
    text.chars().take(characters).flat_map(char::escape_debug).collect()
}

/// Longest name, agent version and free text in a message.
const MAX_NAME_BYTES: usize = 63;
const MAX_AGENT_BYTES: usize = 128;
const MAX_TEXT_BYTES: usize = 4096;
/// Addresses outside a NAT: seen by STUN, and granted by the gateway.
pub const MAX_MAPPED: usize = 2;

pub(crate) fn ensure(holds: bool, what: &'static str) -> Result<(), FrameError> {
    if holds { Ok(()) } else { Err(FrameError::Malformed(what)) }
}

fn signed(part: &Option<Signed>, what: &'static str) -> Result<(), FrameError> {
    ensure(part.is_some(), what)
}

impl NodeSays {
    /// Ready for the stream.
    pub fn into_frame(self) -> Vec<u8> {
        encode(&ToCoordinator { says: Some(self) })
    }

    /// Lengths and counts; what the statements inside say is [`crate::trust`]'s to judge.
    pub fn check(&self) -> Result<(), FrameError> {
        match self {
            NodeSays::EnrolBegin(begin) => {
                ensure(begin.token_key.len() == 32, "the token key is not 32 bytes")?;
                ensure(begin.name.len() <= MAX_NAME_BYTES, "the name is over 63 bytes")?;
                ensure(begin.like.len() <= MAX_NAME_BYTES, "the liked name is over 63 bytes")?;
                ensure(begin.agent.len() <= MAX_AGENT_BYTES, "the agent is over 128 bytes")
            }
            NodeSays::EnrolCommit(commit) => {
                signed(&commit.admission, "the admission is missing")?;
                signed(&commit.keys, "the keys are missing")
            }
            NodeSays::Hello(hello) => {
                ensure(matches!(hello.digest.len(), 0 | 32), "the digest is not 32 bytes")?;
                ensure(hello.agent.len() <= MAX_AGENT_BYTES, "the agent is over 128 bytes")
            }
            NodeSays::Enforced(_) | NodeSays::Keys(_) => Ok(()),
            NodeSays::Endpoints(mine) => {
                let short = mine.candidates.iter().all(|c| c.len() <= MAX_CANDIDATE_BYTES);
                ensure(mine.candidates.len() <= MAX_CANDIDATES && short, "too many or too long candidates")?;
                let short = mine.mapped.iter().all(|c| c.len() <= MAX_CANDIDATE_BYTES);
                ensure(mine.mapped.len() <= MAX_MAPPED && short, "too many or too long mapped addresses")?;
                let sized = |p: &ProvenPlace| p.place.len() <= MAX_CANDIDATE_BYTES && p.proof.len() == PROOF;
                let sized = mine.proven.iter().all(sized);
                ensure(mine.proven.len() <= MAX_MAPPED && sized, "too many proven addresses, or not proofs")?;
                ensure(mine.port <= u32::from(u16::MAX), "the port is over 65535")
            }
            NodeSays::Flows(report) => {
                ensure(report.ended.len() <= MAX_ENDED, "too many ended starts")?;
                ensure(report.records.len() <= MAX_RECORDS, "too many flow records")
            }
            NodeSays::Names(report) => report.check().map_err(FrameError::Malformed),
            NodeSays::Paths(report) => report.check().map_err(FrameError::Malformed),
            NodeSays::Complaint(complaint) => {
                ensure(complaint.message.len() <= MAX_TEXT_BYTES, "the complaint is over 4096 bytes")
            }
            NodeSays::Knock(knock) => knock.check(),
        }
    }
}

impl ToCoordinator {
    /// What is said, checked for shape.
    pub fn said(self) -> Result<NodeSays, FrameError> {
        let says = self.says.ok_or(FrameError::Empty)?;
        says.check()?;
        Ok(says)
    }
}

impl CoordinatorSays {
    /// Ready for the stream.
    pub fn into_frame(self) -> Vec<u8> {
        encode(&ToNode { says: Some(self) })
    }

    /// As [`NodeSays::check`].
    pub fn check(&self) -> Result<(), FrameError> {
        match self {
            CoordinatorSays::EnrolOffer(offer) => {
                signed(&offer.charter, "the charter is missing")?;
                signed(&offer.delegation, "the delegation is missing")?;
                ensure(offer.name.len() <= MAX_NAME_BYTES, "the name is over 63 bytes")?;
                ensure(matches!(offer.v4.len(), 0 | 4), "the IPv4 address is not 4 bytes")?;
                ensure(offer.v6.len() == 16, "the IPv6 address is not 16 bytes")
            }
            CoordinatorSays::Enrolled(enrolled) => ensure(enrolled.record.is_some(), "the record is missing"),
            CoordinatorSays::Refused(refused) => {
                ensure(refused.message.len() <= MAX_TEXT_BYTES, "the refusal is over 4096 bytes")
            }
            CoordinatorSays::Welcome(welcome) => {
                ensure(welcome.seen_as.len() <= MAX_CANDIDATE_BYTES, "the address seen is over 64 bytes")
            }
            // Entry by entry in the assembler.
            CoordinatorSays::Delta(_) => Ok(()),
            CoordinatorSays::Freshness(_) | CoordinatorSays::FlowsStored(_) => Ok(()),
            CoordinatorSays::Knock(knock) => knock.check(),
            CoordinatorSays::Relay(seat) => seat.check(),
        }
    }
}

impl ToNode {
    /// What is said, checked for shape.
    pub fn said(self) -> Result<CoordinatorSays, FrameError> {
        let says = self.says.ok_or(FrameError::Empty)?;
        says.check()?;
        Ok(says)
    }
}
