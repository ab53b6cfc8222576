//! `why`: may this node open that, or be opened, by which grant, and what was dropped of it of late. Answered from what is enforced.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use warren_config::filter::{Rules, Verdict};
use warren_config::policy::Protocol;
use warren_node_core::assembly::PeerSpec;
use warren_node_core::control::Publication;
use warren_node_core::dataplane::{DropNote, SubnetWay};
use warren_wire::id::NodeId;

use super::known::{addresses, find, is_me, no_view};
use super::{Driver, dropped};
use crate::socket::Reply;

/// One direction between this node and one peer, or what is behind one of the two.
struct Asked<'a> {
    from: String,
    to: String,
    /// Addresses of the other end, and whether this one would open the connection.
    other: Vec<IpAddr>,
    outbound: bool,
    rules: &'a Rules,
    /// How a host without an agent is reached.
    behind: Option<Behind>,
}

/// By which gateways, and what stands in the way on this host.
struct Behind {
    gateways: Vec<String>,
    in_use: Option<String>,
    obstacle: Option<String>,
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

pub fn why(driver: &Driver, from: Option<&str>, to: &str, port: &str) -> Reply {
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
    let found = match from.filter(|from| !is_me(assembly, from)) {
        None => to_others(driver, publication, to),
        Some(from) if is_me(assembly, to) => to_me(driver, publication, from),
        Some(from) if serves(driver, publication, to) => to_what_is_behind_me(driver, publication, from, to),
        Some(_) => {
            return Err(Reply::Bad(format!(
                "a node knows only its own connections: FROM or TO must be {me}; ask `warren why` for other pairs"
            )));
        }
    };
    if !found.is_empty() {
        return Ok(found);
    }
    let outbound = from.is_none_or(|from| is_me(assembly, from));
    let (from, other) =
        (from.filter(|_| !outbound).unwrap_or(&me), if outbound { to } else { from.unwrap_or(to) });
    let address: Vec<IpAddr> = other.parse().into_iter().collect();
    Err(Reply::Finding(json!({
        "passes": false,
        "answers": [{ "from": from, "to": to, "passes": false, "verdict": "deny", "why": "no grant joins you to that",
                      "generation": assembly.generation, "drops": drops_of(driver, &address, outbound, port) }],
    })))
}

/// Peers by name, id, address or service.
fn peers<'a>(driver: &Driver, publication: &'a Publication, text: &str) -> Vec<(NodeId, &'a PeerSpec)> {
    let mut peers = find(publication, text);
    if peers.is_empty() {
        let found = addresses(publication, text, driver);
        peers = found.iter().flat_map(|a| find(publication, &a.to_string())).collect();
        peers.dedup_by_key(|(id, _)| *id);
    }
    peers
}

fn to_others<'a>(driver: &Driver, publication: &'a Publication, to: &str) -> Vec<Asked<'a>> {
    let me = publication.assembly.me.name().to_string();
    let peers = peers(driver, publication, to);
    if peers.is_empty() {
        let behind = to_hosts(driver, publication, to);
        let audited = || publication.assembly.audited.get(&to.parse().ok()?);
        return match audited().filter(|_| behind.is_empty()) {
            None => behind,
            Some(rules) => {
                let other = to.parse().into_iter().collect();
                vec![Asked { from: me, to: to.to_owned(), other, outbound: true, rules, behind: None }]
            }
        };
    }
    let one = |(_, spec): (NodeId, &'a PeerSpec)| Asked {
        from: me.clone(),
        to: spec.member.name().to_string(),
        other: spec.member.addresses().collect(),
        outbound: true,
        rules: &spec.outbound,
        behind: None,
    };
    peers.into_iter().map(one).collect()
}

fn to_me<'a>(driver: &Driver, publication: &'a Publication, from: &str) -> Vec<Asked<'a>> {
    let me = publication.assembly.me.name().to_string();
    let one = |(_, spec): (NodeId, &'a PeerSpec)| Asked {
        from: spec.member.name().to_string(),
        to: me.clone(),
        other: spec.member.addresses().collect(),
        outbound: false,
        rules: &spec.inbound,
        behind: None,
    };
    peers(driver, publication, from).into_iter().map(one).collect()
}

/// Addresses by number, or of a name.
fn hosts(driver: &Driver, publication: &Publication, text: &str) -> Vec<IpAddr> {
    text.parse().map_or_else(|_| addresses(publication, text, driver), |address| vec![address])
}

/// Hosts without an agent: an address, a service of single hosts, or one of prefixes.
fn to_hosts<'a>(driver: &Driver, publication: &'a Publication, to: &str) -> Vec<Asked<'a>> {
    let (me, peers) = (publication.assembly.me.name().to_string(), &publication.assembly.peers);
    let ways = driver.parts.shared.plane.subnets();
    let asked = |to: String, other: Vec<IpAddr>, way: &SubnetWay, rules: &'a Rules| Asked {
        from: me.clone(),
        to,
        other,
        outbound: true,
        rules,
        behind: Some(behind(driver, publication, way)),
    };
    let rules =
        |way: &SubnetWay| way.gateways.first().and_then(|node| peers.get(node)).map(|peer| &peer.beyond);
    let at_host = |host: IpAddr| {
        let within = ways.iter().filter(|way| way.net.contains(&host));
        let way = within.max_by_key(|way| way.net.prefix_len())?;
        Some(asked(host.to_string(), vec![host], way, rules(way)?.rules(host)?))
    };
    let mut found: Vec<Asked<'a>> = hosts(driver, publication, to).into_iter().filter_map(at_host).collect();
    if found.is_empty() {
        let now = driver.parts.shared.clock.now().wall();
        let of_service = |way: &SubnetWay| {
            let (_, rules) = rules(way)?.iter().find(|(net, _)| **net == way.net)?;
            let named = rules.services(now).iter().any(|name| name.as_str() == to);
            named.then(|| asked(way.net.to_string(), Vec::new(), way, rules))
        };
        found.extend(ways.iter().filter_map(of_service));
    }
    found
}

/// Is this behind this node, and granted to anybody?
fn serves(driver: &Driver, publication: &Publication, to: &str) -> bool {
    let hosts = hosts(driver, publication, to);
    publication.assembly.peers.values().any(|peer| hosts.iter().any(|host| peer.hosts.has(*host)))
}

fn to_what_is_behind_me<'a>(
    driver: &Driver,
    publication: &'a Publication,
    from: &str,
    to: &str,
) -> Vec<Asked<'a>> {
    let (me, hosts) = (publication.assembly.me.name().to_string(), hosts(driver, publication, to));
    let one = |(_, spec): (NodeId, &'a PeerSpec)| {
        let rules = |host: &IpAddr| Some((*host, spec.hosts.rules(*host)?));
        let all = hosts.iter().filter_map(rules).map(|(host, rules)| Asked {
            from: spec.member.name().to_string(),
            to: host.to_string(),
            other: spec.member.addresses().collect(),
            outbound: false,
            rules,
            behind: Some(Behind { gateways: vec![me.clone()], in_use: None, obstacle: None }),
        });
        all.collect::<Vec<_>>()
    };
    peers(driver, publication, from).into_iter().flat_map(one).collect()
}

fn behind(driver: &Driver, publication: &Publication, way: &SubnetWay) -> Behind {
    let name =
        |node: &NodeId| publication.assembly.peers.get(node).map(|peer| peer.member.name().to_string());
    let net: &IpNet = &way.net;
    Behind {
        gateways: way.gateways.iter().filter_map(name).collect(),
        in_use: way.in_use.as_ref().and_then(name),
        obstacle: driver.parts.subnets.obstacle(net).map(ToString::to_string),
    }
}

impl Behind {
    fn text(&self) -> String {
        let others = match &self.in_use {
            Some(used) if self.gateways.len() > 1 => format!(", {used} is in use"),
            _ => String::new(),
        };
        let obstacle = self.obstacle.iter().map(|why| format!("; NOT ROUTED here: {why}"));
        format!("; behind {}{others}{}", self.gateways.join(" and "), obstacle.collect::<String>())
    }
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
    let behind = asked.behind.as_ref();
    let why = format!("{why}{}", behind.map(Behind::text).unwrap_or_default());
    let shown = behind.map(|b| json!({ "gateways": b.gateways, "in_use": b.in_use, "obstacle": b.obstacle }));
    json!({
        "from": asked.from, "to": asked.to, "port": port, "passes": verdict.passes(), "verdict": word,
        "grant": grant, "service": service, "generation": generation, "why": why, "behind": shown,
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
