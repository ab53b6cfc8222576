//! The last line of an attack program.

use std::process::ExitCode;

/// `verdict: undecided: …`: the attack was made, and what it did cannot be seen from here.
pub fn undecided(what: &str) -> ExitCode {
    println!("verdict: undecided: {what}");
    ExitCode::from(3)
}

/// `verdict: held: …` or `verdict: broken: …`.
pub fn verdict(held: bool, what: &str) -> ExitCode {
    println!("verdict: {}: {what}", if held { "held" } else { "broken" });
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
