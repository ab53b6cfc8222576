//! What `/metrics` and `warren-node metrics` say, in the OpenMetrics text format (version 1.0.0). No label has more values than
//! a table in this program: peers and services are at `warren-node peers` and at the coordinator.

use std::collections::{BTreeMap, BTreeSet};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use warren_node_core::packet::DropReason;

use super::driver::Driver;
use crate::clock::boot;

type Labels = Vec<(&'static str, String)>;

/// The whole answer.
pub fn text(driver: &Driver) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("warren_node");
    registry.register(
        "build",
        "Version of this program",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    standing(driver, &mut registry);
    peers(driver, &mut registry);
    counted(driver, &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

fn counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: &BTreeMap<String, u64>,
) {
    let family = Family::<Labels, Counter>::default();
    for (value, count) in values {
        family.get_or_create(&vec![(label, value.clone())]).inc_by(*count);
    }
    registry.register(name, help, family);
}

/// Whose word this node has, and what it enforces of it.
fn standing(driver: &Driver, registry: &mut Registry) {
    let status = driver.parts.control.status(boot());
    let connected = status.coordinator == "connected";
    gauge(
        registry,
        "coordinator_connected",
        "1: the control channel to the coordinator is up",
        connected.into(),
    );
    gauge(
        registry,
        "policy_generation",
        "Generation of the policy that is enforced",
        status.enforced_generation,
    );
    gauge(
        registry,
        "policy_observes",
        "1: the policy only records and lets everything pass",
        status.observe.into(),
    );
    gauge(
        registry,
        "cut",
        "1: this node has cut its peers, because its freshness ran out or it was revoked",
        status.cut.is_some().into(),
    );
    gauge(
        registry,
        "coordinator_doubted",
        "1: the coordinator is not believed to tell this node everything",
        status.doubt.is_some().into(),
    );
    let fresh: Gauge = Gauge::default();
    fresh.set(status.fresh_until.and_then(|at| i64::try_from(at.0).ok()).unwrap_or(0));
    let help = "When the freshness of what this node was told ends, since 1970; 0: it was told nothing";
    registry.register_with_unit("freshness_expiry_timestamp", help, Unit::Seconds, fresh);
    gauge(
        registry,
        "flow_records_waiting",
        "Flow records that wait for the coordinator",
        status.flows_waiting,
    );
    let lost: Counter = Counter::default();
    lost.inc_by(status.flows_lost);
    registry.register(
        "flow_records_lost",
        "Flow records that were given up for want of room; the coordinator is told",
        lost,
    );
}

fn peers(driver: &Driver, registry: &mut Registry) {
    let shared = &driver.parts.shared;
    let live = shared.plane.status(shared.clock.now());
    let known = driver.parts.control.publication().map_or(0, |p| p.assembly.peers.len()) as u64;
    let fresh =
        live.iter().filter(|peer| peer.last_handshake.is_some_and(|age| age.as_secs() < SESSION)).count()
            as u64;
    let waiting = live.iter().filter(|peer| peer.handshake_pending).count() as u64;
    gauge(registry, "peers", "Nodes that some grant joins to this one", known);
    gauge(registry, "peers_with_session", "Peers with a WireGuard session that is good", fresh);
    gauge(registry, "peers_in_handshake", "Peers that have not answered a handshake yet", waiting);
    let flows = live.iter().map(|peer| peer.flows as u64).fold(0, u64::saturating_add);
    gauge(registry, "flows", "Flows that live", flows);
}

/// A WireGuard session ends after so many seconds (REJECT_AFTER_TIME).
const SESSION: u64 = 180;

fn counted(driver: &Driver, registry: &mut Registry) {
    let shared = &driver.parts.shared;
    let all =
        shared.plane.counters().into_iter().chain(shared.sockets.counters()).chain(shared.counters.list());
    let reasons: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let (mut drops, mut events) = (BTreeMap::new(), BTreeMap::new());
    for (name, count) in all {
        let family = if reasons.contains(name) { &mut drops } else { &mut events };
        family.insert(name.to_owned(), count);
    }
    counters(registry, "dropped_packets", "Inner packets that did not pass, by reason", "reason", &drops);
    counters(
        registry,
        "events",
        "What happened outside the inner packets: WireGuard, sockets, workers",
        "event",
        &events,
    );
    let doors = driver.doors.counters().map(|(name, count)| (name.to_owned(), count)).into();
    counters(registry, "doors", "Datagrams through doors to relays, and changes of the way", "event", &doors);
    counters(registry, "dns", "What the resolver did", "event", &driver.parts.resolver.counters());
}
