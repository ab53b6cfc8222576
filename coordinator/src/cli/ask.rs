//! `warren can` and `warren why`.

use std::path::Path;

use warren_config::policy::Policy;
use warren_config::proof;
use warren_config::question::{self, Question};
use warren_coordinator_core::query::Ever;

use super::args::{CanArgs, Via, WhyArgs};
use super::policy_file::{self, Faulty};
use super::reply::{Answer, Passing, Why, same_shape};
use super::{Context, Failure, Outcome, output};
use crate::client::url;
use crate::clock;

pub async fn can(context: &Context, args: &CanArgs) -> Outcome {
    if args.ever {
        return ever(context, args).await;
    }
    let answer = match &args.policy {
        Some(path) => offline(args, path)?,
        None => {
            let query = [
                ("from", Some(args.from.clone())),
                ("to", Some(args.to.clone())),
                ("port", args.port.clone()),
                ("at", then(args.at.as_deref())?),
            ];
            context.client.get(&url(&["v1", "can"], &query)).await?
        }
    };
    if context.json {
        output::json(&answer);
    } else {
        show(&answer);
    }
    if answer.yes { Ok(()) } else { Err(Failure::shown()) }
}

/// A moment of the past, as the API wants it.
fn then(at: Option<&str>) -> Result<Option<String>, Failure> {
    at.map(|text| super::map::moment(text).map(|at| at.to_string())).transpose()
}

/// Over every node that could be enrolled. A coordinator counts with the tags that are worn, whoever owns them.
async fn ever(context: &Context, args: &CanArgs) -> Outcome {
    let answer = match &args.policy {
        Some(path) => ever_offline(args, path)?,
        None => {
            let query = [
                ("from", Some(args.from.clone())),
                ("to", Some(args.to.clone())),
                ("port", args.port.clone()),
                ("through", args.via.map(|Via::Any| "true".to_owned())),
            ];
            context.client.get(&url(&["v1", "ever"], &query)).await?
        }
    };
    if context.json {
        output::json(&answer);
    } else {
        let text = match &answer.witness {
            Some(witness) => format!("yes: {witness}"),
            None => format!("no: no node of {} that could be enrolled ever reaches {}", args.from, args.to),
        };
        output::line(&crate::text::plain(&text, 2000));
    }
    if answer.yes { Ok(()) } else { Err(Failure::shown()) }
}

/// Generation 0: a file has none.
fn ever_offline(args: &CanArgs, path: &Path) -> Result<Ever, Failure> {
    let (policy, asked) = question_of(args, path)?;
    question::check(&policy, &asked).map_err(|e| Failure::of_usage(&e))?;
    let found = proof::ever(&policy, &asked.from, &asked.to, args.via.is_some(), asked.at);
    let witness = found.map_err(|undecided| Failure::of_finding(&undecided))?;
    Ok(Ever { yes: witness.is_some(), proof: witness.is_none(), witness, generation: 0 })
}

fn question_of(args: &CanArgs, path: &Path) -> Result<(Policy, Question), Failure> {
    let resolved = policy_file::resolve(&policy_file::read(path)?).map_err(Faulty::into_usage)?;
    let bad = |e: question::QuestionError| Failure::of_usage(&e);
    let from = question::parse_selector(&args.from).map_err(bad)?;
    let to = question::parse_target(&args.to, args.port.as_deref()).map_err(bad)?;
    Ok((resolved.policy, Question { from, to, at: clock::now() }))
}

/// Over the nodes a policy file alone can speak of.
fn offline(args: &CanArgs, path: &Path) -> Result<Answer, Failure> {
    let (policy, asked) = question_of(args, path)?;
    let answer = question::can(&policy, &[], &asked).map_err(|e| Failure::of_usage(&e))?;
    same_shape(&answer).ok_or_else(|| Failure::finding("the answer cannot be shown"))
}

fn show(answer: &Answer) {
    output::line(if answer.yes { "yes" } else { "no" });
    for p in &answer.passes {
        output::line(&format!("  passes  {}", passing(p)));
    }
    for m in &answer.fails {
        let port = m.listen.as_ref().map(|l| format!(" {}", output::listen(l))).unwrap_or_default();
        output::line(&crate::text::plain(
            &format!("  fails   {} -> {}{port}: {}", m.from, m.to, m.reason),
            600,
        ));
    }
}

fn passing(p: &Passing) -> String {
    let text = format!(
        "{} -> {} {} (service {}, grant {})",
        p.from,
        p.to,
        output::listen(&p.listen),
        p.service,
        p.grant
    );
    crate::text::plain(&text, 600)
}

pub async fn why(context: &Context, args: &WhyArgs) -> Outcome {
    let query = [
        ("from", Some(args.from.clone())),
        ("to", Some(args.to.clone())),
        ("port", args.port.clone()),
        ("at", then(args.at.as_deref())?),
    ];
    let why: Why = context.client.get(&url(&["v1", "why"], &query)).await?;
    if context.json {
        output::json(&why);
    } else {
        output::line(if why.allowed { "allowed" } else { "refused" });
        if let Some(by) = &why.by {
            output::line(&format!("  by       {}", passing(by)));
        }
        output::line(&crate::text::plain(&format!("  because  {}", why.message), 800));
        if let Some(nearest) = &why.nearest {
            output::line(&crate::text::plain(&format!("  nearest  grant {nearest}"), 200));
        }
        if why.observe {
            output::line(
                "  NOTE     the policy is in `observe` mode: what is refused here passes and is only recorded",
            );
        }
        output::line(&format!("  policy   generation {}", why.generation));
    }
    if why.allowed { Ok(()) } else { Err(Failure::shown()) }
}
