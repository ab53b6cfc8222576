//! Relays that are programs of their own: two hosts with one each, beside the coordinator's own, and two nodes that no direct
//! path joins.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::time::Duration;

use serde_json::Value;
use warren_netns_tests::measure::{Pings, echo_service};
use warren_netns_tests::nat::Nat;
use warren_netns_tests::neighbours::Neighbours;
use warren_netns_tests::outpost::{Outpost, SCRAPED};
use warren_netns_tests::streams::Streams;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::BEFORE;
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::LIMIT;
use warren_netns_tests::weather::{Storm, Weather};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weather");
/// A relay that dies is left for another within this time.
const FAILOVER: Duration = Duration::from_secs(3);

/// Neighbours with a near relay (`fra`) and a far one (`ams`); the coordinator's own is farther still.
struct Town {
    fra: Outpost,
    ams: Outpost,
    meeting: Neighbours,
    _storms: [Storm; 2],
}

impl Town {
    fn new() -> Town {
        let mut meeting = Neighbours::new(Nat::Symmetric, Nat::Symmetric);
        let [fra, ams] = ["fra", "ams"].map(|name| {
            meeting.street.add_host(name, Underlay::V4);
            let flags = ["--metrics", SCRAPED];
            Outpost::start_with(&meeting.street, &meeting.coordinator, name, &flags)
        });
        let late = |host: &str, text: &str| {
            let weather: Weather = text.parse().unwrap();
            Storm::over(&meeting.street, host, PROGRAM, (weather, weather), 7)
        };
        let storms = [late("ams", "delay=20000"), late("coord", "delay=45000")];
        meeting.wait_mapped();
        meeting.coordinator.apply(BEFORE);
        meeting.first_answer(FAILOVER).expect("a relay carries it");
        let town = Town { fra, ams, meeting, _storms: storms };
        until("both talk over the nearest relay", LIMIT, || {
            town.meeting.say_something();
            town.used() == ["fra", "fra"]
        });
        town
    }

    /// Over which relay each of the two sends.
    fn used(&self) -> [String; 2] {
        let ends = [(&self.meeting.web, "orders-1"), (&self.meeting.orders, "web-1")];
        ends.map(|(node, peer)| self.meeting.path(node, peer)["relay"].as_str().unwrap_or("none").to_owned())
    }

    fn row(&self, name: &str) -> Value {
        let rows = self.meeting.coordinator.json(&["relay", "list"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
        row.unwrap_or(Value::Null)
    }
}

/// A download and an upload are not reset, and do not stand still for longer than three seconds; nor do datagrams.
#[test]
fn the_nearest_relay_is_used_and_when_it_is_killed_a_transfer_goes_on_over_another() {
    let mut town = Town::new();
    let path = town.meeting.path(&town.meeting.web, "orders-1");
    assert_eq!(path["relays"].as_array().map(Vec::len), Some(3), "{path:#}");
    assert!(path["why"].as_str().is_some_and(|why| why.contains("no direct path")), "{path:#}");
    let (web, orders) = (&town.meeting.web, &town.meeting.orders);
    // Every byte is checked, and the first error ends them.
    let mut streams = Streams::open(&web.host, &orders.host, &orders.v4(), 8080);
    let _echo = echo_service(&orders.host, 8081);
    let pings = Pings::start(&web.host, &orders.v4(), 8081, 50);
    streams.go_on(500_000);
    town.fra.kill_9();
    let stalled = streams.go_on(200_000);
    streams.go_on(2_000_000);
    streams.end();
    let datagrams = pings.stop();
    println!("both streams moved 200 kB within {stalled:?}; {datagrams:?}");
    let path = || town.meeting.path(&town.meeting.web, "orders-1");
    assert!(stalled <= FAILOVER, "{stalled:?}\n{:#}", path());
    assert!(u128::from(datagrams.gap_ms) <= FAILOVER.as_millis(), "{datagrams:?}\n{:#}", path());
    assert!(town.used().iter().all(|relay| relay == "ams"), "{:?}", town.used());
    // It starts again from its directory alone.
    town.fra.again();
    until("it is back", LIMIT, || town.row("fra")["state"] == "up" && town.row("fra")["seats"] == 2);
}

/// By the administrator, and by who stops the program: nodes leave it first.
#[test]
fn a_relay_that_drains_ends_without_a_lost_packet() {
    let mut town = Town::new();
    let _echo = echo_service(&town.meeting.orders.host, 8081);
    let pings = Pings::start(&town.meeting.web.host, &town.meeting.orders.v4(), 8081, 100);
    std::thread::sleep(Duration::from_secs(1));
    town.meeting.coordinator.warren(&["relay", "drain", "fra"]).ok();
    town.fra.wait_ended();
    until("both have left it", LIMIT, || town.used().iter().all(|relay| relay != "fra"));
    town.ams.stop();
    until("both have left the other", LIMIT, || town.used().iter().all(|relay| relay == "coordinator"));
    let friend = pings.stop();
    assert!(friend.loss_percent() == 0.0, "{friend:?}\n{}", town.fra.log());
    until("the coordinator has seen it end", LIMIT, || town.row("ams")["state"] == "away");
    // Drained, it is no relay until that is taken back.
    town.meeting.coordinator.warren(&["relay", "drain", "fra", "--undo"]).ok();
    town.fra.again();
    until("nodes use it again", LIMIT, || {
        town.meeting.say_something();
        town.used() == ["fra", "fra"]
    });
    town.meeting.coordinator.warren(&["relay", "remove", "fra"]).ok();
    until("nodes have left it", LIMIT, || {
        town.meeting.say_something();
        town.used().iter().all(|relay| relay != "fra")
    });
    assert_eq!(town.row("fra"), Value::Null);
}

/// What is allowed goes on while the coordinator is away; who is revoked is cut there within a second of its word.
#[test]
fn a_relay_carries_while_the_coordinator_is_away_and_cuts_who_is_revoked() {
    let mut town = Town::new();
    let _echo = echo_service(&town.meeting.orders.host, 8081);
    let said = |town: &Town, name: &str| town.fra.measure(name);
    assert_eq!(
        (said(&town, "warren_relay_coordinator_connected"), said(&town, "warren_relay_seats")),
        (1, 2)
    );
    assert_eq!(said(&town, "warren_relay_pairs"), 1);
    let carried = said(&town, "warren_relay_forwarded_bytes_total");
    town.meeting.coordinator.kill_9();
    let pings = Pings::start(&town.meeting.web.host, &town.meeting.orders.v4(), 8081, 50);
    std::thread::sleep(Duration::from_secs(4));
    let friend = pings.stop();
    assert!(friend.loss_percent() == 0.0, "{friend:?}");
    until("it says that nobody can be asked", LIMIT, || {
        said(&town, "warren_relay_coordinator_connected") == 0
    });
    assert!(said(&town, "warren_relay_forwarded_bytes_total") > carried, "and it carries");
    town.meeting.coordinator.serve();
    let number = |town: &Town, what: &str| town.row("fra")[what].as_u64().unwrap_or_default();
    until("the relay is back at its coordinator", LIMIT, || {
        town.meeting.say_something();
        let back = town.row("fra")["state"] == "up" && town.used() == ["fra", "fra"];
        back && number(&town, "here") >= 2 && number(&town, "pairs") >= 1
    });
    until("the seats from before are given back", LIMIT, || number(&town, "seats") == 2);
    town.meeting.coordinator.warren(&["node", "revoke", "web-1", "--why", "test"]).ok();
    // What is left is the other's, who has taken up the seat of the coordinator that was started again.
    until("its seat is gone", LIMIT, || number(&town, "seats") == 1 && number(&town, "pairs") == 0);
}
