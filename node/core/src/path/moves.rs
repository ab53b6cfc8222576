//! What became of a peer's place: the last changes, and why. Two NATs that have another port for every destination, and let
//! everybody in, would have two peers follow each other from port to port without end: each move makes the next mapping. That is
//! seen here, as a chase.

use std::collections::VecDeque;

use super::Place;
use crate::clock::Mono;

/// Moves remembered of a peer.
pub const MAX_MOVES: usize = 8;
/// So many moves from port to port of one host within so long are a chase.
pub(super) const CHASED: usize = 4;
const CHASE_MS: u64 = 60_000;

/// Why a peer's place changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveReason {
    /// The coordinator's candidates, when nothing better was known.
    Told,
    /// An authenticated packet came from there.
    Roamed,
    /// Handshakes went unanswered at the one before.
    Unanswered,
    /// The coordinator no longer names it and no packet ever proved it.
    Withdrawn,
    /// The peer is heard over the relay, and over the direct path no more.
    Silent,
    /// A question sent there was answered: the direct path works both ways.
    Answered,
    /// It answers sooner than the one before, by far and for long ([`super::survey`]).
    Faster,
    /// The relay does not answer any more, drains, or this node has no seat there.
    NoRelay,
    /// Another relay is clearly nearer to both.
    Nearer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub at: Mono,
    pub from: Option<Place>,
    pub to: Option<Place>,
    pub reason: MoveReason,
}

/// At most [`MAX_MOVES`], oldest first.
#[derive(Clone, Debug, Default)]
pub struct Moves(VecDeque<Move>);

impl Moves {
    pub fn push(&mut self, step: Move) {
        if self.0.len() == MAX_MOVES {
            self.0.pop_front();
        }
        self.0.push_back(step);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Move> {
        self.0.iter()
    }

    /// Was it followed [`CHASED`] times to another port of the host that `from` is at, in a short time?
    pub fn are_a_chase(&self, from: Place, now: Mono) -> bool {
        let host = |place: Place| place.direct().map(|at| at.ip());
        let recent = |step: &&Move| now.millis_since(step.at) < CHASE_MS && step.reason == MoveReason::Roamed;
        let here =
            |step: &&Move| step.to.and_then(host) == host(from) && step.from.and_then(host) == host(from);
        self.0.iter().rev().take(CHASED).filter(recent).filter(here).count() == CHASED
    }
}
