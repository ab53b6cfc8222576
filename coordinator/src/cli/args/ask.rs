//! `can` and `why`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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
