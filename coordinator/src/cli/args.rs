//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use warren_config::name::Name;
use warren_coordinator_core::access::Scope;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::{Generation, IdentityKey, Revision, WgKey};

use super::duration::Seconds;
use crate::{authority, serve, state_dir};

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

#[derive(Debug, Args)]
pub struct InitArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// Where to write the authority's key file. The running service never reads it; keep it safe, and elsewhere if you can.
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// Name of the network.
    #[arg(long, default_value = "warren", value_parser = name)]
    pub name: Name,
    /// UDP address of the control channel.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:7946")]
    pub listen: SocketAddr,
    /// Address that nodes use to reach the coordinator; may be given more than once.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub advertise: Vec<String>,
    /// IPv4 range of the network's addresses.
    #[arg(long, value_name = "RANGE", default_value = "100.64.0.0/10")]
    pub v4_range: Ipv4Net,
    /// TCP address of the API and the page, or `off`. In clear on loopback, with TLS elsewhere.
    #[arg(long, value_name = "ADDR:PORT", default_value = crate::api::web::DEFAULT_LISTEN)]
    pub api: WebAddress,
    /// How long nodes go on without a word from the coordinator (from 1m).
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    pub freshness: Seconds,
    /// Members of this group may administer over the local socket.
    #[arg(long, default_value = state_dir::DEFAULT_GROUP)]
    pub group: String,
    /// Give the state directory to this user, as whom the service will run.
    #[arg(long, value_name = "USER")]
    pub service_user: Option<String>,
}

// There is no authority argument here, by design.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub state: StateArg,
    /// Instead of the address chosen at `init`.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// TCP address of the API and the page, or `off`, instead of the one in the settings.
    #[arg(long, value_name = "ADDR:PORT")]
    pub api: Option<WebAddress>,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "human")]
    pub log_format: LogFormat,
    #[arg(long, value_enum, default_value = "info")]
    pub log_level: LogLevel,
    /// Write where it listens (JSON) to this file when it is ready.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct MapArgs {
    /// About the past: a time like 2026-11-28T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// How long a stretch up to then (default 5m). Up to 10m it is exact to the second, up to 10h to the minute.
    #[arg(long, value_name = "DURATION")]
    pub within: Option<Seconds>,
    /// A table instead of a tree.
    #[arg(long)]
    pub table: bool,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key. It is printed once.
    Create {
        /// Who or what will use it.
        name: String,
        /// What it may do: look; send what the authority signed; or everything.
        #[arg(long, value_enum, default_value = "read")]
        scope: KeyScope,
        /// How long it is good for; without, until it is revoked.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<Seconds>,
    },
    /// All keys, and when they were used.
    List,
    /// End a key now.
    Revoke {
        /// Its id, or its name.
        key: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyScope {
    Read,
    Operate,
    Admin,
}

impl From<KeyScope> for Scope {
    fn from(scope: KeyScope) -> Scope {
        match scope {
            KeyScope::Read => Scope::Read,
            KeyScope::Operate => Scope::Operate,
            KeyScope::Admin => Scope::Admin,
        }
    }
}

/// An address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebAddress(pub Option<SocketAddr>);

impl std::str::FromStr for WebAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<WebAddress, String> {
        match text {
            "off" => Ok(WebAddress(None)),
            text => text.parse().map(|address| WebAddress(Some(address))).map_err(|_| {
                format!("`{text}` is neither `off` nor an address and port like 127.0.0.1:7947 or [::]:7947")
            }),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    pub state: StateArg,
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// A file made by `warren backup`.
    pub file: PathBuf,
    /// Give the state directory to this user, as whom the service will run.
    #[arg(long, value_name = "USER")]
    pub service_user: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token. It is shown once, on standard output, and stored nowhere.
    Create(TokenCreateArgs),
    List,
    /// Make a token unusable.
    Revoke {
        /// The token's key, as `token list` shows it (or its first characters, if only one begins so).
        token: String,
    },
}

#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// A tag its node will wear; may be given more than once.
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub tags: Vec<Name>,
    /// The one name its node will have.
    #[arg(long, conflicts_with = "name_prefix", value_parser = name)]
    pub name: Option<Name>,
    /// What its nodes' names must begin with.
    #[arg(long, value_name = "PREFIX")]
    pub name_prefix: Option<String>,
    /// How many nodes may enrol with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub uses: u32,
    /// How long it is good for.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub ttl: Seconds,
    /// Address the node uses to reach the coordinator, instead of the advertised ones; may be given more than once.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub coordinator: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    List {
        /// Also nodes that were revoked.
        #[arg(long)]
        revoked: bool,
    },
    Show {
        /// Name, id or overlay address.
        node: String,
    },
    /// Change the tags of a node: the given ones replace all, or --add and --remove some.
    Tag(NodeTagArgs),
    Rename {
        #[command(flatten)]
        authority: AuthorityArg,
        node: String,
        #[arg(value_parser = name)]
        new_name: Name,
    },
    /// Admit a device that runs no agent (phone, appliance) under the WireGuard key it has, and print its `wg-quick` file.
    AddExternal(AddExternalArgs),
    /// Issue a new `wg-quick` file for such a device and print it; the last one is out of date from then on.
    ExternalFile {
        #[command(flatten)]
        authority: AuthorityArg,
        /// Name, id or overlay address.
        node: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Put a node out of the network, for ever.
    Revoke {
        #[command(flatten)]
        authority: AuthorityArg,
        node: String,
        /// For the audit, and for whoever reads it later.
        #[arg(long, default_value = "")]
        why: String,
    },
}

#[derive(Debug, Args)]
pub struct AddExternalArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// The device's WireGuard public key (`wg pubkey`). Its private key stays on the device.
    #[arg(long, value_name = "KEY", value_parser = wg_key)]
    pub public_key: WgKey,
    /// A tag the device will wear; may be given more than once.
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub tags: Vec<Name>,
    /// Its name; `external-` and the beginning of its id if none is given.
    #[arg(long, value_parser = name)]
    pub name: Option<Name>,
    /// Where nodes may begin a handshake with it, if it has a fixed address; without it the device must begin.
    #[arg(long, value_name = "ADDR:PORT")]
    pub endpoint: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Where nodes may begin a handshake with it from now on, instead of where they did.
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "no_endpoint")]
    pub endpoint: Option<SocketAddr>,
    /// It has no fixed address (any more): the device must begin.
    #[arg(long)]
    pub no_endpoint: bool,
}

#[derive(Debug, Args)]
pub struct NodeTagArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    pub node: String,
    /// All tags from now on.
    #[arg(value_parser = tag, conflicts_with_all = ["add", "remove", "none"])]
    pub tags: Vec<Name>,
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub add: Vec<Name>,
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub remove: Vec<Name>,
    /// Take all tags away.
    #[arg(long, conflicts_with_all = ["add", "remove"])]
    pub none: bool,
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy without a coordinator: faults, warnings, its own tests, its invariants.
    Check {
        /// A policy file, or a directory of `*.toml` files.
        path: PathBuf,
        /// Write SARIF 2.1.0 to standard output, for code review.
        #[arg(long, conflicts_with = "json")]
        sarif: bool,
    },
    /// Prove every invariant over every node that could ever be enrolled, or show what breaks it.
    Prove {
        /// A policy file, or a directory of `*.toml` files; without it the policy in force, with the tags that are worn.
        path: Option<PathBuf>,
    },
    /// Run the policy's own tests.
    Test {
        /// A policy file, or a directory of `*.toml` files; without it the policy in force, with the nodes there are.
        path: Option<PathBuf>,
    },
    /// Lay policy files out anew, the one way: comments, order and meaning stay.
    Fmt {
        /// A policy file, or a directory of `*.toml` files.
        path: PathBuf,
        /// Write nothing; exit 1 if a file has another layout.
        #[arg(long)]
        check: bool,
    },
    /// Print the JSON Schema of a policy file, for editors that complete and check (taplo).
    Schema,
    /// Who gains and loses what: PATH against the policy in force, or PATH (old) against NEW without a coordinator.
    Diff {
        /// A policy file, or a directory of `*.toml` files.
        path: PathBuf,
        new: Option<PathBuf>,
    },
    /// What applying PATH would do, for its reviewer: who gains and loses what, and which flows that were seen it would cut.
    ///
    /// Changes nothing. Exit codes: 0 it could be applied and cuts nothing that was seen; 1 it would cut flows, or would be
    /// refused; 2 usage or unreadable; 3 the coordinator cannot be reached.
    Plan {
        /// A policy file, or a directory of `*.toml` files.
        path: PathBuf,
        /// How far back to look for flows. What is stored may reach less far: the answer says so.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Sign a policy and put it in force.
    Apply(ApplyArgs),
    /// Every generation that was applied.
    History,
    /// Apply an older generation's text as a new generation.
    Rollback(RollbackArgs),
    /// Show the policy in force, or an older generation.
    Show { generation: Option<Generation> },
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// A policy file, or a directory of `*.toml` files.
    pub path: PathBuf,
    /// Show what would change; change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub how: ApplyHow,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    pub generation: Generation,
    #[command(flatten)]
    pub how: ApplyHow,
}

#[derive(Debug, Args)]
pub struct ApplyHow {
    /// Refuse if another generation than this is in force.
    #[arg(long, value_name = "GENERATION")]
    pub expect: Option<Generation>,
    /// The policy may be in `observe` mode: everything passes and is only recorded.
    #[arg(long)]
    pub allow_observe: bool,
    /// Return only when every node that is online enforces it; the others are listed.
    #[arg(long, value_enum)]
    pub wait: Option<Wait>,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "wait")]
    pub timeout: Seconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    Enforced,
}

#[derive(Debug, Args)]
pub struct CanArgs {
    /// `tag:x`, `node:y`, `all-nodes`, `tag:a & tag:b`.
    pub from: String,
    /// `service:x`, `tag:x`, `node:y`.
    pub to: String,
    /// `tcp/8443`, `udp/53`, `icmp/echo`, …
    pub port: Option<String>,
    /// Ask this policy file or directory instead of a coordinator.
    #[arg(long, value_name = "PATH")]
    pub policy: Option<PathBuf>,
    /// As things were then, like 2026-11-28T18:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["policy", "ever"])]
    pub at: Option<String>,
    /// Ask of every node that could ever be enrolled: yes comes with a witness, no is a proof.
    #[arg(long)]
    pub ever: bool,
    /// Also through other services, hop by hop.
    #[arg(long, value_enum, requires = "ever")]
    pub via: Option<Via>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    Any,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Node name, id or overlay address.
    pub from: String,
    /// Node name, id, overlay address, or `service:NAME`.
    pub to: String,
    /// `tcp/8443`, `udp/53`, `icmp/echo`, …
    pub port: Option<String>,
    /// As things were then, like 2026-11-28T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// The newest flows.
    List {
        #[command(flatten)]
        filter: FlowArgs,
        /// From the history on disk (30 days) instead of what is in memory since the start.
        #[arg(long)]
        history: bool,
        /// Only flows seen within this time.
        #[arg(long, value_name = "DURATION")]
        within: Option<Seconds>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// What each node judged, what was recorded of it and what was lost: exit 1 if it does not balance.
    Accounts,
    /// Flows as they are reported, until interrupted.
    Watch {
        #[command(flatten)]
        filter: FlowArgs,
        /// Stop after so many rows.
        #[arg(long, value_name = "ROWS")]
        count: Option<u64>,
    },
}

#[derive(Clone, Debug, Args)]
pub struct FlowArgs {
    /// Who opened it: node name, id or address.
    #[arg(long)]
    pub from: Option<String>,
    /// Whom it went to: node name, id or address.
    #[arg(long)]
    pub to: Option<String>,
    #[arg(long, value_enum)]
    pub verdict: Option<VerdictArg>,
    #[arg(long)]
    pub grant: Option<String>,
    #[arg(long)]
    pub service: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerdictArg {
    Allow,
    Deny,
    WouldAllow,
    WouldDeny,
}

impl From<VerdictArg> for FlowVerdict {
    fn from(arg: VerdictArg) -> FlowVerdict {
        match arg {
            VerdictArg::Allow => FlowVerdict::Allow,
            VerdictArg::Deny => FlowVerdict::Deny,
            VerdictArg::WouldAllow => FlowVerdict::WouldAllow,
            VerdictArg::WouldDeny => FlowVerdict::WouldDeny,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// The newest changes, or those after a revision.
    List {
        #[arg(long, value_name = "REVISION")]
        after: Option<Revision>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Read the whole log from the disk and check its chain.
    Verify,
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|e| e.to_string())
}

/// `web` and `tag:web` are the same tag.
fn tag(text: &str) -> Result<Name, String> {
    name(text.strip_prefix("tag:").unwrap_or(text))
}

fn wg_key(text: &str) -> Result<WgKey, String> {
    let key: WgKey = text
        .parse()
        .map_err(|_| "write the 44 characters that `wg pubkey` prints (never the private key)".to_owned())?;
    match warren_wire::possession::is_usable(&key) {
        true => Ok(key),
        false => Err("no private key has this public key: copy what `wg pubkey` prints".to_owned()),
    }
}

fn host_port(text: &str) -> Result<String, String> {
    match warren_wire::token::is_host_port(text) {
        true => Ok(text.to_owned()),
        false => Err("write HOST:PORT, for example coord.example.com:7946 or [2001:db8::1]:7946".to_owned()),
    }
}

/// A key as typed: whole, or its beginning.
pub fn pick_token(typed: &str, known: &[IdentityKey]) -> Result<IdentityKey, String> {
    let hits: Vec<_> = known.iter().filter(|key| key.to_string().starts_with(typed)).collect();
    match hits.as_slice() {
        [one] => Ok(**one),
        [] => {
            Err(format!("no token begins with `{}`: see `warren token list`", crate::text::plain(typed, 60)))
        }
        more => Err(format!(
            "{} tokens begin with `{}`: type more of it",
            more.len(),
            crate::text::plain(typed, 60)
        )),
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

    #[test]
    fn a_token_is_picked_by_its_beginning_if_only_one_begins_so() {
        let keys = [IdentityKey([0; 32]), IdentityKey([1; 32])];
        assert_eq!(pick_token(&keys[1].to_string(), &keys), Ok(keys[1]));
        assert_eq!(pick_token("AQ", &keys), Ok(keys[1]));
        assert!(pick_token("A", &keys).unwrap_err().contains("2 tokens"));
        assert!(pick_token("zz", &keys).unwrap_err().contains("token list"));
    }
}
