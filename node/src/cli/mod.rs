//! The command line: one noun a file. A command returns what it found; this file prints it and chooses the exit code.

mod args;
mod doctor;
mod down;
mod enroll;
mod file;
mod flowline;
mod guard;
mod patience;
mod ping;
mod query;
mod restore;
mod text;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use serde_json::Value;
use warren_node_core::control::enrolment::EnrolError;
use warren_wire::frame::RefusalCode;

use crate::agent;
use crate::error::{Error, Exit};
use crate::link::EnrolFailure;
use crate::logs;
use crate::workload;
use args::{Arguments, Command, DnsCommand};
pub use file::FileError;

/// What a command has to say, and whether that is good news.
#[derive(Debug)]
pub struct Said {
    pub json: Value,
    pub text: String,
    pub exit: Exit,
}

impl Said {
    fn ok(json: Value, text: impl Into<String>) -> Said {
        Said { json, text: text.into(), exit: Exit::Ok }
    }
    fn nothing() -> Said {
        Said { json: Value::Null, text: String::new(), exit: Exit::Ok }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    // Neither says anything to a person, and they link nothing of the command line.
    match std::env::args_os().nth(1) {
        Some(word) if word == workload::KEEPER => return workload::keeper::run(),
        Some(word) if word == workload::HELPER => return workload::helper::run(),
        _ => {}
    }
    let settings = match file::of_this_call(&Arguments::command()) {
        Ok(settings) => settings,
        Err(e) => {
            complain(&Error::Settings(e), false);
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    let matches = settings.apply(Arguments::command()).try_get_matches();
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { Exit::Usage as u8 } else { Exit::Ok as u8 });
        }
    };
    let quiet = !matches!(arguments.command, Command::Up { .. } | Command::Run { .. });
    logs::start(arguments.common.log_format, quiet);
    agent::protect_memory();
    warren_kernel::memory::keep_few_arenas();
    let json = arguments.common.json;
    match carry_out(&arguments, &settings) {
        Ok(said) => {
            print(&said, json);
            ExitCode::from(said.exit as u8)
        }
        Err(e) => {
            complain(&e, json);
            ExitCode::from(e.exit() as u8)
        }
    }
}

fn carry_out(arguments: &Arguments, settings: &file::Settings) -> Result<Said, Error> {
    let common = &arguments.common;
    let options = common.options();
    match &arguments.command {
        Command::Up { enrol, run } => {
            let (state, kept) = enroll::member(&options, enrol, settings)?;
            let renews = enroll::has_token(enrol, settings);
            let run = agent::Options { renews, ..common.run_options(run) };
            let ended = run_agent(run, state, kept);
            if matches!(ended, Err(Error::LeaseEnded)) {
                enroll::begin_anew(&options)?;
            }
            ended
        }
        Command::Run { run } => {
            let (state, kept) = agent::open_member(&options.state)?;
            run_agent(common.run_options(run), state, kept)
        }
        Command::Enroll { enrol } => enroll::command(&options, enrol, settings),
        Command::Status => query::status(&options.socket),
        Command::Peers => query::peers(&options.socket),
        Command::Flows { watch: true, count, .. } => watch::flows(&options.socket, *count, common.json),
        Command::Flows { limit, .. } => query::flows(&options.socket, *limit),
        Command::Why { words } => query::why(&options.socket, words),
        Command::Path { peer } => query::path(&options.socket, peer),
        Command::Dns { what: DnsCommand::Query { name, kind } } => {
            query::dns_query(&options.socket, name, kind)
        }
        Command::Dns { what: DnsCommand::Restore { when_closed } } => {
            restore::command(&options, *when_closed)
        }
        Command::Dns { what: DnsCommand::Status } => query::dns_status(&options.socket),
        Command::Counters => query::counters(&options.socket),
        Command::Metrics => query::metrics(&options.socket),
        Command::Ping { to, count } => ping::command(&options.socket, to, *count),
        Command::Doctor => doctor::command(&options),
        Command::Guard => guard::command(&options),
        Command::Down => down::command(&options),
    }
}

fn run_agent(
    options: agent::Options,
    state: crate::state::StateDir,
    kept: agent::Kept,
) -> Result<Said, Error> {
    // Before there are threads: what is given up here is given up by all of them.
    let helper = match workload::Helper::start() {
        Ok(helper) => Some(helper),
        Err(e) => {
            tracing::warn!("no helper looks after workloads ({e}): flow records name none");
            None
        }
    };
    let runtime = runtime(2)?;
    let result = runtime.block_on(agent::run(options, state, kept, helper));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result.map(|()| Said::nothing())
}

/// The control runtime; packets never run on it.
fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("warren-control")
        .enable_all()
        .build()
        .map_err(Error::io("start the control runtime"))
}

fn print(said: &Said, json: bool) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A reader that went away (`| head`) is no error.
    let _ = match json {
        true if said.json.is_null() => Ok(()),
        true => writeln!(out, "{:#}", said.json),
        false if said.text.is_empty() => Ok(()),
        false => writeln!(out, "{}", said.text.trim_end()),
    };
}

fn complain(e: &Error, json: bool) {
    if json {
        println!("{:#}", serde_json::json!({ "error": e.to_string(), "exit": e.exit() as u8 }));
    }
    eprintln!("warren-node: {e}");
}

/// What to do about a refused enrolment, if the refusal itself does not say it.
pub fn hint(failure: &EnrolFailure) -> &'static str {
    let EnrolFailure::Refused(e) = failure else { return "" };
    let new_token = "; ask the administrator for a new one (`warren token create`)";
    match e {
        EnrolError::Refused { message, .. } if message.contains("warren token create") => "",
        EnrolError::Refused { code, .. } => match code {
            RefusalCode::TokenUnknown
            | RefusalCode::TokenExpired
            | RefusalCode::TokenSpent
            | RefusalCode::TokenRevoked => new_token,
            RefusalCode::NameTaken | RefusalCode::NameNotAllowed => "; choose another with --name",
            RefusalCode::Overloaded => "; try again in a minute, the token is still good",
            _ => "",
        },
        EnrolError::Expired { .. } => {
            "; `warren token create` makes it. If the coordinator's time is wrong, correct its clock first"
        }
        _ => "",
    }
}
