//! The API's door: every route, asked by somebody who may not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::path::Path;
use std::sync::Arc;

use axum::Extension;
use axum::extract::ConnectInfo;
use common::{World, block_on, mode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tower::ServiceExt as _;
use warren_coordinator::account::Accounts;
use warren_coordinator::api::caller::{Caller, Doorkeeper};
use warren_coordinator::api::web::door::WebDoor;
use warren_coordinator::api::{self, App, ROUTES};
use warren_coordinator::events::Hub;
use warren_coordinator::keyring::KeyRing;
use warren_coordinator::network::NetworkInfo;
use warren_coordinator::owner;
use warren_coordinator::state_dir::StateDir;
use warren_coordinator_core::access::Scope;
use warren_wire::id::{IdentityKey, NetworkId};

/// Everything that answers, but nobody behind it.
fn hollow() -> App {
    let network = NetworkInfo {
        network: NetworkId([1; 16]),
        name: "prod".into(),
        authorities: vec![],
        coordinator: IdentityKey([2; 32]),
        advertise: vec![],
        listen: String::new(),
        v4_range: String::new(),
        v6_prefix: String::new(),
        freshness: 60,
    };
    let door = Doorkeeper::new(500, Some("warren".into()), || {
        Accounts::of_text("ada:x:1000:1000:\nbob:x:1001:1001:\n", "warren:x:500:ada\n")
    });
    let state = StateDir::at(Path::new("/nonexistent"));
    App {
        owner: owner::Handle::of_nobody(),
        network,
        state,
        door,
        web: WebDoor::new(KeyRing::default(), [], false),
        hub: Hub::new(0),
        map: warren_coordinator::state_dir::MapSettings::default(),
        keep: Default::default(),
        page: None,
        failed: Arc::default(),
        unlisted: Arc::default(),
        requests: Default::default(),
        started: Default::default(),
        export: None,
        relay: None,
        doors: None,
    }
}

/// The real router over a real socket; only the kernel's word about the caller is replaced.
async fn serve_as(caller: Caller, socket: &Path) {
    let router = api::router(hollow()).layer(Extension(ConnectInfo(caller)));
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
}

async fn ask(socket: &Path, method: &str, path: &str) -> (u16, String) {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::builder().method(method).uri(path).header("host", "x");
    let answer = sender.send_request(request.body(Full::new(Bytes::from("{}"))).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    (status, String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).into_owned())
}

#[test]
fn every_route_refuses_a_stranger_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        for (name, caller) in [("bob", Caller(Some((1001, 1001)))), ("nobody", Caller(None))] {
            let socket = dir.path().join(name);
            serve_as(caller, &socket).await;
            for route in ROUTES {
                let (status, body) = ask(&socket, route.method, route.example).await;
                assert_eq!(status, 403, "{} {}: {body}", route.method, route.example);
                assert!(body.contains("/problems/forbidden") && body.contains("group `warren`"), "{body}");
            }
            for path in ["/", "/v1/nothing", "/v1/../v1/status", "/v1/status/"] {
                assert_eq!(ask(&socket, "GET", path).await.0, 403, "{path}");
            }
        }
    });
}

/// What changes something, or gives something away, by the scope it needs; reading is enough for all else.
const MORE: [(&str, &str, Scope); 11] = [
    ("POST", "/v1/commands", Scope::Operate),
    ("GET", "/v1/keys", Scope::Admin),
    ("POST", "/v1/keys", Scope::Admin),
    ("POST", "/v1/keys/{id}/revoke", Scope::Admin),
    ("POST", "/v1/relays", Scope::Admin),
    ("POST", "/v1/relays/{name}/drain", Scope::Operate),
    ("POST", "/v1/relays/{name}/remove", Scope::Admin),
    ("POST", "/v1/links", Scope::Admin),
    ("GET", "/v1/sessions", Scope::Admin),
    ("POST", "/v1/sessions/end", Scope::Admin),
    ("GET", "/v1/backup", Scope::Admin),
];

#[test]
fn each_route_needs_the_scope_that_was_decided_for_it() {
    for route in ROUTES {
        let is = |(method, path, _): &&(&str, &str, Scope)| (*method, *path) == (route.method, route.path);
        let needed = MORE.iter().find(is).map_or(Scope::Read, |(.., scope)| *scope);
        assert_eq!((route.scope)(), needed, "{} {}", route.method, route.path);
    }
    let exists = |(method, path, _): &(&str, &str, Scope)| {
        ROUTES.iter().any(|route| (route.method, route.path) == (*method, *path))
    };
    assert!(MORE.iter().all(exists));
}

/// In front of everything else on the network's door: no key is looked at, no page read.
#[test]
fn who_asks_more_often_than_anybody_needs_is_told_so_before_anything_else() {
    block_on(async {
        for path in ["/v1/status", "/", "/v1/session", "/v1/nothing"] {
            let router = api::web::router(hollow());
            // A second may end meanwhile, and then it begins anew.
            let mut answers = 0;
            let refused = loop {
                let asked =
                    hyper::Request::get(path).header("host", "x").body(axum::body::Body::empty()).unwrap();
                let answer = router.clone().oneshot(asked).await.unwrap();
                match answer.status().as_u16() {
                    421 if answers < 20_000 => answers += 1,
                    other => break other,
                }
            };
            assert_eq!(refused, 429, "{path}, after {answers}");
            assert!(answers >= 500, "{path}: {answers} is not often");
        }
    });
}

#[test]
fn a_member_of_the_group_passes_the_door() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let socket = dir.path().join("ada");
        serve_as(Caller(Some((1000, 1000))), &socket).await;
        assert_eq!(ask(&socket, "GET", "/v1/network").await.0, 200);
        // Behind the door nobody answers in this test: busy, not forbidden.
        assert_eq!(ask(&socket, "GET", "/v1/status").await.0, 503);
        assert_eq!(ask(&socket, "GET", "/v1/nothing").await.0, 404);
        assert_eq!(ask(&socket, "DELETE", "/v1/status").await.0, 405);
        let (status, body) = ask(&socket, "GET", "/v1/flows?nonsense=1").await;
        assert!(status == 400 && body.contains("nonsense"), "{body}");
        let (status, body) = ask(&socket, "POST", "/v1/commands").await;
        assert!(status == 400 && body.contains("command"), "{body}");
    });
}

#[test]
fn the_socket_and_every_file_of_the_state_are_closed_to_others() {
    let world = World::new();
    let _service = world.serve();
    assert_eq!(mode(&world.socket()) & 0o007, 0);
    assert_eq!(mode(&world.path("run")), 0o755);
    assert_eq!(mode(&world.state()), 0o700);
    assert_eq!(mode(&world.authority()), 0o600);
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(world.state()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    assert!(seen.iter().any(|n| n == "warren.db-wal"), "{seen:?}");
}

#[test]
fn no_secret_is_in_the_log_the_answers_or_the_database() {
    let world = World::new();
    let service = world.serve();
    let token = world.ok(&["token", "create", "--tag", "web"]);
    let seed = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD
            .encode(warren_wire::token::Token::decode(token.trim()).unwrap().seed.as_slice())
    };
    let online = std::fs::read_to_string(world.state().join("online.key")).unwrap();
    let listed = [world.ok(&["--json", "token", "list"]), world.ok(&["--json", "audit", "list"])].concat();
    assert_eq!(service.stop(), 0);
    let database =
        String::from_utf8_lossy(&std::fs::read(world.state().join("warren.db")).unwrap()).into_owned();
    for (place, text) in [("log", world.log()), ("answers", listed), ("database", database)] {
        for secret in [token.trim(), &seed, online.trim()] {
            assert!(!text.contains(secret), "a secret is in the {place}");
        }
    }
}
