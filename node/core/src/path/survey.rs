//! Which of several direct places is the quickest: a LAN's address, a public one, one of the other family.
//!
//! While a direct place is in use and the peer is talked to, all direct places are asked together: a second after it was taken,
//! then every [`EVERY_MS`], every [`CONTEST_MS`] while one leads. So a peer with whom nothing is exchanged, or that has one place, is asked nothing.
//! A place leads in a round if it answers sooner than the one in use by a quarter, and by [`MARGIN`] at least; the one in use
//! counts by its lowest round trip of [`WINDOW_MS`], because a queue is no property of a path. Who leads in every round for [`HOLD_MS`] is taken.
//! Each time that happens the next must lead twice as long, until nothing happened for [`CALM_MS`]: two paths that take turns
//! at being quick cause no storm.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Place;
use crate::clock::Mono;

/// Between two rounds.
pub const EVERY_MS: u64 = 10_000;
/// After a place was taken, and for the answers of a round.
const SOON_MS: u64 = 1_000;
/// Between two rounds while a place leads.
const CONTEST_MS: u64 = 2_000;
/// So much sooner, or a quarter of the round trip, whichever is more.
pub const MARGIN: Duration = Duration::from_millis(1);
/// So long must a place lead, at first and at most.
pub const HOLD_MS: u64 = 4_000;
const LONGEST_HOLD_MS: u64 = 256_000;
/// Without a move: what was learnt about unrest is forgotten.
const CALM_MS: u64 = 600_000;
const WINDOW_MS: u64 = 30_000;
/// The peer follows within a round trip; until then what still comes from the old place moves nothing.
const SETTLING_MS: u64 = 3_000;

#[derive(Clone, Debug, Default)]
pub struct Survey {
    next: Mono,
    /// The round that is under way: when it was asked, and who has answered.
    round: Option<Mono>,
    answers: BTreeMap<Place, Duration>,
    /// Since when each has led in every round.
    leads: BTreeMap<Place, Mono>,
    /// Round trips of the place in use.
    lows: VecDeque<(Mono, Duration)>,
    /// When a place was last taken because it leads, and how often of late.
    chosen: Option<Mono>,
    unrest: u32,
    sent: u64,
}

impl Survey {
    /// The path in use is another.
    pub fn moved(&mut self, now: Mono) {
        (self.round, self.next) = (None, now.plus_millis(SOON_MS));
        self.answers.clear();
        self.leads.clear();
        self.lows.clear();
    }

    /// An answer, to whatever question.
    pub fn answered(&mut self, place: Place, in_use: bool, round_trip: Duration, now: Mono) {
        if self.round.is_some() {
            self.answers.insert(place, round_trip);
        }
        if in_use {
            self.lows.push_back((now, round_trip));
            self.lows.retain(|(at, _)| now.millis_since(*at) < WINDOW_MS);
        }
    }

    /// Has this node itself chosen the place in use, just now?
    pub fn settles(&self, now: Mono) -> bool {
        self.chosen.is_some_and(|at| now.millis_since(at) < SETTLING_MS)
    }

    /// Is it time for a round? `sent`: packets sent to the peer so far; `heard`: when it was heard last.
    pub fn begins(&mut self, sent: u64, heard: Option<Mono>, now: Mono) -> bool {
        if now < self.next || self.round.is_some() {
            return false;
        }
        let after = if self.leads.is_empty() { EVERY_MS } else { CONTEST_MS };
        let talks = std::mem::replace(&mut self.sent, sent) != sent
            && heard.is_some_and(|at| now.millis_since(at) < EVERY_MS);
        match talks {
            true => (self.round, self.next) = (Some(now), now.plus_millis(after)),
            false => self.next = now.plus_millis(SOON_MS),
        }
        self.answers.clear();
        talks
    }

    /// Judges a round that has had its time; the place to use from now on, if that is another.
    pub fn judge(&mut self, current: Place, now: Mono) -> Option<Place> {
        let asked = self.round.filter(|asked| now.millis_since(*asked) >= SOON_MS)?;
        self.round = None;
        let own = self.lows.iter().map(|(_, low)| *low).min();
        let limit = own.map_or(Duration::MAX, |own| own.saturating_sub(MARGIN.max(own / 4)));
        let leads = |place: Place, took: Duration| place != current && place.is_direct() && took <= limit;
        let old = std::mem::take(&mut self.leads);
        let leading = self.answers.iter().filter(|(place, took)| leads(**place, **took));
        self.leads = leading.map(|(place, _)| (*place, old.get(place).copied().unwrap_or(asked))).collect();
        if !self.leads.is_empty() {
            self.next = self.next.min(asked.plus_millis(CONTEST_MS));
        }
        let held = self.leads.iter().filter(|(_, since)| asked.millis_since(**since) >= self.hold(now));
        let best = held.filter_map(|(place, _)| Some((*self.answers.get(place)?, *place))).min()?.1;
        let calm = self.chosen.is_none_or(|at| now.millis_since(at) >= CALM_MS);
        self.unrest = if calm { 1 } else { self.unrest.saturating_add(1) };
        self.chosen = Some(now);
        Some(best)
    }

    fn hold(&self, now: Mono) -> u64 {
        let unrest =
            if self.chosen.is_some_and(|at| now.millis_since(at) < CALM_MS) { self.unrest } else { 0 };
        HOLD_MS.checked_shl(unrest.min(16)).unwrap_or(LONGEST_HOLD_MS).min(LONGEST_HOLD_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: u8) -> Place {
        Place::Direct(([192, 0, 2, n], 51820).into())
    }

    /// A peer with whom one talks all the time. `trips` says how long each place takes; what is used, and how many were asked.
    struct Talk {
        survey: Survey,
        current: Place,
        now: Mono,
        sent: u64,
        asked: usize,
        moves: Vec<(u64, Place)>,
    }

    impl Talk {
        fn new() -> Talk {
            let now = Mono::from_millis(1_000_000);
            let mut survey = Survey::default();
            survey.moved(now);
            Talk { survey, current: place(1), now, sent: 0, asked: 0, moves: Vec::new() }
        }

        fn live(&mut self, ms: u64, trips: impl Fn(u64) -> Vec<(Place, u64)>) {
            for step in 0..ms / 500 {
                self.now = self.now.plus_millis(500);
                self.sent += 1;
                if let Some(better) = self.survey.judge(self.current, self.now) {
                    self.moves.push((step * 500, better));
                    self.current = better;
                    self.survey.moved(self.now);
                }
                if self.survey.begins(self.sent, Some(self.now), self.now) {
                    for (place, micros) in trips(step * 500) {
                        self.asked += 1;
                        let took = Duration::from_micros(micros);
                        self.survey.answered(place, place == self.current, took, self.now);
                    }
                }
            }
        }
    }

    #[test]
    fn a_place_that_is_quicker_is_taken_within_half_a_minute_and_kept() {
        let mut talk = Talk::new();
        talk.live(60_000, |_| vec![(place(1), 20_000), (place(2), 10_000), (place(3), 5_000)]);
        assert_eq!(talk.moves.iter().map(|(_, to)| *to).collect::<Vec<_>>(), [place(3)], "the best of them");
        talk.live(60_000, |_| vec![(place(3), 5_000), (place(2), 10_000)]);
        // It was not there before.
        let before = talk.moves.len();
        talk.live(30_000, |_| vec![(place(3), 5_000), (place(4), 500)]);
        assert_eq!(talk.moves.len(), before + 1);
        assert!(talk.moves[before].0 <= 30_000 && talk.current == place(4));
    }

    #[test]
    fn a_place_that_is_hardly_quicker_or_quicker_for_a_moment_is_not_taken() {
        for (own, other) in [(20_000, 15_001), (1_500, 600), (20_000, 20_000), (600, 100)] {
            let mut talk = Talk::new();
            talk.live(600_000, |_| vec![(place(1), own), (place(2), other)]);
            assert_eq!(talk.moves, [], "{own} {other}");
        }
        let mut talk = Talk::new();
        talk.live(600_000, |at| {
            vec![(place(1), 20_000), (place(2), if at % 12_000 < 3_000 { 5 } else { 30_000 })]
        });
        assert_eq!(talk.moves, []);
    }

    /// A long queue before the place in use is of what is sent there; it would go along.
    #[test]
    fn a_queue_is_no_reason_to_leave() {
        let mut talk = Talk::new();
        talk.live(20_000, |_| vec![(place(1), 5_000), (place(2), 8_000)]);
        talk.live(25_000, |at| {
            vec![(place(1), if at % 20_000 < 14_000 { 200_000 } else { 5_000 }), (place(2), 8_000)]
        });
        assert_eq!(talk.moves, []);
    }

    /// Each place is slow as soon as it is used.
    #[test]
    fn two_places_that_take_turns_cause_fewer_and_fewer_moves() {
        let mut talk = Talk::new();
        for _ in 0..360 {
            let used = talk.current;
            talk.live(5_000, |_| {
                [1, 2].map(|n| (place(n), if place(n) == used { 90_000 } else { 5_000 })).to_vec()
            });
        }
        assert!((3..=12).contains(&talk.moves.len()), "{:?} in half an hour", talk.moves.len());
    }

    #[test]
    fn questions_are_few_and_only_while_one_talks() {
        let mut talk = Talk::new();
        talk.live(600_000, |_| vec![(place(1), 5_000), (place(2), 8_000)]);
        assert!(talk.asked <= 2 * 61, "{}", talk.asked);
        let mut silent = Survey::default();
        silent.moved(Mono(0));
        let asked = |n: u64| silent.begins(0, Some(Mono::from_millis(n * 500)), Mono::from_millis(n * 500));
        assert_eq!((0..1000).map(asked).filter(|asked| *asked).count(), 0, "nothing is sent");
    }
}
