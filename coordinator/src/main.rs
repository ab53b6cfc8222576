//! The command `warren`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    warren_coordinator::cli::main()
}
