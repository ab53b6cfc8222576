//! What the machine must have around the agent: addresses, routes and guards, as a plan and as ordered steps.
//!
//! Guards outlive the agent: unreachable routes for the overlay ranges are put in first and taken out last, so that
//! overlay packets never leave by the default gateway in clear; the strong-host table makes overlay addresses answer
//! only through the tunnel.

mod guard;
pub mod leak;
pub mod resolv;
pub mod subnets;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use warren_wire::trust::{Member, Network};

/// MTU of the TUN: WireGuard over IPv6 over Ethernet (1500 - 80).
pub const DEFAULT_MTU: u16 = 1420;
/// Metric of routes through the TUN, and of the unreachable routes behind them.
pub const ROUTE_METRIC: u32 = 50;
pub const UNREACHABLE_METRIC: u32 = 4_000_000;

/// A Linux interface name that is safe in commands and rulesets: 1 to 15 of `a-z A-Z 0-9 _ -`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is not an interface name: use 1 to 15 of letters, digits, `_` and `-`, beginning with a letter"
)]
pub struct InvalidInterfaceName {
    pub value: String,
}

impl InterfaceName {
    pub fn parse(text: &str) -> Result<InterfaceName, InvalidInterfaceName> {
        let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if inner && first && text.len() <= 15 {
            return Ok(InterfaceName(text.to_owned()));
        }
        Err(InvalidInterfaceName {
            value: text.chars().take(40).collect::<String>().escape_debug().to_string(),
        })
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub interface: InterfaceName,
    pub mtu: u16,
    /// Overlay addresses of this node, /32 and /128.
    pub addresses: Vec<IpAddr>,
    /// The charter's ranges: routed through the TUN, and unreachable without it.
    pub ranges: Vec<IpNet>,
    /// Bridges of this host's containers, which may ask for names at the overlay addresses.
    pub bridges: Vec<InterfaceName>,
}

/// One act on the machine; each is idempotent: what is already so is success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    AddUnreachable {
        range: IpNet,
        metric: u32,
    },
    /// Load this nftables text (it replaces the table whole, in one transaction).
    InstallGuard {
        ruleset: String,
    },
    /// Create or adopt the persistent TUN.
    CreateTun {
        interface: InterfaceName,
        mtu: u16,
    },
    /// Host prefix: /32 or /128, no duplicate address detection.
    AddAddress {
        interface: InterfaceName,
        address: IpAddr,
    },
    LinkUp {
        interface: InterfaceName,
    },
    AddRoute {
        interface: InterfaceName,
        range: IpNet,
        source: IpAddr,
        metric: u32,
    },
    RemoveRoute {
        interface: InterfaceName,
        range: IpNet,
        metric: u32,
    },
    RemoveAddress {
        interface: InterfaceName,
        address: IpAddr,
    },
    DeleteTun {
        interface: InterfaceName,
    },
    /// Load this nftables text: it deletes the table.
    RemoveGuard {
        ruleset: String,
    },
    RemoveUnreachable {
        range: IpNet,
        metric: u32,
    },
}

/// A step and why it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub step: Step,
    pub why: &'static str,
}

impl Plan {
    pub fn new(interface: InterfaceName, mtu: u16, network: &Network, me: &Member) -> Plan {
        let ranges = vec![IpNet::V4(network.v4_range), IpNet::V6(network.v6_prefix)];
        Plan { interface, mtu, addresses: me.addresses().collect(), ranges, bridges: Vec::new() }
    }

    /// The same for a host whose containers ask here.
    pub fn with_bridges(self, bridges: &[InterfaceName]) -> Plan {
        Plan { bridges: bridges.to_vec(), ..self }
    }

    /// Name of the strong-host table, in family `inet`.
    pub fn guard_table(&self) -> String {
        guard::table(&self.interface)
    }

    /// What keeps the overlay shut without an agent: the first steps of [`Plan::up`].
    pub fn guards(&self) -> Vec<Planned> {
        let unreachable = self.ranges.iter().map(add_unreachable);
        unreachable.chain([self.install_guard(&self.addresses, &self.ranges)]).collect()
    }

    /// From nothing to this plan, in order.
    pub fn up(&self) -> Vec<Planned> {
        let mut steps = self.guards();
        steps.push(self.create_tun());
        steps.extend(self.addresses.iter().map(|address| self.add_address(*address)));
        steps.push(plan(
            Step::LinkUp { interface: self.interface.clone() },
            "packets flow only over a link that is up",
        ));
        steps.extend(self.ranges.iter().filter_map(|range| self.add_route(*range)));
        steps
    }

    /// From this plan to nothing, in order: the mirror of [`Plan::up`], guards last.
    pub fn down(&self) -> Vec<Planned> {
        let mut steps: Vec<Planned> = self.ranges.iter().map(|range| self.remove_route(*range)).collect();
        steps.extend(self.addresses.iter().map(|address| self.remove_address(*address)));
        steps.push(plan(
            Step::DeleteTun { interface: self.interface.clone() },
            "the interface goes with the network",
        ));
        let ruleset = guard::removal(&self.interface);
        steps.push(plan(Step::RemoveGuard { ruleset }, "no overlay address is left to guard"));
        steps.extend(self.ranges.iter().rev().map(remove_unreachable));
        steps
    }

    /// From this plan to `newer`, without ever being without a guard. Empty when nothing differs.
    pub fn change_to(&self, newer: &Plan) -> Vec<Planned> {
        if self == newer {
            return Vec::new();
        }
        // Another interface: the new one stands, guarded, before the old one goes.
        if self.interface != newer.interface {
            let kept = |step: &Planned| !matches!(&step.step, Step::RemoveUnreachable { range, .. } if newer.ranges.contains(range));
            return newer.up().into_iter().chain(self.down().into_iter().filter(kept)).collect();
        }
        let gone = |range: &&IpNet| !newer.ranges.contains(range);
        let mut steps: Vec<Planned> =
            newer.ranges.iter().filter(|r| !self.ranges.contains(r)).map(add_unreachable).collect();
        // Old and new addresses are both there for a moment: so are both guards.
        let guards_differ = self.addresses != newer.addresses || self.ranges != newer.ranges;
        if guards_differ {
            let both: Vec<IpAddr> = self.addresses.iter().chain(&newer.addresses).copied().collect();
            let ranges = [&self.ranges[..], &newer.ranges[..]].concat();
            steps.push(self.install_guard(&both, &ranges));
        }
        if self.mtu != newer.mtu {
            steps.push(newer.create_tun());
        }
        let added = newer.addresses.iter().filter(|a| !self.addresses.contains(a));
        steps.extend(added.map(|a| newer.add_address(*a)));
        // A route names its source address, so it is set again (replaced) when that changed.
        let differs =
            |range: &&IpNet| !self.ranges.contains(range) || self.source(**range) != newer.source(**range);
        steps.extend(newer.ranges.iter().filter(differs).filter_map(|range| newer.add_route(*range)));
        let orphaned = |range: &&IpNet| newer.source(**range).is_none() && self.source(**range).is_some();
        let routes = self.ranges.iter().filter(|range| gone(range) || orphaned(range));
        steps.extend(routes.map(|range| self.remove_route(*range)));
        let dropped = self.addresses.iter().filter(|a| !newer.addresses.contains(a));
        steps.extend(dropped.map(|a| self.remove_address(*a)));
        if guards_differ {
            steps.push(newer.install_guard(&newer.addresses, &newer.ranges));
        }
        steps.extend(self.ranges.iter().filter(gone).map(remove_unreachable));
        steps
    }

    /// Our address of the range's family; a node without IPv4 needs no IPv4 route, its range stays unreachable.
    fn source(&self, range: IpNet) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| range.contains(address))
    }

    fn install_guard(&self, addresses: &[IpAddr], ranges: &[IpNet]) -> Planned {
        let ruleset = guard::ruleset(&self.interface, addresses, ranges, &self.bridges);
        plan(
            Step::InstallGuard { ruleset },
            "an overlay address answers only through the tunnel (strong host)",
        )
    }

    fn create_tun(&self) -> Planned {
        let step = Step::CreateTun { interface: self.interface.clone(), mtu: self.mtu };
        plan(step, "the overlay's interface; persistent, so that a restart of the agent breaks nothing")
    }

    fn add_address(&self, address: IpAddr) -> Planned {
        let step = Step::AddAddress { interface: self.interface.clone(), address };
        plan(step, "the address in this node's signed record")
    }

    fn remove_address(&self, address: IpAddr) -> Planned {
        let step = Step::RemoveAddress { interface: self.interface.clone(), address };
        plan(step, "the address is no longer this node's")
    }

    fn add_route(&self, range: IpNet) -> Option<Planned> {
        let source = self.source(range)?;
        let interface = self.interface.clone();
        let step = Step::AddRoute { interface, range, source, metric: ROUTE_METRIC };
        Some(plan(step, "overlay packets go into the tunnel, from this node's own address"))
    }

    fn remove_route(&self, range: IpNet) -> Planned {
        let step = Step::RemoveRoute { interface: self.interface.clone(), range, metric: ROUTE_METRIC };
        plan(step, "nothing is routed into the tunnel any more; the unreachable route catches the rest")
    }
}

fn plan(step: Step, why: &'static str) -> Planned {
    Planned { step, why }
}

fn add_unreachable(range: &IpNet) -> Planned {
    let step = Step::AddUnreachable { range: *range, metric: UNREACHABLE_METRIC };
    plan(step, "first in: without the tunnel, overlay packets must not leave by the default gateway in clear")
}

fn remove_unreachable(range: &IpNet) -> Planned {
    let step = Step::RemoveUnreachable { range: *range, metric: UNREACHABLE_METRIC };
    plan(step, "last out: nothing of the overlay is left that could leak")
}
