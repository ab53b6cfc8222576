//! The API and the page on a TCP port. The same routes as on the local socket behind another door: a key, or a session of the
//! page. Only the sign-in and the page's own files need neither.

pub mod certificate;
pub mod door;
pub mod listen;
mod page;
pub mod session;
pub mod sessions;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post};
use serde::{Deserialize, Serialize};

use super::App;
use super::openapi::{self, Draft};
use certificate::{Certificate, CertificateError};

/// `api` in the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSettings {
    /// TCP address of the API and the page. None: only the local socket.
    pub listen: Option<SocketAddr>,
    /// PEM files. None: no TLS on loopback, the network's own certificate elsewhere.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Names under which it is asked, besides its own addresses and the names of the control channel.
    pub hosts: Vec<String>,
}

pub const DEFAULT_LISTEN: &str = "127.0.0.1:7947";

impl WebSettings {
    /// Names and addresses, without ports, that are ours.
    pub fn all_hosts(&self, listen: SocketAddr, advertise: &[String]) -> Vec<String> {
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        if !listen.ip().is_unspecified() && !listen.ip().is_loopback() {
            hosts.push(listen.ip().to_string());
        }
        let plain = |name: &String| {
            let name = name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host);
            name.trim_matches(['[', ']']).to_owned()
        };
        hosts.extend(advertise.iter().map(plain));
        hosts.extend(self.hosts.iter().cloned());
        hosts.dedup();
        hosts
    }

    /// None: in clear, on loopback only.
    pub fn certificate(
        &self,
        listen: SocketAddr,
        state: &Path,
        hosts: &[String],
    ) -> Result<Option<Certificate>, CertificateError> {
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => certificate::read(certificate, key).map(Some),
            (Some(path), None) | (None, Some(path)) => Err(CertificateError::Unreadable {
                path: path.clone(),
                why: "a certificate and its key are named together".to_owned(),
            }),
            (None, None) if listen.ip().is_loopback() => Ok(None),
            (None, None) => certificate::own(state, hosts).map(Some),
        }
    }
}

/// A route without a key, and what it says of itself.
pub struct Public {
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    pub needs: Needs,
    pub draft: fn() -> Draft,
    handler: fn() -> MethodRouter<App>,
}

/// What lets somebody in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    Session,
    /// And the token against requests that another site makes up.
    SessionAndToken,
}

/// All of them: signing in on the page, and out.
pub const PUBLIC: &[Public] = &[
    Public {
        method: "GET",
        path: "/v1/session",
        summary: "Who is signed in on the page",
        needs: Needs::Session,
        draft: || openapi::draft_of(session::show),
        handler: || get(session::show),
    },
    Public {
        method: "POST",
        path: "/v1/session",
        summary: "Sign in on the page, with a key or with the code of a link",
        needs: Needs::Nothing,
        draft: || openapi::draft_of(session::open).gives::<session::SessionReply>(),
        handler: || post(session::open),
    },
    Public {
        method: "DELETE",
        path: "/v1/session",
        summary: "Sign out on the page",
        needs: Needs::SessionAndToken,
        draft: || openapi::draft_of(session::close).gives_nothing(),
        handler: || delete(session::close),
    },
];

/// Everything that is served on the port.
pub fn router(app: App) -> Router {
    let door = app.web.clone();
    let counted = middleware::from_fn_with_state(app.requests.clone(), super::metrics::counted);
    let keyed =
        super::routes(&app).layer(middleware::from_fn_with_state(door.clone(), door::keyed)).layer(counted);
    let public = PUBLIC
        .iter()
        .fold(Router::new(), |router, public| {
            let handler = (public.handler)().layer(middleware::from_fn(super::no_query));
            router.route(public.path, handler)
        })
        .method_not_allowed_fallback(super::wrong_method)
        .layer(DefaultBodyLimit::max(door::MAX_SIGN_IN))
        .layer(middleware::from_fn(door::short))
        .with_state(app);
    let page = Router::new()
        .merge(public)
        .fallback(page::page)
        .layer(middleware::from_fn_with_state(door.clone(), door::public));
    page.merge(keyed)
        .layer(middleware::from_fn_with_state(door, door::paced))
        .layer(middleware::map_response(async |response| page::guard(response)))
}
