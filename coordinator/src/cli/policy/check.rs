//! `check`, `prove` and `test`: what a policy says about itself.

use std::path::Path;

use serde_json::json;
use warren_config::item::ItemTree;
use warren_config::proof::{self, Proof};
use warren_config::question;
use warren_config::resolve::{Finding, Source};
use warren_wire::id::Digest;

use super::{generations, proof_line, review};
use crate::cli::policy_file::{self, Faulty};
use crate::cli::reply::{Review, TestOutcome, same_shape};
use crate::cli::{Context, Failure, Outcome, output};
use crate::clock;

pub fn check(context: &Context, path: &Path) -> Outcome {
    let sources = policy_file::read(path)?;
    if context.json {
        return check_json(&sources);
    }
    let resolved = policy_file::resolve(&sources).map_err(Faulty::into_finding)?;
    if !resolved.warnings.is_empty() {
        let text = warren_config::resolve::render(&resolved.warnings, &sources, policy_file::colour());
        output::error_line(text.trim_end());
    }
    let (p, now) = (&resolved.policy, clock::now());
    let tests = question::run_tests(p, &[], now);
    let proofs = proof::prove(p, &Default::default(), now);
    let failed = policy_file::broken(&resolved.claims, &tests, &proofs);
    for f in &failed {
        let text = format!("{}:{}:{}: {}", f.file, f.line, f.column, f.message);
        output::line(&crate::text::plain(&text, 2000));
    }
    output::line(&format!(
        "{} service(s), {} grant(s), {} test(s), {} invariant(s): {} fault(s), {} warning(s)",
        p.services.len(),
        p.grants.len(),
        tests.len(),
        proofs.len(),
        failed.len(),
        resolved.warnings.len()
    ));
    if failed.is_empty() { Ok(()) } else { Err(Failure::shown()) }
}

fn check_json(sources: &[Source]) -> Outcome {
    let resolved = match policy_file::resolve_now(sources) {
        Ok(resolved) => resolved,
        Err(faults) => {
            output::json(&json!({ "ok": false, "findings": faults.findings, "tests": [], "proofs": [] }));
            return Err(Failure::shown());
        }
    };
    let tests = question::run_tests(&resolved.policy, &[], clock::now());
    let proofs = proof::prove(&resolved.policy, &Default::default(), clock::now());
    let failed = policy_file::broken(&resolved.claims, &tests, &proofs);
    let ok = failed.is_empty();
    let findings: Vec<Finding> = resolved.warnings.into_iter().chain(failed).collect();
    let root = Digest(ItemTree::new(&resolved.policy).root().0);
    output::json(&json!({ "ok": ok, "findings": findings, "tests": tests, "proofs": proofs, "root": root }));
    if ok { Ok(()) } else { Err(Failure::shown()) }
}

/// Every invariant with its proof or its witness.
pub async fn prove(context: &Context, path: Option<&Path>) -> Outcome {
    let proofs = match path {
        Some(path) => {
            let resolved = policy_file::resolve(&policy_file::read(path)?).map_err(Faulty::into_finding)?;
            proof::prove(&resolved.policy, &Default::default(), clock::now())
        }
        None => in_force(context).await?.proofs,
    };
    match context.json {
        true => output::json(&proofs),
        false if proofs.is_empty() => output::line("the policy has no [[invariant]]"),
        false => proofs.iter().for_each(|proof| output::line(&proof_line(proof))),
    }
    if proofs.iter().all(Proof::holds) { Ok(()) } else { Err(Failure::shown()) }
}

/// Every `[[test]]` with its outcome.
pub async fn test(context: &Context, path: Option<&Path>) -> Outcome {
    let tests: Vec<TestOutcome> = match path {
        Some(path) => {
            let resolved = policy_file::resolve(&policy_file::read(path)?).map_err(Faulty::into_finding)?;
            same_shape(&question::run_tests(&resolved.policy, &[], clock::now())).unwrap_or_default()
        }
        None => in_force(context).await?.tests,
    };
    match context.json {
        true => output::json(&tests),
        false if tests.is_empty() => output::line("the policy has no [[test]]"),
        false => tests.iter().for_each(|test| {
            let word = if test.passed { "passes" } else { "fails" };
            output::line(&crate::text::plain(&format!("test {} {word}: {}", test.id, test.message), 600));
        }),
    }
    if tests.iter().all(|test| test.passed) { Ok(()) } else { Err(Failure::shown()) }
}

/// The policy in force, asked again of the network as it is.
async fn in_force(context: &Context) -> Result<Review, Failure> {
    let text = generations::fetch(context, None).await?;
    review(context, &text.sources).await
}
