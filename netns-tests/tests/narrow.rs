//! Bulk copies complete whatever the way between two hosts carries, direct or over the relay, and whether or not its
//! routers say what they drop.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::time::Duration;

use warren_netns_tests::narrow::Narrow;
use warren_netns_tests::pair::Pair;
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{LIMIT, Node};

/// Usual ways, PPPoE, tunnels of clouds, IPv6's least, and one with two tunnels in it.
const WIDTHS: [u16; 6] = [1500, 1492, 1400, 1300, 1280, 1124];

/// Every width, with and without the routers' word.
fn every_cell(underlay: Underlay, relayed: bool) {
    let mut street = Street::new(&["a", "b", "near", "far", "coord"], underlay);
    let narrow = Narrow::new(&mut street, "b", "near", "far", underlay);
    let mut pair = Pair::new(street, underlay);
    if relayed {
        narrow.wall(&pair.a.host);
    }
    // No IPv6 link is narrower than 1280 (RFC 8200 section 5).
    for width in WIDTHS.into_iter().filter(|width| underlay == Underlay::V4 || *width >= 1280) {
        for silent in [false, true] {
            narrow.set_silent(silent);
            narrow.set_mtu(width);
            narrow.forget(&[&pair.a.host, &pair.b.host, &pair.coordinator.host]);
            pair.a.restart();
            pair.b.restart();
            [&mut pair.a, &mut pair.b].into_iter().for_each(Node::wait_enrolled);
            let used = || pair.a.cli(&["--json", "path", "b"]).json()["endpoint"].to_string();
            let talk = || pair.a.host.run(&["ping", "-c", "1", "-W", "1", &pair.b.v4()]).status.success();
            until("they talk", Duration::from_secs(10), talk);
            // What came first may have come over the relay, until the direct way is proven.
            until("by the way that there is", LIMIT, || talk() && used().contains("relayed") == relayed);
            let word = if silent { "silent routers" } else { "routers that speak" };
            pair.assert_bulk_completes(&format!("{underlay:?} of {width}, relayed {relayed}, {word}"));
        }
    }
}

#[test]
fn bulk_tcp_completes_over_every_direct_ipv4_path() {
    every_cell(Underlay::V4, false);
}

#[test]
fn bulk_tcp_completes_over_every_direct_ipv6_path() {
    every_cell(Underlay::V6, false);
}

#[test]
fn bulk_tcp_completes_over_every_relayed_ipv4_path() {
    every_cell(Underlay::V4, true);
}

#[test]
fn bulk_tcp_completes_over_every_relayed_ipv6_path() {
    every_cell(Underlay::V6, true);
}
