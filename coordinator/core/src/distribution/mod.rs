//! Who must be told what. A node's view follows from the state and the endpoints; a change is sent only to those whose
//! view it alters, as the difference to what they were last sent.
//!
//! Connecting and leaving change nobody's view. Endpoints are hints, not history: they alter views without a revision.

mod roster;
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use warren_wire::id::{Digest, NodeId, Revision};
use warren_wire::issue;
use warren_wire::roll::Page;
use warren_wire::view::{Body, DELTA_BYTES, Delta, Entry, Key, ProvenItem, cut};

use crate::endpoints::Endpoints;
use crate::state::State;

pub use roster::Roster;
pub use shared::{Sealed, Sent, SharedView};

/// Revocations one view carries, the newest: the others' addresses and keys are unknown to its node anyway.
pub const MAX_REVOKED: usize = 1024;

/// Views as sent, and what they are made of.
#[derive(Debug, Default)]
pub struct Distribution {
    roster: Roster,
    charter: Option<Arc<Sealed>>,
    policy_head: Option<Arc<Sealed>>,
    items: BTreeMap<usize, Arc<Sealed>>,
    peers: BTreeMap<NodeId, Arc<Sealed>>,
    endpoints: BTreeMap<NodeId, Arc<Sealed>>,
    audited: BTreeMap<(NodeId, Arc<Vec<u64>>), Arc<Sealed>>,
    /// Pages of the network's roll: everybody has them all.
    roll: BTreeMap<u8, Arc<Sealed>>,
    sent: BTreeMap<NodeId, Sent>,
}

/// What a node says it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub epoch: u64,
    pub revision: Revision,
    pub digest: Option<Digest>,
}

impl Distribution {
    pub fn new(state: &State) -> Distribution {
        let mut distribution = Distribution::default();
        distribution.policy_changed(state);
        distribution.charter =
            state.founded.as_ref().map(|f| Sealed::new(Entry::new(Body::Charter(f.charter.clone()))));
        distribution.roll_changed(state);
        distribution
    }

    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// A new policy: everything that follows from it is made anew. Everybody is affected.
    pub fn policy_changed(&mut self, state: &State) {
        let policy = state.policies.in_force().cloned();
        let nodes = state.directory.alive().map(|node| (node.id(), node.subject()));
        self.roster = Roster::new(policy, nodes);
        self.items.clear();
        self.audited.clear();
        let newest = state.policies.newest();
        self.policy_head = newest.map(|a| Sealed::new(Entry::new(Body::PolicyHead(a.head.clone()))));
    }

    /// The network's roll is another one. Everybody is affected, and nobody in a hurry whom nothing else touches.
    pub fn roll_changed(&mut self, state: &State) {
        let Some(founded) = &state.founded else { return };
        let pages: BTreeMap<u8, &Page> = founded.roll.pages().collect();
        self.roll.retain(|number, _| pages.contains_key(number));
        for (number, page) in pages {
            let known = self.roll.get(&number).is_some_and(
                |sealed| matches!(&sealed.entry.body, Some(Body::Roll(known)) if known.rows == page.rows()),
            );
            if !known {
                self.roll.insert(number, Sealed::new(Entry::roll(number, page)));
            }
        }
    }

    /// A node came, changed or went; who must be told, itself included.
    pub fn node_changed(&mut self, state: &State, id: NodeId) -> BTreeSet<NodeId> {
        let mut affected = self.roster.peers(&id);
        affected.extend(self.roster.audited_by(&id));
        self.peers.remove(&id);
        match state.directory.live(&id) {
            Some(node) => {
                self.roster.insert(id, node.subject());
                affected.extend(self.roster.peers(&id));
                affected.extend(self.roster.audited_by(&id));
                affected.insert(id);
            }
            None => {
                self.roster.remove(&id);
                self.endpoints.remove(&id);
                self.audited.retain(|(node, _), _| *node != id);
                self.sent.remove(&id);
            }
        }
        affected
    }

    /// A node can be reached elsewhere; who must be told.
    pub fn endpoints_changed(&mut self, endpoints: &Endpoints, id: NodeId) -> BTreeSet<NodeId> {
        let candidates: Vec<String> = endpoints.of(&id).iter().map(ToString::to_string).collect();
        let seat = endpoints.seat(&id);
        match candidates.is_empty() && seat.is_none() {
            true => self.endpoints.remove(&id),
            false => self.endpoints.insert(id, Sealed::new(Entry::endpoints(id, candidates, seat))),
        };
        self.roster.peers(&id)
    }

    /// Does a grant join the two?
    pub fn are_peers(&self, id: &NodeId, other: &NodeId) -> bool {
        self.roster.are_peers(id, other)
    }

    /// The whole view of a live node. `None` if there is nothing that may be told: the policy cannot be read.
    pub fn view(&mut self, state: &State, id: &NodeId) -> Option<SharedView> {
        if state.policies.broken().is_some() {
            return None;
        }
        let node = state.directory.live(id)?;
        let mut view = SharedView::default();
        view.put(Key::Charter, self.charter.clone()?);
        view.put(Key::Me, Sealed::new(Entry::new(Body::Me(node.record.clone()))));
        if let Some(head) = &self.policy_head {
            view.put(Key::PolicyHead, head.clone());
        }
        self.put_items(state, id, &mut view);
        self.put_peers(state, id, &mut view);
        self.put_audited(state, id, &mut view);
        put_revoked(state, id, &mut view);
        self.roll.iter().for_each(|(number, page)| view.put(Key::Roll(*number), page.clone()));
        self.put_filed(state, id, &mut view);
        Some(view)
    }

    fn put_items(&mut self, state: &State, id: &NodeId, view: &mut SharedView) {
        let Some(policy) = state.policies.in_force() else { return };
        for place in self.roster.items(id).iter() {
            let Some((_, bytes)) = policy.tree.items().get(*place) else { continue };
            let index = *place as u64;
            let sealed = self.items.entry(*place).or_insert_with(|| {
                let path = policy.tree.prove(index).path;
                Sealed::new(Entry::new(Body::Item(ProvenItem { index, item: bytes.clone(), path })))
            });
            view.put(Key::Item(index), sealed.clone());
        }
    }

    fn put_peers(&mut self, state: &State, id: &NodeId, view: &mut SharedView) {
        for peer in self.roster.peers(id) {
            let Some(node) = state.directory.live(&peer) else { continue };
            let sealed =
                self.peers.entry(peer).or_insert_with(|| Sealed::new(Entry::peer(peer, node.record.clone())));
            view.put(Key::Peer(peer), sealed.clone());
            if let Some(endpoints) = self.endpoints.get(&peer) {
                view.put(Key::Endpoints(peer), endpoints.clone());
            }
        }
    }

    /// Keys of this node that files of devices name; of the devices only those it is joined with.
    fn put_filed(&self, state: &State, id: &NodeId, view: &mut SharedView) {
        let mut filed = state.directory.filed(id).peekable();
        if filed.peek().is_none() {
            return;
        }
        let peers = self.roster.peers(id);
        for (key, devices) in filed {
            let entry = Entry::filed(*key, devices.intersection(&peers).copied());
            view.put(Key::Filed(*key), Sealed::new(entry));
        }
    }

    fn put_audited(&mut self, state: &State, id: &NodeId, view: &mut SharedView) {
        for (destination, services) in self.roster.audited(id) {
            let Some(node) = state.directory.live(&destination) else { continue };
            let (v6, v4) = (node.member.v6, node.member.v4);
            let sealed = self
                .audited
                .entry((destination, services.clone()))
                .or_insert_with(|| Sealed::new(Entry::audited(v6, v4, services.to_vec())));
            view.put(Key::Audited(v6), sealed.clone());
        }
    }

    /// The deltas that bring a node's session from what it was last sent to what is true now; empty for no change.
    pub fn update(&mut self, state: &State, id: NodeId, online: &SigningKey) -> Vec<Delta> {
        let Some(view) = self.view(state, &id) else { return Vec::new() };
        let before = self.sent.get(&id);
        if before.is_some_and(|sent| sent.view == view && sent.epoch == state.epoch) {
            return Vec::new();
        }
        let before = self.sent.remove(&id);
        self.send(state, id, view, before.as_ref(), online)
    }

    /// The deltas a node gets when its session begins: nothing if it holds the present view at the present revision, the
    /// difference if what it holds is known here, else everything.
    pub fn greet(&mut self, state: &State, id: NodeId, held: Held, online: &SigningKey) -> Vec<Delta> {
        let Some(view) = self.view(state, &id) else { return Vec::new() };
        let digest = view.digest();
        let same_epoch = held.epoch == state.epoch && held.revision <= state.head().revision;
        let holds = |known: &Digest| same_epoch && held.digest == Some(*known);
        let as_sent =
            |sent: &Sent| sent.digest == digest && (sent.epoch, sent.revision) == (held.epoch, held.revision);
        if holds(&digest) && self.sent.get(&id).is_some_and(as_sent) {
            return Vec::new();
        }
        if holds(&digest) && held.revision == state.head().revision {
            self.remember(state, id, view, digest);
            return Vec::new();
        }
        let before = if holds(&digest) {
            Some(Sent { revision: held.revision, ..self.now(state, view.clone(), digest) })
        } else {
            self.sent.remove(&id).filter(|sent| holds(&sent.digest) && held.revision == sent.revision)
        };
        self.send(state, id, view, before.as_ref(), online)
    }

    fn now(&self, state: &State, view: SharedView, digest: Digest) -> Sent {
        let (epoch, revision, generation) = (state.epoch, state.head().revision, state.generation());
        Sent { epoch, revision, generation, digest, view }
    }

    fn remember(&mut self, state: &State, id: NodeId, view: SharedView, digest: Digest) {
        let sent = self.now(state, view, digest);
        self.sent.insert(id, sent);
    }

    fn send(
        &mut self,
        state: &State,
        id: NodeId,
        view: SharedView,
        before: Option<&Sent>,
        online: &SigningKey,
    ) -> Vec<Delta> {
        let Some(founded) = &state.founded else { return Vec::new() };
        let digest = view.digest();
        let head = issue::view_head(&founded.network.id, id, &state.signable(), &digest, online);
        let (base, empty) = (before.map(|sent| sent.revision), SharedView::default());
        let (put, gone) = before.map_or(&empty, |sent| &sent.view).changes_to(&view);
        self.remember(state, id, view, digest);
        cut(base, put, gone, head, DELTA_BYTES)
    }

    /// What a node was last sent.
    pub fn sent(&self, id: &NodeId) -> Option<&Sent> {
        self.sent.get(id)
    }
}

fn put_revoked(state: &State, id: &NodeId, view: &mut SharedView) {
    let gone = state.directory.revoked_peers(id).iter().rev().take(MAX_REVOKED);
    for revoked in gone.filter_map(|id| state.directory.get(id)) {
        if let Some(statement) = revoked.revoked.as_ref().and_then(|gone| gone.statement.as_ref()) {
            let entry = Entry::revoked(revoked.id(), statement.clone());
            view.put(Key::Revoked(revoked.id()), Sealed::new(entry));
        }
    }
}
