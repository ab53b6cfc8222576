//! `warren policy plan`: what applying a policy would do, in words for whoever must agree to it.

use std::path::Path;

use super::policy::{proof_line, texts, warn};
use super::policy_file::{self, Faulty};
use super::reply::{Cut, Plan, Tuple};
use super::{Context, Failure, Outcome, output};
use crate::api::types::PlanAsked;
use crate::cli::duration::short;
use crate::text::plain;

const DAY: u64 = 24 * 3600;
/// Lines of seen flows under one loss.
const SHOWN: usize = 20;

pub async fn run(context: &Context, path: &Path, days: u32) -> Outcome {
    let sources = policy_file::read(path)?;
    if !context.json {
        policy_file::resolve(&sources).map_err(Faulty::into_finding)?;
    }
    let asked = PlanAsked { sources: texts(sources), within: u64::from(days) * DAY };
    let plan: Plan = context.client.post("/v1/policy/plan", &asked).await?;
    match context.json {
        true => output::json(&plan),
        false => {
            warn(&plan.review);
            lines(&plan, days).iter().for_each(|line| output::line(line));
        }
    }
    let good = plan.review.is_good() && plan.cuts.is_empty() && plan.unlisted == 0;
    if good { Ok(()) } else { Err(Failure::shown()) }
}

fn lines(plan: &Plan, days: u32) -> Vec<String> {
    let review = &plan.review;
    let mut lines = vec![format!("generation {} would become {}", review.current, review.current + 1)];
    let part = |lines: &mut Vec<String>, title: &str, more: Vec<String>| {
        if !more.is_empty() {
            lines.extend([String::new(), title.to_owned()]);
            lines.extend(more);
        }
    };
    part(&mut lines, "Gained:", review.diff.gained.iter().map(|t| row("+", t)).collect());
    part(&mut lines, "Lost:", losses(plan));
    if plan.ends_observing {
        lines.extend([
            String::new(),
            "Observing ends: what no grant allows is refused from then on.".to_owned(),
        ]);
        lines.extend(unobserved(plan));
    }
    if review.diff.gained.is_empty() && review.diff.lost.is_empty() {
        lines.extend([String::new(), "Nobody gains or loses a grant of anything.".to_owned()]);
    }
    if let Some(note) = &review.diff.note {
        lines.push(format!("Note: {note}"));
    }
    part(&mut lines, "It would be refused:", objections(plan));
    if review.observe {
        lines.push(
            "OBSERVE MODE: everything would pass and only be recorded; it takes --allow-observe".to_owned(),
        );
    }
    lines.push(String::new());
    lines.push(seen(plan, days));
    lines.push(summary(plan));
    lines
}

fn losses(plan: &Plan) -> Vec<String> {
    let of = |t: &Tuple| -> Vec<&Cut> { plan.cuts.iter().filter(|c| c.loss.as_ref() == Some(t)).collect() };
    plan.review.diff.lost.iter().flat_map(|t| [row("-", t)].into_iter().chain(cuts(&of(t)))).collect()
}

/// What passes today without any grant.
fn unobserved(plan: &Plan) -> Vec<String> {
    cuts(&plan.cuts.iter().filter(|cut| cut.loss.is_none()).collect::<Vec<_>>())
}

fn cuts(found: &[&Cut]) -> Vec<String> {
    let mut lines: Vec<String> = found.iter().take(SHOWN).map(|cut| seen_line(cut)).collect();
    if let Some(more) = found.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("      and {more} more pairs of nodes and ports (--json has all)"));
    }
    lines
}

fn seen_line(cut: &Cut) -> String {
    let (flows, bytes) = (counted(cut.flows, "flow"), output::bytes(cut.bytes));
    let listen = output::listen(&cut.listen);
    plain(
        &format!("      cuts {} -> {} {listen}: {flows}, {bytes}, last {}", cut.from, cut.to, cut.last),
        400,
    )
}

/// `+ nodes that wear web may open tcp/5432 at nodes that wear db  (service db, grant web-reads-db)`
fn row(sign: &str, t: &Tuple) -> String {
    let verb = if sign == "+" { "may open" } else { "may no longer open" };
    let by: Vec<String> =
        t.by.iter().map(|by| format!("service {}, grant {}", by.service, by.grant)).collect();
    let by = if by.is_empty() { String::new() } else { format!("  ({})", by.join("; ")) };
    let (from, to, listen) = (who(&t.from), who(&t.to), output::listen(&t.listen));
    plain(&format!("  {sign} {from} {verb} {listen} at {to}{by}"), 600)
}

/// A selector in words.
fn who(selector: &str) -> String {
    if selector == "all-nodes" {
        return "any node".to_owned();
    }
    let parts = || selector.split(" & ");
    let tags: Vec<&str> = parts().filter_map(|part| part.strip_prefix("tag:")).collect();
    match (parts().find_map(|part| part.strip_prefix("node:")), tags.as_slice()) {
        (Some(name), []) => format!("node {name}"),
        (Some(name), tags) => format!("node {name} wearing {}", tags.join(" and ")),
        (None, tags) => format!("nodes that wear {}", tags.join(" and ")),
    }
}

fn objections(plan: &Plan) -> Vec<String> {
    let review = &plan.review;
    let nodes = review.refused.iter().map(|why| format!("{} ({})", why.message, why.hint));
    let tests =
        review.tests.iter().filter(|t| !t.passed).map(|t| format!("test {} fails: {}", t.id, t.message));
    let proofs = review.proofs.iter().filter(|proof| !proof.holds()).map(proof_line);
    nodes.chain(tests).chain(proofs).map(|text| format!("  ! {}", plain(&text, 2000))).collect()
}

/// How far back the answer reaches, and what it cannot know.
fn seen(plan: &Plan, days: u32) -> String {
    let s = &plan.seen;
    let asked = counted(days.into(), "day");
    let mut text = match s.oldest {
        None => "No flow was ever stored: nothing can be said about what would be cut.".to_owned(),
        Some(oldest) if oldest > s.since => format!(
            "Looked at {} of the last {asked}; the store reaches back only to {oldest} ({} ago).",
            counted(s.records, "record"),
            short(crate::clock::now().since(oldest))
        ),
        Some(_) => format!("Looked at {} of the last {asked}.", counted(s.records, "record")),
    };
    if s.lost > 0 {
        text.push_str(&format!(" {} were lost before they were stored.", counted(s.lost, "record")));
    }
    text
}

fn summary(plan: &Plan) -> String {
    let diff = &plan.review.diff;
    let flows: u64 = plan.cuts.iter().map(|cut| cut.flows).sum();
    let more = match plan.unlisted {
        0 => String::new(),
        n => format!(", and those of {n} more pairs of nodes and ports"),
    };
    let (gained, lost) = (diff.gained.len(), diff.lost.len());
    format!("Plan: {gained} gained, {lost} lost; seen flows that would be cut: {flows}{more}.")
}

fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_said_in_words() {
        for (selector, words) in [
            ("all-nodes", "any node"),
            ("tag:a & tag:b", "nodes that wear a and b"),
            ("node:x", "node x"),
            ("node:x & tag:a", "node x wearing a"),
        ] {
            assert_eq!(who(selector), words);
        }
    }
}
