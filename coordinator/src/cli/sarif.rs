//! `warren policy check --sarif`: what is wrong, as code review tools read it (SARIF 2.1.0, OASIS 2020).

use std::collections::BTreeSet;
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
    let (findings, ok) = findings(&sources, clock::now());
    output::json(&report(&findings));
    if ok { Ok(()) } else { Err(Failure::shown()) }
}

/// Faults, or warnings with the tests that fail and the invariants that do not hold.
fn findings(sources: &[resolve::Source], now: UnixTime) -> (Vec<Finding>, bool) {
    let resolved = match policy_file::resolve_now(sources) {
        Err(faults) => return (faults.findings, false),
        Ok(resolved) => resolved,
    };
    let tests = question::run_tests(&resolved.policy, &[], now);
    let proofs = proof::prove(&resolved.policy, &Default::default(), now);
    let failed = policy_file::broken(&resolved.claims, &tests, &proofs);
    let ok = failed.is_empty();
    (resolved.warnings.into_iter().chain(failed).collect(), ok)
}

fn of_finding(finding: &Finding) -> Value {
    let level = if finding.severity == Severity::Error { "error" } else { "warning" };
    let text = match &finding.hint {
        Some(hint) => format!("{} ({hint})", finding.message),
        None => finding.message.clone(),
    };
    let mut place = json!({ "artifactLocation": { "uri": uri(&finding.file) } });
    // Nothing is underlined where the whole file is meant.
    if !finding.span.is_empty() {
        place["region"] = json!({
            "startLine": finding.line, "startColumn": finding.column,
            "byteOffset": finding.span.start, "byteLength": finding.span.len(),
        });
    }
    json!({
        "ruleId": finding.id, "level": level, "message": { "text": text },
        "locations": [{ "physicalLocation": place }],
    })
}

/// A URI reference (RFC 3986): relative as the path was given, or absolute with a scheme.
fn uri(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let escaped: String = path
        .bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    if escaped.starts_with('/') { format!("file://{escaped}") } else { escaped }
}

fn report(findings: &[Finding]) -> Value {
    let ids: BTreeSet<&str> = findings.iter().map(|finding| finding.id).collect();
    let rules: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    let driver = json!({ "name": "warren", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    let results: Vec<Value> = findings.iter().map(of_finding).collect();
    let run = json!({ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri_reference() {
        assert_eq!(uri("policy.d/10 tags.toml"), "policy.d/10%20tags.toml");
        assert_eq!(uri("/srv/p:q.toml"), "file:///srv/p%3Aq.toml");
    }
}
