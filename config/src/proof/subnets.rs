//! Proofs of policies with services behind gateways: one for nodes, and one for each region that is asked about. A law
//! holds if it holds at every one of them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::space::Space;
use super::{Outcome, Proof, Undecided, Witness, ever_in, prove_in};
use crate::name::Name;
use crate::policy::{Invariant, Policy, Selector, Target};
use crate::time::UnixTime;

pub(super) fn prove(policy: &Policy, worn: &BTreeSet<Name>, at: UnixTime) -> Vec<Proof> {
    let mut proofs: BTreeMap<Name, Proof> = BTreeMap::new();
    for region in places(policy) {
        for through in [false, true] {
            let part = part_of(policy, region.as_ref(), through);
            if part.invariants.is_empty() {
                continue;
            }
            for proof in prove_in(&part, Space::new(policy, worn), at) {
                add(&mut proofs, at_region(proof, region.as_ref()));
            }
        }
    }
    // A part speaks of some destinations; what holds, holds for all.
    let whole = |proof: Proof| match policy.invariants.get(&proof.id).filter(|_| proof.holds()) {
        Some(invariant) => Proof { message: super::proved(invariant), ..proof },
        None => proof,
    };
    proofs.into_values().map(whole).collect()
}

/// Nodes, and every region that an invariant speaks of.
fn places(policy: &Policy) -> BTreeSet<Option<IpNet>> {
    let targets = policy.invariants.values().flat_map(|invariant| &invariant.to);
    let regions = targets.flat_map(|target| policy.regions_of(target)).map(Some);
    std::iter::once(None).chain(regions).collect()
}

/// What of `policy` speaks of a place: chains go through nodes wherever they end.
fn part_of(policy: &Policy, region: Option<&IpNet>, through: bool) -> Policy {
    let mut part = match (region, through) {
        (None, _) => policy.of_nodes(),
        (Some(region), false) => policy.of_region(region),
        (Some(region), true) => policy.of_region_and_nodes(region),
    };
    let invariants = policy.invariants.iter().filter(|(_, law)| law.via_any == through);
    let part_of = |(id, law): (&Name, &Invariant)| {
        let is_here = |target: &&Target| match region {
            None => policy.regions_of(target).is_empty(),
            Some(region) => policy.regions_of(target).contains(region),
        };
        let to: Vec<Target> = law.to.iter().filter(is_here).cloned().collect();
        (!to.is_empty()).then(|| (id.clone(), Invariant { to, ..law.clone() }))
    };
    part.invariants = invariants.filter_map(part_of).collect();
    part
}

/// The worst of an invariant's proofs stands for it; of those that hold, the first.
fn add(proofs: &mut BTreeMap<Name, Proof>, proof: Proof) {
    let weight = |proof: &Proof| match proof.outcome {
        Outcome::Proved => 0,
        Outcome::Undecided => 1,
        Outcome::Broken => 2,
    };
    let known = proofs.entry(proof.id.clone()).or_insert_with(|| proof.clone());
    if weight(&proof) > weight(known) {
        *known = proof;
    }
}

fn at_region(proof: Proof, region: Option<&IpNet>) -> Proof {
    let Some(region) = region.filter(|_| proof.outcome == Outcome::Broken) else { return proof };
    Proof { message: format!("{}, for {region} behind it", proof.message), ..proof }
}

pub(super) fn ever(
    policy: &Policy,
    worn: &BTreeSet<Name>,
    from: &Selector,
    to: &Target,
    through: bool,
    at: UnixTime,
) -> Result<Option<Witness>, Undecided> {
    let regions = policy.regions_of(to);
    if regions.is_empty() {
        return ever_in(&policy.of_nodes(), Space::new(policy, worn), from, to, through, at);
    }
    for region in regions {
        let part = match through {
            true => policy.of_region_and_nodes(&region),
            false => policy.of_region(&region),
        };
        if let Some(found) = ever_in(&part, Space::new(policy, worn), from, to, through, at)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
