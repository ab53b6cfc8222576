//! `diff`: what a change of policy gives and takes, pair by pair and port by port, exactly.

use std::collections::{BTreeMap, BTreeSet};

use super::can::Judge;
use super::{Diff, Tuple};
use crate::filter::Rules;
use crate::name::Name;
use crate::policy::{Listen, Policy, Protocol, Selector, Subject};
use crate::proof::{Changed, Wearer, is_unowned};
use crate::time::UnixTime;

/// Inclusive port ranges, sorted and disjoint, by protocol.
type Ports = BTreeMap<Protocol, Vec<(u32, u32)>>;

pub(super) fn diff(old: &Policy, new: &Policy, nodes: &[Subject], at: UnixTime) -> Diff {
    let (before, after) = (Judge::new(old, at), Judge::new(new, at));
    let kinds = kinds(old, new, nodes);
    let mut found = Diff::default();
    for (from_label, from) in &kinds {
        // A kind may have a second node; a named node is one, and nothing stands between it and itself.
        let one = from_label.starts_with("node:");
        for (to_label, to) in kinds.iter().filter(|(label, _)| !one || label != from_label) {
            let (old, new) = (before.rules(from, to), after.rules(from, to));
            let (had, has) = (ports(&old, at), ports(&new, at));
            let tuple = |judge: &Judge<'_>, listen| {
                let by = judge.given_by(from, to, listen);
                Tuple { from: from_label.clone(), to: to_label.clone(), listen, by }
            };
            found.gained.extend(minus(&has, &had).into_iter().map(|listen| tuple(&after, listen)));
            found.lost.extend(minus(&had, &has).into_iter().map(|listen| tuple(&before, listen)));
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

/// Rows about nodes that could be enrolled. A name that is enrolled already is that node and was asked above.
fn add_possible(rows: &mut Vec<Tuple>, possible: BTreeSet<Changed>, nodes: &[Subject], judge: &Judge<'_>) {
    let enrolled: BTreeSet<&Name> = nodes.iter().map(|node| &node.name).collect();
    let is_new = |wearer: &Wearer| wearer.name.as_ref().is_none_or(|name| !enrolled.contains(name));
    for Changed { from, to, listen } in
        possible.into_iter().filter(|row| is_new(&row.from) && is_new(&row.to))
    {
        let ends = subject(&from).zip(subject(&to));
        let by = ends.map_or_else(Vec::new, |(from, to)| judge.given_by(&from, &to, listen));
        let row = Tuple { from: from.selector(), to: to.selector(), listen, by };
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
