//! What ought to be. Knows every policy that was ever in force and who was who at each revision, and asks the slow judge of
//! the policy language; shares nothing with the compiler, the view or the filter.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use warren_config::oracle;
use warren_config::policy::{Mode, Policy, Protocol, Subject};
use warren_config::time::UnixTime;
use warren_coordinator_core::state::State;
use warren_wire::id::{Generation, IdentityKey, NodeId, Revision};

use crate::administrator::resolved;

/// A question as the oracle takes it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub generation: Generation,
    pub revision: Revision,
    pub at: UnixTime,
}

/// The greatest state that was ever acknowledged to anyone.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    revision: Revision,
    generation: Generation,
    redeemed: BTreeMap<IdentityKey, usize>,
}

#[derive(Debug, Default)]
pub struct Model {
    policies: BTreeMap<Generation, Policy>,
    subjects: BTreeMap<NodeId, Vec<(Revision, Subject)>>,
    addresses: BTreeMap<IpAddr, NodeId>,
    /// Revision at which a node was revoked.
    pub revoked: BTreeMap<NodeId, Revision>,
    acknowledged: Acknowledged,
    /// Generations none of whose grants ends.
    timeless: BTreeSet<Generation>,
    /// What the oracle has said under these: it reads the whole policy each time.
    said: RefCell<BTreeMap<Question, bool>>,
}

/// Generation; who was who, and since when; what for.
type Question = (Generation, (NodeId, Revision), (NodeId, Revision), Protocol, u16);

impl Model {
    /// Takes in what was just committed, or read again after a crash. What was there before must still be there.
    ///
    /// # Errors
    /// An acknowledged change that is gone.
    pub fn learn(&mut self, state: &State) -> Result<(), String> {
        self.acknowledged_changes_survive(state)?;
        let revision = state.head().revision;
        for applied in state.policies().history() {
            let text = applied.sources.first().map_or("", |source| source.text.as_str());
            let generation = applied.signed.generation;
            let policy = self.policies.entry(generation).or_insert_with(|| resolved(text));
            if policy.grants.values().all(|grant| grant.until.is_none()) {
                self.timeless.insert(generation);
            }
        }
        for node in state.directory().all() {
            let known = self.subjects.entry(node.id()).or_default();
            if known.last().is_none_or(|(_, subject)| subject != node.subject()) {
                known.push((revision, node.subject().clone()));
            }
            self.addresses.extend(node.member.addresses().map(|address| (address, node.id())));
            if !node.is_live() {
                self.revoked.entry(node.id()).or_insert(revision);
            }
        }
        let redeemed = state.tokens().iter().map(|token| (token.key, token.used_by.len())).collect();
        self.acknowledged = Acknowledged { revision, generation: state.generation(), redeemed };
        Ok(())
    }

    fn acknowledged_changes_survive(&self, state: &State) -> Result<(), String> {
        let known = &self.acknowledged;
        let (revision, generation) = (state.head().revision, state.generation());
        if revision < known.revision || generation < known.generation {
            return Err(format!(
                "acknowledged changes survive: revision {} generation {} became {revision} and {generation}",
                known.revision, known.generation
            ));
        }
        for (token, used) in &known.redeemed {
            let now = state.tokens().get(token).map_or(0, |t| t.used_by.len());
            if now < *used {
                return Err(format!(
                    "acknowledged changes survive: token {token} was used {used} times, now {now}"
                ));
            }
        }
        for id in self.subjects.keys() {
            let node = state.directory().get(id);
            let back = node.is_some_and(|n| n.is_live()) && self.revoked.contains_key(id);
            if node.is_none() || back {
                return Err(format!(
                    "acknowledged changes survive: node {id} is gone, or back after its revocation"
                ));
            }
        }
        Ok(())
    }

    pub fn generation(&self) -> Generation {
        self.acknowledged.generation
    }
    pub fn revision(&self) -> Revision {
        self.acknowledged.revision
    }
    pub fn policy(&self, generation: Generation) -> Option<&Policy> {
        self.policies.get(&generation)
    }
    pub fn holder(&self, address: IpAddr) -> Option<NodeId> {
        self.addresses.get(&address).copied()
    }

    /// Who a node was at a revision; nobody before it was in and after it was revoked.
    pub fn subject(&self, node: &NodeId, revision: Revision) -> Option<&Subject> {
        self.subject_since(node, revision).map(|(_, subject)| subject)
    }

    /// The same, and since when it has been that.
    fn subject_since(&self, node: &NodeId, revision: Revision) -> Option<(Revision, &Subject)> {
        if self.revoked.get(node).is_some_and(|at| *at <= revision) {
            return None;
        }
        let known = self.subjects.get(node)?;
        known.iter().rev().find(|(since, _)| *since <= revision).map(|(since, subject)| (*since, subject))
    }

    /// May `from` open this at `to`? In `observe` mode everybody may open everything.
    pub fn allows(&self, when: Moment, from: &NodeId, to: &NodeId, protocol: Protocol, port: u16) -> bool {
        let Some(policy) = self.policy(when.generation) else { return false };
        let subjects = (self.subject_since(from, when.revision), self.subject_since(to, when.revision));
        let (Some((from_since, source)), Some((to_since, target))) = subjects else { return false };
        if policy.settings.mode == Mode::Observe {
            return true;
        }
        let ask = || oracle::allows(policy, source, target, protocol, port, when.at);
        if !self.timeless.contains(&when.generation) {
            return ask();
        }
        let question = (when.generation, (*from, from_since), (*to, to_since), protocol, port);
        *self.said.borrow_mut().entry(question).or_insert_with(ask)
    }

    /// Is `from` to use `gateway` for this address: is it granted something there, now or later? What is behind a node itself it
    /// reaches without help.
    pub fn leads(&self, when: Moment, from: &NodeId, gateway: &NodeId, address: IpAddr) -> bool {
        let Some(policy) = self.policy(when.generation) else { return false };
        let subjects = (self.subject(from, when.revision), self.subject(gateway, when.revision));
        let (Some(source), Some(target)) = subjects else { return false };
        from != gateway
            && !oracle::leads_there_itself(policy, source, address)
            && oracle::has_route(policy, source, (target, address), when.at)
    }

    /// May `from` open this at an address behind `gateway`? In `observe` mode that is whatever it has a route to.
    pub fn allows_behind(
        &self,
        when: Moment,
        from: &NodeId,
        (gateway, address): (&NodeId, IpAddr),
        protocol: Protocol,
        port: u16,
    ) -> bool {
        let Some(policy) = self.policy(when.generation) else { return false };
        let subjects = (self.subject(from, when.revision), self.subject(gateway, when.revision));
        let (Some(source), Some(target)) = subjects else { return false };
        self.leads(when, from, gateway, address)
            && (policy.settings.mode == Mode::Observe
                || oracle::allows_behind(policy, source, (target, address), protocol, port, when.at))
    }

    /// Addresses behind gateways that are worth asking about: at and beside every boundary.
    pub fn addresses_behind(&self) -> BTreeSet<IpAddr> {
        let Some(policy) = self.policy(self.generation()) else { return BTreeSet::new() };
        policy.services.values().flat_map(|service| oracle::ever::addresses(policy, service)).collect()
    }

    /// Would an audited grant ever have let `from` open anything at `to`, whom no enforced one joins it to?
    pub fn audits(&self, when: Moment, from: &NodeId, to: &NodeId) -> bool {
        let Some(policy) = self.policy(when.generation) else { return false };
        let subjects = (self.subject(from, when.revision), self.subject(to, when.revision));
        let (Some(source), Some(target)) = subjects else { return false };
        let mut timeless = policy.clone();
        timeless.grants.values_mut().for_each(|grant| grant.until = None);
        let mut listens = policy.services.values().flat_map(|service| &service.listen);
        from != to
            && !self.joins(when, from, to)
            && listens.any(|l| oracle::would_allow(&timeless, source, target, l.protocol, l.first, when.at))
    }

    /// May either open anything at the other, or behind it? Asked at the first port of every `listen`, and at every boundary.
    pub fn joins(&self, when: Moment, a: &NodeId, b: &NodeId) -> bool {
        let Some(policy) = self.policy(when.generation) else { return false };
        if policy.settings.mode == Mode::Observe {
            return a != b && [a, b].iter().all(|node| self.subject(node, when.revision).is_some());
        }
        let mut listens = policy.services.values().flat_map(|service| &service.listen);
        let behind = |service| oracle::ever::addresses(policy, service);
        a != b
            && (listens.any(|l| {
                self.allows(when, a, b, l.protocol, l.first) || self.allows(when, b, a, l.protocol, l.first)
            }) || policy
                .services
                .values()
                .flat_map(behind)
                .any(|address| self.leads(when, a, b, address) || self.leads(when, b, a, address)))
    }
}
