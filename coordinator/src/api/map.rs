//! Routes about who talked to whom: the map, its edges over time, and what each grant was used for.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_coordinator_core::alarm::Alarm;
use warren_coordinator_core::edges::{EdgeEnd, EdgeKey, EdgeSecond, Sides};
use warren_coordinator_core::flows::FlowFilter;
use warren_coordinator_core::map::{self, EdgeLife, LostRecords, MapEdge, MapExtent, MapNode, NetworkMap};
use warren_coordinator_core::state::State as Truth;
use warren_coordinator_core::store::Store as _;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::{Generation, NodeId};

use super::App;
use super::caller::Reader;
use super::extract::{Asked, Reply, blocking, internal, rows};
use super::handlers::possible;
use super::problem::{Kind, Problem};
use super::stretch::{self, MAX_WINDOW, Span, Stretch, back};
use crate::clock;
use crate::owner::Owner;
use crate::store::edges::{EdgeFilter, EdgeStore, EdgeTotal, PORTS};
use crate::store::log::LogStore;

const DEFAULT_WINDOW: u64 = 300;
const DEFAULT_ROWS: usize = 1000;
const MAX_ROWS: usize = 10_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct MapAsked {
    /// End of the stretch, seconds since 1970. Without: now.
    pub at: Option<u64>,
    /// Its length, seconds, at most a year. Without: 300.
    pub window: Option<u64>,
    /// At most so many edges, the heaviest. Without, or where that is less: as many as the settings permit.
    pub edges: Option<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct EdgesAsked {
    /// Node name, id or address.
    pub from: Option<String>,
    pub to: Option<String>,
    pub service: Option<String>,
    pub verdict: Option<FlowVerdict>,
    pub grant: Option<String>,
    /// Seconds since 1970. Without: an hour before `until`.
    pub since: Option<u64>,
    /// Without: now.
    pub until: Option<u64>,
    /// 1, 60 or 3600 seconds. Without: what fits the stretch and is still kept of it.
    pub resolution: Option<u64>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// At most so many rows; 0: 1,000.
    pub limit: usize,
}

/// An edge in one step of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EdgeStep {
    /// Beginning of the step.
    pub at: UnixTime,
    pub edge: MapEdge,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EdgeSeries {
    pub resolution: u64,
    pub from: UnixTime,
    pub until: UnixTime,
    /// What came before is not kept in this resolution any more; the same as `from`: all is.
    pub complete_from: UnixTime,
    pub rows: Vec<EdgeStep>,
    /// Ask for `after` this; none: that was all.
    pub next: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct UsageAsked {
    /// How far back, seconds, at most a year. Without: 30 days.
    pub within: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PolicyUsage {
    pub generation: Generation,
    pub within: u64,
    /// What is added up begins here: `within`, in whole steps of `resolution` seconds.
    pub from: UnixTime,
    pub resolution: u64,
    /// Grants of the policy in force, by name.
    pub grants: Vec<GrantUsage>,
    /// What came before is not known; none: nothing is known.
    pub observed_since: Option<UnixTime>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GrantUsage {
    pub name: String,
    pub flows: u64,
    pub bytes: u64,
    /// None: not since `observed_since`.
    pub last_seen: Option<UnixTime>,
}

pub async fn map(_: Reader, State(app): State<App>, Asked(asked): Asked<MapAsked>) -> Reply<NetworkMap> {
    let now = clock::now();
    let until = asked.at.unwrap_or(now.0 + 1);
    let span = Span::new("at", until, asked.window.unwrap_or(DEFAULT_WINDOW), None, now)?;
    let limit = asked.edges.unwrap_or(usize::MAX).min(app.map.edges);
    let (stretch, (totals, extent)) =
        stretch::read(&app, span, move |store, stretch| totals(store, stretch, limit)).await?;
    let extent = MapExtent { limit: limit as u64, ..extent };
    let named = EdgeStore::named(&totals);
    let lost = lost(&app).await?;
    let drawn = match asked.at {
        None => app.owner.ask(move |owner| draw_now(owner, &named, &totals)).await?,
        Some(at) => {
            let path = app.state.log();
            blocking(move || draw_past(&path, UnixTime(at), &named, &totals)).await?
        }
    };
    Ok(Json(NetworkMap {
        at: stretch.until,
        from: stretch.from,
        resolution: stretch.resolution,
        live: asked.at.is_none(),
        complete_from: stretch.complete_from,
        complete_until: stretch.until.min(UnixTime(now.0.saturating_sub(map::SETTLED))),
        recorded_since: stretch.recorded_since,
        lost,
        extent,
        ..drawn
    }))
}

fn totals(
    store: &EdgeStore,
    stretch: &Stretch,
    limit: usize,
) -> rusqlite::Result<(Vec<EdgeTotal>, MapExtent)> {
    let (step, from, until, all) = (stretch.resolution, stretch.from, stretch.until, EdgeFilter::default());
    let (mut totals, extent) = store.busiest(step, from, until, &all, limit)?;
    store.confirm(step, from, until, &all, &mut totals)?;
    Ok((totals, extent))
}

async fn lost(app: &App) -> Result<LostRecords, Problem> {
    let failed = app.failed.load(std::sync::atomic::Ordering::Relaxed);
    let lost = app.owner.ask(move |owner| {
        let unwritten = owner.flows_skipped().saturating_add(failed);
        LostRecords::of(&owner.coordinator().accounts_total(), unwritten)
    });
    Ok(lost.await?)
}

/// The truth of `state`; times are filled in by the caller.
fn draw(state: &Truth, nodes: Vec<MapNode>, totals: &[EdgeTotal]) -> NetworkMap {
    let edge = |t: &EdgeTotal| {
        // Of the past no generation is said that came after it.
        let life = EdgeLife { generation: t.life.generation.min(state.generation()), ..t.life };
        MapEdge::new(state, &t.key, &t.sides, life, t.mismatch)
    };
    NetworkMap {
        at: UnixTime(0),
        from: UnixTime(0),
        resolution: 1,
        live: false,
        revision: state.head().revision,
        generation: state.generation(),
        observe: state.policies().in_force().is_some_and(|policy| policy.observes()),
        complete_from: UnixTime(0),
        complete_until: UnixTime(0),
        recorded_since: None,
        lost: LostRecords::default(),
        extent: MapExtent::default(),
        nodes,
        services: map::services(state),
        edges: totals.iter().map(edge).collect(),
    }
}

fn draw_now(owner: &Owner, named: &BTreeSet<NodeId>, totals: &[EdgeTotal]) -> NetworkMap {
    let coordinator = owner.coordinator();
    let (state, behind) = (coordinator.state(), coordinator.behind_nodes());
    let mut nodes = map::nodes(state, named);
    for node in nodes.iter_mut().filter(|node| node.revoked.is_none()) {
        node.online = Some(coordinator.is_online(&node.id));
        node.enforces = coordinator.enforces(&node.id);
        node.behind_since = behind.get(&node.id).copied();
    }
    draw(state, nodes, totals)
}

/// As the log stood then: who was a member, under which names and tags, and which policy was in force.
fn draw_past(
    log: &std::path::Path,
    at: UnixTime,
    named: &BTreeSet<NodeId>,
    totals: &[EdgeTotal],
) -> Result<NetworkMap, Problem> {
    let state = truth_at(log, at)?;
    Ok(draw(&state, map::nodes(&state, named), totals))
}

/// The state of the network as its log told it at that moment.
pub fn truth_at(log: &std::path::Path, at: UnixTime) -> Result<Truth, Problem> {
    let mut store = LogStore::reader(log).map_err(internal)?;
    let mut state = Truth::default();
    loop {
        let entries = store.read(state.head().revision, 1000).map_err(|e| Problem::store(&e))?;
        for entry in &entries {
            if entry.body.at > at {
                return Ok(state);
            }
            state.apply(entry).map_err(internal)?;
        }
        if entries.is_empty() {
            return Ok(state);
        }
    }
}

pub async fn edges(_: Reader, State(app): State<App>, Asked(asked): Asked<EdgesAsked>) -> Reply<EdgeSeries> {
    let now = clock::now();
    let until = asked.until.unwrap_or(now.0 + 1);
    let since = asked.since.unwrap_or_else(|| until.saturating_sub(3600));
    if since >= until {
        let text = format!(
            "`since` is {since} and `until` is {until}: between 1 and {MAX_WINDOW} s lie between them"
        );
        return Err(Problem::new(Kind::BadRequest, text));
    }
    let span = Span::new("until", until, until.saturating_sub(since), asked.resolution, now)?;
    let after = asked.after.as_deref().map(cursor).transpose()?;
    let limit = rows(asked.limit, DEFAULT_ROWS, MAX_ROWS)?;
    possible(&FlowFilter {
        from: asked.from.clone(),
        to: asked.to.clone(),
        grant: asked.grant.clone(),
        service: asked.service.clone(),
        ..FlowFilter::default()
    })?;
    let filter = filter(&app, &asked).await?;
    let (stretch, steps) = stretch::read(&app, span, move |store, stretch| {
        store.series(stretch.resolution, stretch.from, stretch.until, &filter, after, limit)
    })
    .await?;
    let next = steps.last().filter(|_| steps.len() == limit).map(|(edge, at, _)| format!("{}.{edge}", at.0));
    let rows = app.owner.ask(move |owner| {
        let state = owner.coordinator().state();
        let row = |(_, at, t): &(u64, UnixTime, EdgeTotal)| EdgeStep {
            at: *at,
            edge: MapEdge::new(state, &t.key, &t.sides, t.life, t.mismatch),
        };
        steps.iter().map(row).collect()
    });
    Ok(Json(EdgeSeries {
        resolution: stretch.resolution,
        from: stretch.from,
        until: stretch.until,
        complete_from: stretch.complete_from,
        rows: rows.await?,
        next,
    }))
}

fn cursor(text: &str) -> Result<(u64, u64), Problem> {
    let parts = text.split_once('.').and_then(|(at, edge)| Some((at.parse().ok()?, edge.parse().ok()?)));
    parts.ok_or_else(|| Problem::new(Kind::BadRequest, "`after` is not the `next` of a page before"))
}

/// Names become the ids that edges are kept under.
async fn filter(app: &App, asked: &EdgesAsked) -> Result<EdgeFilter, Problem> {
    let (from, to) = (asked.from.clone(), asked.to.clone());
    let ends = app.owner.ask(move |owner| {
        let end = |who: Option<String>| {
            who.map(|who| owner.coordinator().node_id(&who).map_or(who.clone(), |id| id.to_string()))
        };
        (end(from), end(to))
    });
    let (from, to) = ends.await?;
    let verdict = asked.verdict.and_then(|v| serde_json::to_value(v).ok()?.as_str().map(str::to_owned));
    Ok(EdgeFilter { from, to, service: asked.service.clone(), verdict, grant: asked.grant.clone() })
}

pub async fn usage(_: Reader, State(app): State<App>, Asked(asked): Asked<UsageAsked>) -> Reply<PolicyUsage> {
    let within = asked.within.unwrap_or(30 * 24 * 3600);
    back(within)?;
    let now = clock::now();
    let span = Span::new("within", now.0 + 1, within, None, now)?;
    let (stretch, used) = stretch::read(&app, span, |store, stretch| {
        store.grant_use(stretch.resolution, stretch.from, stretch.until)
    })
    .await?;
    let reply = app.owner.ask(move |owner| {
        let state = owner.coordinator().state();
        let policy = state.policies().in_force();
        let grants = policy.into_iter().flat_map(|p| p.policy.grants.keys()).map(|name| {
            let used = used.get(name.as_str()).copied();
            let sum = used.unwrap_or_default();
            GrantUsage {
                name: name.to_string(),
                flows: sum.flows,
                bytes: sum.bytes,
                last_seen: used.map(|used| UnixTime(used.last_ms / 1000)),
            }
        });
        PolicyUsage {
            generation: state.generation(),
            within,
            from: stretch.from,
            resolution: stretch.resolution,
            grants: grants.collect(),
            observed_since: stretch.recorded_since.map(|oldest| oldest.max(stretch.complete_from)),
        }
    });
    Ok(Json(reply.await?))
}

pub async fn alarms(_: Reader, State(app): State<App>) -> Reply<Vec<Alarm>> {
    Ok(Json(app.owner.ask(|owner| owner.coordinator().status(clock::now()).alarms).await?))
}

/// Sums of one second only, for those who listen.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeNews {
    pub at: UnixTime,
    pub edges: Vec<MapEdge>,
}

/// What was counted since the last time, as news. Whoever is refused at more ports than the store tells apart is one edge here
/// as well: a port scan floods no listener.
pub fn news(state: &Truth, seconds: &[EdgeSecond], at: UnixTime) -> EdgeNews {
    let scanned = scanned(seconds);
    let mut found: BTreeMap<EdgeKey, (Sides, EdgeLife)> = BTreeMap::new();
    for second in seconds {
        let key = match is_refusal(&second.key) && scanned.contains(&pair(&second.key)) {
            true => EdgeKey { port: 0, ..second.key.clone() },
            false => second.key.clone(),
        };
        let life =
            EdgeLife { generation: second.generation, first_ms: second.first_ms, last_ms: second.last_ms };
        let (sides, known) = found.entry(key).or_insert((Sides::default(), life));
        sides.add(second.opener, &second.sum, &second.quality);
        known.generation = known.generation.max(life.generation);
        known.first_ms = known.first_ms.min(life.first_ms);
        known.last_ms = known.last_ms.max(life.last_ms);
    }
    let edges =
        found.iter().map(|(key, (sides, life))| MapEdge::new(state, key, sides, *life, None)).collect();
    EdgeNews { at, edges }
}

type Pair<'a> = (&'a EdgeEnd, &'a EdgeEnd, u8);

fn pair(key: &EdgeKey) -> Pair<'_> {
    (&key.from, &key.to, key.protocol)
}

fn is_refusal(key: &EdgeKey) -> bool {
    matches!(key.verdict, FlowVerdict::Deny | FlowVerdict::WouldDeny)
}

/// Pairs that were refused at more ports than are told apart.
fn scanned(seconds: &[EdgeSecond]) -> BTreeSet<Pair<'_>> {
    let mut ports: BTreeMap<Pair<'_>, BTreeSet<u16>> = BTreeMap::new();
    for key in seconds.iter().map(|second| &second.key).filter(|key| is_refusal(key)) {
        ports.entry(pair(key)).or_default().insert(key.port);
    }
    ports.into_iter().filter(|(_, ports)| ports.len() > PORTS).map(|(pair, _)| pair).collect()
}

#[cfg(test)]
mod tests {
    use warren_coordinator_core::edges::{Quality, Sum};

    use super::*;

    fn tried(port: u16, verdict: FlowVerdict) -> EdgeSecond {
        let (from, to) = (EdgeEnd::Node(NodeId([1; 16])), EdgeEnd::Node(NodeId([2; 16])));
        EdgeSecond {
            key: EdgeKey { from, to, service: None, protocol: 6, port, verdict, grant: None },
            at: UnixTime(10),
            opener: true,
            sum: Sum { tries: 1, ..Sum::default() },
            quality: Quality::default(),
            generation: 1,
            first_ms: 10_000,
            last_ms: 10_001,
        }
    }

    #[test]
    fn a_port_scan_is_one_edge_of_the_news_and_no_attempt_is_lost() {
        let most = u16::try_from(PORTS).expect("small");
        let scan = |ports: u16| (1..=ports).map(|port| tried(port, FlowVerdict::Deny)).collect::<Vec<_>>();
        let told = |seconds: &[EdgeSecond]| {
            let edges = news(&Truth::default(), seconds, UnixTime(11)).edges;
            (edges.len(), edges.iter().map(|edge| edge.sum.tries).sum::<u64>(), edges.first().map(|e| e.port))
        };
        assert_eq!(told(&scan(most)), (PORTS, u64::from(most), Some(1)));
        assert_eq!(told(&scan(5000)), (1, 5000, Some(0)));
        // What is allowed has a port however many there are.
        let used: Vec<EdgeSecond> = (1..=100).map(|port| tried(port, FlowVerdict::Allow)).collect();
        assert_eq!(told(&used).0, 100);
    }
}
