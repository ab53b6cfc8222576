//! Nodes behind NATs find each other without a setting, wherever that is possible without a relay.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::time::{Duration, Instant};

use warren_netns_tests::nat::{Home, Nat, OUTSIDE};
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::town::BEFORE;
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

/// The same policy with nobody joined to anybody.
fn nobody() -> String {
    let end = BEFORE.find("[[grant]]").unwrap();
    let dns = BEFORE.find("[dns]").unwrap();
    format!("{}{}", &BEFORE[..end], &BEFORE[dns..])
}

struct Neighbours {
    coordinator: Coordinator,
    web: Node,
    orders: Node,
    home: Home,
    office: Home,
    _street: Street,
}

impl Neighbours {
    /// A web node at home and an orders node in an office, each behind a NAT, with the same inner addresses.
    fn new(home: Nat, office: Nat) -> Neighbours {
        let mut street = Street::new(&["coord", "gate-a", "gate-b", "web-1", "orders-1"], Underlay::V4);
        let home = Home::new(&mut street, "web-1", "gate-a", home);
        let office = Home::new(&mut street, "orders-1", "gate-b", office);
        let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        let web = Node::enrol(&street, &coordinator, "web-1", &["web"]);
        let orders = Node::enrol(&street, &coordinator, "orders-1", &["orders"]);
        Neighbours { coordinator, web, orders, home, office, _street: street }
    }

    /// Other NATs, new agents, and nobody has said a word to the other.
    fn become_kinds(&mut self, home: Nat, office: Nat) {
        self.coordinator.apply(&nobody());
        self.web.stop();
        self.orders.stop();
        self.home.become_kind(home);
        self.office.become_kind(office);
        self.web.start();
        self.orders.start();
        self.web.wait_enrolled();
        self.orders.wait_enrolled();
    }

    fn wait_mapped(&self) {
        for node in [&self.web, &self.orders] {
            let mapped = || node.status().is_some_and(|s| s["mapped"].is_string());
            until("the node knows where it is seen", LIMIT, mapped);
        }
    }

    /// From the grant that joins them to the first answer; `None`: not within the limit.
    fn first_answer(&self, limit: Duration) -> Option<Duration> {
        let to = self.orders.v4();
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if self.web.host.run(&["ping", "-c", "1", "-W", "1", &to]).status.success() {
                return Some(begun.elapsed());
            }
        }
        None
    }

    fn path(&self, node: &Node, peer: &str) -> serde_json::Value {
        node.cli(&["--json", "path", peer]).json()
    }
}

/// Wherever two NATs let two hosts meet at all without a relay (RFC 5128 section 3.3), they meet within 3 s, and each knows
/// the other where the world sees it.
#[test]
fn behind_any_two_nats_that_allow_it_nodes_meet_within_three_seconds() {
    use Nat::{Open, Restricted, Symmetric};
    let possible = [
        (Restricted, Restricted),
        (Open, Open),
        (Open, Restricted),
        (Restricted, Open),
        (Symmetric, Open),
        (Open, Symmetric),
    ];
    let mut meeting = Neighbours::new(Restricted, Restricted);
    let mut table = String::new();
    for (home, office) in possible {
        meeting.become_kinds(home, office);
        meeting.wait_mapped();
        meeting.coordinator.apply(BEFORE);
        let took = meeting.first_answer(Duration::from_secs(3));
        table.push_str(&format!("{home:?} and {office:?}: {took:?}\n"));
        assert!(took.is_some(), "{table}\n{:#}", meeting.path(&meeting.web, "orders-1"));
        if office != Symmetric {
            let outside = format!("{}:{OUTSIDE}", meeting.office.router.v4);
            assert_eq!(meeting.path(&meeting.web, "orders-1")["endpoint"], outside.as_str(), "{table}");
        }
    }
    println!("{table}");
}

/// Where no hole can be made without a relay, nothing is promised: the node says that there is no answer.
#[test]
fn behind_two_nats_that_no_hole_can_be_made_through_the_path_says_so() {
    let meeting = Neighbours::new(Nat::Symmetric, Nat::Symmetric);
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    assert_eq!(meeting.first_answer(Duration::from_secs(3)), None);
    let path = meeting.path(&meeting.web, "orders-1");
    assert!(path["why"].as_str().unwrap().contains("no answer yet"), "{path:#}");
}

/// RFC 4787 section 4.3: a mapping lives as long as somebody sends; a silent session keeps its own open.
#[test]
fn a_silent_session_keeps_its_mapping_open() {
    let meeting = Neighbours::new(Nat::Restricted, Nat::Restricted);
    for gate in [&meeting.home.router, &meeting.office.router] {
        let short =
            ["net.netfilter.nf_conntrack_udp_timeout=25", "net.netfilter.nf_conntrack_udp_timeout_stream=25"];
        gate.run(&[&["sysctl", "-qw"][..], &short].concat()).ok();
    }
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    meeting.first_answer(Duration::from_secs(3)).expect("they meet");
    let known = || {
        let list = meeting.office.router.run(&["conntrack", "-L", "-p", "udp"]).text();
        let outside = meeting.home.router.v4.clone();
        let line = list.lines().find(|line| line.contains(&format!("dst={outside}"))).map(str::to_owned);
        let seconds = line.and_then(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
        (list, seconds)
    };
    // Half of its life passes in silence; then something renews it.
    let low = eventually("the mapping grows old", LIMIT, || known().1.filter(|left| *left < 12));
    until("it is renewed", LIMIT, || known().1.is_some_and(|left| left > low + 5));
    meeting.orders.host.run(&["ping", "-c", "1", "-W", "1", &meeting.web.v4()]).ok();
}

/// A router that was switched off and on gives other ports; what runs goes on at the new place.
#[test]
fn a_transfer_survives_a_nat_that_forgets_everything() {
    let meeting = Neighbours::new(Nat::Restricted, Nat::Restricted);
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    meeting.first_answer(Duration::from_secs(3)).expect("they meet");
    let _server = meeting.orders.serve_http(8080);
    let bytes: Vec<u8> = (0..30_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    std::fs::write(meeting.orders.host.path("www/data.bin"), &bytes).unwrap();
    let got = meeting.web.host.path("got.bin");
    let url = format!("http://{}:8080/data.bin", meeting.orders.v4());
    let mut transfer =
        meeting.web.host.daemon("transfer", &["curl", "-sS", "--limit-rate", "6M", "-o", &got, &url]);
    let size = || std::fs::metadata(&got).map(|m| m.len()).unwrap_or_default();
    for (part, gate) in [(5_000_000, &meeting.home), (15_000_000, &meeting.office)] {
        until("the transfer runs", LIMIT, || size() > part);
        gate.forget();
    }
    let status = eventually("the transfer ends", LIMIT, || transfer.finished());
    assert!(status.success(), "{}", transfer.output());
    assert!(std::fs::read(&got).unwrap() == bytes, "every byte came");
}
