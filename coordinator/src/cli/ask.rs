//! `warren can` and `warren why`.

use serde_json::json;
use warren_config::proof;
use warren_config::question::{self, Question};
use warren_config::resolve::Source;

use super::args::{CanArgs, WhyArgs};
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
        Some(_) => offline(args)?,
        None => {
            let query = [
                ("from", Some(args.from.clone())),
                ("to", Some(args.to.clone())),
                ("port", args.port.clone()),
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

/// Over every node that could be enrolled. The policy in force is read here and judged by this program.
async fn ever(context: &Context, args: &CanArgs) -> Outcome {
    let sources = match &args.policy {
        Some(path) => policy_file::read(path)?,
        None => super::policy::fetch(context, None).await?.sources.iter().map(Source::from).collect(),
    };
    let resolved = policy_file::resolve(&sources).map_err(Faulty::into_usage)?;
    let bad = |e: question::QuestionError| Failure::of_usage(&e);
    let asked = Question {
        from: question::parse_selector(&args.from).map_err(bad)?,
        to: question::parse_target(&args.to, args.port.as_deref()).map_err(bad)?,
        at: clock::now(),
    };
    question::check(&resolved.policy, &asked).map_err(bad)?;
    let found = proof::ever(&resolved.policy, &asked.from, &asked.to, args.via.is_some(), asked.at);
    let witness = found.map_err(|undecided| Failure::of_finding(&undecided))?;
    if context.json {
        output::json(&json!({ "yes": witness.is_some(), "proof": witness.is_none(), "witness": witness }));
    } else {
        let text = match &witness {
            Some(witness) => format!("yes: {witness}"),
            None => format!("no: no node of {} that could be enrolled ever reaches {}", asked.from, asked.to),
        };
        output::line(&crate::text::plain(&text, 2000));
    }
    if witness.is_some() { Ok(()) } else { Err(Failure::shown()) }
}

/// Over the nodes a policy file alone can speak of.
fn offline(args: &CanArgs) -> Result<Answer, Failure> {
    let path = args.policy.as_deref().unwrap_or(std::path::Path::new("."));
    let sources = policy_file::read(path)?;
    let resolved = policy_file::resolve(&sources).map_err(Faulty::into_usage)?;
    let bad = |e: question::QuestionError| Failure::of_usage(&e);
    let asked = Question {
        from: question::parse_selector(&args.from).map_err(bad)?,
        to: question::parse_target(&args.to, args.port.as_deref()).map_err(bad)?,
        at: clock::now(),
    };
    let answer = question::can(&resolved.policy, &[], &asked).map_err(bad)?;
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
    let query =
        [("from", Some(args.from.clone())), ("to", Some(args.to.clone())), ("port", args.port.clone())];
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
