//! What can be typed, a file a noun.

mod ask;
mod key;
mod node;
mod policy;
mod relay;
mod seen;
mod service;
mod token;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use warren_config::name::Name;

use crate::{authority, serve, state_dir};

pub use ask::{CanArgs, Via, WhyArgs};
pub use key::{KeyCommand, KeyScope, SessionCommand};
pub use node::{AddExternalArgs, NodeCommand, NodeTagArgs, PlaceArgs};
pub use policy::{ApplyArgs, ApplyHow, PolicyCommand};
pub use relay::{RelayAddArgs, RelayCommand, RelayRunArgs};
pub use seen::{AuditCommand, FlowArgs, FlowCommand, MapArgs};
pub use service::{InitArgs, LogFormat, LogLevel, RestoreArgs, ServeArgs};
pub use token::{TokenCommand, TokenCreateArgs, pick_token};

/// Coordinator of a Warren network, and the command to administer it.
///
/// Exit codes: 0 ok, 1 a finding or a refusal, 2 usage or bad input, 3 the coordinator cannot be reached.
#[derive(Debug, Parser)]
#[command(name = "warren", version, max_term_width = 100)]
pub struct Cli {
    /// Write JSON to standard output, errors as JSON to standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// The coordinator's local socket.
    #[arg(long, global = true, value_name = "PATH", env = "WARREN_SOCKET", default_value = serve::DEFAULT_SOCKET)]
    pub socket: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new network: authority key, online key, store. Refuses to touch what exists.
    Init(InitArgs),
    /// Run the coordinator.
    Serve(ServeArgs),
    /// Enrolment tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Nodes of the network.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Relays: programs that carry what finds no direct path, beside the coordinator's own.
    #[command(subcommand)]
    Relay(RelayCommand),
    /// The policy: who may open a connection to which service.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// May FROM open a connection to TO? Every pair and every port must pass for a yes.
    Can(CanArgs),
    /// Why does one node (not) reach another on one port?
    Why(WhyArgs),
    /// Flows: who talks to whom, and what decided it.
    #[command(subcommand)]
    Flow(FlowCommand),
    /// Names that were asked on the nodes, if the policy says `report = "names"` in [dns].
    Names {
        /// Only on this one: name, id or address.
        #[arg(long)]
        node: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Which way packets take between two nodes, both directions, as the nodes tell it: every place, its last answer, and why the one in use is used.
    Path {
        /// Name, id or address.
        from: String,
        /// The same.
        to: String,
    },
    /// Who talked to whom: a tree of what was reached, and by whom.
    Map(MapArgs),
    /// Flows, nodes and refusals, live in the terminal; with --json one object a second.
    Top {
        /// With --json: end after so many.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// A link that opens the page signed in.
    Ui {
        /// What the page may do.
        #[arg(long, value_enum, default_value = "operate")]
        scope: KeyScope,
    },
    /// Keys of the HTTP API.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Who is signed in on the page.
    #[command(subcommand)]
    Session(SessionCommand),
    /// The log of every change.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The network at a glance: who enforces what, who is behind, alarms.
    Status,
    /// What a scraper of `/metrics` is told: the OpenMetrics text format.
    Metrics,
    /// Copy the running coordinator's log, settings and online key into one new file (0600; keep it secret).
    Backup {
        /// The file to write; it must not exist.
        file: PathBuf,
    },
    /// Make a state directory from a backup, in a new epoch, with the current policy signed again.
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub struct StateArg {
    /// The state directory.
    #[arg(long, value_name = "DIR", env = "WARREN_STATE", default_value = state_dir::DEFAULT_DIR)]
    pub state: PathBuf,
}

#[derive(Debug, Args)]
pub struct AuthorityArg {
    /// The authority's key file: what this command signs with.
    #[arg(long, value_name = "FILE", env = "WARREN_AUTHORITY", default_value = authority::DEFAULT_PATH)]
    pub authority: PathBuf,
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|e| e.to_string())
}

/// `web` and `tag:web` are the same tag.
fn tag(text: &str) -> Result<Name, String> {
    name(text.strip_prefix("tag:").unwrap_or(text))
}

fn host_port(text: &str) -> Result<String, String> {
    match warren_wire::token::is_host_port(text) {
        true => Ok(text.to_owned()),
        false => Err("write HOST:PORT, for example coord.example.com:7946 or [2001:db8::1]:7946".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_has_no_way_to_be_told_of_an_authority() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        assert!(serve.get_arguments().all(|arg| !arg.get_id().as_str().contains("authority")));
        assert!(Cli::try_parse_from(["warren", "serve", "--authority", "x"]).is_err());
    }
}
