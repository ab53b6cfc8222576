//! Candidates: addresses of the underlay at which a node says it is. Hints of others, so what is taken of them is judged by both ends with
//! these same words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::view::MAX_CANDIDATES;

/// Places of one address among a node's candidates: the port it has, the one a NAT gives it, and one that was arranged. Whoever
/// could name more would have its peers knock at that many doors of a stranger.
pub const MAX_AT_ONE_ADDRESS: usize = 3;

/// Could one host on another link be there? Special ranges (RFC 6890) could not; private ones could, and those that are for examples hurt
/// nobody. Loopback is judged by who asks: tests on one machine have nothing else.
pub fn is_of_one_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_of_one_v4_host(v4),
        IpAddr::V6(v6) => is_of_one_v6_host(v6),
    }
}

fn is_of_one_v4_host(ip: Ipv4Addr) -> bool {
    match ip.octets() {
        // This network; multicast, reserved and broadcast.
        [0 | 224..=255, ..] => false,
        [169, 254, ..] => false,
        // Protocol assignments (RFC 6890), the anycast of 6to4 (RFC 7526).
        [192, 0, 0, _] | [192, 88, 99, _] => false,
        _ => true,
    }
}

fn is_of_one_v6_host(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // Unspecified, and IPv4 in two spellings (RFC 4291 section 2.5.5): a second one of the same place. Loopback is left.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => ip.is_loopback(),
        // Discard-only (RFC 6666).
        [0x0100, 0, 0, 0, ..] => false,
        // Link-local, multicast.
        [first, ..] => first & 0xffc0 != 0xfe80 && first & 0xff00 != 0xff00,
    }
}

/// Adds a candidate that is new, while there is room for it and its address has not had its share.
pub fn add(list: &mut Vec<SocketAddr>, candidate: SocketAddr) {
    let there = list.iter().filter(|known| known.ip() == candidate.ip()).count();
    if list.len() < MAX_CANDIDATES && there < MAX_AT_ONE_ADDRESS && !list.contains(&candidate) {
        list.push(candidate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_special_ranges_is_no_host_of_another_link() {
        let bad = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "192.0.0.1",
            "192.0.0.170",
            "192.88.99.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::2",
            "::192.0.2.1",
            "::ffff:192.0.2.1",
            "::ffff:127.0.0.1",
            "100::",
            "100::ffff:1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "ff0e::1",
        ];
        for ip in bad {
            assert!(!is_of_one_host(ip.parse().unwrap()), "{ip}");
        }
        let good = [
            "1.0.0.1",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.253.0.1",
            "172.16.0.1",
            "192.0.1.1",
            "192.168.1.1",
            "192.88.98.1",
            "223.255.255.254",
            "::1",
            "64:ff9b::c000:201",
            "100:1::1",
            "2001:db8::1",
            "fd00::1",
            "fec0::1",
        ];
        for ip in good {
            assert!(is_of_one_host(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn a_list_is_short_names_nobody_twice_and_no_address_often() {
        let mut list = Vec::new();
        for port in (1..=8).chain(1..=8) {
            add(&mut list, SocketAddr::from(([192, 0, 2, 1], port)));
        }
        assert_eq!(list.len(), MAX_AT_ONE_ADDRESS);
        for host in 2..100 {
            add(&mut list, SocketAddr::from(([192, 0, 2, host], 1)));
        }
        assert_eq!(list.len(), MAX_CANDIDATES);
        list.dedup();
        assert_eq!(list.len(), MAX_CANDIDATES);
    }
}
