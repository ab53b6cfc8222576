//! `warren relay`: the token's private key is made here and leaves only on standard output, as a node's.

use std::io::Read as _;
use std::path::Path;

use serde_json::json;
use warren_coordinator_core::relays::RelayRow;
use warren_wire::token::Token;
use zeroize::Zeroizing;

use super::args::{RelayAddArgs, RelayCommand, RelayRunArgs};
use super::{Context, Failure, Outcome, output, serve};
use crate::api::relays::{DrainAsked, RelayAsked};
use crate::client::url;
use crate::clock;
use crate::door::DoorSettings;
use crate::outpost::{self, Options, OutpostError};
use crate::relay::RelaySettings;

/// A token has a few hundred characters.
const MAX_TOKEN: u64 = 64 * 1024;

pub async fn run(context: &Context, command: RelayCommand) -> Outcome {
    match command {
        RelayCommand::Add(args) => add(context, &args).await,
        RelayCommand::List => list(context).await,
        RelayCommand::Drain { name, undo } => drain(context, &name, !undo).await,
        RelayCommand::Remove { name } => remove(context, &name).await,
        RelayCommand::Run(_) => Ok(()),
    }
}

async fn add(context: &Context, args: &RelayAddArgs) -> Outcome {
    // What the relay will believe: the root that is known here, never what a coordinator says.
    let (network, authority) = context.authority(&args.authority.authority).await?;
    let coordinators = if args.coordinator.is_empty() { network.advertise } else { args.coordinator.clone() };
    if coordinators.is_empty() {
        return Err(Failure::usage(
            "the token needs an address at which the relay reaches the coordinator: name it with `--coordinator HOST:PORT`, or once for all with `advertise` in the state directory's settings.json",
        ));
    }
    let token = Token {
        network: network.network,
        authorities: vec![authority.public()],
        coordinators,
        coordinator_key: network.coordinator,
        seed: clock::secret::<32>().map_err(|e| Failure::of_finding(&e))?,
    };
    token.check().map_err(|e| Failure::of_usage(&e))?;
    let (name, ends) = (args.name.to_string(), clock::now().plus(args.ttl.0));
    let asked = RelayAsked { name, token: token.key(), at: args.at.clone(), ends };
    let row: RelayRow = context.client.post("/v1/relays", &asked).await?;
    let text = token.encode_for_relay();
    if context.json {
        output::json(&json!({
            "token": *text, "key": token.key(), "name": row.name, "places": row.places,
            "coordinators": token.coordinators, "not_after": ends,
        }));
    } else {
        output::line(&text);
        output::error_line(&format!(
            "relay {} may come in until {ends}; the token is good for it alone and is shown only once\non its host: warren relay run --token-file FILE",
            row.name
        ));
    }
    Ok(())
}

async fn list(context: &Context) -> Outcome {
    let rows: Vec<RelayRow> = context.client.get("/v1/relays").await?;
    if context.json {
        output::json(&rows);
        return Ok(());
    }
    let cells = rows.iter().map(|relay| {
        let refused: u64 = relay.refused.values().sum();
        vec![
            relay.name.clone(),
            relay.state.word().to_owned(),
            place(relay),
            format!("{}/{}", relay.here, relay.seats),
            relay.pairs.to_string(),
            relay.frames.to_string(),
            relay.bytes.to_string(),
            refused.to_string(),
            output::or_dash(
                relay.doors.as_ref().map(|doors| (doors.websocket.saturating_add(doors.quic)).to_string()),
            ),
            output::or_dash(relay.since.map(|at| at.to_string())),
        ]
    });
    let head =
        ["RELAY", "STATE", "AT", "HERE/SEATS", "PAIRS", "FRAMES", "BYTES", "REFUSED", "DOORS", "SINCE"];
    output::table(&head, cells.collect(), "no relays: let one in with `warren relay add NAME`");
    Ok(())
}

fn place(relay: &RelayRow) -> String {
    match (relay.places.is_empty(), relay.token_ends) {
        (false, _) => relay.places.join(","),
        (true, Some(ends)) => format!("token good until {ends}"),
        (true, None) => "the coordinator".to_owned(),
    }
}

async fn drain(context: &Context, name: &str, draining: bool) -> Outcome {
    let asked = DrainAsked { draining };
    let row: RelayRow = context.client.post(&url(&["v1", "relays", name, "drain"], &[]), &asked).await?;
    match (context.json, draining) {
        (true, _) => output::json(&row),
        (false, true) => output::line(&format!(
            "relay {} drains: nodes leave it, and it ends when nobody sends any more (at most 10 s)",
            row.name
        )),
        (false, false) => output::line(&format!("relay {} may be used again: start it anew", row.name)),
    }
    Ok(())
}

async fn remove(context: &Context, name: &str) -> Outcome {
    let rows: Vec<RelayRow> = context.client.post(&url(&["v1", "relays", name, "remove"], &[]), &()).await?;
    match context.json {
        true => output::json(&rows),
        false => output::line(&format!("relay {} is removed", crate::text::plain(name, 64))),
    }
    Ok(())
}

// --- being one

/// `warren relay run`.
pub fn be(args: RelayRunArgs) -> Outcome {
    serve::start_log(args.log_level, args.log_format);
    // Once it has come in, the token is of no use, and may be gone.
    let token = args.token_file.as_deref().filter(|_| !outpost::home::has_come_in(&args.dir));
    let token = token.map(read_token).transpose()?;
    let settings = RelaySettings {
        enabled: true,
        threads: args.threads,
        megabits: args.megabits,
        packets: args.packets,
    };
    let options = Options {
        dir: args.dir,
        listen: args.listen,
        token,
        at: args.at,
        settings,
        doors: DoorSettings { enabled: !args.no_doors, port: args.door_port },
        metrics: args.metrics,
        ready_file: args.ready_file,
    };
    outpost::run(options).map_err(|error| match &error {
        OutpostError::NoToken => Failure::of_usage(&error),
        _ => Failure::of_finding(&error),
    })
}

fn read_token(path: &Path) -> Result<Token, Failure> {
    let unreadable =
        |e: std::io::Error| Failure::usage(format!("the token file {} cannot be read: {e}", path.display()));
    let mut text = Zeroizing::new(String::with_capacity(4096));
    match path.as_os_str() == "-" {
        true => std::io::stdin().take(MAX_TOKEN).read_to_string(&mut text).map_err(unreadable)?,
        false => {
            let file = std::fs::File::open(path).map_err(unreadable)?;
            file.take(MAX_TOKEN).read_to_string(&mut text).map_err(unreadable)?
        }
    };
    Token::decode_for_relay(&text).map_err(|e| Failure::of_usage(&e))
}
