//! From the items that concern a node to the rules that join it with another. The same code in both programs.
//!
//! A pair's rules are made in two steps: which grants name a service that the destination may offer and have the
//! source in `from` (found by index, never by a scan over all grants), then one sweep over the ports of what was found.

use std::collections::{BTreeMap, BTreeSet};

use crate::filter::{Candidate, Rules, Span};
use crate::item::Item;
use crate::name::Name;
use crate::policy::{Grant, GrantMode, Listen, Mode, Policy, Protocol, Selector, Service, Settings, Subject};

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
        Rules { spans: sweep(openings), observe: self.settings.mode == Mode::Observe }
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
        Rules { spans: sweep(openings), observe: false }
    }

    fn grants_naming(&self, service: &Name) -> impl Iterator<Item = &Grant> {
        self.grants_to.get(service).into_iter().flatten().filter_map(|id| self.grants.get(id))
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

/// One grant over one `listen` entry of one service.
#[derive(Clone, Debug)]
struct Opening {
    listen: Listen,
    candidate: Candidate,
}

impl Opening {
    /// Enforced before audited, narrower before wider, then grant id, then service name.
    fn precedence(&self) -> (bool, u32, &Name, &Name) {
        (self.candidate.audit, self.listen.width(), &self.candidate.grant, &self.candidate.service)
    }
}

fn openings_of<'a>(grant: &'a Grant, service: &'a Service) -> impl Iterator<Item = Opening> + 'a {
    let candidate = Candidate {
        grant: grant.id.clone(),
        service: service.name.clone(),
        audit: grant.mode == GrantMode::Audit,
        until: grant.until,
    };
    service
        .listen
        .iter()
        .filter(|listen| grant.may_open(service, listen))
        .map(move |listen| Opening { listen: *listen, candidate: candidate.clone() })
}

/// Cuts overlapping openings into disjoint spans; each keeps all its candidates, because one may end before another.
fn sweep(mut openings: Vec<Opening>) -> Vec<Span> {
    openings.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
    let mut by_protocol: BTreeMap<Protocol, Vec<&Opening>> = BTreeMap::new();
    for opening in &openings {
        by_protocol.entry(opening.listen.protocol).or_default().push(opening);
    }
    by_protocol.into_iter().flat_map(|(protocol, openings)| sweep_protocol(protocol, &openings)).collect()
}

fn sweep_protocol(protocol: Protocol, openings: &[&Opening]) -> Vec<Span> {
    // In u32, so that "one after port 65535" has a number.
    let starts = openings.iter().map(|o| u32::from(o.listen.first));
    let ends = openings.iter().map(|o| u32::from(o.listen.last) + 1);
    let cuts: BTreeSet<u32> = starts.chain(ends).collect();
    let mut active = Active::new(openings);
    let mut spans: Vec<Span> = Vec::new();
    for (&first, &next) in cuts.iter().zip(cuts.iter().skip(1)) {
        let candidates = active.at(first);
        let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(next - 1)) else { continue };
        match spans.last_mut() {
            _ if candidates.is_empty() => {}
            Some(span) if span.last.checked_add(1) == Some(first) && span.candidates == candidates => {
                span.last = last;
            }
            _ => spans.push(Span { protocol, first, last, candidates }),
        }
    }
    spans
}

/// The openings that cover the port a sweep has come to.
struct Active<'a> {
    openings: &'a [&'a Opening],
    by_first: Vec<usize>,
    by_last: Vec<usize>,
    begun: usize,
    ended: usize,
    /// Places in `openings`, which is in order of precedence.
    now: BTreeSet<usize>,
}

impl<'a> Active<'a> {
    fn new(openings: &'a [&'a Opening]) -> Active<'a> {
        let mut by_first: Vec<usize> = (0..openings.len()).collect();
        let mut by_last = by_first.clone();
        by_first.sort_by_key(|&i| openings.get(i).map(|o| o.listen.first));
        by_last.sort_by_key(|&i| openings.get(i).map(|o| o.listen.last));
        Active { openings, by_first, by_last, begun: 0, ended: 0, now: BTreeSet::new() }
    }

    /// Ports must be asked in rising order.
    fn at(&mut self, port: u32) -> Vec<Candidate> {
        while let Some(i) = self.next_of(&self.by_first, self.begun, |o| u32::from(o.listen.first) <= port) {
            self.now.insert(i);
            self.begun += 1;
        }
        while let Some(i) = self.next_of(&self.by_last, self.ended, |o| u32::from(o.listen.last) < port) {
            self.now.remove(&i);
            self.ended += 1;
        }
        self.candidates()
    }

    fn next_of(&self, order: &[usize], at: usize, due: impl Fn(&Opening) -> bool) -> Option<usize> {
        let i = *order.get(at)?;
        self.openings.get(i).filter(|opening| due(opening)).map(|_| i)
    }

    /// A grant that covers this port by two `listen` entries of one service counts once, by the narrower.
    fn candidates(&self) -> Vec<Candidate> {
        let mut seen = BTreeSet::new();
        self.now
            .iter()
            .filter_map(|&i| self.openings.get(i))
            .filter(|opening| seen.insert((&opening.candidate.grant, &opening.candidate.service)))
            .map(|opening| opening.candidate.clone())
            .collect()
    }
}
