//! Routes about relays that are programs of their own.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_coordinator_core::change::Principal as Actor;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::relays::{HERE, RelayRow, RelayState};
use warren_wire::id::{IdentityKey, RelayId};

use super::App;
use super::caller::{Admin, Operator, Principal, Reader};
use super::extract::{Given, Named, Reply};
use super::problem::{Kind, Problem};
use crate::clock;
use crate::door::Doors;
use crate::relay::Carrier;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayAsked {
    pub name: String,
    /// Public half of the key of its token; the other half was never here.
    pub token: IdentityKey,
    /// Where nodes reach it; none: where the coordinator sees it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub at: Vec<SocketAddr>,
    /// When the token runs out.
    pub ends: UnixTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainAsked {
    /// False: it may be used again.
    pub draining: bool,
}

pub async fn list(_: Reader, State(app): State<App>) -> Reply<Vec<RelayRow>> {
    Ok(Json(rows(&app).await?))
}

pub async fn add(
    Admin(who): Admin,
    State(app): State<App>,
    Given(asked): Given<RelayAsked>,
) -> Reply<RelayRow> {
    let RelayAsked { name, token, at, ends } = asked;
    carry_out(&app, &who, Command::AddRelay { name: name.clone(), token, at, ends }).await?;
    row(&app, &name).await
}

pub async fn drain(
    Operator(who): Operator,
    State(app): State<App>,
    Named(name): Named,
    Given(asked): Given<DrainAsked>,
) -> Reply<RelayRow> {
    carry_out(&app, &who, Command::DrainRelay { name: name.clone(), draining: asked.draining }).await?;
    row(&app, &name).await
}

pub async fn remove(Admin(who): Admin, State(app): State<App>, Named(name): Named) -> Reply<Vec<RelayRow>> {
    carry_out(&app, &who, Command::RemoveRelay { name }).await?;
    Ok(Json(rows(&app).await?))
}

/// All relays, the coordinator's own first.
pub(super) async fn rows(app: &App) -> Result<Vec<RelayRow>, Problem> {
    let others = app.owner.ask(|owner| owner.coordinator().relay_rows(clock::now())).await?;
    Ok(own(app).into_iter().chain(others).collect())
}

fn own(app: &App) -> Option<RelayRow> {
    let report = app.relay.as_ref().map(Carrier::report)?;
    let relay = report.relay;
    Some(RelayRow {
        name: HERE.to_owned(),
        state: RelayState::Up,
        id: Some(RelayId::of(&app.network.coordinator)),
        places: Vec::new(),
        since: Some(app.started),
        added: app.started,
        token_ends: None,
        agent: Some(env!("CARGO_PKG_VERSION").to_owned()),
        seats: relay.seats as u64,
        here: relay.here as u64,
        pairs: relay.pairs as u64,
        frames: relay.frames,
        bytes: relay.bytes,
        pongs: relay.pongs,
        unsent: report.unsent,
        rate: 0,
        refused: relay.refused,
        unproven: 0,
        unasked: 0,
        doors: app.doors.as_ref().map(Doors::report),
    })
}

async fn row(app: &App, name: &str) -> Reply<RelayRow> {
    let found = rows(app).await?.into_iter().find(|row| row.name == name);
    found.map(Json).ok_or_else(|| Problem::new(Kind::Internal, "the relay is not in the list"))
}

async fn carry_out(app: &App, who: &Principal, command: Command) -> Result<(), Problem> {
    let actor: Actor = who.as_str().parse().map_err(|_| Problem::forbidden("unknown", None))?;
    app.owner.command(actor, command).await??;
    Ok(())
}
