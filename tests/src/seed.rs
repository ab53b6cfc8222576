//! What the environment says about seeds: `WARREN_SEED` runs one history again, `WARREN_HISTORIES` says how many to run.

use std::env;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    match text.trim().parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is `{text}`: it must be a number"),
    }
}

/// The seed of a scenario: `WARREN_SEED`, else the one given.
pub fn or(default: u64) -> u64 {
    number("WARREN_SEED").unwrap_or(default)
}

/// Seeds of the histories to run: only `WARREN_SEED` if it is set, else `WARREN_HISTORIES` many, else `default` many.
pub fn histories(default: u64) -> Vec<u64> {
    match number("WARREN_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("WARREN_HISTORIES").unwrap_or(default)).collect(),
    }
}
