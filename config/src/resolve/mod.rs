//! From text to policy: every fault at once, each with file, line, column and a hint.

mod asked;
mod claim;
mod meaning;
mod render;
pub(crate) mod report;
mod settings;
mod subnets;
mod warn;

use std::collections::BTreeSet;

pub use claim::{Claim, Claims};
pub use render::render;

use self::meaning::{Places, Resolver};
use self::report::Report;
use crate::document::{self, At, Document, MAX_FILE, MAX_POLICY, MAX_TABLES, Spot};
use crate::item::{Item, ItemTree, MAX_ITEM};
use crate::name::Name;
use crate::policy::Policy;
use crate::time::UnixTime;

/// One policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub text: String,
}

/// How a byte range reads in JSON.
#[cfg(feature = "schema")]
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "described, not used")]
struct Span {
    start: usize,
    end: usize,
}

/// Something to tell the author. Errors refuse the policy, warnings do not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Finding {
    pub severity: Severity,
    /// Stable kebab-case id, e.g. `unknown-tag`.
    pub id: &'static str,
    pub message: String,
    pub file: String,
    /// Byte range in the file; empty when the whole file is meant.
    #[cfg_attr(feature = "schema", schema(value_type = Span))]
    pub span: std::ops::Range<usize>,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
    pub claims: Claims,
}

/// Why there is no policy: at least one error. Warnings come only with a policy.
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
pub fn resolve_in(sources: &[Source], context: &Context) -> Result<Resolved, Faults> {
    let mut report = Report::new(sources);
    let mut document = Document::default();
    if !refuse_too_much(sources, &mut report) {
        for (file, source) in sources.iter().enumerate() {
            document::read(file, &source.text, &mut document, &mut report);
        }
    }
    refuse_too_many(&document, &mut report);
    let mut resolver = Resolver { report: &mut report, places: Places::default() };
    let policy = resolver.policy(&document);
    resolver.refuse_overlaps(&policy);
    let places = resolver.places;
    refuse_large_items(&policy, &places, &mut report);
    let refused = report.has_errors();
    if !refused {
        // Half a policy would give warnings about the half that is missing.
        warn::warn(&policy, &places, context, &mut report);
    }
    let claims = if refused { Claims::default() } else { Claims::of(&places, &report) };
    let findings = report.finish();
    if refused { Err(Faults { findings }) } else { Ok(Resolved { policy, warnings: findings, claims }) }
}

/// All files together are limited as each is; a file over its own limit is told by itself.
fn refuse_too_much(sources: &[Source], report: &mut Report<'_>) -> bool {
    let readable = sources.iter().map(|source| source.text.len()).filter(|bytes| *bytes <= MAX_FILE);
    let bytes: usize = readable.sum();
    if bytes > MAX_POLICY {
        let message = format!("the files have {bytes} bytes together, the limit is {MAX_POLICY}");
        report.error("policy-too-large", &Spot { file: 0, span: 0..0 }, message, None);
    }
    bytes > MAX_POLICY
}

/// What one file may not have, several may not have together.
fn refuse_too_many(document: &Document, report: &mut Report<'_>) {
    let counts = [
        ("grant", document.grants.len(), spot_of(document.grants.last().map(|g| &g.id))),
        ("service", document.services.len(), document.services.last().map(|s| &s.name.spot)),
        ("tag", document.tags.len(), document.tags.last().map(|t| &t.name.spot)),
        ("group", document.groups.len(), document.groups.last().map(|g| &g.name.spot)),
        ("invariant", document.invariants.len(), spot_of(document.invariants.last().map(|i| &i.id))),
        ("test", document.tests.len(), spot_of(document.tests.last().map(|t| &t.id))),
    ];
    for (kind, found, spot) in counts {
        if let Some(spot) = spot.filter(|_| found > MAX_TABLES) {
            let message = format!("there are {found} of `{kind}` in all files, the limit is {MAX_TABLES}");
            report.error("too-many", spot, message, None);
        }
    }
}

fn spot_of(id: Option<&Option<At<String>>>) -> Option<&Spot> {
    id.and_then(Option::as_ref).map(|id| &id.spot)
}

/// A node refuses an item over [`MAX_ITEM`], so the author must hear of it first.
fn refuse_large_items(policy: &Policy, places: &Places, report: &mut Report<'_>) {
    for (item, bytes) in ItemTree::new(policy).items().iter().filter(|(_, bytes)| bytes.len() > MAX_ITEM) {
        let spot = match item {
            Item::Settings(_) => None,
            Item::Group(group) => places.groups.get(&group.name),
            Item::Tag(tag) => places.tags.get(&tag.name),
            Item::Service(service) => places.services.get(&service.name),
            Item::Grant(grant) => places.grants.get(&grant.id),
            Item::Invariant(invariant) => places.invariants.get(&invariant.id),
            Item::Test(test) => places.tests.get(&test.id),
        };
        let nowhere = Spot { file: 0, span: 0..0 };
        let message = format!("this has {} bytes in canonical form, the limit is {MAX_ITEM}", bytes.len());
        report.error(
            "too-large",
            spot.unwrap_or(&nowhere),
            message,
            Some("split it into several".to_owned()),
        );
    }
}
