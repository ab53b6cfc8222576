//! Questions over the nodes that exist: `can`, nearest miss, tests, `diff`.

use serde::Serialize;

use crate::name::Name;
use crate::policy::{Listen, Policy, Selector, Subject, Target};
use crate::time::UnixTime;

/// `can FROM TO`: every pair of nodes and every listen must pass.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: Selector,
    pub to: Target,
    pub at: UnixTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub yes: bool,
    pub passes: Vec<Passing>,
    pub fails: Vec<Miss>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Passing {
    pub from: Name,
    pub to: Name,
    pub listen: Listen,
    pub service: Name,
    pub grant: Name,
}

/// What does not pass, and the grant that came nearest to allowing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// Parses `tag:x`, `node:y`, `all-nodes`, `tag:a & tag:b`.
pub fn parse_selector(_text: &str) -> Result<Selector, QuestionError> {
    todo!()
}
/// Parses `service:x`, `tag:x [PROTO/PORT]`, `node:y [PROTO/PORT]`.
pub fn parse_target(_text: &str, _port: Option<&str>) -> Result<Target, QuestionError> {
    todo!()
}
/// Parses `tcp/8443`, `tcp/9000-9010`, `udp/53`, `icmp/echo`, `proto/132`.
pub fn parse_listen(_text: &str) -> Result<Listen, QuestionError> {
    todo!()
}

pub fn can(_policy: &Policy, _nodes: &[Subject], _question: &Question) -> Result<Answer, QuestionError> {
    todo!()
}

/// The nearest miss for one pair and port: for the administrator's `why`.
pub fn explain(
    _policy: &Policy,
    _from: &Subject,
    _to: &Subject,
    _listen: Listen,
    _at: UnixTime,
) -> Result<Passing, Miss> {
    todo!()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestOutcome {
    pub id: Name,
    pub passed: bool,
    pub message: String,
}

pub fn run_tests(_policy: &Policy, _nodes: &[Subject], _at: UnixTime) -> Vec<TestOutcome> {
    todo!()
}

/// One (source, destination, listen) that a change gives or takes. Ends are selectors as the policies name them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Tuple {
    pub from: String,
    pub to: String,
    pub listen: Listen,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    pub gained: Vec<Tuple>,
    pub lost: Vec<Tuple>,
}

/// Exact difference over the nodes given; empty for a re-ordered or re-formatted policy.
pub fn diff(_old: &Policy, _new: &Policy, _nodes: &[Subject], _at: UnixTime) -> Diff {
    todo!()
}

/// Invariants that this version cannot prove. Proofs are not built yet, so it is all of them: none may be relied on.
pub fn unproved(policy: &Policy) -> Vec<Name> {
    policy.invariants.keys().cloned().collect()
}
