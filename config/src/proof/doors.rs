//! The enforced grants of a policy as doors: who may pass, who is kept out, where each leads.

use std::collections::{BTreeMap, BTreeSet};

use super::space::{Conj, Space};
use crate::name::Name;
use crate::policy::{Grant, GrantMode, Listen, Policy, Protocol, Selector, Target};

/// One grant.
#[derive(Debug)]
pub(crate) struct Door {
    pub grant: Name,
    pub from: Vec<Conj>,
    pub except: Vec<Conj>,
    /// Places in [`Doors::leads`].
    pub leads: Vec<usize>,
}

impl Door {
    pub fn keeps_out(&self, node: &Conj) -> bool {
        self.except.iter().any(|except| except.within(node))
    }

    pub fn lets_in(&self, node: &Conj) -> bool {
        self.from.iter().any(|from| from.within(node)) && !self.keeps_out(node)
    }
}

/// One service at one kind of its offerers.
#[derive(Debug)]
pub(crate) struct Lead {
    pub service: Name,
    pub on: Conj,
    pub listen: Vec<Listen>,
    /// At hosts behind `on`, which open nothing in the overlay.
    pub behind: bool,
    /// It carries more than echo, and to `on` itself: whoever comes in by it may go on from there.
    pub carries: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Doors {
    pub doors: Vec<Door>,
    pub leads: Vec<Lead>,
    /// For each lead the doors that open it.
    pub opened_by: Vec<Vec<usize>>,
    /// Leads by the first literal of `on`.
    by_literal: BTreeMap<Option<u32>, Vec<usize>>,
}

impl Doors {
    /// The enforced grants that `counts` lets count.
    pub fn new(policy: &Policy, space: &mut Space, counts: impl Fn(&Grant) -> bool) -> Doors {
        let mut doors = Doors::default();
        let mut known: BTreeMap<(&Name, bool), Vec<usize>> = BTreeMap::new();
        let enforced = policy.grants.values().filter(|grant| grant.mode == GrantMode::Enforce);
        for grant in enforced.filter(|grant| counts(grant)) {
            let everyone = grant.from.contains(&Selector::AllNodes);
            let mut leads = Vec::new();
            for name in &grant.to {
                let made = known.entry((name, everyone));
                leads.extend_from_slice(made.or_insert_with(|| doors.add_leads(policy, space, grant, name)));
            }
            doors.add(grant, leads, space);
        }
        doors
    }

    fn add_leads(&mut self, policy: &Policy, space: &mut Space, grant: &Grant, name: &Name) -> Vec<usize> {
        let Some(service) = policy.services.get(name) else { return Vec::new() };
        let listen: Vec<Listen> =
            service.listen.iter().filter(|listen| grant.may_open(service, listen)).copied().collect();
        if listen.is_empty() {
            return Vec::new();
        }
        let behind = service.is_behind();
        let carries = !behind && listen.iter().any(|listen| listen.protocol != Protocol::IcmpEcho);
        let mut places = Vec::new();
        for on in &service.on {
            let on = space.conj(on);
            let place = self.leads.len();
            self.by_literal.entry(on.ids().first().copied()).or_default().push(place);
            self.leads.push(Lead { service: name.clone(), on, listen: listen.clone(), behind, carries });
            self.opened_by.push(Vec::new());
            places.push(place);
        }
        places
    }

    fn add(&mut self, grant: &Grant, leads: Vec<usize>, space: &mut Space) {
        let place = self.doors.len();
        for lead in &leads {
            if let Some(list) = self.opened_by.get_mut(*lead) {
                list.push(place);
            }
        }
        let from = grant.from.iter().map(|selector| space.conj(selector)).collect();
        let except = grant.except.iter().map(|selector| space.conj(selector)).collect();
        self.doors.push(Door { grant: grant.id.clone(), from, except, leads });
    }

    pub fn lead(&self, place: usize) -> Option<&Lead> {
        self.leads.get(place)
    }

    pub fn door(&self, place: usize) -> Option<&Door> {
        self.doors.get(place)
    }

    /// Leads whose service a node with exactly these literals offers.
    pub fn leads_at(&self, node: &Conj) -> impl Iterator<Item = (usize, &Lead)> {
        let keys = std::iter::once(None).chain(node.ids().iter().copied().map(Some));
        let found: Vec<usize> = keys.filter_map(|key| self.by_literal.get(&key)).flatten().copied().collect();
        let leads = found.into_iter().filter_map(|place| Some((place, self.leads.get(place)?)));
        let node = node.clone();
        leads.filter(move |(_, lead)| lead.on.within(&node))
    }

    /// The ports of `asked` in pieces within which the same doors lead to `node`; each with those doors.
    pub fn pieces(&self, node: &Conj, asked: Listen) -> Vec<(Listen, Vec<usize>)> {
        let leads: Vec<(usize, &Lead)> = self.leads_at(node).collect();
        let listens = || leads.iter().flat_map(|(_, lead)| &lead.listen).filter(|l| l.overlaps(&asked));
        let mut cuts: BTreeSet<u32> = [u32::from(asked.first), u32::from(asked.last) + 1].into();
        for listen in listens() {
            cuts.insert(u32::from(listen.first.max(asked.first)));
            cuts.insert(u32::from(listen.last.min(asked.last)) + 1);
        }
        let port = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let pairs = cuts.iter().zip(cuts.iter().skip(1));
        let piece = |(first, next): (&u32, &u32)| {
            let piece = Listen { protocol: asked.protocol, first: port(*first), last: port(next - 1) };
            let open = leads.iter().filter(|(_, lead)| lead.listen.iter().any(|l| l.covers(&piece)));
            let doors: BTreeSet<usize> =
                open.filter_map(|(place, _)| self.opened_by.get(*place)).flatten().copied().collect();
            (piece, doors.into_iter().collect())
        };
        pairs.map(piece).collect()
    }
}

/// Where a question ends: nodes with all of `node`, on one of `listen` (`None`: on anything).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Goal {
    pub node: Conj,
    pub listen: Option<Vec<Listen>>,
    /// Of hosts behind such nodes.
    pub behind: bool,
}

impl Goal {
    /// A service is reached on its own ports at whoever may offer it; nodes on the port asked, or on any.
    pub fn of(policy: &Policy, space: &mut Space, target: &Target) -> Vec<Goal> {
        match target {
            Target::Nodes(selector, listen) => {
                let listen = listen.map(|listen| vec![listen]);
                vec![Goal { node: space.conj(selector), listen, behind: false }]
            }
            Target::Service(name) => {
                let Some(service) = policy.services.get(name) else { return Vec::new() };
                let listen: Vec<Listen> = service.listen.iter().copied().collect();
                let behind = service.is_behind();
                let goal = |on| Goal { node: space.conj(on), listen: Some(listen.clone()), behind };
                service.on.iter().map(goal).collect()
            }
        }
    }

    /// Whoever has come into a gateway has come to what is behind it, on whatever port he came.
    pub fn gateways(policy: &Policy, space: &mut Space, target: &Target) -> Vec<Goal> {
        let Target::Service(name) = target else { return Vec::new() };
        let Some(service) = policy.services.get(name).filter(|service| service.is_behind()) else {
            return Vec::new();
        };
        let own = policy.services.values().filter(|service| !service.is_behind());
        let carrying = own.flat_map(|service| service.listen.iter().copied());
        let carrying: BTreeSet<Listen> = carrying.filter(|l| l.protocol != Protocol::IcmpEcho).collect();
        let listen: Vec<Listen> = carrying.into_iter().collect();
        let goal = |on| Goal { node: space.conj(on), listen: Some(listen.clone()), behind: false };
        service.on.iter().map(goal).collect()
    }

    /// What of `lead` is asked about: the overlap of two `listen`s.
    pub fn meets(&self, lead: &Lead) -> Option<Listen> {
        if self.behind != lead.behind {
            return None;
        }
        let Some(asked) = &self.listen else { return lead.listen.first().copied() };
        let pairs = asked.iter().flat_map(|a| lead.listen.iter().map(move |b| (a, b)));
        pairs.into_iter().find(|(a, b)| a.overlaps(b)).map(|(a, b)| Listen {
            protocol: a.protocol,
            first: a.first.max(b.first),
            last: a.last.min(b.last),
        })
    }
}
