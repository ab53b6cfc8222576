//! Proofs: what a policy can never allow, over every node that could ever be enrolled.
//!
//! Nothing is sampled. A node is the set of tags it wears and, if it matters, its name; all sets that ownership and
//! `not-with` leave possible are meant. A broken invariant comes with a witness: the nodes, and the grant of every step.
//! Where a search would take too long the answer is [`Outcome::Undecided`], and that refuses as a broken one does.

mod always;
mod change;
mod doors;
mod escape;
mod reach;
mod space;
mod subnets;
mod through;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub(crate) use change::{Changed, gained};
pub use space::Wearer;

use self::always::{End, Refused};
use self::doors::{Doors, Goal};
use self::reach::{Asked, Chain, Map, TooHard};
use self::space::{Conj, Space};
use crate::name::Name;
use crate::policy::{Grant, Invariant, Law, Listen, Policy, Selector, Target};
use crate::time::UnixTime;

/// What is known about one invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Proof {
    pub id: Name,
    pub outcome: Outcome,
    /// One sentence: why it holds, or what breaks it.
    pub message: String,
    pub witness: Option<Witness>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Proved,
    Broken,
    /// The search was given up. It refuses, as [`Outcome::Broken`] does.
    Undecided,
}

impl Proof {
    pub fn holds(&self) -> bool {
        self.outcome == Outcome::Proved
    }
}

/// Nodes that could be enrolled, and what the policy then does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Witness {
    /// Who opens the first connection.
    pub from: Wearer,
    /// Who is reached, or refuses.
    pub to: Wearer,
    /// Every opening in order; empty where the invariant says `always` and nothing opens.
    pub steps: Vec<Step>,
    /// What is refused, for `always`.
    pub refused: Option<Listen>,
}

/// One opening of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Step {
    pub node: Wearer,
    pub grant: Name,
    pub service: Name,
    pub listen: Listen,
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            let then = if i == 0 { "" } else { ", which" };
            let who = if i == 0 { step.node.to_string() } else { String::new() };
            let next = self.steps.get(i + 1).map_or(&self.to, |next| &next.node);
            write!(
                f,
                "{who}{then} can open {} (service `{}`, grant `{}`) at {next}",
                step.listen, step.service, step.grant
            )?;
        }
        match (self.steps.is_empty(), self.refused) {
            (false, _) => Ok(()),
            (true, Some(listen)) => write!(f, "{} cannot open {listen} at {}", self.from, self.to),
            (true, None) => write!(f, "{} finds nothing to open at {}", self.from, self.to),
        }
    }
}

/// Every invariant in order of ids. `worn` are tags that nodes wear although nobody can own them. A grant that ended
/// before `at` counts no more; one that ends later counts for `never` and `only`, and does not for `always`.
pub fn prove(policy: &Policy, worn: &BTreeSet<Name>, at: UnixTime) -> Vec<Proof> {
    if policy.invariants.is_empty() {
        return Vec::new();
    }
    if policy.has_subnets() {
        return subnets::prove(policy, worn, at);
    }
    prove_in(policy, Space::new(policy, worn), at)
}

/// The invariants of `policy` over a space that may know of more.
fn prove_in(policy: &Policy, mut space: Space, at: UnixTime) -> Vec<Proof> {
    let present = Doors::new(policy, &mut space, |grant| is_present(grant, at));
    let lasting = Doors::new(policy, &mut space, |grant| grant.until.is_none());
    let claims: Vec<(&Invariant, Claim)> =
        policy.invariants.values().map(|inv| (inv, Claim::of(policy, &mut space, inv))).collect();
    let map = Map::new(&space, &present);
    claims.iter().map(|(invariant, claim)| judge(&map, &lasting, invariant, claim)).collect()
}

/// Can any node with all of `from` that could ever be enrolled reach `to`? `Ok(None)` is a proof that none can.
///
/// # Errors
/// The search was given up.
pub fn ever(
    policy: &Policy,
    from: &Selector,
    to: &Target,
    through: bool,
    at: UnixTime,
) -> Result<Option<Witness>, Undecided> {
    ever_worn(policy, &BTreeSet::new(), from, to, through, at)
}

/// As [`ever`], in a network whose nodes wear `worn` although nobody can own them.
///
/// # Errors
/// The search was given up.
pub fn ever_worn(
    policy: &Policy,
    worn: &BTreeSet<Name>,
    from: &Selector,
    to: &Target,
    through: bool,
    at: UnixTime,
) -> Result<Option<Witness>, Undecided> {
    if policy.has_subnets() {
        return subnets::ever(policy, worn, from, to, through, at);
    }
    ever_in(policy, Space::new(policy, worn), from, to, through, at)
}

/// The question over a space that may know of more.
fn ever_in(
    policy: &Policy,
    mut space: Space,
    from: &Selector,
    to: &Target,
    through: bool,
    at: UnixTime,
) -> Result<Option<Witness>, Undecided> {
    let doors = Doors::new(policy, &mut space, |grant| is_present(grant, at));
    let sources = vec![space.conj(from)];
    let mut goals = Goal::of(policy, &mut space, to);
    if through {
        goals.extend(Goal::gateways(policy, &mut space, to));
    }
    let map = Map::new(&space, &doors);
    let chain = map.find(&Asked { sources, outside: Vec::new(), goals, through });
    chain.map(|chain| chain.map(|chain| of_chain(&map, &chain))).map_err(|TooHard| Undecided)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not decided: more than {} steps were looked at; ask a narrower question", reach::MAX_STEPS)]
pub struct Undecided;

/// A declared tag that nobody can own: no proof counts with a node that wears it, unless it is told of one.
pub fn is_unowned(policy: &Policy, tag: &Name) -> bool {
    policy.tags.get(tag).is_some_and(|tag| !space::ownable(policy, tag))
}

/// It may pass something now or later.
fn is_present(grant: &Grant, at: UnixTime) -> bool {
    grant.until.is_none_or(|until| at < until)
}

/// An invariant in literals.
enum Claim {
    /// Nobody may come there.
    Reach(Asked),
    /// Everybody must.
    Always { sources: Vec<Conj>, ends: BTreeSet<End> },
}

impl Claim {
    fn of(policy: &Policy, space: &mut Space, invariant: &Invariant) -> Claim {
        let from: Vec<Conj> = invariant.from.iter().map(|selector| space.conj(selector)).collect();
        if invariant.law == Law::Always {
            let ends = invariant.to.iter().flat_map(|target| always::ends(policy, space, target)).collect();
            return Claim::Always { sources: from, ends };
        }
        let mut goals: Vec<Goal> =
            invariant.to.iter().flat_map(|target| Goal::of(policy, space, target)).collect();
        if invariant.via_any {
            goals.extend(invariant.to.iter().flat_map(|target| Goal::gateways(policy, space, target)));
        }
        let (sources, outside) = match invariant.law {
            Law::Only => (vec![Conj::default()], from),
            _ => (from, Vec::new()),
        };
        Claim::Reach(Asked { sources, outside, goals, through: invariant.via_any })
    }
}

fn judge(map: &Map<'_>, lasting: &Doors, invariant: &Invariant, claim: &Claim) -> Proof {
    let found = match claim {
        Claim::Reach(asked) => map.find(asked).map(|chain| chain.map(|chain| of_chain(map, &chain))),
        Claim::Always { sources, ends } => {
            let refused = always::find(map.space, lasting, sources, ends);
            refused.map(|refused| refused.map(|refused| of_refusal(map.space, &refused)))
        }
    };
    let (outcome, message, witness) = match found {
        Ok(None) => (Outcome::Proved, proved(invariant), None),
        Ok(Some(witness)) => (Outcome::Broken, witness.to_string(), Some(witness)),
        Err(TooHard) => (Outcome::Undecided, Undecided.to_string(), None),
    };
    Proof { id: invariant.id.clone(), outcome, message, witness }
}

fn proved(invariant: &Invariant) -> String {
    let from: Vec<String> = invariant.from.iter().map(Selector::to_string).collect();
    let to: Vec<String> = invariant.to.iter().map(Target::to_string).collect();
    let (from, to) = (from.join(", "), to.join(", "));
    match (invariant.law, invariant.via_any) {
        (Law::Never, false) => format!("no node of {from} that could be enrolled reaches {to}"),
        (Law::Never, true) => {
            format!("no node of {from} that could be enrolled reaches {to}, through others neither")
        }
        (Law::Only, _) => format!("no node outside {from} that could be enrolled reaches {to}"),
        (Law::Always, _) => format!("every node of {from} that could be enrolled reaches {to}"),
    }
}

fn of_chain(map: &Map<'_>, chain: &Chain) -> Witness {
    let step = |hop: &reach::Hop| {
        let (door, lead) = (map.doors.door(hop.door)?, map.doors.lead(hop.lead)?);
        let (grant, service) = (door.grant.clone(), lead.service.clone());
        Some(Step { node: map.space.wearer(&hop.node), grant, service, listen: hop.listen })
    };
    let steps: Vec<Step> = chain.hops.iter().filter_map(step).collect();
    let from = steps.first().map(|step| step.node.clone()).unwrap_or_default();
    Witness { from, to: map.space.wearer(&chain.end), steps, refused: None }
}

fn of_refusal(space: &Space, refused: &Refused) -> Witness {
    let (from, to) = (space.wearer(&refused.node), space.wearer(&refused.end));
    Witness { from, to, steps: Vec::new(), refused: refused.listen }
}
