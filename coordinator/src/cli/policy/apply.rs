//! `apply`: signed here, in force there, and waited for.

use std::time::Duration;

use serde_json::json;
use warren_config::item::ItemTree;
use warren_config::policy::Mode;
use warren_config::resolve::Source;
use warren_coordinator_core::change::SourceText;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::status::Behind;
use warren_wire::id::{Digest, Generation};
use warren_wire::issue;
use warren_wire::trust::SignedPolicy;

use super::{compare, proof_line, review, texts, warn};
use crate::api::types::{Committed, StatusReply};
use crate::cli::args::{ApplyArgs, ApplyHow, AuthorityArg};
use crate::cli::policy_file::{self, Faulty};
use crate::cli::reply::Review;
use crate::cli::{Context, Failure, Outcome, output, status, vouch};
use crate::clock;

pub async fn files(context: &Context, args: &ApplyArgs) -> Outcome {
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
        compare::show(false, &review.diff);
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

fn moved(expected: Generation, current: Generation) -> Failure {
    Failure::finding(format!(
        "the policy in force is generation {current}, not {expected}: somebody changed it; look at it with `warren policy show`, then apply again"
    ))
}

pub async fn apply(
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
        compare::show(false, &review.diff);
        output::line(&format!("generation {} is in force (revision {})", done.generation, done.revision));
        status::warn_if_observing(context).await?;
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
