//! `warren policy`. What is signed is computed here from the files that are sent; the coordinator's word about them
//! is only compared.

mod apply;
mod check;
mod compare;
mod generations;

use warren_config::proof::{self, Proof};
use warren_config::resolve::Source;
use warren_coordinator_core::change::SourceText;

use super::args::PolicyCommand;
use super::reply::Review;
use super::{Context, Failure, Outcome, output, vouch};
use crate::api::types::ReviewAsked;
use crate::authority::Authority;

pub async fn run(context: &Context, command: PolicyCommand) -> Outcome {
    match command {
        PolicyCommand::Check { path, sarif: true } => super::sarif::check(&path),
        PolicyCommand::Check { path, .. } => check::check(context, &path),
        PolicyCommand::Prove { path } => check::prove(context, path.as_deref()).await,
        PolicyCommand::Test { path } => check::test(context, path.as_deref()).await,
        PolicyCommand::Fmt { path, check } => super::policy_fmt::run(context, &path, check),
        PolicyCommand::Schema => {
            output::line(warren_config::schema::SCHEMA.trim_end());
            Ok(())
        }
        PolicyCommand::Diff { path, new: Some(new) } => compare::files(context, &path, &new),
        PolicyCommand::Diff { path, new: None } => compare::in_force(context, &path).await,
        PolicyCommand::Plan { path, days } => super::plan::run(context, &path, days).await,
        PolicyCommand::Apply(args) => apply::files(context, &args).await,
        PolicyCommand::History => generations::history(context).await,
        PolicyCommand::Rollback(args) => {
            let authority = Authority::read(&args.authority.authority)?;
            let old = generations::fetch(context, Some(args.generation)).await?;
            vouch::policy(&authority, &old, Some(args.generation))?;
            apply::apply(context, &args.authority, old.sources, &args.how).await
        }
        PolicyCommand::Show { generation } => generations::show(context, generation).await,
    }
}

pub(super) fn proof_line(proof: &Proof) -> String {
    let word = match proof.outcome {
        proof::Outcome::Proved => "is proved",
        proof::Outcome::Broken => "is broken",
        proof::Outcome::Undecided => "is not decided",
    };
    crate::text::plain(&format!("invariant {} {word}: {}", proof.id, proof.message), 2000)
}

async fn review(context: &Context, sources: &[SourceText]) -> Result<Review, Failure> {
    let asked = ReviewAsked { sources: sources.to_vec() };
    Ok(context.client.post("/v1/policy/review", &asked).await?)
}

pub(super) fn texts(sources: Vec<Source>) -> Vec<SourceText> {
    sources.into_iter().map(SourceText::from).collect()
}

/// What the author should still know, one line each.
pub(super) fn warn(review: &Review) {
    for warning in &review.warnings {
        output::error_line(&crate::text::plain(&format!("warning: {warning}"), 600));
    }
}
