//! `warren policy check --sarif`: what is wrong, as code review tools read it (SARIF 2.1.0, OASIS 2020).

use std::path::Path;

use serde_json::{Value, json};
use warren_config::proof;
use warren_config::question;
use warren_config::resolve::{self, Finding, Severity};
use warren_config::time::UnixTime;

use super::{Failure, Outcome, output, policy_file};
use crate::clock;

pub fn check(path: &Path) -> Outcome {
    let sources = policy_file::read(path)?;
    let first = sources.first().map(|source| source.file.clone()).unwrap_or_default();
    let (results, ok) = results(&sources, &first, clock::now());
    output::json(&report(results));
    if ok { Ok(()) } else { Err(Failure::shown()) }
}

/// Faults and warnings where they stand; failed tests and broken invariants by their ids, in the first file.
fn results(sources: &[resolve::Source], first: &str, now: UnixTime) -> (Vec<Value>, bool) {
    let policy = match resolve::resolve(sources) {
        Err(faults) => return (faults.findings.iter().map(of_finding).collect(), false),
        Ok(resolved) => resolved,
    };
    let mut results: Vec<Value> = policy.warnings.iter().map(of_finding).collect();
    let warnings = results.len();
    for test in question::run_tests(&policy.policy, &[], now).iter().filter(|test| !test.passed) {
        results.push(plain("test-fails", &format!("test {}: {}", test.id, test.message), first));
    }
    for proof in proof::prove(&policy.policy, &Default::default(), now).iter().filter(|p| !p.holds()) {
        results.push(plain("invariant-broken", &format!("invariant {}: {}", proof.id, proof.message), first));
    }
    let ok = results.len() == warnings;
    (results, ok)
}

fn of_finding(finding: &Finding) -> Value {
    let level = if finding.severity == Severity::Error { "error" } else { "warning" };
    let text = match &finding.hint {
        Some(hint) => format!("{} ({hint})", finding.message),
        None => finding.message.clone(),
    };
    let region = json!({
        "startLine": finding.line, "startColumn": finding.column,
        "byteOffset": finding.span.start, "byteLength": finding.span.len(),
    });
    let place = json!({ "artifactLocation": { "uri": finding.file }, "region": region });
    json!({
        "ruleId": finding.id, "level": level, "message": { "text": text },
        "locations": [{ "physicalLocation": place }],
    })
}

fn plain(rule: &str, text: &str, file: &str) -> Value {
    json!({
        "ruleId": rule, "level": "error", "message": { "text": text },
        "locations": [{ "physicalLocation": { "artifactLocation": { "uri": file } } }],
    })
}

fn report(results: Vec<Value>) -> Value {
    let driver = json!({ "name": "warren", "version": env!("CARGO_PKG_VERSION") });
    let run = json!({ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run],
    })
}
