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
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use warren_coordinator_core::alarm::AlarmKind;
use warren_coordinator_core::status::Status;

use super::App;
use super::caller::Reader;
use super::extract::internal;
use super::problem::Problem;
use crate::clock;
use crate::door::Transport;
use crate::owner::FlowCounts;

/// What a scrape is answered with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    let mut scrape = Scrape::new();
    scrape.network(&status);
    scrape.alarms(&status);
    scrape.flows(&status, &flows, skipped);
    scrape.service(&app);
    super::metrics_relays::add(&mut scrape, &super::relays::rows(&app).await?, app.doors.as_ref());
    let text = scrape.text().map_err(internal)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))], text).into_response())
}

pub(super) type Labels = Vec<(&'static str, String)>;

/// One answer while it is made. Counters get their `_total` from the encoder.
pub(super) struct Scrape(Registry);

impl Scrape {
    pub(super) fn new() -> Scrape {
        Scrape(Registry::with_prefix("warren"))
    }

    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(signed(value));
        self.0.register(name, help, gauge);
    }

    fn seconds(&mut self, name: &str, help: &str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(signed(value));
        self.0.register_with_unit(name, help, Unit::Seconds, gauge);
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(signed(value));
        }
        self.0.register(name, help, family);
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }

    pub(super) fn bytes(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register_with_unit(name, help, Unit::Bytes, family);
    }

    fn network(&mut self, status: &Status) {
        self.0.register(
            "build",
            "Version of this program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let away = status.nodes.saturating_sub(status.online).saturating_sub(status.externals);
        let states = [("online", status.online), ("offline", away), ("external", status.externals)];
        let states = states.map(|(word, count)| (vec![("state", word.to_owned())], count as u64));
        self.gauges("nodes", "Members by state; external: a device without an agent", states);
        let channels = &status.channels;
        let by = |word: Transport| vec![("transport", word.word().to_owned())];
        let channels = [
            (by(Transport::Udp), channels.udp),
            (by(Transport::Quic), channels.quic),
            (by(Transport::WebSocket), channels.websocket),
        ];
        self.gauges(
            "control_channels",
            "Nodes that are online, by what carries their control channel",
            channels,
        );
        self.gauge("revision", "Changes since the network was founded", status.revision);
        self.gauge("policy_generation", "Generation of the policy in force", status.generation);
        self.gauge(
            "policy_observes",
            "1: the policy only records and lets everything pass",
            status.observe.into(),
        );
        let enforcement = &status.enforcement;
        self.gauge("nodes_enforcing", "Nodes that enforce the policy in force", enforcement.enforced as u64);
        let behind = |online: bool| enforcement.behind.iter().filter(|b| b.online == online).count() as u64;
        let behind = [("online", behind(true)), ("offline", behind(false))];
        let behind = behind.map(|(word, count)| (vec![("state", word.to_owned())], count));
        self.gauges("nodes_behind", "Nodes that are not known to enforce the policy in force", behind);
        let fresh = &status.freshness;
        self.seconds(
            "freshness_expiry_timestamp",
            "When the freshness signed last ends, since 1970",
            fresh.not_after.0,
        );
        self.gauge(
            "stale_files",
            "Devices whose file no longer says what is true",
            status.stale_files.len() as u64,
        );
    }

    fn alarms(&mut self, status: &Status) {
        let count = |kind: AlarmKind| status.alarms.iter().filter(|alarm| alarm.kind == kind).count() as u64;
        let kinds = AlarmKind::ALL.map(|kind| (vec![("kind", kind.word())], count(kind)));
        self.gauges("alarms", "Alarms that stand, by kind; what each is about is at /v1/alarms", kinds);
    }

    fn flows(&mut self, status: &Status, counts: &FlowCounts, skipped: u64) {
        let outcome = |word: &str| vec![("outcome", word.to_owned())];
        let flows = &status.flows;
        let records = [
            (outcome("recorded"), flows.recorded),
            (outcome("declared-lost"), flows.declared_lost),
            (outcome("rejected"), flows.rejected),
            (outcome("not-stored"), skipped),
        ];
        self.counters(
            "flow_records",
            "Flow records by what became of them; not-stored ones are recorded too",
            records,
        );
        let verdict = |word: &'static str| vec![("verdict", word.to_owned())];
        let opened = counts.by_verdict.map(|(word, sums)| (verdict(word), sums.flows));
        self.counters("flows", "Flows that were opened, and refused attempts, by verdict", opened);
        let bytes = counts.by_verdict.map(|(word, sums)| (verdict(word), sums.bytes));
        self.bytes("flow", "Payload of flows both ways, by verdict", bytes);
    }

    fn service(&mut self, app: &App) {
        self.gauge("event_listeners", "Streams of /v1/events that are open", app.hub.listeners() as u64);
        let requests = app.requests.0.lock().clone();
        let requests = requests
            .into_iter()
            .map(|((route, code), count)| (vec![("route", route), ("code", code.to_string())], count));
        self.counters("http_requests", "Requests of the API by route and status", requests);
        let started: Gauge = Gauge::default();
        started.set(signed(app.started.0));
        self.0.register_with_unit(
            "start_timestamp",
            "When this coordinator started, since 1970",
            Unit::Seconds,
            started,
        );
        if let Some(export) = &app.export {
            let sums = export.sums();
            let outcome = |word: &str| vec![("outcome", word.to_owned())];
            let records = [
                (outcome("sent"), sums.sent),
                (outcome("dropped"), sums.dropped),
                (outcome("refused"), sums.refused),
            ];
            self.counters(
                "otlp_records",
                "Flow records for the OTLP receiver, by what became of them",
                records,
            );
            self.gauge("otlp_queue_records", "Flow records that wait for the OTLP receiver", sums.waiting);
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
