//! The space of all nodes that could ever be enrolled.
//!
//! A node is a set of literals: the tags it wears, and its name if a policy speaks of that name. Two names exclude each
//! other as two `not-with` tags do, and every selector is a conjunction of positive literals. So "could such a node be
//! enrolled" is asked of the smallest set of literals that the question needs: what a smaller set violates (an
//! exclusion, an `except`), every larger one violates too.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::Name;
use crate::policy::{Policy, Selector, Tag};

/// A tag, or a name that some selector speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Literal {
    Tag(Name),
    Node(Name),
}

type Id = u32;

/// Literals that a node must have, sorted. The empty one is every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conj(Vec<Id>);

impl Conj {
    pub fn within(&self, other: &Conj) -> bool {
        self.0.iter().all(|id| other.0.binary_search(id).is_ok())
    }

    pub fn and(&self, other: &Conj) -> Conj {
        if other.within(self) {
            return self.clone();
        }
        let mut all: Vec<Id> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        all.dedup();
        Conj(all)
    }

    pub fn ids(&self) -> &[Id] {
        &self.0
    }
}

/// Which sets of literals a node may have, by ownership and `not-with`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Space {
    ids: BTreeMap<Literal, Id>,
    literals: Vec<Literal>,
    /// For each literal: can a node have it at all?
    possible: Vec<bool>,
    not_with: Vec<Vec<Id>>,
    /// Names of services: nodes and services share one name space.
    taken: BTreeSet<Name>,
}

impl Space {
    /// `worn`: tags that nodes wear already, whoever owns them.
    pub fn new(policy: &Policy, worn: &BTreeSet<Name>) -> Space {
        let mut space = Space { taken: policy.services.keys().cloned().collect(), ..Space::default() };
        for tag in policy.tags.values() {
            let id = space.id(&Literal::Tag(tag.name.clone()));
            let can_be_worn = ownable(policy, tag) || worn.contains(&tag.name);
            let others: Vec<Id> =
                tag.not_with.iter().map(|other| space.id(&Literal::Tag(other.clone()))).collect();
            for other in others {
                space.exclude(id, other);
            }
            if let Some(possible) = space.possible.get_mut(id as usize) {
                *possible = can_be_worn;
            }
        }
        space.not_with.iter_mut().for_each(|list| list.sort_unstable());
        space
    }

    fn exclude(&mut self, a: Id, b: Id) {
        for (one, other) in [(a, b), (b, a)] {
            if let Some(list) = self.not_with.get_mut(one as usize) {
                list.push(other);
            }
        }
    }

    fn id(&mut self, literal: &Literal) -> Id {
        if let Some(id) = self.ids.get(literal) {
            return *id;
        }
        let id = Id::try_from(self.literals.len()).unwrap_or(Id::MAX);
        self.ids.insert(literal.clone(), id);
        self.literals.push(literal.clone());
        // A tag that is not declared has no owner; a name can be given unless a service has it.
        self.possible.push(matches!(literal, Literal::Node(name) if !self.taken.contains(name)));
        self.not_with.push(Vec::new());
        id
    }

    pub fn conj(&mut self, selector: &Selector) -> Conj {
        let mut ids: Vec<Id> = match selector {
            Selector::AllNodes => Vec::new(),
            Selector::Node(name) => vec![self.id(&Literal::Node(name.clone()))],
            Selector::Tags(tags) => tags.iter().map(|tag| self.id(&Literal::Tag(tag.clone()))).collect(),
        };
        ids.sort_unstable();
        Conj(ids)
    }

    /// Could a node be enrolled that has all of these?
    pub fn possible(&self, conj: &Conj) -> bool {
        let mut name = None;
        conj.0.iter().all(|id| {
            let possible = self.possible.get(*id as usize).copied().unwrap_or(false);
            let free = match self.literals.get(*id as usize) {
                Some(Literal::Node(_)) => name.replace(*id).is_none(),
                Some(Literal::Tag(_)) => true,
                None => false,
            };
            let excluded = self.not_with.get(*id as usize);
            possible
                && free
                && excluded.is_none_or(|list| !conj.0.iter().any(|other| list.binary_search(other).is_ok()))
        })
    }

    /// [`Space::possible`] of both together, when each alone is possible.
    pub fn fits(&self, a: &Conj, b: &Conj) -> bool {
        let names = self.name(a).zip(self.name(b));
        let excluded = |id: &Id| self.not_with.get(*id as usize).map(Vec::as_slice).unwrap_or_default();
        names.is_none_or(|(one, other)| one == other)
            && a.0.iter().all(|id| !b.0.iter().any(|other| excluded(id).binary_search(other).is_ok()))
    }

    /// The name that such a node must have. Without one it is any of endlessly many nodes that no selector names.
    pub fn name(&self, conj: &Conj) -> Option<Id> {
        conj.0.iter().copied().find(|id| matches!(self.literals.get(*id as usize), Some(Literal::Node(_))))
    }

    pub fn wearer(&self, conj: &Conj) -> Wearer {
        let mut wearer = Wearer::default();
        for literal in conj.0.iter().filter_map(|id| self.literals.get(*id as usize)) {
            match literal {
                Literal::Tag(tag) => _ = wearer.tags.insert(tag.clone()),
                Literal::Node(name) => wearer.name = Some(name.clone()),
            }
        }
        wearer
    }
}

/// Somebody may enrol a node that wears it.
pub(crate) fn ownable(policy: &Policy, tag: &Tag) -> bool {
    tag.owners.iter().filter_map(|owner| policy.groups.get(owner)).any(|group| !group.members.is_empty())
}

/// A node that could be enrolled: what it wears, and its name if that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Wearer {
    pub name: Option<Name>,
    pub tags: BTreeSet<Name>,
}

impl Wearer {
    /// As a selector would say it: `all-nodes`, `tag:a & tag:b`, `node:x`; a named one with tags: `node:x & tag:a`.
    pub fn selector(&self) -> String {
        let name = self.name.iter().map(|name| format!("node:{name}"));
        let tags = self.tags.iter().map(|tag| format!("tag:{tag}"));
        let parts: Vec<String> = name.chain(tags).collect();
        if parts.is_empty() { "all-nodes".to_owned() } else { parts.join(" & ") }
    }
}

impl std::fmt::Display for Wearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "node `{name}`")?,
            None => f.write_str("a node")?,
        }
        let tags: Vec<String> = self.tags.iter().map(|tag| format!("`{tag}`")).collect();
        match tags.as_slice() {
            [] if self.name.is_some() => Ok(()),
            [] => f.write_str(" without tags"),
            tags => write!(f, " that wears {}", tags.join(" and ")),
        }
    }
}
