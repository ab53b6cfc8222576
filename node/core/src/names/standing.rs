//! Which of several nodes behind one name are given first: those that answer, and of those the near ones.
//!
//! A node knows how far a peer is from the handshakes it began itself. Peers that were never tried stand with the near
//! ones, so that they are tried and become known; those that are equally near take turns.

use std::collections::BTreeMap;
use std::time::Duration;

use warren_wire::id::NodeId;

/// Round trips below this are one place: a machine room, a city.
const NEAR_MS: u64 = 8;
/// Handshakes in a row without an answer, after which a peer that answered before counts as silent.
const SILENT_AFTER: u32 = 2;

/// In the order in which they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Near, or not known to be far.
    #[default]
    Near,
    /// Each step is twice as far.
    Far(u8),
    /// Does not answer handshakes.
    Silent,
}

/// What the packet path knows of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub has_session: bool,
    pub pending: bool,
    pub unanswered: u32,
    pub round_trip: Option<Duration>,
}

impl Standing {
    pub fn of(known: Known) -> Standing {
        let unheard = !known.has_session || known.unanswered >= SILENT_AFTER;
        if known.pending && unheard {
            return Standing::Silent;
        }
        let ms = known.round_trip.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        match (ms / NEAR_MS).checked_ilog2() {
            None => Standing::Near,
            Some(steps) => Standing::Far(u8::try_from(steps + 1).unwrap_or(u8::MAX)),
        }
    }

    /// For records with a priority (RFC 2782, RFC 9460): lower is tried first.
    pub fn priority(self) -> u16 {
        match self {
            Standing::Near => 0,
            Standing::Far(steps) => u16::from(steps),
            Standing::Silent => 1_000,
        }
    }
}

/// Of the peers that are not near: everybody else is.
pub type Standings = BTreeMap<NodeId, Standing>;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Standing {
        let round_trip = Some(Duration::from_millis(ms));
        Standing::of(Known { has_session: true, round_trip, ..Known::default() })
    }

    #[test]
    fn near_before_far_before_silent_and_the_unknown_are_tried() {
        assert_eq!(Standing::of(Known::default()), Standing::Near, "never tried");
        assert_eq!([at(0), at(7), at(8), at(15), at(16), at(40)].map(|s| s.priority()), [0, 0, 1, 1, 2, 3]);
        assert!(at(7) < at(8) && at(200) < Standing::Silent && at(u64::MAX) < Standing::Silent);
    }

    #[test]
    fn who_does_not_answer_is_silent_also_after_a_session() {
        let first_try = Known { pending: true, ..Known::default() };
        assert_eq!(Standing::of(first_try), Standing::Silent);
        let rekey = Known { has_session: true, pending: true, unanswered: 1, ..Known::default() };
        assert_eq!(Standing::of(rekey), Standing::Near, "a rekey on its way is nothing to worry about");
        assert_eq!(Standing::of(Known { unanswered: 2, ..rekey }), Standing::Silent);
    }
}
