//! From text to policy: every fault at once, each with file, line, column and a hint.

use std::collections::BTreeSet;

use crate::name::Name;
use crate::policy::Policy;
use crate::time::UnixTime;

/// One policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub text: String,
}

/// Something to tell the author. Errors refuse the policy, warnings do not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// Stable kebab-case id, e.g. `unknown-tag`.
    pub id: &'static str,
    pub message: String,
    pub file: String,
    /// Byte range in the file; empty when the whole file is meant.
    pub span: std::ops::Range<usize>,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Error,
    Warning,
}

/// A policy that may be applied, and what its author should still know.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub policy: Policy,
    pub warnings: Vec<Finding>,
}

/// Why there is no policy: at least one error, then the warnings.
#[derive(Clone, Debug)]
pub struct Faults {
    pub findings: Vec<Finding>,
}

/// Parses, merges and resolves. An empty list, or files without any table, resolve to the empty policy, which denies everything.
pub fn resolve(sources: &[Source]) -> Result<Resolved, Faults> {
    resolve_in(sources, &Context::default())
}

/// What is known of the world around the policy; more known gives more warnings, never other errors.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The moment to judge `until` by.
    pub at: Option<UnixTime>,
    /// Names of the enrolled nodes.
    pub nodes: Option<BTreeSet<Name>>,
}

/// [`resolve`], with warnings about what is past or not enrolled.
pub fn resolve_in(_sources: &[Source], _context: &Context) -> Result<Resolved, Faults> {
    todo!()
}

/// Renders findings with the offending text underlined (plain text, or with ANSI colours).
pub fn render(_findings: &[Finding], _sources: &[Source], _colour: bool) -> String {
    todo!()
}
