//! The command `warren`. It has no other source than the local API; what needs the authority reads its file here, in
//! the administrator's own process, and sends only what it signed.

mod accounts;
mod args;
mod ask;
mod audit;
mod backup;
pub mod duration;
mod external;
mod failure;
mod flow;
mod flowline;
mod init;
mod key;
mod map;
mod names;
mod node;
mod output;
mod path;
mod plan;
mod policy;
mod policy_file;
mod policy_fmt;
mod relay;
mod reply;
mod sarif;
mod serve;
mod session;
mod status;
mod token;
mod top;
mod vouch;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::account::Accounts;
use crate::authority::Authority;
use crate::client::Client;
use crate::network::NetworkInfo;
use args::{Cli, Command, RelayCommand};
use failure::Failure;

type Outcome = Result<(), Failure>;

/// Where a command talks to, and how it shows what it learned.
struct Context {
    client: Client,
    json: bool,
}

impl Context {
    /// Reads the authority's file and makes sure that it belongs to the network the coordinator serves.
    async fn authority(&self, path: &Path) -> Result<(NetworkInfo, Authority), Failure> {
        let authority = Authority::read(path)?;
        let network: NetworkInfo = self.client.get("/v1/network").await?;
        authority.check(path, network.network, &network.authorities)?;
        Ok((network, authority))
    }
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Help and version are answers (exit 0), anything else is exit 2.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // What was typed could not be read, so neither could the flag: it is looked for as a word.
    if std::env::args_os().any(|word| word == "--json") {
        let text = error.render().to_string();
        return Failure::usage(text.trim_end().trim_start_matches("error: ")).report(true);
    }
    let _ = error.print();
    ExitCode::from(2)
}

fn run(cli: Cli) -> Outcome {
    let context = Context { client: Client::new(&cli.socket), json: cli.json };
    match cli.command {
        Command::Init(args) => init::run(&args, cli.json),
        Command::Serve(args) => serve::run(&args, &cli.socket),
        Command::Restore(args) => backup::restore(&args, cli.json),
        Command::Relay(RelayCommand::Run(args)) => relay::be(args),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| Failure::finding(format!("the command cannot start: {e}")))?;
            runtime.block_on(ask(&context, command))
        }
    }
}

/// Everything that asks the running coordinator.
async fn ask(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Token(command) => token::run(context, command).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Relay(command) => relay::run(context, command).await,
        Command::Policy(command) => policy::run(context, command).await,
        Command::Can(args) => ask::can(context, &args).await,
        Command::Why(args) => ask::why(context, &args).await,
        Command::Flow(command) => flow::run(context, command).await,
        Command::Names { node, limit } => names::run(context, node, limit).await,
        Command::Path { from, to } => path::run(context, &from, &to).await,
        Command::Map(args) => map::run(context, &args).await,
        Command::Top { count } => top::run(context, count).await,
        Command::Ui { scope } => key::ui(context, scope).await,
        Command::Key(command) => key::run(context, command).await,
        Command::Session(command) => session::run(context, command).await,
        Command::Audit(command) => audit::run(context, command).await,
        Command::Status => status::run(context).await,
        Command::Metrics => status::metrics(context).await,
        Command::Backup { file } => backup::backup(context, &file).await,
        Command::Init(_) | Command::Serve(_) | Command::Restore(_) => Ok(()),
    }
}

/// The user of this process, for acts that happen without a service to ask: `local:NAME`.
fn local_user() -> String {
    let uid = rustix::process::getuid().as_raw();
    Accounts::of_host()
        .user_name(uid)
        .map_or_else(|| format!("uid-{uid}"), |name| crate::text::plain(name, 64))
}
