//! What everybody sends, second by second: the slow judge of every limit and back-off.

use std::collections::BTreeMap;

use warren_wire::relay::{HEAD, is_frame};

use crate::channel::Direction;
use crate::clock::SECOND;

/// What one node did in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Datagrams of all kinds.
    pub datagrams: u32,
    /// Those of them that a relay was to carry.
    pub relayed: u32,
    /// Handshakes it began (WireGuard type 1, direct or in a relay's frame).
    pub begun: u32,
    /// Tries to reach the coordinator.
    pub dials: u32,
    /// Messages to the coordinator, and from it.
    pub said: u32,
    pub heard: u32,
}

#[derive(Debug, Default)]
pub struct Storm {
    /// Off, because small scenarios need none of it.
    pub counts: bool,
    seconds: BTreeMap<(usize, u64), Second>,
}

/// A standing handshake's length; nothing else has it and begins with 1.
const INITIATION: u8 = 1;

impl Storm {
    fn second(&mut self, node: usize, now: u64) -> Option<&mut Second> {
        self.counts.then(|| self.seconds.entry((node, now / SECOND)).or_default())
    }

    pub fn sent(&mut self, node: usize, bytes: &[u8], now: u64) {
        let Some(second) = self.second(node, now) else { return };
        second.datagrams += 1;
        second.relayed += u32::from(is_frame(bytes));
        let begins = |bytes: &[u8]| bytes.first() == Some(&INITIATION) && bytes.get(1..4) == Some(&[0; 3]);
        second.begun += u32::from(begins(bytes) || bytes.get(HEAD..).is_some_and(begins));
    }

    pub fn dialled(&mut self, node: usize, now: u64) {
        if let Some(second) = self.second(node, now) {
            second.dials += 1;
        }
    }

    pub fn said(&mut self, node: usize, toward: Direction, now: u64) {
        let Some(second) = self.second(node, now) else { return };
        match toward {
            Direction::ToSite => second.said += 1,
            Direction::ToNode => second.heard += 1,
        }
    }

    /// The most that one node did in any one second since `from`, each number for itself.
    pub fn worst(&self, from: u64) -> Second {
        let since = self.seconds.iter().filter(|((_, at), _)| *at >= from / SECOND);
        since.fold(Second::default(), |worst, (_, second)| Second {
            datagrams: worst.datagrams.max(second.datagrams),
            relayed: worst.relayed.max(second.relayed),
            begun: worst.begun.max(second.begun),
            dials: worst.dials.max(second.dials),
            said: worst.said.max(second.said),
            heard: worst.heard.max(second.heard),
        })
    }

    /// All datagrams of each node since `from`.
    pub fn datagrams(&self, from: u64) -> BTreeMap<usize, u64> {
        let mut sums = BTreeMap::new();
        for ((node, at), second) in &self.seconds {
            if *at >= from / SECOND {
                *sums.entry(*node).or_default() += u64::from(second.datagrams);
            }
        }
        sums
    }

    /// What is over is not needed.
    pub fn forget(&mut self) {
        self.seconds.clear();
    }
}
