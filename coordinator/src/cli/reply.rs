//! Answers of the API whose types in the pure crates can only be written, read here field by field.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use warren_config::policy::Listen;
use warren_config::time::UnixTime;
use warren_wire::id::Generation;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Answer {
    pub yes: bool,
    pub passes: Vec<Passing>,
    pub fails: Vec<Miss>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Passing {
    pub from: String,
    pub to: String,
    pub listen: Listen,
    pub service: String,
    pub grant: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Miss {
    pub from: String,
    pub to: String,
    pub listen: Option<Listen>,
    pub reason: String,
    pub nearest: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Why {
    pub allowed: bool,
    pub generation: Generation,
    pub from: String,
    pub to: String,
    pub observe: bool,
    #[serde(default)]
    pub behind: Vec<String>,
    pub by: Option<Passing>,
    pub nearest: Option<String>,
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Diff {
    pub gained: Vec<Tuple>,
    pub lost: Vec<Tuple>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Tuple {
    pub from: String,
    pub to: String,
    pub listen: Listen,
    #[serde(default)]
    pub by: Vec<By>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct By {
    pub service: String,
    pub grant: String,
}

/// [`Review`], and what the policy would cut of what was seen.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Plan {
    #[serde(flatten)]
    pub review: Review,
    pub ends_observing: bool,
    pub seen: warren_coordinator_core::plan::Seen,
    pub cuts: Vec<Cut>,
    pub unlisted: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Cut {
    pub from: String,
    pub to: String,
    pub listen: Listen,
    pub grant: Option<String>,
    pub service: Option<String>,
    pub flows: u64,
    pub bytes: u64,
    pub last: UnixTime,
    pub loss: Option<Tuple>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Review {
    pub current: Generation,
    pub epoch: u64,
    pub root: String,
    pub items: u64,
    pub observe: bool,
    pub warnings: Vec<Warning>,
    pub tests: Vec<TestOutcome>,
    #[serde(default)]
    pub proofs: Vec<warren_config::proof::Proof>,
    /// Why the nodes that are enrolled stand against it.
    #[serde(default)]
    pub refused: Option<Objection>,
    pub diff: Diff,
}

impl Review {
    /// Nothing in it stands against applying it.
    pub fn is_good(&self) -> bool {
        self.refused.is_none()
            && self.tests.iter().all(|test| test.passed)
            && self.proofs.iter().all(warren_config::proof::Proof::holds)
    }
}

/// A [`warren_config::resolve::Finding`] as it travels.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Warning {
    pub id: String,
    pub message: String,
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub hint: Option<String>,
    /// The rest as it came.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {} [{}]", self.file, self.line, self.column, self.message, self.id)?;
        self.hint.iter().try_for_each(|hint| write!(f, " ({hint})"))
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Objection {
    pub code: String,
    pub message: String,
    pub hint: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TestOutcome {
    pub id: String,
    pub passed: bool,
    pub message: String,
}

/// A value of the pure crates in the shape the API gives it.
pub fn same_shape<A: Serialize, B: for<'de> Deserialize<'de>>(value: &A) -> Option<B> {
    serde_json::to_value(value).and_then(serde_json::from_value).ok()
}
