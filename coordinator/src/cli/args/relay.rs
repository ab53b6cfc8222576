//! `relay`: relays that are programs of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use warren_config::name::Name;
use warren_scrape::Place;

use super::super::duration::Seconds;
use super::{AuthorityArg, LogFormat, LogLevel, host_port, name};

#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// Let a relay in: prints its token, once.
    Add(RelayAddArgs),
    /// All relays: where they are, who sits there, what they carry.
    List,
    /// Nodes leave this relay; it carries on until nobody sends, then it ends.
    Drain {
        name: String,
        /// It may be used again: start it anew.
        #[arg(long)]
        undo: bool,
    },
    /// Nodes leave this relay at once, and it does not come back.
    Remove { name: String },
    /// Be a relay, on this host.
    Run(RelayRunArgs),
}

#[derive(Debug, Args)]
pub struct RelayAddArgs {
    #[arg(value_parser = name)]
    pub name: Name,
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// UDP address at which nodes reach it, instead of the one the coordinator sees; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT")]
    pub at: Vec<SocketAddr>,
    /// How long the token is good for.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub ttl: Seconds,
    /// Address the relay uses to reach the coordinator, instead of the advertised ones; may be given more than once.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub coordinator: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RelayRunArgs {
    /// The relay's own directory: its key, and where it belongs.
    #[arg(long, value_name = "DIR", env = "WARREN_RELAY_DIR", default_value = "/var/lib/warren-relay")]
    pub dir: PathBuf,
    /// UDP address to listen on.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:7946")]
    pub listen: SocketAddr,
    /// A token made by `warren relay add`; needed once. `-` is standard input.
    #[arg(long, value_name = "FILE", env = "WARREN_RELAY_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// UDP address at which nodes reach it, if it is another than the coordinator sees; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT")]
    pub at: Vec<SocketAddr>,
    /// No doors: nodes in networks without UDP do not reach it.
    #[arg(long)]
    pub no_doors: bool,
    /// TCP and UDP port for doors, beside TCP of its own port.
    #[arg(long, value_name = "PORT", default_value_t = warren_wire::door::PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub door_port: u16,
    /// Threads that carry frames.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub threads: u32,
    /// What each node may send through it: megabits a second.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub megabits: u64,
    /// And frames a second.
    #[arg(long, default_value_t = 250_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub packets: u64,
    /// Answer Prometheus at http://ADDRESS/metrics, a loopback address with a port, e.g. 127.0.0.1:9587; or at a socket file
    /// for root and the relay's group, e.g. unix:/run/warren-relay/metrics.sock. May be given several times. Off by default.
    #[arg(long, env = "WARREN_RELAY_METRICS", value_name = "ADDRESS", value_delimiter = ',', value_parser = Place::parse)]
    pub metrics: Vec<Place>,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "human")]
    pub log_format: LogFormat,
    #[arg(long, value_enum, default_value = "info")]
    pub log_level: LogLevel,
    /// Write where it listens (JSON) to this file when it has come in.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}
