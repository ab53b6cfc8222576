//! `warren token`: the token's private key is made here and leaves only on standard output; the coordinator stores
//! what the authority signed about its public half.

use serde_json::json;
use warren_coordinator_core::command::{Command, TokenRow, TokenStatus};
use warren_wire::id::IdentityKey;
use warren_wire::issue::{self, NameRule, Terms};
use warren_wire::token::Token;

use super::args::{TokenCommand, TokenCreateArgs, pick_token};
use super::duration::Seconds;
use super::{Context, Failure, Outcome, output};
use crate::api::types::Committed;
use crate::clock;
use crate::network::NetworkInfo;

pub async fn run(context: &Context, command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Create(args) => create(context, &args).await,
        TokenCommand::List => list(context).await,
        TokenCommand::Revoke { token } => revoke(context, &token).await,
    }
}

async fn create(context: &Context, args: &TokenCreateArgs) -> Outcome {
    let (network, authority) = context.authority(&args.authority.authority).await?;
    let token = Token {
        network: network.network,
        // The roots of the new node: only the one that is known here, never what a coordinator says.
        authorities: vec![authority.public()],
        coordinators: coordinators(args, &network)?,
        coordinator_key: network.coordinator,
        seed: clock::secret::<32>().map_err(|e| Failure::of_finding(&e))?,
    };
    token.check().map_err(|e| Failure::of_usage(&e))?;
    let created = clock::now();
    let terms = Terms {
        names: names(args),
        tags: args.tags.iter().cloned().collect(),
        uses: args.uses,
        created,
        not_after: created.plus(args.ttl.0),
        lease: args.lease.map_or(0, |lease| lease.0),
    };
    let delegation = issue::delegation(&network.network, &token.key(), &terms, authority.key());
    let stored: Committed = context.client.post("/v1/commands", &Command::StoreToken { delegation }).await?;
    let text = token.encode();
    if context.json {
        output::json(&json!({
            "token": *text, "key": token.key(), "revision": stored.revision, "coordinators": token.coordinators,
            "tags": args.tags, "name": args.name, "name_prefix": args.name_prefix,
            "uses": args.uses, "not_after": terms.not_after, "lease": args.lease.map(|lease| lease.0),
        }));
    } else {
        output::line(&text);
        output::error_line(&format!(
            "token {} is good for {} use(s) until {}; it is shown only once\non the new host: warren-node up --token-file FILE (or WARREN_TOKEN, or standard input)",
            token.key(),
            args.uses,
            terms.not_after
        ));
    }
    Ok(())
}

fn coordinators(args: &TokenCreateArgs, network: &NetworkInfo) -> Result<Vec<String>, Failure> {
    let chosen = if args.coordinator.is_empty() { &network.advertise } else { &args.coordinator };
    match chosen.is_empty() {
        false => Ok(chosen.clone()),
        true => Err(Failure::usage(
            "the token needs an address at which new nodes reach the coordinator: name it with `--coordinator HOST:PORT`, or once for all with `advertise` in the state directory's settings.json",
        )),
    }
}

fn names(args: &TokenCreateArgs) -> NameRule {
    match (&args.name, &args.name_prefix) {
        (Some(name), _) => NameRule::Exactly(name.clone()),
        (None, Some(prefix)) => NameRule::Prefix(prefix.clone()),
        (None, None) => NameRule::AnyFree,
    }
}

async fn list(context: &Context) -> Outcome {
    let rows: Vec<TokenRow> = context.client.get("/v1/tokens").await?;
    if context.json {
        output::json(&rows);
        return Ok(());
    }
    let cells = rows.iter().map(|t| {
        let name = t.name.clone().or_else(|| t.name_prefix.as_ref().map(|p| format!("{p}*")));
        vec![
            t.token.to_string(),
            state(t.state).to_owned(),
            output::or_dash(Some(t.tags.join(","))),
            name.filter(|n| n != "*").unwrap_or_else(|| "any".to_owned()),
            format!("{}/{}", t.used, t.uses),
            t.not_after.to_string(),
            t.lease.map_or_else(|| "-".to_owned(), |lease| Seconds(lease).to_string()),
        ]
    });
    let head = ["TOKEN", "STATE", "TAGS", "NAME", "USED", "UNTIL", "LEASE"];
    output::table(&head, cells.collect(), "no tokens: make one with `warren token create`");
    Ok(())
}

fn state(status: TokenStatus) -> &'static str {
    match status {
        TokenStatus::Usable => "usable",
        TokenStatus::Spent => "spent",
        TokenStatus::Expired => "expired",
        TokenStatus::Revoked => "revoked",
        TokenStatus::Void => "void",
    }
}

async fn revoke(context: &Context, typed: &str) -> Outcome {
    if typed.starts_with("warren1_") {
        return Err(Failure::usage(
            "that is the secret token itself: name it by its key, as `warren token list` shows it, and treat this token as seen by others",
        ));
    }
    let rows: Vec<TokenRow> = context.client.get("/v1/tokens").await?;
    let known: Vec<IdentityKey> = rows.iter().map(|row| row.token).collect();
    let token = pick_token(typed, &known).map_err(Failure::finding)?;
    let done: Committed = context.client.post("/v1/commands", &Command::RevokeToken { token }).await?;
    match context.json {
        true => output::json(&json!({ "token": token, "revision": done.revision })),
        false => output::line(&format!("token {token} revoked (revision {})", done.revision)),
    }
    Ok(())
}
