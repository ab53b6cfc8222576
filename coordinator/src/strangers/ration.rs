//! How often strangers are answered: so many a second of one source, and so many of all.
//!
//! Nothing is remembered of a source but a moment, in a table of a fixed size. Where a source's moments stand nobody outside
//! knows, and each has two: who shares one with a flood still has the other.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use crate::source::Source;

/// Moments in each of the two rows.
const ROW: usize = 8192;

/// So many at once, and then one in so long.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub burst: u32,
    pub every: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub source: Rate,
    pub total: Rate,
}

/// When what was taken will have been given back, in nanoseconds (a generic cell rate).
#[derive(Clone, Copy, Debug, Default)]
struct Cell(u64);

impl Cell {
    fn has(self, rate: Rate, now: u64) -> bool {
        let most = nanos(rate.every).saturating_mul(u64::from(rate.burst.saturating_sub(1)));
        self.0 <= now.saturating_add(most)
    }

    fn take(&mut self, rate: Rate, now: u64) {
        self.0 = self.0.max(now).saturating_add(nanos(rate.every));
    }
}

#[derive(Debug)]
struct Cells {
    rows: [Vec<Cell>; 2],
    total: Cell,
}

#[derive(Debug)]
pub struct Ration {
    rates: Rates,
    hash: RandomState,
    cells: Mutex<Cells>,
}

impl Ration {
    pub fn new(rates: Rates) -> Ration {
        let row = || vec![Cell::default(); ROW];
        let cells = Cells { rows: [row(), row()], total: Cell::default() };
        Ration { rates, hash: RandomState::new(), cells: Mutex::new(cells) }
    }

    /// May `source` be answered once more? `now` counts from any moment.
    pub fn take(&self, source: Source, now: Duration) -> bool {
        let (hash, now) = (self.hash.hash_one(source), nanos(now));
        let mut cells = self.cells.lock();
        let Cells { rows, total } = &mut *cells;
        if !total.has(self.rates.total, now) {
            return false;
        }
        let mut may = false;
        for (row, hash) in rows.iter_mut().zip([hash, hash >> 32]) {
            let Some(cell) = row.get_mut(hash as usize % ROW) else { continue };
            // One that others have used up is not made worse.
            if cell.has(self.rates.source, now) {
                cell.take(self.rates.source, now);
                may = true;
            }
        }
        if may {
            total.take(self.rates.total, now);
        }
        may
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const RATES: Rates = Rates {
        source: Rate { burst: 8, every: Duration::from_millis(500) },
        total: Rate { burst: 4000, every: Duration::from_micros(250) },
    };

    fn source(number: u32) -> Source {
        Source::of(IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number)))
    }
    fn answered(ration: &Ration, from: Source, times: usize, now: Duration) -> usize {
        (0..times).filter(|_| ration.take(from, now)).count()
    }

    #[test]
    fn a_source_is_answered_so_often_at_once_and_then_so_often_a_second() {
        let (ration, second) = (Ration::new(RATES), Duration::from_secs(1));
        assert_eq!(answered(&ration, source(1), 100, second), 8);
        assert_eq!(answered(&ration, source(1), 100, second * 2), 2);
        assert_eq!(answered(&ration, source(1), 100, second * 60), 8, "what was not used is not saved up");
    }

    #[test]
    fn who_asks_beside_a_flood_from_hundreds_of_sources_is_answered() {
        let (ration, now) = (Ration::new(RATES), Duration::from_secs(1));
        let flood =
            |times, now| (0..250).map(|number| answered(&ration, source(number), times, now)).sum::<usize>();
        // But for the few that share both of their moments with others.
        assert!((1900..=2000).contains(&flood(10, now)));
        let later = Duration::from_secs(2);
        assert!((400..=700).contains(&flood(10, later)));
        let honest = (1000..2000).filter(|number| ration.take(source(*number), later)).count();
        assert!(honest >= 990, "{honest} of 1000");
    }

    #[test]
    fn all_together_are_answered_so_often_and_no_more() {
        let (ration, now) = (Ration::new(RATES), Duration::from_secs(1));
        let taken = (0..20_000).filter(|number| ration.take(source(*number), now)).count();
        assert!(taken <= 4000, "{taken}");
        let later = (20_000..40_000).filter(|number| ration.take(source(*number), now + now)).count();
        assert!((1..=4000).contains(&later), "{later}");
    }
}
