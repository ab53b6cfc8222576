//! What the machine must have around the agent: addresses, routes and guards, as a plan and as ordered steps.
//!
//! Guards outlive the agent: unreachable routes for the overlay ranges are put in first and taken out last, so that
//! overlay packets never leave by the default gateway in clear; the strong-host table makes overlay addresses answer
//! only through the tunnel.

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
    pub fn new(_interface: InterfaceName, _mtu: u16, _network: &Network, _me: &Member) -> Plan {
        todo!()
    }
    /// From nothing to this plan, in order.
    pub fn up(&self) -> Vec<Planned> {
        todo!()
    }
    /// From this plan to nothing, in order.
    pub fn down(&self) -> Vec<Planned> {
        todo!()
    }
    /// From this plan to `newer`, without ever being without a guard. Empty when nothing differs.
    pub fn change_to(&self, _newer: &Plan) -> Vec<Planned> {
        todo!()
    }
}
