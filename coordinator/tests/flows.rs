//! Flow records: from a node's report to the list, the history and the watch.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Node, World, block_on, wait_for};
use warren_wire::flow::{FlowRecord, FlowReport};
use warren_wire::frame::{CoordinatorSays, NodeSays};
use warren_wire::id::NodeId;

fn record(world: &World, flow: u64, bytes: u64) -> FlowRecord {
    let id = world.json(&["node", "show", "orders-1"])["id"].as_str().unwrap().parse::<NodeId>().unwrap();
    FlowRecord {
        peer: id.0.to_vec(),
        packets_out: 1,
        bytes_out: bytes,
        bytes_back: 2 * bytes,
        ..world.window(flow)
    }
}

#[test]
fn a_reported_flow_is_listed_watched_and_kept() {
    let world = World::new();
    let service = world.serve();
    for (number, name) in [(1, "web-1"), (2, "orders-1")] {
        let token = world.token(&["--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    let mut watch = world.command(&["--json", "flow", "watch", "--count", "1", "--from", "web-1"]);
    let watch = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let token = world.token(&[]);
    block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        // The third repeats the second; the fourth is another flow, in case the watcher came late to the first.
        for (sequence, flow, bytes) in [(1, 7, 100), (2, 7, 50), (2, 7, 50), (3, 8, 1)] {
            let records = vec![record(&world, flow, bytes)];
            line.say(NodeSays::Flows(FlowReport {
                sequence,
                records,
                lost: 3,
                boot: 1,
                ..Default::default()
            }))
            .await;
            let stored = |said: &CoordinatorSays| match said {
                CoordinatorSays::FlowsStored(stored) => (stored.sequence == sequence).then_some(()),
                _ => None,
            };
            line.hear_until(stored).await;
        }
    });
    let flows = world.json(&["flow", "list", "--service", "orders"]);
    assert_eq!(flows.as_array().map(Vec::len), Some(2), "{flows}");
    assert_eq!((&flows[1]["bytes_out"], &flows[1]["bytes_back"]), (&150.into(), &300.into()), "{flows}");
    assert_eq!((&flows[0]["from"]["name"], &flows[0]["to"]["name"]), (&"web-1".into(), &"orders-1".into()));
    assert_eq!(world.json(&["flow", "list", "--verdict", "deny"]).as_array().map(Vec::len), Some(0));
    let text = world.ok(&["flow", "list"]);
    assert!(
        text.contains("web-1") && text.contains("tcp/8443") && text.contains("web-reads-orders"),
        "{text}"
    );
    assert_eq!(world.json(&["status"])["flows"]["declared_lost"], 3);
    let seen = watch.wait_with_output().unwrap();
    let row: serde_json::Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(row["to"]["name"], "orders-1");
    let history = || world.json(&["flow", "list", "--history", "--from", "web-1"]);
    wait_for("the history", || (history().as_array().map(Vec::len) == Some(2)).then_some(()));
    assert_eq!(service.stop(), 0);
    let _service = world.serve();
    assert_eq!(world.json(&["flow", "list"]).as_array().map(Vec::len), Some(0));
    assert_eq!(history().as_array().map(Vec::len), Some(2));
    assert_eq!(history()[1]["bytes_out"], 150);
}

/// What is acknowledged is on the disk, and counts once, however the service ends.
#[test]
fn a_report_that_comes_again_after_a_kill_counts_once() {
    let world = World::new();
    let mut service = world.serve();
    let token = world.token(&["--name", "web-1"]);
    block_on(Node::new(1, &token).enrol(&token, service.addr())).unwrap();
    let other = world.token(&["--name", "orders-1"]);
    block_on(Node::new(2, &other).enrol(&other, service.addr())).unwrap();
    let report = |sequence| FlowReport {
        sequence,
        records: vec![record(&world, sequence, 100)],
        boot: 9,
        offered_packets: 2 * sequence,
        offered_bytes: 300 * sequence,
        ..Default::default()
    };
    for sequence in 1..=6 {
        block_on(async {
            let mut line = Node::new(1, &token).join(service.addr()).await;
            // The one before comes again, as after a lost acknowledgement.
            for again in [sequence - 1, sequence] {
                if again > 0 {
                    line.say(NodeSays::Flows(report(again))).await;
                }
            }
            let stored = |said: &CoordinatorSays| match said {
                CoordinatorSays::FlowsStored(stored) => (stored.sequence == sequence).then_some(()),
                _ => None,
            };
            line.hear_until(stored).await;
        });
        service.kill();
        service = world.serve();
    }
    let view = world.json(&["flow", "accounts"]);
    let total = &view["total"];
    let recorded =
        (&total["recorded"]["records"], &total["recorded"]["packets"], &total["recorded"]["bytes"]);
    assert_eq!(recorded, (&6.into(), &12.into(), &1800.into()), "{view}");
    assert_eq!(
        (&total["offered"]["packets"], &total["underway"]["packets"]),
        (&12.into(), &0.into()),
        "{view}"
    );
    assert_eq!(view["nodes"][0]["name"], "web-1");
    let history = world.json(&["flow", "list", "--history", "--from", "web-1"]);
    assert_eq!(history.as_array().map(Vec::len), Some(6), "{history}");
    let map = world.json(&["map"]);
    assert_eq!(map["edges"][0]["bytes_out"], 600, "{map}");
    let text = world.ok(&["flow", "accounts"]);
    assert!(text.contains("web-1") && text.contains("12 packets, 1.8 kB"), "{text}");
}

#[test]
fn whoever_follows_flows_over_a_restart_hears_of_it_and_misses_nothing_that_came_since() {
    let world = World::new();
    let service = world.serve_with(common::web::API);
    for (number, name) in [(1, "web-1"), (2, "orders-1")] {
        let token = world.token(&["--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    let reader = common::web::key(&world, "reader", &[]);
    let token = world.token(&[]);
    let say = |service: &common::Service, from: u64, to: u64| {
        block_on(async {
            let mut line = Node::new(1, &token).join(service.addr()).await;
            let records = (from..=to).map(|flow| record(&world, flow, 1)).collect();
            line.say(NodeSays::Flows(FlowReport { sequence: to, records, boot: 1, ..Default::default() }))
                .await;
            line.hear_until(|said| matches!(said, CoordinatorSays::FlowsStored(_)).then_some(())).await;
        });
    };
    let since = |service: &common::Service, cursor: &str| {
        let path = format!("/v1/flows/since?cursor={cursor}");
        common::web::Web::of(service).with_key(&reader, "GET", &path, "").json()
    };
    say(&service, 1, 2);
    let page = since(&service, "0");
    assert_eq!((page["rows"].as_array().map(Vec::len), &page["restarted"]), (Some(2), &false.into()));
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    assert_eq!(since(&service, &cursor)["rows"].as_array().map(Vec::len), Some(0));
    assert_eq!(service.stop(), 0);
    // More has come since than before: by its number alone the old place would be one in the middle.
    let service = world.serve_with(common::web::API);
    say(&service, 3, 7);
    let page = since(&service, &cursor);
    assert_eq!(
        (page["rows"].as_array().map(Vec::len), &page["restarted"]),
        (Some(5), &true.into()),
        "{page}"
    );
    let next = page["cursor"].as_str().unwrap();
    let page = since(&service, next);
    assert_eq!((page["rows"].as_array().map(Vec::len), &page["restarted"]), (Some(0), &false.into()));
}
