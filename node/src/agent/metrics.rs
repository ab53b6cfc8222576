//! What `/metrics` and `warren-node metrics` say, in the OpenMetrics text format (version 1.0.0). No label has more values than
//! a table in this program: peers and services are at `warren-node peers` and at the coordinator.

use std::collections::{BTreeMap, BTreeSet};

use warren_node_core::packet::DropReason;
use warren_scrape::Sheet;

use super::driver::Driver;
use crate::clock::boot;

/// The whole answer.
pub fn text(driver: &Driver) -> Result<String, std::fmt::Error> {
    let mut sheet = Sheet::new("warren_node");
    sheet.build(env!("CARGO_PKG_VERSION"));
    standing(driver, &mut sheet);
    peers(driver, &mut sheet);
    counted(driver, &mut sheet);
    sheet.text()
}

fn counters(sheet: &mut Sheet, name: &str, help: &str, label: &'static str, values: &BTreeMap<String, u64>) {
    sheet.counters(name, help, values.iter().map(|(value, count)| (vec![(label, value.clone())], *count)));
}

/// Whose word this node has, and what it enforces of it.
fn standing(driver: &Driver, sheet: &mut Sheet) {
    let status = driver.parts.control.status(boot());
    let connected = status.coordinator == "connected";
    sheet.gauge("coordinator_connected", "1: the control channel to the coordinator is up", connected.into());
    sheet.gauge("policy_generation", "Generation of the policy that is enforced", status.enforced_generation);
    sheet.gauge(
        "policy_observes",
        "1: the policy only records and lets everything pass",
        status.observe.into(),
    );
    sheet.gauge(
        "cut",
        "1: this node has cut its peers, because its freshness ran out or it was revoked",
        status.cut.is_some().into(),
    );
    sheet.gauge(
        "coordinator_doubted",
        "1: the coordinator is not believed to tell this node everything",
        status.doubt.is_some().into(),
    );
    let help = "When the freshness of what this node was told ends, since 1970; 0: it was told nothing";
    sheet.seconds("freshness_expiry_timestamp", help, status.fresh_until.map_or(0, |at| at.0));
    sheet.gauge("flow_records_waiting", "Flow records that wait for the coordinator", status.flows_waiting);
    sheet.counter(
        "flow_records_lost",
        "Flow records that were given up for want of room; the coordinator is told",
        status.flows_lost,
    );
}

fn peers(driver: &Driver, sheet: &mut Sheet) {
    let shared = &driver.parts.shared;
    let live = shared.plane.status(shared.clock.now());
    let known = driver.parts.control.publication().map_or(0, |p| p.assembly.peers.len()) as u64;
    let fresh =
        live.iter().filter(|peer| peer.last_handshake.is_some_and(|age| age.as_secs() < SESSION)).count()
            as u64;
    let waiting = live.iter().filter(|peer| peer.handshake_pending).count() as u64;
    sheet.gauge("peers", "Nodes that some grant joins to this one", known);
    sheet.gauge("peers_with_session", "Peers with a WireGuard session that is good", fresh);
    sheet.gauge("peers_in_handshake", "Peers that have not answered a handshake yet", waiting);
    let flows = live.iter().map(|peer| peer.flows as u64).fold(0, u64::saturating_add);
    sheet.gauge("flows", "Flows that live", flows);
}

/// A WireGuard session ends after so many seconds (REJECT_AFTER_TIME).
const SESSION: u64 = 180;

fn counted(driver: &Driver, sheet: &mut Sheet) {
    let shared = &driver.parts.shared;
    let all =
        shared.plane.counters().into_iter().chain(shared.sockets.counters()).chain(shared.counters.list());
    let reasons: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let (mut drops, mut events) = (BTreeMap::new(), BTreeMap::new());
    for (name, count) in all {
        let family = if reasons.contains(name) { &mut drops } else { &mut events };
        family.insert(name.to_owned(), count);
    }
    counters(sheet, "dropped_packets", "Inner packets that did not pass, by reason", "reason", &drops);
    counters(
        sheet,
        "events",
        "What happened outside the inner packets: WireGuard, sockets, workers",
        "event",
        &events,
    );
    let doors = driver.doors.counters().map(|(name, count)| (name.to_owned(), count)).into();
    counters(sheet, "doors", "Datagrams through doors to relays, and changes of the way", "event", &doors);
    counters(sheet, "dns", "What the resolver did", "event", &driver.parts.resolver.counters());
}
