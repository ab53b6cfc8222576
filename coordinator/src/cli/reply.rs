//! Answers of the API whose types in the pure crates can only be written, read here field by field.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use warren_config::policy::Listen;
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

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Tuple {
    pub from: String,
    pub to: String,
    pub listen: Listen,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Review {
    pub current: Generation,
    pub epoch: u64,
    pub root: String,
    pub items: u64,
    pub observe: bool,
    pub warnings: Vec<Value>,
    pub tests: Vec<TestOutcome>,
    #[serde(default)]
    pub proofs: Vec<warren_config::proof::Proof>,
    pub diff: Diff,
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
