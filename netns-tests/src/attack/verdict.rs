//! The last line of an attack program.

use std::process::ExitCode;

/// `verdict: held: …` or `verdict: broken: …`.
pub fn verdict(held: bool, what: &str) -> ExitCode {
    println!("verdict: {}: {what}", if held { "held" } else { "broken" });
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
