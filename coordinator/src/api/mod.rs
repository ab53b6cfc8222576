//! The HTTP API: one table of routes, served on a Unix socket whose caller is checked. The command and, later, the
//! page have no other source.
//!
//! Two locks on each door: a layer refuses every request of a caller the [`Doorkeeper`] does not know, unknown paths
//! included; and a handler that does not take a [`Principal`] first cannot be put into the table (`Guarded`).

pub mod caller;
mod extract;
mod handlers;
pub mod problem;
pub mod types;

use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tower_http::timeout::TimeoutLayer;

use crate::network::NetworkInfo;
use crate::owner::Handle;
use crate::state_dir::StateDir;
use caller::{Caller, Doorkeeper, Principal};
use extract::MAX_BODY;
use problem::{Kind, Problem};

/// A request that takes longer is given up.
const TIME: Duration = Duration::from_secs(60);

/// What the handlers have.
#[derive(Clone)]
pub struct App {
    pub owner: Handle,
    pub network: NetworkInfo,
    pub state: StateDir,
    pub door: Doorkeeper,
}

/// One row of the table.
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    /// The path with its parameters filled in, for tests and documentation.
    pub example: &'static str,
    handler: fn() -> MethodRouter<App>,
}

/// Extractor lists that begin with a [`Principal`]: the only ones a route may have.
trait Guarded {}
impl<M, A> Guarded for (M, Principal, A) {}
impl<M, A, B> Guarded for (M, Principal, A, B) {}

fn read<H: Handler<T, App>, T: Guarded + 'static>(handler: H) -> MethodRouter<App> {
    get(handler)
}
fn write<H: Handler<T, App>, T: Guarded + 'static>(handler: H) -> MethodRouter<App> {
    post(handler)
}

macro_rules! routes {
    ($($method:literal $path:literal ($example:literal) => $kind:ident $handler:ident,)*) => {
        /// Every route there is.
        pub const ROUTES: &[Route] = &[$(Route {
            method: $method,
            path: $path,
            example: $example,
            handler: || $kind(handlers::$handler),
        }),*];
    };
}

routes! {
    "GET" "/v1/status" ("/v1/status") => read status,
    "GET" "/v1/network" ("/v1/network") => read network,
    "POST" "/v1/commands" ("/v1/commands") => write command,
    "GET" "/v1/tokens" ("/v1/tokens") => read tokens,
    "GET" "/v1/nodes" ("/v1/nodes?revoked=true") => read nodes,
    "GET" "/v1/nodes/{who}" ("/v1/nodes/web-1") => read node,
    "GET" "/v1/nodes/{who}/record" ("/v1/nodes/web-1/record") => read node_record,
    "GET" "/v1/nodes/{who}/file" ("/v1/nodes/phone/file") => read node_file,
    "GET" "/v1/externals/offer" ("/v1/externals/offer?key=5LeOV3qEPlRWW%2B0SdtDihvNshEZtQrs%2B%2Bt%2BZA4%2FUi6Q%3D&name=phone") => read external_offer,
    "GET" "/v1/policy" ("/v1/policy?generation=1") => read policy,
    "GET" "/v1/policy/history" ("/v1/policy/history") => read policy_history,
    "POST" "/v1/policy/review" ("/v1/policy/review") => write policy_review,
    "POST" "/v1/policy/plan" ("/v1/policy/plan") => write policy_plan,
    "GET" "/v1/ever" ("/v1/ever?from=tag:web&to=service:orders&through=true") => read ever,
    "GET" "/v1/can" ("/v1/can?from=tag:web&to=service:orders") => read can,
    "GET" "/v1/why" ("/v1/why?from=web-1&to=orders-1&port=tcp/8443") => read why,
    "GET" "/v1/flows" ("/v1/flows?from=web-1&limit=10") => read flows,
    "GET" "/v1/flows/history" ("/v1/flows/history?limit=10") => read flow_history,
    "GET" "/v1/flows/since" ("/v1/flows/since?cursor=0") => read flows_since,
    "GET" "/v1/audit" ("/v1/audit?limit=10") => read audit,
    "GET" "/v1/audit/verify" ("/v1/audit/verify") => read audit_verify,
    "GET" "/v1/backup" ("/v1/backup") => read backup,
}

/// The whole API behind its door.
pub fn router(app: App) -> Router {
    let routes =
        ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()));
    routes
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, TIME))
        .layer(middleware::from_fn_with_state(app.door.clone(), door))
        .with_state(app)
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

async fn unknown() -> Problem {
    Problem::new(Kind::NotFound, "there is no such route: use programs of the same version on both ends")
}

async fn wrong_method() -> Problem {
    Problem::new(Kind::BadRequest, "this route does not know that method")
}
