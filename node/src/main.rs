//! `warren-node`: see [`warren_node`].

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    warren_node::cli::main()
}
