//! What each route does: ask the owner, or read a file beside it, and answer in JSON.

use std::ops::ControlFlow;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio_stream::wrappers::ReceiverStream;
use warren_config::question::Answer;
use warren_config::time::UnixTime;
use warren_coordinator_core::accounts::AccountsView;
use warren_coordinator_core::audit::{self, AuditRow};
use warren_coordinator_core::change::{LogHead, Principal as Actor};
use warren_coordinator_core::command::{Command, TokenRow};
use warren_coordinator_core::flows::{FlowFilter, FlowList, FlowPage, Place};
use warren_coordinator_core::inquiry::Inquiry;
use warren_coordinator_core::names::{NamesFilter, NamesView};
use warren_coordinator_core::paths::{PathsFilter, PathsView};
use warren_coordinator_core::plan::Seen;
use warren_coordinator_core::query::{Ever, PolicyDiff, PolicyReview, PolicyText, Why};
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::status::{NodeRow, PolicyRow};
use warren_coordinator_core::store::Store;

use super::App;
use super::caller::{Admin, Operator, Reader};
use super::extract::{Asked, Given, Named, Reply, blocking, internal, rows, while_awaited};
use super::problem::{Kind, Problem};
use super::relays;
use super::types::{
    AuditAsked, AuditPage, AuditVerified, Committed, DiffAsked, EverAsked, FilePeerRecord, FlowsSince,
    NodeFile, NodeRecord, NodesAsked, OfferAsked, Offered, PlanAsked, PlanReply, PolicyAsked, Question,
    ReviewAsked, ServiceStatus, SinceAsked, StatusReply,
};
use crate::clock;
use crate::door::Doors;
use crate::events::parse_id;
use crate::network::NetworkInfo;
use crate::otlp::Export;
use crate::owner::Owner;
use crate::relay::Carrier;
use crate::store::backup::{self, Kept};
use crate::store::flows::FlowStore;
use crate::store::log::LogStore;
use crate::store::past;

/// Rows of one answer at most.
const MAX_ROWS: usize = 10_000;

pub async fn status(_: Reader, State(app): State<App>) -> Reply<StatusReply> {
    let unlisted = app.unlisted.load(std::sync::atomic::Ordering::Relaxed);
    let export = app.export.as_ref().map(Export::status);
    let relay = app.relay.as_ref().map(Carrier::report);
    let doors = app.doors.as_ref().map(Doors::report).unwrap_or_default();
    let relays = relays::rows(&app).await?;
    let reply = app.owner.ask(move |owner| StatusReply {
        status: owner.coordinator().status(clock::now()),
        service: ServiceStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            history_skipped: owner.flows_skipped().saturating_add(unlisted),
            export,
            relay,
            doors,
            relays,
        },
    });
    Ok(Json(reply.await?))
}

pub async fn network(_: Reader, State(app): State<App>) -> Reply<NetworkInfo> {
    Ok(Json(app.network))
}

/// Founding and raising the epoch are not asked here: they belong to `init` and `restore`, on a stopped service.
pub async fn command(
    Operator(who): Operator,
    State(app): State<App>,
    Given(command): Given<Command>,
) -> Reply<Committed> {
    if matches!(command, Command::FoundNetwork { .. } | Command::RaiseEpoch { .. }) {
        return Err(Problem::new(
            Kind::Refused,
            "this is done by `warren init` and `warren restore`, not by the service",
        ));
    }
    // These have routes of their own, for administrators.
    if matches!(command, Command::MakeApiKey { .. } | Command::RevokeApiKey { .. }) {
        return Err(Problem::new(Kind::Refused, "API keys are made and revoked at `/v1/keys`"));
    }
    if matches!(command, Command::EndSessions { .. }) {
        return Err(Problem::new(Kind::Refused, "sessions are ended at `/v1/sessions/end`"));
    }
    if matches!(command, Command::AddRelay { .. } | Command::DrainRelay { .. } | Command::RemoveRelay { .. })
    {
        return Err(Problem::new(Kind::Refused, "relays are let in and removed at `/v1/relays`"));
    }
    let actor: Actor = who.as_str().parse().map_err(|_| Problem::forbidden("unknown", None))?;
    let asked_for = named(&command);
    let outcome = app
        .owner
        .ask(move |owner| {
            let revision = owner.command(actor, command)?;
            let status = owner.coordinator().status(clock::now());
            Ok::<_, Problem>(Committed { revision, epoch: status.epoch, generation: status.generation })
        })
        .await?;
    let committed = outcome?;
    tracing::info!(principal = %who, revision = committed.revision, command = asked_for, "command carried out");
    Ok(Json(committed))
}

fn named(command: &Command) -> &'static str {
    match command {
        Command::FoundNetwork { .. } => "found-network",
        Command::StoreToken { .. } => "store-token",
        Command::RevokeToken { .. } => "revoke-token",
        Command::AmendNode { .. } => "amend-node",
        Command::RevokeNode { .. } => "revoke-node",
        Command::AddExternal { .. } => "add-external",
        Command::IssueFile { .. } => "issue-file",
        Command::ApplyPolicy { .. } => "apply-policy",
        Command::RaiseEpoch { .. } => "raise-epoch",
        Command::MakeApiKey { .. } => "make-api-key",
        Command::RevokeApiKey { .. } => "revoke-api-key",
        Command::EndSessions { .. } => "end-sessions",
        Command::AddRelay { .. } => "add-relay",
        Command::DrainRelay { .. } => "drain-relay",
        Command::RemoveRelay { .. } => "remove-relay",
    }
}

pub async fn tokens(_: Reader, State(app): State<App>) -> Reply<Vec<TokenRow>> {
    Ok(Json(app.owner.ask(|owner| owner.coordinator().tokens(clock::now())).await?))
}

pub async fn nodes(
    _: Reader,
    State(app): State<App>,
    Asked(asked): Asked<NodesAsked>,
) -> Reply<Vec<NodeRow>> {
    Ok(Json(app.owner.ask(move |owner| owner.coordinator().nodes(asked.revoked)).await?))
}

pub async fn node(_: Reader, State(app): State<App>, Named(who): Named) -> Reply<NodeRow> {
    let found =
        app.owner.ask(move |owner| owner.coordinator().node(&who).map_err(|r| near(owner, &r))).await?;
    Ok(Json(found?))
}

pub async fn node_record(_: Reader, State(app): State<App>, Named(who): Named) -> Reply<NodeRecord> {
    let found = app.owner.ask(move |owner| {
        let coordinator = owner.coordinator();
        let record = coordinator.record(&who).map_err(|r| near(owner, &r))?;
        let founded = coordinator.state().founded().map_err(|r| Problem::refusal(&r))?;
        Ok::<_, Problem>(NodeRecord { charter: founded.charter.to_base64(), record: record.to_base64() })
    });
    Ok(Json(found.await??))
}

pub async fn node_file(_: Reader, State(app): State<App>, Named(who): Named) -> Reply<NodeFile> {
    let found = app.owner.ask(move |owner| {
        let coordinator = owner.coordinator();
        let draft = coordinator.file_draft(&who).map_err(|r| near(owner, &r))?;
        let founded = coordinator.state().founded().map_err(|r| Problem::refusal(&r))?;
        let peers = draft.peers.into_iter();
        Ok::<_, Problem>(NodeFile {
            charter: founded.charter.to_base64(),
            record: draft.record.to_base64(),
            endpoint: draft.endpoint,
            peers: peers
                .map(|(record, endpoint)| FilePeerRecord { record: record.to_base64(), endpoint })
                .collect(),
        })
    });
    Ok(Json(found.await??))
}

pub async fn external_offer(
    _: Reader,
    State(app): State<App>,
    Asked(asked): Asked<OfferAsked>,
) -> Reply<Offered> {
    let offered = app.owner.ask(move |owner| {
        let coordinator = owner.coordinator();
        let addresses = coordinator.external_offer(&asked.key, &asked.name, clock::now())?;
        Ok::<_, Refusal>(Offered { charter: coordinator.state().founded()?.charter.to_base64(), addresses })
    });
    Ok(Json(offered.await??))
}

/// A refusal; an unknown name gets the nearest known one as a hint, or learns that its node was revoked.
fn near(owner: &Owner, refusal: &Refusal) -> Problem {
    let problem = Problem::refusal(refusal);
    let Refusal::NodeUnknown(asked) = refusal else { return problem };
    let nodes = owner.coordinator().nodes(true);
    if let Some(at) = nodes.iter().find(|n| n.name == *asked).and_then(|n| n.revoked) {
        return problem
            .with_hint(format!("a node of that name was revoked at {at}: see `warren node list --revoked`"));
    }
    match crate::text::nearest(asked, nodes.into_iter().filter(|n| n.revoked.is_none()).map(|n| n.name)) {
        Some(name) => problem.with_hint(format!("did you mean `{name}`? See `warren node list`")),
        None => problem,
    }
}

pub async fn policy(
    _: Reader,
    State(app): State<App>,
    Asked(asked): Asked<PolicyAsked>,
) -> Reply<PolicyText> {
    let text = app.owner.ask(move |owner| owner.coordinator().policy_at(asked.generation)).await?;
    text.map(Json).map_err(|refusal| match (&refusal, asked.generation) {
        (Refusal::GenerationUnknown(_), None) => {
            Problem::new(Kind::NotFound, "no policy was ever applied: everything is denied")
                .with_hint("apply one with `warren policy apply FILE`")
        }
        _ => Problem::refusal(&refusal),
    })
}

pub async fn policy_history(_: Reader, State(app): State<App>) -> Reply<Vec<PolicyRow>> {
    Ok(Json(app.owner.ask(|owner| owner.coordinator().policy_history()).await?))
}

pub async fn policy_diff(
    _: Reader,
    State(app): State<App>,
    Asked(asked): Asked<DiffAsked>,
) -> Reply<PolicyDiff> {
    let diff =
        app.owner.ask(move |owner| owner.coordinator().policy_diff(asked.from, asked.to, clock::now()));
    Ok(Json(diff.await??))
}

pub async fn policy_review(
    _: Reader,
    State(app): State<App>,
    Given(asked): Given<ReviewAsked>,
) -> Reply<PolicyReview> {
    let review = app.owner.ask(move |owner| owner.coordinator().review(&asked.sources, clock::now()));
    Ok(Json(review.await??))
}

/// The flows are read beside the owner: a long history holds nobody up.
pub async fn policy_plan(
    _: Reader,
    State(app): State<App>,
    Given(asked): Given<PlanAsked>,
) -> Reply<PlanReply> {
    super::stretch::back(asked.within)?;
    let now = clock::now();
    let since = UnixTime(now.0.saturating_sub(asked.within));
    let basis = app.owner.ask(move |owner| {
        let (review, forecast) = owner.coordinator().forecast(&asked.sources, now)?;
        let lost = owner.coordinator().status(now).flows.declared_lost + owner.flows_skipped();
        Ok::<_, Refusal>((review, forecast, lost))
    });
    let (review, mut forecast, lost) = basis.await??;
    let path = app.state.flows();
    let reply = while_awaited(move |awaited| {
        let mut seen = Seen { since, lost, ..Seen::default() };
        if path.exists() {
            let store = FlowStore::reader(&path).map_err(internal)?;
            seen.oldest = store.oldest().map_err(internal)?;
            let taken = store.each_since(since, |row| {
                forecast.take(row);
                if awaited.is_so() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            seen.records = taken.map_err(internal)?;
        }
        let ends_observing = forecast.ends_observing();
        Ok(PlanReply { review, ends_observing, seen, cuts: forecast.finish() })
    });
    Ok(Json(reply.await?))
}

pub async fn ever(_: Reader, State(app): State<App>, Asked(q): Asked<EverAsked>) -> Reply<Ever> {
    let answer = app.owner.ask(move |owner| {
        let coordinator = owner.coordinator();
        coordinator.ever(&q.from, &q.to, q.port.as_deref(), q.through, clock::now())
    });
    Ok(Json(answer.await??))
}

pub async fn can(_: Reader, State(app): State<App>, Asked(q): Asked<Question>) -> Reply<Answer> {
    if let Some(at) = q.at {
        return past(&app, at, move |then, at| then.can(&q.from, &q.to, q.port.as_deref(), at)).await;
    }
    let answer = app.owner.ask(move |owner| {
        owner.coordinator().can(&q.from, &q.to, q.port.as_deref(), clock::now()).map_err(|r| near(owner, &r))
    });
    Ok(Json(answer.await??))
}

pub async fn why(_: Reader, State(app): State<App>, Asked(q): Asked<Question>) -> Reply<Why> {
    if let Some(at) = q.at {
        return past(&app, at, move |then, at| then.why(&q.from, &q.to, q.port.as_deref(), at)).await;
    }
    let answer = app.owner.ask(move |owner| {
        owner.coordinator().why(&q.from, &q.to, q.port.as_deref(), clock::now()).map_err(|r| near(owner, &r))
    });
    Ok(Json(answer.await??))
}

/// Asks the network as its log told it at that moment.
async fn past<T: Send + 'static>(
    app: &App,
    at: u64,
    ask: impl FnOnce(Inquiry<'_>, UnixTime) -> Result<T, Refusal> + Send + 'static,
) -> Reply<T> {
    let now = clock::now();
    if at > now.0 {
        let text =
            format!("`at` is {at}, in the future: a time is in seconds since 1970 and at most {}", now.0);
        return Err(Problem::new(Kind::BadRequest, text));
    }
    let (log, at) = (app.state.log(), UnixTime(at));
    let answer = blocking(move || Ok(ask(Inquiry(&super::map::truth_at(&log, at)?), at)?));
    Ok(Json(answer.await?))
}

/// A filter nothing could match is a mistake, not an empty answer.
pub fn possible(filter: &FlowFilter) -> Result<(), Problem> {
    filter.check(clock::now()).map_err(|why| Problem::new(Kind::BadRequest, why.to_string()))
}

/// The records are looked through beside the owner: a long look holds nobody up.
pub async fn flows(_: Reader, State(app): State<App>, Asked(filter): Asked<FlowFilter>) -> Reply<FlowList> {
    possible(&filter)?;
    let list = app.started.0;
    let place = place(&filter, list)?;
    let view = app.owner.ask(|owner| owner.coordinator().flows()).await?;
    if let Some(place) = place.filter(|place| place.top > view.newest()) {
        return Err(beyond("before", place.top, view.newest()));
    }
    Ok(Json(blocking(move || Ok(view.list(&filter, list, place, clock::now()))).await?))
}

/// A place in another list would leave out something, or tell it twice.
fn place(filter: &FlowFilter, list: u64) -> Result<Option<Place>, Problem> {
    let place = filter.place().map_err(|why| Problem::new(Kind::BadRequest, why.to_string()))?;
    match place {
        Some(place) if place.list != list => {
            let text = "`before` is of another list, or of another start of the coordinator";
            Err(Problem::new(Kind::BadRequest, text).with_hint("begin again without `before`"))
        }
        place => Ok(place),
    }
}

pub async fn accounts(_: Reader, State(app): State<App>) -> Reply<AccountsView> {
    Ok(Json(app.owner.ask(|owner| owner.coordinator().accounts()).await?))
}

pub async fn names(_: Reader, State(app): State<App>, Asked(filter): Asked<NamesFilter>) -> Reply<NamesView> {
    filter.check().map_err(|why| Problem::new(Kind::BadRequest, why.to_string()))?;
    let found = app.owner.ask(move |owner| {
        owner.coordinator().names(&filter, clock::now()).map_err(|refusal| near(owner, &refusal))
    });
    Ok(Json(found.await??))
}

pub async fn paths(_: Reader, State(app): State<App>, Asked(filter): Asked<PathsFilter>) -> Reply<PathsView> {
    filter.check().map_err(|why| Problem::new(Kind::BadRequest, why.to_string()))?;
    let found = app.owner.ask(move |owner| {
        owner.coordinator().paths(&filter, clock::now()).map_err(|refusal| near(owner, &refusal))
    });
    Ok(Json(found.await??))
}

pub async fn flow_history(
    _: Reader,
    State(app): State<App>,
    Asked(filter): Asked<FlowFilter>,
) -> Reply<FlowList> {
    possible(&filter)?;
    let (path, place) = (app.state.flows(), place(&filter, past::LIST)?);
    let list = while_awaited(move |awaited| {
        if !path.exists() {
            return Ok(FlowList::default());
        }
        let store = FlowStore::reader(&path).map_err(internal)?;
        store.list(&filter, place, clock::now(), || awaited.is_so()).map_err(internal)
    });
    Ok(Json(list.await?))
}

pub async fn flows_since(
    _: Reader,
    State(app): State<App>,
    Asked(asked): Asked<SinceAsked>,
) -> Reply<FlowsSince> {
    let limit = rows(asked.limit, 1_000, MAX_ROWS)?;
    let place = asked.cursor.as_deref().map(|text| cursor(&app, text)).transpose()?;
    let restarted = place == Some(Cursor::OfAnotherStart);
    let filter = FlowFilter {
        from: asked.from,
        to: asked.to,
        verdict: asked.verdict,
        grant: asked.grant,
        service: asked.service,
        protocol: asked.protocol,
        port: asked.port,
        ..FlowFilter::default()
    };
    possible(&filter)?;
    let page = app.owner.ask(move |owner| {
        let newest = owner.coordinator().flow_cursor();
        match place {
            Some(Cursor::After(after)) if after > newest => Err(no_cursor()),
            Some(place) => Ok(owner.coordinator().flows_since(place.after(), &filter, limit)),
            None => Ok(FlowPage { cursor: newest, ..FlowPage::default() }),
        }
    });
    let FlowPage { rows, cursor, missed } = page.await??;
    // Of another start nobody knows here how much came.
    let missed = if restarted { 0 } else { missed };
    Ok(Json(FlowsSince { rows, cursor: app.hub.id(cursor), missed, restarted }))
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    After(u64),
    /// Its numbers say nothing here.
    OfAnotherStart,
}

impl Cursor {
    fn after(self) -> u64 {
        match self {
            Cursor::After(after) => after,
            Cursor::OfAnotherStart => 0,
        }
    }
}

fn cursor(app: &App, text: &str) -> Result<Cursor, Problem> {
    match (text, app.hub.number(text)) {
        ("0", _) => Ok(Cursor::After(0)),
        (_, Some(after)) => Ok(Cursor::After(after)),
        _ => parse_id(text).map(|_| Cursor::OfAnotherStart).ok_or_else(no_cursor),
    }
}

fn no_cursor() -> Problem {
    Problem::new(Kind::BadRequest, "`cursor` is not the `cursor` of an answer before")
        .with_hint("leave it out to begin now, or begin with the oldest record in memory: 0")
}

/// A place behind the end is a mistake, or of another start of the coordinator: an empty answer would hide what came since.
fn beyond(what: &str, asked: u64, newest: u64) -> Problem {
    let detail = format!("`{what}` is {asked}: the newest there is, is {newest}");
    Problem::new(Kind::BadRequest, detail)
        .with_hint("begin again at 0: the coordinator was restarted, or its store put back")
}

pub async fn audit(_: Reader, State(app): State<App>, Asked(asked): Asked<AuditAsked>) -> Reply<AuditPage> {
    let head = app.owner.ask(|owner| owner.coordinator().state().head()).await?;
    let limit = rows(asked.limit, 100, MAX_ROWS)?;
    let after = asked.after.unwrap_or_else(|| head.revision.saturating_sub(limit as u64));
    if after > head.revision {
        return Err(beyond("after", after, head.revision));
    }
    let path = app.state.log();
    let rows = blocking(move || {
        let entries =
            LogStore::reader(&path).map_err(internal)?.read(after, limit).map_err(|e| Problem::store(&e))?;
        Ok(entries.iter().map(AuditRow::of).collect())
    });
    Ok(Json(AuditPage { rows: rows.await?, revision: head.revision, hash: head.hash }))
}

/// Reads the file anew: what is checked is what lies on the disk, against what this process knows.
pub async fn audit_verify(_: Reader, State(app): State<App>) -> Reply<AuditVerified> {
    let known = app.owner.ask(|owner| owner.coordinator().state().head()).await?;
    let path = app.state.log();
    let verified = blocking(move || {
        let mut store = LogStore::open(&path).map_err(damaged)?;
        let (mut head, mut known_is_there) = (LogHead::default(), known.revision == 0);
        loop {
            let entries = store.read(head.revision, 1000).map_err(damaged)?;
            if entries.is_empty() {
                break;
            }
            head = audit::verify(head, &entries).map_err(damaged)?;
            known_is_there |= entries.iter().any(|e| e.head() == known);
        }
        match known_is_there {
            true => Ok(head),
            false => Err(damaged(format!(
                "revision {} is not in the file as this coordinator wrote it",
                known.revision
            ))),
        }
    });
    let head = verified.await?;
    Ok(Json(AuditVerified { revision: head.revision, hash: head.hash, at: clock::now() }))
}

fn damaged(error: impl std::fmt::Display) -> Problem {
    Problem::new(Kind::Refused, format!("the log is damaged: {error}")).with_hint(
        "keep the state directory for an investigation and restore a backup with `warren restore FILE`",
    )
}

/// The backup is made beside the log, sent, and removed.
pub async fn backup(Admin(who): Admin, State(app): State<App>) -> Result<Response, Problem> {
    let (file, length) = blocking(move || {
        let state = app.state;
        let settings = crate::files::read_private(&state.settings_file()).map_err(internal)?.to_vec();
        let online_seed = state.read_online_key().map_err(internal)?;
        let kept = Kept { online_seed, settings, taken: clock::now().0 };
        let name =
            clock::secret::<8>().map_err(internal)?.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let path = state.path().join(format!("backup-{name}.tmp"));
        backup::write(&state.log(), &path, &kept).map_err(internal)?;
        let file = std::fs::File::open(&path);
        let _ = std::fs::remove_file(&path);
        let file = file.map_err(internal)?;
        let length = file.metadata().map_err(internal)?.len();
        Ok((file, length))
    })
    .await?;
    tracing::info!(principal = %who, bytes = length, "backup taken");
    let (chunks, stream) = tokio::sync::mpsc::channel::<std::io::Result<axum::body::Bytes>>(4);
    tokio::task::spawn_blocking(move || send_file(file, &chunks));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(stream))).into_response())
}

fn send_file(mut file: std::fs::File, to: &tokio::sync::mpsc::Sender<std::io::Result<axum::body::Bytes>>) {
    use std::io::Read;
    loop {
        let mut chunk = vec![0; 64 * 1024];
        let read = file.read(&mut chunk);
        let done = !matches!(read, Ok(n) if n > 0);
        let chunk = read.map(|n| {
            chunk.truncate(n);
            axum::body::Bytes::from(chunk)
        });
        if matches!(&chunk, Ok(c) if c.is_empty()) || to.blocking_send(chunk).is_err() || done {
            return;
        }
    }
}
