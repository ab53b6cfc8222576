//! `diff`: who gains and who loses what.

use std::path::Path;

use warren_config::question;
use warren_config::resolve::Resolved;

use super::{review, texts};
use crate::cli::policy_file::{self, Faulty};
use crate::cli::reply::{Diff, Tuple, same_shape};
use crate::cli::{Context, Failure, Outcome, output};
use crate::clock;

pub fn files(context: &Context, old: &Path, new: &Path) -> Outcome {
    let load = |path: &Path| -> Result<Resolved, Failure> {
        policy_file::resolve(&policy_file::read(path)?).map_err(Faulty::into_usage)
    };
    let (old, new) = (load(old)?, load(new)?);
    let diff = question::diff(&old.policy, &new.policy, &[], clock::now());
    show(context.json, &same_shape(&diff).unwrap_or_default());
    Ok(())
}

/// Against the policy in force.
pub async fn in_force(context: &Context, path: &Path) -> Outcome {
    let sources = texts(policy_file::read(path)?);
    let review = review(context, &sources).await?;
    show(context.json, &review.diff);
    Ok(())
}

pub fn show(json: bool, diff: &Diff) {
    if json {
        return output::json(diff);
    }
    for line in lines(diff) {
        output::line(&line);
    }
}

fn lines(diff: &Diff) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_difference_is_said_in_lines_and_no_difference_in_words() {
        assert_eq!(lines(&Diff::default()), ["no difference: nobody gains or loses anything"]);
        let tuple: Value = json!({ "from": "tag:web", "to": "x\u{1b}[0m", "listen": { "protocol": "tcp", "first": 1, "last": 2 } });
        let diff: Diff = serde_json::from_value(json!({ "gained": [tuple], "lost": [] })).unwrap();
        assert_eq!(lines(&diff), ["+ tag:web -> x\\u{1b}[0m tcp/1-2"]);
    }
}
