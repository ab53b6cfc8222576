//! Where there is no NAT, or one of only one address family: firewalls that let nobody in unasked, and hosts of two families.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::time::{Duration, Instant};

use warren_netns_tests::nat::{Home, Nat, OUTSIDE};
use warren_netns_tests::neighbours::Meeting;
use warren_netns_tests::street::{Host, Street, Underlay};
use warren_netns_tests::town::BEFORE;
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{Coordinator, LIMIT};

/// As in front of a cloud's hosts, and in every home router for IPv6: only answers come in, for half a minute.
fn put_firewall_before(host: &Host) {
    let chain = "add table inet guard; add chain inet guard in { type filter hook input priority -10 ; }; \
         add rule inet guard in iifname up0 ct state established,related accept; \
         add rule inet guard in iifname up0 meta l4proto { tcp, udp } drop";
    host.run(&["nft", chain]).ok();
    let short =
        ["net.netfilter.nf_conntrack_udp_timeout=30", "net.netfilter.nf_conntrack_udp_timeout_stream=30"];
    host.run(&[&["sysctl", "-qw"][..], &short].concat()).ok();
}

fn becomes_direct(meeting: &Meeting, place: &str) {
    until(&format!("{place} is used"), LIMIT, || {
        meeting.say_something();
        meeting.used() == place
    });
}

#[test]
fn behind_firewalls_without_translation_nodes_meet_directly_and_a_silent_session_stays_open() {
    for underlay in [Underlay::V4, Underlay::V6] {
        let street = Street::new(&["coord", "web-1", "orders-1"], underlay);
        let coordinator = Coordinator::start(&street, "coord", underlay);
        let meeting = Meeting::of(street, coordinator);
        [&meeting.web, &meeting.orders].iter().for_each(|node| put_firewall_before(&node.host));
        meeting.coordinator.apply(BEFORE);
        let took = meeting.first_answer(Duration::from_secs(3));
        assert!(took.is_some(), "{underlay:?} {:#}", meeting.path(&meeting.web, "orders-1"));
        let (v4, v6) = (&meeting.orders.host.v4, &meeting.orders.host.v6);
        let at = if underlay == Underlay::V6 { format!("[{v6}]:51820") } else { format!("{v4}:51820") };
        becomes_direct(&meeting, &at);
        println!("{underlay:?}: first answer after {took:?}, {}", meeting.used());
        // Longer than the firewall remembers. Nobody asks or answers meanwhile.
        let open = |host: &Host| {
            let list = host.run(&["conntrack", "-L", "-p", "udp"]).text();
            let used = |line: &&str| line.matches("port=51820").count() == 4 && !line.contains("UNREPLIED");
            list.lines().find(used).and_then(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
        };
        let begun = Instant::now();
        until("three times the firewall's memory have passed in silence", Duration::from_secs(120), || {
            let left = [&meeting.web, &meeting.orders].map(|node| open(&node.host));
            assert!(left.iter().all(Option::is_some), "{underlay:?} after {:?}: {left:?}", begun.elapsed());
            begun.elapsed() > Duration::from_secs(90)
        });
    }
}

/// Both reach their coordinator over IPv6, and each other only through their NATs, over IPv4: what the coordinator sees of them
/// does not help.
#[test]
fn who_speaks_ipv6_with_its_coordinator_is_found_over_ipv4_behind_its_nat() {
    let mut street = Street::new(&["coord", "gate-a", "gate-b", "web-1", "orders-1"], Underlay::Both);
    let home = Home::new(&mut street, "web-1", "gate-a", Nat::Restricted);
    let office = Home::new(&mut street, "orders-1", "gate-b", Nat::Restricted);
    street.route_v6(&home.inner, &home.router, "coord", "fd92:a:0:0");
    street.route_v6(&office.inner, &office.router, "coord", "fd92:b:0:0");
    let coordinator = Coordinator::start_with_both(&street, "coord");
    let meeting = Meeting::of(street, coordinator);
    let channels = meeting.coordinator.warren(&["--json", "node", "list"]).text();
    assert!(channels.contains("fd92:a:") && channels.contains("fd92:b:"), "{channels}");
    meeting.coordinator.apply(BEFORE);
    let took = meeting.first_answer(Duration::from_secs(3));
    assert!(took.is_some(), "{:#}", meeting.path(&meeting.web, "orders-1"));
    becomes_direct(&meeting, &format!("{}:{OUTSIDE}", office.router.v4));
    println!("first answer after {took:?}, {}", meeting.used());
}
