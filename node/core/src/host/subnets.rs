//! Subnets behind gateways, as the machine must have them: routes at those who may use them, forwarding at the gateways.
//!
//! A route is never taken from the host: where it is on such a subnet itself, or has a route for it, its own stays, and the
//! status says so. A gateway's kernel forwards what its agent let through, in the gateway's own name (masquerade), because
//! hosts without an agent know no way back into the overlay. Nothing of theirs begins a flow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{InterfaceName, Plan};

/// A route of this host that is not the agent's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRoute {
    pub range: IpNet,
    pub interface: String,
    /// The host is on that network itself.
    pub connected: bool,
}

/// Why a subnet has no route here although it is granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error(
        "this host is on {range} itself, by {interface}: it reaches that without the tunnel, and its route is not taken"
    )]
    Connected { range: IpNet, interface: String },
    #[error("this host has a route for {range} by {interface}: it is not taken from it")]
    Routed { range: IpNet, interface: String },
    #[error("{coordinator} in it is a coordinator: what is said to it must not go into the tunnel")]
    Coordinator { coordinator: IpAddr },
    #[error("this node has no overlay address of that family")]
    NoAddress,
    #[error("{0}")]
    Refused(String),
}

impl Obstacle {
    /// What the owner of this host can do.
    pub fn advice(&self) -> String {
        match self {
            Obstacle::Connected { interface, .. } => format!(
                "nothing, if that is the same network; if it is another with the same numbers: renumber one of the two, or leave \
                 the network at {interface}"
            ),
            Obstacle::Routed { range, interface } => {
                format!(
                    "if the tunnel is meant: `ip route del {range} dev {interface}`; the agent takes its place within seconds"
                )
            }
            Obstacle::Coordinator { coordinator } => {
                format!("in the policy, write `addresses` that leave {coordinator} out")
            }
            Obstacle::NoAddress => {
                "in the policy, name addresses of the other family, if the hosts have some".to_owned()
            }
            Obstacle::Refused(_) => "see what the kernel says".to_owned(),
        }
    }
}

/// What becomes of the subnets that are granted: those with a route, and the source address for it; and the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    pub taken: BTreeMap<IpNet, IpAddr>,
    pub left: BTreeMap<IpNet, Obstacle>,
    /// Parts of those with a route that a narrower route of this host takes elsewhere.
    pub elsewhere: BTreeMap<IpNet, Vec<HostRoute>>,
}

impl Routes {
    /// `coordinators`: where this host reaches them on the underlay.
    pub fn new(
        plan: &Plan,
        granted: &BTreeSet<IpNet>,
        host: &BTreeSet<HostRoute>,
        coordinators: &[IpAddr],
    ) -> Routes {
        let mut routes = Routes::default();
        for net in granted {
            match source(plan, net, host, coordinators) {
                Ok(source) => {
                    routes.taken.insert(*net, source);
                    let parts: Vec<HostRoute> = parts_elsewhere(plan, net, host).cloned().collect();
                    if !parts.is_empty() {
                        routes.elsewhere.insert(*net, parts);
                    }
                }
                Err(obstacle) => drop(routes.left.insert(*net, obstacle)),
            }
        }
        routes
    }
}

fn parts_elsewhere<'a>(
    plan: &'a Plan,
    net: &'a IpNet,
    host: &'a BTreeSet<HostRoute>,
) -> impl Iterator<Item = &'a HostRoute> {
    let own = host.iter().filter(|route| route.interface != plan.interface.as_str());
    own.filter(move |route| net.contains(&route.range) && route.range != *net)
}

/// How a gateway's own host reaches what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead {
    /// It is on that network itself.
    Link {
        interface: String,
    },
    /// By a route for it, or for something wider or narrower.
    Route {
        range: IpNet,
        interface: String,
    },
    /// By the default route: so it is where everything else is, too.
    Default {
        interface: String,
    },
    /// Into the tunnel: it is behind somebody else for this host.
    Tunnel,
    Nowhere,
}

impl Lead {
    /// `interface`: what the kernel says it sends such packets out by.
    pub fn of(plan: &Plan, net: &IpNet, host: &BTreeSet<HostRoute>, interface: Option<&str>) -> Lead {
        let Some(interface) = interface else { return Lead::Nowhere };
        if interface == plan.interface.as_str() {
            return Lead::Tunnel;
        }
        let meets = |route: &&HostRoute| route.range.contains(net) || net.contains(&route.range);
        let there: Vec<&HostRoute> =
            host.iter().filter(|route| route.interface == interface).filter(meets).collect();
        let name = interface.to_owned();
        match (there.iter().any(|route| route.connected), there.first()) {
            (true, _) => Lead::Link { interface: name },
            (false, Some(route)) => Lead::Route { range: route.range, interface: name },
            (false, None) => Lead::Default { interface: name },
        }
    }

    pub fn interface(&self) -> Option<&str> {
        match self {
            Lead::Link { interface } | Lead::Route { interface, .. } | Lead::Default { interface } => {
                Some(interface)
            }
            Lead::Tunnel | Lead::Nowhere => None,
        }
    }

    /// Why nothing can be forwarded there.
    pub fn trouble(&self, net: &IpNet) -> Option<String> {
        match self {
            Lead::Tunnel => Some(format!(
                "this gateway itself reaches {net} through the tunnel only: put it on that network, or give its host a route there"
            )),
            Lead::Nowhere => {
                Some(format!("this gateway has no way to {net} itself: give its host a route there"))
            }
            Lead::Link { .. } | Lead::Route { .. } | Lead::Default { .. } => None,
        }
    }
}

impl std::fmt::Display for Lead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lead::Link { interface } => write!(f, "by {interface}, on that network itself"),
            Lead::Route { range, interface } => write!(f, "by {interface}, a route for {range}"),
            Lead::Default { interface } => write!(f, "by {interface}, the default route"),
            Lead::Tunnel => write!(f, "through the tunnel only"),
            Lead::Nowhere => write!(f, "no way there"),
        }
    }
}

fn source(
    plan: &Plan,
    net: &IpNet,
    host: &BTreeSet<HostRoute>,
    coordinators: &[IpAddr],
) -> Result<IpAddr, Obstacle> {
    let meets = |route: &&HostRoute| route.range.contains(net) || net.contains(&route.range);
    let mut own = host.iter().filter(|route| route.interface != plan.interface.as_str());
    if let Some(route) = own.clone().find(|route| route.connected && meets(route)) {
        return Err(Obstacle::Connected { range: route.range, interface: route.interface.clone() });
    }
    if let Some(route) = own.find(|route| route.range == *net) {
        return Err(Obstacle::Routed { range: route.range, interface: route.interface.clone() });
    }
    if let Some(coordinator) = coordinators.iter().find(|address| net.contains(*address)) {
        return Err(Obstacle::Coordinator { coordinator: *coordinator });
    }
    let family = |address: &IpAddr| address.is_ipv4() == net.addr().is_ipv4();
    plan.addresses.iter().copied().find(family).ok_or(Obstacle::NoAddress)
}

/// What a gateway's kernel must do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Behind this node, as far as somebody may open something there.
    pub served: BTreeSet<IpNet>,
    /// Interfaces that forward IPv4 only since the agent has switched it on: for answers, and nothing else.
    pub switched: BTreeSet<String>,
    /// The same for IPv6, which is one switch for the whole host.
    pub switched_v6: bool,
}

/// Name of the table, in family `inet`; it is ours alone.
pub fn table(interface: &InterfaceName) -> String {
    format!("warren_{}_subnets", interface.as_str())
}

impl Forwarding {
    /// Replaces the table whole, in one transaction.
    pub fn ruleset(&self, plan: &Plan) -> String {
        let (table, tun) = (table(&plan.interface), plan.interface.as_str());
        let mut text = format!("table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
        text.push_str("\tchain forward {\n\t\ttype filter hook forward priority -10; policy accept;\n");
        // (Writing to a String cannot fail.)
        let _ = writeln!(text, "\t\tiifname \"{tun}\" oifname \"{tun}\" counter drop");
        for net in &self.served {
            let _ = writeln!(text, "\t\tiifname \"{tun}\" {} daddr {net} counter accept", family(net));
        }
        let _ = writeln!(text, "\t\tiifname \"{tun}\" counter drop");
        let _ = writeln!(text, "\t\toifname \"{tun}\" ct state established,related counter accept");
        let _ = writeln!(text, "\t\toifname \"{tun}\" counter drop");
        for interface in &self.switched {
            let _ = writeln!(text, "\t\tmeta nfproto ipv4 iifname \"{interface}\" counter drop");
        }
        if self.switched_v6 {
            text.push_str("\t\tmeta nfproto ipv6 counter drop\n");
        }
        text.push_str("\t}\n\tchain in-the-gateways-name {\n");
        text.push_str("\t\ttype nat hook postrouting priority 100; policy accept;\n");
        for net in &self.served {
            let ranges = plan.ranges.iter().filter(|range| range.addr().is_ipv4() == net.addr().is_ipv4());
            for range in ranges {
                let family = family(net);
                let _ = writeln!(text, "\t\t{family} saddr {range} {family} daddr {net} masquerade");
            }
        }
        text.push_str("\t}\n}\n");
        text
    }
}

/// Takes the table out; declaring it first makes that succeed when it is already gone.
pub fn removal(interface: &InterfaceName) -> String {
    let table = table(interface);
    format!("table inet {table}\ndelete table inet {table}\n")
}

fn family(net: &IpNet) -> &'static str {
    if net.addr().is_ipv4() { "ip" } else { "ip6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            interface: InterfaceName::parse("warren0").unwrap(),
            mtu: 1420,
            addresses: vec!["100.64.0.9".parse().unwrap()],
            ranges: vec!["100.64.0.0/10".parse().unwrap(), "fd00:1:2::/48".parse().unwrap()],
            bridges: Vec::new(),
        }
    }

    fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn host(range: &str, interface: &str, connected: bool) -> HostRoute {
        HostRoute { range: range.parse().unwrap(), interface: interface.to_owned(), connected }
    }

    #[test]
    fn what_the_host_has_itself_is_not_taken_from_it_and_is_said() {
        let granted =
            nets(&["192.168.10.0/24", "192.168.20.0/24", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]);
        let own = [
            host("192.168.10.0/25", "eth0", true),
            host("10.0.0.0/8", "eth1", false),
            host("10.2.0.0/16", "eth1", false),
            host("192.168.20.0/24", "warren0", false),
            host("100.64.0.0/10", "warren0", true),
        ];
        let routes = Routes::new(&plan(), &granted, &own.into(), &["10.3.0.7".parse().unwrap()]);
        let taken: Vec<String> = routes.taken.keys().map(ToString::to_string).collect();
        assert_eq!(taken, ["10.1.0.0/16", "192.168.20.0/24"], "a wider route of the host stays beside it");
        let left: Vec<String> = routes.left.values().map(ToString::to_string).collect();
        assert!(left[0].contains("10.2.0.0/16 by eth1"), "{left:?}");
        assert!(left[1].contains("10.3.0.7 in it is a coordinator"), "{left:?}");
        assert!(left[2].contains("on 192.168.10.0/25 itself, by eth0"), "{left:?}");
    }

    #[test]
    fn a_family_without_an_address_has_no_route() {
        let routes = Routes::new(&plan(), &nets(&["fd12::/64"]), &BTreeSet::new(), &[]);
        assert_eq!(routes.left.values().next(), Some(&Obstacle::NoAddress));
    }

    #[test]
    fn a_part_that_goes_elsewhere_is_named() {
        let own = [
            host("10.5.0.0/16", "eth1", false),
            host("10.0.0.0/8", "warren0", false),
            host("10.6.0.0/16", "warren0", false),
            host("0.0.0.0/1", "eth0", false),
        ];
        let routes = Routes::new(&plan(), &nets(&["10.0.0.0/8"]), &own.into(), &[]);
        let parts = [(nets(&["10.0.0.0/8"]).pop_first().unwrap(), vec![host("10.5.0.0/16", "eth1", false)])];
        assert_eq!(routes.elsewhere, parts.into());
        assert!(routes.left.is_empty());
    }

    #[test]
    fn a_gateway_knows_how_it_gets_to_what_it_serves() {
        let own: BTreeSet<HostRoute> = [
            host("192.168.10.0/24", "lan0", true),
            host("10.0.0.0/8", "eth1", false),
            host("172.16.5.0/24", "lan0", false),
        ]
        .into();
        let lead = |net: &str, interface: Option<&str>| {
            let lead = Lead::of(&plan(), &net.parse().unwrap(), &own, interface);
            (lead.to_string(), lead.trouble(&net.parse().unwrap()).is_some())
        };
        let said = |text: &str| (text.to_owned(), false);
        assert_eq!(lead("192.168.10.5/32", Some("lan0")), said("by lan0, on that network itself"));
        assert_eq!(lead("192.168.0.0/16", Some("lan0")), said("by lan0, on that network itself"));
        assert_eq!(lead("10.1.0.0/16", Some("eth1")), said("by eth1, a route for 10.0.0.0/8"));
        assert_eq!(lead("192.168.77.0/24", Some("eth0")), said("by eth0, the default route"));
        assert_eq!(lead("192.168.10.0/24", Some("eth0")), said("by eth0, the default route"));
        assert!(lead("10.1.0.0/16", Some("warren0")).1 && lead("10.1.0.0/16", None).1);
    }

    /// The kernel forwards from the tunnel to what is served, answers back, and nothing else.
    #[test]
    fn the_ruleset_lets_only_answers_into_the_tunnel() {
        let forwarding = Forwarding {
            served: nets(&["192.168.10.0/24", "fd12::/64"]),
            switched: ["lan0".to_owned()].into(),
            switched_v6: true,
        };
        let text = forwarding.ruleset(&plan());
        let at = |line: &str| text.find(line).unwrap_or_else(|| panic!("{line} is not in {text}"));
        assert!(
            at("iifname \"warren0\" ip daddr 192.168.10.0/24 counter accept")
                < at("iifname \"warren0\" counter drop")
        );
        assert!(
            at("oifname \"warren0\" ct state established,related counter accept")
                < at("\t\toifname \"warren0\" counter drop")
        );
        assert!(
            at("\t\toifname \"warren0\" counter drop")
                < at("meta nfproto ipv4 iifname \"lan0\" counter drop")
        );
        at("ip saddr 100.64.0.0/10 ip daddr 192.168.10.0/24 masquerade");
        at("ip6 saddr fd00:1:2::/48 ip6 daddr fd12::/64 masquerade");
        at("meta nfproto ipv6 counter drop");
        assert!(
            text.starts_with("table inet warren_warren0_subnets\ndelete table inet warren_warren0_subnets\n")
        );
    }
}
