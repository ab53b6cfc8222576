//! Seats at the network's relays: a number for each node that has been here since the coordinator started, and keys for each
//! of its sessions. What a relay makes of them is [`crate::relay`]'s.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use warren_config::time::UnixTime;
use warren_wire::frame::{RelayAt, Seated};
use warren_wire::id::NodeId;
use warren_wire::relay::{Seat, TagKey};
use zeroize::Zeroizing;

/// Numbers that are drawn for one node before it goes without: with a million nodes one in sixteen is taken.
const DRAWS: usize = 64;

/// Secrets from one seed: as many as are asked for, none twice.
struct Source {
    seed: Zeroizing<[u8; 32]>,
    drawn: u64,
}

impl Source {
    fn draw(&mut self) -> Zeroizing<[u8; 32]> {
        self.drawn = self.drawn.saturating_add(1);
        let hash = Sha256::new_with_prefix(b"warren relay seat v1\0")
            .chain_update(*self.seed)
            .chain_update(self.drawn.to_be_bytes());
        Zeroizing::new(hash.finalize().into())
    }

    fn number(&mut self) -> Option<Seat> {
        let [a, b, c, ..] = *self.draw();
        Seat::new(u32::from_be_bytes([0, a, b, c])).filter(|seat| !seat.is_relay())
    }

    fn key(&mut self) -> TagKey {
        let [bytes, _] = halves(&self.draw());
        TagKey::new(bytes)
    }
}

fn halves(bytes: &[u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    for (half, chunk) in halves.iter_mut().zip(bytes.chunks_exact(16)) {
        half.copy_from_slice(chunk);
    }
    halves
}

/// Who sits where.
pub(crate) struct Seats {
    source: Source,
    /// What nodes are told of.
    relays: Vec<RelayAt>,
    numbers: BTreeMap<NodeId, Seat>,
    /// Also of nodes that are gone: a number is never another's.
    taken: BTreeSet<Seat>,
    /// Of each node's last session, and when it is given more time.
    given: BTreeMap<NodeId, (Seated, UnixTime)>,
    due: BTreeSet<(UnixTime, NodeId)>,
}

impl Seats {
    pub fn new(seed: Zeroizing<[u8; 32]>, relays: Vec<RelayAt>) -> Seats {
        Seats {
            source: Source { seed, drawn: 0 },
            relays,
            numbers: BTreeMap::new(),
            taken: BTreeSet::new(),
            given: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

    pub fn relays(&self) -> &[RelayAt] {
        &self.relays
    }

    /// What nodes are told of from now on; those that were told are told again by whoever says this.
    pub fn set_relays(&mut self, relays: Vec<RelayAt>) {
        self.given.values_mut().for_each(|(seated, _)| seated.relays.clone_from(&relays));
        self.relays = relays;
    }

    /// Of each node's last session.
    pub fn all(&self) -> impl Iterator<Item = (&NodeId, &Seated)> {
        self.given.iter().map(|(node, (seated, _))| (node, seated))
    }

    pub fn given(&self, node: &NodeId) -> Option<&Seated> {
        self.given.get(node).map(|(seated, _)| seated)
    }

    /// The number of a node; a new one the first time.
    pub fn number(&mut self, node: NodeId) -> Option<Seat> {
        if let Some(seat) = self.numbers.get(&node) {
            return Some(*seat);
        }
        let free = |seats: &mut Seats| seats.source.number().filter(|seat| !seats.taken.contains(seat));
        let seat = (0..DRAWS).find_map(|_| free(self))?;
        self.taken.insert(seat);
        self.numbers.insert(node, seat);
        Some(seat)
    }

    /// A seat for a new session: with new keys.
    pub fn begin(&mut self, node: NodeId, life: u64, now: UnixTime) -> Option<Seated> {
        let seat = self.number(node)?;
        let (up, down) = (self.source.key(), self.source.key());
        let relays = self.relays.clone();
        let seated = Seated { seat, up, down, relays, until: now.plus(life).0 };
        self.remember(node, seated.clone(), life, now);
        Some(seated)
    }

    /// More time for a session that goes on: the same keys.
    pub fn renew(&mut self, node: NodeId, life: u64, now: UnixTime) -> Option<Seated> {
        let seated = Seated { until: now.plus(life).0, ..self.given.get(&node)?.0.clone() };
        self.remember(node, seated.clone(), life, now);
        Some(seated)
    }

    fn remember(&mut self, node: NodeId, seated: Seated, life: u64, now: UnixTime) {
        let due = now.plus((life / 2).max(1));
        self.not_due(&node);
        self.given.insert(node, (seated, due));
        self.due.insert((due, node));
    }

    pub fn forget(&mut self, node: &NodeId) -> Option<Seat> {
        self.not_due(node);
        self.given.remove(node);
        self.numbers.remove(node)
    }

    fn not_due(&mut self, node: &NodeId) {
        if let Some((_, due)) = self.given.get(node) {
            self.due.remove(&(*due, *node));
        }
    }

    pub fn next_due(&self) -> Option<UnixTime> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whose seat has lived half of its life; each is named once.
    pub fn take_due(&mut self, now: UnixTime) -> Vec<NodeId> {
        let later = self.due.split_off(&(now.plus(1), NodeId([0; 16])));
        std::mem::replace(&mut self.due, later).into_iter().map(|(_, node)| node).collect()
    }
}
