//! `warren policy`. What is signed is computed here from the files that are sent; the coordinator's word about them
//! is only compared.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use warren_config::item::ItemTree;
use warren_config::policy::Mode;
use warren_config::proof::{self, Proof};
use warren_config::question;
use warren_config::resolve::{Finding, Resolved, Source};
use warren_coordinator_core::change::SourceText;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::query::PolicyText;
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::status::{Behind, PolicyRow};
use warren_wire::id::{Digest, Generation};
use warren_wire::issue;
use warren_wire::trust::SignedPolicy;

use super::args::{ApplyArgs, ApplyHow, AuthorityArg, PolicyCommand};
use super::policy_file::{self, Faulty};
use super::reply::{Diff, Review, TestOutcome, Tuple, same_shape};
use super::{Context, Failure, Outcome, output, vouch};
use crate::api::types::{Committed, ReviewAsked, StatusReply};
use crate::authority::Authority;
use crate::client::url;
use crate::clock;

pub async fn run(context: &Context, command: PolicyCommand) -> Outcome {
    match command {
        PolicyCommand::Check { path, sarif: true } => super::sarif::check(&path),
        PolicyCommand::Check { path, .. } => check(context, &path),
        PolicyCommand::Prove { path } => prove(context, path.as_deref()).await,
        PolicyCommand::Test { path } => test(context, path.as_deref()).await,
        PolicyCommand::Fmt { path, check } => super::policy_fmt::run(context, &path, check),
        PolicyCommand::Schema => {
            output::line(warren_config::schema::SCHEMA.trim_end());
            Ok(())
        }
        PolicyCommand::Diff { path, new: Some(new) } => diff_files(context, &path, &new),
        PolicyCommand::Diff { path, new: None } => diff_online(context, &path).await,
        PolicyCommand::Plan { path, days } => super::plan::run(context, &path, days).await,
        PolicyCommand::Apply(args) => apply_files(context, &args).await,
        PolicyCommand::History => history(context).await,
        PolicyCommand::Rollback(args) => {
            let authority = Authority::read(&args.authority.authority)?;
            let old = fetch(context, Some(args.generation)).await?;
            vouch::policy(&authority, &old, Some(args.generation))?;
            apply(context, &args.authority, old.sources, &args.how).await
        }
        PolicyCommand::Show { generation } => show(context, generation).await,
    }
}

fn check(context: &Context, path: &Path) -> Outcome {
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

pub(super) fn proof_line(proof: &Proof) -> String {
    let word = match proof.outcome {
        proof::Outcome::Proved => "is proved",
        proof::Outcome::Broken => "is broken",
        proof::Outcome::Undecided => "is not decided",
    };
    crate::text::plain(&format!("invariant {} {word}: {}", proof.id, proof.message), 2000)
}

/// Every invariant with its proof or its witness.
async fn prove(context: &Context, path: Option<&Path>) -> Outcome {
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
async fn test(context: &Context, path: Option<&Path>) -> Outcome {
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
    let text = fetch(context, None).await?;
    review(context, &text.sources).await
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

fn diff_files(context: &Context, old: &Path, new: &Path) -> Outcome {
    let load = |path: &Path| -> Result<Resolved, Failure> {
        policy_file::resolve(&policy_file::read(path)?).map_err(Faulty::into_usage)
    };
    let (old, new) = (load(old)?, load(new)?);
    let diff = question::diff(&old.policy, &new.policy, &[], clock::now());
    show_diff(context.json, &same_shape(&diff).unwrap_or_default());
    Ok(())
}

async fn diff_online(context: &Context, path: &Path) -> Outcome {
    let sources = texts(policy_file::read(path)?);
    let review = review(context, &sources).await?;
    show_diff(context.json, &review.diff);
    Ok(())
}

async fn review(context: &Context, sources: &[SourceText]) -> Result<Review, Failure> {
    let asked = ReviewAsked { sources: sources.to_vec() };
    Ok(context.client.post("/v1/policy/review", &asked).await?)
}

pub(super) fn texts(sources: Vec<Source>) -> Vec<SourceText> {
    sources.into_iter().map(SourceText::from).collect()
}

fn show_diff(json: bool, diff: &Diff) {
    if json {
        return output::json(diff);
    }
    for line in diff_lines(diff) {
        output::line(&line);
    }
}

fn diff_lines(diff: &Diff) -> Vec<String> {
    if diff.gained.is_empty() && diff.lost.is_empty() && diff.note.is_none() {
        return vec!["no difference: nobody gains or loses anything".to_owned()];
    }
    let line = |sign: &str, t: &Tuple| {
        crate::text::plain(&format!("{sign} {} -> {} {}", t.from, t.to, output::listen(&t.listen)), 400)
    };
    let lost = diff.lost.iter().map(|t| line("-", t));
    let gained = diff.gained.iter().map(|t| line("+", t));
    let note = diff.note.iter().map(|note| format!("note: {note}"));
    lost.chain(gained).chain(note).collect()
}

async fn apply_files(context: &Context, args: &ApplyArgs) -> Outcome {
    let sources = policy_file::read(&args.path)?;
    if !context.json {
        policy_file::resolve(&sources).map_err(Faulty::into_finding)?;
    }
    let sources = texts(sources);
    match args.dry_run {
        true => dry_run(context, &sources, &args.how).await,
        false => apply(context, &args.authority, sources, &args.how).await,
    }
}

async fn dry_run(context: &Context, sources: &[SourceText], how: &ApplyHow) -> Outcome {
    let review = review(context, sources).await?;
    if let Some(expected) = how.expect.filter(|e| *e != review.current) {
        return Err(moved(expected, review.current));
    }
    if context.json {
        output::json(&json!({ "dry_run": true, "would_be": review.current + 1, "review": review }));
    } else {
        warn(&review);
        output::line(&format!("generation {} would become {}:", review.current, review.current + 1));
        show_diff(false, &review.diff);
        if let Some(why) = &review.refused {
            output::line(&crate::text::plain(&format!("refused: {} ({})", why.message, why.hint), 600));
        }
        for test in review.tests.iter().filter(|test| !test.passed) {
            output::line(&crate::text::plain(&format!("test {} fails: {}", test.id, test.message), 600));
        }
        review.proofs.iter().filter(|p| !p.holds()).for_each(|proof| output::line(&proof_line(proof)));
        if review.observe {
            output::line(
                "the policy is in `observe` mode: everything would pass; applying it needs --allow-observe",
            );
        }
        output::line("nothing was changed (--dry-run)");
    }
    if review.is_good() { Ok(()) } else { Err(Failure::shown()) }
}

/// What the author should still know, one line each.
pub(super) fn warn(review: &Review) {
    for warning in &review.warnings {
        output::error_line(&crate::text::plain(&format!("warning: {warning}"), 600));
    }
}

fn moved(expected: Generation, current: Generation) -> Failure {
    Failure::finding(format!(
        "the policy in force is generation {current}, not {expected}: somebody changed it; look at it with `warren policy show`, then apply again"
    ))
}

async fn apply(
    context: &Context,
    authority: &AuthorityArg,
    sources: Vec<SourceText>,
    how: &ApplyHow,
) -> Outcome {
    let (network, authority) = context.authority(&authority.authority).await?;
    let review = review(context, &sources).await?;
    if let Some(expected) = how.expect.filter(|e| *e != review.current) {
        return Err(moved(expected, review.current));
    }
    let policy = sign_what(&sources, &review, how.allow_observe)?;
    vouch::numbers(context, &authority, review.epoch, review.current).await?;
    let head = issue::policy_head(&network.network, &policy, clock::now(), authority.key());
    let expect = Some(how.expect.unwrap_or(review.current));
    let command = Command::ApplyPolicy { sources, head, expect, allow_observe: how.allow_observe };
    let done: Committed = context.client.post("/v1/commands", &command).await?;
    if !context.json {
        warn(&review);
        show_diff(false, &review.diff);
        output::line(&format!("generation {} is in force (revision {})", done.generation, done.revision));
        super::status::warn_if_observing(context).await?;
    }
    let enforced = match how.wait {
        Some(_) => Some(wait_enforced(context, done.generation, how.timeout.0).await?),
        None => None,
    };
    if context.json {
        output::json(&json!({
            "generation": done.generation, "revision": done.revision, "epoch": done.epoch, "diff": review.diff,
            "warnings": review.warnings, "enforcement": enforced.as_ref().map(|s| &s.status.enforcement),
        }));
    }
    match enforced {
        Some(status) if !complete(&status, done.generation) => {
            Err(still_behind(&status, done.generation, how))
        }
        Some(status) if !context.json => {
            others(&status).iter().for_each(|line| output::line(line));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Nodes that were not waited for.
fn others(status: &StatusReply) -> Vec<String> {
    let one = |behind: &Behind| {
        let has = behind.enforces.map_or_else(
            || "has not said what it enforces".to_owned(),
            |generation| format!("enforces generation {generation}"),
        );
        crate::text::plain(&format!("not there: {} (away, {has}, since {})", behind.name, behind.since), 300)
    };
    status.status.enforcement.behind.iter().filter(|behind| !behind.online).map(one).collect()
}

/// Root and count from the very text that is sent, by this program's own reading of it.
fn sign_what(sources: &[SourceText], review: &Review, observe: bool) -> Result<SignedPolicy, Failure> {
    let own: Vec<Source> = sources.iter().map(Source::from).collect();
    let resolved = policy_file::resolve(&own).map_err(Faulty::into_finding)?;
    let tree = ItemTree::new(&resolved.policy);
    if Digest(tree.root().0).to_string() != review.root {
        return Err(Failure::finding(
            "the coordinator reads this policy differently than this program: use programs of the same version on both ends; nothing was signed",
        ));
    }
    if (resolved.policy.settings.mode == Mode::Observe) != review.observe {
        return Err(Failure::finding(
            "the coordinator disagrees about the policy's mode; nothing was signed",
        ));
    }
    // Refused here and not only by the coordinator: it would hold the signature all the same.
    if review.observe && !observe {
        let refusal = Refusal::ObserveNotAllowed;
        return Err(Failure::finding(format!("{refusal}. {}", refusal.hint())));
    }
    Ok(SignedPolicy {
        epoch: review.epoch,
        generation: review.current.saturating_add(1),
        root: tree.root(),
        items: tree.len(),
    })
}

fn complete(status: &StatusReply, generation: Generation) -> bool {
    let e = &status.status.enforcement;
    e.generation >= generation && e.behind.iter().all(|behind| !behind.online)
}

/// Asks until every node that is online enforces the generation, or the time is up; shows each change on the way.
async fn wait_enforced(
    context: &Context,
    generation: Generation,
    seconds: u64,
) -> Result<StatusReply, Failure> {
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut shown = String::new();
    loop {
        let status: StatusReply = context.client.get("/v1/status").await?;
        let summary = &status.status.enforcement.summary;
        if !context.json && *summary != shown {
            output::line(&crate::text::plain(summary, 400));
            shown.clone_from(summary);
        }
        if complete(&status, generation) || tokio::time::Instant::now() >= end {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn still_behind(status: &StatusReply, generation: Generation, how: &ApplyHow) -> Failure {
    let e = &status.status.enforcement;
    let names: Vec<String> = e
        .behind
        .iter()
        .take(20)
        .map(|b| format!("{} ({}, since {})", b.name, if b.online { "online" } else { "away" }, b.since))
        .collect();
    Failure::finding(format!(
        "generation {generation} is in force, but after {} only {} of {} nodes enforce it; behind: {}",
        how.timeout,
        e.enforced,
        e.of,
        names.join(", ")
    ))
}

pub(super) async fn fetch(context: &Context, generation: Option<Generation>) -> Result<PolicyText, Failure> {
    let query = [("generation", generation.map(|g| g.to_string()))];
    Ok(context.client.get(&url(&["v1", "policy"], &query)).await?)
}

async fn show(context: &Context, generation: Option<Generation>) -> Outcome {
    let policy = fetch(context, generation).await?;
    if context.json {
        output::json(&policy);
        return Ok(());
    }
    output::error_line(&format!("generation {}, root {}", policy.generation, policy.root));
    for source in &policy.sources {
        if policy.sources.len() > 1 {
            output::line(&format!("# --- {}", crate::text::plain(&source.file, 200)));
        }
        output::line(crate::text::plain_lines(&source.text).trim_end());
    }
    Ok(())
}

async fn history(context: &Context) -> Outcome {
    let rows: Vec<PolicyRow> = context.client.get("/v1/policy/history").await?;
    if context.json {
        output::json(&rows);
        return Ok(());
    }
    super::status::warn_if_observing(context).await?;
    let cells = rows.iter().map(|p| {
        vec![
            p.generation.to_string(),
            p.applied.to_string(),
            p.by.clone(),
            p.root.chars().take(16).collect(),
            p.items.to_string(),
            p.files.join(", "),
            if p.current { "in force".to_owned() } else { String::new() },
        ]
    });
    let head = ["GENERATION", "APPLIED", "BY", "ROOT", "ITEMS", "FILES", ""];
    output::table(
        &head,
        cells.collect(),
        "no policy was ever applied: everything is denied; see `warren policy apply`",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_difference_is_said_in_lines_and_no_difference_in_words() {
        assert_eq!(diff_lines(&Diff::default()), ["no difference: nobody gains or loses anything"]);
        let tuple: Value = json!({ "from": "tag:web", "to": "x\u{1b}[0m", "listen": { "protocol": "tcp", "first": 1, "last": 2 } });
        let diff: Diff = serde_json::from_value(json!({ "gained": [tuple], "lost": [] })).unwrap();
        assert_eq!(diff_lines(&diff), ["+ tag:web -> x\\u{1b}[0m tcp/1-2"]);
    }
}
