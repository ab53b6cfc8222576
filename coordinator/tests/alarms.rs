//! An alarm is where a person looks: in the status, in the API and in the journal, each time with its reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::web::{API, Web, key};
use common::{Node, World, block_on, wait_for};
use warren_wire::flow::{FlowRecord, FlowReport};
use warren_wire::frame::{CoordinatorSays, NodeSays};
use warren_wire::specimen;

#[test]
fn a_burst_of_refusals_is_in_the_status_the_api_and_the_journal_with_its_reason() {
    let world = World::new();
    let service = world.serve_with(API);
    for (number, name) in [(1, "web-1"), (2, "orders-1")] {
        let token = world.token(&["--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    let now = warren_coordinator::clock::now_ms();
    let tries = specimen::refused(world.v4("web-1"), world.v4("orders-1"), now);
    let token = world.token(&[]);
    block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        let records = vec![FlowRecord { count: 150, ..tries }];
        line.say(NodeSays::Flows(FlowReport { sequence: 1, records, boot: 1, ..FlowReport::default() }))
            .await;
        line.hear_until(|said| matches!(said, CoordinatorSays::FlowsStored(_)).then_some(())).await;
    });
    let reason = "web-1 was refused 150 times";
    wait_for("the alarm in the status", || world.ok(&["status"]).contains(reason).then_some(()));
    let reply = Web::of(&service).with_key(&key(&world, "reader", &[]), "GET", "/v1/alarms", "");
    let alarms = reply.json();
    let found = alarms.as_array().unwrap().iter().find(|alarm| alarm["kind"] == "refusal-burst");
    let alarm = found.unwrap_or_else(|| panic!("{alarms}"));
    assert!(alarm["message"].as_str().unwrap().contains(reason), "{alarm}");
    let log = world.log();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(reason)), "{log}");
}
