//! Where this node can be reached: its own addresses with the port of the WireGuard socket.

use std::net::{IpAddr, SocketAddr};

use warren_node_core::path::{Locality, MAX_CANDIDATES, acceptable};
use warren_wire::trust::Network;

use crate::host::LocalAddress;

/// Addresses of other interfaces than the overlay's own, IPv4 first. Loopback only if there is nothing else.
pub fn candidates(
    addresses: &[LocalAddress],
    overlay: &str,
    port: u16,
    network: &Network,
) -> Vec<SocketAddr> {
    let here: Vec<SocketAddr> = addresses
        .iter()
        .filter(|local| local.interface != overlay)
        .map(|local| SocketAddr::new(local.address, port))
        .collect();
    let usable = |locality| {
        let fits = |a: &&SocketAddr| acceptable(**a, network, locality);
        let mut found: Vec<SocketAddr> = here.iter().filter(fits).copied().collect();
        found.sort_by_key(|a| (is_late(a.ip()), *a));
        found.truncate(MAX_CANDIDATES);
        found
    };
    match usable(Locality::Wide) {
        none if none.is_empty() => usable(Locality::Loopback),
        some => some,
    }
}

/// Addresses that are common to many hosts (container bridges) or only local come after the others.
fn is_late(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets().starts_with(&[172, 17]),
        IpAddr::V6(v6) => v6.segments().first().is_some_and(|s| s & 0xfe00 == 0xfc00),
    }
}
