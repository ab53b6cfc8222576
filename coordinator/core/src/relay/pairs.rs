//! Which seats may talk to which. Nothing is known of a pair before it talks; what is known comes from the coordinator and
//! has an end.

use std::collections::HashMap;
use std::time::Duration;

use super::Moment;

use warren_wire::relay::Seat;

/// A yes holds so long without being renewed; it is asked for again in the last quarter.
pub const PERMIT_LIFE: Duration = Duration::from_secs(600);
/// A no is remembered so long, and a question is waited for.
pub const REFUSAL_LIFE: Duration = Duration::from_secs(5);
/// What was held for want of somebody to ask holds so long when there is somebody again.
pub const RESUMED: Duration = Duration::from_secs(30);
/// Questions of one seat at once, and how many more a second.
pub const ASKS: u32 = 1024;
pub(super) const ASKS_PER_SECOND: u32 = 64;
/// Pairs that are remembered.
pub const MAX_PAIRS: usize = 1 << 20;

/// Two seats, whoever speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair(Seat, Seat);

impl Pair {
    pub fn of(a: Seat, b: Seat) -> Pair {
        Pair(a.min(b), a.max(b))
    }
    pub fn low(&self) -> Seat {
        self.0
    }
    pub fn high(&self) -> Seat {
        self.1
    }
    pub fn has(&self, seat: Seat) -> bool {
        self.0 == seat || self.1 == seat
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Asked { until: Moment },
    Allowed { until: Moment, asked_again: bool },
    Refused { until: Moment },
}

impl Known {
    fn until(&self) -> Moment {
        match self {
            Known::Asked { until } | Known::Allowed { until, .. } | Known::Refused { until } => *until,
        }
    }
}

/// What holds of a pair now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Allowed,
    /// Allowed still; it is time to ask again.
    EndsSoon,
    Refused,
    /// The answer is awaited.
    Asked,
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Pairs {
    known: HashMap<Pair, Known>,
    /// Nobody can be asked: what is allowed does not end.
    held: bool,
}

fn after(now: Moment, life: Duration) -> Moment {
    now.checked_add(life).unwrap_or(now)
}

impl Pairs {
    pub fn standing(&self, pair: Pair, now: Moment) -> Standing {
        match self.known.get(&pair).filter(|known| self.lasts(known, now)) {
            None => Standing::Unknown,
            Some(Known::Asked { .. }) => Standing::Asked,
            Some(Known::Refused { .. }) => Standing::Refused,
            Some(Known::Allowed { until, asked_again }) => {
                let soon = until.saturating_sub(now) < PERMIT_LIFE / 4;
                if soon && !asked_again && !self.held { Standing::EndsSoon } else { Standing::Allowed }
            }
        }
    }

    fn lasts(&self, known: &Known, now: Moment) -> bool {
        now < known.until() || self.held && matches!(known, Known::Allowed { .. })
    }

    /// Nobody can be asked from now on.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Somebody can be asked again, and is: what would have ended meanwhile ends a moment later.
    pub fn resume(&mut self, now: Moment) {
        self.held = false;
        let least = after(now, RESUMED);
        for known in self.known.values_mut() {
            if let Known::Allowed { until, asked_again } = known {
                (*until, *asked_again) = ((*until).max(least), true);
            }
        }
    }

    /// Notes that this is asked now. False if somebody else was faster, or too much is remembered.
    pub fn ask(&mut self, pair: Pair, now: Moment) -> bool {
        let (until, room) = (after(now, REFUSAL_LIFE), self.known.len() < MAX_PAIRS);
        match (self.standing(pair, now), self.known.get_mut(&pair)) {
            (Standing::EndsSoon, Some(Known::Allowed { asked_again, .. })) => *asked_again = true,
            (Standing::Unknown, Some(known)) => *known = Known::Asked { until },
            (Standing::Unknown, None) if room => {
                self.known.insert(pair, Known::Asked { until });
            }
            _ => return false,
        }
        true
    }

    pub fn answer(&mut self, pair: Pair, may: bool, now: Moment) {
        let known = match may {
            true => Known::Allowed { until: after(now, PERMIT_LIFE), asked_again: false },
            false => Known::Refused { until: after(now, REFUSAL_LIFE) },
        };
        if self.known.len() < MAX_PAIRS || self.known.contains_key(&pair) {
            self.known.insert(pair, known);
        }
    }

    pub fn not_asked(&mut self, pair: Pair) {
        match self.known.get_mut(&pair) {
            Some(Known::Allowed { asked_again, .. }) => *asked_again = false,
            Some(Known::Asked { .. }) => self.remove(&[pair]),
            Some(Known::Refused { .. }) | None => {}
        }
    }

    pub fn allowed(&self) -> impl Iterator<Item = Pair> + '_ {
        let allowed = self.known.iter().filter(|(_, known)| matches!(known, Known::Allowed { .. }));
        allowed.map(|(pair, _)| *pair)
    }

    /// These are no longer allowed, and nothing is refused any more.
    pub fn withdraw(&mut self, gone: &[Pair]) {
        self.remove(gone);
        self.known.retain(|_, known| !matches!(known, Known::Refused { .. }));
    }

    pub fn over(&self, now: Moment) -> Vec<Pair> {
        self.known.iter().filter(|(_, known)| !self.lasts(known, now)).map(|(pair, _)| *pair).collect()
    }

    pub fn remove(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            self.known.remove(pair);
        }
    }

    pub fn forget(&mut self, which: impl Fn(&Pair) -> bool) {
        self.known.retain(|pair, _| !which(pair));
    }
}
