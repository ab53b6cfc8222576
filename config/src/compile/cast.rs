//! Many subjects at once: who is joined with whom, and whom a grant touches, at a cost of what is found.
//!
//! Each subject's selectors are looked up once, when it comes; afterwards every question follows numbers, not names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Program, opens_any, sorted};
use crate::policy::{Grant, GrantMode, Mode, Service, Subject};

/// Subjects under one program. A place is given in the order of adding.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    program: Arc<Program>,
    parts: Vec<Part>,
    /// For each service the places of the subjects that may offer it, in order.
    offerers: Vec<Vec<usize>>,
    /// For each grant the places of its sources, in order.
    sources: Vec<Vec<usize>>,
}

/// What one subject does, by places in the program, in order.
#[derive(Clone, Debug)]
struct Part {
    offers: Vec<usize>,
    opens: Vec<usize>,
}

/// What of a program concerns a subject, by places in the program, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    pub(super) services: Vec<usize>,
    pub(super) grants: Vec<usize>,
}

impl Cast {
    pub fn new(program: Arc<Program>) -> Cast {
        let offerers = vec![Vec::new(); program.services.len()];
        let sources = vec![Vec::new(); program.grants.len()];
        Cast { program, parts: Vec::new(), offerers, sources }
    }

    /// The new subject's place.
    pub fn add(&mut self, subject: &Subject) -> usize {
        let place = self.parts.len();
        let part = Part { offers: self.program.offers_of(subject), opens: self.program.grants_from(subject) };
        part.offers.iter().for_each(|service| push(&mut self.offerers, *service, place));
        part.opens.iter().for_each(|grant| push(&mut self.sources, *grant, place));
        self.parts.push(part);
        place
    }

    /// Places that the subject at `place` is joined with, in either direction and in order: where [`Program::rules`] join, or [`Program::beyond`] has
    /// something.
    /// May contain its own.
    pub fn joined_with(&self, place: usize) -> Vec<usize> {
        if self.program.settings.mode == Mode::Observe {
            return (0..self.parts.len()).collect();
        }
        let mut found = Vec::new();
        self.for_destinations(place, GrantMode::Enforce, |grant, service| {
            if self.opens(grant, service) && !self.leads_to(place, service) {
                found.extend_from_slice(list(&self.offerers, service));
            }
        });
        self.for_sources(place, GrantMode::Enforce, |grant, service| {
            if self.opens(grant, service) {
                let sources = list(&self.sources, grant).iter();
                found.extend(sources.copied().filter(|from| !self.leads_to(*from, service)));
            }
        });
        sorted(found)
    }

    /// From whom to whom, with the one at `place` as either, audited grants would open which services (by their place in
    /// the program): where [`Program::audited_at`] finds some.
    pub fn audits(&self, place: usize) -> BTreeMap<(usize, usize), BTreeSet<usize>> {
        let mut found: BTreeMap<(usize, usize), BTreeSet<usize>> = BTreeMap::new();
        let mut add = |pair, service| {
            found.entry(pair).or_default().insert(service);
        };
        // Nobody recognises what is behind gateways by the gateways' addresses.
        let own = |service: usize| self.program.services.get(service).is_some_and(|s| !s.is_behind());
        self.for_destinations(place, GrantMode::Audit, |_, service| {
            if !own(service) {
                return;
            }
            list(&self.offerers, service).iter().for_each(|to| add((place, *to), service));
        });
        self.for_sources(place, GrantMode::Audit, |grant, service| {
            if !own(service) {
                return;
            }
            list(&self.sources, grant).iter().for_each(|from| add((*from, place), service));
        });
        found
    }

    /// Each service that a grant of this mode names with the one at `place` as a source.
    fn for_destinations(&self, place: usize, mode: GrantMode, mut each: impl FnMut(usize, usize)) {
        let Some(part) = self.parts.get(place) else { return };
        for grant in part.opens.iter().filter(|grant| self.is(**grant, mode)) {
            list(&self.program.named_by, *grant).iter().for_each(|service| each(*grant, *service));
        }
    }

    /// Each grant of this mode that names a service of the one at `place`.
    fn for_sources(&self, place: usize, mode: GrantMode, mut each: impl FnMut(usize, usize)) {
        let Some(part) = self.parts.get(place) else { return };
        for service in &part.offers {
            let grants = list(&self.program.naming, *service).iter();
            grants.filter(|grant| self.is(**grant, mode)).for_each(|grant| each(*grant, *service));
        }
    }

    /// Is the one at `place` itself a gateway to the service? Then it needs no other.
    fn leads_to(&self, place: usize, service: usize) -> bool {
        let behind = self.program.services.get(service).is_some_and(Service::is_behind);
        behind && list(&self.offerers, service).binary_search(&place).is_ok()
    }

    fn is(&self, grant: usize, mode: GrantMode) -> bool {
        self.program.grants.get(grant).is_some_and(|grant| grant.mode == mode)
    }

    fn opens(&self, grant: usize, service: usize) -> bool {
        let (grant, service) = (self.program.grants.get(grant), self.program.services.get(service));
        grant.zip(service).is_some_and(|(grant, service)| opens_any(grant, service))
    }

    /// Places whose rules a change of `grant` can alter: its sources, and whoever offers what it names. Nobody for one
    /// that is not in the program.
    pub fn touched_by(&self, grant: &Grant) -> Vec<usize> {
        let Some(grant) = self.program.grant_place(&grant.id) else { return Vec::new() };
        let services = list(&self.program.named_by, grant).iter();
        let offerers = services.flat_map(|service| list(&self.offerers, *service));
        sorted(list(&self.sources, grant).iter().chain(offerers).copied().collect())
    }

    /// What [`Program::concerns`] says of the subject at `place`, found by index.
    pub fn concerning(&self, place: usize) -> Concern {
        let (mut services, mut grants) = (Vec::new(), Vec::new());
        if let Some(part) = self.parts.get(place) {
            services.extend_from_slice(&part.offers);
            grants.extend_from_slice(&part.opens);
            part.offers.iter().for_each(|s| grants.extend_from_slice(list(&self.program.naming, *s)));
            part.opens.iter().for_each(|g| services.extend_from_slice(list(&self.program.named_by, *g)));
        }
        Concern { services: sorted(services), grants: sorted(grants) }
    }
}

fn push(lists: &mut [Vec<usize>], at: usize, place: usize) {
    if let Some(list) = lists.get_mut(at) {
        list.push(place);
    }
}

fn list(lists: &[Vec<usize>], at: usize) -> &[usize] {
    lists.get(at).map(Vec::as_slice).unwrap_or_default()
}
