//! `/v1/events`: what happens, as server-sent events (WHATWG HTML, section 9.2), and the watcher that notices it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use warren_coordinator_core::audit::AuditRow;
use warren_coordinator_core::flows::{FlowFilter, FlowRow};
use warren_coordinator_core::map::MapEdge;
use warren_coordinator_core::status::Status;
use warren_coordinator_core::store::Store as _;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::Revision;

use super::App;
use super::caller::{Principal, Reader};
use super::extract::{Asked, blocking, internal};
use super::handlers::possible;
use super::map::{self, EdgeNews};
use super::problem::Problem;
use crate::clock;
use crate::events::{Event, Heard, Listener, Payload, Start};
use crate::store::log::LogStore;

/// How often the watcher looks: the map of a listener is about so old.
const LOOK: Duration = Duration::from_millis(1000);
/// How often a listener's key is looked at again; its session also whenever one was ended.
const RECHECK: Duration = Duration::from_secs(5);
/// How often something is said on a stream where nothing happens.
const ALIVE: Duration = Duration::from_secs(15);
/// Lines on their way to one browser; all others wait at the hub, where they are shared.
const BUFFER: usize = 1;
/// Edges in one event; the heaviest. The map itself has its own limit, which may be lower.
const MAX_EDGES: usize = 10_000;
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
    let (start, listener) = app.hub.listen(last, filter.is_some());
    let (sender, stream) = mpsc::channel(BUFFER);
    tokio::spawn(tell(Telling { app, who, filter, listener, sender }, start));
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((kind, Body::from_stream(ReceiverStream::new(stream))).into_response())
}

type Line = Result<Bytes, Infallible>;

/// One stream.
struct Telling {
    app: App,
    who: Principal,
    filter: Option<FlowFilter>,
    listener: Listener,
    sender: mpsc::Sender<Line>,
}

/// Why a stream ends: the browser has gone, or its key or session has ended.
struct Ended;

/// Until it ends. A browser that falls behind is told to load anew, and the stream goes on.
async fn tell(telling: Telling, start: Start) {
    let mut beat = Beat::new(telling.app.web.sessions.ended());
    let first = match start {
        // So that whoever is cut off before anything happened comes back with an id, too.
        Start::After(last, missed) => {
            let place = format!("id: {}\n\n", telling.app.hub.id(last)).into();
            [place].into_iter().chain(missed.iter().filter_map(|event| telling.line(event))).collect()
        }
        Start::Anew(last) => vec![telling.resync(last, "what came since is not known any more")],
    };
    for line in first {
        if telling.send(line, &mut beat).await.is_err() {
            return;
        }
    }
    while let Ok(line) = telling.next(&mut beat).await {
        if let Some(line) = line
            && telling.send(line, &mut beat).await.is_err()
        {
            return;
        }
    }
}

/// What goes on while nothing happens.
struct Beat {
    recheck: Recheck,
    alive: tokio::time::Interval,
}

/// When it is to be asked again whether the listener may still listen.
struct Recheck {
    every: tokio::time::Interval,
    ended: watch::Receiver<()>,
}

impl Recheck {
    fn new(ended: watch::Receiver<()>) -> Recheck {
        Recheck { every: tokio::time::interval(RECHECK), ended }
    }

    async fn due(&mut self) {
        tokio::select! {
            _ = self.every.tick() => {}
            Ok(()) = self.ended.changed() => {}
        }
    }
}

impl Beat {
    fn new(ended: watch::Receiver<()>) -> Beat {
        let mut alive = tokio::time::interval(ALIVE);
        alive.reset();
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Beat { recheck: Recheck::new(ended), alive }
    }
}

impl Telling {
    /// The next line, if what happened is for this listener.
    async fn next(&self, beat: &mut Beat) -> Result<Option<Bytes>, Ended> {
        tokio::select! {
            heard = self.listener.next() => Ok(match heard {
                Heard::Event(event) => self.line(&event),
                Heard::Behind(last) => Some(self.resync(last, "this listener fell behind")),
            }),
            () = beat.recheck.due() => self.recheck().map(|()| None),
            _ = beat.alive.tick() => Ok(Some(Bytes::from_static(b":\n\n"))),
            () = self.sender.closed() => Err(Ended),
        }
    }

    /// As soon as the browser takes it; what happens meanwhile waits at the hub.
    async fn send(&self, line: Bytes, beat: &mut Beat) -> Result<(), Ended> {
        loop {
            tokio::select! {
                place = self.sender.reserve() => {
                    place.map_err(|_| Ended)?.send(Ok(line));
                    beat.alive.reset();
                    return Ok(());
                }
                () = beat.recheck.due() => self.recheck()?,
            }
        }
    }

    fn recheck(&self) -> Result<(), Ended> {
        if self.app.web.still_good(&self.who, clock::now()) { Ok(()) } else { Err(Ended) }
    }

    fn resync(&self, last: u64, why: &str) -> Bytes {
        self.app.hub.line(last, "resync", &json!({ "why": why }).to_string())
    }

    fn line(&self, event: &Event) -> Option<Bytes> {
        let rows = match &event.payload {
            Payload::Line(line) => return Some(line.clone()),
            Payload::Flows(rows) => rows,
        };
        let filter = self.filter.as_ref()?;
        let matching: Vec<&FlowRow> = rows.iter().filter(|row| filter.matches(row)).collect();
        let skipped = matching.len().saturating_sub(MAX_ROWS);
        let rows = matching.get(skipped..).unwrap_or_default();
        let data = json!({ "rows": rows, "skipped": skipped }).to_string();
        (!rows.is_empty()).then(|| self.app.hub.line(event.number, "flows", &data))
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
        app.hub.tell_text("nodes", &nodes);
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
    app.hub.tell_json("edges", &Told::new(news, app.map.edges.min(MAX_EDGES)));
    Ok(())
}

/// News within the limit of an event.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    news: EdgeNews,
    /// Lighter edges that were heard of as well; the next map has them.
    left_out: usize,
}

impl Told {
    fn new(mut news: EdgeNews, limit: usize) -> Told {
        let left_out = news.edges.len().saturating_sub(limit);
        if left_out > 0 {
            let weight = |edge: &MapEdge| edge.sum.bytes_out.saturating_add(edge.sum.bytes_back);
            news.edges.sort_by_key(|edge| std::cmp::Reverse((weight(edge), edge.sum.tries)));
            news.edges.truncate(limit);
        }
        Told { news, left_out }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::web::sessions::{Sessions, Which};
    use super::*;

    #[tokio::test]
    async fn an_ended_session_is_looked_at_by_its_streams_at_once() {
        let sessions = Sessions::default();
        let mut recheck = Recheck::new(sessions.ended());
        recheck.due().await;
        assert!(recheck.due().now_or_never().is_none(), "the first look is at the beginning");
        let ends: [&dyn Fn(); 2] = [&|| sessions.end(&Which::All), &|| sessions.close("a cookie")];
        for end in ends {
            end();
            assert!(recheck.due().now_or_never().is_some());
            assert!(recheck.due().now_or_never().is_none(), "once");
        }
    }
}
