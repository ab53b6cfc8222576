//! The command `warren`.

fn main() -> std::process::ExitCode {
    warren_coordinator::cli::main()
}
