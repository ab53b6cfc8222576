//! What the local socket is answered: read from the control half and the packet path, changing neither.

mod dns;
mod flows;
mod known;
mod path;
mod status;
mod why;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use warren_node_core::assembly::PeerSpec;
use warren_node_core::dataplane::DropNote;
use warren_wire::id::NodeId;

use super::driver::Driver;
use crate::socket::{Reply, Request, Waiting};

pub fn handle(driver: &mut Driver, waiting: Waiting) {
    let reply = match &waiting.request {
        Request::Status => Reply::Ok(status::status(driver)),
        Request::Peers => Reply::Ok(peers(driver)),
        Request::Flows { limit } => Reply::Ok(flows::flows(driver, *limit)),
        Request::Why { from, to, port } => why::why(driver, from.as_deref(), to, port),
        Request::Path { peer } => path::path(driver, peer),
        Request::Resolve { name } => known::resolve(driver, name),
        Request::Counters => Reply::Ok(counters(driver)),
        Request::Metrics => match super::metrics::text(driver) {
            Ok(text) => Reply::Ok(text.into()),
            Err(error) => Reply::Bad(error.to_string()),
        },
        Request::DnsStatus => Reply::Ok(dns::status(driver)),
        Request::DnsQuery { .. } => return dns::query(driver, waiting),
        Request::DnsProbe => return dns::probe(driver, waiting),
        Request::Stop => {
            driver.stop("asked by a command");
            Reply::Ok(json!({ "stopping": true }))
        }
    };
    // A caller that hung up needs no answer.
    let _ = waiting.reply.send(reply);
}

fn peers(driver: &Driver) -> Value {
    let now = driver.parts.shared.clock.now();
    let stats: BTreeMap<NodeId, _> =
        driver.parts.shared.plane.status(now).into_iter().map(|s| (s.node, s)).collect();
    let Some(publication) = driver.parts.control.publication() else { return json!([]) };
    let one = |(id, spec): (&NodeId, &PeerSpec)| {
        let live = stats.get(id);
        json!({
            "node": id,
            "name": spec.member.name(),
            "tags": spec.member.tags(),
            "v4": spec.member.v4,
            "v6": spec.member.v6,
            "may_open": spec.outbound.services(now.wall()),
            "may_be_opened": spec.inbound.services(now.wall()),
            "leads_to": spec.beyond.services(now.wall()),
            "may_use": spec.hosts.services(now.wall()),
            "endpoint": live.and_then(|l| l.endpoint),
            "last_handshake_seconds": live.and_then(|l| l.last_handshake).map(|d| d.as_secs()),
            "handshake_pending": live.is_some_and(|l| l.handshake_pending),
            "rx_bytes": live.map_or(0, |l| l.rx_bytes),
            "tx_bytes": live.map_or(0, |l| l.tx_bytes),
            "lanes": live.map_or(0, |l| l.lanes),
            "flows": live.map_or(0, |l| l.flows),
        })
    };
    publication.assembly.peers.iter().map(one).collect()
}

/// Beside the counters; `why` looks at all.
const DROPS_SHOWN: usize = 64;

fn counters(driver: &Driver) -> Value {
    let shared = &driver.parts.shared;
    let fixed =
        shared.plane.counters().into_iter().chain(shared.sockets.counters()).chain(shared.counters.list());
    let mut all: BTreeMap<String, u64> = fixed.map(|(name, count)| (name.to_owned(), count)).collect();
    all.extend(driver.parts.resolver.counters());
    all.extend(driver.doors.counters().map(|(name, count)| (name.to_owned(), count)));
    let all_drops = shared.plane.explain_last_drops();
    let newest = all_drops.iter().skip(all_drops.len().saturating_sub(DROPS_SHOWN));
    let drops: Vec<Value> = newest.map(|d| dropped(driver, d)).collect();
    json!({ "counters": all, "drops": drops })
}

fn dropped(driver: &Driver, note: &DropNote) -> Value {
    let now = driver.parts.shared.clock.now();
    json!({
        "reason": note.reason,
        "count": note.count,
        "at_ms": note.at.wall_ms,
        "seconds_ago": now.mono.millis_since(note.at.mono) / 1000,
        "outbound": note.outbound,
        "peer": note.peer,
        "what": note.what,
    })
}
