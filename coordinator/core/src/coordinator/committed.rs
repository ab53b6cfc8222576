//! From a committed entry to what is true, and to those who must be told.

use std::collections::BTreeSet;

use warren_config::time::UnixTime;
use warren_wire::id::{NodeId, Revision};

use super::Coordinator;
use crate::change::{Change, Entry, LogError, Origin, Proposal};
use crate::output::{Level, Output};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};

impl Coordinator {
    /// The proposal's entry is in the store: makes it true, and queues who must be told.
    pub fn handle_committed(&mut self, proposal: Proposal, now: UnixTime) -> Result<Revision, LogError> {
        let Proposal { entry, origin } = proposal;
        self.state.apply(&entry)?;
        if let Origin::Conn(conn) = origin {
            self.answer(conn, &entry.body.changes);
        }
        self.follow_roll(now);
        let mut affected = BTreeSet::new();
        for change in &entry.body.changes {
            affected.extend(self.take_effect(change, &entry, now));
        }
        match entry.body.changes.iter().all(Change::only_adds) {
            true => self.tell_soon(affected, now),
            false => self.tell(affected, now),
        }
        self.call_roll(now);
        self.withdraw_permits();
        self.look_soon(now);
        Ok(entry.revision())
    }

    /// The authority has revoked or amended a node: everybody is to hear of it.
    fn follow_roll(&mut self, now: UnixTime) {
        let root = self.state.signable().roll;
        if self.rolled != root {
            self.rolled = root;
            self.distribution.roll_changed(&self.state);
            self.rollcall.begin(self.everyone_online(), now);
        }
    }

    /// The proposal's entry is not in the store, or nobody knows: tells whoever waits and closes its connection. It comes
    /// again, and if the entry was in after all, it is a member already.
    pub fn handle_not_committed(&mut self, proposal: Proposal, error: &StoreError, now: UnixTime) {
        if let Origin::Conn(conn) = proposal.origin {
            self.close(conn, &Refusal::NotStored(error.to_string()), now);
        }
        self.notice(Level::Warn, None, format!("revision {} was not stored: {error}", proposal.revision()));
    }

    /// Commits and applies. On [`StoreError::nothing_changed`] go on; on any other error stop, read the store again and
    /// start from it.
    pub fn commit(
        &mut self,
        store: &mut dyn Store,
        proposal: Proposal,
        now: UnixTime,
    ) -> Result<Revision, StoreError> {
        // Before it is durable: an entry that could not be applied must not be stored.
        proposal.entry.check(&self.state.head())?;
        match store.commit(&proposal.entry) {
            Ok(()) => Ok(self.handle_committed(proposal, now)?),
            Err(error) => {
                self.handle_not_committed(proposal, &error, now);
                Err(error)
            }
        }
    }

    /// What a change means for what is remembered while running; who must be told.
    fn take_effect(&mut self, change: &Change, entry: &Entry, now: UnixTime) -> BTreeSet<NodeId> {
        match change {
            Change::NodeAdmitted { node, name, .. } => {
                if let Some(key) = self.state.directory.get(node).and_then(|node| node.member.identity) {
                    self.offers.remove(&key);
                }
                self.notice(Level::Info, Some(*node), format!("{name} enrolled"));
                self.lease_runs(*node, now);
                self.distribution.node_changed(&self.state, *node)
            }
            Change::ExternalAdmitted { node, name, .. } => {
                self.notice(Level::Info, Some(*node), format!("{name} is in, a device without an agent"));
                let mut affected = self.distribution.node_changed(&self.state, *node);
                affected.extend(self.place_device(*node));
                affected
            }
            Change::FileIssued { node, name, peers, before, .. } => {
                self.notice(Level::Info, Some(*node), format!("a new file was issued for {name}"));
                let mut affected = self.place_device(*node);
                affected.extend(peers.iter().map(|peer| peer.node).chain(before.iter().copied()));
                affected
            }
            Change::KeysRenewed { node, .. } | Change::NodeAmended { node, .. } => {
                self.distribution.node_changed(&self.state, *node)
            }
            Change::NodeRevoked { node, peers, .. } => self.revoked(*node, peers, now),
            Change::LeaseEnded { node, .. } => self.lease_ended(*node, now),
            Change::PolicyApplied { generation, .. } => {
                let by = &entry.body.principal;
                self.notice(Level::Info, None, format!("policy generation {generation} applied by {by}"));
                self.distribution.policy_changed(&self.state);
                self.grant_ends = Coordinator::grant_ends(&self.state);
                if !self.names_are_told() {
                    self.names.clear();
                }
                self.everyone_online()
            }
            Change::EpochRaised { .. } => self.everyone_online(),
            Change::AlarmRaised { kind, subject, .. } => {
                let raised = self.state.alarms.iter().find(|a| a.kind == *kind && a.subject == *subject);
                self.outputs.extend(raised.cloned().map(Output::Alarm));
                BTreeSet::new()
            }
            Change::ApiKeyMade { id, name, .. } => {
                self.notice(
                    Level::Info,
                    None,
                    format!("API key {name} ({id}) made by {}", entry.body.principal),
                );
                BTreeSet::new()
            }
            Change::ApiKeyRevoked { id, name } => {
                self.notice(Level::Info, None, format!("API key {name} ({id}) revoked"));
                BTreeSet::new()
            }
            Change::SessionsEnded { names, count } => {
                let text = format!("{count} session(s) of the page ended: [{}]", names.join(", "));
                self.notice(Level::Info, None, text);
                BTreeSet::new()
            }
            Change::RelayAdded { .. }
            | Change::RelayEnrolled { .. }
            | Change::RelayPlaced { .. }
            | Change::RelayDrained { .. }
            | Change::RelayRemoved { .. } => {
                self.relay_changed(change);
                BTreeSet::new()
            }
            Change::NetworkFounded { .. } | Change::TokenStored { .. } | Change::TokenRevoked { .. } => {
                BTreeSet::new()
            }
        }
    }

    fn revoked(&mut self, node: NodeId, peers: &[NodeId], now: UnixTime) -> BTreeSet<NodeId> {
        self.notice(Level::Warn, Some(node), format!("{} is revoked", self.named(&node)));
        let mut affected = self.forget(node, &Refusal::NodeRevoked { node }, now);
        affected.extend(peers);
        affected
    }

    fn lease_ended(&mut self, node: NodeId, now: UnixTime) -> BTreeSet<NodeId> {
        let message = format!("{} is taken out: its lease has ended", self.named(&node));
        self.notice(Level::Info, Some(node), message);
        self.forget(node, &Refusal::LeaseEnded { node }, now)
    }

    /// A node is out; returns who must be told.
    fn forget(&mut self, node: NodeId, refusal: &Refusal, now: UnixTime) -> BTreeSet<NodeId> {
        self.overdue.forget(&node);
        for conn in self.sessions.with_key_of(node) {
            self.close(conn, refusal, now);
        }
        self.endpoints.forget(&node);
        self.sessions.forget(&node);
        self.names.forget(&node);
        self.paths.forget(&node);
        self.pace.done(&node);
        self.unseat(&node);
        self.distribution.node_changed(&self.state, node)
    }

    /// A device says nothing of its place: it is where the administrator said. Who must be told.
    pub(super) fn place_device(&mut self, node: NodeId) -> BTreeSet<NodeId> {
        let device = self.state.directory.live(&node).and_then(|node| node.device.as_ref());
        let Some(endpoint) = device.map(|device| device.endpoint) else { return BTreeSet::new() };
        let own = endpoint.into_iter().collect();
        self.endpoints.update(&self.founded.network, node, |reported| reported.own = own);
        self.distribution.endpoints_changed(&self.endpoints, node)
    }

    fn everyone_online(&self) -> BTreeSet<NodeId> {
        self.sessions.online().map(|(node, _)| node).collect()
    }
}
