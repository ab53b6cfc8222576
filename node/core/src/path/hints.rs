//! Addresses that a peer was told to be at: which of them are believed, and in which order they are tried.

use std::net::{IpAddr, SocketAddr};

use warren_wire::trust::Network;
use warren_wire::underlay;

/// Where the underlay is. Loopback endpoints are believed only by a node that itself has nothing but loopback
/// candidates: that is a test on one machine, where nothing else could work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locality {
    #[default]
    Wide,
    Loopback,
}

impl Locality {
    /// Judged by this node's own candidates; none at all is `Wide`.
    pub fn of(own: &[SocketAddr]) -> Locality {
        match !own.is_empty() && own.iter().all(|a| a.ip().is_loopback()) {
            true => Locality::Loopback,
            false => Locality::Wide,
        }
    }
}

/// May `endpoint` be a peer's underlay address? Never an address of the overlay itself (a tunnel inside the tunnel),
/// nor one that no single host answers at.
pub fn acceptable(endpoint: SocketAddr, network: &Network, locality: Locality) -> bool {
    let ip = endpoint.ip();
    let overlay = match ip {
        IpAddr::V4(v4) => network.v4_range.contains(&v4),
        IpAddr::V6(v6) => network.v6_prefix.contains(&v6),
    };
    let local = !ip.is_loopback() || locality == Locality::Loopback;
    endpoint.port() != 0 && !overlay && local && underlay::is_of_one_host(ip)
}

/// Those in a subnet of ours first (IPv4 /24, IPv6 /64), otherwise as given; as many as [`underlay::add`] takes.
pub fn order(candidates: &[SocketAddr], own: &[SocketAddr]) -> Vec<SocketAddr> {
    let near = |c: &SocketAddr| own.iter().any(|o| same_subnet(c.ip(), o.ip()));
    let (first, rest): (Vec<SocketAddr>, Vec<SocketAddr>) = candidates.iter().copied().partition(near);
    let mut ordered = Vec::new();
    for candidate in first.into_iter().chain(rest) {
        underlay::add(&mut ordered, candidate);
    }
    ordered
}

/// Those of an address family this node has itself; all, if that leaves none, or if its own addresses are unknown.
pub fn speakable(candidates: Vec<SocketAddr>, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let spoken = |c: &SocketAddr| own.iter().any(|o| o.is_ipv4() == c.is_ipv4());
    match candidates.iter().any(spoken) {
        true => candidates.into_iter().filter(spoken).collect(),
        false => candidates,
    }
}

fn same_subnet(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => false,
    }
}
