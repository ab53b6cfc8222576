//! `/v1/events`: what happens, as server-sent events (WHATWG HTML, section 9.2), and the watcher that notices it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use warren_coordinator_core::audit::AuditRow;
use warren_coordinator_core::flows::{FlowFilter, FlowRow};
use warren_coordinator_core::status::Status;
use warren_coordinator_core::store::Store as _;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::Revision;

use super::App;
use super::caller::{Principal, Reader};
use super::extract::{Asked, blocking, internal};
use super::handlers::possible;
use super::map;
use super::problem::Problem;
use crate::clock;
use crate::events::{Event, Payload, Start};
use crate::store::log::LogStore;

/// How often the watcher looks: the map of a listener is about so old.
const LOOK: Duration = Duration::from_millis(1000);
/// How often a listener's key is looked at again.
const RECHECK: Duration = Duration::from_secs(5);
/// Events on their way to one browser.
const BUFFER: usize = 64;
/// Rows in one event.
const MAX_ROWS: usize = 500;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct EventsAsked {
    /// Also single flow records, filtered as in `/v1/flows`.
    pub flows: bool,
    pub from: Option<String>,
    pub to: Option<String>,
    pub verdict: Option<FlowVerdict>,
    pub grant: Option<String>,
    pub service: Option<String>,
}

pub async fn events(
    Reader(who): Reader,
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<EventsAsked>,
) -> Result<Response, Problem> {
    let filter = FlowFilter {
        from: asked.from,
        to: asked.to,
        verdict: asked.verdict,
        grant: asked.grant,
        service: asked.service,
        ..FlowFilter::default()
    };
    possible(&filter)?;
    let filter = asked.flows.then_some(filter);
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let (start, receiver) = app.hub.listen(last);
    let (sender, stream) = mpsc::channel(BUFFER);
    tokio::spawn(tell(app, who, filter, start, receiver, sender));
    let sse = axum::response::Sse::new(ReceiverStream::new(stream));
    Ok(sse.keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

type Line = Result<Sse, Infallible>;

/// Until the browser goes, its key ends, or it falls behind: then it is told to load anew, and the stream goes on.
async fn tell(
    app: App,
    who: Principal,
    filter: Option<FlowFilter>,
    start: Start,
    mut receiver: broadcast::Receiver<Event>,
    sender: mpsc::Sender<Line>,
) {
    let resync = |why: &str| Ok(Sse::default().event("resync").data(json!({ "why": why }).to_string()));
    let first = match start {
        Start::After(events) => events.iter().filter_map(|event| line(&app, &filter, event)).collect(),
        Start::Anew => vec![resync("what came since is no longer kept")],
    };
    for one in first {
        if sender.send(one).await.is_err() {
            return;
        }
    }
    let mut recheck = tokio::time::interval(RECHECK);
    loop {
        let next = tokio::select! {
            event = receiver.recv() => match event {
                Ok(event) => line(&app, &filter, &event),
                Err(RecvError::Lagged(_)) => Some(resync("this listener fell behind")),
                Err(RecvError::Closed) => return,
            },
            _ = recheck.tick() => match app.web.still_good(&who, clock::now()) {
                Ok(()) => None,
                Err(_) => return,
            },
            () = sender.closed() => return,
        };
        if let Some(next) = next
            && sender.send(next).await.is_err()
        {
            return;
        }
    }
}

fn line(app: &App, filter: &Option<FlowFilter>, event: &Event) -> Option<Line> {
    let id = app.hub.id(event.number);
    match &event.payload {
        Payload::Json(name, data) => Some(Ok(Sse::default().id(id).event(name).data(&**data))),
        Payload::Flows(rows) => {
            let filter = filter.as_ref()?;
            let matching: Vec<&FlowRow> = rows.iter().filter(|row| filter.matches(row)).collect();
            let skipped = matching.len().saturating_sub(MAX_ROWS);
            let rows = matching.get(skipped..).unwrap_or_default();
            let data = json!({ "rows": rows, "skipped": skipped }).to_string();
            (!rows.is_empty()).then(|| Ok(Sse::default().id(id).event("flows").data(data)))
        }
    }
}

/// What the watcher saw last.
struct Seen {
    status: Status,
    revision: Revision,
    /// Empty while nobody listens: whoever comes is told once.
    nodes: String,
}

/// Looks once a second and tells what has changed, also to those who come back a moment later.
pub async fn watch(app: App) {
    let Ok(first) = status(&app).await else { return };
    let mut seen = Seen { revision: first.revision, status: comparable(first), nodes: String::new() };
    loop {
        tokio::time::sleep(LOOK).await;
        // The owner is gone: so is the service.
        let Ok(now) = status(&app).await else { return };
        // A file that cannot be read now may be in a second; nobody misses what was not told.
        if let Err(problem) = look(&app, &mut seen, now).await {
            tracing::warn!(why = %problem.detail, "what happened cannot be told to those who listen: trying again");
        }
    }
}

async fn status(app: &App) -> Result<Status, Problem> {
    Ok(app.owner.ask(|owner| owner.coordinator().status(clock::now())).await?)
}

/// Without what changes by itself.
fn comparable(status: Status) -> Status {
    Status { now: Default::default(), flows: Default::default(), ..status }
}

async fn look(app: &App, seen: &mut Seen, status: Status) -> Result<(), Problem> {
    let plain = comparable(status.clone());
    if seen.status != plain {
        app.hub.tell_json("status", &status);
        seen.status = plain;
    }
    if status.revision > seen.revision {
        tell_changes(app, seen.revision).await?;
        seen.revision = status.revision;
    }
    match app.hub.has_listeners() {
        true => tell_nodes(app, seen).await?,
        false => seen.nodes.clear(),
    }
    tell_edges(app).await
}

async fn tell_nodes(app: &App, seen: &mut Seen) -> Result<(), Problem> {
    let ask = app.owner.ask(|owner| json!({ "nodes": owner.coordinator().nodes(false) }).to_string());
    let nodes = ask.await?;
    if seen.nodes != nodes {
        app.hub.tell(Payload::Json("nodes", nodes.as_str().into()));
        seen.nodes = nodes;
    }
    Ok(())
}

async fn tell_changes(app: &App, after: Revision) -> Result<(), Problem> {
    let path = app.state.log();
    let rows: Vec<AuditRow> = blocking(move || {
        let entries =
            LogStore::reader(&path).map_err(internal)?.read(after, 500).map_err(|e| Problem::store(&e))?;
        Ok(entries.iter().map(AuditRow::of).collect())
    })
    .await?;
    let applied = rows.iter().any(|row| row.kinds.iter().any(|kind| kind == "policy-applied"));
    rows.iter().for_each(|row| app.hub.tell_json("audit", row));
    if applied {
        let history = app.owner.ask(|owner| owner.coordinator().policy_history()).await?;
        if let Some(current) = history.iter().find(|row| row.current) {
            app.hub.tell_json("policy", current);
        }
    }
    Ok(())
}

async fn tell_edges(app: &App) -> Result<(), Problem> {
    let seconds = app.hub.take_edges();
    if seconds.is_empty() {
        return Ok(());
    }
    let news =
        app.owner.ask(move |owner| map::news(owner.coordinator().state(), &seconds, clock::now())).await?;
    app.hub.tell_json("edges", &news);
    Ok(())
}
