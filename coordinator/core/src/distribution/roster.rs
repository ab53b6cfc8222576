//! Who is joined with whom. Nodes that the policy cannot tell apart form a class, so that a thousand nodes of five roles
//! cost five by five questions, not a thousand by a thousand.
//!
//! [`crate::state::State::peers_of`] is the slow judge: it asks about every pair.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warren_config::item::Item;
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_wire::id::NodeId;

use crate::policies::InForce;

/// What tells nodes apart: their tags, and their name if the policy speaks of it.
type ClassKey = (Option<Name>, BTreeSet<Name>);

#[derive(Clone, Debug)]
struct Class {
    members: BTreeSet<NodeId>,
    /// Any member: all are alike.
    subject: Subject,
    /// Places of classes whose members are joined with this one's; may contain itself.
    joined: BTreeSet<usize>,
    /// Indices of the policy items that concern its members.
    items: Arc<Vec<usize>>,
}

/// Live nodes in classes under one policy.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    policy: Option<Arc<InForce>>,
    classes: Vec<Class>,
    by_key: BTreeMap<ClassKey, usize>,
    class_of: BTreeMap<NodeId, usize>,
}

impl Roster {
    pub fn new<'a>(
        policy: Option<Arc<InForce>>,
        nodes: impl IntoIterator<Item = (NodeId, &'a Subject)>,
    ) -> Roster {
        let mut roster = Roster { policy, ..Roster::default() };
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

    pub fn peer_count(&self, id: &NodeId) -> usize {
        let Some((place, class)) = self.class_of.get(id).and_then(|p| Some((p, self.classes.get(*p)?)))
        else {
            return 0;
        };
        let all: usize =
            class.joined.iter().filter_map(|p| self.classes.get(*p)).map(|c| c.members.len()).sum();
        all.saturating_sub(usize::from(class.joined.contains(place)))
    }

    /// Places of the items that concern this node.
    pub fn items(&self, id: &NodeId) -> Arc<Vec<usize>> {
        let class = self.class_of.get(id).and_then(|place| self.classes.get(*place));
        class.map(|class| class.items.clone()).unwrap_or_default()
    }

    fn add_class(&mut self, policy: &InForce, key: ClassKey, subject: &Subject) -> usize {
        let place = self.classes.len();
        let mut joined: BTreeSet<usize> =
            (0..place).filter(|other| self.class_joins(policy, *other, subject)).collect();
        for other in &joined {
            if let Some(class) = self.classes.get_mut(*other) {
                class.joined.insert(place);
            }
        }
        if policy.joins(subject, subject) {
            joined.insert(place);
        }
        let items = policy.tree.items().iter().enumerate();
        let items = items.filter(|(_, (item, _))| concerns(policy, item, subject)).map(|(i, _)| i).collect();
        let members = BTreeSet::new();
        self.classes.push(Class { members, subject: subject.clone(), joined, items: Arc::new(items) });
        self.by_key.insert(key, place);
        place
    }

    fn class_joins(&self, policy: &InForce, place: usize, subject: &Subject) -> bool {
        self.classes.get(place).is_some_and(|class| policy.joins(&class.subject, subject))
    }
}

fn concerns(policy: &InForce, item: &Item, subject: &Subject) -> bool {
    policy.program.concerns(item, subject)
}
