//! What was: the map, the use of grants and single flows of times that are no longer kept to the second, or lie behind a page.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::web::{API, Web, key};
use common::{Node, Service, World, block_on, stderr};
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

#[test]
fn a_list_of_flows_is_read_to_its_end_page_by_page_also_of_one_second() {
    let (world, service) = enrolled();
    let mut records: Vec<FlowRecord> = (1..=30).map(|flow| window(&world, flow, 5)).collect();
    records[0].grant = "rare".into();
    records[1].dst_port = 22;
    // A window of a flow that was told before, and that comes late.
    let late = FlowRecord { last_ms: records[4].last_ms - 3000, ..records[4].clone() };
    told(&world, &service, vec![records.clone(), vec![late]]);
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let ask = |path: &str| web.with_key(&reader, "GET", path, "");
    for (path, flag) in [("/v1/flows", None), ("/v1/flows/history", Some("--history"))] {
        let (mut seen, mut pages, mut before) = (Vec::new(), 0, String::new());
        loop {
            let page = ask(&format!("{path}?limit=7{before}")).json();
            let flow =
                |row: &serde_json::Value| (row["flow"].as_u64().unwrap(), row["bytes_out"].as_u64().unwrap());
            seen.extend(page["rows"].as_array().unwrap().iter().map(flow));
            assert!(page["kept_since"].as_u64().is_some(), "{page}");
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            before = format!("&before={next}");
        }
        seen.sort_unstable();
        let sent = |flow: u64| if flow == 5 { 200 } else { 100 };
        assert_eq!(seen, (1..=30).map(|flow| (flow, sent(flow))).collect::<Vec<_>>(), "{path}");
        assert_eq!(pages, 5, "{path}");
        let count = |query: &str| ask(&format!("{path}?{query}")).json()["rows"].as_array().map(Vec::len);
        assert_eq!(
            [count("port=22"), count("port=8443"), count("protocol=17")],
            [Some(1), Some(29), Some(0)]
        );
        assert_eq!(count("protocol=6&limit=100"), Some(30));
        // A place of another list is refused, and not misread.
        let other = ask(&format!("{path}?before=1.2.3"));
        assert_eq!(other.status, 400, "{}", other.body);
        let args = |more: &[&'static str]| -> Vec<&str> {
            ["flow", "list"].into_iter().chain(flag).chain(more.iter().copied()).collect()
        };
        assert_eq!(world.json(&args(&["--grant", "rare"])).as_array().map(Vec::len), Some(1));
        assert_eq!(world.json(&args(&["--port", "tcp/22"])).as_array().map(Vec::len), Some(1));
        let whole = world.run(&args(&["--limit", "30"]));
        assert!(!stderr(&whole).contains("--before"), "{}", stderr(&whole));
        let cut = world.run(&args(&["--limit", "20", "--json"]));
        let said = stderr(&cut);
        let place =
            said.split('`').nth(1).and_then(|text| text.strip_prefix("--before ")).unwrap_or_default();
        let mut rest: Vec<&str> = args(&["--before"]);
        rest.push(place);
        assert_eq!(world.json(&rest).as_array().map(Vec::len), Some(10), "{said}");
    }
    assert!(world.ok(&["flow", "list", "--history", "--grant", "none"]).contains("records are kept since"));
}

#[test]
fn the_map_tells_of_all_that_was_ever_lost_and_not_since_the_start_alone() {
    let (world, service) = enrolled();
    let good = window(&world, 1, 0);
    let bad = FlowRecord { src: vec![1], ..window(&world, 2, 0) };
    told(&world, &service, vec![vec![good, bad]]);
    let lost = || world.json(&["map"])["lost"].clone();
    assert_eq!(lost()["rejected"], 1, "{}", lost());
    let before = lost();
    assert_eq!(service.stop(), 0);
    let _service = world.serve();
    assert_eq!(lost(), before);
    assert!(world.ok(&["map"]).contains("lost in all 1 record (`warren flow accounts`)"));
}
