//! Networks without UDP: a firewall lets TCP 443 out, or UDP 443, and nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::time::{Duration, Instant};

use warren_netns_tests::capture::{Tap, contains};
use warren_netns_tests::nat::{Home, Nat};
use warren_netns_tests::streams::Streams;
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::town::BEFORE;
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

/// From the start of a node behind such a firewall to its first answer; of a stall under a running transfer.
const UP: Duration = Duration::from_secs(5);
/// After the firewall has opened.
const BACK: Duration = Duration::from_secs(30);

struct Offices {
    coordinator: Coordinator,
    home: Home,
    office: Home,
    /// Last, so that it goes last.
    street: Street,
}

impl Offices {
    fn new(kind: Nat) -> Offices {
        let mut street = Street::new(&["coord", "gate-a", "gate-b", "web-1", "orders-1"], Underlay::V4);
        let home = Home::new(&mut street, "web-1", "gate-a", kind);
        let office = Home::new(&mut street, "orders-1", "gate-b", kind);
        let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        Offices { coordinator, home, office, street }
    }

    /// Only this is let through from now on, in both directions and also of what runs; `None`: everything.
    fn only(&self, what: Option<&str>) {
        for home in [&self.home, &self.office] {
            let nft = |text: &str| home.router.run(&["nft", text]).ok();
            nft("add table ip fire; delete table ip fire");
            let Some(what) = what else { continue };
            let coordinator = &self.coordinator.host.v4;
            nft(
                "add table ip fire; add chain ip fire way { type filter hook forward priority 0 ; policy drop ; }",
            );
            nft(&format!("add rule ip fire way ip daddr {coordinator} {what} dport 443 accept"));
            nft(&format!("add rule ip fire way ip saddr {coordinator} {what} sport 443 accept"));
        }
    }

    fn members(&self) -> (Node, Node) {
        let mut web = Node::begin(&self.street, &self.coordinator, "web-1", &["web"]);
        let mut orders = Node::begin(&self.street, &self.coordinator, "orders-1", &["orders"]);
        [&mut web, &mut orders].into_iter().for_each(Node::wait_enrolled);
        (web, orders)
    }
}

fn answered(from: &Node, to: &Node) -> bool {
    from.host.run(&["ping", "-c", "1", "-W", "1", &to.v4()]).status.success()
}

/// By what the coordinator is reached.
fn channel(node: &Node) -> String {
    let status = node.status().unwrap_or_default();
    status["coordinator_way"]["transport"].as_str().unwrap_or_default().to_owned()
}

/// The same, as the coordinator says.
fn told(offices: &Offices, name: &str) -> String {
    let node = offices.coordinator.json(&["node", "show", name]);
    node["transport"].as_str().unwrap_or_default().to_owned()
}

/// By what the coordinator's relay is reached.
fn relay(node: &Node) -> String {
    let status = node.status().unwrap_or_default();
    let relay = if status["relays"].is_array() { &status["relays"][0] } else { &status["relay"] };
    relay["way"]["transport"].as_str().unwrap_or_default().to_owned()
}

/// IPv4 that is not TCP to or from port 443.
fn strangers(seen: &[Vec<u8>]) -> Vec<&Vec<u8>> {
    let is_ip = |frame: &&Vec<u8>| frame.get(12..14) == Some(&[8, 0][..]);
    let is_web = |frame: &&Vec<u8>| {
        let at = 14 + usize::from(frame[14] & 15) * 4;
        frame[23] == 6
            && [at, at + 2].iter().any(|at| frame.get(*at..at + 2) == Some(&443u16.to_be_bytes()[..]))
    };
    seen.iter().filter(is_ip).filter(|frame| !is_web(frame)).collect()
}

#[test]
fn a_node_that_may_use_nothing_but_tcp_443_is_enrolled_and_talks() {
    let offices = Offices::new(Nat::Symmetric);
    offices.only(Some("tcp"));
    let tap = Tap::start(&offices.office.router, "up0");
    let orders = Node::enrol(&offices.street, &offices.coordinator, "orders-1", &["orders"]);
    let token = offices.coordinator.token(&["--name", "web-1", "--tag", "web"]);
    offices.coordinator.apply(BEFORE);
    let begun = Instant::now();
    let web = Node::with_token(&offices.street, "web-1", &token);
    until("it is connected", LIMIT, || channel(&web) == "websocket");
    let connected = begun.elapsed();
    until("it talks", LIMIT, || answered(&web, &orders));
    let talks = begun.elapsed();
    println!("connected after {connected:?}, talks after {talks:?}");
    let server = orders.serve_http(8080);
    let (file, secret) = (orders.host.path("www/bulk"), "said-inside-the-tunnel");
    std::fs::write(&file, secret.repeat(200_000)).unwrap();
    let url = format!("http://{}:8080/bulk", orders.v4());
    let got = web.host.run(&["curl", "-sS", "--max-time", "30", &url]);
    assert_eq!(got.stdout.len(), 200_000 * secret.len(), "{}", got.text());
    drop(server);
    assert_eq!(
        (channel(&orders), relay(&web), relay(&orders)),
        ("websocket".into(), "websocket".into(), "websocket".into())
    );
    let seen = tap.finish();
    assert!(seen.len() > 1000);
    // What the firewall drops it sees on its inner side only.
    assert_eq!(strangers(&seen).len(), 0, "{:?}", strangers(&seen).first());
    for word in [secret, "GET /", "orders-1", "web-1", "warren"] {
        assert!(!seen.iter().any(|packet| contains(packet, word.as_bytes())), "{word}");
    }
    let doors = &offices.coordinator.json(&["status"])["doors"];
    assert!(doors["websocket"].as_u64().unwrap() >= 4 && doors["quic"] == 0, "{doors}");
    assert!(talks <= UP, "{talks:?}");
}

#[test]
fn where_only_udp_443_passes_it_goes_in_quic_datagrams_and_carries_full_packets() {
    let offices = Offices::new(Nat::Symmetric);
    offices.only(Some("udp"));
    let (web, orders) = offices.members();
    offices.coordinator.apply(BEFORE);
    until("they talk", LIMIT, || answered(&web, &orders));
    let server = orders.serve_http(8080);
    std::fs::write(orders.host.path("www/bulk"), vec![7; 4_000_000]).unwrap();
    let url = format!("http://{}:8080/bulk", orders.v4());
    let got = web.host.run(&["curl", "-sS", "--max-time", "30", "-o", &web.host.path("got"), &url]);
    assert!(got.status.success(), "{}", got.text());
    drop(server);
    let large = web.host.run(&["ping", "-c", "3", "-i", "0.2", "-M", "do", "-s", "1300", &orders.v4()]);
    assert!(large.status.success(), "{}", large.text());
    assert_eq!((channel(&web), relay(&web), relay(&orders)), ("quic".into(), "quic".into(), "quic".into()));
    assert_eq!(told(&offices, "web-1"), "quic");
}

#[test]
fn a_firewall_that_closes_under_a_transfer_breaks_nothing_and_when_it_opens_udp_is_taken_again() {
    let offices = Offices::new(Nat::Symmetric);
    let (web, orders) = offices.members();
    offices.coordinator.apply(BEFORE);
    until("they talk", LIMIT, || answered(&web, &orders));
    assert_eq!((channel(&web), relay(&web)), ("udp".into(), "udp".into()));
    let mut streams = Streams::open(&web.host, &orders.host, &orders.v4(), 8080);
    offices.only(Some("tcp"));
    let stalled = streams.go_on(200_000);
    println!("closed: both streams moved 200 kB within {stalled:?}");
    assert_eq!((relay(&web), relay(&orders)), ("websocket".into(), "websocket".into()));
    assert_eq!(told(&offices, "web-1"), "udp");
    until("the control channel follows", LIMIT, || {
        channel(&web) == "websocket" && told(&offices, "web-1") == "websocket"
    });
    let shown = offices.coordinator.warren(&["node", "list"]).ok();
    let row = shown.lines().find(|line| line.starts_with("web-1")).unwrap_or_default();
    assert!(row.contains(", by websocket"), "{shown}");
    streams.go_on(500_000);
    offices.only(None);
    let nodes = [&web, &orders];
    let back = until("UDP is taken again", BACK, || nodes.iter().all(|node| relay(node) == "udp"));
    let control = until("also for control", BACK, || nodes.iter().all(|node| channel(node) == "udp"));
    // The node shows a new channel as soon as there is one; the coordinator once it has heard who speaks there.
    until("the coordinator says so, too", LIMIT, || told(&offices, "web-1") == "udp");
    println!("opened: frames over UDP after {back:?}, control {control:?} later");
    streams.go_on(500_000);
    streams.end();
    assert!(stalled <= UP, "{stalled:?}");
    for node in nodes {
        assert!(!node.log().contains("coordinator-away") || channel(node) == "udp");
    }
}

/// The direct path and UDP to the relay die in the same moment.
#[test]
fn a_firewall_that_closes_all_udp_under_a_direct_transfer_breaks_nothing() {
    let offices = Offices::new(Nat::Open);
    let (web, orders) = offices.members();
    offices.coordinator.apply(BEFORE);
    until("they talk", LIMIT, || answered(&web, &orders));
    let direct = |node: &Node, peer: &str| {
        let path = node.cli(&["--json", "path", peer]).json();
        path["relay"].is_null() && path["proven"].is_string()
    };
    let both = || direct(&web, "orders-1") && direct(&orders, "web-1");
    until("directly", LIMIT, || answered(&web, &orders) && both());
    let mut streams = Streams::open(&web.host, &orders.host, &orders.v4(), 8080);
    assert!(both() && relay(&web) == "udp");
    offices.only(Some("tcp"));
    let stalled = streams.go_on(200_000);
    println!("closed: both streams moved 200 kB within {stalled:?}");
    assert_eq!((relay(&web), relay(&orders)), ("websocket".into(), "websocket".into()));
    streams.go_on(500_000);
    offices.only(None);
    until("the direct path is taken again", BACK, both);
    streams.go_on(500_000);
    streams.end();
    assert!(stalled <= UP, "{stalled:?}");
}
