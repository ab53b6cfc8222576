//! How far back the steps of each resolution reach, and which of them answer a question.

use rusqlite::params;
use warren_config::time::UnixTime;
use warren_coordinator_core::map::{self, RESOLUTIONS};

use super::edges::{EdgeRetention, EdgeStore, floor, number, table};

/// Since when each resolution has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    since: [UnixTime; 3],
    /// The oldest step there is, of any resolution; none: nothing was recorded.
    pub recorded_since: Option<UnixTime>,
}

impl Reach {
    /// As the settings promise.
    pub fn of(keep: EdgeRetention, now: UnixTime) -> Reach {
        let ages = [(1, keep.seconds), (60, keep.minutes), (3600, keep.hours)];
        let since = ages.map(|(step, age)| floor(UnixTime(now.0.saturating_sub(age)), step));
        Reach { since, recorded_since: None }
    }

    pub fn since(&self, resolution: u64) -> UnixTime {
        let known = RESOLUTIONS.into_iter().zip(self.since);
        known.filter(|(step, _)| *step == resolution).map(|(_, since)| since).next().unwrap_or_default()
    }

    /// The finest step that fits the length of the stretch and still reaches its beginning; where none does, the one that
    /// reaches furthest.
    pub fn resolution(&self, from: UnixTime, until: UnixTime) -> u64 {
        let fits = map::resolution(until.since(from));
        let (coarse, fine): (Vec<u64>, Vec<u64>) = RESOLUTIONS.into_iter().partition(|step| *step >= fits);
        let mut steps = coarse.into_iter().chain(fine.into_iter().rev());
        let reaches = |step: &u64| self.since(*step) <= floor(from, *step);
        steps
            .clone()
            .find(reaches)
            .or_else(|| steps.by_ref().min_by_key(|step| self.since(*step)))
            .unwrap_or(fits)
    }
}

impl EdgeStore {
    /// What the settings promise, less what is not there: settings may have said less before.
    pub fn reach(&self, keep: EdgeRetention, now: UnixTime) -> rusqlite::Result<Reach> {
        // All looks see the same rows.
        let _one_moment = self.connection.unchecked_transaction()?;
        let mut reach = Reach::of(keep, now);
        for (i, step) in RESOLUTIONS.into_iter().enumerate() {
            let oldest = self.oldest(step)?;
            reach.recorded_since = [reach.recorded_since, oldest].into_iter().flatten().min();
            for coarser in RESOLUTIONS.into_iter().skip(i + 1) {
                let Some(since) = reach.since.get_mut(i) else { continue };
                let gap = self.last_between(coarser, *since, floor(oldest.unwrap_or(now), coarser))?;
                *since = gap.map_or(*since, |gap| (*since).max(gap.plus(coarser)));
            }
        }
        Ok(reach)
    }

    /// The newest whole step in `[from, until)`.
    fn last_between(&self, step: u64, from: UnixTime, until: UnixTime) -> rusqlite::Result<Option<UnixTime>> {
        let whole = from.0.div_ceil(step).saturating_mul(step);
        let query = format!("SELECT max(at) FROM {} WHERE at >= ?1 AND at < ?2", table(step));
        let last: Option<i64> =
            self.connection.query_row(&query, params![number(whole), number(until.0)], |row| row.get(0))?;
        Ok(last.map(|at| UnixTime(at.unsigned_abs())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::edges::tests::{second, store};
    use super::*;

    const NOW: UnixTime = UnixTime(10_000_000);
    const DAY: u64 = 24 * 3600;

    fn ago(seconds: u64) -> UnixTime {
        UnixTime(NOW.0 - seconds)
    }

    #[test]
    fn a_question_about_the_past_is_answered_by_the_finest_steps_that_are_still_kept() {
        let reach = Reach::of(EdgeRetention::default(), NOW);
        let chosen = |back: u64, window: u64| reach.resolution(ago(back + window), ago(back));
        assert_eq!([chosen(0, 300), chosen(3000, 300)], [1, 1]);
        assert_eq!([chosen(3301, 300), chosen(DAY, 300), chosen(2 * DAY, 36_000)], [60, 60, 60]);
        assert_eq!([chosen(3 * DAY, 300), chosen(29 * DAY, 300), chosen(0, 7 * DAY)], [3600, 3600, 3600]);
        // Nothing is kept of then: the one that reaches furthest says since when.
        assert_eq!(chosen(40 * DAY, 300), 3600);
        assert_eq!(reach.since(3600), floor(ago(30 * DAY), 3600));
        // The settings decide, and not a rule of thumb.
        let keep = EdgeRetention { seconds: 10 * DAY, minutes: 60, hours: DAY };
        let reach = Reach::of(keep, NOW);
        assert_eq!(reach.resolution(ago(9 * DAY), ago(9 * DAY - 300)), 1);
        assert_eq!(reach.resolution(ago(9 * DAY), ago(2 * DAY)), 1, "only the seconds reach so far");
    }

    #[test]
    fn steps_that_were_deleted_under_shorter_settings_do_not_answer() {
        let (_dir, mut store) = store();
        let at = ago(5 * 3600);
        store.add(&[second(at.0, true, 1, "a"), second(NOW.0 - 10, true, 1, "a")], &[]).expect("add");
        let (short, long) =
            (EdgeRetention::default(), EdgeRetention { seconds: DAY, ..EdgeRetention::default() });
        let chosen = |store: &EdgeStore| {
            let reach = store.reach(long, NOW).expect("reach");
            (reach.resolution(at, at.plus(60)), reach.recorded_since)
        };
        assert_eq!(chosen(&store), (1, Some(floor(at, 3600))));
        store.prune(short, NOW).expect("prune");
        assert_eq!(chosen(&store).0, 60);
        // Where it is quiet and nothing was deleted, the seconds answer.
        let reach = store.reach(long, NOW).expect("reach");
        assert_eq!(reach.resolution(ago(3600), ago(3500)), 1);
    }
}
