//! Answers for people.

use comfy_table::{Table, presets};
use serde_json::Value;

/// A field as text; `-` for what is not there. What peers chose is escaped.
pub fn field(value: &Value, name: &str) -> String {
    plain(value.get(name).unwrap_or(&Value::Null))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Control characters are shown, not obeyed.
fn visible(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(one).collect()
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    rows.for_each(|row| {
        table.add_row(row);
    });
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn lines(value: &Value, names: &[(&str, &str)]) -> String {
    names.iter().map(|(label, name)| format!("{label:<13} {}\n", field(value, name))).collect()
}

/// What every status says first while the policy only observes.
pub const OBSERVE: &str =
    "OBSERVE MODE: what no grant allows PASSES on this node and is only recorded (would-deny)\n\n";

pub fn status(s: &Value) -> String {
    let observes = s.get("observe") == Some(&Value::Bool(true));
    let mut text = if observes { OBSERVE.to_owned() } else { String::new() };
    text += &lines(
        s,
        &[
            ("node", "name"),
            ("id", "node"),
            ("network", "network"),
            ("tags", "tags"),
            ("addresses", "v4"),
            ("", "v6"),
            ("interface", "interface"),
            ("port", "port"),
            ("seen at", "mapped"),
            ("coordinator", "coordinator"),
            ("revision", "revision"),
            ("enforced", "enforced_revision"),
            ("generation", "enforced_generation"),
            ("peers", "peers"),
            ("zone", "zone"),
        ],
    );
    text.push_str(&way("by", s.get("coordinator_way")));
    if let Some(mapping) = s.get("port_mapping").filter(|mapping| !mapping.is_null()) {
        let granted = !mapping.get("outside").is_none_or(Value::is_null);
        let said =
            if granted { field(mapping, "outside") } else { format!("none: {}", field(mapping, "why")) };
        let (speech, gateway) = (field(mapping, "protocol"), field(mapping, "gateway"));
        text.push_str(&format!("{:<13} {said} ({speech} at {gateway})\n", "port mapping"));
    }
    text.push_str(&relays(s));
    text.push_str(&subnets(s));
    for (label, name) in [("cut", "cut"), ("last error", "last_error"), ("doubt", "doubt")] {
        if !s.get(name).is_none_or(Value::is_null) {
            text.push_str(&lines(s, &[(label, name)]));
        }
    }
    for notice in s.get("notices").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!("{:<13} {}\n", field(notice, "severity"), field(notice, "message")));
    }
    text
}

/// Subnets behind gateways: what this node may use, and what it serves.
fn subnets(s: &Value) -> String {
    let mut text = String::new();
    for subnet in s.get("subnets").and_then(Value::as_array).into_iter().flatten() {
        let by = subnet["by"].as_array().into_iter().flatten();
        let by: Vec<String> =
            by.map(|by| format!("service {}, grant {}", field(by, "service"), field(by, "grant"))).collect();
        let way = match subnet.get("obstacle").and_then(Value::as_str) {
            Some(why) => format!("NOT ROUTED: {}", visible(why)),
            None => {
                let parts = subnet["elsewhere"].as_array().into_iter().flatten();
                let parts =
                    parts.map(|p| format!(", but {} by {}", field(p, "subnet"), field(p, "interface")));
                let parts: String = parts.collect();
                format!("by {}, of {}{parts}", field(subnet, "in_use"), field(subnet, "gateways"))
            }
        };
        text.push_str(&format!("{:<13} {} {way} ({})\n", "subnet", field(subnet, "subnet"), by.join("; ")));
    }
    let serves = &s["serves"];
    for subnet in serves["subnets"].as_array().into_iter().flatten() {
        let way = serves["ways"].as_array().into_iter().flatten().find(|way| way["subnet"] == *subnet);
        let way = way.map(|way| format!(" {}", field(way, "text"))).unwrap_or_default();
        text.push_str(&format!("{:<13} {}{way}\n", "gateway to", plain(subnet)));
    }
    if let Some(trouble) = serves["trouble"].as_str() {
        text.push_str(&format!("{:<13} {}\n", "alarm", visible(trouble)));
    }
    text
}

pub fn peers(p: &Value) -> String {
    let Some(list) = p.as_array().filter(|l| !l.is_empty()) else {
        return "no peers: no grant joins this node to another".to_owned();
    };
    let names = ["name", "v4", "endpoint", "last_handshake_seconds", "may_open", "may_be_opened", "flows"];
    let head = ["NAME", "ADDRESS", "ENDPOINT", "HANDSHAKE S", "MAY OPEN", "MAY BE OPENED", "FLOWS"];
    table(&head, list.iter().map(|peer| names.iter().map(|n| field(peer, n)).collect()))
}

pub fn flows(f: &Value) -> String {
    let Some(list) = f.as_array().filter(|l| !l.is_empty()) else { return "no flows yet".to_owned() };
    table(
        &["VERDICT", "PROTO", "FROM", "TO", "PEER", "GRANT", "BYTES OUT/BACK", "STATE"],
        list.iter().map(flow_cells),
    )
}

fn flow_cells(flow: &Value) -> Vec<String> {
    let end = |a: &str, p: &str| match field(flow, p).as_str() {
        "0" | "-" => field(flow, a),
        port => format!("{}:{port}", field(flow, a)),
    };
    let folded = matches!(field(flow, "protocol").as_str(), "tcp" | "udp") && field(flow, "dst_port") == "0";
    let bytes = format!("{}/{}", field(flow, "bytes_out"), field(flow, "bytes_back"));
    vec![
        field(flow, "verdict"),
        field(flow, "protocol"),
        end("src", "src_port"),
        end("dst", "dst_port") + if folded { ", other ports" } else { "" },
        field(flow, "peer"),
        field(flow, "grant"),
        bytes,
        field(flow, "end"),
    ]
}

pub fn why(w: &Value) -> String {
    let answers = w.get("answers").and_then(Value::as_array).into_iter().flatten();
    let one = |a: &Value| {
        let drops = a.get("drops").and_then(Value::as_array).into_iter().flatten();
        let drops: String = drops.map(|d| format!("  {}\n", dropped(d))).collect();
        format!("{} -> {}: {}\n{drops}", field(a, "from"), field(a, "to"), field(a, "why"))
    };
    answers.map(one).collect()
}

fn dropped(drop: &Value) -> String {
    let [count, ago, what, reason] = ["count", "seconds_ago", "what", "reason"].map(|name| field(drop, name));
    format!("dropped {count} times, last {ago} s ago: {what} ({reason})")
}

pub fn path(p: &Value) -> String {
    let mut text = lines(
        p,
        &[
            ("peer", "name"),
            ("in use", "endpoint"),
            ("proven", "proven"),
            ("handshake s", "last_handshake_seconds"),
            ("why", "why"),
        ],
    );
    text.push_str(&relays(p));
    for place in p.get("places").and_then(Value::as_array).into_iter().flatten() {
        let answer = match place.get("answered_seconds_ago").and_then(Value::as_u64) {
            Some(ago) => format!("answered {ago} s ago, after {} ms", field(place, "round_trip_ms")),
            None => "not asked, or no answer yet".to_owned(),
        };
        let used = if place.get("in_use") == Some(&Value::Bool(true)) { ", in use" } else { "" };
        let by = match place.get("relay").and_then(Value::as_str) {
            Some(_) => format!(" {}", field(place, "relay")),
            None => String::new(),
        };
        text.push_str(&format!("place         {}{by}{used}: {answer}\n", field(place, "place")));
    }
    for change in p.get("moves").and_then(Value::as_array).into_iter().flatten() {
        let [ago, to, why] = ["seconds_ago", "to", "reason"].map(|name| field(change, name));
        text.push_str(&format!("{ago} s ago: {to} ({why})\n"));
    }
    text
}

/// The relays this node sits at, a line each.
fn relays(s: &Value) -> String {
    let relays = s.get("relays").and_then(Value::as_array).into_iter().flatten();
    let line = |relay: &Value| {
        let after = match relay.get("answers") {
            Some(Value::Bool(true)) => format!(", answers after {} ms", field(relay, "round_trip_ms")),
            _ => String::new(),
        };
        let [name, at, why] = ["name", "at", "why"].map(|field_of| field(relay, field_of));
        format!("relay         {name} at {at}{after} ({why})\n{}", way("by", relay.get("way")))
    };
    relays.map(line).collect()
}

/// By what something is reached, for how long and why.
fn way(label: &str, way: Option<&Value>) -> String {
    let Some(way) = way.filter(|way| !way.is_null()) else { return String::new() };
    let [transport, seconds, why] = ["transport", "seconds", "why"].map(|name| field(way, name));
    format!("{label:<13} {transport} for {seconds} s: {why}\n")
}

pub fn dns_query(q: &Value) -> String {
    let mut text = lines(q, &[("name", "name"), ("type", "type"), ("class", "class"), ("answer", "code")]);
    for (label, name) in [("suffix", "suffix"), ("upstream", "upstream"), ("why", "why")] {
        if !q.get(name).is_none_or(Value::is_null) {
            text.push_str(&lines(q, &[(label, name)]));
        }
    }
    for record in q.get("records").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!("{}\n", plain(record)));
    }
    text
}

pub fn dns_status(s: &Value) -> String {
    let upstreams = s.get("upstreams").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is = |name: &str| s.get(name).and_then(Value::as_bool) == Some(true);
    let told = if is("names_are_told") {
        "\nthe policy asks for names: which ones are asked here is told to the coordinator"
    } else {
        ""
    };
    let cache =
        format!("{} answers kept, {} questions waiting{told}", field(s, "cached"), field(s, "waiting"));
    if upstreams.is_empty() {
        return format!(
            "no DNS server is set: names outside the zone are refused (give `upstream` in [dns], or --dns-upstream)\n{cache}"
        );
    }
    let head =
        ["DNS SERVER", "FOR", "ANSWERS", "5/20/100/500/2000 MS/MORE", "FAILURES", "USUAL MS", "LAST ERROR"];
    let row = |u: &Value| {
        let times = ["5", "20", "100", "500", "2000", "more"].map(|end| field(&u["answers_within_ms"], end));
        let [upstream, suffix, answers, failures, usual, error] =
            ["upstream", "suffix", "answers", "failures", "answers_in_ms", "last_error"].map(|n| field(u, n));
        vec![upstream, suffix, answers, times.join("/"), failures, usual, error]
    };
    let rows = upstreams.iter().map(row);
    let validates = if is("validates") { "\nanswers must be proven by DNSSEC" } else { "" };
    format!("{}\n{cache}{validates}", table(&head, rows))
}

pub fn counters(c: &Value) -> String {
    let all = c.get("counters").and_then(Value::as_object).into_iter().flatten();
    let mut text: String =
        all.filter(|(_, n)| n.as_u64() != Some(0)).map(|(name, n)| format!("{name:<32} {n}\n")).collect();
    for drop in c.get("drops").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!("{}\n", dropped(drop)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_peer_chose_cannot_move_the_cursor() {
        let shown = why(&json!({ "answers": [{ "from": "\u{1b}[2Jx", "to": "y", "why": "z" }] }));
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn observe_mode_is_the_first_thing_a_status_says() {
        assert!(status(&json!({ "name": "web-1", "observe": true })).starts_with("OBSERVE MODE"));
        assert!(!status(&json!({ "name": "web-1", "observe": false })).contains("OBSERVE"));
    }

    #[test]
    fn a_denied_connection_reads_like_a_sentence() {
        let answer =
            json!({ "answers": [{ "from": "web-1", "to": "db-1", "why": "no grant joins you to that" }] });
        assert_eq!(why(&answer), "web-1 -> db-1: no grant joins you to that\n");
    }

    #[test]
    fn what_was_just_dropped_is_said_with_reason_count_and_time() {
        let drop = json!({ "reason": "denied", "count": 3, "seconds_ago": 2, "what": "Tcp 100.64.0.1:9 -> 100.64.0.2:22" });
        let answer = json!({ "answers": [{ "from": "a", "to": "b", "why": "no", "drops": [drop] }] });
        let line = "  dropped 3 times, last 2 s ago: Tcp 100.64.0.1:9 -> 100.64.0.2:22 (denied)\n";
        assert_eq!(why(&answer), format!("a -> b: no\n{line}"));
    }
}
