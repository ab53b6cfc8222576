//! How often strangers are answered: so many a second of one source, and so many of all.
//!
//! What all share is divided, as at a node's port: one part is for those who ask rarely, which is all an honest one needs, and
//! however much ten thousand others ask for, they ask it of the other parts.
//!
//! Nothing is remembered of a source but moments, in tables of a fixed size. Where a source's moments stand nobody outside
//! knows, and each has four: who shares some with a flood still has another.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use super::Kind;
use crate::source::Source;

/// Moments in each row: of 10,000 sources, one in 200 has none to itself. Takes memory by use.
const ROW: usize = 32_768;
const ROWS: usize = 4;

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

const fn rate(burst: u32, every_us: u64) -> Rate {
    Rate { burst, every: Duration::from_micros(every_us) }
}

/// While few strangers ask, many of them may be behind one NAT.
const CALM: [Rates; 2] = [
    Rates { source: rate(128, 15_625), total: rate(512, 3_906) },
    Rates { source: rate(128, 15_625), total: rate(256, 7_812) },
];
/// For those who ask rarely: a node asks every 25 s, and a handshake has a few datagrams before its address is proven. Of
/// 20,000 sources that ask without end, none comes before who does not.
const RARE: [Rates; 2] = [
    Rates { source: rate(4, 5_000_000), total: rate(1000, 250) },
    Rates { source: rate(8, 5_000_000), total: rate(1000, 250) },
];
/// For those who ask more. With what the others have, what 250 addresses go on asking for fits for three seconds into the
/// buffers: an answer in a handshake takes three times the room of one to a question, so there are fewer.
const FLOOD: [Rates; 2] = [
    Rates { source: rate(8, 500_000), total: rate(2000, 500) },
    Rates { source: rate(4, 1_000_000), total: rate(2000, 500) },
];

/// All that strangers are given of one kind.
#[derive(Debug)]
pub struct Rations([Ration; 3]);

impl Rations {
    pub fn of(kind: Kind) -> Rations {
        Rations([CALM, RARE, FLOOD].map(|[question, handshake]| {
            Ration::new(match kind {
                Kind::Question => question,
                Kind::Handshake => handshake,
            })
        }))
    }

    /// May `source` be answered once more? `now` counts from any moment.
    pub fn take(&self, source: Source, now: Duration) -> bool {
        self.0.iter().any(|ration| ration.take(source, now))
    }
}

/// Takes one of `cell`, if it has one: when what was taken will have been given back, in nanoseconds (a generic cell rate).
fn take(cell: &mut u64, rate: Rate, now: u64) -> bool {
    let most = nanos(rate.every).saturating_mul(u64::from(rate.burst.saturating_sub(1)));
    let has = *cell <= now.saturating_add(most);
    if has {
        *cell = now.max(*cell).saturating_add(nanos(rate.every));
    }
    has
}

#[derive(Debug)]
struct Cells {
    rows: [Vec<u64>; ROWS],
    total: u64,
}

#[derive(Debug)]
pub struct Ration {
    rates: Rates,
    hash: RandomState,
    cells: Mutex<Cells>,
}

impl Ration {
    pub fn new(rates: Rates) -> Ration {
        // Numbers, because then the memory comes from the system as zeros, and a page that nobody falls into is never there.
        let cells = Cells { rows: std::array::from_fn(|_| vec![0; ROW]), total: 0 };
        Ration { rates, hash: RandomState::new(), cells: Mutex::new(cells) }
    }

    pub fn take(&self, source: Source, now: Duration) -> bool {
        let (hash, now) = (self.hash.hash_one(source), nanos(now));
        let mut cells = self.cells.lock();
        let Cells { rows, total } = &mut *cells;
        let mut may = false;
        for (row, hash) in rows.iter_mut().zip([hash, hash >> 16, hash >> 32, hash >> 48]) {
            let cell = row.get_mut(hash as usize % ROW);
            may |= cell.is_some_and(|cell| take(cell, self.rates.source, now));
        }
        // Who asks in vain has asked: his share is used up all the same, and what all have is left to others.
        may && take(total, self.rates.total, now)
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

    /// Of a hundred who ask once, beside `sources` that ask 40,000 times a second together for long: how many are answered.
    fn answered_beside(kind: Kind, sources: u32) -> usize {
        let rations = Rations::of(kind);
        let mut answered = 0;
        for number in 0..20 * 40_000u32 {
            let now = Duration::from_secs(1) + Duration::from_micros(25) * number;
            rations.take(source(number % sources), now);
            if number >= 400_000 && number % 4000 == 0 {
                answered += usize::from(rations.take(source(1_000_000 + number), now));
            }
        }
        answered
    }

    #[test]
    fn who_asks_rarely_is_answered_however_much_ten_thousand_others_ask() {
        for kind in [Kind::Question, Kind::Handshake] {
            for sources in [250, 2000, 10_000] {
                let answered = answered_beside(kind, sources);
                assert!(answered >= 95, "{answered} of 100 beside {sources}, {kind:?}");
            }
        }
    }

    #[test]
    fn what_250_addresses_go_on_asking_for_fits_into_the_buffers() {
        // What the kernel takes for a datagram of each kind, and what all sockets for strangers have.
        let (room, all) = ([768, 2304], 16 * 2 * 208 * 1024);
        let taken = |(kind, room): (Kind, usize)| {
            let rations = Rations::of(kind);
            let asked = |number: &u32| {
                let now = Duration::from_secs(20) + Duration::from_micros(333) * *number;
                rations.take(source(number % 250), now)
            };
            (0..60_000).for_each(|number| _ = asked(&number));
            (60_000..69_000).filter(asked).count() * room
        };
        let taken: usize = [Kind::Question, Kind::Handshake].into_iter().zip(room).map(taken).sum();
        assert!(taken <= all, "{taken} bytes in three seconds, of {all}");
    }
}
