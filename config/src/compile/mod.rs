//! From the items that concern a node to the rules that join it with another. The same code in both programs.
//!
//! A pair's rules are made in two steps: which grants name a service that the destination may offer and have the
//! source in `from` (found by index, never by a scan over all grants), then one sweep over the ports of what was found.

mod cast;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};

pub use self::cast::Cast;
use self::sweep::{openings_of, sweep};
use crate::filter::Rules;
use crate::item::Item;
use crate::name::Name;
use crate::policy::{Grant, GrantMode, Listen, Mode, Policy, Selector, Service, Settings, Subject};
use crate::time::UnixTime;

/// The part of a policy that compiles to rules: built from a whole policy or from the items a node was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    settings: Settings,
    services: BTreeMap<Name, Service>,
    grants: BTreeMap<Name, Grant>,
    /// Services by one thing their offerer must be.
    offers: BTreeMap<Anchor, BTreeSet<Name>>,
    /// Grants by the services they name.
    grants_to: BTreeMap<Name, BTreeSet<Name>>,
    /// Grants by one thing their sources must be.
    grants_from: BTreeMap<Anchor, BTreeSet<Name>>,
}

/// Something a selector's nodes have in common: looking up all anchors of a subject finds every selector that may
/// match it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Anchor {
    Anyone,
    Node(Name),
    Tag(Name),
}

fn anchor(selector: &Selector) -> Anchor {
    match selector {
        Selector::AllNodes => Anchor::Anyone,
        Selector::Node(name) => Anchor::Node(name.clone()),
        Selector::Tags(tags) => tags.first().map_or(Anchor::Anyone, |tag| Anchor::Tag(tag.clone())),
    }
}

fn anchors(subject: &Subject) -> impl Iterator<Item = Anchor> + '_ {
    [Anchor::Anyone, Anchor::Node(subject.name.clone())]
        .into_iter()
        .chain(subject.tags.iter().map(|tag| Anchor::Tag(tag.clone())))
}

impl Program {
    pub fn of_policy(policy: &Policy) -> Program {
        let mut program = Program { settings: policy.settings.clone(), ..Program::default() };
        policy.services.values().for_each(|service| program.add_service(service));
        policy.grants.values().for_each(|grant| program.add_grant(grant));
        program
    }

    /// Items of other kinds are ignored; a grant whose service is absent grants nothing there.
    pub fn of_items<'a>(items: impl IntoIterator<Item = &'a Item>) -> Program {
        let mut program = Program::default();
        for item in items {
            match item {
                Item::Settings(settings) => program.settings = settings.clone(),
                Item::Service(service) => program.add_service(service),
                Item::Grant(grant) => program.add_grant(grant),
                Item::Group(_) | Item::Tag(_) | Item::Invariant(_) | Item::Test(_) => {}
            }
        }
        program
    }

    fn add_service(&mut self, service: &Service) {
        for selector in &service.on {
            self.offers.entry(anchor(selector)).or_default().insert(service.name.clone());
        }
        self.services.insert(service.name.clone(), service.clone());
    }

    fn add_grant(&mut self, grant: &Grant) {
        // `off` is as good as absent.
        if grant.mode == GrantMode::Off {
            return;
        }
        for service in &grant.to {
            self.grants_to.entry(service.clone()).or_default().insert(grant.id.clone());
        }
        for selector in &grant.from {
            self.grants_from.entry(anchor(selector)).or_default().insert(grant.id.clone());
        }
        self.grants.insert(grant.id.clone(), grant.clone());
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every grant that can matter (`off` ones are left out).
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.values()
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// Rules for flows that `from` opens at `to`.
    pub fn rules(&self, from: &Subject, to: &Subject) -> Rules {
        let mut openings = Vec::new();
        for service in self.offered_by(to) {
            for grant in self.grants_naming(&service.name).filter(|grant| grant.includes(from)) {
                openings.extend(openings_of(grant, service));
            }
        }
        sweep(openings, self.settings.mode == Mode::Observe)
    }

    /// The services and enforced grants that let `from` open any of `listen` at `to` at `at`, in order.
    pub(crate) fn given_by(
        &self,
        from: &Subject,
        to: &Subject,
        listen: Listen,
        at: UnixTime,
    ) -> BTreeSet<(&Name, &Name)> {
        let mut given = BTreeSet::new();
        for service in self.offered_by(to) {
            let opens = |grant: &&Grant| {
                let entries = service.listen.iter().filter(|entry| entry.overlaps(&listen));
                grant.mode == GrantMode::Enforce
                    && grant.until.is_none_or(|until| at < until)
                    && grant.includes(from)
                    && entries.into_iter().any(|entry| grant.may_open(service, entry))
            };
            let grants = self.grants_naming(&service.name).filter(opens);
            given.extend(grants.map(|grant| (&service.name, &grant.id)));
        }
        given
    }

    /// Services of `to` that only an audited grant would open to `from`: what `from` is told to recognise.
    pub fn audited_at<'a>(&'a self, from: &'a Subject, to: &Subject) -> impl Iterator<Item = &'a Name> {
        let audits = |service: &Name| self.grants_naming(service).any(|grant| audits(grant, from));
        self.offered_by(to).into_iter().map(|service| &service.name).filter(move |name| audits(name))
    }

    /// Rules that recognise what audited grants would open to `from` at an offerer of `services`, and pass nothing: not
    /// even in `observe` mode, where everybody is a peer and these are not asked.
    pub fn audited<'a>(&self, from: &Subject, services: impl IntoIterator<Item = &'a Name>) -> Rules {
        let mut openings = Vec::new();
        for service in services.into_iter().filter_map(|name| self.services.get(name)) {
            for grant in self.grants_naming(&service.name).filter(|grant| audits(grant, from)) {
                openings.extend(openings_of(grant, service));
            }
        }
        sweep(openings, false)
    }

    fn grants_naming(&self, service: &Name) -> impl Iterator<Item = &Grant> {
        self.grants_to.get(service).into_iter().flatten().filter_map(|id| self.grants.get(id))
    }

    /// Grants with `subject` in `from` and not in `except`, in order of their ids.
    fn grants_from(&self, subject: &Subject) -> impl Iterator<Item = &Grant> {
        let ids: BTreeSet<&Name> =
            anchors(subject).filter_map(|anchor| self.grants_from.get(&anchor)).flatten().collect();
        let grants = ids.into_iter().filter_map(|id| self.grants.get(id));
        grants.filter(|grant| grant.includes(subject))
    }

    /// Services `subject` may offer, in order of their names.
    pub fn offered_by(&self, subject: &Subject) -> Vec<&Service> {
        let names: BTreeSet<&Name> =
            anchors(subject).filter_map(|anchor| self.offers.get(&anchor)).flatten().collect();
        names
            .into_iter()
            .filter_map(|name| self.services.get(name))
            .filter(|service| service.offered_by(subject))
            .collect()
    }

    /// Does this item matter to `subject`: settings always; a grant it is in `from` of (after `except`) or offers a
    /// service of; those services. Decides what a node is told.
    pub fn concerns(&self, item: &Item, subject: &Subject) -> bool {
        match item {
            Item::Settings(_) => true,
            Item::Grant(grant) => grant.mode != GrantMode::Off && self.grant_concerns(grant, subject),
            Item::Service(service) => self.service_concerns(service, subject),
            Item::Group(_) | Item::Tag(_) | Item::Invariant(_) | Item::Test(_) => false,
        }
    }

    fn grant_concerns(&self, grant: &Grant, subject: &Subject) -> bool {
        let offers = |name| self.services.get(name).is_some_and(|service| service.offered_by(subject));
        grant.includes(subject) || grant.to.iter().any(offers)
    }

    fn service_concerns(&self, service: &Service, subject: &Subject) -> bool {
        service.offered_by(subject) || self.grants_naming(&service.name).any(|grant| grant.includes(subject))
    }
}

fn audits(grant: &Grant, from: &Subject) -> bool {
    grant.mode == GrantMode::Audit && grant.includes(from)
}
