//! Flow records in the JSON encoding of OTLP logs. Attribute names are those of the OpenTelemetry semantic conventions where
//! there are any (`source.*`, `destination.*`, `network.*`, `process.*`), else under `warren.`.

use serde_json::{Value, json};
use warren_coordinator_core::flows::FlowRow;
use warren_wire::flow::{FlowPath, FlowVerdict, Workload};

/// `SeverityNumber` of OTLP: what is refused stands out.
const INFO: u8 = 9;
const WARN: u8 = 13;

/// The body of one request (`ExportLogsServiceRequest`).
pub fn logs(network: &str, rows: &[FlowRow]) -> Vec<u8> {
    let resource = [
        text("service.name", "warren"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("warren.network", network),
    ];
    let request = json!({
        "resourceLogs": [{
            "resource": { "attributes": resource },
            "scopeLogs": [{
                "scope": { "name": "warren.flows" },
                "logRecords": rows.iter().map(record).collect::<Vec<Value>>(),
            }],
        }],
    });
    serde_json::to_vec(&request).unwrap_or_default()
}

fn record(row: &FlowRow) -> Value {
    let refused = matches!(row.verdict, FlowVerdict::Deny | FlowVerdict::WouldDeny);
    let verdict = word(&row.verdict);
    json!({
        "timeUnixNano": nanoseconds(row.last_ms),
        "observedTimeUnixNano": nanoseconds(row.received.0.saturating_mul(1000)),
        "severityNumber": if refused { WARN } else { INFO },
        "eventName": "warren.flow",
        "body": { "stringValue": sentence(row, &verdict) },
        "attributes": attributes(row, verdict),
    })
}

fn sentence(row: &FlowRow, verdict: &str) -> String {
    let by = row.grant.as_ref().map(|grant| format!(" by {grant}")).unwrap_or_default();
    format!(
        "{} -> {} {}/{} {verdict}{by}",
        row.from.label(),
        row.to.label(),
        transport(row.protocol),
        row.to.port
    )
}

fn attributes(row: &FlowRow, verdict: String) -> Vec<Value> {
    let mut all = vec![
        text("source.address", &row.from.address.to_string()),
        number("source.port", row.from.port.into()),
        text("destination.address", &row.to.address.to_string()),
        number("destination.port", row.to.port.into()),
        text("network.transport", &transport(row.protocol)),
        text("network.type", if row.from.address.is_ipv4() { "ipv4" } else { "ipv6" }),
        text("warren.flow.verdict", &verdict),
        number("warren.flow.generation", row.generation),
        text("warren.flow.end", &word(&row.end)),
        text("warren.flow.id", &format!("{}.{}.{}", row.reporter, row.boot, row.flow)),
        text("warren.flow.reporter", if row.outbound { "source" } else { "destination" }),
        number("warren.flow.count", row.count),
        number("warren.flow.packets.out", row.packets_out),
        number("warren.flow.bytes.out", row.bytes_out),
        number("warren.flow.packets.back", row.packets_back),
        number("warren.flow.bytes.back", row.bytes_back),
        text("warren.flow.start", &nanoseconds(row.started_ms)),
    ];
    let known = [
        ("warren.source.name", row.from.name.clone()),
        ("warren.source.node", row.from.node.map(|node| node.to_string())),
        ("warren.destination.name", row.to.name.clone()),
        ("warren.destination.node", row.to.node.map(|node| node.to_string())),
        ("warren.flow.grant", row.grant.clone()),
        ("warren.flow.service", row.service.clone()),
        ("warren.flow.path", (row.path != FlowPath::Unknown).then(|| word(&row.path))),
    ];
    all.extend(known.into_iter().filter_map(|(key, value)| Some(text(key, &value?))));
    all.extend(row.workload.iter().flat_map(workload));
    let measured = [("warren.flow.rtt_us", row.rtt_us), ("warren.flow.retransmissions", row.retransmissions)];
    all.extend(measured.into_iter().filter_map(|(key, value)| Some(number(key, value?))));
    all
}

/// Whose the flow is at the end that reports it.
fn workload(of: &Workload) -> Vec<Value> {
    let words = [
        ("process.executable.name", &of.process),
        ("process.executable.path", &of.executable),
        ("process.owner", &of.user),
        ("warren.workload.unit", &of.unit),
        ("warren.workload.container", &of.container),
    ];
    words.into_iter().filter(|(_, word)| !word.is_empty()).map(|(key, word)| text(key, word)).collect()
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// 64-bit numbers are strings in this encoding (Protocol Buffers JSON mapping).
fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

fn nanoseconds(milliseconds: u64) -> String {
    milliseconds.saturating_mul(1_000_000).to_string()
}

fn word(value: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

fn transport(protocol: u8) -> String {
    match protocol {
        1 | 58 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}
