//! What was: the map, the use of grants and single flows of times that are no longer kept to the second, or lie behind a page.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::web::{API, Web, key};
use common::{Node, Service, World, block_on};
use warren_wire::flow::{FlowRecord, FlowReport};
use warren_wire::frame::{CoordinatorSays, NodeSays};

const POLICY: &str = r#"
version = 1
[tag.web]
[tag.orders]
[service.orders]
on = ["tag:orders"]
listen = ["tcp/8443"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders"]
"#;

/// Web-1 and orders-1, and what web-1 reports, one report each; all of it is on the disk afterwards.
fn told(world: &World, service: &Service, reports: Vec<Vec<FlowRecord>>) {
    let token = world.token(&[]);
    block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        for (sequence, records) in (1..).zip(reports) {
            line.say(NodeSays::Flows(FlowReport { sequence, records, boot: 1, ..Default::default() })).await;
            let stored = |said: &CoordinatorSays| match said {
                CoordinatorSays::FlowsStored(stored) => (stored.sequence == sequence).then_some(()),
                _ => None,
            };
            line.hear_until(stored).await;
        }
    });
}

fn enrolled() -> (World, Service) {
    let world = World::new();
    let service = world.serve_with(API);
    for (number, name) in [(1, "web-1"), (2, "orders-1")] {
        let token = world.token(&["--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    (world, service)
}

/// A window that ended so many seconds ago.
fn window(world: &World, flow: u64, ago: u64) -> FlowRecord {
    let now = world.window(flow);
    FlowRecord { started_ms: now.last_ms - ago * 1000 - 10, last_ms: now.last_ms - ago * 1000, ..now }
}

#[test]
fn the_map_of_yesterday_is_answered_in_the_steps_that_are_kept_of_it() {
    let (world, service) = enrolled();
    let now = warren_coordinator::clock::now().0;
    told(&world, &service, vec![vec![window(&world, 1, 24 * 3600), window(&world, 2, 10 * 24 * 3600)]]);
    let map = |ago: u64| world.json(&["map", "--at", &(now - ago + 60).to_string()]);
    for (ago, resolution) in [(24 * 3600, 60), (10 * 24 * 3600, 3600)] {
        let map = map(ago);
        assert_eq!((&map["resolution"], &map["complete_from"]), (&resolution.into(), &map["from"]), "{map}");
        assert_eq!(map["edges"].as_array().map(Vec::len), Some(1), "{map}");
    }
    let gone = map(40 * 24 * 3600);
    assert!(gone["complete_from"].as_u64() > gone["at"].as_u64(), "{gone}");
    assert_eq!(gone["edges"].as_array().map(Vec::len), Some(0), "{gone}");
    let text = world.ok(&["map", "--at", &(now - 40 * 24 * 3600).to_string()]);
    assert!(text.contains("of this time nothing is kept any more: sums are kept since"), "{text}");
    assert!(world.ok(&["map", "--at", &now.to_string()]).lines().all(|line| !line.contains("kept")));
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let (since, until) = (now - 24 * 3600 - 200, now - 24 * 3600 + 60);
    let path = format!("/v1/edges?since={since}&until={until}");
    let series = web.with_key(&reader, "GET", &path, "").json();
    assert_eq!((&series["resolution"], &series["complete_from"]), (&60.into(), &series["from"]), "{series}");
    assert_eq!(series["rows"].as_array().map(Vec::len), Some(1), "{series}");
    let seconds = web.with_key(&reader, "GET", &format!("{path}&resolution=1"), "").json();
    assert!(seconds["complete_from"].as_u64() > seconds["until"].as_u64(), "{seconds}");
}

#[test]
fn the_use_of_a_grant_within_a_minute_is_not_that_of_the_clock_hour() {
    let (world, service) = enrolled();
    world.ok(&["policy", "apply", &world.write("policy.toml", POLICY)]);
    told(&world, &service, vec![vec![window(&world, 1, 90), window(&world, 2, 300), window(&world, 3, 0)]]);
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let used =
        |within: u64| web.with_key(&reader, "GET", &format!("/v1/policy/usage?within={within}"), "").json();
    let flows = |within: u64| used(within)["grants"][0]["flows"].clone();
    assert_eq!((flows(60), flows(120), flows(86_400)), (1.into(), 2.into(), 3.into()), "{}", used(60));
    let minute = used(60);
    assert_eq!(minute["resolution"], 1, "{minute}");
    // Known since an hour that has begun; the question's own beginning is later.
    assert_eq!(minute["observed_since"], minute["from"], "{minute}");
    assert_eq!(used(31_622_400)["resolution"], 3600, "a year, as far as it is kept");
}
