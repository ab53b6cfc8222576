//! `warren-node`: see [`warren_node`].

fn main() -> std::process::ExitCode {
    warren_node::cli::main()
}
