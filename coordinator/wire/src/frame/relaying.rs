//! What a coordinator and a relay that is a program of its own say: one QUIC stream opened by the relay, on the
//! coordinator's port and under an ALPN of its own, framed and limited as the control channel of nodes.
//!
//! A relay is told of nothing but seats: whose they are, so that it checks that an authority has admitted them, and its own
//! keys of each ([`crate::relay::TagKey::at`]). Who may talk it asks, by ids of nodes, because seats are others after a restart of
//! the coordinator. It is told no names but those the records of seated nodes hold, no addresses, no policy.

use std::fmt;

use super::{FrameError, MAX_AGENT_BYTES, MAX_TEXT_BYTES, Refused, ensure, signed};
use crate::door::{DoorPlaces, MAX_DOORS};
use crate::id::{IdentityKey, NetworkId, NodeId, RelayId};
use crate::relay::{Seat, TagKey};
use crate::signed::Signed;
use crate::trust::Record;
use crate::view::{MAX_CANDIDATE_BYTES, MAX_CANDIDATES};

/// ALPN of this channel (RFC 7301); its number is the version.
pub const RELAY_ALPN: &[u8] = b"warren-relay/1";
/// Pairs in one message.
pub const MAX_PAIRS: usize = 1024;
/// Reasons a count may have.
const MAX_REASONS: usize = 32;
const MAX_REASON_BYTES: usize = 32;

// --- the relay

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FromRelay {
    #[prost(oneof = "RelaySays", tags = "1, 2, 3, 4, 5")]
    pub says: Option<RelaySays>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum RelaySays {
    /// A stranger with a token wants to be the relay it was made for.
    #[prost(message, tag = "1")]
    Enrol(RelayEnrol),
    /// A relay begins its session.
    #[prost(message, tag = "2")]
    Hello(RelayHello),
    /// May these talk?
    #[prost(message, tag = "3")]
    Ask(Pairs),
    #[prost(message, tag = "4")]
    Counts(RelayCounts),
    /// It was told to stop: nodes shall leave it while it still carries.
    #[prost(message, tag = "5")]
    Draining(Draining),
}

/// The TLS handshake has proven the relay's key; this proves that it holds the token.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RelayEnrol {
    #[prost(bytes = "vec", tag = "1")]
    pub token_key: Vec<u8>,
    /// By the token's key, over [`enrolment`].
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
}

/// What a token's key signs for a relay's key. Every part has a fixed length.
pub fn enrolment(network: &NetworkId, relay: &IdentityKey) -> Vec<u8> {
    [b"warren relay enrolment v1\0".as_slice(), &network.0, &relay.0].concat()
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RelayHello {
    #[prost(string, tag = "1")]
    pub agent: String,
    /// Where it listens for frames; its address is the one it is seen at, unless the administrator has named some.
    #[prost(uint32, tag = "2")]
    pub port: u32,
    /// `address:port` it says it is reached at, at most 8; none: the address it is seen at.
    #[prost(string, repeated, tag = "3")]
    pub places: Vec<String>,
    /// For nodes in networks without UDP.
    #[prost(message, optional, tag = "4")]
    pub doors: Option<DoorPlaces>,
}

/// Two nodes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodePair {
    #[prost(bytes = "vec", tag = "1")]
    pub a: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub b: Vec<u8>,
}

impl NodePair {
    pub fn of((a, b): (NodeId, NodeId)) -> NodePair {
        NodePair { a: a.0.to_vec(), b: b.0.to_vec() }
    }
    pub fn nodes(&self) -> Option<(NodeId, NodeId)> {
        Some((NodeId::from_slice(&self.a)?, NodeId::from_slice(&self.b)?))
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pairs {
    #[prost(message, repeated, tag = "1")]
    pub pairs: Vec<NodePair>,
}

impl Pairs {
    /// As many messages as it takes.
    pub fn of(pairs: &[(NodeId, NodeId)]) -> Vec<Pairs> {
        let one =
            |chunk: &[(NodeId, NodeId)]| Pairs { pairs: chunk.iter().copied().map(NodePair::of).collect() };
        pairs.chunks(MAX_PAIRS).map(one).collect()
    }
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        self.pairs.iter().filter_map(NodePair::nodes)
    }
    fn check(&self) -> Result<(), FrameError> {
        ensure(self.pairs.len() <= MAX_PAIRS, "over 1024 pairs in one message")?;
        ensure(self.nodes().count() == self.pairs.len(), "a node's id is not 16 bytes")
    }
}

/// How it fares, since it started.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RelayCounts {
    #[prost(uint64, tag = "1")]
    pub seats: u64,
    #[prost(uint64, tag = "2")]
    pub here: u64,
    #[prost(uint64, tag = "3")]
    pub pairs: u64,
    /// Frames and bytes passed on.
    #[prost(uint64, tag = "4")]
    pub frames: u64,
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    #[prost(uint64, tag = "6")]
    pub pongs: u64,
    /// Frames that may have gone and that the kernel did not take.
    #[prost(uint64, tag = "7")]
    pub unsent: u64,
    #[prost(uint64, tag = "8")]
    pub threads: u64,
    #[prost(uint64, tag = "9")]
    pub kept: u64,
    /// Frames that went no further.
    #[prost(message, repeated, tag = "10")]
    pub refused: Vec<Reason>,
    /// Seats that were not given, because no authority stands behind their node.
    #[prost(uint64, tag = "11")]
    pub unproven: u64,
    #[prost(message, optional, tag = "12")]
    pub doors: Option<DoorCounts>,
    /// Answers about pairs that it had not asked about: they opened nothing.
    #[prost(uint64, tag = "13")]
    pub unasked: u64,
}

/// How its doors fare.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DoorCounts {
    /// `tcp ADDR:PORT` and `udp ADDR:PORT`, at most 8.
    #[prost(string, repeated, tag = "1")]
    pub listening: Vec<String>,
    /// Open now.
    #[prost(uint64, tag = "2")]
    pub websocket: u64,
    #[prost(uint64, tag = "3")]
    pub quic: u64,
    /// Since it started.
    #[prost(uint64, tag = "4")]
    pub opened: u64,
    #[prost(uint64, tag = "5")]
    pub refused: u64,
    #[prost(uint64, tag = "6")]
    pub failed: u64,
    #[prost(uint64, tag = "7")]
    pub inward: u64,
    #[prost(uint64, tag = "8")]
    pub outward: u64,
    #[prost(uint64, tag = "9")]
    pub bytes: u64,
    #[prost(uint64, tag = "10")]
    pub lost: u64,
}

impl DoorCounts {
    fn check(&self) -> Result<(), FrameError> {
        let short = self.listening.iter().all(|place| place.len() <= MAX_CANDIDATE_BYTES);
        ensure(self.listening.len() <= MAX_DOORS && short, "too many or too long places of doors")
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Reason {
    #[prost(string, tag = "1")]
    pub word: String,
    #[prost(uint64, tag = "2")]
    pub count: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Draining {}

// --- the coordinator

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ToRelay {
    #[prost(oneof = "SaidToRelay", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub says: Option<SaidToRelay>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
#[allow(clippy::large_enum_variant, reason = "each is taken apart as soon as it is read; most are seats")]
pub enum SaidToRelay {
    #[prost(message, tag = "1")]
    Welcome(RelayWelcome),
    #[prost(message, tag = "2")]
    Refused(Refused),
    #[prost(message, tag = "3")]
    Seat(SeatFor),
    #[prost(message, tag = "4")]
    Unseat(Unseat),
    /// Of what it has asked.
    #[prost(message, tag = "5")]
    Answer(PairAnswer),
    /// These may no longer talk.
    #[prost(message, tag = "6")]
    Withdraw(Pairs),
    /// Carry on until nobody sends, then end.
    #[prost(message, tag = "7")]
    Drain(Draining),
}

/// The first word to a relay whose session may begin.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct RelayWelcome {
    #[prost(message, optional, tag = "1")]
    pub charter: Option<Signed>,
    /// As the administrator has named it.
    #[prost(string, tag = "2")]
    pub name: String,
    /// With which it proves to nodes where it sees them ([`crate::stun::PlaceKey`]).
    #[prost(bytes = "vec", tag = "3")]
    pub place_key: Vec<u8>,
}

/// Keys reach no log.
impl fmt::Debug for RelayWelcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayWelcome").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A node has this seat.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct SeatFor {
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// This relay's own keys.
    #[prost(bytes = "vec", tag = "2")]
    pub up: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub down: Vec<u8>,
    /// Seconds from now: a relay needs no clock that is right.
    #[prost(uint64, tag = "4")]
    pub life: u64,
    #[prost(message, optional, tag = "5")]
    pub record: Option<Record>,
}

/// Keys reach no log.
impl fmt::Debug for SeatFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeatFor {{ number: {}, life: {} }}", self.number, self.life)
    }
}

impl SeatFor {
    /// The seat with the keys it has at `relay`.
    pub fn of(seat: Seat, up: &TagKey, down: &TagKey, relay: &RelayId, life: u64, record: Record) -> SeatFor {
        let [up, down] = [up, down].map(|key| key.at(relay).expose().to_vec());
        SeatFor { number: seat.number(), up, down, life, record: Some(record) }
    }
    pub fn seat(&self) -> Option<Seat> {
        Seat::new(self.number).filter(|seat| !seat.is_relay())
    }
    pub fn keys(&self) -> Option<(TagKey, TagKey)> {
        let key = |bytes: &[u8]| bytes.try_into().ok().map(TagKey::new);
        Some((key(&self.up)?, key(&self.down)?))
    }
    fn check(&self) -> Result<(), FrameError> {
        ensure(self.seat().is_some() && self.keys().is_some(), "a seat's number or key is malformed")?;
        ensure(self.record.is_some(), "the record of a seat's node is missing")
    }
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Unseat {
    #[prost(uint32, tag = "1")]
    pub number: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PairAnswer {
    #[prost(message, optional, tag = "1")]
    pub may: Option<Pairs>,
    #[prost(message, optional, tag = "2")]
    pub may_not: Option<Pairs>,
}

impl RelaySays {
    pub fn into_frame(self) -> Vec<u8> {
        super::encode(&FromRelay { says: Some(self) })
    }

    /// Lengths and counts.
    pub fn check(&self) -> Result<(), FrameError> {
        match self {
            RelaySays::Enrol(enrol) => {
                ensure(enrol.token_key.len() == 32, "the token key is not 32 bytes")?;
                ensure(enrol.signature.len() == 64, "the signature is not 64 bytes")
            }
            RelaySays::Hello(hello) => {
                ensure(hello.agent.len() <= MAX_AGENT_BYTES, "the agent is over 128 bytes")?;
                hello.doors.iter().try_for_each(DoorPlaces::check)?;
                ensure((1..=u32::from(u16::MAX)).contains(&hello.port), "the port is none")?;
                let short = hello.places.iter().all(|place| place.len() <= MAX_CANDIDATE_BYTES);
                ensure(hello.places.len() <= MAX_CANDIDATES && short, "too many or too long places")
            }
            RelaySays::Ask(pairs) => pairs.check(),
            RelaySays::Counts(counts) => {
                counts.doors.iter().try_for_each(DoorCounts::check)?;
                let short = counts.refused.iter().all(|reason| reason.word.len() <= MAX_REASON_BYTES);
                ensure(counts.refused.len() <= MAX_REASONS && short, "too many or too long reasons")
            }
            RelaySays::Draining(_) => Ok(()),
        }
    }
}

impl FromRelay {
    /// What is said, checked for shape.
    pub fn said(self) -> Result<RelaySays, FrameError> {
        let says = self.says.ok_or(FrameError::Empty)?;
        says.check()?;
        Ok(says)
    }
}

impl SaidToRelay {
    pub fn into_frame(self) -> Vec<u8> {
        super::encode(&ToRelay { says: Some(self) })
    }

    pub fn check(&self) -> Result<(), FrameError> {
        match self {
            SaidToRelay::Welcome(welcome) => signed(&welcome.charter, "the charter is missing"),
            SaidToRelay::Refused(refused) => {
                ensure(refused.message.len() <= MAX_TEXT_BYTES, "the refusal is over 4096 bytes")
            }
            SaidToRelay::Seat(seat) => seat.check(),
            SaidToRelay::Answer(answer) => {
                answer.may.iter().chain(&answer.may_not).try_for_each(Pairs::check)
            }
            SaidToRelay::Withdraw(pairs) => pairs.check(),
            SaidToRelay::Unseat(_) | SaidToRelay::Drain(_) => Ok(()),
        }
    }
}

impl ToRelay {
    /// What is said, checked for shape.
    pub fn said(self) -> Result<SaidToRelay, FrameError> {
        let says = self.says.ok_or(FrameError::Empty)?;
        says.check()?;
        Ok(says)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::door::DoorPlace;

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = <FromRelay as prost::Message>::decode(&bytes[..]).map(FromRelay::said);
            let _ = <ToRelay as prost::Message>::decode(&bytes[..]).map(ToRelay::said);
        }
    }

    #[test]
    fn what_has_another_shape_is_refused() {
        let hello = RelayHello { agent: "x".into(), port: 7946, places: vec![], doors: None };
        let closed = DoorPlaces { doors: vec![DoorPlace::default()] };
        let listening = vec!["x".repeat(65)];
        let enrol = RelayEnrol { token_key: vec![0; 32], signature: vec![0; 64] };
        let good = [RelaySays::Hello(hello.clone()), RelaySays::Enrol(enrol.clone())];
        good.iter().for_each(|said| assert_eq!(said.check(), Ok(())));
        let pair = NodePair::of((NodeId([1; 16]), NodeId([2; 16])));
        let bad = [
            RelaySays::Hello(RelayHello { port: 0, ..hello.clone() }),
            RelaySays::Hello(RelayHello { port: 1 << 16, ..hello.clone() }),
            RelaySays::Hello(RelayHello { doors: Some(closed), ..hello.clone() }),
            RelaySays::Hello(RelayHello { places: vec![String::new(); 9], ..hello }),
            RelaySays::Counts(RelayCounts {
                doors: Some(DoorCounts { listening, ..DoorCounts::default() }),
                ..RelayCounts::default()
            }),
            RelaySays::Enrol(RelayEnrol { signature: vec![0; 63], ..enrol }),
            RelaySays::Ask(Pairs { pairs: vec![pair.clone(); MAX_PAIRS + 1] }),
            RelaySays::Ask(Pairs { pairs: vec![NodePair { a: vec![1; 15], ..pair }] }),
            RelaySays::Counts(RelayCounts { refused: vec![Reason::default(); 33], ..RelayCounts::default() }),
        ];
        bad.iter().for_each(|said| assert!(said.check().is_err(), "{said:?}"));
        let seat = SeatFor {
            number: 7,
            up: vec![1; 16],
            down: vec![2; 16],
            life: 1,
            record: Some(Record::default()),
        };
        assert_eq!(SaidToRelay::Seat(seat.clone()).check(), Ok(()));
        for seat in [
            SeatFor { number: 0, ..seat.clone() },
            SeatFor { up: vec![1; 15], ..seat.clone() },
            SeatFor { record: None, ..seat },
        ] {
            assert!(SaidToRelay::Seat(seat).check().is_err());
        }
    }

    #[test]
    fn pairs_go_in_as_many_messages_as_it_takes() {
        let pairs: Vec<(NodeId, NodeId)> =
            (0..2500u16).map(|n| (NodeId([n as u8; 16]), NodeId([9; 16]))).collect();
        let said = Pairs::of(&pairs);
        assert_eq!(said.iter().map(|one| one.pairs.len()).collect::<Vec<_>>(), [1024, 1024, 452]);
        assert_eq!(said.iter().flat_map(Pairs::nodes).collect::<Vec<_>>(), pairs);
    }
}
