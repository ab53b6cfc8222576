//! Many subjects at once: who is joined with whom, and whom a grant touches, at a cost of what is found.

use std::collections::{BTreeMap, BTreeSet};

use super::Program;
use crate::name::Name;
use crate::policy::{Grant, GrantMode, Mode, Selector, Service, Subject};

/// Subjects by what selectors ask for. A place is given in the order of adding.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    subjects: Vec<Subject>,
    by_tag: BTreeMap<Name, Vec<usize>>,
    by_name: BTreeMap<Name, Vec<usize>>,
}

impl Cast {
    /// The new subject's place.
    pub fn add(&mut self, subject: Subject) -> usize {
        let place = self.subjects.len();
        for tag in &subject.tags {
            self.by_tag.entry(tag.clone()).or_default().push(place);
        }
        self.by_name.entry(subject.name.clone()).or_default().push(place);
        self.subjects.push(subject);
        place
    }

    /// Adds the places that `selector` matches; of its tags, the rarest is looked up.
    fn add_matching(&self, selector: &Selector, found: &mut Vec<usize>) {
        match selector {
            Selector::AllNodes => found.extend(0..self.subjects.len()),
            Selector::Node(name) => found.extend(self.by_name.get(name).into_iter().flatten()),
            Selector::Tags(tags) => {
                let lists =
                    tags.iter().map(|tag| self.by_tag.get(tag).map(Vec::as_slice).unwrap_or_default());
                let rarest = lists.min_by_key(|list| list.len()).unwrap_or_default();
                let matches =
                    |place: &&usize| self.subjects.get(**place).is_some_and(|s| selector.matches(s));
                found.extend(rarest.iter().filter(matches));
            }
        }
    }

    fn add_sources(&self, grant: &Grant, found: &mut Vec<usize>) {
        let mut from = Vec::new();
        grant.from.iter().for_each(|selector| self.add_matching(selector, &mut from));
        let included = |place: &usize| self.subjects.get(*place).is_some_and(|s| grant.includes(s));
        found.extend(from.into_iter().filter(|place| grant.except.is_empty() || included(place)));
    }

    fn add_offerers(&self, service: &Service, found: &mut Vec<usize>) {
        service.on.iter().for_each(|selector| self.add_matching(selector, found));
    }
}

impl Program {
    /// Places that `subject` is joined with, in either direction and in order: where [`Program::rules`] join. May contain its own.
    pub fn joined_with(&self, subject: &Subject, cast: &Cast) -> Vec<usize> {
        if self.settings.mode == Mode::Observe {
            return (0..cast.subjects.len()).collect();
        }
        let mut found = Vec::new();
        for grant in self.grants_from(subject).filter(|grant| grant.mode == GrantMode::Enforce) {
            for service in self.opened_by(grant) {
                cast.add_offerers(service, &mut found);
            }
        }
        for service in self.offered_by(subject) {
            let grants = self.grants_naming(&service.name).filter(|grant| grant.mode == GrantMode::Enforce);
            for grant in grants.filter(|grant| opens_any(grant, service)) {
                cast.add_sources(grant, &mut found);
            }
        }
        sorted(found)
    }

    /// Places whose rules a change of `grant` can alter: its sources, and whoever offers what it names.
    pub fn touched_by(&self, grant: &Grant, cast: &Cast) -> Vec<usize> {
        let mut found = Vec::new();
        cast.add_sources(grant, &mut found);
        let services = grant.to.iter().filter_map(|name| self.services.get(name));
        services.for_each(|service| cast.add_offerers(service, &mut found));
        sorted(found)
    }

    fn opened_by(&self, grant: &Grant) -> impl Iterator<Item = &Service> {
        let services = grant.to.iter().filter_map(|name| self.services.get(name));
        services.filter(|service| opens_any(grant, service))
    }

    /// What [`Program::concerns`] says, found by index: the names of the grants and of the services.
    pub fn concerning(&self, subject: &Subject) -> (BTreeSet<&Name>, BTreeSet<&Name>) {
        let offered = self.offered_by(subject);
        let mut grants: BTreeSet<&Name> = BTreeSet::new();
        let mut services: BTreeSet<&Name> = offered.iter().map(|service| &service.name).collect();
        for service in offered {
            grants.extend(self.grants_naming(&service.name).map(|grant| &grant.id));
        }
        for grant in self.grants_from(subject) {
            grants.insert(&grant.id);
            services.extend(grant.to.iter().filter(|name| self.services.contains_key(*name)));
        }
        (grants, services)
    }
}

/// In order, each once.
fn sorted(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}

fn opens_any(grant: &Grant, service: &Service) -> bool {
    service.listen.iter().any(|listen| grant.may_open(service, listen))
}
