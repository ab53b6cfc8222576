//! Which way a node's packets take to its peers, as the node tells it of itself: the places it knows, the last answer from each, and why the
//! one in use is used. Nobody acts on it; it is shown.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Peers of one report, places of a peer (eight addresses, what came from elsewhere, relays), moves of a peer.
pub const MAX_PATHS: usize = 64;
pub const MAX_PLACES: usize = 16;
pub const MAX_MOVES: usize = 8;
/// `[2001:db8::1]:51820`, or a relay in words.
pub const MAX_PLACE_BYTES: usize = 96;

/// Why a place was left for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[repr(i32)]
pub enum PathReason {
    Unknown = 0,
    /// The coordinator's candidates, when nothing better was known.
    Told = 1,
    /// An authenticated packet came from there.
    Roamed = 2,
    /// Handshakes went unanswered at the one before.
    Unanswered = 3,
    /// The coordinator no longer names it and no packet ever proved it.
    Withdrawn = 4,
    /// The peer is heard over the relay, and over the direct path no more.
    Silent = 5,
    /// A question sent there was answered.
    Answered = 6,
    /// The relay does not answer any more, or this node has no seat there.
    NoRelay = 7,
    /// It answers sooner than the one before.
    Faster = 8,
    /// This relay is clearly nearer to both.
    Nearer = 9,
}

/// Why the place in use is used, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[repr(i32)]
pub enum PathWhy {
    Unknown = 0,
    /// Nobody has told an address of the peer.
    NoAddress = 1,
    /// Nothing was sent to it yet.
    NotTried = 2,
    /// A handshake is under way and gets no answer.
    NoAnswer = 3,
    /// It answers at a place that was told.
    Candidate = 4,
    /// Its last authenticated packet came from there; nobody had told the place.
    Observed = 5,
    /// It answers there sooner than at the others.
    Faster = 6,
    /// No direct place answers.
    Relayed = 7,
    /// No direct place answers, and the relay does not either.
    RelaySilent = 8,
    /// No direct place answers, and of several relays this one is the nearest to both.
    NearestRelay = 9,
    /// No direct place answers, and the relay used before does not, either, or drains.
    OtherRelay = 10,
    /// This relay answered when the place used before did not.
    RelayAnswered = 11,
    /// No direct place answers, and of several relays the peer speaks over this one.
    RelaySpoken = 12,
}

impl PathWhy {
    /// For a person who asks.
    pub fn text(self) -> &'static str {
        match self {
            PathWhy::Unknown => "the node does not say why",
            PathWhy::NoAddress => {
                "the coordinator knows no address of this peer: is its agent running and connected?"
            }
            PathWhy::NotTried => "no handshake yet: it begins with the first packet",
            PathWhy::NoAnswer => {
                "no answer yet: the peer may be off, or firewalls or NATs on the way let no UDP through; retries go to all \
                 candidates, and the coordinator is asked to tell the peer"
            }
            PathWhy::Candidate => "the peer answers at this candidate",
            PathWhy::Observed => "the peer's last authenticated packet came from this address",
            PathWhy::Faster => "the peer answers sooner here than at its other places",
            PathWhy::Relayed => {
                "no direct path answers, so the relay carries what is said; direct paths are tried again and again"
            }
            PathWhy::RelaySilent => {
                "no direct path answers, and the relay has stopped to answer as well: both are tried again"
            }
            PathWhy::NearestRelay => {
                "no direct path answers, and of all relays this one is the nearest to both; direct paths are tried again and again"
            }
            PathWhy::OtherRelay => {
                "no direct path answers, and the relay used before does not answer or drains; direct paths are tried again and again"
            }
            PathWhy::RelayAnswered => {
                "this relay answered when the path used before did not; direct paths are tried again and again"
            }
            PathWhy::RelaySpoken => {
                "no direct path answers, and the peer speaks over this relay; direct paths are tried again and again"
            }
        }
    }
}

/// A place, and the last answer from there to a question inside the tunnel.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PathPlace {
    /// `address:port`, or a relay in words: graphic ASCII and spaces.
    #[prost(string, tag = "1")]
    pub place: String,
    #[prost(bool, tag = "2")]
    pub relayed: bool,
    #[prost(bool, tag = "3")]
    pub in_use: bool,
    /// So many seconds before the report it answered, if it ever did.
    #[prost(uint64, optional, tag = "4")]
    pub answered_ago: Option<u64>,
    /// Of that answer, microseconds.
    #[prost(uint64, optional, tag = "5")]
    pub round_trip_us: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PathMove {
    /// Seconds before the report.
    #[prost(uint64, tag = "1")]
    pub ago: u64,
    /// Empty for none.
    #[prost(string, tag = "2")]
    pub from: String,
    #[prost(string, tag = "3")]
    pub to: String,
    #[prost(enumeration = "PathReason", tag = "4")]
    pub reason: i32,
}

/// The way to one peer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PeerPath {
    #[prost(bytes = "vec", tag = "1")]
    pub peer: Vec<u8>,
    #[prost(enumeration = "PathWhy", tag = "2")]
    pub why: i32,
    #[prost(message, repeated, tag = "3")]
    pub places: Vec<PathPlace>,
    /// Oldest first.
    #[prost(message, repeated, tag = "4")]
    pub moves: Vec<PathMove>,
}

/// Peers this node talks to whose way has changed, or was not told for a while.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PathsReport {
    #[prost(message, repeated, tag = "1")]
    pub paths: Vec<PeerPath>,
}

impl PathsReport {
    /// What is wrong with it, if anything is: no honest node says it, and nobody could print it.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.paths.len() > MAX_PATHS {
            return Err("too many paths");
        }
        self.paths.iter().try_for_each(PeerPath::check)
    }
}

impl PeerPath {
    /// `None` for what [`PathsReport::check`] would not have let through.
    pub fn node(&self) -> Option<NodeId> {
        self.peer.as_slice().try_into().ok().map(NodeId)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.node().is_none() {
            return Err("the peer's id is not 16 bytes");
        }
        if self.places.len() > MAX_PLACES || self.moves.len() > MAX_MOVES {
            return Err("a path has too many places or moves");
        }
        if self.places.iter().filter(|place| place.in_use).count() > 1 {
            return Err("two places are in use");
        }
        let moved = self.moves.iter().flat_map(|m| [&m.from, &m.to]);
        let mut places = self.places.iter().map(|place| &place.place).chain(moved);
        if !places.all(|place| is_printable(place)) {
            return Err("a place is too long, or has characters that no place has");
        }
        if PathWhy::try_from(self.why).is_err()
            || self.moves.iter().any(|m| PathReason::try_from(m.reason).is_err())
        {
            return Err("a path has a reason of no kind");
        }
        Ok(())
    }
}

fn is_printable(place: &str) -> bool {
    place.len() <= MAX_PLACE_BYTES && place.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> PeerPath {
        let place = |place: &str, in_use| PathPlace {
            place: place.into(),
            relayed: false,
            in_use,
            answered_ago: Some(3),
            round_trip_us: Some(1200),
        };
        let moved = PathMove {
            ago: 4,
            from: String::new(),
            to: "192.0.2.1:51820".into(),
            reason: PathReason::Faster.into(),
        };
        PeerPath {
            peer: vec![7; 16],
            why: PathWhy::Candidate.into(),
            places: vec![place("192.0.2.1:51820", true), place("relayed (seat 7)", false)],
            moves: vec![moved],
        }
    }

    #[test]
    fn what_no_honest_node_says_is_refused() {
        let good = path();
        assert_eq!(PathsReport { paths: vec![good.clone(); MAX_PATHS] }.check(), Ok(()));
        assert!(PathsReport { paths: vec![good.clone(); MAX_PATHS + 1] }.check().is_err());
        let bad = |change: &dyn Fn(&mut PeerPath)| {
            let mut path = good.clone();
            change(&mut path);
            PathsReport { paths: vec![path] }.check().is_err()
        };
        assert!(bad(&|p| p.peer = vec![7; 15]));
        assert!(bad(&|p| p.why = 99));
        assert!(bad(&|p| p.moves[0].reason = -1));
        assert!(bad(&|p| p.moves[0].from = "\u{1b}[31m".into()));
        assert!(bad(&|p| p.places[0].place = "x".repeat(MAX_PLACE_BYTES + 1)));
        assert!(bad(&|p| p.places[1].in_use = true));
        assert!(bad(&|p| p.places = vec![p.places[1].clone(); MAX_PLACES + 1]));
        assert!(bad(&|p| p.moves = vec![p.moves[0].clone(); MAX_MOVES + 1]));
    }
}
