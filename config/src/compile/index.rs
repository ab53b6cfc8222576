//! Selectors by one thing their nodes have in common, so that a subject finds those that may match it without a scan.

use std::collections::{BTreeMap, BTreeSet};

use super::sorted;
use crate::name::Name;
use crate::policy::{Selector, Subject};

/// Places of whatever has selectors: a service with its `on`, a grant with its `from`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    anyone: Vec<usize>,
    by_name: BTreeMap<Name, Vec<usize>>,
    by_tag: BTreeMap<Name, Vec<usize>>,
}

impl Index {
    /// Of the tags that a selector asks for together, one is enough to find it by.
    pub fn add(&mut self, selectors: &BTreeSet<Selector>, place: usize) {
        for selector in selectors {
            let list = match selector {
                Selector::AllNodes => &mut self.anyone,
                Selector::Node(name) => self.by_name.entry(name.clone()).or_default(),
                Selector::Tags(tags) => match tags.first() {
                    Some(tag) => self.by_tag.entry(tag.clone()).or_default(),
                    None => &mut self.anyone,
                },
            };
            list.push(place);
        }
    }

    /// In order, each once: every place with a selector that matches `subject`, and some others.
    pub fn near(&self, subject: &Subject) -> Vec<usize> {
        let worn = subject.tags.iter().filter_map(|tag| self.by_tag.get(tag));
        let lists = worn.chain(self.by_name.get(&subject.name)).chain([&self.anyone]);
        sorted(lists.flatten().copied().collect())
    }
}
