//! Whether a peer is heard, and where it is to be asked: what a path is chosen by.
//!
//! A direct path is taken away from a peer only by evidence: something was sent, and nothing came for [`DOUBT_MS`], or the peer
//! speaks over the relay and answers no question over the direct path for as long. Then both ways are asked. A direct path is taken up again by an answer to a question that was sent over it: that
//! something *comes* from there proves one direction only. Questions and answers are words inside the tunnel, so
//! whoever answers holds the session's keys.
//!
//! Of several relays the one in use is left sooner, because nothing is lost by asking: half a second after something was sent it
//! alone is asked, after [`RELAY_DOUBT_MS`] all places are, and what answers first is used. While all is well every relay is
//! asked in each round, so that the two know which is the nearest to both: [`LEAD`] answers in a row that were clearly
//! quicker ([`is_clearly_shorter`]) are a reason to move, for one of the two. The other follows: it goes to the relay over
//! which it hears its peer, once it has heard it nowhere else for [`FOLLOW_MS`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Place;
use crate::berth::is_clearly_shorter;
use crate::clock::Mono;

/// So long without a word after something was sent, and the path is doubted.
pub const DOUBT_MS: u64 = 2_000;
/// The same over a relay, if there is another: at most. Of one that answers quickly sooner, as soon as an answer to [`NUDGE_MS`]
/// must have come: TCP sends again after 0.2, 0.6, 1.4 and then 3 s, and both ends have moved before the last but one.
pub const RELAY_DOUBT_MS: u64 = 1_000;
const RELAY_DOUBT_LEAST_MS: u64 = 700;
/// From something sent to a nudge that is on its way, with the pace at which this is looked at: four times a second.
const NUDGED_MS: u64 = 600;
/// Before that the relay in use is asked alone, so that who sends and is not answered by anything else is not asked everywhere.
const NUDGE_MS: u64 = 400;
/// So long the peer is heard over another relay alone before it is followed there.
pub const FOLLOW_MS: u64 = 500;
/// So many answers in a row over another relay that were clearly quicker.
pub const LEAD: u8 = 3;
/// An answer that is older says nothing of a round trip now.
const RECENT_MS: u64 = 30_000;
/// A path that was heard so lately is not left for another that is heard, too.
pub const ALIVE_MS: u64 = 3_000;
/// After a sign that asking may help.
const SOON_MS: u64 = 500;
/// After each round of questions, and from then on: over a relay, and while a path is doubted, so that peers that are gone
/// cause no storm. Both ends ask, and a NAT keeps a mapping for 30 s at least
/// (RFC 4787 section 4.3 wants two minutes): so one's question finds the other's still open.
const ROUNDS_MS: [u64; 6] = [500, 500, 1_000, 2_000, 4_000, 10_000];
/// Questions an answer may still come to.
const OPEN: usize = 64;

/// A question to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    pub nonce: u64,
    pub to: Place,
    /// The place is in use here; otherwise it is only asked about.
    pub used: bool,
}

/// The last answer from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub at: Mono,
    pub round_trip: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Over the path in use.
    heard: Option<Mono>,
    answers: BTreeMap<Place, Answer>,
    open: VecDeque<(u64, Place, Mono)>,
    /// Packets sent when this was last looked at, and since when one waits for any word over the path in use.
    sent: u64,
    waiting: Option<Mono>,
    doubted: bool,
    /// Since when the peer speaks over the relay, although a direct path is used here and no question over it was answered.
    challenged: Option<Mono>,
    /// The relay in use was asked because something waits.
    nudged: bool,
    /// Relays were asked because the direct path in use is silent.
    hurried: bool,
    /// Since when the peer is heard over another relay and not over the one in use.
    elsewhere: Option<Mono>,
    /// The relay that was clearly quicker than the one in use, and how often in a row.
    ahead: Option<(Place, u8)>,
    next: Mono,
    round: usize,
    drawn: u64,
}

impl Watch {
    /// An authentic packet came over the path in use.
    pub fn heard(&mut self, now: Mono) {
        (self.heard, self.waiting, self.elsewhere) = (Some(now), None, None);
        (self.nudged, self.hurried) = (false, false);
    }

    /// The peer was heard over another relay than the one in use. True if that has gone on for long enough to follow it.
    pub fn heard_elsewhere(&mut self, now: Mono) -> bool {
        now.millis_since(*self.elsewhere.get_or_insert(now)) >= FOLLOW_MS
    }

    /// When the path in use was heard last.
    pub fn last_heard(&self) -> Option<Mono> {
        self.heard
    }

    /// Was the path in use heard lately?
    pub fn is_alive(&self, now: Mono) -> bool {
        self.heard.is_some_and(|at| now.millis_since(at) < ALIVE_MS)
    }

    /// Something was sent over the path in use, and nothing came.
    pub fn is_doubted(&self, now: Mono) -> bool {
        self.waits(now) >= DOUBT_MS
    }

    /// Nothing was sent over the path in use for so long without an answer that a question over it could have been answered, too.
    pub fn is_answering(&self, now: Mono) -> bool {
        self.waits(now) < DOUBT_MS + 1_000
    }

    /// The same, soon enough to leave the relay in use for another.
    pub fn is_relay_doubted(&self, current: Option<Place>, now: Mono) -> bool {
        let answer = current.and_then(|current| self.recent(current, now));
        let late = answer.map(|answer| NUDGED_MS.saturating_add(2 * answer.round_trip.as_millis() as u64));
        let doubt = late.map_or(RELAY_DOUBT_MS, |ms| ms.clamp(RELAY_DOUBT_LEAST_MS, RELAY_DOUBT_MS));
        self.waits(now) >= doubt
    }

    /// Something was sent, and an answer is late: the relay itself is asked, which costs 28 bytes.
    pub fn is_quiet(&self, now: Mono) -> bool {
        self.waits(now) >= NUDGE_MS
    }

    /// [`Watch::is_quiet`], said once for each silence.
    pub fn hurries(&mut self, now: Mono) -> bool {
        self.is_quiet(now) && !std::mem::replace(&mut self.hurried, true)
    }

    fn waits(&self, now: Mono) -> u64 {
        self.waiting.map_or(0, |since| now.millis_since(since))
    }

    /// The peer speaks over the relay: perhaps it does not hear what is sent directly. That something comes from it directly,
    /// its questions at least, proves nothing.
    pub fn challenge(&mut self, now: Mono) {
        if self.challenged.is_none() {
            self.challenged = Some(now);
            self.ask_anew(now);
        }
    }

    /// The peer hears what is sent over the path in use: it has answered a question sent there.
    pub fn confirm(&mut self) {
        self.challenged = None;
    }

    /// It does not.
    pub fn is_beaten(&self, now: Mono) -> bool {
        self.challenged.is_some_and(|since| now.millis_since(since) >= DOUBT_MS)
    }

    /// Only what is named here is remembered.
    pub fn retain(&mut self, places: &[Place]) {
        self.answers.retain(|place, _| places.contains(place));
    }

    /// The path in use is another.
    pub fn moved(&mut self, now: Mono) {
        (self.heard, self.waiting, self.challenged) = (None, None, None);
        (self.elsewhere, self.ahead, self.nudged, self.hurried) = (None, None, false, false);
        self.ask_anew(now);
    }

    /// There are other places to ask: at once, and often at first.
    pub fn ask_anew(&mut self, now: Mono) {
        (self.next, self.round) = (now, 0);
    }

    /// A sign that asking may help now.
    pub fn ask_soon(&mut self, now: Mono) {
        self.next = self.next.min(now.plus_millis(SOON_MS));
    }

    /// What to ask, if it is time. `sent`: packets sent to this peer so far.
    pub fn poll(&mut self, current: Place, places: &[Place], sent: u64, now: Mono) -> Vec<Ping> {
        if std::mem::replace(&mut self.sent, sent) != sent {
            self.waiting.get_or_insert(now);
        }
        let relays = places.iter().filter(|place| !place.is_direct()).count();
        let several = relays > 1 && !current.is_direct();
        let doubted = if several { self.is_relay_doubted(Some(current), now) } else { self.is_doubted(now) };
        if several && !doubted && !self.nudged && self.waits(now) >= NUDGE_MS {
            self.nudged = true;
            return vec![self.ask(current, current, now)];
        }
        if doubted && !self.doubted {
            self.ask_anew(now);
        }
        self.doubted = doubted;
        if now < self.next || current.is_direct() && !doubted && self.challenged.is_none() {
            return Vec::new();
        }
        let direct = |place: &&Place| place.is_direct();
        let asked: Vec<Place> = match current {
            // Perhaps it is a moment only: the other direct ones are asked if it lasts.
            Place::Direct(_) if self.round == 0 => {
                places.iter().filter(|p| **p == current || !p.is_direct()).copied().collect()
            }
            Place::Direct(_) => places.to_vec(),
            Place::Relayed(..) if doubted || several => places.to_vec(),
            Place::Relayed(..) => places.iter().filter(direct).copied().collect(),
        };
        let after = ROUNDS_MS.get(self.round).or(ROUNDS_MS.last()).copied().unwrap_or(SOON_MS);
        self.round = self.round.saturating_add(1);
        self.next = now.plus_millis(after);
        asked.into_iter().map(|to| self.ask(to, current, now)).collect()
    }

    /// A question for one place.
    pub fn ask(&mut self, to: Place, current: Place, now: Mono) -> Ping {
        self.drawn = self.drawn.wrapping_add(1);
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back((self.drawn, to, now));
        Ping { nonce: self.drawn, to, used: to == current }
    }

    /// The place that was asked, if this answers a question of ours.
    pub fn answered(&mut self, nonce: u64, now: Mono) -> Option<Place> {
        let at = self.open.iter().position(|(open, _, _)| *open == nonce)?;
        let (_, place, asked) = self.open.remove(at)?;
        let round_trip = Duration::from_nanos(now.0.saturating_sub(asked.0));
        self.answers.insert(place, Answer { at: now, round_trip });
        Some(place)
    }

    /// Has this relay, which has just answered, led for long enough over the one in use?
    pub fn leads(&mut self, place: Place, current: Place, now: Mono) -> bool {
        let recent = |place| self.recent(place, now);
        let (Some(answer), Some(used)) = (recent(place), recent(current)) else { return false };
        let before = self.ahead.filter(|(ahead, _)| *ahead == place).map_or(0, |(_, times)| times);
        if is_clearly_shorter(answer.round_trip, used.round_trip) {
            // Of two that lead, the one that began keeps its count, unless it is silent now or far behind.
            let other = self.ahead.and_then(|(ahead, _)| recent(ahead));
            let first = other.is_none_or(|other| is_clearly_shorter(answer.round_trip, other.round_trip));
            if before > 0 || first {
                self.ahead = Some((place, before.saturating_add(1)));
            }
        } else if before > 0 {
            self.ahead = None;
        }
        before.saturating_add(1) >= LEAD && self.ahead.is_some_and(|(ahead, _)| ahead == place)
    }

    /// Of these, the one that has answered most quickly lately.
    pub fn quickest(&self, places: impl Iterator<Item = Place>, now: Mono) -> Option<Place> {
        places.min_by_key(|place| self.recent(*place, now).map_or(Duration::MAX, |answer| answer.round_trip))
    }

    fn recent(&self, place: Place, now: Mono) -> Option<Answer> {
        self.answer_of(place).filter(|answer| now.millis_since(answer.at) < RECENT_MS)
    }

    pub fn answer_of(&self, place: Place) -> Option<Answer> {
        self.answers.get(&place).copied()
    }
}

#[cfg(test)]
mod tests {
    use warren_wire::id::RelayId;
    use warren_wire::relay::Seat;

    use super::*;

    /// A thousand of them at once, after a cut cable, must not flood what is left.
    #[test]
    fn a_peer_that_is_gone_is_asked_soon_and_then_less_and_less() {
        let direct = Place::Direct(([192, 0, 2, 1], 1).into());
        let relayed = Place::Relayed(RelayId([1; 16]), Seat::new(7).unwrap());
        for current in [direct, relayed] {
            let mut watch = Watch::default();
            let mut asked = Vec::new();
            for step in 0..700 {
                let now = Mono::from_millis(10_000 + step * 100);
                let pings = watch.poll(current, &[direct, relayed], step, now);
                asked.extend(pings.iter().map(|_| step * 100));
            }
            let within = |from, to| asked.iter().filter(|at| (from..to).contains(*at)).count();
            assert!(within(0, DOUBT_MS + 1_000) >= 4, "{current}: {asked:?}");
            assert!(within(10_000, 70_000) <= 2 * 8, "{current}: {asked:?}");
        }
    }
}
