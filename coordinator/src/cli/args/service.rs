//! `init`, `serve` and `restore`: where a coordinator lives and how it runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;
use warren_config::name::Name;

use super::super::duration::Seconds;
use super::{AuthorityArg, StateArg, host_port, name};
use crate::state_dir;

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

/// An address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebAddress(pub Option<SocketAddr>);

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
