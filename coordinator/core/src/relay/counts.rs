//! What became of frames. Every frame that does not go on has one reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// Why a frame went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    NotAFrame,
    /// There is no such sender or receiver.
    UnknownSeat,
    /// The seat's time is over: its node has not been at the coordinator for long.
    SeatOver,
    /// Not written with the seat's key.
    BadTag,
    Replayed,
    /// No grant joins the two.
    NoPermit,
    /// The coordinator has been asked, and another frame of the pair waits for the answer.
    PermitAsked,
    /// The receiver has not shown where it is.
    PeerNotHere,
    OverLimit,
    TooLong,
}

impl Refused {
    pub const ALL: [Refused; 10] = [
        Refused::NotAFrame,
        Refused::UnknownSeat,
        Refused::SeatOver,
        Refused::BadTag,
        Refused::Replayed,
        Refused::NoPermit,
        Refused::PermitAsked,
        Refused::PeerNotHere,
        Refused::OverLimit,
        Refused::TooLong,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Refused::NotAFrame => "not-a-frame",
            Refused::UnknownSeat => "unknown-seat",
            Refused::SeatOver => "seat-over",
            Refused::BadTag => "bad-tag",
            Refused::Replayed => "replayed",
            Refused::NoPermit => "no-permit",
            Refused::PermitAsked => "permit-asked",
            Refused::PeerNotHere => "peer-not-here",
            Refused::OverLimit => "over-limit",
            Refused::TooLong => "too-long",
        }
    }
}

/// Since the relay started.
#[derive(Debug, Default)]
pub struct Counts {
    frames: AtomicU64,
    bytes: AtomicU64,
    pongs: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
}

impl Counts {
    pub(super) fn forward(&self, frames: u64, bytes: u64) {
        self.frames.fetch_add(frames, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn pong(&self) {
        self.pongs.fetch_add(1, Relaxed);
    }

    pub(super) fn refuse(&self, why: Refused, count: u64) {
        if let Some(counter) = self.refused.get(why as usize).filter(|_| count > 0) {
            counter.fetch_add(count, Relaxed);
        }
    }

    pub(super) fn status(&self, seats: usize, here: usize, pairs: usize, kept: usize) -> RelayStatus {
        let refused = Refused::ALL.iter().zip(&self.refused);
        RelayStatus {
            seats,
            here,
            pairs,
            kept,
            frames: self.frames.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            pongs: self.pongs.load(Relaxed),
            refused: refused.map(|(why, count)| (why.word().to_owned(), count.load(Relaxed))).collect(),
        }
    }
}

/// What a relay does, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RelayStatus {
    /// Nodes that have a seat, and how many of them have shown lately where they are.
    pub seats: usize,
    pub here: usize,
    /// Pairs that may talk and have done so.
    pub pairs: usize,
    /// Bytes of frames that wait for a permit.
    pub kept: usize,
    /// Passed on since the relay started, with their heads.
    pub frames: u64,
    pub bytes: u64,
    /// Pings that were answered.
    pub pongs: u64,
    /// Frames that went no further, by reason.
    #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, u64>))]
    pub refused: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_word() {
        let counts = Counts::default();
        for (at, why) in Refused::ALL.into_iter().enumerate() {
            counts.refuse(why, at as u64 + 1);
        }
        let refused = counts.status(0, 0, 0, 0).refused;
        assert_eq!(refused.len(), Refused::ALL.len());
        for (at, why) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(refused.get(why.word()), Some(&(at as u64 + 1)));
        }
    }
}
