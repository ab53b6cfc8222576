//! `warren status`.

use super::duration::{Seconds, short};
use super::{Context, Outcome, output};
use crate::api::types::StatusReply;
use crate::door::DoorReport;
use crate::otlp::ExportStatus;
use crate::relay::RelayReport;
use crate::text::plain;
use warren_config::time::UnixTime;
use warren_coordinator_core::external::StaleFile;
use warren_coordinator_core::relays::{HERE, RelayRow};
use warren_coordinator_core::status::{Behind, Status};
use warren_wire::id::Generation;

pub async fn run(context: &Context) -> Outcome {
    let reply: StatusReply = context.client.get("/v1/status").await?;
    match context.json {
        true => output::json(&reply),
        false => show(&reply),
    }
    Ok(())
}

pub async fn metrics(context: &Context) -> Outcome {
    let text = context.client.text("/metrics").await?;
    match context.json {
        true => output::json(&text),
        false => output::line(text.trim_end()),
    }
    Ok(())
}

const OBSERVE: &str = "OBSERVE MODE: what no grant allows PASSES and is only recorded (would-deny)\n";

/// For people: what every list about nodes, flows and policies says first while the policy only observes.
pub async fn warn_if_observing(context: &Context) -> Outcome {
    if context.json {
        return Ok(());
    }
    let reply: StatusReply = context.client.get("/v1/status").await?;
    if reply.status.observe {
        output::line(OBSERVE);
    }
    Ok(())
}

/// What an administrator must know of a node that could not be told.
fn behind_line(behind: &Behind, generation: Generation) -> String {
    let has = behind.enforces.map_or_else(
        || "it has not said what it enforces".to_owned(),
        |g| format!("it enforces generation {g}"),
    );
    let presence = if behind.online { "online" } else { "away" };
    format!(
        "behind     {} ({presence}) is not enforcing generation {generation} since {}; {has}",
        behind.name, behind.since
    )
}

fn nodes(s: &Status) -> String {
    match s.externals {
        0 => format!("{} ({} online)", s.nodes, s.online),
        externals => format!("{} ({} online, {externals} external)", s.nodes, s.online),
    }
}

fn stale_line(file: &StaleFile) -> String {
    format!(
        "file       that of external device {} is stale: {}; issue a new one with `warren node external-file {}`",
        file.name,
        file.why.join("; "),
        file.name
    )
}

fn export_line(export: &ExportStatus, now: UnixTime) -> String {
    let error = export.last_error.as_ref();
    let error = error.map(|e| format!("; last error {} ago: {}", short(now.since(e.at)), e.why));
    format!(
        "export     to {}: {} sent, {} refused, {} dropped, {} of {} wait{}",
        export.endpoint,
        export.exported,
        export.refused,
        export.dropped,
        export.waiting,
        export.capacity,
        error.unwrap_or_default()
    )
}

/// Only reasons that have occurred.
fn relay_line(report: &RelayReport) -> String {
    let relay = &report.relay;
    let refused: u64 = relay.refused.values().sum();
    let reasons = relay.refused.iter().filter(|(_, count)| **count > 0);
    let reasons: Vec<String> = reasons.map(|(why, count)| format!("{why} {count}")).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let carried =
        carried(relay.seats as u64, relay.here as u64, relay.pairs as u64, relay.frames, relay.bytes);
    format!("relay      {carried}, {refused} refused{reasons}")
}

fn carried(seats: u64, here: u64, pairs: u64, frames: u64, bytes: u64) -> String {
    format!(
        "{}, {here} of them here, {}; {} passed on ({})",
        output::count(seats, "seat", "seats"),
        output::count(pairs, "pair", "pairs"),
        output::count(frames, "frame", "frames"),
        output::bytes(bytes)
    )
}

fn doors_line(report: &DoorReport) -> String {
    format!(
        "doors      {}; {} open in a WebSocket, {} in QUIC; {} datagrams in, {} out, {} lost",
        report.listening.join(", "),
        report.websocket,
        report.quic,
        report.inward,
        report.outward,
        report.lost
    )
}

/// Of a relay that is a program of its own.
fn other_relay_line(relay: &RelayRow) -> String {
    let refused: u64 = relay.refused.values().sum();
    let open = |doors: &DoorReport| format!("; {} doors open", doors.websocket.saturating_add(doors.quic));
    let doors =
        relay.doors.as_ref().filter(|doors| !doors.listening.is_empty()).map(open).unwrap_or_default();
    format!(
        "relay      {} {} ({}): {}, {refused} refused{doors}",
        relay.name,
        relay.state.word(),
        if relay.places.is_empty() { "nowhere yet".to_owned() } else { relay.places.join(", ") },
        carried(relay.seats, relay.here, relay.pairs, relay.frames, relay.bytes)
    )
}

fn show(reply: &StatusReply) {
    let s = &reply.status;
    if s.observe {
        output::line(OBSERVE);
    }
    let f = &s.freshness;
    output::pairs(&[
        ("network", format!("{} ({})", s.name, s.network)),
        ("state", format!("epoch {}, revision {}, policy generation {}", s.epoch, s.revision, s.generation)),
        ("nodes", nodes(s)),
        ("enforced", s.enforcement.summary.clone()),
        (
            "freshness",
            format!("signed {}, good until {} (life {})", f.signed_at, f.not_after, Seconds(f.life)),
        ),
        (
            "flows",
            format!(
                "{} recorded, {} lost before they were sent, {} rejected",
                s.flows.recorded, s.flows.declared_lost, s.flows.rejected
            ),
        ),
        ("version", reply.service.version.clone()),
    ]);
    for behind in &s.enforcement.behind {
        output::line(&plain(&behind_line(behind, s.enforcement.generation), 300));
    }
    for file in &s.stale_files {
        output::line(&plain(&stale_line(file), 600));
    }
    for alarm in &s.alarms {
        let age = short(s.now.since(alarm.last));
        output::line(&plain(
            &format!(
                "ALARM      {} ({} times, last {age} ago): {}",
                alarm.subject, alarm.count, alarm.message
            ),
            600,
        ));
    }
    if let Some(relay) = &reply.service.relay {
        output::line(&plain(&relay_line(relay), 600));
    }
    if !reply.service.doors.listening.is_empty() {
        output::line(&plain(&doors_line(&reply.service.doors), 600));
    }
    for relay in reply.service.relays.iter().filter(|relay| relay.name != HERE) {
        output::line(&plain(&other_relay_line(relay), 600));
    }
    if let Some(export) = &reply.service.export {
        output::line(&plain(&export_line(export, s.now), 600));
    }
    if reply.service.history_skipped > 0 {
        output::line(&format!(
            "history    {} flow records were not written to the history on disk",
            reply.service.history_skipped
        ));
    }
}
