//! A datagram in one QUIC datagram or in two: QUIC does not fragment (RFC 9221 section 5), and a path may carry 1,200 bytes.
//!
//! ```text
//! ┌───────┬──────────┐    ┌───────┬─────────┬────────────┐   ┌───────┬─────────┬─────────────┐
//! │ 0     │ datagram │    │ 1     │  id 24  │ first half │   │ 2     │  id 24  │ second half │
//! └───────┴──────────┘    └───────┴─────────┴────────────┘   └───────┴─────────┴─────────────┘
//! ```
//!
//! A half whose other half is lost waits for a second at most, and only so many wait at once: then the oldest goes. What is
//! lost is lost as any datagram is.

use std::collections::VecDeque;
use std::time::Duration;

use super::MAX_DATAGRAM;

/// Bytes in front of a half.
pub const HEAD: usize = 4;
/// A half waits for the other so long.
pub const HALF_LIFE: Duration = Duration::from_secs(1);
/// So many wait at once,
pub const MAX_HALVES: usize = 64;
/// and so many bytes of them.
pub const MAX_HALVES_BYTES: usize = 128 * 1024;

const WHOLE: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;

/// What to send for `datagram` where `room` bytes fit: one piece or two, the second with the rest. `None` if two are not enough.
/// `id` tells the halves of one datagram from others; its upper 8 bits are not used.
pub fn split(datagram: &[u8], id: u32, room: usize) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    if datagram.is_empty() || datagram.len() > MAX_DATAGRAM {
        return None;
    }
    if datagram.len() < room {
        return Some(([&[WHOLE], datagram].concat(), None));
    }
    let (first, second) = datagram.split_at_checked(datagram.len().div_ceil(2))?;
    if second.is_empty() || first.len() + HEAD > room {
        return None;
    }
    let [_, a, b, c] = id.to_be_bytes();
    let half = |kind: u8, part: &[u8]| [&[kind, a, b, c], part].concat();
    Some((half(FIRST, first), Some(half(SECOND, second))))
}

/// Not a piece of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

#[derive(Debug)]
struct Half {
    kind: u8,
    id: [u8; 3],
    since: Duration,
    bytes: Vec<u8>,
}

/// Puts halves together again.
#[derive(Debug, Default)]
pub struct Joiner {
    waiting: VecDeque<Half>,
    bytes: usize,
    lost: u64,
}

impl Joiner {
    /// What came, at `now` (since some moment that does not change). The datagram, if this completes one.
    pub fn handle(&mut self, piece: &[u8], now: Duration) -> Result<Option<Vec<u8>>, Broken> {
        self.expire(now);
        match *piece {
            [WHOLE, ref datagram @ ..] if fits(datagram.len()) => Ok(Some(datagram.to_vec())),
            [kind @ (FIRST | SECOND), a, b, c, ref half @ ..] if fits(half.len()) => {
                Ok(self.join(Half { kind, id: [a, b, c], since: now, bytes: half.to_vec() }))
            }
            _ => Err(Broken),
        }
    }

    /// Halves that waited in vain.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    fn join(&mut self, half: Half) -> Option<Vec<u8>> {
        match self.take(half.id) {
            Some(other) if other.kind != half.kind => {
                let (first, second) = if half.kind == FIRST { (half, other) } else { (other, half) };
                let whole = [first.bytes, second.bytes].concat();
                let good = whole.len() <= MAX_DATAGRAM;
                self.lost += if good { 0 } else { 2 };
                good.then_some(whole)
            }
            // The same half again: its number was used anew, so the older one has waited in vain.
            older => {
                self.lost += u64::from(older.is_some());
                self.keep(half);
                None
            }
        }
    }

    fn take(&mut self, id: [u8; 3]) -> Option<Half> {
        let at = self.waiting.iter().position(|half| half.id == id)?;
        let half = self.waiting.remove(at)?;
        self.bytes = self.bytes.saturating_sub(half.bytes.len());
        Some(half)
    }

    fn keep(&mut self, half: Half) {
        self.bytes += half.bytes.len();
        self.waiting.push_back(half);
        while self.waiting.len() > MAX_HALVES || self.bytes > MAX_HALVES_BYTES {
            self.drop_oldest();
        }
    }

    fn expire(&mut self, now: Duration) {
        while self.waiting.front().is_some_and(|half| now.saturating_sub(half.since) > HALF_LIFE) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(half) = self.waiting.pop_front() {
            self.bytes = self.bytes.saturating_sub(half.bytes.len());
            self.lost += 1;
        }
    }
}

fn fits(len: usize) -> bool {
    (1..=MAX_DATAGRAM).contains(&len)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pieces(datagram: &[u8], id: u32, room: usize) -> Vec<Vec<u8>> {
        let (first, second) = split(datagram, id, room).unwrap();
        std::iter::once(first).chain(second).collect()
    }

    /// The slow judge: keeps everything it ever heard and looks through all of it.
    #[derive(Default)]
    struct Judge(Vec<(Duration, Vec<u8>)>);

    impl Judge {
        fn handle(&mut self, piece: &[u8], now: Duration) -> Option<Vec<u8>> {
            if piece[0] == 0 {
                return Some(piece[1..].to_vec());
            }
            let mut by_id: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
            for (at, (_, earlier)) in self.0.iter().enumerate() {
                by_id.insert(earlier[1..4].to_vec(), at);
            }
            let last = by_id.get(&piece[1..4]).copied();
            let partner = last.filter(|at| now - self.0[*at].0 <= HALF_LIFE && self.0[*at].1[0] != piece[0]);
            match partner {
                Some(at) => {
                    let other = self.0.remove(at).1;
                    let (a, b) = if piece[0] == 1 { (piece, &other[..]) } else { (&other[..], piece) };
                    Some([&a[4..], &b[4..]].concat())
                }
                None => {
                    self.0.retain(|(_, earlier)| earlier[1..4] != piece[1..4]);
                    self.0.push((now, piece.to_vec()));
                    None
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_split_is_joined_in_either_order(
            datagram in prop::collection::vec(any::<u8>(), 1..2000), room in 1004usize..1500, id: u32, swapped: bool,
        ) {
            let mut pieces = pieces(&datagram, id, room);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= room));
            prop_assert_eq!(pieces.len(), 1 + usize::from(datagram.len() >= room));
            if swapped {
                pieces.reverse();
            }
            let mut joiner = Joiner::default();
            let joined: Vec<_> = pieces.iter().filter_map(|piece| joiner.handle(piece, HALF_LIFE).unwrap()).collect();
            prop_assert_eq!(joined, vec![datagram]);
            prop_assert_eq!((joiner.waiting(), joiner.lost()), ((0, 0), 0));
        }

        /// Any pieces in any order, some lost, some repeated, some late.
        #[test]
        fn the_joiner_says_what_the_slow_judge_says(
            said in prop::collection::vec((0u8..3, 0u8..4, 0u8..8, 0u64..700), 0..60),
        ) {
            let (mut joiner, mut judge, mut now) = (Joiner::default(), Judge::default(), Duration::ZERO);
            for (kind, id, body, pause) in said {
                now += Duration::from_millis(pause);
                let piece = if kind == 0 { vec![0, body] } else { vec![kind, 0, 0, id, body] };
                prop_assert_eq!(joiner.handle(&piece, now).unwrap(), judge.handle(&piece, now));
            }
        }

        #[test]
        fn whatever_comes_is_bounded_and_never_panics(
            said in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..12), 0u64..300, 0usize..10_000), 0..200),
        ) {
            let (mut joiner, mut now) = (Joiner::default(), Duration::ZERO);
            for (mut piece, pause, padding) in said {
                now += Duration::from_millis(pause);
                piece.resize(piece.len() + padding, 7);
                if let Ok(Some(datagram)) = joiner.handle(&piece, now) {
                    prop_assert!(datagram.len() <= MAX_DATAGRAM);
                }
                let (count, bytes) = joiner.waiting();
                prop_assert!(count <= MAX_HALVES && bytes <= MAX_HALVES_BYTES);
            }
        }
    }

    #[test]
    fn a_half_whose_other_half_is_lost_is_forgotten_after_its_time() {
        let halves = pieces(&[7; 2000], 9, 1200);
        let mut joiner = Joiner::default();
        assert_eq!(joiner.handle(&halves[0], Duration::ZERO), Ok(None));
        let late = HALF_LIFE + Duration::from_millis(1);
        assert_eq!(joiner.handle(&halves[1], late), Ok(None));
        assert_eq!((joiner.lost(), joiner.waiting()), (1, (1, 1000)));
    }

    #[test]
    fn halves_that_never_meet_take_no_more_than_their_room() {
        let mut joiner = Joiner::default();
        for id in 0..10_000 {
            let halves = pieces(&[7; 9000], id, 5000);
            assert_eq!(joiner.handle(&halves[0], Duration::ZERO), Ok(None));
        }
        let (count, bytes) = joiner.waiting();
        assert!(count <= MAX_HALVES && bytes <= MAX_HALVES_BYTES && bytes > 100_000, "{count} {bytes}");
    }

    #[test]
    fn what_fits_not_even_in_two_is_not_sent() {
        assert_eq!(split(&[1; 2400], 1, 1200), None);
        assert_eq!(split(&[], 1, 1200), None);
        assert_eq!(split(&[1; MAX_DATAGRAM + 1], 1, usize::MAX), None);
        assert!(split(&[1; 2392], 1, 1200).is_some());
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        let mut joiner = Joiner::default();
        for piece in [&[][..], &[0], &[3, 1], &[1, 0, 0], &[1, 0, 0, 1], &[0; MAX_DATAGRAM + 2]] {
            assert_eq!(joiner.handle(piece, Duration::ZERO), Err(Broken), "{piece:?}");
        }
    }
}
