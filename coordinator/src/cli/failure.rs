//! How a command ends when it does not end well: a sentence, what to do, and one of three exit codes.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::output;
use crate::api::problem::{Kind, Problem};
use crate::authority::AuthorityError;
use crate::client::{ClientError, DownloadError};
use crate::text::{plain, plain_lines};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A finding or a refusal: exit 1.
    Finding,
    /// Usage or bad input: exit 2.
    Usage,
    /// The coordinator cannot be reached: exit 3.
    Unreachable,
}

#[derive(Debug)]
pub struct Failure {
    class: Class,
    message: String,
    hint: Option<String>,
    /// What was shown already, or says more than a sentence.
    details: Value,
    silent: bool,
}

impl Failure {
    pub fn finding(message: impl Into<String>) -> Failure {
        Failure::new(Class::Finding, message)
    }
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Class::Usage, message)
    }
    fn new(class: Class, message: impl Into<String>) -> Failure {
        Failure { class, message: message.into(), hint: None, details: Value::Null, silent: false }
    }
    /// The answer is no, and it was already shown.
    pub fn shown() -> Failure {
        Failure { silent: true, ..Failure::finding("") }
    }
    pub fn of_usage(error: &dyn std::fmt::Display) -> Failure {
        Failure::usage(error.to_string())
    }
    pub fn of_finding(error: &dyn std::fmt::Display) -> Failure {
        Failure::finding(error.to_string())
    }

    fn code(&self) -> u8 {
        match self.class {
            Class::Finding => 1,
            Class::Usage => 2,
            Class::Unreachable => 3,
        }
    }

    pub fn report(&self, json: bool) -> ExitCode {
        if !self.silent {
            match json {
                true => output::error_json(&json!({
                    "error": { "exit": self.code(), "message": self.message, "hint": self.hint, "details": self.details }
                })),
                false => self.report_text(),
            }
        }
        ExitCode::from(self.code())
    }

    fn report_text(&self) {
        output::error_line(&format!("error: {}", plain_lines(&self.message)));
        for line in detail_lines(&self.details) {
            output::error_line(&format!("  - {line}"));
        }
        if let Some(hint) = &self.hint {
            output::error_line(&format!("hint: {}", plain_lines(hint)));
        }
    }
}

/// Findings and failed tests of a refused policy, one line each.
fn detail_lines(details: &Value) -> Vec<String> {
    let text =
        |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(|t| plain(t, 400)).unwrap_or_default();
    let number = |v: &Value, key: &str| v.get(key).and_then(Value::as_u64).unwrap_or(0);
    let list = |key: &str| details.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let findings = list("findings").into_iter().map(|f| {
        format!(
            "{}:{}:{}: {}",
            text(&f, "file"),
            number(&f, "line"),
            number(&f, "column"),
            text(&f, "message")
        )
    });
    let named = |kind: &'static str, key: &str| {
        let lines =
            list(key).into_iter().map(|t| format!("{kind} {}: {}", text(&t, "id"), text(&t, "message")));
        lines.collect::<Vec<_>>()
    };
    findings.chain(named("test", "tests")).chain(named("invariant", "invariants")).collect()
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let class = match &problem {
            p if p.is(Kind::BadRequest) || p.is(Kind::TooLarge) => Class::Usage,
            p if p.is(Kind::Busy) => Class::Unreachable,
            _ => Class::Finding,
        };
        let problem = problem.into_document();
        let lists = [&problem.findings, &problem.tests, &problem.invariants];
        let details = match lists.iter().all(|list| list.is_empty()) {
            true => Value::Null,
            false => json!({
                "findings": problem.findings, "tests": problem.tests, "invariants": problem.invariants,
            }),
        };
        Failure { hint: problem.hint, details, ..Failure::new(class, problem.detail) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Problem(problem) => Failure::from(problem),
            other => Failure::new(Class::Unreachable, other.to_string()),
        }
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Failure {
        match error {
            DownloadError::Client(error) => error.into(),
            other => Failure::finding(other.to_string()),
        }
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Failure {
        Failure::usage(error.to_string())
    }
}
