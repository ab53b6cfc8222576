//! Which way packets take between nodes, as each node tells of itself: in memory only, and forgotten an hour after it was last told.
//!
//! Bounded twice, for each node and for all: of a node with too many the way that was told longest ago gives way, and when there are too many in all,
//! one of whoever has most. What a node says is about its own packets alone; nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::id::NodeId;
use warren_wire::path::{PathReason, PathWhy, PeerPath};

use crate::flows::{BadFilter, check_limit, check_node};

/// Ways of one node, and of all.
pub const ROOM_EACH: usize = 256;
pub const ROOM: usize = 50_000;
/// Seconds after which a way that was not told again is forgotten; a node tells once a minute while it talks.
pub const KEPT: u64 = 3_600;
/// Rows of one answer.
const DEFAULT_ANSWER: usize = 1_000;
/// Seconds between two looks for old ones.
const LOOK: u64 = 60;

#[derive(Clone, Debug, Default)]
pub struct PathsKnown {
    nodes: BTreeMap<NodeId, BTreeMap<NodeId, (UnixTime, PeerPath)>>,
    /// Each node with ways once, by how many it has.
    sizes: BTreeSet<(usize, NodeId)>,
    total: usize,
    looked: UnixTime,
}

impl PathsKnown {
    /// `from` tells of its way to a peer.
    pub fn tell(&mut self, from: NodeId, to: NodeId, path: PeerPath, now: UnixTime) {
        if now.since(self.looked) >= LOOK {
            self.looked = now;
            self.forget_old(now);
        }
        let own = self.nodes.get(&from).map_or(0, BTreeMap::len);
        if !self.nodes.get(&from).is_some_and(|ways| ways.contains_key(&to)) {
            if own >= ROOM_EACH {
                self.give_way(from);
            } else if self.total >= ROOM
                && let Some((_, most)) = self.sizes.last().copied()
            {
                self.give_way(most);
            }
        }
        self.change(from, |ways| drop(ways.insert(to, (now, path))));
    }

    /// Every change of how many ways a node has goes through here.
    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut BTreeMap<NodeId, (UnixTime, PeerPath)>)) {
        let ways = self.nodes.entry(node).or_default();
        let before = ways.len();
        change(ways);
        let after = ways.len();
        if after == 0 {
            self.nodes.remove(&node);
        }
        self.sizes.remove(&(before, node));
        self.sizes.extend((after > 0).then_some((after, node)));
        self.total = (self.total + after).saturating_sub(before);
    }

    fn give_way(&mut self, node: NodeId) {
        self.change(node, |ways| {
            let oldest = ways.iter().min_by_key(|(to, (at, _))| (*at, **to)).map(|(to, _)| *to);
            oldest.map(|to| ways.remove(&to));
        });
    }

    fn forget_old(&mut self, now: UnixTime) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.change(node, |ways| ways.retain(|_, (at, _)| now.since(*at) < KEPT));
        }
    }

    /// A node that is gone: what it told, and what was told of it.
    pub fn forget(&mut self, gone: &NodeId) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.change(node, |ways| ways.retain(|to, _| node != *gone && to != gone));
        }
    }

    /// Of these nodes, in order; `limit` 0: as many as usual.
    pub fn view(&self, from: Option<NodeId>, to: Option<NodeId>, limit: usize, now: UnixTime) -> PathsView {
        let wanted = self.nodes.iter().filter(|(id, _)| from.is_none_or(|from| from == **id));
        let rows = wanted.flat_map(|(id, ways)| ways.iter().map(move |(peer, told)| (*id, *peer, told)));
        let mut paths: Vec<PathRow> = rows
            .filter(|(_, peer, (at, _))| to.is_none_or(|to| to == *peer) && now.since(*at) < KEPT)
            .map(|(id, peer, (at, path))| row(id, peer, *at, path))
            .collect();
        let limit = if limit == 0 { DEFAULT_ANSWER } else { limit };
        let left_off = paths.len().saturating_sub(limit);
        paths.truncate(limit);
        PathsView { paths, left_off }
    }

    pub fn len(&self) -> usize {
        self.total
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

fn row(from: NodeId, to: NodeId, told: UnixTime, path: &PeerPath) -> PathRow {
    let before = |seconds: u64| UnixTime(told.0.saturating_sub(seconds));
    let text = |place: &str| Some(place.to_owned()).filter(|place| !place.is_empty());
    let why = PathWhy::try_from(path.why).unwrap_or(PathWhy::Unknown);
    let in_use = path.places.iter().find(|place| place.in_use);
    let place = |place: &warren_wire::path::PathPlace| PlaceRow {
        place: place.place.clone(),
        relayed: place.relayed,
        in_use: place.in_use,
        answered: place.answered_ago.map(before),
        round_trip_us: place.round_trip_us,
    };
    let moved = |moved: &warren_wire::path::PathMove| MoveRow {
        at: before(moved.ago),
        from: text(&moved.from),
        to: text(&moved.to),
        reason: PathReason::try_from(moved.reason).unwrap_or(PathReason::Unknown),
    };
    PathRow {
        from,
        from_name: None,
        to,
        to_name: None,
        told,
        in_use: in_use.map(|place| place.place.clone()),
        relayed: in_use.map(|place| place.relayed),
        round_trip_us: in_use.and_then(|place| place.round_trip_us),
        why,
        text: why.text().to_owned(),
        places: path.places.iter().map(place).collect(),
        moves: path.moves.iter().map(moved).collect(),
    }
}

/// Which rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::IntoParams))]
#[serde(default, deny_unknown_fields)]
pub struct PathsFilter {
    /// The node that tells: name, id or address.
    pub from: Option<String>,
    /// Its peer: name, id or address.
    pub to: Option<String>,
    /// At most so many rows, up to 10,000; 0: 1,000.
    pub limit: usize,
}

impl PathsFilter {
    /// Could this match anything, whatever there is?
    pub fn check(&self) -> Result<(), BadFilter> {
        check_node("from", self.from.as_ref())?;
        check_node("to", self.to.as_ref())?;
        check_limit(self.limit)
    }
}

/// The way packets of one node take to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PathRow {
    /// Who tells it, and whose packets they are.
    pub from: NodeId,
    /// Its name, if it is a member.
    pub from_name: Option<String>,
    pub to: NodeId,
    pub to_name: Option<String>,
    /// When it was told last.
    pub told: UnixTime,
    /// The place in use: `address:port`, or a relay in words.
    pub in_use: Option<String>,
    pub relayed: Option<bool>,
    /// Of the last answer from there to a question inside the tunnel, microseconds; a peer with one place is not asked.
    pub round_trip_us: Option<u64>,
    pub why: PathWhy,
    /// The same for a person.
    pub text: String,
    /// Every place the peer may be at, the likeliest first.
    pub places: Vec<PlaceRow>,
    /// The last changes of the place in use, oldest first.
    pub moves: Vec<MoveRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PlaceRow {
    pub place: String,
    pub relayed: bool,
    pub in_use: bool,
    /// When a question inside the tunnel was last answered there.
    pub answered: Option<UnixTime>,
    /// Of that answer, microseconds.
    pub round_trip_us: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MoveRow {
    pub at: UnixTime,
    pub from: Option<String>,
    pub to: Option<String>,
    pub reason: PathReason,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PathsView {
    pub paths: Vec<PathRow>,
    /// Rows beyond the limit of this answer.
    pub left_off: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> NodeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        NodeId(id)
    }

    fn path() -> PeerPath {
        PeerPath { peer: vec![7; 16], why: PathWhy::Candidate.into(), places: vec![], moves: vec![] }
    }

    #[test]
    fn however_much_is_told_little_is_kept_and_the_oldest_goes_first() {
        let mut known = PathsKnown::default();
        for n in 0..ROOM_EACH + 10 {
            known.tell(id(1), id(n), path(), UnixTime(1_000 + n as u64));
        }
        assert_eq!(known.len(), ROOM_EACH);
        let kept = known.view(None, None, 0, UnixTime(1_300)).paths;
        assert!(kept.iter().all(|row| row.told >= UnixTime(1_010)));
        for node in 0..300 {
            for n in 0..ROOM_EACH {
                known.tell(id(10_000 + node), id(n), path(), UnixTime(2_000));
            }
        }
        assert_eq!(known.len(), ROOM);
        assert!(known.sizes.last().unwrap().0 <= ROOM_EACH);
        assert_eq!(known.sizes.iter().map(|(n, _)| n).sum::<usize>(), ROOM);
        known.tell(id(5), id(6), path(), UnixTime(2_001));
        assert_eq!(known.view(Some(id(5)), None, 0, UnixTime(2_001)).paths.len(), 1, "a newcomer finds room");
        known.tell(id(5), id(6), path(), UnixTime(2_000 + KEPT + LOOK));
        assert_eq!(known.len(), 1);
    }
}
