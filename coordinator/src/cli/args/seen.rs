//! `flow`, `map` and `audit`: what was seen and done.

use clap::{Args, Subcommand, ValueEnum};
use warren_wire::flow::FlowVerdict;
use warren_wire::id::Revision;

use super::super::duration::Seconds;

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

#[derive(Debug, Args)]
pub struct MapArgs {
    /// About the past: a time like 2026-11-28T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// How long a stretch up to then (default 5m). Up to 10m it is exact to the second, up to 10h to the minute, as long as
    /// those are kept (an hour, three days; `history` in settings.json); then to the hour.
    #[arg(long, value_name = "DURATION")]
    pub within: Option<Seconds>,
    /// A table instead of a tree.
    #[arg(long)]
    pub table: bool,
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
