//! The slow judge of the relay: one frame after the other, every counter remembered, no run and no batch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use warren_coordinator_core::relay::{
    MAX_FRAME, MAX_PING, Moment, PERMIT_LIFE, PLACE_LIFE, Place, REFUSAL_LIFE, RESUMED, WINDOW,
};
use warren_wire::relay::{self, Head, Seat, TagKey};

/// What must come out of one batch.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    pub sent: Vec<(Place, Vec<u8>)>,
    pub asked: Vec<(u32, u32)>,
}

pub struct Keys {
    pub up: TagKey,
    pub down: TagKey,
    pub until: Moment,
}

pub struct Chair {
    pub keys: Keys,
    pub next: Option<Keys>,
    used: BTreeSet<u64>,
    place: Option<(Place, Moment)>,
}

#[derive(Clone, Copy)]
enum Known {
    Asked,
    Yes { again: bool },
    No,
}

#[derive(Default)]
pub struct Judge {
    held: bool,
    pub chairs: BTreeMap<u32, Chair>,
    known: BTreeMap<(u32, u32), (Known, Moment)>,
    kept: BTreeMap<(u32, u32), (Vec<u8>, Moment)>,
}

fn pair(a: u32, b: u32) -> (u32, u32) {
    (a.min(b), a.max(b))
}

impl Judge {
    pub fn seat(&mut self, seat: u32, keys: Keys, now: Moment) {
        let here = self.place(seat, now).is_some();
        match self.chairs.get_mut(&seat) {
            Some(chair) if chair.keys.up == keys.up => chair.keys.until = keys.until,
            Some(chair) if here => chair.next = Some(keys),
            Some(chair) => (chair.keys, chair.next, chair.used) = (keys, None, BTreeSet::new()),
            None => {
                self.chairs.insert(seat, Chair { keys, next: None, used: BTreeSet::new(), place: None });
            }
        }
    }

    pub fn unseat(&mut self, seat: u32) {
        self.chairs.remove(&seat);
        self.known.retain(|(a, b), _| *a != seat && *b != seat);
        self.kept.retain(|(a, b), _| *a != seat && *b != seat);
    }

    pub fn place(&self, seat: u32, now: Moment) -> Option<Place> {
        let chair = self.chairs.get(&seat)?;
        let (place, at) = chair.place?;
        (now - at < PLACE_LIFE && now < chair.keys.until).then_some(place)
    }

    pub fn answer(&mut self, a: u32, b: u32, may: bool, now: Moment) -> Option<(Place, Vec<u8>)> {
        if !self.chairs.contains_key(&a) || !self.chairs.contains_key(&b) {
            return None;
        }
        let known = if may {
            (Known::Yes { again: false }, now + PERMIT_LIFE)
        } else {
            (Known::No, now + REFUSAL_LIFE)
        };
        self.known.insert(pair(a, b), known);
        let (frame, _) = self.kept.remove(&pair(a, b))?;
        let to = relay::read(&frame)?.0.to.number();
        may.then(|| Some((self.place(to, now)?, self.stamped(frame, to))))?
    }

    /// What is allowed does not end.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// What would have ended lasts a moment, and is being asked about.
    pub fn resume(&mut self, now: Moment) {
        self.held = false;
        for (known, until) in self.known.values_mut() {
            if let Known::Yes { again } = known {
                (*again, *until) = (true, (*until).max(now + RESUMED));
            }
        }
    }

    /// Those that are peers go on, those that are not do not, and what was refused is unknown again.
    pub fn retain(&mut self, peers: impl Fn(u32, u32) -> bool) {
        self.known.retain(|(a, b), (known, _)| match known {
            Known::Yes { .. } => peers(*a, *b),
            Known::No => false,
            Known::Asked => true,
        });
    }

    pub fn tidy(&mut self, now: Moment) {
        let over =
            |chair: &Chair| chair.keys.until <= now && chair.next.as_ref().is_none_or(|n| n.until <= now);
        let over: Vec<u32> =
            self.chairs.iter().filter(|(_, chair)| over(chair)).map(|(seat, _)| *seat).collect();
        over.into_iter().for_each(|seat| self.unseat(seat));
        self.kept.retain(|_, (_, since)| now - *since < REFUSAL_LIFE);
        let held = self.held;
        self.known.retain(|_, (known, until)| now < *until || held && matches!(known, Known::Yes { .. }));
    }

    fn stamped(&self, mut frame: Vec<u8>, to: u32) -> Vec<u8> {
        relay::stamp(&mut frame, &self.chairs[&to].keys.down);
        frame
    }

    /// Frames that follow each other and have the same ends are judged as one: their places, then their fates.
    pub fn batch(&mut self, from: Place, frames: &[Vec<u8>], now: Moment) -> Outcome {
        let mut outcome = Outcome::default();
        let ends = |frame: &Vec<u8>| relay::read(frame).map(|(head, _)| (head.from, head.to));
        for run in frames.chunk_by(|a, b| ends(a).is_some() && ends(a) == ends(b)) {
            let good: Vec<&Vec<u8>> = run.iter().filter(|frame| self.authentic(from, frame, now)).collect();
            for frame in good {
                self.fate(frame, now, &mut outcome);
            }
        }
        outcome
    }

    fn authentic(&mut self, from: Place, frame: &[u8], now: Moment) -> bool {
        let Some((head, carried)) = relay::read(frame) else { return false };
        let Some(chair) = self.chairs.get_mut(&head.from.number()) else { return false };
        let most = if head.to.is_relay() { MAX_PING } else { MAX_FRAME - relay::HEAD };
        if carried.len() > most {
            return false;
        }
        if !relay::verify(frame, &chair.keys.up) {
            let Some(next) = chair.next.take_if(|next| relay::verify(frame, &next.up)) else { return false };
            (chair.keys, chair.used) = (next, BTreeSet::new());
        }
        let newest = chair.used.last().copied().unwrap_or(0);
        let old = newest.saturating_sub(head.counter) >= WINDOW;
        if chair.keys.until <= now || old || !chair.used.insert(head.counter) {
            return false;
        }
        if head.counter >= newest {
            chair.place = Some((from, now));
        }
        true
    }

    fn fate(&mut self, frame: &[u8], now: Moment, outcome: &mut Outcome) {
        let (head, _) = relay::read(frame).unwrap();
        let (from, to) = (head.from.number(), head.to.number());
        if to == 0 {
            let Some(place) = self.place(from, now) else { return };
            let mut pong = frame.to_vec();
            relay::write(
                &mut pong,
                Head { from: Seat::RELAY, to: head.from, ..head },
                &self.chairs[&from].keys.down,
            );
            return outcome.sent.push((place, pong));
        }
        if from == to || !self.chairs.contains_key(&to) {
            return;
        }
        let pair = pair(from, to);
        let lasts =
            |known: &Known, until: Moment| now < until || self.held && matches!(known, Known::Yes { .. });
        let known = self.known.get(&pair).copied().filter(|(known, until)| lasts(known, *until));
        let ask = match known {
            Some((Known::Yes { again: false }, until)) => {
                !self.held && until.saturating_sub(now) < PERMIT_LIFE / 4
            }
            Some(_) => false,
            None => true,
        };
        if ask {
            outcome.asked.push(pair);
            let note = known
                .map_or((Known::Asked, now + REFUSAL_LIFE), |(_, until)| (Known::Yes { again: true }, until));
            self.known.insert(pair, note);
        }
        match known {
            Some((Known::Yes { .. }, _)) => {
                if let Some(place) = self.place(to, now) {
                    outcome.sent.push((place, self.stamped(frame.to_vec(), to)));
                }
            }
            None => {
                self.kept.entry(pair).or_insert((frame.to_vec(), now));
            }
            Some(_) => {}
        }
    }
}

/// A moment that is far enough from the beginning of the clock.
pub fn start() -> Moment {
    Duration::from_secs(1000) + Duration::from_secs(3600)
}
