//! The strong-host guard as nftables text, built from typed addresses and a checked interface name only.
//!
//! Linux answers for any local address on any interface (the weak host model, RFC 1122 section 3.3.4.2): a neighbour
//! on the LAN could reach services bound to the overlay address without the tunnel and without the policy. And a host
//! that forwards IPv6 takes a neighbour's or a container's packet with this host's own source address into the tunnel
//! (only IPv4 refuses that by itself): it would be judged as if this node had sent it. Nor may a neighbour speak in the name
//! of another node to a service that is bound to every address: what bears an address of the overlay comes out of the tunnel.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::InterfaceName;

/// Name of the table, in family `inet`; it is ours alone.
pub fn table(interface: &InterfaceName) -> String {
    format!("warren_{}", interface.as_str())
}

/// Replaces the table whole, in one transaction. It stands before connection tracking (priority raw, -300) and before
/// routing, so that no other table can turn such a packet into something else first.
///
/// Questions for names that come from `bridges` (of this host's own containers) pass: a container that copied the host's
/// `/etc/resolv.conf` asks this node there.
pub fn ruleset(
    interface: &InterfaceName,
    addresses: &[IpAddr],
    ranges: &[IpNet],
    bridges: &[InterfaceName],
) -> String {
    let (table, tun) = (table(interface), interface.as_str());
    let mut text = format!("table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    text.push_str("\tchain strong-host {\n\t\ttype filter hook prerouting priority -300; policy accept;\n");
    // First, and as two comparisons, not one look-up in a set: every packet of the host passes here.
    // (Writing to a String cannot fail.)
    for own in ["lo", tun] {
        let _ = writeln!(text, "\t\tiifname \"{own}\" accept");
    }
    let family = |address: &IpAddr| if address.is_ipv4() { "ip" } else { "ip6" };
    let refuse = |text: &mut String, side: &str, address: &IpAddr| {
        let _ = writeln!(text, "\t\t{} {side} {address} counter drop", family(address));
    };
    // A source that is ours or another node's is refused from everywhere, before any exception.
    addresses.iter().for_each(|address| refuse(&mut text, "saddr", address));
    for range in ranges {
        let family = if range.addr().is_ipv4() { "ip" } else { "ip6" };
        let _ = writeln!(text, "\t\t{family} saddr {range} counter drop");
    }
    for (address, bridge) in addresses.iter().flat_map(|a| bridges.iter().map(move |b| (a, b))) {
        let (family, bridge) = (family(address), bridge.as_str());
        for protocol in ["udp", "tcp"] {
            let _ = writeln!(
                text,
                "\t\tiifname \"{bridge}\" {family} daddr {address} {protocol} dport 53 counter accept"
            );
        }
    }
    addresses.iter().for_each(|address| refuse(&mut text, "daddr", address));
    text.push_str("\t}\n}\n");
    text
}

/// Takes the table out; declaring it first makes that succeed when it is already gone.
pub fn removal(interface: &InterfaceName) -> String {
    let table = table(interface);
    format!("table inet {table}\ndelete table inet {table}\n")
}
