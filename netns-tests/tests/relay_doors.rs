//! Doors of relays that are programs of their own: two offices whose firewalls let TCP 443 out and nothing else, a coordinator
//! whose own relay is switched off, and two relays elsewhere.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::time::{Duration, Instant};

use serde_json::Value;
use warren_netns_tests::nat::{Home, Nat};
use warren_netns_tests::outpost::Outpost;
use warren_netns_tests::streams::Streams;
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::town::BEFORE;
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

/// From the start of a node behind such a firewall to its first answer; of a stall when a relay is killed.
const UP: Duration = Duration::from_secs(5);
const NAMES: [&str; 2] = ["fra", "ams"];

struct Offices {
    coordinator: Coordinator,
    relays: Vec<Outpost>,
    homes: [Home; 2],
    /// Last, so that it goes last.
    street: Street,
}

impl Offices {
    /// The relays run with these words.
    fn new(flags: &[&str]) -> Offices {
        let hosts = ["coord", "gate-a", "gate-b", "web-1", "orders-1", "fra", "ams"];
        let mut street = Street::new(&hosts, Underlay::V4);
        let homes = [("web-1", "gate-a"), ("orders-1", "gate-b")]
            .map(|(inner, router)| Home::new(&mut street, inner, router, Nat::Symmetric));
        let mut coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        coordinator.set(|settings| settings["relay"] = serde_json::json!({ "enabled": false }));
        let start = |name| Outpost::start_with(&street, &coordinator, name, flags);
        let relays = NAMES.map(start).into();
        Offices { coordinator, relays, homes, street }
    }

    /// From now on nothing passes but TCP to these ports of these hosts.
    fn only(&self, doors: &[(&str, u16)]) {
        for home in &self.homes {
            let nft = |text: &str| home.router.run(&["nft", text]).ok();
            nft("add table ip fire; delete table ip fire");
            nft(
                "add table ip fire; add chain ip fire way { type filter hook forward priority 0 ; policy drop ; }",
            );
            for (host, port) in doors {
                let at = &self.street.host(host).v4;
                nft(&format!("add rule ip fire way ip daddr {at} tcp dport {port} accept"));
                nft(&format!("add rule ip fire way ip saddr {at} tcp sport {port} accept"));
            }
        }
    }

    /// Both enrolled behind the firewall; from the start of the second to its first answer.
    fn members(&self) -> (Node, Node, Duration) {
        let orders = Node::enrol(&self.street, &self.coordinator, "orders-1", &["orders"]);
        let token = self.coordinator.token(&["--name", "web-1", "--tag", "web"]);
        self.coordinator.apply(BEFORE);
        let begun = Instant::now();
        let web = Node::with_token(&self.street, "web-1", &token);
        until("they talk", LIMIT, || {
            web.host.run(&["ping", "-c", "1", "-W", "1", &orders.v4()]).status.success()
        });
        let talks = begun.elapsed();
        (web, orders, talks)
    }

    fn row(&self, name: &str) -> Value {
        let rows = self.coordinator.json(&["relay", "list"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
        row.unwrap_or(Value::Null)
    }
}

fn path(node: &Node, peer: &str) -> Value {
    node.cli(&["--json", "path", peer]).json()
}

/// The relay that each sends over.
fn used(web: &Node, orders: &Node) -> [String; 2] {
    [path(web, "orders-1"), path(orders, "web-1")]
        .map(|path| path["relay"].as_str().unwrap_or("none").to_owned())
}

/// By what each relay is reached that the node knows.
fn ways(node: &Node) -> Vec<(String, String)> {
    let status = node.status().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let relays = status["relays"].as_array().cloned().unwrap_or_default();
    relays.iter().map(|relay| (text(&relay["name"]), text(&relay["way"]["transport"]))).collect()
}

#[test]
fn the_doors_of_relays_elsewhere_carry_where_only_tcp_443_passes_and_one_takes_over_from_another() {
    let mut offices = Offices::new(&[]);
    offices.only(&[("coord", 443), ("fra", 443), ("ams", 443)]);
    let (web, orders, talks) = offices.members();
    println!("talks after {talks:?}");
    let all: Vec<(String, String)> = NAMES.map(|name| (name.to_owned(), "websocket".to_owned())).into();
    for node in [&web, &orders] {
        until("both relays are reached by their doors", LIMIT, || ways(node) == all);
    }
    let first = used(&web, &orders);
    assert!(first.iter().all(|relay| NAMES.contains(&relay.as_str())), "{first:?}");
    until("the relay says so", LIMIT, || {
        NAMES.iter().all(|name| offices.row(name)["doors"]["websocket"].as_u64() >= Some(2))
    });
    let doors = offices.row("fra")["doors"].clone();
    assert_eq!(doors["listening"].as_array().map(Vec::len), Some(3), "{doors}");

    let mut streams = Streams::open(&web.host, &orders.host, &orders.v4(), 8080);
    until("both send over one relay", LIMIT, || {
        let used = used(&web, &orders);
        used[0] == used[1]
    });
    let dies = NAMES.iter().position(|name| *name == used(&web, &orders)[0]).unwrap();
    offices.relays[dies].kill_9();
    let stalled = streams.go_on(200_000);
    println!("killed {}: both streams moved 200 kB within {stalled:?}", NAMES[dies]);
    let other = NAMES[1 - dies];
    until("both use the other", LIMIT, || used(&web, &orders).iter().all(|relay| relay == other));
    streams.go_on(500_000);
    // No reset, and every byte is what it should be.
    streams.end();
    assert!(talks <= UP && stalled <= UP, "{talks:?} {stalled:?}");
}

/// The ports are told, so nodes need not guess.
#[test]
fn doors_at_another_port_are_found_and_who_says_that_he_has_none_is_asked_at_none() {
    let mut offices = Offices::new(&["--door-port", "8443"]);
    offices.only(&[("coord", 443), ("fra", 8443), ("ams", 8443)]);
    let (web, orders, talks) = offices.members();
    assert!(talks <= UP, "{talks:?}");
    assert!(ways(&web).iter().any(|(_, way)| way == "websocket"), "{:?}", ways(&web));
    let listening = offices.row("fra")["doors"]["listening"].clone();
    let has =
        |text: &str| listening.as_array().unwrap().iter().any(|at| at.as_str().unwrap().ends_with(text));
    assert!(has(":8443") && has(":7946") && !has(":443"), "{listening}");
    // Without doors, and with a port that somebody else has.
    offices.relays.iter_mut().for_each(Outpost::kill_9);
    let host = offices.relays[1].host.clone();
    let taken = host.daemon("taken", &["python3", "-m", "http.server", "8443"]);
    until("somebody has the port", LIMIT, || host.run(&["ss", "-Htln"]).text().contains(":8443"));
    offices.relays[0].set_flags(&["--no-doors"]);
    offices.relays.iter_mut().for_each(Outpost::again);
    let error = || {
        let status = orders.status().unwrap_or_default();
        let relay =
            status["relays"].as_array().and_then(|all| all.iter().find(|r| r["name"] == "fra").cloned());
        relay.map(|relay| relay["way"]["last_error"].to_string()).unwrap_or_default()
    };
    until("the node says why it does not reach it", LIMIT * 2, || error().contains("it has no door"));
    let none = serde_json::json!([]);
    until("the relay says that it has none", LIMIT, || offices.row("fra")["doors"]["listening"] == none);
    let log = offices.relays[1].log();
    assert!(log.contains("no door on TCP") && log.contains("`--door-port PORT`"), "{log}");
    drop(taken);
}
