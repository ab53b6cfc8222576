//! From the items that concern a node to the rules that join it with another. The same code in both programs.
//!
//! A pair's rules are made in two steps: which grants name a service that the destination may offer and have the
//! source in `from` (found by index, never by a scan over all grants), then one sweep over the ports of what was found.

mod cast;
mod index;
mod items;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

pub use self::cast::{Cast, Concern};
use self::index::Index;
pub use self::items::ItemPlaces;
use self::sweep::{openings_of, sweep};
use crate::filter::Rules;
use crate::item::Item;
use crate::name::Name;
use crate::policy::{Grant, GrantMode, Listen, Mode, Policy, Service, Settings, Subject};
use crate::subnet::Behind;
use crate::time::UnixTime;

/// The part of a policy that compiles to rules: built from a whole policy or from the items a node was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    settings: Settings,
    /// In order of their names; everywhere else a service is its place here.
    services: Vec<Service>,
    /// In order of their ids, without those that are `off`; everywhere else a grant is its place here.
    grants: Vec<Grant>,
    /// Services by `on`.
    offers: Index,
    /// Grants by `from`.
    sources: Index,
    /// For each service the grants that name it.
    naming: Vec<Vec<usize>>,
    /// For each grant the services it names, as far as they are here.
    named_by: Vec<Vec<usize>>,
}

impl Program {
    pub fn of_policy(policy: &Policy) -> Program {
        Program::new(policy.settings.clone(), policy.services.values(), policy.grants.values())
    }

    /// Items of other kinds are ignored; a grant whose service is absent grants nothing there.
    pub fn of_items<'a>(items: impl IntoIterator<Item = &'a Item>) -> Program {
        let mut settings = Settings::default();
        let (mut services, mut grants) = (BTreeMap::new(), BTreeMap::new());
        for item in items {
            match item {
                Item::Settings(given) => settings = given.clone(),
                Item::Service(service) => {
                    services.insert(&service.name, service);
                }
                Item::Grant(grant) => {
                    grants.insert(&grant.id, grant);
                }
                Item::Group(_) | Item::Tag(_) | Item::Invariant(_) | Item::Test(_) => {}
            }
        }
        Program::new(settings, services.into_values(), grants.into_values())
    }

    /// Services and grants come in order of their names.
    fn new<'a>(
        settings: Settings,
        services: impl Iterator<Item = &'a Service>,
        grants: impl Iterator<Item = &'a Grant>,
    ) -> Program {
        let mut program = Program { settings, services: services.cloned().collect(), ..Program::default() };
        for (place, service) in program.services.iter().enumerate() {
            program.offers.add(&service.on, place);
        }
        program.naming.resize_with(program.services.len(), Vec::new);
        // `off` is as good as absent.
        grants.filter(|grant| grant.mode != GrantMode::Off).for_each(|grant| program.add_grant(grant));
        program
    }

    fn add_grant(&mut self, grant: &Grant) {
        let place = self.grants.len();
        let named: Vec<usize> = grant.to.iter().filter_map(|name| self.service_place(name)).collect();
        for service in &named {
            if let Some(naming) = self.naming.get_mut(*service) {
                naming.push(place);
            }
        }
        self.sources.add(&grant.from, place);
        self.named_by.push(named);
        self.grants.push(grant.clone());
    }

    fn service_place(&self, name: &Name) -> Option<usize> {
        self.services.binary_search_by(|service| service.name.cmp(name)).ok()
    }

    fn grant_place(&self, id: &Name) -> Option<usize> {
        self.grants.binary_search_by(|grant| grant.id.cmp(id)).ok()
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every grant that can matter (`off` ones are left out).
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter()
    }

    /// Rules for flows that `from` opens at `to`.
    pub fn rules(&self, from: &Subject, to: &Subject) -> Rules {
        let mut openings = Vec::new();
        for (service, grants) in self.offered_with_grants(to).filter(|(service, _)| !service.is_behind()) {
            for grant in grants.filter(|grant| grant.includes(from)) {
                openings.extend(openings_of(grant, service));
            }
        }
        sweep(openings, self.settings.mode == Mode::Observe)
    }

    /// Rules for flows that `from` opens at addresses behind `gateway`, with each prefix where something is granted.
    pub fn behind(&self, from: &Subject, gateway: &Subject) -> Behind {
        self.behind_as_far_as(from, gateway, |_| true)
    }

    /// The same as far as `from` needs the gateway: what it leads to itself it reaches without help. Says who is a peer, and what
    /// has a route.
    pub fn beyond(&self, from: &Subject, gateway: &Subject) -> Behind {
        self.behind_as_far_as(from, gateway, |service| !service.offered_by(from))
    }

    fn behind_as_far_as(
        &self,
        from: &Subject,
        gateway: &Subject,
        counts: impl Fn(&Service) -> bool,
    ) -> Behind {
        let mut found: Vec<(&Service, Vec<&Grant>)> = Vec::new();
        let is_asked = |service: &Service| service.is_behind() && counts(service);
        for (service, grants) in self.offered_with_grants(gateway).filter(|(service, _)| is_asked(service)) {
            let grants: Vec<&Grant> = grants.filter(|grant| grant.includes(from)).collect();
            if !grants.is_empty() {
                found.push((service, grants));
            }
        }
        let prefixes: BTreeSet<IpNet> = found.iter().flat_map(|(s, _)| s.addresses.iter().copied()).collect();
        let rules = prefixes.into_iter().map(|net| (net, Arc::new(self.rules_within(&found, &net))));
        Behind::new(rules.filter(|(_, rules)| rules.joins()).collect())
    }

    /// In `observe` mode nobody has a route without a grant, and where there is one all else passes as well.
    fn rules_within(&self, found: &[(&Service, Vec<&Grant>)], net: &IpNet) -> Rules {
        let here = found.iter().filter(|(service, _)| service.addresses.iter().any(|all| all.contains(net)));
        let openings: Vec<_> =
            here.flat_map(|(service, grants)| grants.iter().flat_map(|g| openings_of(g, service))).collect();
        let granted = openings.iter().any(sweep::Opening::is_enforced);
        sweep(openings, granted && self.settings.mode == Mode::Observe)
    }

    /// The services and enforced grants that let `from` open any of `listen` at `to`, or in a region behind it, at `at`, in
    /// order.
    pub(crate) fn given_by(
        &self,
        from: &Subject,
        to: &Subject,
        listen: Listen,
        at: UnixTime,
        region: Option<&IpNet>,
    ) -> BTreeSet<(&Name, &Name)> {
        let is_asked = |service: &Service| match region {
            None => !service.is_behind(),
            Some(region) => service.addresses.iter().any(|net| net.contains(region)),
        };
        let mut given = BTreeSet::new();
        for (service, grants) in self.offered_with_grants(to).filter(|(service, _)| is_asked(service)) {
            let opens = |grant: &&Grant| {
                let entries = service.listen.iter().filter(|entry| entry.overlaps(&listen));
                grant.mode == GrantMode::Enforce
                    && grant.until.is_none_or(|until| at < until)
                    && grant.includes(from)
                    && entries.into_iter().any(|entry| grant.may_open(service, entry))
            };
            given.extend(grants.filter(opens).map(|grant| (&service.name, &grant.id)));
        }
        given
    }

    /// Services of `to` that only an audited grant would open to `from`: what `from` is told to recognise.
    pub fn audited_at<'a>(&'a self, from: &'a Subject, to: &Subject) -> impl Iterator<Item = &'a Name> {
        let own = self.offered_with_grants(to).filter(|(service, _)| !service.is_behind());
        own.filter_map(|(service, mut grants)| {
            grants.any(|grant| audits(grant, from)).then_some(&service.name)
        })
    }

    /// Rules that recognise what audited grants would open to `from` at an offerer of `services`, and pass nothing: not
    /// even in `observe` mode, where everybody is a peer and these are not asked.
    pub fn audited<'a>(&self, from: &Subject, services: impl IntoIterator<Item = &'a Name>) -> Rules {
        let mut openings = Vec::new();
        for place in services.into_iter().filter_map(|name| self.service_place(name)) {
            let Some(service) = self.services.get(place).filter(|service| !service.is_behind()) else {
                continue;
            };
            for grant in self.grants_naming(place).filter(|grant| audits(grant, from)) {
                openings.extend(openings_of(grant, service));
            }
        }
        sweep(openings, false)
    }

    /// The grants that name the service at this place, in order of their ids.
    fn grants_naming(&self, service: usize) -> impl Iterator<Item = &Grant> {
        let places = self.naming.get(service).into_iter().flatten();
        places.filter_map(|place| self.grants.get(*place))
    }

    /// Grants with `subject` in `from` and not in `except`, in order.
    fn grants_from(&self, subject: &Subject) -> Vec<usize> {
        let mut places = self.sources.near(subject);
        places.retain(|place| self.grants.get(*place).is_some_and(|grant| grant.includes(subject)));
        places
    }

    /// Services `subject` may offer, in order.
    fn offers_of(&self, subject: &Subject) -> Vec<usize> {
        let mut places = self.offers.near(subject);
        places.retain(|place| self.services.get(*place).is_some_and(|service| service.offered_by(subject)));
        places
    }

    /// Services `subject` may offer, in order of their names, each with the grants that name it.
    fn offered_with_grants(
        &self,
        subject: &Subject,
    ) -> impl Iterator<Item = (&Service, impl Iterator<Item = &Grant>)> {
        let places = self.offers_of(subject).into_iter();
        places.filter_map(|place| Some((self.services.get(place)?, self.grants_naming(place))))
    }

    /// Services `subject` may offer, in order of their names.
    pub fn offered_by(&self, subject: &Subject) -> Vec<&Service> {
        self.offers_of(subject).into_iter().filter_map(|place| self.services.get(place)).collect()
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
        let services = grant.to.iter().filter_map(|name| self.services.get(self.service_place(name)?));
        grant.includes(subject) || services.into_iter().any(|service| service.offered_by(subject))
    }

    fn service_concerns(&self, service: &Service, subject: &Subject) -> bool {
        let names = |grant: &&Grant| grant.to.contains(&service.name);
        service.offered_by(subject) || self.grants.iter().filter(names).any(|grant| grant.includes(subject))
    }
}

fn audits(grant: &Grant, from: &Subject) -> bool {
    grant.mode == GrantMode::Audit && grant.includes(from)
}

fn opens_any(grant: &Grant, service: &Service) -> bool {
    service.listen.iter().any(|listen| grant.may_open(service, listen))
}

/// In order, each once.
fn sorted(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}
