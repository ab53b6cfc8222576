//! Which way packets to a peer take, and which relays there are.

use serde_json::{Value, json};
use warren_node_core::berth::Standing;
use warren_node_core::clock::Mono;
use warren_node_core::dataplane::paths;
use warren_node_core::path::{Endpoints, Move, Place};
use warren_wire::path::PathWhy;

use super::Driver;
use super::known::{find, no_view, unknown};
use crate::clock::boot;
use crate::socket::Reply;

pub fn path(driver: &Driver, peer: &str) -> Reply {
    let Some(publication) = driver.parts.control.publication() else { return no_view() };
    let Some((id, spec)) = find(&publication, peer).into_iter().next() else { return unknown(peer) };
    let now = driver.parts.shared.clock.now();
    let live = driver.parts.shared.plane.status(now).into_iter().find(|s| s.node == id);
    let places = driver.parts.shared.plane.whereabouts(id);
    let endpoint = live.as_ref().and_then(|l| l.endpoint);
    let relays = driver.parts.shared.plane.berths();
    let used = endpoint.and_then(Place::relay).and_then(|used| relays.iter().find(|r| r.relay == used));
    let handshake = live.as_ref().and_then(|l| l.last_handshake).map(|d| d.as_secs());
    let known = places.as_ref().zip(live.as_ref());
    let why = known.map(|(places, live)| paths::why(places, live, &relays)).unwrap_or(PathWhy::NotTried);
    Reply::Ok(json!({
        "node": id,
        "name": spec.member.name(),
        "endpoint": endpoint,
        "candidates": spec.candidates,
        "relay": used.map(|relay| relay.name.clone()),
        "relays": shown_relays(driver, &relays),
        "places": places.as_ref().map(|places| shown_places(places, &relays, now.mono)),
        "proven": places.as_ref().and_then(Endpoints::proven),
        "moves": places.as_ref().map(|places| places.moves().map(|m| shown(m, now.mono)).collect::<Vec<_>>()),
        "last_handshake_seconds": handshake,
        "handshake_pending": live.is_some_and(|l| l.handshake_pending),
        "why": why.text(),
        "why_kind": why,
    }))
}

/// The relays this node sits at, and what it makes of each.
pub fn shown_relays(driver: &Driver, relays: &[Standing]) -> Vec<Value> {
    let why = |relay: &Standing| match relay {
        relay if !relay.answers => "does not answer: is UDP to it let through, or TCP 443?",
        relay if relay.draining => "will end soon: nothing new is sent over it",
        relay if relay.nearest => "the nearest: taken first where no direct path answers",
        _ => "stands by, and carries for peers that it is nearer to",
    };
    let shown = |relay: &Standing| {
        json!({
            "relay": relay.relay,
            "name": relay.name,
            "at": relay.at,
            "seat": relay.seat.number(),
            "answers": relay.answers,
            "draining": relay.draining,
            "nearest": relay.nearest,
            "round_trip_ms": relay.round_trip.map(|rtt| rtt.as_millis()),
            "why": why(relay),
            "way": driver.doors.shown(&relay.relay, boot()),
        })
    };
    relays.iter().map(shown).collect()
}

/// Everywhere the peer may be, and the last answer from there to a question inside the tunnel.
fn shown_places(places: &Endpoints, relays: &[Standing], now: Mono) -> Vec<Value> {
    let name = |place: &Place| relays.iter().find(|r| Some(r.relay) == place.relay()).map(|r| &r.name);
    let shown = |place: &Place| {
        let answer = places.answer_of(*place);
        json!({
            "place": place,
            "relay": name(place),
            "in_use": places.current() == Some(*place),
            "answered_seconds_ago": answer.map(|answer| now.millis_since(answer.at) / 1000),
            "round_trip_ms": answer.map(|answer| answer.round_trip.as_millis()),
        })
    };
    places.places().iter().map(shown).collect()
}

/// One change of a peer's place.
fn shown(change: &Move, now: Mono) -> Value {
    json!({
        "seconds_ago": now.millis_since(change.at) / 1000,
        "from": change.from,
        "to": change.to,
        "reason": change.reason,
    })
}
