//! Laws of the plan: what was seen and would be refused is named, once, under the row that takes it; nothing else is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_coordinator_core::change::SourceText;
use warren_coordinator_core::flows::FlowFilter;
use warren_coordinator_core::plan::Cuts;
use warren_wire::flow::{FlowRecord, FlowReport, FlowVerdict};
use warren_wire::frame::NodeSays;
use warren_wire::specimen;

fn street(seed: u64, policy: &str) -> World {
    let mut world = World::new(seed);
    let mut command = world.policy_command(policy);
    if let warren_coordinator_core::command::Command::ApplyPolicy { allow_observe, .. } = &mut command {
        *allow_observe = true;
    }
    world.command(command).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    world.join("db-1", &["db"]);
    world
}

/// Both ends report a flow from host `from` to host `to`.
fn saw(world: &mut World, flow: u64, ends: (usize, usize), port: u32, verdict: FlowVerdict) {
    let names = ["web-1", "orders-1", "db-1"];
    let (src, dst) = (world.v4(names[ends.0]), world.v4(names[ends.1]));
    for (reporter, outbound) in [(ends.0, true), (ends.1, false)] {
        let record = FlowRecord {
            flow: if outbound { flow } else { flow + 1000 },
            outbound,
            dst_port: port,
            verdict: verdict as i32,
            bytes_out: 10,
            bytes_back: 5,
            ..specimen::flow(src, dst, 2000 * flow)
        };
        let records = vec![record];
        world.says(
            reporter,
            NodeSays::Flows(FlowReport { sequence: flow, records, boot: 1, ..Default::default() }),
        );
    }
}

fn forecast(world: &World, policy: &str) -> Cuts {
    let sources = [SourceText { file: "p.toml".into(), text: policy.into() }];
    let (_, mut forecast) = world.coordinator.forecast(&sources, world.now).unwrap();
    world
        .coordinator
        .flows()
        .list(&FlowFilter::default(), 0, None, world.now)
        .rows
        .iter()
        .for_each(|row| forecast.take(&row.into()));
    forecast.finish()
}

#[test]
fn a_loss_names_the_flows_it_would_cut_and_a_flow_both_ends_saw_counts_once() {
    let mut world = street(1, CHAIN);
    for flow in 1..=3 {
        saw(&mut world, flow, (0, 1), 8443, FlowVerdict::Allow);
    }
    saw(&mut world, 4, (1, 2), 5432, FlowVerdict::Allow);
    let less = CHAIN.replace("from = [\"tag:web\"]", "from = [\"node:web-9\"]");
    let Cuts { cuts, unlisted } = forecast(&world, &less);
    assert_eq!((cuts.len(), unlisted), (1, 0), "{cuts:?}");
    let cut = &cuts[0];
    assert_eq!((cut.from.as_str(), cut.to.as_str(), cut.listen.first), ("web-1", "orders-1", 8443));
    assert_eq!((cut.flows, cut.bytes, cut.last.0), (3, 45, 6));
    let loss = cut.loss.as_ref().unwrap();
    assert_eq!((loss.from.as_str(), loss.to.as_str()), ("tag:web", "tag:orders"));
    assert_eq!(loss.by[0].grant.as_str(), "web-reads-orders");
}

#[test]
fn a_changed_name_of_a_grant_or_a_service_cuts_nothing() {
    let mut world = street(2, CHAIN);
    saw(&mut world, 1, (0, 1), 8443, FlowVerdict::Allow);
    let renamed = CHAIN.replace("web-reads-orders", "w").replace("orders-api", "o");
    assert_eq!(forecast(&world, &renamed), Cuts { cuts: Vec::new(), unlisted: 0 });
    assert_eq!(forecast(&world, &format!("# a comment\n{CHAIN}")).cuts, []);
}

#[test]
fn what_does_not_pass_today_cannot_be_cut() {
    let mut world = street(3, CHAIN);
    saw(&mut world, 1, (0, 1), 8443, FlowVerdict::Deny);
    saw(&mut world, 2, (0, 2), 5432, FlowVerdict::Allow);
    assert_eq!(forecast(&world, "version = 1").cuts, [], "the second passed under an older policy only");
    saw(&mut world, 3, (0, 1), 8443, FlowVerdict::Allow);
    world.revoke(0).unwrap();
    assert_eq!(forecast(&world, "version = 1").cuts, [], "a node that is gone has nothing to lose");
}

#[test]
fn the_end_of_observe_mode_cuts_what_only_it_let_pass() {
    let mut world = street(4, &CHAIN.replace("version = 1", "version = 1\nmode = \"observe\""));
    saw(&mut world, 1, (0, 1), 8443, FlowVerdict::Allow);
    saw(&mut world, 2, (0, 2), 5432, FlowVerdict::WouldDeny);
    let Cuts { cuts, .. } = forecast(&world, CHAIN);
    let named: Vec<_> = cuts.iter().map(|c| (c.from.as_str(), c.to.as_str(), c.loss.is_none())).collect();
    assert_eq!(named, [("web-1", "db-1", true)]);
    let still = CHAIN.replace("version = 1", "version = 1\nmode = \"observe\"");
    assert_eq!(forecast(&world, &still).cuts, []);
}
