//! `diff`: what a change of policy gives and takes, pair by pair and port by port, exactly.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::can::Judge;
use super::{Diff, Tuple};
use crate::filter::Rules;
use crate::name::Name;
use crate::policy::{Listen, Policy, Protocol, Selector, Subject};
use crate::proof::{Changed, Wearer, is_unowned};
use crate::subnet::{Behind, regions};
use crate::time::UnixTime;

/// Inclusive port ranges, sorted and disjoint, by protocol.
type Ports = BTreeMap<Protocol, Vec<(u32, u32)>>;

pub(super) fn diff(old: &Policy, new: &Policy, nodes: &[Subject], at: UnixTime) -> Diff {
    let (before, after) = (Judge::new(old, at), Judge::new(new, at));
    let kinds = kinds(old, new, nodes);
    let mut found = Diff::default();
    let regions = regions(old.services.values().chain(new.services.values()));
    for (from_label, from) in &kinds {
        // A kind may have a second node; a named node is one, and nothing stands between it and itself.
        let one = from_label.starts_with("node:");
        for (to_label, to) in kinds.iter().filter(|(label, _)| !one || label != from_label) {
            let pair = Pair { before: &before, after: &after, from: (from_label, from), to: (to_label, to) };
            pair.compare(None, before.rules(from, to), after.rules(from, to), &mut found);
            pair.compare_behind(&regions, &mut found);
        }
    }
    let more = crate::proof::gained(old, new, at).and_then(|g| Ok((g, crate::proof::gained(new, old, at)?)));
    match more {
        Ok((gained, lost)) => {
            add_possible(&mut found.gained, gained, nodes, &after);
            add_possible(&mut found.lost, lost, nodes, &before);
        }
        Err(_) => {
            let text = "the change is too large to list for nodes that are not enrolled yet: only enrolled ones are shown";
            found.note = Some(text.to_owned());
        }
    }
    found.gained.sort();
    found.lost.sort();
    found
}

/// What was gained, and what was lost.
type Change = (Vec<Listen>, Vec<Listen>);

/// Two kinds of nodes under two policies.
struct Pair<'a> {
    before: &'a Judge<'a>,
    after: &'a Judge<'a>,
    from: (&'a str, &'a Subject),
    to: (&'a str, &'a Subject),
}

impl Pair<'_> {
    /// Rows about nodes themselves, or about the addresses of one region behind them; what was gained and lost.
    fn compare(&self, place: Option<&IpNet>, old: Rules, new: Rules, found: &mut Diff) -> Change {
        let (had, has) = (ports(&old, self.before.at), ports(&new, self.before.at));
        let tuple = |judge: &Judge<'_>, listen: &Listen| {
            let by = judge.given_by(self.from.1, self.to.1, place, *listen);
            Tuple { from: self.from.0.to_owned(), to: at_place(place, self.to.0), listen: *listen, by }
        };
        let (gained, lost) = (minus(&has, &had), minus(&had, &has));
        found.gained.extend(gained.iter().map(|listen| tuple(self.after, listen)));
        found.lost.extend(lost.iter().map(|listen| tuple(self.before, listen)));
        (gained, lost)
    }

    /// A region inside one that gains or loses the same says nothing more.
    fn compare_behind(&self, regions: &BTreeSet<IpNet>, found: &mut Diff) {
        let (from, to) = (self.from.1, self.to.1);
        let (old, new) = (self.before.behind(from, to), self.after.behind(from, to));
        if old.is_empty() && new.is_empty() {
            return;
        }
        let mut told: Vec<(IpNet, Change)> = Vec::new();
        for region in regions {
            let rules = |behind: &Behind| behind.rules_within(region).cloned().unwrap_or_default();
            let mut here = Diff::default();
            let change = self.compare(Some(region), rules(&old), rules(&new), &mut here);
            let around = || told.iter().filter(|(wide, _)| wide.contains(region)).map(|(_, change)| change);
            let said = |list: fn(&Change) -> &Vec<Listen>, listen: &Listen| {
                around().flat_map(list).any(|wide| wide.covers(listen))
            };
            here.gained.retain(|row| !said(|change| &change.0, &row.listen));
            here.lost.retain(|row| !said(|change| &change.1, &row.listen));
            found.gained.append(&mut here.gained);
            found.lost.append(&mut here.lost);
            told.push((*region, change));
        }
    }
}

/// How a row names what lies behind nodes.
fn at_place(place: Option<&IpNet>, node: &str) -> String {
    place.map_or_else(|| node.to_owned(), |region| format!("{} behind {node}", super::miss::shown(region)))
}

/// Rows about nodes that could be enrolled. A name that is enrolled already is that node and was asked above.
fn add_possible(rows: &mut Vec<Tuple>, possible: BTreeSet<Changed>, nodes: &[Subject], judge: &Judge<'_>) {
    let enrolled: BTreeSet<&Name> = nodes.iter().map(|node| &node.name).collect();
    let is_new = |wearer: &Wearer| wearer.name.as_ref().is_none_or(|name| !enrolled.contains(name));
    for Changed { from, to, place, listen } in
        possible.into_iter().filter(|row| is_new(&row.from) && is_new(&row.to))
    {
        let ends = subject(&from).zip(subject(&to));
        let by = ends.map_or_else(Vec::new, |(from, to)| judge.given_by(&from, &to, place.as_ref(), listen));
        let to = at_place(place.as_ref(), &to.selector());
        let row = Tuple { from: from.selector(), to, listen, by };
        if !rows
            .iter()
            .any(|said| said.from == row.from && said.to == row.to && said.listen.covers(&row.listen))
        {
            rows.push(row);
        }
    }
}

/// A node that wears this and no more.
fn subject(wearer: &Wearer) -> Option<Subject> {
    let name = wearer.name.clone().or_else(|| Name::parse("any-node").ok())?;
    Some(Subject { name, tags: wearer.tags.clone() })
}

/// How a difference of two policies names the nodes that exist: one that a policy speaks of, or that wears no tag, by its
/// name; all others by what they wear.
#[derive(Clone, Debug)]
pub struct Kinds {
    named: BTreeSet<Name>,
}

impl Kinds {
    pub fn between(old: &Policy, new: &Policy) -> Kinds {
        Kinds { named: [old, new].into_iter().flat_map(named_nodes).collect() }
    }

    /// The `from` or `to` of the [`Tuple`]s that speak of this node.
    pub fn label(&self, node: &Subject) -> String {
        match self.named.contains(&node.name) || node.tags.is_empty() {
            true => format!("node:{}", node.name),
            false => Selector::Tags(node.tags.clone()).to_string(),
        }
    }
}

/// One representative of each set of tags worn, for nodes that no policy names, and every named node by itself. Nodes of
/// one kind cannot differ in what they may open. Tags that nobody wears and nobody can own stand for a node that wears them all the same.
fn kinds(old: &Policy, new: &Policy, nodes: &[Subject]) -> Vec<(String, Subject)> {
    let names = Kinds::between(old, new);
    let mut kinds: BTreeMap<String, Subject> = BTreeMap::new();
    for node in nodes {
        kinds.entry(names.label(node)).or_insert_with(|| node.clone());
    }
    let worn: BTreeSet<&Name> = nodes.iter().flat_map(|node| &node.tags).collect();
    for tag in old.tags.keys().chain(new.tags.keys()).filter(|tag| !worn.contains(tag)) {
        // One that somebody can own is among the nodes that could be enrolled.
        if !is_unowned(old, tag) && !is_unowned(new, tag) {
            continue;
        }
        let selector = Selector::Tags([tag.clone()].into());
        if let Some(subject) = super::standing_for(&selector) {
            kinds.entry(selector.to_string()).or_insert(subject);
        }
    }
    for name in names.named.iter().filter(|name| nodes.iter().all(|node| node.name != **name)) {
        let selector = Selector::Node(name.clone());
        if let Some(subject) = super::standing_for(&selector) {
            kinds.entry(selector.to_string()).or_insert(subject);
        }
    }
    kinds.into_iter().collect()
}

fn named_nodes(policy: &Policy) -> Vec<Name> {
    let grants = policy.grants.values().flat_map(|grant| grant.from.iter().chain(&grant.except));
    let services = policy.services.values().flat_map(|service| &service.on);
    grants
        .chain(services)
        .filter_map(|selector| match selector {
            Selector::Node(name) => Some(name.clone()),
            Selector::AllNodes | Selector::Tags(_) => None,
        })
        .collect()
}

fn ports(rules: &Rules, at: UnixTime) -> Ports {
    let mut ports = Ports::new();
    for (protocol, first, last, _) in rules.passing(at) {
        let ranges = ports.entry(protocol).or_default();
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == u32::from(first) => *end = u32::from(last),
            _ => ranges.push((u32::from(first), u32::from(last))),
        }
    }
    ports
}

/// The ports of `a` that are not in `b`.
fn minus(a: &Ports, b: &Ports) -> Vec<Listen> {
    let mut rest = Vec::new();
    for (protocol, ranges) in a {
        let taken = b.get(protocol).map(Vec::as_slice).unwrap_or_default();
        for &(first, last) in ranges {
            let mut next = first;
            for &(from, to) in taken.iter().filter(|(from, to)| *from <= last && first <= *to) {
                if from > next {
                    rest.push((*protocol, next, from - 1));
                }
                next = next.max(to + 1);
            }
            if next <= last {
                rest.push((*protocol, next, last));
            }
        }
    }
    let port = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    rest.into_iter().map(|(protocol, a, b)| Listen { protocol, first: port(a), last: port(b) }).collect()
}
