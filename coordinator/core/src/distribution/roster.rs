//! Who is joined with whom. Nodes that the policy cannot tell apart form a class, so that a thousand nodes of five roles
//! cost five by five questions, not a thousand by a thousand.
//!
//! [`crate::state::State::peers_of`] is the slow judge: it asks about every pair.
//!
//! An audited grant joins nobody: who it names is told only what it must know to recognise the destination.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warren_config::compile::Cast;
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_wire::id::NodeId;

use crate::policies::InForce;

/// What tells nodes apart: their tags, and their name if the policy speaks of it.
type ClassKey = (Option<Name>, BTreeSet<Name>);

#[derive(Clone, Debug)]
struct Class {
    members: BTreeSet<NodeId>,
    /// Places of classes whose members are joined with this one's, in order; may contain its own.
    joined: Vec<usize>,
    /// Classes at whose members only audited grants would open something to this one's, with those services' items.
    audits: BTreeMap<usize, Arc<Vec<u64>>>,
    /// The other way round.
    audited_by: BTreeSet<usize>,
    /// Indices of the policy items that concern its members.
    items: Arc<Vec<usize>>,
}

/// Live nodes in classes under one policy.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    policy: Option<Arc<InForce>>,
    classes: Vec<Class>,
    /// A member of each class, by its place: all are alike.
    cast: Cast,
    by_key: BTreeMap<ClassKey, usize>,
    class_of: BTreeMap<NodeId, usize>,
}

impl Roster {
    pub fn new<'a>(
        policy: Option<Arc<InForce>>,
        nodes: impl IntoIterator<Item = (NodeId, &'a Subject)>,
    ) -> Roster {
        let cast = policy.as_ref().map(|policy| Cast::new(policy.program.clone())).unwrap_or_default();
        let mut roster = Roster { policy, cast, ..Roster::default() };
        nodes.into_iter().for_each(|(id, subject)| roster.insert(id, subject));
        roster
    }

    pub fn insert(&mut self, id: NodeId, subject: &Subject) {
        self.remove(&id);
        let Some(policy) = self.policy.clone() else { return };
        let name = Some(&subject.name).filter(|name| policy.mentioned.contains(*name)).cloned();
        let key = (name, subject.tags.clone());
        let place = match self.by_key.get(&key) {
            Some(place) => *place,
            None => self.add_class(&policy, key, subject),
        };
        self.class_of.insert(id, place);
        if let Some(class) = self.classes.get_mut(place) {
            class.members.insert(id);
        }
    }

    pub fn remove(&mut self, id: &NodeId) {
        if let Some(class) = self.class_of.remove(id).and_then(|place| self.classes.get_mut(place)) {
            class.members.remove(id);
        }
    }

    /// Live nodes joined with this one, in order.
    pub fn peers(&self, id: &NodeId) -> BTreeSet<NodeId> {
        let class = self.class_of.get(id).and_then(|place| self.classes.get(*place));
        let joined = class.into_iter().flat_map(|c| &c.joined).filter_map(|place| self.classes.get(*place));
        joined.flat_map(|c| &c.members).filter(|peer| *peer != id).copied().collect()
    }

    /// Is `other` among [`Roster::peers`] of `id`?
    pub fn are_peers(&self, id: &NodeId, other: &NodeId) -> bool {
        let class = self.class_of.get(id).and_then(|place| self.classes.get(*place));
        let place = self.class_of.get(other).filter(|_| id != other);
        class.zip(place).is_some_and(|(class, place)| class.joined.binary_search(place).is_ok())
    }

    pub fn peer_count(&self, id: &NodeId) -> usize {
        let Some((place, class)) = self.class_of.get(id).and_then(|p| Some((p, self.classes.get(*p)?)))
        else {
            return 0;
        };
        let all: usize =
            class.joined.iter().filter_map(|p| self.classes.get(*p)).map(|c| c.members.len()).sum();
        all.saturating_sub(usize::from(class.joined.binary_search(place).is_ok()))
    }

    /// Live nodes at which only audited grants would open something to this one, with the items of those services.
    pub fn audited(&self, id: &NodeId) -> BTreeMap<NodeId, Arc<Vec<u64>>> {
        let class = self.class_of.get(id).and_then(|place| self.classes.get(*place));
        let audits = class.into_iter().flat_map(|class| &class.audits);
        let found = audits.filter_map(|(place, services)| Some((self.classes.get(*place)?, services)));
        let nodes =
            found.flat_map(|(class, services)| class.members.iter().map(move |m| (*m, services.clone())));
        nodes.filter(|(node, _)| node != id).collect()
    }

    /// Live nodes that are told to recognise this one.
    pub fn audited_by(&self, id: &NodeId) -> BTreeSet<NodeId> {
        let class = self.class_of.get(id).and_then(|place| self.classes.get(*place));
        let places = class.into_iter().flat_map(|class| &class.audited_by);
        let members = places.filter_map(|place| self.classes.get(*place)).flat_map(|class| &class.members);
        members.filter(|node| *node != id).copied().collect()
    }

    /// Places of the items that concern this node.
    pub fn items(&self, id: &NodeId) -> Arc<Vec<usize>> {
        let class = self.class_of.get(id).and_then(|place| self.classes.get(*place));
        class.map(|class| class.items.clone()).unwrap_or_default()
    }

    fn add_class(&mut self, policy: &InForce, key: ClassKey, subject: &Subject) -> usize {
        let place = self.cast.add(subject);
        let joined = self.cast.joined_with(place);
        for other in joined.iter().filter(|other| **other != place) {
            if let Some(class) = self.classes.get_mut(*other) {
                // The newest place is the greatest: the list stays in order.
                class.joined.push(place);
            }
        }
        self.classes.push(Class {
            members: BTreeSet::new(),
            joined,
            audits: BTreeMap::new(),
            audited_by: BTreeSet::new(),
            items: Arc::new(policy.places.of(&self.cast.concerning(place))),
        });
        self.by_key.insert(key, place);
        self.add_audits(policy, place);
        place
    }

    /// Who has to recognise whom, with the newest class as either. Peers know each other already.
    fn add_audits(&mut self, policy: &InForce, place: usize) {
        for ((from, to), services) in self.cast.audits(place) {
            let other = if from == place { to } else { from };
            let joined =
                self.classes.get(place).is_some_and(|class| class.joined.binary_search(&other).is_ok());
            if joined {
                continue;
            }
            let items = services.into_iter().filter_map(|service| policy.places.service(service));
            let items: Vec<u64> = items.map(|item| item as u64).collect();
            if let Some(class) = self.classes.get_mut(from) {
                class.audits.insert(to, Arc::new(items));
            }
            if let Some(class) = self.classes.get_mut(to) {
                class.audited_by.insert(from);
            }
        }
    }
}
