//! From the openings of one pair to disjoint spans of ports, in one pass.

use std::collections::{BTreeMap, BTreeSet};

use crate::filter::{Candidate, Cut, Rules};
use crate::name::Name;
use crate::policy::{Grant, GrantMode, Listen, Protocol, Service};
use crate::time::UnixTime;

/// One grant over one `listen` entry of one service.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    listen: Listen,
    candidate: Candidate,
}

impl Opening {
    pub fn is_enforced(&self) -> bool {
        !self.candidate.audit
    }

    /// Enforced before audited, narrower before wider, then grant id, then service name.
    fn precedence(&self) -> (bool, u32, &Name, &Name) {
        (self.candidate.audit, self.listen.width(), &self.candidate.grant, &self.candidate.service)
    }
}

pub(super) fn openings_of<'a>(grant: &'a Grant, service: &'a Service) -> impl Iterator<Item = Opening> + 'a {
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

/// Cuts overlapping openings into disjoint spans; each keeps the candidates that may decide at some time.
pub(super) fn sweep(mut openings: Vec<Opening>, observe: bool) -> Rules {
    openings.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
    let (candidates, places) = candidates(&openings);
    let mut by_protocol: BTreeMap<Protocol, Vec<Active>> = BTreeMap::new();
    for (rank, (opening, place)) in openings.iter().zip(places).enumerate() {
        let active =
            Active { listen: opening.listen, rank, candidate: place, until: opening.candidate.until };
        by_protocol.entry(opening.listen.protocol).or_default().push(active);
    }
    let mut cuts = Vec::new();
    for (protocol, openings) in by_protocol {
        sweep_protocol(protocol, openings, &mut cuts);
    }
    Rules::new(candidates, &cuts, observe)
}

/// Each grant over each service once, and for each opening its place among them.
fn candidates(openings: &[Opening]) -> (Vec<Candidate>, Vec<u32>) {
    let mut candidates = Vec::new();
    let mut known: BTreeMap<(&Name, &Name), u32> = BTreeMap::new();
    let mut places = Vec::with_capacity(openings.len());
    for Opening { candidate, .. } in openings {
        let place = known.entry((&candidate.grant, &candidate.service)).or_insert_with(|| {
            candidates.push(candidate.clone());
            u32::try_from(candidates.len() - 1).unwrap_or(u32::MAX)
        });
        places.push(*place);
    }
    (candidates, places)
}

/// An opening, as far as the sweep looks at it.
#[derive(Clone, Copy)]
struct Active {
    listen: Listen,
    /// Its place in order of precedence.
    rank: usize,
    candidate: u32,
    until: Option<UnixTime>,
}

/// `openings` in order of precedence.
fn sweep_protocol(protocol: Protocol, mut openings: Vec<Active>, cuts: &mut Vec<Cut>) {
    // In u32, so that "one after port 65535" has a number.
    let ends_at = |active: &Active| u32::from(active.listen.last) + 1;
    let starts = openings.iter().map(|active| u32::from(active.listen.first));
    let bounds: BTreeSet<u32> = starts.chain(openings.iter().map(ends_at)).collect();
    openings.sort_by_key(|active| active.listen.first);
    let mut waiting = openings.into_iter().peekable();
    let mut now: BTreeMap<usize, Active> = BTreeMap::new();
    let mut ends: BTreeSet<(u32, usize)> = BTreeSet::new();
    for (&first, &next) in bounds.iter().zip(bounds.iter().skip(1)) {
        while let Some(active) = waiting.next_if(|active| u32::from(active.listen.first) <= first) {
            ends.insert((ends_at(&active), active.rank));
            now.insert(active.rank, active);
        }
        while let Some((_, rank)) = ends.first().filter(|(end, _)| *end <= first).copied() {
            ends.pop_first();
            now.remove(&rank);
        }
        let chain = chain(now.values());
        let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(next - 1)) else { continue };
        add(cuts, Cut { protocol, first, last, chain });
    }
}

/// Those that decide at some time: one that ends no later than one before it never does.
fn chain<'a>(in_precedence: impl Iterator<Item = &'a Active>) -> Vec<u32> {
    let mut chain = Vec::new();
    let mut reached: Option<UnixTime> = None;
    for active in in_precedence {
        match active.until {
            None => {
                chain.push(active.candidate);
                break;
            }
            Some(until) if reached.is_none_or(|reached| reached < until) => {
                chain.push(active.candidate);
                reached = Some(until);
            }
            Some(_) => {}
        }
    }
    chain
}

fn add(cuts: &mut Vec<Cut>, cut: Cut) {
    match cuts.last_mut() {
        _ if cut.chain.is_empty() => {}
        Some(before)
            if before.protocol == cut.protocol
                && before.last.checked_add(1) == Some(cut.first)
                && before.chain == cut.chain =>
        {
            before.last = cut.last;
        }
        _ => cuts.push(cut),
    }
}
