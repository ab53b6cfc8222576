//! Where this node can be reached: where its operator says, and its own addresses with the port of the WireGuard socket.

use std::net::{IpAddr, SocketAddr};

use warren_node_core::path::{Locality, acceptable};
use warren_wire::trust::Network;
use warren_wire::underlay;

use crate::host::LocalAddress;

/// What was configured, as given; then addresses of other interfaces than the overlay's own, IPv4 first. Loopback only if
/// there is nothing else.
pub fn candidates(
    configured: &[SocketAddr],
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
        let arranged = configured.iter().filter(|a| acceptable(**a, network, Locality::Wide)).copied();
        let mut list = Vec::new();
        arranged.chain(found).for_each(|candidate| underlay::add(&mut list, candidate));
        list
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

#[cfg(test)]
mod tests {
    use warren_wire::id::NetworkId;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn network() -> Network {
        Network {
            id: NetworkId([1; 16]),
            name: "test".into(),
            v4_range: "100.64.0.0/10".parse().expect("a range"),
            v6_prefix: "fd00:1:2::/48".parse().expect("a prefix"),
            coordinators: Vec::new(),
            serial: 1,
        }
    }

    fn local(interface: &str, network: &str) -> LocalAddress {
        let network: ipnet::IpNet = network.parse().expect("a network");
        LocalAddress { interface: interface.into(), address: network.addr(), network }
    }

    #[test]
    fn what_was_arranged_comes_first_and_nothing_of_it_leads_into_the_overlay() {
        let mut addresses = vec![local("lo", "127.0.0.1/8"), local("warren0", "100.64.0.1/10")];
        let configured = [at("203.0.113.7:4500"), at("100.64.0.9:1"), at("203.0.113.7:4500")];
        let found =
            |addresses: &[LocalAddress]| candidates(&configured, addresses, "warren0", 51820, &network());
        assert_eq!(found(&addresses), [at("203.0.113.7:4500")], "loopback is for who has nothing else");
        addresses.push(local("docker0", "172.17.0.1/16"));
        addresses.push(local("eth0", "192.168.1.2/24"));
        let want = ["203.0.113.7:4500", "192.168.1.2:51820", "172.17.0.1:51820"].map(at);
        assert_eq!(found(&addresses), want);
        addresses.extend((1..20).map(|n| local("eth0", &format!("10.0.0.{n}/8"))));
        assert_eq!((found(&addresses).len(), found(&addresses)[0]), (8, want[0]));
    }
}
