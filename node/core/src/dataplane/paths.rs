//! What the coordinator is told of the ways to peers, so that somebody who does not sit at this host sees them: rarely, and of peers one
//! talks to.

use std::collections::BTreeMap;

use warren_wire::id::NodeId;
use warren_wire::path::{
    MAX_MOVES, MAX_PATHS, MAX_PLACES, PathMove, PathPlace, PathReason, PathWhy, PeerPath,
};

use super::report::status_of;
use super::{DataPlane, PeerStatus};
use crate::berth::Standing;
use crate::clock::{Mono, Now};
use crate::path::{Endpoints, MoveReason, Place};
use crate::session::Engine;

/// A way that has not changed is told again.
const AGAIN_MS: u64 = 60_000;

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<NodeId, (Mono, Option<Place>)>);

impl<E: Engine> DataPlane<E> {
    /// Ways to peers with live flows that have changed since they were told, or were not told for a minute; those told longest
    /// ago first, at most [`MAX_PATHS`].
    pub fn tell_paths(&self, now: Now) -> Vec<PeerPath> {
        let snapshot = self.snapshot.load();
        let relays = self.berths();
        let mut told = self.told_paths.lock();
        let awake = self.awake.nodes();
        told.0.retain(|node, _| awake.binary_search(node).is_ok());
        let peers = awake.iter().filter_map(|node| snapshot.peer(node)).filter(|peer| peer.agent);
        let mut due: Vec<_> = peers
            .filter_map(|peer| {
                let (current, last) = (peer.link.endpoint(), told.0.get(&peer.node));
                let again = |(at, place): &(Mono, Option<Place>)| {
                    *place != current || now.mono.millis_since(*at) >= AGAIN_MS
                };
                last.is_none_or(again).then_some((last.map(|(at, _)| *at), current, peer))
            })
            .collect();
        due.sort_by_key(|(at, _, peer)| (*at, peer.node));
        due.truncate(MAX_PATHS);
        due.into_iter()
            .map(|(_, current, peer)| {
                told.0.insert(peer.node, (now.mono, current));
                let status = status_of(&snapshot, peer, now);
                written(&peer.link.endpoints(), &status, &relays, now.mono)
            })
            .collect()
    }

    /// Whoever is told now knows nothing of before.
    pub fn forget_told_paths(&self) {
        self.told_paths.lock().0.clear();
    }
}

/// Why the place in use is used. `relays`: those this node sits at.
pub fn why(places: &Endpoints, status: &PeerStatus, relays: &[Standing]) -> PathWhy {
    let Some(current) = places.current() else {
        return if places.places().is_empty() { PathWhy::NoAddress } else { PathWhy::NotTried };
    };
    if status.last_handshake.is_none() {
        return if status.handshake_pending { PathWhy::NoAnswer } else { PathWhy::NotTried };
    }
    let moved = places.moves().last().map(|last| last.reason);
    match current.relay() {
        Some(used) => why_relayed(moved, relays.iter().any(|r| r.relay == used && r.answers), relays.len()),
        None if moved == Some(MoveReason::Faster) => PathWhy::Faster,
        None if places.is_named(current) => PathWhy::Candidate,
        None => PathWhy::Observed,
    }
}

fn why_relayed(moved: Option<MoveReason>, answers: bool, relays: usize) -> PathWhy {
    match moved {
        _ if !answers => PathWhy::RelaySilent,
        _ if relays < 2 => PathWhy::Relayed,
        Some(MoveReason::Nearer) => PathWhy::NearestRelay,
        Some(MoveReason::NoRelay) => PathWhy::OtherRelay,
        Some(MoveReason::Answered | MoveReason::Silent) => PathWhy::RelayAnswered,
        _ => PathWhy::RelaySpoken,
    }
}

fn written(places: &Endpoints, status: &PeerStatus, relays: &[Standing], now: Mono) -> PeerPath {
    let place = |place: &Place| {
        let answer = places.answer_of(*place);
        PathPlace {
            place: place.to_string(),
            relayed: !place.is_direct(),
            in_use: places.current() == Some(*place),
            answered_ago: answer.map(|answer| now.millis_since(answer.at) / 1000),
            round_trip_us: answer.and_then(|answer| u64::try_from(answer.round_trip.as_micros()).ok()),
        }
    };
    let text = |place: Option<Place>| place.map(|place| place.to_string()).unwrap_or_default();
    let moves = places.moves().map(|change| PathMove {
        ago: now.millis_since(change.at) / 1000,
        from: text(change.from),
        to: text(change.to),
        reason: reason(change.reason).into(),
    });
    PeerPath {
        peer: status.node.0.to_vec(),
        why: why(places, status, relays).into(),
        places: places.places().iter().take(MAX_PLACES).map(place).collect(),
        moves: moves.take(MAX_MOVES).collect(),
    }
}

fn reason(reason: MoveReason) -> PathReason {
    match reason {
        MoveReason::Told => PathReason::Told,
        MoveReason::Roamed => PathReason::Roamed,
        MoveReason::Unanswered => PathReason::Unanswered,
        MoveReason::Withdrawn => PathReason::Withdrawn,
        MoveReason::Silent => PathReason::Silent,
        MoveReason::Answered => PathReason::Answered,
        MoveReason::Faster => PathReason::Faster,
        MoveReason::NoRelay => PathReason::NoRelay,
        MoveReason::Nearer => PathReason::Nearer,
    }
}
