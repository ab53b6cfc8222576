//! The words of the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use warren_config::upstream::Upstream;
use warren_node_core::host::InterfaceName;
use warren_wire::underlay::is_of_one_host;

use crate::agent::{self, INTERFACE, NameOptions, Options, RUN};
use crate::hostdns;
use crate::logs;
use crate::state::DEFAULT_PATH;
use warren_scrape::Place;

/// The agent of one host in a Warren network.
#[derive(Debug, Parser)]
#[command(
    name = "warren-node",
    version,
    after_help = "Exit codes: 0 ok, 1 a finding or refusal, 2 usage or bad input, 3 unreachable."
)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Common {
    /// State directory: identity, keys, last good view.
    #[arg(long, global = true, env = "WARREN_NODE_STATE", default_value = DEFAULT_PATH)]
    state: PathBuf,
    /// Directory for sockets and flow tables; must not survive a reboot.
    #[arg(long, global = true, env = "WARREN_NODE_RUN", default_value = RUN)]
    run: PathBuf,
    /// Settings file: the long flags of `up` without the dashes, and `token`. By default /etc/warren/node.toml, if it is there;
    /// flags and the environment win over it.
    #[arg(long, global = true, value_name = "FILE", env = "WARREN_NODE_CONFIG")]
    config: Option<PathBuf>,
    /// Local socket of the agent; by default INTERFACE.sock in the run directory.
    #[arg(long, global = true, env = "WARREN_NODE_SOCKET")]
    socket: Option<PathBuf>,
    /// Name of the overlay interface.
    #[arg(long, global = true, env = "WARREN_NODE_INTERFACE", default_value = INTERFACE)]
    interface: String,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Encrypted DNS server for names outside the zone, if the policy names none, and for the coordinator's own name:
    /// tls://ADDRESS#NAME, https://ADDRESS/dns-query#NAME or quic://ADDRESS#NAME. May be given several times.
    #[arg(long, global = true, env = "WARREN_NODE_DNS_UPSTREAM", value_delimiter = ',', value_name = "URL",
          value_parser = Upstream::parse)]
    dns_upstream: Vec<Upstream>,
    /// PEM file with certificate authorities to trust for DNS servers, besides the public ones.
    #[arg(long, global = true, env = "WARREN_NODE_DNS_CA", value_name = "FILE")]
    dns_ca: Option<PathBuf>,
    /// Take only answers of DNS servers that DNSSEC proves, or whose zone is proven to be unsigned.
    #[arg(long, global = true, env = "WARREN_NODE_DNS_VALIDATE")]
    dns_validate: bool,
    /// File of DNSKEY records to believe besides the root's, for --dns-validate; with a key for the root it replaces the
    /// built-in ones.
    #[arg(
        long,
        global = true,
        env = "WARREN_NODE_DNS_ANCHORS",
        value_name = "FILE",
        requires = "dns_validate"
    )]
    dns_anchors: Option<PathBuf>,
    /// How to write logs (standard error).
    #[arg(long, global = true, value_enum, env = "WARREN_NODE_LOG_FORMAT", default_value_t)]
    pub log_format: logs::Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enrol if this host is not a member yet, then run the agent. A stored identity always wins over a token. A token that is
    /// named nowhere is looked for in /etc/warren/token.
    Up {
        #[command(flatten)]
        enrol: Enrol,
        #[command(flatten)]
        run: RunFlags,
    },
    /// Run the agent of an enrolled host.
    Run {
        #[command(flatten)]
        run: RunFlags,
    },
    /// Redeem an enrolment token: this host becomes a member. Without --token or --token-file it is read from
    /// standard input.
    Enroll {
        #[command(flatten)]
        enrol: Enrol,
    },
    /// Who this node is, what it enforces, how the coordinator is reached.
    Status,
    /// The nodes some grant joins this one to.
    Peers,
    /// Flows of this node, newest first.
    Flows {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Show what comes, a line each time a flow begins, goes on, or ends; with --json an object a line.
        #[arg(long, conflicts_with = "limit")]
        watch: bool,
        /// With --watch: end after so many lines.
        #[arg(long, requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// May FROM (this node if absent) open PORT at TO, and which grant says so.
    Why {
        /// [FROM] TO PORT; PORT is tcp/8443, udp/53, icmp/echo, or a number for TCP.
        #[arg(num_args = 2..=3, required = true, value_names = ["FROM|TO", "TO|PORT", "PORT"])]
        words: Vec<String>,
    },
    /// Where a peer is, which addresses are known for it, and why this one is used.
    Path { peer: String },
    /// ICMP echo to a node, service or address.
    Ping {
        to: String,
        #[arg(long, short, default_value_t = 4)]
        count: u16,
    },
    /// Names: how an answer comes about, and how the DNS servers do.
    Dns {
        #[command(subcommand)]
        what: DnsCommand,
    },
    /// Counters and the last dropped packets, each with its reason.
    Counters,
    /// What a scraper of `up --metrics` is told: the OpenMetrics text format, also good for a file of node_exporter's
    /// textfile collector.
    Metrics,
    /// Look for what is wrong with this host, and say how to put it right.
    Doctor,
    /// Shut the overlay of an enrolled host without starting the agent: nothing for it leaves in clear, nothing comes in past
    /// the tunnel. For early in the boot, before there is a network (warren-node-guard.service).
    Guard,
    /// Stop the agent and remove its interface, routes and guards. The identity is kept.
    Down,
}

#[derive(Debug, Subcommand)]
pub enum DnsCommand {
    /// Resolve NAME as a program on this host would, and show which way the answer took.
    Query {
        name: String,
        /// Record type: A, AAAA, SRV, HTTPS, PTR, MX, TXT ...
        #[arg(default_value = "A")]
        kind: String,
    },
    /// The DNS servers names are asked of, and how they do.
    Status,
    /// Put back what an agent changed on this host so that programs ask it: /etc/resolv.conf, systemd-resolved's link,
    /// the leak guard. The agent does this itself when it stops.
    Restore {
        /// Wait for the end of standard input first.
        #[arg(long, hide = true)]
        when_closed: bool,
    },
}

#[derive(Args)]
pub struct Enrol {
    /// The token itself. Others on this host can see it in the process list: better use --token-file.
    #[arg(long, env = "WARREN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File with the token; `-` for standard input.
    #[arg(long, env = "WARREN_TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Remove the token file once this host is a member; it is left where it is otherwise.
    #[arg(long, env = "WARREN_NODE_REMOVE_TOKEN")]
    pub remove_token: bool,
    /// Wanted name of this node, if the token leaves it open.
    #[arg(long, env = "WARREN_NODE_NAME")]
    pub name: Option<String>,
    /// Be called as this host is, if the token allows that: by the first label of its name. If another node has that name, HOST-2,
    /// HOST-3, …; --name wins.
    #[arg(long, env = "WARREN_NODE_HOSTNAME")]
    pub hostname: bool,
    /// With `up`: show the token again until this host is a member, later and later (1 s to 1 min while nobody answers, 30 s to
    /// 10 min while it is refused, at once when it is another one), instead of ending with the error.
    #[arg(long, env = "WARREN_NODE_UNATTENDED")]
    pub unattended: bool,
}

/// Never the token.
impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrol").field("token_file", &self.token_file).field("name", &self.name).finish()
    }
}

#[derive(Clone, Debug, Args)]
pub struct RunFlags {
    /// UDP port of the WireGuard sockets; 0 for any free one.
    #[arg(long, env = "WARREN_NODE_PORT", default_value_t = warren_wire::frame::WIREGUARD_PORT)]
    port: u16,
    /// MTU of the overlay interface; by default what the link to the coordinator carries less 80 bytes, at least 1280.
    #[arg(long, env = "WARREN_NODE_MTU", value_parser = clap::value_parser!(u16).range(1280..=9000))]
    mtu: Option<u16>,
    /// Packet workers, each with a thread for either direction; by default one for every four processors. Between two
    /// nodes as many work side by side as both have: a node makes more keys when it has more workers than before.
    #[arg(long, env = "WARREN_NODE_WORKERS", value_parser = clap::value_parser!(u8).range(1..=8))]
    workers: Option<u8>,
    /// Do not answer names on port 53 of this node's overlay addresses.
    #[arg(long, env = "WARREN_NODE_NO_DNS")]
    no_dns: bool,
    /// Answer names at this loopback address too, e.g. 127.0.0.54.
    #[arg(long, env = "WARREN_NODE_DNS_LISTEN", value_name = "ADDRESS", value_parser = loopback)]
    dns_listen: Option<IpAddr>,
    /// Answer containers of this host too, which are behind this bridge (docker0): with --dns-host resolv.conf they copy
    /// this node's address from the host's file. May be given several times.
    #[arg(long, env = "WARREN_NODE_DNS_BRIDGE", value_delimiter = ',', value_name = "INTERFACE",
          value_parser = InterfaceName::parse)]
    dns_bridge: Vec<InterfaceName>,
    /// How programs on this host come to ask this node.
    #[arg(long, env = "WARREN_NODE_DNS_HOST", value_enum, default_value_t)]
    dns_host: hostdns::Mode,
    /// Refuse every other program of this host that asks DNS servers in clear.
    #[arg(long, env = "WARREN_NODE_DNS_GUARD", value_enum, default_value_t)]
    dns_guard: hostdns::Guard,
    /// Answer Prometheus at http://ADDRESS/metrics, a loopback address with a port, e.g. 127.0.0.1:9586; or at a socket file
    /// for root and the agent's group, e.g. unix:/run/warren-node/metrics.sock. May be given several times. Off by default.
    #[arg(long, env = "WARREN_NODE_METRICS", value_name = "ADDRESS", value_delimiter = ',', value_parser = Place::parse)]
    metrics: Vec<Place>,
    /// When the coordinator has been away for longer than the freshness life: keep the last good view instead of
    /// cutting all peers.
    #[arg(long, env = "WARREN_NODE_HOLD")]
    hold: bool,
    /// Ask the gateway of the IPv4 default route to map the WireGuard port to its outside, by PCP (RFC 6887), NAT-PMP (RFC 6886) or UPnP (IGD 1 and 2), so that peers
    /// behind any NAT reach this node directly. Off by default.
    #[arg(long, env = "WARREN_NODE_PORT_MAPPING")]
    port_mapping: bool,
    /// Peers may reach this node here as well: where somebody has arranged that packets for this address come to the WireGuard
    /// port, e.g. a port forwarding by hand. May be given several times.
    #[arg(long, env = "WARREN_NODE_ENDPOINT", value_name = "ADDRESS:PORT", value_delimiter = ',', value_parser = endpoint)]
    endpoint: Vec<SocketAddr>,
}

/// One host that others can send to.
fn endpoint(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(at) if at.port() == 0 => {
            Err("port 0 is no port: write the one that peers are to send to".to_owned())
        }
        Ok(at) if at.ip().is_loopback() || !is_of_one_host(at.ip()) => Err(
            "no other host reaches an address of that range: write this host's address as its peers see it"
                .to_owned(),
        ),
        Ok(at) => Ok(at),
        Err(_) => Err("it is not ADDRESS:PORT, e.g. 203.0.113.7:51820 or [2001:db8::7]:51820".to_owned()),
    }
}

/// Others on the network must not be able to ask.
fn loopback(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Ok(ip),
        Ok(_) => Err("it is not a loopback address: write one of 127.0.0.0/8, or ::1".to_owned()),
        Err(_) => Err("it is not an IP address".to_owned()),
    }
}

impl Common {
    /// For commands that do not run the agent.
    pub fn options(&self) -> Options {
        let port = warren_wire::frame::WIREGUARD_PORT;
        self.run_options(&RunFlags {
            port,
            mtu: None,
            workers: None,
            no_dns: false,
            dns_listen: None,
            dns_bridge: Vec::new(),
            dns_host: hostdns::Mode::Off,
            dns_guard: hostdns::Guard::Off,
            metrics: Vec::new(),
            hold: false,
            port_mapping: false,
            endpoint: Vec::new(),
        })
    }

    /// For what is looked up without an agent.
    pub fn names(&self) -> NameOptions {
        NameOptions {
            upstream: self.dns_upstream.clone(),
            authorities: self.dns_ca.clone(),
            validate: self.dns_validate,
            anchors: self.dns_anchors.clone(),
            ..NameOptions::default()
        }
    }

    pub fn run_options(&self, run: &RunFlags) -> Options {
        let socket = || self.run.join(format!("{}.sock", self.interface));
        agent::Options {
            state: self.state.clone(),
            run: self.run.clone(),
            socket: self.socket.clone().unwrap_or_else(socket),
            interface: self.interface.clone(),
            port: run.port,
            mtu: run.mtu,
            workers: run.workers.map_or_else(crate::worker::default_count, usize::from),
            dns: !run.no_dns,
            names: NameOptions {
                listen: run.dns_listen,
                bridges: run.dns_bridge.clone(),
                host: run.dns_host,
                guard: run.dns_guard,
                ..self.names()
            },
            metrics: run.metrics.clone(),
            hold: run.hold,
            renews: false,
            port_mapping: run.port_mapping,
            endpoints: run.endpoint.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    /// So that the environment alone can say what a file says.
    #[test]
    fn every_flag_of_a_running_agent_has_a_variable() {
        let command = Arguments::command();
        for name in ["up", "run"] {
            let of_command = command.find_subcommand(name).into_iter().flat_map(|sub| sub.get_arguments());
            for arg in command.get_arguments().chain(of_command) {
                let free = ["help", "version", "json"].contains(&arg.get_id().as_str());
                assert!(free || arg.get_env().is_some(), "--{} of `{name}` has none", arg.get_id());
            }
        }
    }

    #[test]
    fn an_endpoint_is_an_address_that_others_can_send_to() {
        for good in ["203.0.113.7:51820", "[2001:db8::7]:1", "10.0.0.1:9"] {
            assert_eq!(endpoint(good).map(|at| at.to_string()).as_deref(), Ok(good));
        }
        for bad in [
            "203.0.113.7",
            "host:51820",
            "203.0.113.7:0",
            "127.0.0.1:1",
            "[::1]:1",
            "224.0.0.1:1",
            "[fe80::1]:1",
            "",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_never_shown_by_debug() {
        let arguments =
            Arguments::try_parse_from(["warren-node", "enroll", "--token", "warren1_secret"]).expect("parse");
        assert!(!format!("{arguments:?}").contains("secret"));
    }
}
