//! Packets of every size find their way: whatever the underlay carries, whatever the families inside and outside.

use std::time::Duration;

use warren_netns_tests::pair::{Pair, bulk};
use warren_netns_tests::process::Daemon;
use warren_netns_tests::street::{Host, Street, Underlay};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{LIMIT, Node};

fn tunnel_mtu(host: &Host) -> String {
    host.run(&["cat", "/sys/class/net/warren0/mtu"]).stdout.trim().to_owned()
}

/// Sends datagrams of `size` bytes that must not be fragmented until the kernel says they are too large.
fn is_told_too_big(host: &Host, to: &str, size: usize) -> bool {
    let script = format!(
        "import socket,time,sys,errno\n\
         v6 = ':' in '{to}'\n\
         s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)\n\
         s.setsockopt(*((41, 23, 2) if v6 else (0, 10, 2)))  # IPV6_MTU_DISCOVER, IP_MTU_DISCOVER: DO\n\
         s.connect(('{to}', 8081))\n\
         for _ in range(100):\n\
         \x20   try: s.send(bytes({size}))\n\
         \x20   except ConnectionRefusedError: pass  # one that arrived in fragments, and nobody listens\n\
         \x20   except OSError as e: sys.exit(0 if e.errno == errno.EMSGSIZE else 3)\n\
         \x20   time.sleep(0.02)\n\
         sys.exit(4)\n"
    );
    host.run(&["python3", "-c", &script]).status.success()
}

/// A socket that writes how many bytes each datagram had.
fn listen_udp(host: &Host) -> Daemon {
    let script = "import socket\n\
         s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n\
         s.bind(('::', 8081))\n\
         print('listens', flush=True)\n\
         while True: print('got', len(s.recv(65536)), flush=True)\n";
    let daemon = host.daemon("udp", &["python3", "-c", script]);
    until("the socket listens", LIMIT, || daemon.output().contains("listens"));
    daemon
}

fn say_udp(host: &Host, to: &str, size: usize) {
    let script = format!(
        "import socket\n\
         s = socket.socket(socket.AF_INET6 if ':' in '{to}' else socket.AF_INET, socket.SOCK_DGRAM)\n\
         s.sendto(bytes({size}), ('{to}', 8081))\n"
    );
    host.run(&["python3", "-c", &script]).ok();
}

fn every_mtu(underlay: Underlay) {
    let mut pair = Pair::new(Street::new(&["a", "b", "coord"], underlay), underlay);
    for (link, tunnel) in [(1500u16, "1420"), (9000, "8920"), (1280, "1280")] {
        pair.street.set_mtu(link);
        pair.a.restart();
        pair.b.restart();
        [&mut pair.a, &mut pair.b].into_iter().for_each(Node::wait_enrolled);
        for node in [&pair.a, &pair.b] {
            until("the tunnel has its MTU", LIMIT, || tunnel_mtu(&node.host) == tunnel);
        }
        pair.assert_bulk_completes(&format!("{underlay:?} underlay of {link}"));
    }
    // The underlay carries 1280 now: an IPv6 packet of 1280 bytes leaves in two fragments.
    let heard = listen_udp(&pair.b.host);
    let before = pair.a.counter("udp-fragmented");
    let to = pair.b.v6();
    eventually("1232 bytes over IPv6 arrive", LIMIT, || {
        say_udp(&pair.a.host, &to, 1232);
        heard.output().contains("got 1232").then_some(())
    });
    assert!(pair.a.counter("udp-fragmented") > before);
}

#[test]
fn bulk_tcp_completes_over_ipv4_underlays_of_1500_9000_and_1280() {
    every_mtu(Underlay::V4);
}

#[test]
fn bulk_tcp_completes_over_ipv6_underlays_of_1500_9000_and_1280() {
    every_mtu(Underlay::V6);
}

fn narrow_router(underlay: Underlay) {
    let mut street = Street::new(&["a", "b", "router", "coord"], underlay);
    street.move_behind("b", "router", 1280, underlay);
    let pair = Pair::new(street, underlay);
    assert_eq!((tunnel_mtu(&pair.a.host), tunnel_mtu(&pair.b.host)), ("1420".into(), "1280".into()));
    pair.assert_bulk_completes(&format!("{underlay:?}, a router with a link of 1280"));
    // Again, now that the path is known: SYNs announce less from the beginning.
    pair.assert_bulk_completes(&format!("{underlay:?}, a known link of 1280"));
    assert!(is_told_too_big(&pair.a.host, &pair.b.v4(), 1300), "IPv4");
    assert!(is_told_too_big(&pair.a.host, &pair.b.v6(), 1300), "IPv6");
    assert_eq!(["wg-not-authentic", "wg-duplicate"].map(|name| pair.b.counter(name)), [0; 2]);
}

#[test]
fn a_router_with_a_narrow_ipv4_link_on_the_way_stops_nothing() {
    narrow_router(Underlay::V4);
}

#[test]
fn a_router_with_a_narrow_ipv6_link_on_the_way_stops_nothing() {
    narrow_router(Underlay::V6);
}

/// A container's namespace behind node `a`, masqueraded: its link is wider than the tunnel.
#[test]
fn a_syn_that_is_forwarded_announces_what_the_tunnel_carries() {
    let mut street = Street::new(&["a", "b", "coord", "box"], Underlay::V4);
    street.move_behind("box", "a", 9000, Underlay::V4);
    let inside = street.host("box");
    let pair = Pair::new(street, Underlay::V4);
    let script = "set -e; nft add table ip box; \
         nft add chain ip box out '{ type nat hook postrouting priority 100; }'; \
         nft add rule ip box out oifname warren0 masquerade";
    pair.a.host.run(&["bash", "-c", script]).ok();
    let syns = "tcp[tcpflags] & tcp-syn != 0 and dst port 8080";
    let heard =
        pair.b.host.daemon("syn", &["tcpdump", "-i", "warren0", "-nn", "-l", "--immediate-mode", syns]);
    until("tcpdump listens", LIMIT, || heard.output().contains("listening on"));
    let (file, url) = (inside.path("got"), format!("http://{}:8080/bulk", pair.b.v4()));
    inside.run(&["curl", "-sS", "--max-time", "10", "-o", &file, &url]).ok();
    assert!(std::fs::read(&file).unwrap() == bulk());
    until("the SYN was seen", Duration::from_secs(5), || heard.output().contains("mss "));
    assert!(heard.output().contains("mss 1380,"), "{}", heard.output());
}
