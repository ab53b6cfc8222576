//! What the local socket is answered: read from the control half and the packet path, changing neither.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use warren_config::filter::{Rules, Verdict};
use warren_config::policy::Protocol;
use warren_node_core::assembly::{Assembly, PeerSpec};
use warren_node_core::clock::Mono;
use warren_node_core::control::Publication;
use warren_node_core::dataplane::DropNote;
use warren_node_core::names::{Answer, Data, Order, Type};
use warren_node_core::path::{Endpoints, Move};
use warren_wire::flow::FlowRecord;
use warren_wire::id::NodeId;

use super::driver::Driver;
use crate::clock::boot;
use crate::socket::{Reply, Request, Waiting};

pub fn handle(driver: &mut Driver, waiting: Waiting) {
    let reply = match &waiting.request {
        Request::Status => Reply::Ok(status(driver)),
        Request::Peers => Reply::Ok(peers(driver)),
        Request::Flows { limit } => Reply::Ok(flows(driver, *limit)),
        Request::Why { from, to, port } => why(driver, from.as_deref(), to, port),
        Request::Path { peer } => path(driver, peer),
        Request::Resolve { name } => resolve(driver, name),
        Request::Counters => Reply::Ok(counters(driver)),
        Request::Metrics => match super::metrics::text(driver) {
            Ok(text) => Reply::Ok(text.into()),
            Err(error) => Reply::Bad(error.to_string()),
        },
        Request::DnsStatus => Reply::Ok(dns_status(driver)),
        Request::DnsQuery { .. } => return dns_query(driver, waiting),
        Request::DnsProbe => return dns_probe(driver, waiting),
        Request::Stop => {
            driver.stop("asked by a command");
            Reply::Ok(json!({ "stopping": true }))
        }
    };
    // A caller that hung up needs no answer.
    let _ = waiting.reply.send(reply);
}

fn dns_status(driver: &Driver) -> Value {
    let mut status = driver.parts.resolver.status();
    if let Some(status) = status.as_object_mut() {
        status.insert("host".to_owned(), driver.parts.host_dns.status());
    }
    status
}

/// An upstream may take its time: the control loop does not wait for it.
fn dns_query(driver: &Driver, waiting: Waiting) {
    let Waiting { request: Request::DnsQuery { name, kind }, reply } = waiting else { return };
    let resolver = Arc::clone(&driver.parts.resolver);
    tokio::spawn(async move {
        let shown = resolver.show(&name, &kind).await;
        let _ = reply.send(shown.map_or_else(Reply::Bad, Reply::Ok));
    });
}

fn dns_probe(driver: &Driver, waiting: Waiting) {
    let resolver = Arc::clone(&driver.parts.resolver);
    tokio::spawn(async move {
        resolver.probe().await;
        let _ = waiting.reply.send(Reply::Ok(resolver.status()));
    });
}

fn status(driver: &Driver) -> Value {
    let parts = &driver.parts;
    let me = parts.control.publication().map(|p| p.assembly.me.clone());
    let me = me.as_deref().unwrap_or(&parts.kept.me);
    let mut status = serde_json::to_value(parts.control.status(boot())).unwrap_or_default();
    let offload = parts.shared.tun.offload();
    let more = json!({
        "enrolled": true,
        "v4": me.v4,
        "v6": me.v6,
        "tags": me.tags(),
        "interface": parts.options.interface,
        "mtu": parts.plan.mtu,
        "port": parts.shared.sockets.port(),
        "endpoints": driver.candidates,
        "mapped": parts.shared.mapping.lock().mapped(),
        "offload": { "vnet": offload.vnet, "tso": offload.tso, "uso": offload.uso },
        "zone": parts.resolver.names().map(|n| n.zone().to_owned()),
        "dns": dns_status(driver),
        "pid": std::process::id(),
    });
    if let (Some(status), Value::Object(more)) = (status.as_object_mut(), more) {
        status.extend(more);
    }
    status
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

fn flows(driver: &Driver, limit: usize) -> Value {
    let publication = driver.parts.control.publication();
    let name = |id: &[u8]| {
        let id = NodeId::from_slice(id)?;
        let spec = publication.as_ref()?.assembly.peers.get(&id)?;
        Some(spec.member.name().to_string())
    };
    driver.log.newest(limit).map(|record| flow(record, name(&record.peer))).collect()
}

fn flow(record: &FlowRecord, name: Option<String>) -> Value {
    json!({
        "flow": record.flow,
        "peer": name.or_else(|| NodeId::from_slice(&record.peer).map(|id| id.to_string())),
        "outbound": record.outbound,
        "protocol": protocol_name(record.protocol),
        "src": address(&record.src),
        "src_port": record.src_port,
        "dst": address(&record.dst),
        "dst_port": record.dst_port,
        "verdict": record.verdict(),
        "grant": record.grant,
        "service": record.service,
        "generation": record.generation,
        "packets_out": record.packets_out,
        "bytes_out": record.bytes_out,
        "packets_back": record.packets_back,
        "bytes_back": record.bytes_back,
        "started_ms": record.started_ms,
        "last_ms": record.last_ms,
        "end": record.end(),
        "count": record.count,
        "workload": record.workload,
        "rtt_us": record.rtt_us,
        "retransmissions": record.retransmissions,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn protocol_name(number: u32) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        n => format!("proto/{n}"),
    }
}

fn counters(driver: &Driver) -> Value {
    let shared = &driver.parts.shared;
    let fixed =
        shared.plane.counters().into_iter().chain(shared.sockets.counters()).chain(shared.counters.list());
    let mut all: BTreeMap<String, u64> = fixed.map(|(name, count)| (name.to_owned(), count)).collect();
    all.extend(driver.parts.resolver.counters());
    let drops: Vec<Value> = shared.plane.explain_last_drops().iter().map(|d| dropped(driver, d)).collect();
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

fn path(driver: &Driver, peer: &str) -> Reply {
    let Some(publication) = driver.parts.control.publication() else { return no_view() };
    let Some((id, spec)) = find(&publication, peer).into_iter().next() else { return unknown(peer) };
    let now = driver.parts.shared.clock.now();
    let live = driver.parts.shared.plane.status(now).into_iter().find(|s| s.node == id);
    let places = driver.parts.shared.plane.whereabouts(id);
    let endpoint = live.as_ref().and_then(|l| l.endpoint);
    let handshake = live.as_ref().and_then(|l| l.last_handshake).map(|d| d.as_secs());
    let why = match (endpoint, handshake) {
        (None, _) if spec.candidates.is_empty() => {
            "the coordinator knows no address of this peer: is its agent running and connected?"
        }
        (None, _) => "not tried yet: a handshake begins with the first packet",
        (Some(e), Some(_)) if !spec.candidates.contains(&e) => {
            "the peer's last authenticated packet came from this address"
        }
        (Some(_), Some(_)) => "the peer answers at this candidate",
        (Some(_), None) if live.as_ref().is_some_and(|l| l.handshake_pending) => {
            "no answer yet: the peer may be off, or firewalls or NATs on the way let no UDP through; retries go to all \
             candidates, and the coordinator is asked to tell the peer"
        }
        (Some(_), None) => "no handshake yet: it begins with the first packet",
    };
    Reply::Ok(json!({
        "node": id,
        "name": spec.member.name(),
        "endpoint": endpoint,
        "candidates": spec.candidates,
        "proven": places.as_ref().and_then(Endpoints::proven),
        "moves": places.as_ref().map(|places| places.moves().map(|m| shown(m, now.mono)).collect::<Vec<_>>()),
        "last_handshake_seconds": handshake,
        "handshake_pending": live.is_some_and(|l| l.handshake_pending),
        "why": why,
    }))
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

fn resolve(driver: &Driver, name: &str) -> Reply {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Reply::Ok(json!([address]));
    }
    let Some(publication) = driver.parts.control.publication() else { return no_view() };
    let found = addresses(&publication, name, driver);
    if found.is_empty() { unknown(name) } else { Reply::Ok(json!(found)) }
}

/// Addresses of a node, a service or a full name, as the name server would give them.
fn addresses(publication: &Publication, name: &str, driver: &Driver) -> Vec<IpAddr> {
    let names = &publication.names;
    let zone = names.zone();
    let name = name.trim_end_matches('.');
    let full = if name.ends_with(&format!(".{zone}")) { name.to_owned() } else { format!("{name}.{zone}") };
    let now = driver.parts.shared.clock.now().wall();
    let mut found = Vec::new();
    for kind in [Type::A, Type::Aaaa] {
        if let Answer::Records(records) = names.answer(&full, kind, now, Order::turn(0)) {
            found.extend(records.iter().filter_map(|r| match r {
                Data::A(v4) => Some(IpAddr::V4(*v4)),
                Data::Aaaa(v6) => Some(IpAddr::V6(*v6)),
                _ => None,
            }));
        }
    }
    found
}

/// Peers by name, id or address.
fn find<'a>(publication: &'a Publication, text: &str) -> Vec<(NodeId, &'a PeerSpec)> {
    let address = text.parse::<IpAddr>().ok();
    let id = text.parse::<NodeId>().ok();
    let fits = |(node, spec): &(&NodeId, &PeerSpec)| {
        spec.member.name().as_str() == text
            || id.as_ref() == Some(*node)
            || address.is_some_and(|a| spec.member.addresses().any(|own| own == a))
    };
    publication.assembly.peers.iter().filter(fits).map(|(id, spec)| (*id, spec)).collect()
}

fn is_me(assembly: &Assembly, text: &str) -> bool {
    let address = text.parse::<IpAddr>().ok();
    assembly.me.name().as_str() == text
        || assembly.me.id.to_string() == text
        || address.is_some_and(|a| assembly.me.addresses().any(|own| own == a))
}

/// One direction between this node and one peer.
struct Asked<'a> {
    from: String,
    to: String,
    /// Addresses of the other end, and whether this one would open the connection.
    other: Vec<IpAddr>,
    outbound: bool,
    rules: &'a Rules,
}

/// What was dropped of late on the way to `other` (or from it), at this port.
fn drops_of(driver: &Driver, other: &[IpAddr], outbound: bool, port: (Protocol, u16)) -> Vec<Value> {
    let concerns = |note: &DropNote| {
        let Some(tuple) = note.tuple.filter(|_| note.outbound == outbound) else { return false };
        let there = if outbound { tuple.dst } else { tuple.src };
        other.contains(&there) && (tuple.protocol, tuple.dport) == port
    };
    let all = driver.parts.shared.plane.explain_last_drops();
    all.iter().filter(|note| concerns(note)).map(|note| dropped(driver, note)).collect()
}

fn why(driver: &Driver, from: Option<&str>, to: &str, port: &str) -> Reply {
    let Some(publication) = driver.parts.control.publication() else { return no_view() };
    let (protocol, number) = match parse_port(port) {
        Ok(port) => port,
        Err(text) => return Reply::Bad(text),
    };
    let asked = match ask(driver, &publication, from, to, (protocol, number)) {
        Ok(asked) => asked,
        Err(reply) => return reply,
    };
    let now = driver.parts.shared.clock.now().wall();
    let generation = publication.assembly.generation;
    let answer = |a: &Asked<'_>| {
        let mut answer = explain(a, a.rules.judge(protocol, number, now), port, generation);
        answer["drops"] = drops_of(driver, &a.other, a.outbound, (protocol, number)).into();
        answer
    };
    let answers: Vec<Value> = asked.iter().map(answer).collect();
    let yes = !answers.is_empty() && answers.iter().all(|a| a["passes"] == true);
    let value = json!({ "passes": yes, "answers": answers });
    if yes { Reply::Ok(value) } else { Reply::Finding(value) }
}

/// A destination that this node may not see and one that does not exist get the same answer.
fn ask<'a>(
    driver: &Driver,
    publication: &'a Publication,
    from: Option<&str>,
    to: &str,
    port: (Protocol, u16),
) -> Result<Vec<Asked<'a>>, Reply> {
    let assembly = &publication.assembly;
    let me = assembly.me.name().to_string();
    let outbound = from.is_none_or(|from| is_me(assembly, from));
    if !outbound && !is_me(assembly, to) {
        return Err(Reply::Bad(format!(
            "a node knows only its own connections: FROM or TO must be {me}; ask `warren why` for other pairs"
        )));
    }
    let other = if outbound { to } else { from.unwrap_or_default() };
    let mut peers = find(publication, other);
    if peers.is_empty() {
        let found = addresses(publication, other, driver);
        peers = found.iter().flat_map(|a| find(publication, &a.to_string())).collect();
        peers.dedup_by_key(|(id, _)| *id);
    }
    let audited = || assembly.audited.get(&other.parse().ok()?);
    if let Some(rules) = Some(()).filter(|()| outbound && peers.is_empty()).and_then(|()| audited()) {
        let address = other.parse().into_iter().collect();
        return Ok(vec![Asked { from: me, to: other.to_owned(), other: address, outbound, rules }]);
    }
    if peers.is_empty() {
        let (from, to) = if outbound { (me, to.to_owned()) } else { (other.to_owned(), me) };
        let address: Vec<IpAddr> = other.parse().into_iter().collect();
        return Err(Reply::Finding(json!({
            "passes": false,
            "answers": [{ "from": from, "to": to, "passes": false, "verdict": "deny", "why": "no grant joins you to that",
                          "generation": assembly.generation, "drops": drops_of(driver, &address, outbound, port) }],
        })));
    }
    let one = |(_, spec): (NodeId, &'a PeerSpec)| {
        let name = spec.member.name().to_string();
        let other = spec.member.addresses().collect();
        match outbound {
            true => Asked { from: me.clone(), to: name, other, outbound, rules: &spec.outbound },
            false => Asked { from: name, to: me.clone(), other, outbound, rules: &spec.inbound },
        }
    };
    Ok(peers.into_iter().map(one).collect())
}

fn explain(asked: &Asked<'_>, verdict: Verdict<'_>, port: &str, generation: u64) -> Value {
    let (word, grant, service, why) = match verdict {
        Verdict::Allow { grant, service, until } => {
            let end = until.map(|t| format!(" until {t}")).unwrap_or_default();
            let why = format!("allowed by grant {grant} at generation {generation}{end}");
            ("allow", Some(grant), Some(service), why)
        }
        Verdict::Deny => ("deny", None, None, "no grant joins you to that".to_owned()),
        Verdict::WouldAllow { grant, service } => {
            let why = format!("grant {grant} is only audited: it would allow this, but does not yet");
            ("would-allow", Some(grant), Some(service), why)
        }
        Verdict::WouldDeny => (
            "would-deny",
            None,
            None,
            "no grant allows this; it passes because the policy only observes".to_owned(),
        ),
    };
    json!({
        "from": asked.from, "to": asked.to, "port": port, "passes": verdict.passes(), "verdict": word,
        "grant": grant, "service": service, "generation": generation, "why": why,
    })
}

/// `tcp/8443`, `udp/53`, `8443` (TCP), `icmp/echo`, `icmp`, `proto/132`.
fn parse_port(text: &str) -> Result<(Protocol, u16), String> {
    let bad = || {
        format!("`{text}` is not a port: write tcp/8443, udp/53, icmp/echo, proto/132, or a number for TCP")
    };
    let number = |n: &str| n.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(bad);
    match text.split_once('/') {
        None if text == "icmp" => Ok((Protocol::IcmpEcho, 0)),
        None => Ok((Protocol::Tcp, number(text)?)),
        Some(("tcp", n)) => Ok((Protocol::Tcp, number(n)?)),
        Some(("udp", n)) => Ok((Protocol::Udp, number(n)?)),
        Some(("icmp", "echo")) => Ok((Protocol::IcmpEcho, 0)),
        Some(("proto", n)) => Ok((other(n.parse().map_err(|_| bad())?).ok_or_else(bad)?, 0)),
        Some(_) => Err(bad()),
    }
}

/// Numbers that have a spelling of their own are not spelled as numbers.
fn other(number: u8) -> Option<Protocol> {
    (![1, 6, 17, 58].contains(&number)).then_some(Protocol::Number(number))
}

fn no_view() -> Reply {
    Reply::Finding(json!({ "why": "no view was received yet: this node has no peers" }))
}

fn unknown(name: &str) -> Reply {
    Reply::Finding(json!({ "why": format!("no grant joins you to `{name}`, or there is no such name") }))
}
