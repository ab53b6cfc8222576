//! The HTTP API: one table of routes behind two doors. On a Unix socket the kernel says who calls; on a TCP port ([`web`]) a
//! key or a session of the page does. The command and the page have no other source.
//!
//! Two locks on each door: a layer refuses every request of a caller it does not know, unknown paths included; and a
//! handler that does not take a [`Reader`], [`Operator`] or [`Admin`] first cannot be put into the table (`Guarded`).

pub mod caller;
mod extract;
mod handlers;
pub mod keys;
pub mod map;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod relays;
pub mod stream;
mod stretch;
pub mod types;
pub mod web;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use crate::door::Doors;
use crate::events::Hub;
use crate::network::NetworkInfo;
use crate::otlp::Export;
use crate::owner::Handle;
use crate::relay::Carrier;
use crate::state_dir::{MapSettings, StateDir};
use crate::store::edges::EdgeRetention;
use crate::text::plain;
use caller::{Admin, Caller, Doorkeeper, Operator, Principal, Reader};
use extract::MAX_BODY;
use problem::{Kind, Problem};
use warren_config::time::UnixTime;
use warren_coordinator_core::access::Scope;
use web::door::WebDoor;

/// A request that takes longer is given up.
const TIME: Duration = Duration::from_secs(60);

/// What the handlers have.
#[derive(Clone)]
pub struct App {
    pub owner: Handle,
    pub network: NetworkInfo,
    pub state: StateDir,
    pub door: Doorkeeper,
    pub web: WebDoor,
    pub hub: Hub,
    pub map: MapSettings,
    /// How long sums are kept.
    pub keep: EdgeRetention,
    /// Where the page is found, `http://HOST:PORT`; none: it is not served.
    pub page: Option<String>,
    /// Flow records that could not be written to history.
    pub failed: Arc<AtomicU64>,
    /// Those that are only in the sums.
    pub unlisted: Arc<AtomicU64>,
    pub requests: metrics::Requests,
    pub started: UnixTime,
    /// To an OTLP receiver; none: nothing is exported.
    pub export: Option<Export>,
    /// Frames of relayed nodes; none: there is no relay.
    pub relay: Option<Carrier>,
    pub doors: Option<Doors>,
}

/// One row of the table.
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    /// The path with its parameters filled in, for tests and documentation.
    pub example: &'static str,
    /// What a caller must be allowed.
    pub scope: fn() -> Scope,
    /// One sentence for the description.
    pub summary: &'static str,
    draft: fn() -> openapi::Draft,
    handler: fn() -> MethodRouter<App>,
}

impl Route {
    fn reads_a_query(&self) -> bool {
        (self.draft)().reads_a_query()
    }
}

/// The proofs that a caller may do something.
trait Proof {
    const SCOPE: Scope;
}
impl Proof for Reader {
    const SCOPE: Scope = Reader::SCOPE;
}
impl Proof for Operator {
    const SCOPE: Scope = Operator::SCOPE;
}
impl Proof for Admin {
    const SCOPE: Scope = Admin::SCOPE;
}

/// Extractor lists that begin with a [`Proof`]: the only ones a route may have.
trait Guarded {
    const SCOPE: Scope;
}
impl<M, P: Proof, A> Guarded for (M, P, A) {
    const SCOPE: Scope = P::SCOPE;
}
impl<M, P: Proof, A, B> Guarded for (M, P, A, B) {
    const SCOPE: Scope = P::SCOPE;
}
impl<M, P: Proof, A, B, C> Guarded for (M, P, A, B, C) {
    const SCOPE: Scope = P::SCOPE;
}

fn scope_of<H: Handler<T, App>, T: Guarded + 'static>(_: H) -> Scope {
    T::SCOPE
}

fn read<H: Handler<T, App>, T: Guarded + 'static>(handler: H) -> MethodRouter<App> {
    get(handler)
}
fn write<H: Handler<T, App>, T: Guarded + 'static>(handler: H) -> MethodRouter<App> {
    post(handler)
}

macro_rules! routes {
    ($($method:literal $path:literal ($example:literal) => $kind:ident $handler:path, $summary:literal;)*) => {
        /// Every route there is.
        pub const ROUTES: &[Route] = &[$(Route {
            method: $method,
            path: $path,
            example: $example,
            scope: || scope_of($handler),
            summary: $summary,
            draft: || openapi::draft_of($handler),
            handler: || $kind($handler),
        }),*];
    };
}

routes! {
    "GET" "/v1/status" ("/v1/status") => read handlers::status, "The network at a glance: who enforces what, who is behind, alarms";
    "GET" "/v1/network" ("/v1/network") => read handlers::network, "What is fixed about the network";
    "POST" "/v1/commands" ("/v1/commands") => write handlers::command, "A change: what the authority has signed, or the end of a token";
    "GET" "/v1/tokens" ("/v1/tokens") => read handlers::tokens, "Enrolment tokens, without their secrets";
    "GET" "/v1/nodes" ("/v1/nodes?revoked=true") => read handlers::nodes, "All nodes";
    "GET" "/v1/nodes/{who}" ("/v1/nodes/web-1") => read handlers::node, "One node, by name, id or overlay address";
    "GET" "/v1/nodes/{who}/record" ("/v1/nodes/web-1/record") => read handlers::node_record, "What was signed about a node";
    "GET" "/v1/nodes/{who}/file" ("/v1/nodes/phone/file") => read handlers::node_file, "What a file for a device without an agent is made of";
    "GET" "/v1/externals/offer" ("/v1/externals/offer?key=5LeOV3qEPlRWW%2B0SdtDihvNshEZtQrs%2B%2Bt%2BZA4%2FUi6Q%3D&name=phone") => read handlers::external_offer, "Free addresses for a device without an agent";
    "GET" "/v1/policy" ("/v1/policy?generation=1") => read handlers::policy, "A policy as it was applied";
    "GET" "/v1/policy/history" ("/v1/policy/history") => read handlers::policy_history, "Every generation of the policy";
    "GET" "/v1/policy/diff" ("/v1/policy/diff?from=0&to=1") => read handlers::policy_diff, "What one generation gives and takes compared with another";
    "POST" "/v1/policy/review" ("/v1/policy/review") => write handlers::policy_review, "What a policy would be: warnings, tests, proofs, and what it gives and takes";
    "POST" "/v1/policy/plan" ("/v1/policy/plan") => write handlers::policy_plan, "As review, and which flows that were seen it would cut";
    "GET" "/v1/ever" ("/v1/ever?from=tag:web&to=service:orders&through=true") => read handlers::ever, "Could any node that could be enrolled ever reach this";
    "GET" "/v1/can" ("/v1/can?from=tag:web&to=service:orders") => read handlers::can, "May FROM open a connection to TO";
    "GET" "/v1/why" ("/v1/why?from=web-1&to=orders-1&port=tcp/8443") => read handlers::why, "Why does one node (not) reach another";
    "GET" "/v1/flows" ("/v1/flows?from=web-1&limit=10") => read handlers::flows, "Flows since the coordinator started, newest first, page by page";
    "GET" "/v1/flows/history" ("/v1/flows/history?limit=10") => read handlers::flow_history, "Flows as they are stored, newest first, page by page";
    "GET" "/v1/flows/since" ("/v1/flows/since?cursor=0") => read handlers::flows_since, "Flow records after a cursor, oldest first";
    "GET" "/v1/accounts" ("/v1/accounts") => read handlers::accounts, "What each node judged, what was recorded of it, and what was lost";
    "GET" "/v1/names" ("/v1/names?node=web-1&limit=10") => read handlers::names, "Which names were asked on the nodes, where the policy wants to know";
    "GET" "/v1/paths" ("/v1/paths?from=web-1&to=orders-1") => read handlers::paths, "Which way packets take from one node to another, as the nodes tell it, and why";
    "GET" "/v1/audit" ("/v1/audit?limit=10") => read handlers::audit, "The log of every change";
    "GET" "/v1/audit/verify" ("/v1/audit/verify") => read handlers::audit_verify, "Check the whole chain of the log";
    "GET" "/v1/map" ("/v1/map?window=60") => read map::map, "Who is there, what is offered, who talked to whom";
    "GET" "/v1/edges" ("/v1/edges?resolution=60&limit=10") => read map::edges, "Edges over time, step by step";
    "GET" "/v1/policy/usage" ("/v1/policy/usage?within=3600") => read map::usage, "What each grant was used for";
    "GET" "/v1/alarms" ("/v1/alarms") => read map::alarms, "What an administrator must see";
    "GET" "/v1/events" ("/v1/events") => read stream::events, "What happens, as server-sent events";
    "GET" "/v1/keys" ("/v1/keys") => read keys::list, "API keys, without their secrets";
    "POST" "/v1/keys" ("/v1/keys") => write keys::make, "Make an API key; it is shown this once";
    "POST" "/v1/keys/{id}/revoke" ("/v1/keys/aaaaaaaaaaaa/revoke") => write keys::revoke, "End an API key now";
    "GET" "/v1/relays" ("/v1/relays") => read relays::list, "Relays: where they are, who sits there, what they carry";
    "POST" "/v1/relays" ("/v1/relays") => write relays::add, "Let a relay in that holds the token with this key";
    "POST" "/v1/relays/{name}/drain" ("/v1/relays/fra/drain") => write relays::drain, "Nodes leave a relay, which ends when nobody sends any more";
    "POST" "/v1/relays/{name}/remove" ("/v1/relays/fra/remove") => write relays::remove, "A relay is none any more, at once";
    "POST" "/v1/links" ("/v1/links?scope=read") => write keys::link, "A link that opens the page signed in, once";
    "GET" "/v1/sessions" ("/v1/sessions") => read keys::sessions, "Who is signed in on the page, and links that were not opened yet";
    "POST" "/v1/sessions/end" ("/v1/sessions/end") => write keys::end_sessions, "End sessions of the page, and links that were not opened yet, now";
    "GET" "/metrics" ("/metrics") => read metrics::metrics, "How things are, in the OpenMetrics text format";
    "GET" "/openapi.json" ("/openapi.json") => read openapi::document, "This description";
    "GET" "/v1/backup" ("/v1/backup") => read handlers::backup, "A copy of the log, the settings and the online key; keep it secret";
}

/// The whole API behind the door of the local socket.
pub fn router(app: App) -> Router {
    let door = middleware::from_fn_with_state(app.door.clone(), door);
    let counted = middleware::from_fn_with_state(app.requests.clone(), metrics::counted);
    routes(&app).fallback(unknown).layer(door).layer(counted)
}

/// Every route, with no door in front of it yet.
fn routes(app: &App) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |router, route| {
        let handler = (route.handler)();
        let handler =
            if route.reads_a_query() { handler } else { handler.layer(middleware::from_fn(no_query)) };
        router.route(route.path, handler)
    });
    routes
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(TIME, in_time))
        .with_state(app.clone())
}

async fn door(State(door): State<Doorkeeper>, mut request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<ConnectInfo<Caller>>().map_or(Caller(None), |info| info.0);
    request.extensions_mut().remove::<Principal>();
    match door.check(caller) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => {
            tracing::warn!(uid = caller.0.map(|c| c.0), path = %request.uri().path().escape_debug(), "a stranger was refused");
            problem.into_response()
        }
    }
}

/// What nobody reads is a mistake of the caller, and not ignored.
async fn no_query(request: Request, next: Next) -> Response {
    match request.uri().query() {
        None | Some("") => next.run(request).await,
        Some(query) => {
            let text = format!("this route reads no query, and was asked with `{}`", plain(query, 100));
            Problem::new(Kind::BadRequest, text).into_response()
        }
    }
}

/// Whoever waits for too long is told so, and what was done for it ends.
async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let why = format!("there was no answer within {} s, and it was given up", limit.as_secs());
            let problem = Problem::new(Kind::Busy, why).with_hint(
                "ask for less at once, or try again later; a change may have been carried out: look before you repeat it",
            );
            problem.into_response()
        }
    }
}

async fn unknown() -> Problem {
    Problem::new(Kind::NotFound, "there is no such route: use programs of the same version on both ends")
}

async fn wrong_method() -> Problem {
    Problem::new(Kind::WrongMethod, "this route does not know that method")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_too_long_is_told_so_in_the_form_of_every_error() {
        let late = middleware::from_fn_with_state(Duration::from_millis(1), in_time);
        let router = Router::new().route("/", get(std::future::pending::<()>)).layer(late);
        let request = Request::new(axum::body::Body::empty());
        let response = router.oneshot(request).await.expect("an answer");
        let head = (response.status().as_u16(), response.headers()["content-type"].clone());
        assert_eq!(head, (503, "application/problem+json".parse().expect("header")));
        let body = response.into_body().collect().await.expect("body").to_bytes();
        let problem: Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!((problem.word(), problem.status), ("busy", 503));
    }
}
