//! Questions about the policy over the nodes that exist.

use serde::{Deserialize, Serialize};
use warren_config::proof::{Proof, Witness};
use warren_config::question::{Diff, Passing, TestOutcome};
use warren_config::resolve::Finding;
use warren_wire::id::Generation;

use crate::refusal::RefusalBody;

/// `why FROM TO PORT`: the verdict, and the grant or the nearest miss behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Why {
    pub allowed: bool,
    pub generation: Generation,
    pub from: String,
    pub to: String,
    /// True if the policy records only: a refused flow passes.
    pub observe: bool,
    /// Nodes that lead there, by name, where it is a host without an agent or a service of such.
    pub behind: Vec<String>,
    pub by: Option<Passing>,
    pub nearest: Option<String>,
    pub message: String,
}

/// `can --ever`, over every node that could be enrolled and with the tags that are worn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Ever {
    pub yes: bool,
    /// A no is a proof.
    pub proof: bool,
    pub witness: Option<Witness>,
    pub generation: Generation,
}

/// `policy check` and `policy diff` against what is in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PolicyReview {
    /// Generation it was compared with; the next is the one to sign.
    pub current: Generation,
    pub epoch: u64,
    /// Root to be signed, 64 hex digits.
    pub root: String,
    pub items: u64,
    pub observe: bool,
    pub warnings: Vec<Finding>,
    pub tests: Vec<TestOutcome>,
    pub proofs: Vec<Proof>,
    /// Why the nodes that are enrolled stand against it.
    pub refused: Option<RefusalBody>,
    pub diff: Diff,
}

/// What one generation gives and takes compared with another, over the nodes there are now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PolicyDiff {
    pub from: Generation,
    pub to: Generation,
    pub diff: Diff,
}

/// The current or an older policy as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PolicyText {
    pub generation: Generation,
    pub root: String,
    /// The signed policy head, base64: whoever signs this text again looks first whether the authority ever did.
    pub head: String,
    pub sources: Vec<crate::change::SourceText>,
}
