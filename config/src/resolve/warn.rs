//! Warnings: what is allowed to be written and yet not what its author can have meant.

use std::collections::{BTreeMap, BTreeSet};

use super::Context;
use super::meaning::Places;
use super::report::Report;
use crate::document::Spot;
use crate::name::Name;
use crate::nearest::nearest;
use crate::policy::{Expect, Grant, GrantMode, Law, Listen, Policy, Selector, Service, TestEnd};

pub(crate) fn warn(policy: &Policy, places: &Places, context: &Context, report: &mut Report<'_>) {
    let mut warner = Warner { policy, places, report };
    warner.tags_nobody_can_own();
    warner.services_nobody_can_offer();
    warner.services_that_share_a_port();
    warner.grants_for_nobody();
    warner.covered_grants();
    warner.audited_subnets();
    warner.ended_grants(context);
    warner.unknown_nodes(context);
    warner.repeated_tests();
}

struct Warner<'a, 'r, 's> {
    policy: &'a Policy,
    places: &'a Places,
    report: &'r mut Report<'s>,
}

impl Warner<'_, '_, '_> {
    fn tell(&mut self, id: &'static str, spot: Option<&Spot>, message: String, hint: Option<&str>) {
        if let Some(spot) = spot {
            self.report.warning(id, spot, message, hint.map(str::to_owned));
        }
    }

    fn tags_nobody_can_own(&mut self) {
        for tag in self.policy.tags.values().filter(|tag| tag.owners.is_empty()) {
            let message = format!("nobody can own tag `{}`: no node will ever wear it", tag.name);
            self.tell(
                "tag-without-owner",
                self.places.tags.get(&tag.name),
                message,
                Some("give it `owners`"),
            );
        }
    }

    /// False if no node can ever match: two tags that exclude each other, or a tag nobody can own.
    fn possible(&self, selector: &Selector) -> bool {
        let Selector::Tags(tags) = selector else { return true };
        let tag = |name: &Name| self.policy.tags.get(name);
        tags.iter()
            .all(|name| tag(name).is_some_and(|t| !t.owners.is_empty() && t.not_with.is_disjoint(tags)))
    }

    fn services_nobody_can_offer(&mut self) {
        for service in self.policy.services.values() {
            if !service.on.iter().any(|selector| self.possible(selector)) {
                let message = format!("no node can ever offer service `{}`", service.name);
                let hint = "its `on` needs tags that exclude each other or that nobody can own";
                self.tell(
                    "service-without-offerer",
                    self.places.services.get(&service.name),
                    message,
                    Some(hint),
                );
            }
        }
    }

    /// Only services whose `on` lists share a selector surely meet on one node.
    fn services_that_share_a_port(&mut self) {
        let mut by_selector: BTreeMap<&Selector, Vec<&Service>> = BTreeMap::new();
        // What is behind gateways shares no port with what they offer themselves.
        for service in self.policy.services.values().filter(|service| !service.is_behind()) {
            service.on.iter().for_each(|on| by_selector.entry(on).or_default().push(service));
        }
        let everywhere = by_selector.get(&Selector::AllNodes).cloned().unwrap_or_default();
        let mut told: BTreeSet<(&Name, &Name)> = BTreeSet::new();
        for services in by_selector.values() {
            for (first, second) in sharing(services.iter().chain(&everywhere).copied()) {
                if told.insert((first, second)) {
                    let message = format!("services `{first}` and `{second}` listen on one port of one node");
                    let hint = "records name the one with the narrower `listen`, then the smaller grant id";
                    self.tell("shared-port", self.places.services.get(second), message, Some(hint));
                }
            }
        }
    }

    fn grants_for_nobody(&mut self) {
        for grant in self.policy.grants.values() {
            let reachable = |s: &&Selector| self.possible(s) && !grant.except.iter().any(|e| covers(e, s));
            if grant.from.iter().find(reachable).is_none() {
                let message = format!("grant `{}` is for nobody: no node can be in its `from`", grant.id);
                self.tell("grant-for-nobody", self.places.grants.get(&grant.id), message, None);
            }
        }
    }

    fn covered_grants(&mut self) {
        let mut by_service: BTreeMap<&Name, Vec<&Grant>> = BTreeMap::new();
        for grant in self.policy.grants.values().filter(|grant| grant.mode == GrantMode::Enforce) {
            grant.to.iter().for_each(|to| by_service.entry(to).or_default().push(grant));
        }
        for grant in self.policy.grants.values().filter(|grant| grant.mode != GrantMode::Off) {
            let others = grant.to.first().and_then(|to| by_service.get(to)).map(Vec::as_slice);
            // Of two equal grants, the one with the greater id is the one too many.
            let cover = others.unwrap_or_default().iter().find(|other| {
                other.id != grant.id
                    && grant_covers(other, grant)
                    && (other.id < grant.id || !grant_covers(grant, other))
            });
            if let Some(cover) = cover {
                let message = format!("grant `{}` adds nothing: `{}` covers it", grant.id, cover.id);
                self.tell(
                    "covered-grant",
                    self.places.grants.get(&grant.id),
                    message,
                    Some("remove one of them"),
                );
            }
        }
    }

    /// Who has no route sends nothing that could be seen.
    fn audited_subnets(&mut self) {
        for grant in self.policy.grants.values().filter(|grant| grant.mode == GrantMode::Audit) {
            let services = grant.to.iter().filter_map(|name| self.policy.services.get(name));
            if let Some(service) = services.into_iter().find(|service| service.is_behind()) {
                let message = format!(
                    "grant `{}` in mode `audit` records nothing at service `{}` behind gateways: without a grant there is no route",
                    grant.id, service.name
                );
                self.tell("audited-subnet", self.places.grants.get(&grant.id), message, None);
            }
        }
    }

    fn ended_grants(&mut self, context: &Context) {
        let Some(now) = context.at else { return };
        for grant in self.policy.grants.values() {
            if let Some(until) = grant.until.filter(|until| *until <= now) {
                let message = format!("grant `{}` ended at {until}", grant.id);
                self.tell("ended-grant", self.places.grants.get(&grant.id), message, Some("remove it"));
            }
        }
    }

    fn unknown_nodes(&mut self, context: &Context) {
        let Some(nodes) = &context.nodes else { return };
        for (name, spot) in self.places.nodes.iter().filter(|(name, _)| !nodes.contains(name)) {
            let near = nearest(name.as_str(), nodes.iter().map(Name::as_str));
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            let message = format!("no node is named `{name}` yet");
            self.report.warning("unknown-node", spot, message, hint);
        }
    }

    fn repeated_tests(&mut self) {
        let tests: Vec<_> = self.policy.tests.values().collect();
        let mut seen: BTreeMap<String, &Name> = BTreeMap::new();
        for test in tests {
            let body = format!("{:?}", (&test.from, &test.to, &test.to_wearing, test.expect, &test.by));
            if let Some(first) = seen.get(&body) {
                let message = format!("test `{}` repeats test `{first}`", test.id);
                self.tell("repeated-test", self.places.tests.get(&test.id), message, None);
                continue;
            }
            seen.insert(body, &test.id);
            let TestEnd::Selector(from) = &test.from else { continue };
            let law = match test.expect {
                Expect::Allow => Law::Always,
                Expect::Deny => Law::Never,
            };
            let repeated = self.policy.invariants.values().find(|invariant| {
                invariant.law == law && invariant.from.contains(from) && invariant.to.contains(&test.to)
            });
            if let Some(invariant) = repeated {
                let message = format!("test `{}` repeats invariant `{}`", test.id, invariant.id);
                self.tell("repeated-test", self.places.tests.get(&test.id), message, None);
            }
        }
    }
}

/// Pairs of services with a port in common, each once and the smaller name first. What is sorted by first port meets only
/// its neighbours: the work is that of sorting, and of the pairs there are.
fn sharing<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeSet<(&'a Name, &'a Name)> {
    let mut ports: Vec<(&Listen, &Name)> = services
        .into_iter()
        .flat_map(|service| service.listen.iter().map(|listen| (listen, &service.name)))
        .collect();
    ports.sort_by_key(|(listen, _)| (listen.protocol, listen.first));
    let mut pairs = BTreeSet::new();
    for (i, (listen, name)) in ports.iter().enumerate() {
        let next = ports.iter().skip(i + 1).take_while(|(other, _)| listen.overlaps(other));
        let others = next.map(|(_, other)| *other).filter(|other| other != name);
        pairs.extend(others.map(|other| (*name.min(&other), *name.max(&other))));
    }
    pairs
}

/// Every node of `small` is one of `large`.
fn covers(large: &Selector, small: &Selector) -> bool {
    match (large, small) {
        (Selector::AllNodes, _) => true,
        (Selector::Tags(few), Selector::Tags(many)) => few.is_subset(many),
        _ => large == small,
    }
}

fn grant_covers(large: &Grant, small: &Grant) -> bool {
    let within = |s: &Selector, list: &BTreeSet<Selector>| list.iter().any(|l| covers(l, s));
    let times = match (large.until, small.until) {
        (None, _) => true,
        (Some(l), Some(s)) => l >= s,
        (Some(_), None) => false,
    };
    // `all-nodes` reaches fewer ports of an all-nodes service than a tag does.
    let same_reach = large.from.contains(&Selector::AllNodes) == small.from.contains(&Selector::AllNodes);
    times
        && same_reach
        && small.to.is_subset(&large.to)
        && small.from.iter().all(|s| within(s, &large.from))
        && large.except.iter().all(|e| within(e, &small.except))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Protocol;

    fn services(listens: &[Vec<(bool, u16, u16)>]) -> Vec<Service> {
        let listen = |(tcp, first, more): &(bool, u16, u16)| {
            let protocol = if *tcp { Protocol::Tcp } else { Protocol::Udp };
            Listen { protocol, first: *first, last: first + more }
        };
        let service = |(i, listens): (usize, &Vec<_>)| Service {
            name: Name::parse(&format!("s{i}")).unwrap(),
            on: [Selector::AllNodes].into(),
            addresses: BTreeSet::new(),
            listen: listens.iter().map(listen).collect(),
        };
        listens.iter().enumerate().map(service).collect()
    }

    proptest! {
        #[test]
        fn services_that_share_a_port_are_found_as_by_asking_every_pair(
            listens in prop::collection::vec(
                prop::collection::vec((any::<bool>(), 1u16..40, 0u16..6), 1..4), 0..12)
        ) {
            let services = services(&listens);
            let meet = |a: &Service, b: &Service| a.listen.iter().any(|x| b.listen.iter().any(|y| x.overlaps(y)));
            let pairs = services.iter().flat_map(|a| services.iter().map(move |b| (a, b)));
            let judged = pairs.filter(|(a, b)| a.name < b.name && meet(a, b)).map(|(a, b)| (&a.name, &b.name));
            prop_assert_eq!(sharing(services.iter().chain(&services)), judged.collect());
        }
    }
}
