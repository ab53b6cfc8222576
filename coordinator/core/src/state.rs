//! The log folded into what is true now. The same log always gives the same state.
//!
//! Statements are checked again while they are folded in: what no longer holds is left out, named in an alarm, and
//! everyone else is served.

use std::net::SocketAddr;

use warren_config::policy::Subject;
use warren_config::time::UnixTime;
use warren_wire::id::{Digest, Epoch, Generation, IdentityKey, NodeId};
use warren_wire::issue;
use warren_wire::revocation::Chain;
use warren_wire::roll::Roll;
use warren_wire::signed::Signed;
use warren_wire::statement::Delegation;
use warren_wire::trust::{Member, Network, Record, Trust, TrustError};

use crate::access::{ApiKey, ApiKeys};
use crate::addresses::Addresses;
use crate::alarm::{AlarmKind, Alarms};
use crate::change::{Change, Entry, LogError, LogHead, Origin, Principal, Proposal};
use crate::command::Command;
use crate::directory::{Directory, Gone, Node};
use crate::external::{Device, IssuedFile};
use crate::policies::{Applied, Policies};
use crate::refusal::Refusal;
use crate::relays::Relays;
use crate::tokens::{TokenState, Tokens};

/// A network that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Founded {
    pub charter: Signed,
    pub trust: Trust,
    pub network: Network,
    /// Life of a freshness statement, seconds.
    pub freshness: u64,
    pub at: UnixTime,
    pub revocations: Chain,
    pub roll: Roll,
}

impl Founded {
    /// Checks a record's whole chain.
    pub fn member(&self, record: &Record) -> Result<Member, TrustError> {
        self.trust.member(&self.network, record)
    }
    pub fn node_id(&self, identity: &IdentityKey) -> NodeId {
        warren_wire::trust::node_id(&self.network.id, identity)
    }
}

/// Durable state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    head: LogHead,
    pub(crate) founded: Option<Founded>,
    pub(crate) epoch: Epoch,
    pub(crate) tokens: Tokens,
    pub(crate) directory: Directory,
    pub(crate) addresses: Addresses,
    pub(crate) policies: Policies,
    pub(crate) alarms: Alarms,
    pub(crate) keys: ApiKeys,
    pub(crate) relays: Relays,
}

impl State {
    pub fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<State, LogError> {
        let mut state = State::default();
        for entry in entries {
            state.fold(entry)?;
        }
        state.compile();
        Ok(state)
    }

    /// Folds one committed entry in. An entry that does not follow is refused and changes nothing.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), LogError> {
        self.fold(entry)?;
        if entry.body.changes.iter().any(|c| matches!(c, Change::PolicyApplied { .. })) {
            self.compile();
        }
        Ok(())
    }

    /// Decides without doing.
    pub fn decide(&self, command: Command, now: UnixTime) -> Result<Vec<Change>, Refusal> {
        crate::decide::decide(self, command, now)
    }

    /// Decides a command and makes the entry for it. `warren init` uses this before a coordinator exists.
    pub fn propose(
        &self,
        command: Command,
        principal: Principal,
        now: UnixTime,
    ) -> Result<Proposal, Refusal> {
        let changes = self.decide(command, now)?;
        Ok(self.proposal(changes, principal, Origin::Command, now))
    }

    pub(crate) fn proposal(
        &self,
        changes: Vec<Change>,
        principal: Principal,
        origin: Origin,
        now: UnixTime,
    ) -> Proposal {
        Proposal { entry: Entry::new(&self.head, now, principal, changes), origin }
    }

    pub fn head(&self) -> LogHead {
        self.head
    }
    pub fn founded(&self) -> Result<&Founded, Refusal> {
        self.founded.as_ref().ok_or(Refusal::NotFounded)
    }
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    pub fn generation(&self) -> Generation {
        self.policies.generation()
    }
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }
    pub fn policies(&self) -> &Policies {
        &self.policies
    }
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }
    pub fn relays(&self) -> &Relays {
        &self.relays
    }
    pub fn keys(&self) -> &ApiKeys {
        &self.keys
    }
    pub fn revocation_head(&self) -> Digest {
        self.founded.as_ref().map_or(Digest([0; 32]), |f| f.revocations.head())
    }

    /// What freshness and view heads speak of.
    pub fn signable(&self) -> issue::State {
        issue::State {
            epoch: self.epoch,
            revision: self.head.revision,
            generation: self.generation(),
            policy_root: self.policies.newest().map(|a| a.signed.root),
            revocation_head: self.revocation_head(),
            roll: self.founded.as_ref().map_or(Digest([0; 32]), |f| f.roll.root()),
        }
    }

    /// May the two ever open anything at each other under the policy in force?
    pub fn joins(&self, a: &Subject, b: &Subject) -> bool {
        self.policies.in_force().is_some_and(|policy| policy.joins(a, b))
    }

    /// Live nodes joined with a live one, by the slow way: asking about every node.
    pub fn peers_of(&self, id: &NodeId) -> Vec<NodeId> {
        let Some(me) = self.directory.live(id) else { return Vec::new() };
        let others = self.directory.alive().filter(|other| other.id() != *id);
        others.filter(|other| self.joins(me.subject(), other.subject())).map(Node::id).collect()
    }

    fn compile(&mut self) {
        self.policies.compile();
        let generation = self.generation().to_string();
        match self.policies.broken().map(str::to_owned) {
            Some(why) => {
                let message = format!(
                    "policy generation {generation} can no longer be read ({why}): nodes keep what they have; apply a policy"
                );
                self.alarms.raise(AlarmKind::BadRecord, "policy", &message, UnixTime(0));
            }
            None => self.alarms.clear(AlarmKind::BadRecord, "policy"),
        }
    }

    fn fold(&mut self, entry: &Entry) -> Result<(), LogError> {
        entry.check(&self.head)?;
        for change in &entry.body.changes {
            self.change(change, entry);
        }
        self.head = entry.head();
        Ok(())
    }

    fn change(&mut self, change: &Change, entry: &Entry) {
        let at = entry.body.at;
        let outcome = match change {
            Change::NetworkFounded { charter, authorities, freshness } => {
                self.found(charter, authorities, *freshness, at)
            }
            Change::TokenStored { delegation } => self.store_token(delegation),
            Change::TokenRevoked { token } => {
                self.tokens.revoke(token);
                Ok(())
            }
            Change::NodeAdmitted { token, node, record, .. } => {
                // Spent even if the record does not hold: a token never comes back.
                self.tokens.spend(token, *node);
                self.admit(Some(*token), record, None, at)
            }
            Change::ExternalAdmitted { record, endpoint, .. } => self.admit(None, record, *endpoint, at),
            Change::FileIssued { node, endpoint, peers, .. } => {
                self.directory.set_file(node, *endpoint, IssuedFile { at, peers: peers.clone() });
                Ok(())
            }
            Change::KeysRenewed { node, keys } => self
                .renew(node, |record| Record { keys: Some(keys.clone()), ..record })
                .map(|()| self.directory.keys_proven(node, at)),
            Change::NodeAmended { node, amendment, .. } => {
                self.renew(node, |record| Record { amendment: Some(amendment.clone()), ..record })
            }
            Change::NodeRevoked { node, revocation, why, peers, .. } => {
                let (statement, why) = (Some(revocation.clone()), why.clone());
                self.revoke(node, Gone { at, why, statement, peers: peers.clone() })
            }
            Change::LeaseEnded { node, lease, .. } => self.end_lease(node, *lease, at),
            Change::PolicyApplied { head, sources, .. } => self.apply_policy(head, sources, entry),
            Change::EpochRaised { epoch, .. } => {
                self.epoch = *epoch;
                self.tokens.void_all();
                self.relays.void_tokens();
                Ok(())
            }
            Change::AlarmRaised { kind, subject, message } => {
                self.alarms.raise(*kind, subject, message, at);
                Ok(())
            }
            Change::ApiKeyMade { id, name, scope, hash, ends } => {
                let (id, name, scope, hash, ends) = (id.clone(), name.clone(), *scope, *hash, *ends);
                self.keys.insert(ApiKey { id, name, scope, hash, created: at, ends, revoked: None });
                Ok(())
            }
            Change::ApiKeyRevoked { id, .. } => {
                self.keys.revoke(id, at);
                Ok(())
            }
            Change::SessionsEnded { .. } => Ok(()),
            Change::RelayAdded { name, token, at: places, ends } => {
                self.relays.add(name, *token, *ends, places.clone(), at)
            }
            Change::RelayEnrolled { name, key } => self.relays.change(name, |relay| relay.key = Some(*key)),
            Change::RelayPlaced { name, places, doors } => self.relays.change(name, |relay| {
                relay.seen.clone_from(places);
                relay.doors.clone_from(doors);
            }),
            Change::RelayDrained { name, draining } => {
                self.relays.change(name, |relay| relay.draining = *draining)
            }
            Change::RelayRemoved { name, .. } => self.relays.remove(name),
        };
        if let Err(why) = outcome {
            self.isolate(change, &why, at);
        }
        self.enrol_in_roll(change);
    }

    /// As the directory has it now: a node that is gone without a revocation stands nowhere.
    fn enrol_in_roll(&mut self, change: &Change) {
        let (Change::NodeAmended { node, .. }
        | Change::NodeRevoked { node, .. }
        | Change::LeaseEnded { node, .. }) = change
        else {
            return;
        };
        let serial = self.directory.get(node).map_or(0, Node::roll_serial);
        if let Some(founded) = &mut self.founded {
            founded.roll.set(node, serial);
        }
    }

    fn isolate(&mut self, change: &Change, why: &str, at: UnixTime) {
        let subject = match change {
            Change::NodeAdmitted { node, .. }
            | Change::ExternalAdmitted { node, .. }
            | Change::KeysRenewed { node, .. }
            | Change::NodeAmended { node, .. }
            | Change::NodeRevoked { node, .. }
            | Change::LeaseEnded { node, .. } => format!("node {node}"),
            other => other.kind().to_owned(),
        };
        let message = format!("the stored {} of {subject} is left out: {why}", change.kind());
        self.alarms.raise(AlarmKind::BadRecord, &subject, &message, at);
    }

    fn network(&self) -> Result<&Founded, String> {
        self.founded.as_ref().ok_or_else(|| "there is no network".to_owned())
    }

    fn found(
        &mut self,
        charter: &Signed,
        authorities: &[IdentityKey],
        freshness: u64,
        at: UnixTime,
    ) -> Result<(), String> {
        let founded =
            crate::decide::founded(charter, authorities, freshness, at).map_err(|e| e.to_string())?;
        self.founded = Some(founded);
        self.epoch = 1;
        Ok(())
    }

    fn store_token(&mut self, signed: &Signed) -> Result<(), String> {
        let terms: Delegation = self.network()?.trust.delegation(signed).map_err(|e| e.to_string())?;
        let key = IdentityKey::from_slice(&terms.token_key).ok_or("the token key is not 32 bytes")?;
        self.tokens.insert(TokenState::new(key, signed.clone(), terms));
        Ok(())
    }

    fn admit(
        &mut self,
        token: Option<IdentityKey>,
        record: &Record,
        endpoint: Option<SocketAddr>,
        at: UnixTime,
    ) -> Result<(), String> {
        let member = self.network()?.member(record).map_err(|e| e.to_string())?;
        self.addresses.hold(&member);
        let device = member.is_external().then_some(Device { endpoint, file: None });
        let record = record.clone();
        self.directory.insert(Node { member, record, keys_since: at, token, device, revoked: None });
        Ok(())
    }

    fn renew(&mut self, id: &NodeId, newer: impl FnOnce(Record) -> Record) -> Result<(), String> {
        let node = self.directory.live(id).ok_or("the node is not a member")?;
        let record = newer(node.record.clone());
        let member = self.network()?.member(&record).map_err(|e| e.to_string())?;
        self.directory.replace(id, member, record);
        Ok(())
    }

    /// A revocation counts even if its statement could no longer be checked: it can only take away.
    fn revoke(&mut self, id: &NodeId, gone: Gone) -> Result<(), String> {
        let freshness = self.network()?.freshness;
        let at = gone.at;
        if let (Some(founded), Some(statement)) = (&mut self.founded, &gone.statement) {
            founded.revocations.push(statement);
        }
        let node = self.directory.live(id).ok_or("the node is not a member")?;
        self.addresses.release(&node.member.clone(), at, freshness);
        self.directory.revoke(id, gone);
        Ok(())
    }

    fn end_lease(&mut self, id: &NodeId, lease: u64, at: UnixTime) -> Result<(), String> {
        let freshness = self.network()?.freshness;
        let member = self.directory.live(id).ok_or("the node is not a member")?.member.clone();
        self.addresses.release(&member, at, freshness);
        let why = format!("away for longer than its lease of {lease} s");
        self.directory.end(id, Gone { at, why, statement: None, peers: Vec::new() });
        Ok(())
    }

    /// Seconds a node may be away; `None`: as long as it likes.
    pub fn lease(&self, node: &Node) -> Option<u64> {
        let token = self.tokens.get(node.token.as_ref()?).ok()?;
        Some(token.terms.lease).filter(|lease| *lease > 0)
    }

    fn apply_policy(
        &mut self,
        head: &Signed,
        sources: &[crate::change::SourceText],
        entry: &Entry,
    ) -> Result<(), String> {
        let signed = self.network()?.trust.policy(head).map_err(|e| e.to_string())?;
        // The alarm speaks of the newest generation: raised anew by the same entry if it still observes.
        self.alarms.clear(AlarmKind::ObserveMode, "policy");
        self.policies.push(Applied {
            signed,
            head: head.clone(),
            sources: std::sync::Arc::new(sources.to_vec()),
            at: entry.body.at,
            by: entry.body.principal.clone(),
        });
        Ok(())
    }
}
