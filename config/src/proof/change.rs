//! What one policy allows and another does not, over every node that could ever be enrolled.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::doors::Doors;
use super::escape::Escape;
use super::reach::{Map, TooHard};
use super::space::{Conj, Space, Wearer};
use crate::policy::{Grant, Listen, Policy};
use crate::subnet::regions;
use crate::time::UnixTime;

/// Nodes that wear this and no more gain it. Whoever gains anything wears all of one such row at each end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changed {
    pub from: Wearer,
    pub to: Wearer,
    /// Behind `to`, at all addresses of this region; `None`: at `to` itself.
    pub place: Option<IpNet>,
    pub listen: Listen,
}

/// More rows than this are no answer for a reader.
pub(crate) const MAX_ROWS: usize = 10_000;

/// What `new` passes at `at` and `old` does not. A region inside one that gains the same says nothing more.
pub(crate) fn gained(old: &Policy, new: &Policy, at: UnixTime) -> Result<BTreeSet<Changed>, TooHard> {
    let regions = regions(old.services.values().chain(new.services.values()));
    if regions.is_empty() {
        return gained_at(old, new, at, None);
    }
    let mut found = gained_at(&old.of_nodes(), &new.of_nodes(), at, None)?;
    for region in regions {
        let rows = gained_at(&old.of_region(&region), &new.of_region(&region), at, Some(region))?;
        let said = |row: &Changed| {
            let wide = |other: &Changed| other.place.is_some_and(|place| place.contains(&region));
            found.iter().any(|other| {
                wide(other)
                    && other.from == row.from
                    && other.to == row.to
                    && other.listen.covers(&row.listen)
            })
        };
        let new: Vec<Changed> = rows.into_iter().filter(|row| !said(row)).collect();
        found.extend(new);
    }
    Ok(found)
}

fn gained_at(
    old: &Policy,
    new: &Policy,
    at: UnixTime,
    place: Option<IpNet>,
) -> Result<BTreeSet<Changed>, TooHard> {
    let mut space = Space::new(new, &BTreeSet::new());
    let lives = |grant: &Grant| grant.until.is_none_or(|until| at < until);
    let after = Doors::new(new, &mut space, |grant| lives(grant) && !is_same(old, new, grant));
    let before = Doors::new(old, &mut space, lives);
    let map = Map::new(&space, &after);
    let mut steps = 0;
    let mut found: BTreeSet<(Conj, Conj, Listen)> = BTreeSet::new();
    for (number, door) in after.doors.iter().enumerate() {
        for from in map.openers(&Conj::default(), number) {
            for lead in
                door.leads.iter().filter(|lead| map.lead_possible(**lead)).filter_map(|l| after.lead(*l))
            {
                let another = |node: &Conj| {
                    !door.keeps_out(node)
                        && space.name(node).is_none_or(|name| space.name(&lead.on) != Some(name))
                };
                for (piece, open) in lead.listen.iter().flat_map(|listen| before.pieces(&lead.on, *listen)) {
                    let mut escape = Escape { space: &space, doors: &before, steps: &mut steps };
                    let nodes = escape.all(&from, &open, another, MAX_ROWS)?;
                    found.extend(nodes.into_iter().map(|node| (node, lead.on.clone(), piece)));
                }
                if found.len() >= MAX_ROWS {
                    return Err(TooHard);
                }
            }
        }
    }
    Ok(rows(&space, found, place))
}

/// The grant and all it leads to stand in both, word for word: nothing is gained by it.
fn is_same(old: &Policy, new: &Policy, grant: &Grant) -> bool {
    let same_service = |name| old.services.get(name) == new.services.get(name);
    old.grants.get(&grant.id).is_some_and(|before| {
        before.from == grant.from
            && before.except == grant.except
            && before.to == grant.to
            && before.mode == grant.mode
            && before.until == grant.until
    }) && grant.to.iter().all(same_service)
}

/// Neighbouring ports joined, and what a row with fewer literals says already left out.
fn rows(space: &Space, found: BTreeSet<(Conj, Conj, Listen)>, place: Option<IpNet>) -> BTreeSet<Changed> {
    let mut joined: Vec<(Conj, Conj, Listen)> = Vec::new();
    for (from, to, listen) in found {
        match joined.last_mut() {
            Some((f, t, l))
                if (&*f, &*t, l.protocol) == (&from, &to, listen.protocol)
                    && u32::from(listen.first) <= u32::from(l.last) + 1 =>
            {
                l.last = l.last.max(listen.last);
            }
            _ => joined.push((from, to, listen)),
        }
    }
    let said = |row: &(Conj, Conj, Listen)| {
        joined.iter().any(|other| {
            other != row && other.0.within(&row.0) && other.1.within(&row.1) && other.2.covers(&row.2)
        })
    };
    let row = |(from, to, listen): &(Conj, Conj, Listen)| Changed {
        from: space.wearer(from),
        to: space.wearer(to),
        place,
        listen: *listen,
    };
    joined.iter().filter(|row| !said(row)).map(row).collect()
}
