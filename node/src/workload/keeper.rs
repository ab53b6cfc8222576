//! Starts the helper, and starts it anew when it dies; says and hears nothing itself.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::{HELPER, RIGHTS, keep_only};

const AGAIN: Duration = Duration::from_secs(1);

/// Until the helper says that the agent is gone.
pub fn run() -> ExitCode {
    if let Err(e) = keep_only(RIGHTS) {
        eprintln!("warren-node: the workload helper's rights cannot be limited, so it does not start: {e}");
        return ExitCode::FAILURE;
    }
    raise_ambient();
    loop {
        // It inherits the socket as its standard input.
        let ended = Command::new("/proc/self/exe").arg(HELPER).stdin(Stdio::inherit()).status();
        match ended {
            Ok(status) if status.success() => return ExitCode::SUCCESS,
            Ok(status) => eprintln!("warren-node: the workload helper ended ({status}) and is started again"),
            Err(e) => eprintln!("warren-node: the workload helper cannot be started: {e}"),
        }
        std::thread::sleep(AGAIN);
    }
}

/// So that a helper that is not root keeps its rights over `execve`. Where that is not possible it has fewer.
fn raise_ambient() {
    use rustix::thread::{CapabilitySet, configure_capability_in_ambient_set};
    for right in [CapabilitySet::SYS_PTRACE, CapabilitySet::DAC_READ_SEARCH] {
        let _ = configure_capability_in_ambient_set(right, true);
    }
}
