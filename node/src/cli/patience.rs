//! When an unattended host shows its token again: at once after nothing, later and later after a no.
//!
//! A way that does not work now may work soon: 1 s, 2 s, … 60 s. A token that is refused stays refused until somebody changes the
//! file or makes room: 30 s, 60 s, … 10 min, or as soon as the token is another one. Each wait is between half of that and all of
//! it, so that a fleet that was started by one hand does not come back as one.

use std::time::Duration;

use warren_node_core::control::enrolment::EnrolError;
use warren_wire::frame::RefusalCode;

use crate::error::Error;
use crate::link::EnrolFailure;

/// First and longest wait.
const PASSING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const REFUSED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// What another try may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nobody answered, or there was no place.
    Passing,
    /// It was answered, with no.
    Refused,
    /// This host is at fault: somebody must look.
    Hopeless,
}

/// What comes of an enrolment that failed so.
pub fn outlook(error: &Error) -> Outlook {
    match error {
        Error::Enrol(EnrolFailure::Unreachable(_) | EnrolFailure::BrokenOff { .. }) => Outlook::Passing,
        Error::Enrol(EnrolFailure::Refused(EnrolError::Refused { code, .. })) => match code {
            RefusalCode::Overloaded | RefusalCode::Replaced => Outlook::Passing,
            _ => Outlook::Refused,
        },
        Error::Enrol(_) | Error::Token(_) | Error::Usage(_) | Error::NotEnrolled(_) => Outlook::Refused,
        _ => Outlook::Hopeless,
    }
}

/// Waits in a row of failures.
#[derive(Debug, Default)]
pub struct Patience {
    last: Option<Outlook>,
    failures: u32,
}

impl Patience {
    /// How long to wait after one more failure; `random` is any number.
    pub fn after(&mut self, outlook: Outlook, random: u64) -> Duration {
        self.failures = if self.last == Some(outlook) { self.failures.saturating_add(1) } else { 0 };
        self.last = Some(outlook);
        let (first, longest) = if outlook == Outlook::Passing { PASSING } else { REFUSED };
        let whole = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half + random % (half + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(outlook: Outlook, random: u64) -> Vec<u64> {
        let mut patience = Patience::default();
        (0..8).map(|_| patience.after(outlook, random).as_secs()).collect()
    }

    #[test]
    fn a_token_that_is_refused_is_shown_ever_more_seldom() {
        assert_eq!(waits(Outlook::Refused, 0), [15, 30, 60, 120, 240, 300, 300, 300]);
        assert_eq!(waits(Outlook::Passing, 0), [0, 1, 2, 4, 8, 16, 30, 30]);
        let most = waits(Outlook::Passing, 30_000).into_iter().max();
        assert_eq!(most, Some(60), "never longer than the longest wait");
    }

    #[test]
    fn after_a_refusal_an_absence_is_judged_as_the_first() {
        let mut patience = Patience::default();
        for _ in 0..5 {
            patience.after(Outlook::Refused, 0);
        }
        assert_eq!(patience.after(Outlook::Passing, 0), Duration::from_millis(500));
    }

    #[test]
    fn who_is_refused_for_the_token_waits_longer_than_who_finds_nobody() {
        let refused = |code| {
            let error = EnrolError::Refused { code, message: String::new() };
            outlook(&Error::Enrol(EnrolFailure::Refused(error)))
        };
        assert_eq!(refused(RefusalCode::TokenExpired), Outlook::Refused);
        assert_eq!(refused(RefusalCode::Overloaded), Outlook::Passing);
        assert_eq!(outlook(&Error::Enrol(EnrolFailure::Unreachable(Vec::new()))), Outlook::Passing);
        assert_eq!(outlook(&Error::Failed("no disk".into())), Outlook::Hopeless);
    }
}
