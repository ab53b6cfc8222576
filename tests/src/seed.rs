//! What the environment says about seeds: `WARREN_SEED` runs one history again, `WARREN_HISTORIES` says how many to run.

use std::env;
use std::ops::RangeInclusive;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    match text.trim().parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is `{text}`: it must be a number"),
    }
}

fn range(name: &str) -> Option<RangeInclusive<u64>> {
    let text = env::var(name).ok()?;
    let (first, last) = text.split_once('-').unwrap_or(("1", &text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) => Some(first..=last),
        _ => panic!("{name} is `{text}`: it must be a number, or two as in `5000-9999`"),
    }
}

/// The seed of a scenario: `WARREN_SEED`, else the one given.
pub fn or(default: u64) -> u64 {
    number("WARREN_SEED").unwrap_or(default)
}

/// Seeds of the histories to run: only `WARREN_SEED` if it is set, else `WARREN_HISTORIES` many (or from one to another: `5000-9999`), else
/// `default` many.
pub fn histories(default: u64) -> Vec<u64> {
    match number("WARREN_SEED") {
        Some(seed) => vec![seed],
        None => range("WARREN_HISTORIES").unwrap_or(1..=default).collect(),
    }
}
