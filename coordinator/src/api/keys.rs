//! Routes about access: API keys, links that sign in on the page, and the sessions there are.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_coordinator_core::access::{KeyHash, KeyId, KeyRow, KeyText, Scope};
use warren_coordinator_core::change::Principal as Actor;
use warren_coordinator_core::command::Command;

use super::App;
use super::caller::{Admin, Principal};
use super::extract::{Asked, Given, Named, Reply};
use super::problem::{Kind, Problem};
use super::web::sessions::{LINK_LIFE, SessionRow, Which};
use crate::clock;
use crate::text::plain;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAsked {
    /// 1 to 64 letters, digits, and `._@-`; no other usable key may have it.
    pub name: String,
    pub scope: Scope,
    /// None: until it is revoked.
    #[serde(default)]
    pub ends: Option<UnixTime>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyMade {
    /// The key itself: shown this once, kept nowhere.
    pub key: String,
    pub row: KeyRow,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct LinkAsked {
    /// What the page may do; never more than the one who asks.
    pub scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LinkMade {
    /// Opens the page signed in, once, for five minutes.
    pub url: String,
    pub ends: UnixTime,
}

pub async fn list(_: Admin, State(app): State<App>) -> Reply<Vec<KeyRow>> {
    Ok(Json(app.web.keys.rows()))
}

pub async fn make(
    Admin(who): Admin,
    State(app): State<App>,
    Given(asked): Given<KeyAsked>,
) -> Reply<KeyMade> {
    let random = |e: clock::NoRandom| Problem::new(Kind::Internal, e.to_string());
    let key = KeyText::new(*clock::secret::<7>().map_err(random)?, *clock::secret::<32>().map_err(random)?);
    let (id, hash) = (key.id(), KeyHash::of(&key));
    let KeyAsked { name, scope, ends } = asked;
    carry_out(&app, &who, Command::MakeApiKey { id: id.clone(), name, scope, hash, ends }).await?;
    Ok(Json(KeyMade { key: key.reveal().to_string(), row: row(&app, &id)? }))
}

pub async fn revoke(Admin(who): Admin, State(app): State<App>, Named(id): Named) -> Reply<KeyRow> {
    let id = KeyId::try_from(id).map_err(|_| {
        Problem::new(Kind::BadRequest, "a key's id has 12 of a-z and 2-7: see `warren key list`")
    })?;
    carry_out(&app, &who, Command::RevokeApiKey { id: id.clone() }).await?;
    Ok(Json(row(&app, &id)?))
}

pub async fn link(
    Admin(who): Admin,
    State(app): State<App>,
    Asked(asked): Asked<LinkAsked>,
) -> Reply<LinkMade> {
    let Some(address) = &app.page else {
        return Err(Problem::new(Kind::Refused, "this coordinator serves no page")
            .with_hint("set `api.listen` in settings.json of the state directory, for example to 127.0.0.1:7947, and start it anew"));
    };
    let now = clock::now();
    let code = app.web.sessions.link(who.narrowed(asked.scope), now);
    let code = code.map_err(|e| Problem::new(Kind::Internal, e.to_string()))?;
    // Behind `#`, so that no server and no log ever sees it.
    Ok(Json(LinkMade { url: format!("{address}/#link={}", *code), ends: now.plus(LINK_LIFE) }))
}

pub async fn sessions(_: Admin, State(app): State<App>) -> Reply<Vec<SessionRow>> {
    Ok(Json(app.web.sessions.rows(&Which::All, clock::now())))
}

/// In the log first, as with everything that an administrator does. Whoever signs in by such a link meanwhile is out as well: a
/// session knows the link that opened it.
pub async fn end_sessions(
    Admin(who): Admin,
    State(app): State<App>,
    Given(which): Given<Which>,
) -> Reply<Vec<SessionRow>> {
    let rows = app.web.sessions.rows(&which, clock::now());
    let words = match &which {
        Which::Id(id) => format!("session {}", id.as_str()),
        Which::Name(name) => format!("sessions of {name}"),
        Which::All => "all sessions".to_owned(),
    };
    if rows.is_empty() {
        if which == Which::All {
            return Ok(Json(rows));
        }
        return Err(Problem::new(Kind::NotFound, format!("there is no {}", plain(&words, 100)))
            .with_hint("see `warren session list`"));
    }
    let names: BTreeSet<String> = rows.iter().map(|row| row.name.clone()).collect();
    let (names, count) = (names.into_iter().collect(), rows.len() as u64);
    carry_out(&app, &who, Command::EndSessions { names, count }).await?;
    app.web.sessions.end(&which);
    Ok(Json(rows))
}

async fn carry_out(app: &App, who: &Principal, command: Command) -> Result<(), Problem> {
    let actor: Actor = who.as_str().parse().map_err(|_| Problem::forbidden("unknown", None))?;
    app.owner.command(actor, command).await??;
    Ok(())
}

fn row(app: &App, id: &KeyId) -> Result<KeyRow, Problem> {
    let found = app.web.keys.rows().into_iter().find(|row| row.id == *id);
    found.ok_or_else(|| Problem::new(Kind::Internal, "the key is not in the list"))
}
