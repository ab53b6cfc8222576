//! What a node never forgets: the greatest numbers seen, the newest serials of members, and who was revoked.
//!
//! Membership and policy are ordered by numbers the authority or the node itself signed, so that whoever holds the
//! coordinator's online key cannot make an old statement new again by raising the epoch.

use std::collections::BTreeMap;

use warren_wire::id::{Epoch, Generation, NodeId, Revision};
use warren_wire::signed::Signed;
use warren_wire::trust::Member;

/// Newest serials of one member's keys and amendment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serials {
    pub keys: u64,
    pub amendment: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Of views; lexicographic.
    pub view: (Epoch, Revision),
    /// Of policy heads, both numbers signed by the authority; lexicographic.
    pub policy: (Epoch, Generation),
    pub charter_serial: u64,
    pub serials: BTreeMap<NodeId, Serials>,
    /// For ever, even if a later view shows the record again.
    pub revoked: BTreeMap<NodeId, Signed>,
}

impl Memory {
    /// A record that takes something back: an older key, or an older name and older tags.
    pub fn is_older(&self, member: &Member) -> bool {
        let seen = self.serials.get(&member.id).copied().unwrap_or_default();
        member.key_serial < seen.keys || member.amendment_serial < seen.amendment
    }

    pub fn remember(&mut self, member: &Member) {
        let seen = self.serials.entry(member.id).or_default();
        seen.keys = seen.keys.max(member.key_serial);
        seen.amendment = seen.amendment.max(member.amendment_serial);
    }
}
