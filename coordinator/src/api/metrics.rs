//! `/metrics`: how the coordinator and its network are, in the OpenMetrics text format (version 1.0.0), made anew for each
//! scrape. No label has more values than a table in this program, or there are relays ([`MAX_KNOWN`]): names of nodes and grants are in
//! the API, not here.
//!
//! [`MAX_KNOWN`]: warren_coordinator_core::relays::MAX_KNOWN

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use warren_coordinator_core::alarm::AlarmKind;
use warren_coordinator_core::relays::{HERE, RelayRow, RelayState};
use warren_coordinator_core::status::Status;
use warren_scrape::{CONTENT_TYPE, Sheet};

use super::App;
use super::caller::Reader;
use super::extract::internal;
use super::problem::Problem;
use crate::clock;
use crate::door::{Doors, Transport};
use crate::owner::FlowCounts;
use crate::relay::fares::{self, Fares};

/// Requests by route (as in the table, without its parameters) and status.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<(String, u16), u64>>>);

/// In front of every route of the API.
pub async fn counted(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    *requests.0.lock().entry((path, response.status().as_u16())).or_default() += 1;
    response
}

pub async fn metrics(_: Reader, State(app): State<App>) -> Result<Response, Problem> {
    let (status, flows, skipped) = app
        .owner
        .ask(|owner| (owner.coordinator().status(clock::now()), owner.flow_counts(), owner.flows_skipped()))
        .await?;
    let skipped = skipped.saturating_add(app.failed.load(Ordering::Relaxed));
    let mut sheet = Sheet::new("warren");
    network(&mut sheet, &status);
    alarms(&mut sheet, &status);
    flow_records(&mut sheet, &status, &flows, skipped);
    service(&mut sheet, &app);
    add_relays(&mut sheet, &super::relays::rows(&app).await?, app.doors.as_ref());
    let text = sheet.text().map_err(internal)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))], text).into_response())
}

/// All relays that are here, each by its name in the label `relay`, the coordinator's own as `coordinator`. Of one that has no
/// session here nothing is known, and nothing said but that.
fn add_relays(sheet: &mut Sheet, rows: &[RelayRow], own: Option<&Doors>) {
    let in_state = |state: RelayState| rows.iter().filter(|row| row.state == state).count() as u64;
    let states = RelayState::ALL.map(|state| (vec![("state", state.word().to_owned())], in_state(state)));
    sheet.gauges("relays", "Relays by state, the coordinator's own among them", states);
    let here: Vec<Fares> = rows.iter().filter(|row| row.state.is_here()).map(Fares::of).collect();
    fares::frames(sheet, &here);
    // The coordinator's port has doors without its relay, too.
    let own = own.map(|own| (HERE.to_owned(), own.report()));
    let others = rows.iter().filter(|row| row.state.is_here() && row.name != HERE);
    let others = others.filter_map(|row| Some((row.name.clone(), row.doors.clone()?)));
    fares::doors(sheet, &own.into_iter().chain(others).collect::<Vec<_>>());
}

fn network(sheet: &mut Sheet, status: &Status) {
    sheet.build(env!("CARGO_PKG_VERSION"));
    let away = status.nodes.saturating_sub(status.online).saturating_sub(status.externals);
    let states = [("online", status.online), ("offline", away), ("external", status.externals)];
    let states = states.map(|(word, count)| (vec![("state", word.to_owned())], count as u64));
    sheet.gauges("nodes", "Members by state; external: a device without an agent", states);
    let channels = &status.channels;
    let by = |word: Transport| vec![("transport", word.word().to_owned())];
    let channels = [
        (by(Transport::Udp), channels.udp),
        (by(Transport::Quic), channels.quic),
        (by(Transport::WebSocket), channels.websocket),
    ];
    sheet.gauges(
        "control_channels",
        "Nodes that are online, by what carries their control channel",
        channels,
    );
    sheet.gauge("revision", "Changes since the network was founded", status.revision);
    sheet.gauge("policy_generation", "Generation of the policy in force", status.generation);
    sheet.gauge(
        "policy_observes",
        "1: the policy only records and lets everything pass",
        status.observe.into(),
    );
    let enforcement = &status.enforcement;
    sheet.gauge("nodes_enforcing", "Nodes that enforce the policy in force", enforcement.enforced as u64);
    let behind = |online: bool| enforcement.behind.iter().filter(|b| b.online == online).count() as u64;
    let behind = [("online", behind(true)), ("offline", behind(false))];
    let behind = behind.map(|(word, count)| (vec![("state", word.to_owned())], count));
    sheet.gauges("nodes_behind", "Nodes that are not known to enforce the policy in force", behind);
    let fresh = &status.freshness;
    sheet.seconds(
        "freshness_expiry_timestamp",
        "When the freshness signed last ends, since 1970",
        fresh.not_after.0,
    );
    sheet.gauge(
        "stale_files",
        "Devices whose file no longer says what is true",
        status.stale_files.len() as u64,
    );
}

fn alarms(sheet: &mut Sheet, status: &Status) {
    let count = |kind: AlarmKind| status.alarms.iter().filter(|alarm| alarm.kind == kind).count() as u64;
    let kinds = AlarmKind::ALL.map(|kind| (vec![("kind", kind.word())], count(kind)));
    sheet.gauges("alarms", "Alarms that stand, by kind; what each is about is at /v1/alarms", kinds);
}

fn flow_records(sheet: &mut Sheet, status: &Status, counts: &FlowCounts, skipped: u64) {
    let outcome = |word: &str| vec![("outcome", word.to_owned())];
    let flows = &status.flows;
    let records = [
        (outcome("recorded"), flows.recorded),
        (outcome("declared-lost"), flows.declared_lost),
        (outcome("rejected"), flows.rejected),
        (outcome("not-stored"), skipped),
    ];
    sheet.counters(
        "flow_records",
        "Flow records by what became of them; not-stored ones are recorded too",
        records,
    );
    let verdict = |word: &'static str| vec![("verdict", word.to_owned())];
    let opened = counts.by_verdict.map(|(word, sums)| (verdict(word), sums.flows));
    sheet.counters("flows", "Flows that were opened, and refused attempts, by verdict", opened);
    let bytes = counts.by_verdict.map(|(word, sums)| (verdict(word), sums.bytes));
    sheet.bytes("flow", "Payload of flows both ways, by verdict", bytes);
}

fn service(sheet: &mut Sheet, app: &App) {
    sheet.gauge("event_listeners", "Streams of /v1/events that are open", app.hub.listeners() as u64);
    let requests = app.requests.0.lock().clone();
    let requests = requests
        .into_iter()
        .map(|((route, code), count)| (vec![("route", route), ("code", code.to_string())], count));
    sheet.counters("http_requests", "Requests of the API by route and status", requests);
    sheet.seconds("start_timestamp", "When this coordinator started, since 1970", app.started.0);
    if let Some(export) = &app.export {
        let sums = export.sums();
        let outcome = |word: &str| vec![("outcome", word.to_owned())];
        let records = [
            (outcome("sent"), sums.sent),
            (outcome("dropped"), sums.dropped),
            (outcome("refused"), sums.refused),
        ];
        sheet.counters("otlp_records", "Flow records for the OTLP receiver, by what became of them", records);
        sheet.gauge("otlp_queue_records", "Flow records that wait for the OTLP receiver", sums.waiting);
    }
}

#[cfg(test)]
mod tests {
    use warren_config::time::UnixTime;

    use super::*;
    use crate::door::DoorReport;

    fn row(name: &str, state: RelayState) -> RelayRow {
        RelayRow {
            name: name.into(),
            state,
            id: None,
            places: vec![],
            since: None,
            added: UnixTime(0),
            token_ends: None,
            agent: None,
            seats: 5,
            here: 3,
            pairs: 2,
            frames: 70,
            bytes: 9000,
            pongs: 11,
            unsent: 1,
            rate: 0,
            refused: [("replayed".to_owned(), 4), ("of-a-later-version\"}".to_owned(), 6)].into(),
            unproven: 8,
            unasked: 12,
            doors: Some(DoorReport { websocket: 7, lost: 9, ..DoorReport::default() }),
        }
    }

    #[test]
    fn every_relay_that_is_here_is_shown_by_its_name_and_words_it_makes_up_are_not() {
        let rows =
            [row(HERE, RelayState::Up), row("fra", RelayState::Draining), row("ams", RelayState::Away)];
        let mut sheet = Sheet::new("warren");
        add_relays(&mut sheet, &rows, None);
        let text = sheet.text().expect("it is written");
        for line in [
            "warren_relays{state=\"up\"} 1",
            "warren_relays{state=\"away\"} 1",
            "warren_relay_seats{relay=\"coordinator\",state=\"here\"} 3",
            "warren_relay_seats{relay=\"fra\",state=\"away\"} 2",
            "warren_relay_pairs{relay=\"fra\"} 2",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"forwarded\"} 70",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"replayed\"} 4",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"other\"} 6",
            "warren_relay_frames_total{relay=\"fra\",outcome=\"not-sent\"} 1",
            "warren_relay_forwarded_bytes_total{relay=\"fra\"} 9000",
            "warren_relay_unproven_seats_total{relay=\"fra\"} 8",
            "warren_relay_unasked_answers_total{relay=\"fra\"} 12",
            "warren_doors{relay=\"fra\",transport=\"websocket\"} 7",
            "warren_door_datagrams_total{relay=\"fra\",direction=\"lost\"} 9",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("relay=\"ams\"") && !text.contains("later-version"), "{text}");
    }
}
