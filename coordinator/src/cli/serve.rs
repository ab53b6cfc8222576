//! `warren serve`: logs and errors around [`crate::serve::run`].

use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::args::{LogFormat, LogLevel, ServeArgs};
use super::{Failure, Outcome};
use crate::serve::{self, Options, ServeError};
use crate::state_dir::StateError;

pub fn run(args: &ServeArgs, socket: &Path) -> Outcome {
    start_log(args.log_level, args.log_format);
    let options = Options {
        state: args.state.state.clone(),
        socket: socket.to_owned(),
        listen: args.listen,
        api: args.api.map(|api| api.0),
        ready_file: args.ready_file.clone(),
    };
    serve::run(&options).map_err(|error| match &error {
        ServeError::State(StateError::NotInitialised { .. }) | ServeError::Otlp(_) => {
            Failure::of_usage(&error)
        }
        _ => Failure::of_finding(&error),
    })
}

/// Only our own words below `info`: libraries log packets at `debug`.
pub(super) fn start_log(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "warn,warren_coordinator=debug,warren_coordinator_core=debug",
    };
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level)).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => log.with_ansi(false).with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).with_target(false).init(),
    }
}
