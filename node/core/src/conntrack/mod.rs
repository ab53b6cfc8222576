//! The flows between this node and one peer. One table per peer, so that no two peers share a lock, and one that
//! fills its share takes nothing from the others: beyond that share all tables draw from one bounded room, of which none
//! may hold more than a part of what is left free (dynamic thresholds, Choudhury and Hahne 1998). So there is always
//! some left for one who comes later, however many fill theirs with flows that last, and however greedy they are.
//!
//! - [`FlowTable`] finds, admits, re-judges, forgets and reports flows; [`crate::judge`] asks it.
//! - `flow` one flow and its key; `tcp` its state and numbers; `turns` who goes first when there is no room; `fragments`
//!   pieces of packets that were let through.
//! - `cut` what the local host hears; `records` what the coordinator hears; `snapshot` what the next agent takes over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use warren_config::filter::{Rules, Verdict};
use warren_config::subnet::Behind;
use warren_config::time::UnixTime;
use warren_wire::flow::{Amount, FlowRecord};
use warren_wire::id::{Epoch, Generation, Revision};
use warren_wire::trust::Member;

use crate::packet::Tuple;
use crate::workload::Openings;

mod cut;
mod flow;
mod fragments;
mod limits;
mod records;
mod snapshot;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod turns;

pub use cut::Cut;
pub(crate) use flow::{FlowKey, Way};
pub(crate) use fragments::DatagramKey;
pub use limits::Limits;
pub use snapshot::SnapshotError;
pub use table::FlowTable;

/// What one call to the judge stands for: packets on the wire and their IP bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub packets: u64,
    pub bytes: u64,
}

impl Load {
    pub fn add(&mut self, other: Load) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Which state of the world a verdict was given in. Flows of another edition are judged again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edition {
    pub epoch: Epoch,
    pub revision: Revision,
    pub generation: Generation,
}

/// The overlay addresses of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Ipv6Addr,
}

impl Addresses {
    pub fn of(member: &Member) -> Addresses {
        Addresses { v4: member.v4, v6: member.v6 }
    }
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4 == Some(v4),
            IpAddr::V6(v6) => self.v6 == v6,
        }
    }
}

/// Everything the judge must know about this node and one peer at one edition. Borrowed from a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    pub mine: &'a Addresses,
    pub peer: &'a Addresses,
    /// What this node may open at the peer.
    pub outbound: &'a Rules,
    /// What the peer may open here.
    pub inbound: &'a Rules,
    /// What this node may open at hosts behind the peer.
    pub beyond: &'a Behind,
    /// What the peer may open at hosts behind this node.
    pub hosts: &'a Behind,
    pub edition: Edition,
}

impl<'a> Ends<'a> {
    /// Is this packet, or flow, between these two nodes, or between one of them and a host behind the other? Hosts behind
    /// both never speak with each other: no grant names them as a source.
    pub(crate) fn have(&self, local: IpAddr, remote: IpAddr) -> bool {
        match (self.mine.contains(local), self.peer.contains(remote)) {
            (true, true) => true,
            (true, false) => self.beyond.has(remote),
            (false, true) => self.hosts.has(local),
            (false, false) => false,
        }
    }

    /// What may be opened between these addresses, `Way::Out`: by the local side. A host behind a node opens nothing.
    pub(crate) fn judge(&self, tuple: &Tuple, opener: Way, now: UnixTime) -> Verdict<'a> {
        let (from, to) = match opener {
            Way::Out => (self.mine, self.peer),
            Way::In => (self.peer, self.mine),
        };
        if !from.contains(tuple.src) {
            return Verdict::Deny;
        }
        let rules = match (to.contains(tuple.dst), opener) {
            (true, Way::Out) => Some(self.outbound),
            (true, Way::In) => Some(self.inbound),
            (false, Way::Out) => self.beyond.rules(tuple.dst),
            (false, Way::In) => self.hosts.rules(tuple.dst),
        };
        rules.map_or(Verdict::Deny, |rules| rules.judge(tuple.protocol, tuple.dport, now))
    }
}

/// What the tables of one agent share: the number of the next flow (over all peers and workers, from 1), and the room
/// for flows beyond each table's own [`Limits::share`].
#[derive(Debug)]
pub struct FlowIds {
    last: AtomicU64,
    room: usize,
    beyond: AtomicUsize,
    /// Who asks whose a flow is.
    openings: Openings,
}

/// Flows beyond the shares of their tables, over all peers: about 64 MiB.
const BEYOND: usize = 131_072;
/// A table may hold a quarter of what is free: `n` greedy ones come to rest at one part in `n + 4` each, and four are free.
/// Where all they hold lasts, the first has more than the second; the next one still gets a fifth of what is left.
const PARTS: usize = 4;

impl Default for FlowIds {
    fn default() -> FlowIds {
        FlowIds::with_room(BEYOND)
    }
}

impl FlowIds {
    fn with_room(room: usize) -> FlowIds {
        let (last, beyond) = (AtomicU64::new(0), AtomicUsize::new(0));
        FlowIds { last, room, beyond, openings: Openings::default() }
    }

    pub(crate) fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// So much of the common room one table may hold now. Workers that ask at the same moment may overshoot by one each.
    fn part(&self) -> usize {
        self.room.saturating_sub(self.beyond.load(Ordering::Relaxed)) / PARTS
    }

    pub fn openings(&self) -> &Openings {
        &self.openings
    }

    fn take(&self) {
        self.beyond.fetch_add(1, Ordering::Relaxed);
    }

    fn give_back(&self, flows: usize) {
        self.beyond.fetch_sub(flows, Ordering::Relaxed);
    }
}

/// Flow records of one window, and how many could not be kept.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    pub records: Vec<FlowRecord>,
    pub lost: Amount,
}
