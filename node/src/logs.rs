//! Logs: for people by default, JSON lines by flag, always to standard error. Nothing secret is ever given to a log.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Human,
    Json,
}

/// `RUST_LOG` syntax in `WARREN_LOG`; else `quiet` decides between warnings and all that an operator wants to know.
pub fn start(format: Format, quiet: bool) {
    // What the library says of answers it mistrusts holds the names that were asked for.
    let default = if quiet { "warn,hickory_net=off" } else { "info,quinn=warn,hickory_net=off" };
    let filter = EnvFilter::try_from_env("WARREN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match format {
        Format::Human => base.with_target(false).with_ansi(false).try_init(),
        Format::Json => base.json().try_init(),
    };
    // A second start in one process (tests) keeps the first.
    drop(set);
}
