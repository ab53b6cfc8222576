//! Export of flow records as OpenTelemetry logs: OTLP over HTTP in its JSON encoding (opentelemetry-proto 1.x, `/v1/logs`).
//!
//! Nobody waits for the receiver: records go into a bounded queue, what does not fit is dropped and counted, and a batch that
//! could not be delivered in time is dropped and counted too. Law: sent + refused + dropped + waiting = offered.

mod encode;
mod send;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use warren_config::time::UnixTime;
use warren_coordinator_core::flows::FlowRow;

use crate::clock;
use crate::text::plain;

pub use encode::logs;
use send::{Delivery, Receiver};

/// Records that may wait, and that go in one request.
const QUEUE: u64 = 50_000;
const BATCH: usize = 2_000;
/// A batch is sent when it is full, or so long after its first record.
const COLLECT: Duration = Duration::from_secs(1);
/// A batch is tried so often, with twice the pause each time; then it is dropped.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

/// `otlp` in the settings. Missing: nothing is exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// `http://HOST:PORT` or `https://HOST[:PORT]` of a receiver; `/v1/logs` is added if there is no path.
    pub endpoint: String,
    /// Names and values that are sent with every request, for example `authorization`.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// PEM file of the authorities that may vouch for an `https` receiver. None: those that browsers trust.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    #[error(
        "`otlp.endpoint` in settings.json is `{endpoint}`: {why}; write `http://HOST:4318` or `https://HOST:4318`"
    )]
    Endpoint { endpoint: String, why: &'static str },
    #[error("`otlp.headers` in settings.json: `{name}` is no header, or its value is none")]
    Header { name: String },
    #[error("`otlp.ca` in settings.json: {path}: {why}")]
    Authorities { path: PathBuf, why: String },
}

/// How many records became what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub sent: u64,
    /// Did not fit, or could not be delivered.
    pub dropped: u64,
    /// The receiver took the request and not these.
    pub refused: u64,
    pub waiting: u64,
}

/// How the export of flow records fares, since the coordinator started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExportStatus {
    /// The receiver, without what opens it.
    pub endpoint: String,
    pub exported: u64,
    /// The receiver took the request and not these.
    pub refused: u64,
    /// Did not fit into the queue, or could not be delivered.
    pub dropped: u64,
    pub waiting: u64,
    /// Records that may wait.
    pub capacity: u64,
    /// The newest; it stays when it goes well again.
    pub last_error: Option<ExportError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExportError {
    pub at: UnixTime,
    pub why: String,
}

/// The near end of the queue.
#[derive(Clone)]
pub struct Export {
    queue: mpsc::UnboundedSender<Vec<FlowRow>>,
    counts: Arc<Counts>,
    endpoint: Arc<str>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    waiting: AtomicU64,
    last_error: Mutex<Option<ExportError>>,
}

impl Counts {
    fn done(&self, records: u64, what: &AtomicU64) {
        what.fetch_add(records, Ordering::Relaxed);
        self.waiting.fetch_sub(records, Ordering::Relaxed);
    }

    fn failed(&self, why: &str) {
        let error = ExportError { at: clock::now(), why: plain(why, 300) };
        *self.last_error.lock() = Some(error);
    }
}

impl Export {
    /// Takes the records, or counts them as dropped. Never waits.
    pub fn offer(&self, rows: &[FlowRow]) {
        let count = rows.len() as u64;
        let before = self.counts.waiting.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) > QUEUE || self.queue.send(rows.to_vec()).is_err() {
            if self.counts.dropped.load(Ordering::Relaxed) == 0 {
                tracing::warn!(
                    "the OTLP receiver does not keep up: flow records for it are dropped and counted"
                );
            }
            self.counts.failed("the receiver does not keep up: the queue is full");
            self.counts.done(count, &self.counts.dropped);
        }
    }

    pub fn status(&self) -> ExportStatus {
        let Sums { sent, dropped, refused, waiting } = self.sums();
        let last_error = self.counts.last_error.lock().clone();
        let endpoint = self.endpoint.to_string();
        ExportStatus { endpoint, exported: sent, refused, dropped, waiting, capacity: QUEUE, last_error }
    }

    pub fn sums(&self) -> Sums {
        let get = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let Counts { sent, dropped, refused, waiting, .. } = &*self.counts;
        Sums { sent: get(sent), dropped: get(dropped), refused: get(refused), waiting: get(waiting) }
    }
}

/// Starts the sender; it ends with the last [`Export`].
pub fn start(settings: &OtlpSettings, network: &str) -> Result<Export, OtlpError> {
    let receiver = Receiver::of(settings)?;
    let (queue, inbox) = mpsc::unbounded_channel();
    let export = Export { queue, counts: Arc::default(), endpoint: receiver.shown().into() };
    tokio::spawn(run(receiver, network.to_owned(), inbox, export.counts.clone()));
    Ok(export)
}

async fn run(
    receiver: Receiver,
    network: String,
    mut inbox: mpsc::UnboundedReceiver<Vec<FlowRow>>,
    counts: Arc<Counts>,
) {
    let mut left: Vec<FlowRow> = Vec::new();
    loop {
        if left.is_empty() {
            match inbox.recv().await {
                Some(rows) => left = rows,
                None => return,
            }
        }
        collect(&mut left, &mut inbox).await;
        let rest = left.split_off(left.len().min(BATCH));
        let batch = std::mem::replace(&mut left, rest);
        deliver(&receiver, &network, &batch, &counts).await;
    }
}

async fn collect(rows: &mut Vec<FlowRow>, inbox: &mut mpsc::UnboundedReceiver<Vec<FlowRow>>) {
    let end = tokio::time::Instant::now() + COLLECT;
    while rows.len() < BATCH {
        match tokio::time::timeout_at(end, inbox.recv()).await {
            Ok(Some(more)) => rows.extend(more),
            Ok(None) | Err(_) => return,
        }
    }
}

async fn deliver(receiver: &Receiver, network: &str, batch: &[FlowRow], counts: &Counts) {
    let (body, count) = (logs(network, batch), batch.len() as u64);
    for attempt in 0..TRIES {
        match receiver.send(&body).await {
            Delivery::Taken { rejected } => {
                let refused = rejected.min(count);
                counts.done(refused, &counts.refused);
                counts.done(count - refused, &counts.sent);
                return;
            }
            Delivery::Refused(why) => {
                counts.failed(&why);
                tracing::warn!(%why, records = count, "the OTLP receiver refuses flow records: they are dropped");
                break;
            }
            Delivery::Later(why) if attempt + 1 == TRIES => {
                counts.failed(&why);
                tracing::warn!(%why, records = count, "the OTLP receiver cannot be reached: flow records are dropped");
            }
            Delivery::Later(why) => {
                counts.failed(&why);
                tracing::debug!(%why, "the OTLP receiver is asked again");
                tokio::time::sleep(PAUSE * 2u32.pow(attempt)).await;
            }
        }
    }
    counts.done(count, &counts.dropped);
}
