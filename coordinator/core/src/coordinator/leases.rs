//! Leases: a node whose token says so is taken out when it has been away for too long, and its name is free again.
//!
//! A lease runs while the coordinator runs and the node has no session: from the moment it went, from its admission if it never
//! came, and in no case from before this coordinator's start, because nobody can come to a coordinator that is away. Who has not come
//! yet has [`FIRST_COMING`] at least: a host that starts with many others at once is not taken out before its agent runs.

use warren_config::time::UnixTime;
use warren_wire::id::NodeId;

use super::Coordinator;
use crate::change::{Change, Origin, Principal, Proposal};
use crate::directory::Node;

/// So many nodes are taken out in one entry of the log; the next one follows a second later.
const AT_ONCE: usize = 500;
/// Seconds from its admission, or from the coordinator's start, that a node has to come for the first time, if its lease is shorter.
pub(crate) const FIRST_COMING: u64 = 60;

impl Coordinator {
    /// A node went, or was admitted: its lease may be the next to end.
    pub(super) fn lease_runs(&mut self, node: NodeId, now: UnixTime) {
        let lease = self.state.directory.live(&node).and_then(|node| self.state.lease(node));
        if let Some(lease) = lease {
            let due = now.plus(lease);
            self.leases_due = Some(self.leases_due.map_or(due, |known| known.min(due)));
        }
    }

    /// Who has been away for too long by now, if it is time to look. Call this after [`Coordinator::handle_timeout`]; the proposal
    /// must be committed (or dropped) before the next input.
    pub fn end_leases(&mut self, now: UnixTime) -> Option<Proposal> {
        if self.leases_due.is_none_or(|due| now < due) {
            return None;
        }
        let (mut ended, mut next) = (Vec::new(), None::<UnixTime>);
        for (node, lease, end) in self.away() {
            match end <= now && ended.len() < AT_ONCE {
                true => ended.push(Change::LeaseEnded {
                    node: node.id(),
                    name: node.member.name().to_string(),
                    lease,
                }),
                false => next = Some(next.map_or(end, |next| next.min(end))),
            }
        }
        // What was not stored is tried again.
        let again = (!ended.is_empty()).then(|| now.plus(1));
        self.leases_due = next.map(|next| next.max(now.plus(1))).into_iter().chain(again).min();
        let proposal = || self.state.proposal(ended, Principal::Coordinator, Origin::Nobody, now);
        again.map(|_| proposal())
    }

    /// Nodes with a lease and no session: their lease, and when it ends.
    fn away(&self) -> impl Iterator<Item = (&Node, u64, UnixTime)> {
        let leased = self.state.directory.alive().filter_map(|node| Some((node, self.state.lease(node)?)));
        let away = leased.filter(|(node, _)| !self.sessions.is_online(&node.id()));
        away.map(|(node, lease)| (node, lease, self.end_of(node, lease)))
    }

    /// When it ends if the node does not come.
    fn end_of(&self, node: &Node, lease: u64) -> UnixTime {
        match self.sessions.presence(&node.id()).and_then(|presence| presence.since) {
            Some(seen) => seen.max(self.started).plus(lease),
            None => node.member.enrolled.max(self.started).plus(lease.max(FIRST_COMING)),
        }
    }

    /// When a node's lease ends if it does not come back.
    pub(super) fn lease_end(&self, node: &Node) -> Option<UnixTime> {
        let away = node.is_live() && !self.sessions.is_online(&node.id());
        self.state.lease(node).filter(|_| away).map(|lease| self.end_of(node, lease))
    }
}
