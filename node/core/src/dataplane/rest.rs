//! An offload that was refused rests for a while and is then tried again: the refusal may have been of one link, or of one
//! moment, and an agent runs for months.

use crate::clock::Mono;

/// The first rest. Refused again right after it, the next is twice as long.
const FIRST_MS: u64 = 60_000;
const LONGEST_MS: u64 = 3_600_000;

/// `Rest::default()` is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    until: Mono,
    ms: u64,
}

impl Rest {
    pub fn is_over(&self, now: Mono) -> bool {
        self.until <= now
    }

    /// Refused now. If it had worked since the last rest for as long as that was, this is another trouble.
    pub fn begin(&mut self, now: Mono) {
        let again = self.ms > 0 && now.millis_since(self.until) < self.ms;
        self.ms = if again { self.ms.saturating_mul(2).min(LONGEST_MS) } else { FIRST_MS };
        self.until = now.plus_millis(self.ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_and_again_is_tried_less_and_less_but_at_least_every_hour() {
        let (mut rest, mut now) = (Rest::default(), Mono::from_millis(5_000));
        assert!(rest.is_over(now));
        let mut rests = Vec::new();
        for _ in 0..9 {
            rest.begin(now);
            let begun = now;
            while !rest.is_over(now) {
                now = now.plus_millis(1_000);
            }
            rests.push(now.millis_since(begun) / 60_000);
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn after_a_good_while_a_refusal_is_the_first_again() {
        let (mut rest, now) = (Rest::default(), Mono::from_millis(5_000));
        rest.begin(now);
        rest.begin(now.plus_secs(61));
        let later = now.plus_secs(61 + 120 + 121);
        rest.begin(later);
        assert!(!rest.is_over(later.plus_secs(59)) && rest.is_over(later.plus_secs(60)));
    }
}
