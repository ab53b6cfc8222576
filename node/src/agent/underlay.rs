//! The tunnel's MTU from the underlay's.

use std::net::SocketAddr;

use warren_node_core::host::DEFAULT_MTU;

use warren_kernel::option::path_mtu;

/// IPv6, UDP and WireGuard headers: whatever family a peer is reached by, a full inner packet fits.
const OVERHEAD: usize = 40 + 8 + 32;
/// Below it an interface has no IPv6 (RFC 8200 section 5).
const LEAST: usize = 1280;
const MOST: usize = 9000;
/// What the loopback interface carries: a coordinator on this very host says nothing about the link.
const LOOPBACK: usize = 65_535;

/// What the narrowest link towards the coordinators carries, less the overhead. Where no link is known yet, the usual
/// one is meant; paths to peers that are narrower are found out one by one.
pub fn tunnel_mtu(coordinators: &[String]) -> u16 {
    let known = coordinators.iter().filter_map(|address| address.parse::<SocketAddr>().ok());
    let links = known.filter_map(|address| path_mtu(address).ok()).filter(|mtu| *mtu < LOOPBACK);
    links.min().map_or(DEFAULT_MTU, of_link)
}

fn of_link(mtu: usize) -> u16 {
    mtu.saturating_sub(OVERHEAD).clamp(LEAST, MOST).try_into().unwrap_or(DEFAULT_MTU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnel_is_eighty_bytes_narrower_than_the_link_and_never_too_narrow_for_ipv6() {
        assert_eq!([1500, 9000, 1280, 65_535].map(of_link), [1420, 8920, 1280, 9000]);
        assert_eq!(tunnel_mtu(&["coord.example.com:7946".to_owned()]), DEFAULT_MTU);
    }

    #[test]
    fn a_coordinator_on_the_same_host_says_nothing_about_the_link() {
        assert_eq!(tunnel_mtu(&["127.0.0.1:7946".to_owned()]), DEFAULT_MTU);
    }
}
