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
        /// Older ones than a list before, which said where to go on.
        #[arg(long, value_name = "PLACE")]
        before: Option<String>,
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
    /// Where it went: 443, tcp/443, udp/53, icmp, or another protocol by its number (47/).
    #[arg(long, value_name = "[PROTOCOL/]PORT", value_parser = Target::parse)]
    pub port: Option<Target>,
}

/// A protocol, a port at the other end, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub protocol: Option<u8>,
    pub port: Option<u16>,
}

impl Target {
    fn parse(text: &str) -> Result<Target, String> {
        let bad = || {
            "write a port, tcp/PORT, udp/PORT, tcp, udp, icmp, or the number of a protocol as NUMBER/"
                .to_owned()
        };
        let port = |text: &str| text.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(bad);
        let protocol = |text: &str| match text {
            "tcp" => Ok(6),
            "udp" => Ok(17),
            "icmp" => Ok(1),
            "icmpv6" => Ok(58),
            number => number.parse().map_err(|_| bad()),
        };
        match text.split_once('/') {
            Some((name, "")) => Ok(Target { protocol: Some(protocol(name)?), port: None }),
            Some((name, number)) => Ok(Target { protocol: Some(protocol(name)?), port: Some(port(number)?) }),
            None if text.starts_with(|c: char| c.is_ascii_digit()) => {
                Ok(Target { protocol: None, port: Some(port(text)?) })
            }
            None => Ok(Target { protocol: Some(protocol(text)?), port: None }),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_port_is_asked_for_with_or_without_its_protocol() {
        let read = |text: &str| Target::parse(text).ok().map(|target| (target.protocol, target.port));
        for (text, meant) in [
            ("443", (None, Some(443))),
            ("tcp/443", (Some(6), Some(443))),
            ("udp", (Some(17), None)),
            ("icmp", (Some(1), None)),
            ("47/", (Some(47), None)),
        ] {
            assert_eq!(read(text), Some(meant), "{text}");
        }
        for text in ["", "/", "x", "0", "tcp/0", "70000", "tcp/x", "300/"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
