//! The newest drops, kept for `why` and `doctor`: so many of each peer and direction, so that nobody's scan wipes out what
//! is known of another.

use std::collections::HashMap;

use parking_lot::Mutex;
use warren_wire::id::NodeId;

use crate::clock::Now;
use crate::packet::Tuple;

/// Kinds of drops remembered of one peer (or of what belongs to none) in one direction.
const NOTES: usize = 16;
/// Of all together, about 1 MiB. They are spread by peer, so that workers seldom meet.
const SHARDS: usize = 16;
const NOTES_OF_SHARD: usize = 512;

#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// The last time.
    pub at: Now,
    /// Packets, all of one kind.
    pub count: u64,
    pub reason: &'static str,
    pub outbound: bool,
    pub peer: Option<NodeId>,
    pub tuple: Option<Tuple>,
}

impl Note {
    /// Of one kind are those that differ in nothing but the port the sender chose.
    fn is_like(&self, other: &Note) -> bool {
        let kind = |tuple: Option<Tuple>| tuple.map(|tuple| Tuple { sport: 0, ..tuple });
        self.reason == other.reason && kind(self.tuple) == kind(other.tuple)
    }
}

type Whose = (Option<NodeId>, bool);

#[derive(Debug, Default)]
struct Shard {
    notes: HashMap<Whose, Vec<Note>>,
    count: usize,
}

impl Shard {
    fn note(&mut self, note: Note) {
        let whose = (note.peer, note.outbound);
        let own = self.notes.get_mut(&whose).map(Vec::as_mut_slice).unwrap_or_default();
        if let Some(known) = own.iter_mut().find(|known| known.is_like(&note)) {
            *known = Note { count: known.count.saturating_add(note.count), ..note };
            return;
        }
        let is_full = own.len() >= NOTES || self.count >= NOTES_OF_SHARD && !own.is_empty();
        if !is_full && self.count >= NOTES_OF_SHARD {
            self.take_from_the_longest();
        }
        let own = self.notes.entry(whose).or_default();
        match own.iter_mut().min_by_key(|known| known.at.mono).filter(|_| is_full) {
            Some(oldest) => *oldest = note,
            None => {
                own.push(note);
                self.count += 1;
            }
        }
    }

    /// Only when one is noted of whom nothing was.
    fn take_from_the_longest(&mut self) {
        let Some((whose, longest)) = self.notes.iter_mut().max_by_key(|(_, notes)| notes.len()) else {
            return;
        };
        let (whose, oldest) = (*whose, longest.iter().enumerate().min_by_key(|(_, known)| known.at.mono));
        if let Some((at, _)) = oldest {
            longest.swap_remove(at);
            self.count -= 1;
        }
        // Nobody is kept for whom nothing is noted: nodes come and go.
        if longest.is_empty() {
            self.notes.remove(&whose);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Notes([Mutex<Shard>; SHARDS]);

impl Notes {
    /// A packet was dropped. Waits at most while sixteen notes are compared, or a few hundred copied.
    pub fn note(&self, note: Note) {
        let at = note.peer.map_or(0, |node| node.0.iter().fold(0, |sum, byte| sum ^ usize::from(*byte)));
        if let Some(shard) = self.0.get(at % SHARDS) {
            shard.lock().note(note);
        }
    }

    /// Oldest first.
    pub fn all(&self) -> Vec<Note> {
        let of_shard = |shard: &Mutex<Shard>| shard.lock().notes.values().flatten().copied().collect();
        let mut notes: Vec<Note> = self.0.iter().flat_map(|shard| -> Vec<Note> { of_shard(shard) }).collect();
        notes.sort_by_key(|note| note.at.mono);
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use crate::packet::forge;
    use warren_config::policy::Protocol;

    fn node(number: u16) -> NodeId {
        let mut id = [7; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        NodeId(id)
    }

    fn denied(notes: &Notes, peer: Option<NodeId>, outbound: bool, port: u16, ms: u64) {
        let tuple = Some(forge::tuple(Protocol::Tcp, "100.64.0.1", 4000, "100.64.0.2", port));
        let at = Now { mono: Mono::from_millis(ms), wall_ms: 0 };
        notes.note(Note { at, count: 1, reason: "denied", outbound, peer, tuple });
    }

    fn of(notes: &Notes, peer: Option<NodeId>, outbound: bool) -> Vec<Note> {
        notes.all().into_iter().filter(|note| (note.peer, note.outbound) == (peer, outbound)).collect()
    }

    #[test]
    fn a_scan_wipes_out_nothing_that_is_known_of_another_peer_or_of_the_other_direction() {
        let notes = Notes::default();
        let (scanner, other) = (Some(node(1)), Some(node(2)));
        denied(&notes, other, false, 22, 1);
        denied(&notes, scanner, true, 22, 2);
        denied(&notes, None, true, 22, 3);
        (1..=1000).for_each(|port| denied(&notes, scanner, false, port, 10 + u64::from(port)));
        for (peer, outbound) in [(other, false), (scanner, true), (None, true)] {
            assert_eq!(of(&notes, peer, outbound).len(), 1, "{peer:?} {outbound}");
        }
        let last: Vec<u16> = of(&notes, scanner, false).iter().map(|n| n.tuple.unwrap().dport).collect();
        assert_eq!(last, (985..=1000).collect::<Vec<_>>(), "its own newest");
    }

    /// Also when all scan together, or one after the other.
    #[test]
    fn notes_of_thousands_of_peers_are_bounded_and_each_next_one_is_noted() {
        let notes = Notes::default();
        for peer in 0..12_000 {
            // Many ports of some, one of others.
            let ports = if peer % 2 == 0 { 20 } else { 1 };
            (1..=ports).for_each(|port| denied(&notes, Some(node(peer)), false, port, u64::from(peer)));
            let noted = peer % 100 != 0 || !of(&notes, Some(node(peer)), false).is_empty();
            assert!(noted, "{peer}");
        }
        let all = notes.all().len();
        assert!(all <= SHARDS * NOTES_OF_SHARD && all > 2000, "{all}");
        let in_vain = notes.0.iter().any(|shard| shard.lock().notes.values().any(Vec::is_empty));
        assert!(!in_vain, "nothing is kept of who has no note");
    }
}
