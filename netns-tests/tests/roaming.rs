//! A host gets another address in the middle of a transfer, as when it leaves one network for another: either end, and the other family as well.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::net::SocketAddr;
use std::time::Duration;

use warren_netns_tests::streams::Streams;
use warren_netns_tests::street::{Host, Underlay};
use warren_netns_tests::town::Town;
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{LIMIT, Node};

/// A stall under a running transfer.
const FOLLOWED: Duration = Duration::from_secs(10);

/// The host has this address of IPv4 and its IPv6 one; or only this one, of IPv6.
fn readdress(host: &Host, address: &str) {
    let six = address.contains(':');
    let away = if six { "ip -6 addr flush dev up0 scope global;" } else { "" };
    let add = format!("ip addr add {address} dev up0 {}", if six { "nodad" } else { "" });
    host.run(&["sh", "-c", &format!("ip -4 addr flush dev up0; {away} {add}")]).ok();
}

fn used(node: &Node, peer: &str) -> String {
    node.cli(&["--json", "path", peer]).json()["endpoint"].as_str().unwrap_or_default().to_owned()
}

/// Is that one of the host's addresses, with a port?
fn has(host: &Host, place: &str) -> bool {
    let all = host.run(&["ip", "-o", "addr", "show", "dev", "up0", "scope", "global"]).ok();
    place.parse::<SocketAddr>().is_ok_and(|at| all.contains(&format!(" {}/", at.ip())))
}

#[test]
fn a_transfer_goes_on_when_either_end_gets_another_address_of_either_family() {
    let mut town = Town::new(Underlay::Both);
    // Without a relay: each is found where it is now, or not at all.
    town.coordinator.set(|settings| settings["relay"] = serde_json::json!({ "enabled": false }));
    let (web, orders) = (&town.web, &town.orders);
    let mut streams = Streams::open(&web.host, &orders.host, &orders.v4(), 8080);
    for (moves, stays, name, address) in [
        (web, orders, "web-1", "10.91.77.1/16"),
        (orders, web, "orders-1", "10.91.77.2/16"),
        (web, orders, "web-1", "fd91::7701/64"),
        (web, orders, "web-1", "10.91.77.3/16"),
        (orders, web, "orders-1", "10.91.77.4/16"),
    ] {
        readdress(&moves.host, address);
        let took = streams.go_on(500_000);
        println!("{name} at {address}: both streams moved 500 kB within {took:?}");
        assert!(took <= FOLLOWED, "{name} at {address}: {took:?}");
        until("it is known where it is now", LIMIT, || has(&moves.host, &used(stays, name)));
    }
    // No reset, and every byte is what it should be.
    streams.end();
}
