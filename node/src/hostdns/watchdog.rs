//! A process that outlives the agent by a moment: when its standard input ends, the agent has, and it puts back what the
//! agent changed. So a `kill -9` leaves no host without names.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::HostDnsError;

/// It is this same program.
const PROGRAM: &str = "/proc/self/exe";

pub fn start(interface: &str) -> Result<Child, HostDnsError> {
    use std::os::unix::process::CommandExt;
    Command::new(PROGRAM)
        .args(["--interface", interface, "dns", "restore", "--when-closed"])
        // A group of its own: what ends the agent's group must not end it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| HostDnsError::File { what: "run", path: PathBuf::from(PROGRAM), source })
}

/// Blocks until whoever holds the other end is gone.
pub fn wait_for_end() {
    let mut input = std::io::stdin().lock();
    let mut buffer = [0; 64];
    while input.read(&mut buffer).is_ok_and(|n| n > 0) {}
}
