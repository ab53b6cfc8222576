//! Questions over the nodes that exist: `can`, nearest miss, tests, `diff`.
//!
//! All of them answer as if the policy's mode were `enforce`, and by the same compiled rules that nodes enforce.
//! `tag:x` that no node wears stands for a node that wears that tag and no other; `node:x` that is not enrolled stands
//! for a node of that name without tags.

mod can;
mod diff;
mod miss;
mod tests_of_policy;

use std::collections::BTreeSet;

use serde::Serialize;

pub use diff::Kinds;

use crate::name::Name;
use crate::policy::{Listen, Policy, Selector, Subject, Target};
use crate::text;
use crate::time::UnixTime;

/// `can FROM TO`: every pair of nodes and every listen must pass.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: Selector,
    pub to: Target,
    pub at: UnixTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Answer {
    pub yes: bool,
    pub passes: Vec<Passing>,
    pub fails: Vec<Miss>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Passing {
    pub from: Name,
    pub to: Name,
    pub listen: Listen,
    pub service: Name,
    pub grant: Name,
}

/// What does not pass, and the grant that came nearest to allowing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Miss {
    pub from: Name,
    pub to: Name,
    pub listen: Option<Listen>,
    /// One sentence: which part of which grant failed, or that no grant names the destination.
    pub reason: String,
    pub nearest: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    #[error("{0}")]
    Bad(String),
}

fn bad(wrong: text::Malformed) -> QuestionError {
    match wrong.hint {
        Some(hint) => QuestionError::Bad(format!("{}: {hint}", wrong.message)),
        None => QuestionError::Bad(wrong.message),
    }
}

/// Parses `tag:x`, `node:y`, `all-nodes`, `tag:a & tag:b`.
pub fn parse_selector(text: &str) -> Result<Selector, QuestionError> {
    text::selector(text).map(|(selector, _)| selector).map_err(bad)
}

/// Parses `service:x`, `tag:x [PROTO/PORT]`, `node:y [PROTO/PORT]`; the port stands in `text` or in `port`.
pub fn parse_target(text: &str, port: Option<&str>) -> Result<Target, QuestionError> {
    let (target, _) = text::target(text).map_err(bad)?;
    let listen = port.map(parse_listen).transpose()?;
    match (target, listen) {
        (target, None) => Ok(target),
        (Target::Nodes(selector, None), listen) => Ok(Target::Nodes(selector, listen)),
        (Target::Nodes(_, Some(_)), _) => Err(QuestionError::Bad(format!("`{text}` has a port already"))),
        (Target::Service(name), _) => Err(QuestionError::Bad(format!(
            "service `{name}` has its own ports: ask without a port, or ask for a node with one"
        ))),
    }
}

/// Parses `tcp/8443`, `tcp/9000-9010`, `udp/53`, `icmp/echo`, `proto/132`.
pub fn parse_listen(text: &str) -> Result<Listen, QuestionError> {
    text::listen(text).map_err(bad)
}

/// Every pair of nodes and every `listen` asked about; `yes` only if all of it passes.
///
/// # Errors
/// A tag or service that the policy does not declare.
pub fn can(policy: &Policy, nodes: &[Subject], question: &Question) -> Result<Answer, QuestionError> {
    can::can(policy, nodes, question)
}

/// Every tag and service that a question names is declared.
///
/// # Errors
/// One that is not.
pub fn check(policy: &Policy, question: &Question) -> Result<(), QuestionError> {
    check_selector(policy, &question.from)?;
    match &question.to {
        Target::Nodes(selector, _) => check_selector(policy, selector),
        Target::Service(name) if policy.services.contains_key(name) => Ok(()),
        Target::Service(name) => Err(undeclared("service", name, policy.services.keys())),
    }
}

/// The nearest miss for one pair and port: for the administrator's `why`.
pub fn explain(
    policy: &Policy,
    from: &Subject,
    to: &Subject,
    listen: Listen,
    at: UnixTime,
) -> Result<Passing, Miss> {
    can::Judge::new(policy, at).pair(from, to, listen)
}

/// The same for one address behind `gateway`.
pub fn explain_behind(
    policy: &Policy,
    from: &Subject,
    (gateway, address): (&Subject, std::net::IpAddr),
    listen: Listen,
    at: UnixTime,
) -> Result<Passing, Miss> {
    can::Judge::new(policy, at).address(from, gateway, address, listen)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TestOutcome {
    pub id: Name,
    pub passed: bool,
    pub message: String,
}

/// Every `[[test]]` in order of ids. In a test `tag:x` is always the node that wears that tag and no other; of `nodes`
/// only those that a test names by `node:` count.
pub fn run_tests(policy: &Policy, nodes: &[Subject], at: UnixTime) -> Vec<TestOutcome> {
    let judge = can::Judge::new(policy, at);
    policy.tests.values().map(|test| tests_of_policy::run(&judge, nodes, test)).collect()
}

/// One (source, destination, listen) that a change gives or takes. Ends are selectors as the policies name them; what is
/// behind gateways reads `192.168.10.0/24 behind tag:gateway`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tuple {
    pub from: String,
    pub to: String,
    pub listen: Listen,
    /// What gives it, in the one of the two policies that does.
    pub by: Vec<By>,
}

impl Tuple {
    /// The subnet behind gateways that the row is about, if it is one, and the nodes it names.
    pub fn place(&self) -> (Option<ipnet::IpNet>, &str) {
        let Some((subnet, nodes)) = self.to.split_once(" behind ") else { return (None, &self.to) };
        let single = || subnet.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from);
        (subnet.parse().ok().or_else(single), nodes)
    }
}

/// A service, and the grant that opens it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct By {
    pub service: Name,
    pub grant: Name,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Diff {
    pub gained: Vec<Tuple>,
    pub lost: Vec<Tuple>,
    /// Set if the rows about nodes that do not exist yet are left out: there would be too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Exact difference over the nodes given, and over every node that could be enrolled; empty for a re-ordered or
/// re-formatted policy. A row without an enrolled node stands for nodes that wear what it names and no more; whoever else
/// gains or loses something wears all that some row names.
pub fn diff(old: &Policy, new: &Policy, nodes: &[Subject], at: UnixTime) -> Diff {
    diff::diff(old, new, nodes, at)
}

/// Every tag and service that a question names must be declared.
fn check_selector(policy: &Policy, selector: &Selector) -> Result<(), QuestionError> {
    let Selector::Tags(tags) = selector else { return Ok(()) };
    match tags.iter().find(|tag| !policy.tags.contains_key(*tag)) {
        None => Ok(()),
        Some(tag) => Err(undeclared("tag", tag, policy.tags.keys())),
    }
}

fn undeclared<'a>(kind: &str, name: &Name, known: impl Iterator<Item = &'a Name>) -> QuestionError {
    let hint = match crate::nearest::nearest(name.as_str(), known.map(Name::as_str)) {
        Some(near) => format!(": did you mean `{near}`?"),
        None => String::new(),
    };
    QuestionError::Bad(format!("the policy declares no {kind} `{name}`{hint}"))
}

/// The nodes that `selector` stands for; never none of them for a tag or a name.
fn nodes_of(selector: &Selector, nodes: &[Subject]) -> Vec<Subject> {
    let found: Vec<Subject> = nodes.iter().filter(|node| selector.matches(node)).cloned().collect();
    if found.is_empty() { standing_for(selector).into_iter().collect() } else { found }
}

/// A node that is exactly what `selector` says and nothing more.
fn standing_for(selector: &Selector) -> Option<Subject> {
    match selector {
        Selector::AllNodes => None,
        Selector::Node(name) => Some(Subject { name: name.clone(), tags: BTreeSet::new() }),
        Selector::Tags(tags) => {
            let joined: Vec<&str> = tags.iter().map(Name::as_str).collect();
            let text: String = format!("any-{}", joined.join("-")).chars().take(63).collect();
            let name = Name::parse(text.trim_end_matches('-')).ok()?;
            Some(Subject { name, tags: tags.clone() })
        }
    }
}
