//! One seat: whose it is, by which keys, where its node is, and what it may still send.
//!
//! New keys come with a new control session, and their node hears of them a moment later than the relay. Until the first
//! frame that is written with them the old ones hold, both ways, so that nothing is lost over a reconnection.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use warren_wire::id::NodeId;
use warren_wire::relay::{self, Seat, TagKey};

use super::Moment;
use super::Place;
use super::counts::Refused;
use super::limit::{Bucket, Budget, Limits};
use super::pairs::{ASKS, ASKS_PER_SECOND};
use super::window::{Counter, Window};

/// A node that shows itself less often than this is not here: its NAT will have forgotten it.
pub const PLACE_LIFE: Duration = Duration::from_secs(150);

/// A seat as it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seating {
    pub seat: Seat,
    pub node: NodeId,
    pub up: TagKey,
    pub down: TagKey,
    pub until: Moment,
}

#[derive(Debug)]
struct Keys {
    up: TagKey,
    down: TagKey,
    until: Moment,
}

impl Keys {
    fn of(seating: Seating) -> Keys {
        Keys { up: seating.up, down: seating.down, until: seating.until }
    }
}

#[derive(Debug)]
pub(super) struct Chair {
    pub node: NodeId,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    keys: Keys,
    /// Not used yet.
    next: Option<Keys>,
    window: Window,
    place: Option<(Place, Moment)>,
    bucket: Bucket,
    asks: Budget,
}

impl Chair {
    pub fn new(seating: Seating, now: Moment) -> Chair {
        let node = seating.node;
        let state = State {
            keys: Keys::of(seating),
            next: None,
            window: Window::default(),
            place: None,
            bucket: Bucket::new(now),
            asks: Budget::new(now),
        };
        Chair { node, state: Mutex::new(state) }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// More time for the keys it has, or new keys.
    pub fn renew(&self, seating: Seating, now: Moment) {
        let mut state = self.lock();
        let given = Keys::of(seating);
        let same = |keys: &Keys| keys.up == given.up && keys.down == given.down;
        if same(&state.keys) {
            state.keys.until = given.until;
        } else if state.place(now).is_some() {
            state.next = Some(given);
        } else {
            state.begin(given);
        }
    }

    pub fn is_over(&self, now: Moment) -> bool {
        let state = self.lock();
        state.keys.until <= now && state.next.as_ref().is_none_or(|next| next.until <= now)
    }
}

impl State {
    fn begin(&mut self, keys: Keys) {
        (self.keys, self.next, self.window) = (keys, None, Window::default());
    }

    /// A frame that says it is of this seat: is it, for the first time, and not one too many?
    pub fn handle(
        &mut self,
        frame: &[u8],
        counter: u64,
        from: Place,
        limits: &Limits,
        now: Moment,
    ) -> Result<(), Refused> {
        if !relay::verify(frame, &self.keys.up) {
            let next = self.next.take_if(|next| relay::verify(frame, &next.up));
            self.begin(next.ok_or(Refused::BadTag)?);
        }
        if self.keys.until <= now {
            return Err(Refused::SeatOver);
        }
        match self.window.take(counter) {
            Counter::Used => return Err(Refused::Replayed),
            Counter::Newest => self.place = Some((from, now)),
            Counter::Late => {}
        }
        self.bucket.take(frame.len(), limits, now).then_some(()).ok_or(Refused::OverLimit)
    }

    /// Where its node has shown to be.
    pub fn place(&self, now: Moment) -> Option<Place> {
        let (place, at) = self.place?;
        let lately = now.saturating_sub(at) < PLACE_LIFE && now < self.keys.until;
        lately.then_some(place)
    }

    /// What its node knows frames of this relay by.
    pub fn down(&self) -> &TagKey {
        &self.keys.down
    }

    pub fn may_ask(&mut self, now: Moment) -> bool {
        self.asks.take(ASKS, ASKS_PER_SECOND, now)
    }
}
