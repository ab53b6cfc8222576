//! `warren map`: who talked to whom, as a tree of services or as a table.

use std::collections::{BTreeMap, BTreeSet};

use warren_coordinator_core::map::{LostRecords, MapEdge, MapEnd, MapExtent, NetworkMap};
use warren_wire::flow::FlowVerdict;

use super::args::MapArgs;
use super::{Context, Failure, Outcome, output};
use crate::client::url;
use crate::text::plain;

pub async fn run(context: &Context, args: &MapArgs) -> Outcome {
    let at = args.at.as_deref().map(moment).transpose()?;
    let query =
        [("at", at.map(|at| at.to_string())), ("window", args.within.map(|within| within.0.to_string()))];
    let map: NetworkMap = context.client.get(&url(&["v1", "map"], &query)).await?;
    if context.json {
        output::json(&map);
        return Ok(());
    }
    output::line(&head(&map));
    not_kept(&map).iter().for_each(|line| output::line(line));
    left_out(&map.extent).iter().for_each(|line| output::line(line));
    match args.table {
        true => output::table(&HEAD, map.edges.iter().map(cells).collect(), NOTHING),
        false if map.edges.is_empty() => output::line(NOTHING),
        false => tree(&map).iter().for_each(|line| output::line(line)),
    }
    Ok(())
}

const NOTHING: &str = "no flows in this time";
const HEAD: [&str; 10] =
    ["FROM", "TO", "SERVICE", "PORT", "VERDICT", "FLOWS/TRIES", "BYTES OUT/BACK", "RTT", "RESENT", "LAST"];

/// RFC 3339 in UTC, or seconds since 1970.
pub fn moment(text: &str) -> Result<u64, Failure> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let bad = || {
        Failure::usage(format!(
            "`{}` is no time: write 2026-11-28T18:00:00Z or seconds since 1970",
            plain(text, 64)
        ))
    };
    warren_config::time::parse(text).map(|at| at.0).ok_or_else(bad)
}

fn head(map: &NetworkMap) -> String {
    let lost = lost(&map.lost);
    let steps = match map.resolution {
        1 => "",
        60 => " (whole minutes)",
        _ => " (whole hours)",
    };
    format!(
        "{} to {}{steps}, generation {}, {}, {}{lost}",
        map.from,
        map.at,
        map.generation,
        output::count(map.nodes.len() as u64, "node", "nodes"),
        output::count(map.edges.len() as u64, "edge", "edges")
    )
}

/// Of all time: which stretch it belonged to, nobody knows.
fn lost(lost: &LostRecords) -> String {
    let records = (lost.records() > 0).then(|| output::count(lost.records(), "record", "records"));
    let packets = output::count(lost.lost_at_end, "packet", "packets");
    let packets = (lost.lost_at_end > 0).then(|| format!("{packets} at the ends of agents"));
    let all: Vec<String> = [records, packets].into_iter().flatten().collect();
    match all.is_empty() {
        true => String::new(),
        false => format!("; lost in all {} (`warren flow accounts`)", all.join(" and ")),
    }
}

/// An empty map of a time of which nothing is kept any more would be a lie.
fn not_kept(map: &NetworkMap) -> Option<String> {
    let what = match map.complete_from < map.at {
        true => "what came before is not kept any more",
        false => "of this time nothing is kept any more",
    };
    let since = map.complete_from;
    (since > map.from).then(|| format!("{what}: sums are kept since {since} (`history` in settings.json)"))
}

/// Of a very large network the lightest edges are not here: how much they are, and how to see all.
fn left_out(extent: &MapExtent) -> Option<String> {
    let missing = extent.total.saturating_sub(extent.shown);
    let sum = &extent.left_out;
    (missing > 0).then(|| {
        format!(
            "{missing} of {} edges are left out, the lightest: {} flows, {} out, {} back, {} tries (a shorter --within has fewer; `map.edges` in settings.json is {})",
            extent.total,
            sum.flows,
            output::bytes(sum.bytes_out),
            output::bytes(sum.bytes_back),
            sum.tries,
            extent.limit
        )
    })
}

/// What is reached, and under it who reached it; then what was refused, one line a pair of ends.
fn tree(map: &NetworkMap) -> Vec<String> {
    let mut services: BTreeMap<String, Vec<&MapEdge>> = BTreeMap::new();
    let mut refused: BTreeMap<(String, String), Vec<&MapEdge>> = BTreeMap::new();
    for edge in &map.edges {
        match &edge.service {
            Some(service) => services.entry(service.clone()).or_default().push(edge),
            None => refused.entry((end(&edge.to), end(&edge.from))).or_default().push(edge),
        }
    }
    let mut lines = Vec::new();
    for (service, mut edges) in services {
        edges.sort_by_key(|edge| std::cmp::Reverse((edge.sum.bytes(), edge.sum.tries)));
        branch(&mut lines, &service, edges.into_iter().map(sentence).collect());
    }
    let mut targets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((to, from), edges) in refused {
        targets.entry(to).or_default().push(refusals(&from, &edges));
    }
    targets.into_iter().for_each(|(to, all)| branch(&mut lines, &format!("{to}, no service"), all));
    lines
}

fn branch(lines: &mut Vec<String>, head: &str, under: Vec<String>) {
    lines.push(plain(head, 100));
    let last = under.len().saturating_sub(1);
    for (i, text) in under.into_iter().enumerate() {
        let mark = if i == last { "└─" } else { "├─" };
        lines.push(format!("{mark} {}", plain(&text, 300)));
    }
}

/// Ports named in one line.
const PORTS: usize = 5;

/// Somebody who tried many ports is one line, not thousands.
fn refusals(from: &str, edges: &[&MapEdge]) -> String {
    let tries: u64 = edges.iter().map(|edge| edge.sum.tries.max(edge.sum.flows)).sum();
    let word = edges.first().map_or("", |edge| verdict(edge));
    let ports: BTreeSet<(u8, u16)> = edges.iter().map(|edge| (edge.protocol, edge.port)).collect();
    format!("{from}  {word}  {}  {}", named(&ports), output::count(tries, "try", "tries"))
}

/// The first few by number, the others by how many they are; last those that are not told apart.
fn named(ports: &BTreeSet<(u8, u16)>) -> String {
    let text = |(protocol, port): &(u8, u16)| output::port(*protocol, *port);
    let (folded, known): (Vec<_>, Vec<_>) =
        ports.iter().partition(|(protocol, port)| *port == 0 && matches!(protocol, 6 | 17));
    let more = known.len().saturating_sub(PORTS);
    let more = (more > 0).then(|| format!("{more} more {}", if more == 1 { "port" } else { "ports" }));
    let named = known.into_iter().take(PORTS).map(text);
    named.chain(more).chain(folded.into_iter().map(text)).collect::<Vec<_>>().join(", ")
}

fn sentence(edge: &MapEdge) -> String {
    let by = edge.grant.as_deref().map(|grant| format!(" by {grant}")).unwrap_or_default();
    let traffic = match edge.verdict {
        FlowVerdict::Deny => output::count(edge.sum.tries, "try", "tries"),
        _ => format!(
            "{}, {} out, {} back{}",
            output::count(edge.sum.flows, "flow", "flows"),
            output::bytes(edge.sum.bytes_out),
            output::bytes(edge.sum.bytes_back),
            quality(edge)
        ),
    };
    let mismatch = edge.mismatch.map(|_| "  !! the two ends contradict each other").unwrap_or_default();
    format!(
        "{} -> {} {}  {}{by}  {traffic}{mismatch}",
        end(&edge.from),
        end(&edge.to),
        port(edge),
        verdict(edge)
    )
}

/// What is known of its TCP connections.
fn quality(edge: &MapEdge) -> String {
    let rtt = edge.rtt_us.map(|rtt| format!(", round trip {}", output::micros(rtt)));
    let again = edge.retransmissions.filter(|again| *again > 0).map(|again| format!(", {again} sent again"));
    [rtt, again].into_iter().flatten().collect()
}

fn cells(edge: &MapEdge) -> Vec<String> {
    vec![
        end(&edge.from),
        end(&edge.to),
        output::or_dash(edge.service.clone()),
        port(edge),
        verdict(edge).to_owned(),
        format!("{}/{}", edge.sum.flows, edge.sum.tries),
        format!("{}/{}", output::bytes(edge.sum.bytes_out), output::bytes(edge.sum.bytes_back)),
        output::or_dash(edge.rtt_us.map(output::micros)),
        output::or_dash(edge.retransmissions.map(|again| again.to_string())),
        warren_config::time::UnixTime(edge.last_seen / 1000).to_string(),
    ]
}

fn end(end: &MapEnd) -> String {
    let address = || end.address.map(|address| address.to_string());
    end.name.clone().or_else(address).or_else(|| end.node.map(|id| id.to_string())).unwrap_or_default()
}

fn port(edge: &MapEdge) -> String {
    output::port(edge.protocol, edge.port)
}

fn verdict(edge: &MapEdge) -> &'static str {
    match edge.verdict {
        FlowVerdict::Unknown => "unknown",
        FlowVerdict::Allow => "allowed",
        FlowVerdict::Deny => "REFUSED",
        FlowVerdict::WouldAllow => "would be allowed",
        FlowVerdict::WouldDeny => "WOULD BE REFUSED",
    }
}

#[cfg(test)]
mod tests {
    use warren_coordinator_core::edges::Sum;

    use super::*;

    /// An edge as `/v1/map` tells it, with some of it changed.
    fn edge(changed: serde_json::Value) -> MapEdge {
        let node = |name: &str, id: &str| serde_json::json!({ "node": id.repeat(16), "name": name, "address": null });
        let mut edge = serde_json::json!({
            "id": "e1", "from": node("web-1", "aa"), "to": node("orders-1", "bb"), "service": "orders", "protocol": 6,
            "port": 8080, "verdict": "allow", "grant": "web-reads-orders", "generation": 3, "flows": 41, "tries": 0,
            "packets_out": 9, "bytes_out": 1500, "packets_back": 8, "bytes_back": 2_500_000, "rtt_us": 1240,
            "retransmissions": 7, "first_seen": 1000, "last_seen": 86_400_999, "seen_by": ["from"], "mismatch": null,
        });
        let changed = changed.as_object().expect("fields").clone();
        edge.as_object_mut().expect("fields").extend(changed);
        serde_json::from_value(edge).expect("an edge")
    }

    #[test]
    fn a_row_of_the_table_says_each_field_under_its_head_and_what_is_not_known_is_a_dash() {
        let row = |edge: &MapEdge| HEAD.into_iter().zip(cells(edge)).collect::<BTreeMap<_, _>>();
        let whole = row(&edge(serde_json::json!({})));
        let expected = [
            ("FROM", "web-1"),
            ("TO", "orders-1"),
            ("SERVICE", "orders"),
            ("PORT", "tcp/8080"),
            ("VERDICT", "allowed"),
            ("FLOWS/TRIES", "41/0"),
            ("BYTES OUT/BACK", "1.5 kB/2.5 MB"),
            ("RTT", "1.2 ms"),
            ("RESENT", "7"),
            ("LAST", "1970-01-02T00:00:00Z"),
        ];
        assert_eq!(whole, expected.map(|(head, cell)| (head, cell.to_owned())).into());
        let refused = serde_json::json!({
            "verdict": "deny", "service": null, "grant": null, "tries": 9, "flows": 0, "port": 0, "rtt_us": null,
            "retransmissions": null, "from": { "node": null, "name": null, "address": "203.0.113.9" },
        });
        let refused = row(&edge(refused));
        for (head, cell) in [
            ("FROM", "203.0.113.9"),
            ("SERVICE", "-"),
            ("PORT", "other tcp ports"),
            ("VERDICT", "REFUSED"),
            ("FLOWS/TRIES", "0/9"),
            ("RTT", "-"),
            ("RESENT", "-"),
        ] {
            assert_eq!(refused.get(head).map(String::as_str), Some(cell), "{head}");
        }
    }

    #[test]
    fn an_edge_of_the_tree_says_how_its_connections_fare_as_far_as_that_is_known() {
        let known = sentence(&edge(serde_json::json!({})));
        assert!(known.ends_with("2.5 MB back, round trip 1.2 ms, 7 sent again"), "{known}");
        let unknown = serde_json::json!({ "rtt_us": null, "retransmissions": null });
        assert!(sentence(&edge(unknown)).ends_with("2.5 MB back"));
        let both = serde_json::json!({ "mismatch": { "from_bytes": 1, "to_bytes": 2 } });
        assert!(sentence(&edge(both)).contains("the two ends contradict each other"));
    }

    #[test]
    fn what_was_lost_is_said_in_records_and_where_there_are_none_in_packets() {
        assert_eq!(lost(&LostRecords::default()), "");
        let known = LostRecords { declared: 2, rejected: 1, skipped: 4, lost_at_end: 9, untold_ends: 1 };
        assert_eq!(
            lost(&known),
            "; lost in all 7 records and 9 packets at the ends of agents (`warren flow accounts`)"
        );
        assert_eq!(
            lost(&LostRecords { lost_at_end: 1, ..LostRecords::default() }),
            "; lost in all 1 packet at the ends of agents (`warren flow accounts`)"
        );
    }

    #[test]
    fn a_map_of_what_is_not_kept_says_since_when_there_is_something() {
        let map = |complete_from: u64, resolution: u64| -> NetworkMap {
            serde_json::from_value(serde_json::json!({
                "at": 7200, "from": 3600, "resolution": resolution, "live": false, "revision": 1, "generation": 1,
                "observe": false, "complete_from": complete_from, "complete_until": 7200, "recorded_since": null,
                "lost": LostRecords::default(), "extent": MapExtent::default(), "nodes": [], "services": [], "edges": [],
            }))
            .expect("a map")
        };
        assert_eq!(not_kept(&map(3600, 60)), None);
        let part = not_kept(&map(5400, 60)).unwrap_or_default();
        assert!(
            part.starts_with("what came before") && part.contains("since 1970-01-01T01:30:00Z"),
            "{part}"
        );
        let all = not_kept(&map(86_400, 3600)).unwrap_or_default();
        assert!(all.starts_with("of this time nothing is kept any more"), "{all}");
        let heads = [1, 60, 3600].map(|resolution| head(&map(3600, resolution)));
        assert!(
            heads[0].contains("02:00:00Z, generation") && heads[1].contains("whole minutes"),
            "{heads:?}"
        );
        assert!(heads[2].contains("whole hours"), "{heads:?}");
    }

    #[test]
    fn ports_that_are_not_told_apart_are_words_and_come_last() {
        let scan: BTreeSet<(u8, u16)> = [0, 22, 23].into_iter().map(|port| (6, port)).collect();
        assert_eq!(named(&scan), "tcp/22, tcp/23, other tcp ports");
        let many: BTreeSet<(u8, u16)> = (0..33).map(|port| (6, port)).chain([(17, 0), (1, 0)]).collect();
        assert_eq!(
            named(&many),
            "icmp, tcp/1, tcp/2, tcp/3, tcp/4, 28 more ports, other tcp ports, other udp ports"
        );
    }

    #[test]
    fn a_map_that_leaves_something_out_says_how_much_and_what_to_do() {
        let whole = MapExtent { shown: 7, total: 7, limit: 100, ..MapExtent::default() };
        assert_eq!(left_out(&whole), None);
        let left = Sum { flows: 3, tries: 9, bytes_out: 1500, ..Sum::default() };
        let said = left_out(&MapExtent { shown: 2, total: 7, limit: 2, left_out: left }).unwrap_or_default();
        for words in
            ["5 of 7 edges are left out", "3 flows", "1.5 kB out", "9 tries", "--within", "`map.edges`"]
        {
            assert!(said.contains(words), "no {words} in {said}");
        }
    }
}
