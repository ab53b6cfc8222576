//! Faults of TOML itself, in words for the author of a policy.

use std::ops::Range;

use toml::de::Error;

use super::Spot;
use crate::resolve::report::Report;

/// How deep values may stand within each other: the limit of the TOML reader.
pub(super) const MAX_DEPTH: usize = 80;

/// Reports the errors up to the first that swallows what comes after it.
pub(super) fn report(file: usize, text: &str, errors: &[Error], report: &mut Report<'_>) {
    let mut spans: Vec<(Range<usize>, &Error)> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error)).collect();
    spans.sort_by_key(|(span, _)| span.start);
    for (span, error) in spans {
        let swallows = swallows(text, error.message(), &span);
        let (message, hint) = match swallows {
            true if error.message().starts_with("missing comma") => {
                (error.message().to_owned(), Some("is the list above closed with `]`?".to_owned()))
            }
            true => {
                let hint = "close it on its line; what comes after is looked at then".to_owned();
                (error.message().to_owned(), Some(hint))
            }
            false => told(error.message()),
        };
        let spot = Spot { file, span };
        report.error("syntax", &spot, message, hint);
        if swallows {
            return report.blind_after(spot);
        }
    }
}

/// A string or a list that is not closed: whatever follows is read as a part of it.
fn swallows(text: &str, message: &str, span: &Range<usize>) -> bool {
    let before = text.get(..span.start).unwrap_or_default();
    let first =
        before.lines().next_back().is_none_or(|line| before.ends_with('\n') || line.trim().is_empty());
    message.starts_with("invalid basic string") || message.starts_with("missing comma") && first
}

fn told(message: &str) -> (String, Option<String>) {
    if message.starts_with("cannot recurse further") {
        let message = format!("lists and tables are nested deeper than {MAX_DEPTH} levels");
        return (message, Some("no policy needs more than three".to_owned()));
    }
    let hint = message.starts_with("duplicate key").then(|| {
        "it stands above already: write both as one; of [[grant]], [[invariant]] and [[test]] there may be many".to_owned()
    });
    (message.to_owned(), hint)
}
