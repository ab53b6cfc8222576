//! Signing in on the page, and out.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_coordinator_core::access::Scope;

use super::door::{COOKIE, CSRF, WebDoor, cookie, single};
use super::listen::Remote;
use super::sessions::Session;
use crate::api::App;
use crate::api::extract::{Given, Reply};
use crate::api::problem::{Kind, Problem};
use crate::clock;

/// With a key, or with the code of a link of `warren ui`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SignIn {
    Key(String),
    Link(String),
}

/// Who is signed in.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionReply {
    /// `local:NAME` or `key:NAME`.
    pub name: String,
    pub scope: Scope,
    pub ends: UnixTime,
    /// To be sent as `warren-csrf` with everything that is not a question.
    pub csrf: String,
}

impl SessionReply {
    fn of(session: &Session) -> SessionReply {
        SessionReply {
            name: session.who.to_string(),
            scope: session.who.scope(),
            ends: session.ends,
            csrf: session.csrf.clone(),
        }
    }
}

pub async fn show(State(app): State<App>, headers: HeaderMap) -> Reply<SessionReply> {
    app.web.session(&headers, clock::now()).map(|session| Json(SessionReply::of(&session)))
}

pub async fn open(
    State(app): State<App>,
    ConnectInfo(Remote(from)): ConnectInfo<Remote>,
    Given(sign_in): Given<SignIn>,
) -> Result<Response, Problem> {
    let now = clock::now();
    let sessions = &app.web.sessions;
    let opened = match sign_in {
        SignIn::Key(key) => {
            let (who, until) = app.web.check_key(&key, from.ip(), now)?;
            sessions.open(who, until, from.ip(), now).map(Some)
        }
        SignIn::Link(code) => sessions.redeem(&code, from.ip(), now),
    };
    let opened = opened.map_err(|e| Problem::new(Kind::Internal, e.to_string()))?;
    let (secret, session) = opened.ok_or_else(|| no_such_link(&app.web, from.ip(), now))?;
    tracing::info!(principal = %session.who, from = %from.ip(), "signed in on the page");
    let mut response = Json(SessionReply::of(&session)).into_response();
    set_cookie(&mut response, &app.web, &secret, session.ends.since(now));
    Ok(response)
}

fn no_such_link(door: &WebDoor, from: IpAddr, now: UnixTime) -> Problem {
    match door.may_try(from, now) {
        Ok(()) => {
            door.count_wrong(from, now);
            Problem::unauthenticated("this link was opened already, or is too old")
                .with_hint("make a new one with `warren ui`")
        }
        Err(problem) => problem,
    }
}

pub async fn close(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let session = app.web.session(&headers, clock::now())?;
    if single(&headers, CSRF) != Some(session.csrf.as_str()) {
        return Err(Problem::new(
            Kind::Forbidden,
            format!("the header `{CSRF}` is missing or not this session's"),
        ));
    }
    if let Some(cookie) = cookie(&headers) {
        app.web.sessions.close(cookie);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, &app.web, "", 0);
    Ok(response)
}

fn set_cookie(response: &mut Response, door: &WebDoor, secret: &str, seconds: u64) {
    let secure = if door.secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}
