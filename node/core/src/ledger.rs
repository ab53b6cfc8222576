//! How much was judged, counted at the judge and not where records are made: the other side of the account.
//!
//! The numbers lie in memory that may outlive the agent (a file under `/run`, mapped): what an agent that was killed had
//! judged and not yet reported is known to the next one, to the packet. Each worker has a cell of its own, a cache line
//! wide, so that counting costs no two workers anything of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use warren_wire::flow::Amount;

use crate::conntrack::Load;

/// Cells: two for each worker, one for all others.
pub const CELLS: usize = 32;
/// Words of a cell: packets, bytes, and the rest of a cache line.
pub const STRIDE: usize = 8;
pub const WORDS: usize = CELLS * STRIDE;

#[derive(Clone, Debug)]
enum Room {
    Own(Arc<[AtomicU64]>),
    Shared(&'static [AtomicU64]),
}

/// Packets and bytes judged by one agent start.
#[derive(Clone, Debug)]
pub struct Ledger {
    room: Room,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { room: Room::Own((0..WORDS).map(|_| AtomicU64::new(0)).collect()) }
    }
}

impl Ledger {
    /// In [`WORDS`] words that are zero and outlive this process; fewer leave some workers uncounted.
    pub fn within(words: &'static [AtomicU64]) -> Ledger {
        Ledger { room: Room::Shared(words) }
    }

    fn words(&self) -> &[AtomicU64] {
        match &self.room {
            Room::Own(words) => words,
            Room::Shared(words) => words,
        }
    }

    /// The cell of worker `number` for one direction.
    pub fn cell_of(number: usize, inbound: bool) -> usize {
        1 + (2 * number + usize::from(inbound)) % (CELLS - 1)
    }

    pub fn add(&self, cell: usize, load: Load) {
        if let Some([packets, bytes, ..]) = self.words().get(cell * STRIDE..) {
            packets.fetch_add(load.packets, Ordering::Relaxed);
            bytes.fetch_add(load.bytes, Ordering::Relaxed);
        }
    }

    /// All cells. Records are not counted here.
    pub fn read(&self) -> Amount {
        read(self.words().iter().map(|word| word.load(Ordering::Relaxed)))
    }
}

/// The sum of the words of a ledger, as they lie in a file.
pub fn read(words: impl Iterator<Item = u64>) -> Amount {
    let mut sum = Amount::default();
    for (at, word) in words.enumerate() {
        match at % STRIDE {
            0 => sum.packets = sum.packets.saturating_add(word),
            1 => sum.bytes = sum.bytes.saturating_add(word),
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_add_at_once_is_all_there() {
        let ledger = Ledger::default();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let ledger = &ledger;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        ledger.add(Ledger::cell_of(number, number % 2 == 0), Load { packets: 1, bytes: 40 });
                    }
                });
            }
        });
        assert_eq!(ledger.read(), Amount { records: 0, packets: 4000, bytes: 160_000 });
        ledger.add(CELLS + 1, Load { packets: 1, bytes: 1 });
        assert_eq!(
            ledger.read().packets,
            4000,
            "a cell that does not exist counts nowhere and breaks nothing"
        );
    }
}
