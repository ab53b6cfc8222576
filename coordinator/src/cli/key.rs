//! `warren key` and `warren ui`: who may use the API over the network.

use warren_coordinator_core::access::{KeyRow, Scope};

use super::args::{KeyCommand, KeyScope};
use super::{Context, Failure, Outcome, output};
use crate::api::keys::{KeyAsked, KeyMade, LinkMade};
use crate::client::url;
use crate::clock;

pub async fn run(context: &Context, command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::Create { name, scope, ttl } => {
            let ends = ttl.map(|ttl| clock::now().plus(ttl.0));
            create(context, &KeyAsked { name, scope: scope.into(), ends }).await
        }
        KeyCommand::List => list(context).await,
        KeyCommand::Revoke { key } => revoke(context, &key).await,
    }
}

async fn create(context: &Context, asked: &KeyAsked) -> Outcome {
    let made: KeyMade = context.client.post("/v1/keys", asked).await?;
    if context.json {
        output::json(&made);
        return Ok(());
    }
    output::line(&made.key);
    let until = made.row.ends.map_or_else(|| "it is revoked".to_owned(), |ends| ends.to_string());
    output::error_line(&format!(
        "API key {} ({}) may {} until {until}; it is shown only once\nuse: Authorization: Bearer KEY",
        made.row.name,
        made.row.id,
        made.row.scope.word()
    ));
    Ok(())
}

async fn list(context: &Context) -> Outcome {
    let rows: Vec<KeyRow> = context.client.get("/v1/keys").await?;
    if context.json {
        output::json(&rows);
        return Ok(());
    }
    let text = |at: Option<_>| output::or_dash(at.map(|at: warren_config::time::UnixTime| at.to_string()));
    let cells = rows.iter().map(|key| {
        vec![
            key.id.to_string(),
            key.name.clone(),
            key.scope.word().to_owned(),
            state(key).to_owned(),
            key.created.to_string(),
            text(key.ends),
            text(key.last_used),
        ]
    });
    let head = ["KEY", "NAME", "SCOPE", "STATE", "MADE", "UNTIL", "LAST USED"];
    output::table(&head, cells.collect(), "no API keys: make one with `warren key create NAME`");
    Ok(())
}

fn state(key: &KeyRow) -> &'static str {
    match (key.revoked, key.ends) {
        (Some(_), _) => "revoked",
        (None, Some(ends)) if ends <= clock::now() => "ended",
        _ => "usable",
    }
}

/// By id, or by the name of a key that is not revoked.
async fn revoke(context: &Context, typed: &str) -> Outcome {
    if typed.starts_with("wrn_") {
        return Err(Failure::usage(
            "that is the secret key itself: name it by its id or name, as `warren key list` shows them, and treat this key as seen by others",
        ));
    }
    let rows: Vec<KeyRow> = context.client.get("/v1/keys").await?;
    let named = |row: &&KeyRow| row.id.as_str() == typed || (row.name == typed && row.revoked.is_none());
    let Some(key) = rows.iter().find(named) else {
        let near = crate::text::nearest(typed, rows.iter().map(|row| row.name.clone()));
        let hint = near.map(|name| format!(": did you mean `{name}`?")).unwrap_or_default();
        return Err(Failure::finding(format!(
            "there is no API key `{}`{hint} See `warren key list`",
            crate::text::plain(typed, 64)
        )));
    };
    let done: KeyRow =
        context.client.post(&url(&["v1", "keys", key.id.as_str(), "revoke"], &[]), &()).await?;
    match context.json {
        true => output::json(&done),
        false => output::line(&format!("API key {} ({}) revoked", done.name, done.id)),
    }
    Ok(())
}

/// `warren ui`: a link that signs in once.
pub async fn ui(context: &Context, scope: KeyScope) -> Outcome {
    let scope: Scope = scope.into();
    let made: LinkMade =
        context.client.post(&url(&["v1", "links"], &[("scope", Some(scope.word().to_owned()))]), &()).await?;
    if context.json {
        output::json(&made);
        return Ok(());
    }
    output::line(&made.url);
    output::error_line(&format!(
        "opens the page signed in (scope {}), once, until {}",
        scope.word(),
        made.ends
    ));
    Ok(())
}
