//! `enroll`, and the first half of `up`.

use std::io::{IsTerminal, Read};

use serde_json::json;
use warren_config::name::Name;
use warren_wire::token::Token;
use zeroize::Zeroizing;

use super::{Said, args, runtime};
use crate::agent::{self, Kept, Options};
use crate::error::Error;
use crate::state::StateDir;

/// A token has a few hundred characters.
const MAX_TOKEN: u64 = 64 * 1024;

pub fn command(options: &Options, enrol: &args::Enrol) -> Result<Said, Error> {
    let name = wanted_name(enrol)?;
    // Bad input is found before anything is touched.
    let token = read_token(enrol)?.ok_or_else(no_token)?;
    let state = StateDir::open(&options.state)?;
    if state.is_enrolled()? {
        let kept = agent::load(&state)?;
        let text = format!(
            "this host is already {} in network {}; nothing was changed and the token was not used",
            kept.me.name(),
            kept.network.name
        );
        return Ok(Said::ok(described(&kept), text));
    }
    let kept = redeem(options, &state, token, name.as_ref())?;
    let text = format!(
        "enrolled as {} in network {}; start the agent with `warren-node run`",
        kept.me.name(),
        kept.network.name
    );
    Ok(Said::ok(described(&kept), text))
}

/// The member of this state directory: the stored one, whatever token is given; else enrolled now.
pub fn member(options: &Options, enrol: &args::Enrol) -> Result<(StateDir, Kept), Error> {
    let name = wanted_name(enrol)?;
    let state = StateDir::open(&options.state)?;
    if state.is_enrolled()? {
        let kept = agent::load(&state)?;
        if enrol.token.is_some() || enrol.token_file.is_some() {
            tracing::info!(
                "already enrolled as {}: the stored identity wins, the token is not used",
                kept.me.name()
            );
        }
        return Ok((state, kept));
    }
    let given = enrol.token.is_some() || enrol.token_file.is_some();
    let token = if given { read_token(enrol)? } else { None };
    let token = token.ok_or_else(|| Error::NotEnrolled(options.state.clone()))?;
    let kept = redeem(options, &state, token, name.as_ref())?;
    tracing::info!("enrolled as {} in network {}", kept.me.name(), kept.network.name);
    Ok((state, kept))
}

fn redeem(options: &Options, state: &StateDir, token: Token, name: Option<&Name>) -> Result<Kept, Error> {
    let resolver = options.names.resolver()?;
    let runtime = runtime(1)?;
    let kept = runtime.block_on(agent::enrol(state, token, name, options.workers, resolver));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    kept
}

fn described(kept: &Kept) -> serde_json::Value {
    json!({
        "node": kept.me.id,
        "name": kept.me.name(),
        "tags": kept.me.tags(),
        "v4": kept.me.v4,
        "v6": kept.me.v6,
        "network": kept.network.name,
    })
}

fn wanted_name(enrol: &args::Enrol) -> Result<Option<Name>, Error> {
    enrol.name.as_deref().map(|name| Name::parse(name).map_err(|e| Error::Usage(e.to_string()))).transpose()
}

/// Flag, file, standard input, in this order. The text is wiped when the token has been read.
fn read_token(enrol: &args::Enrol) -> Result<Option<Token>, Error> {
    let text = match (&enrol.token, &enrol.token_file) {
        (Some(token), _) => {
            if std::env::args().any(|word| word.starts_with("--token") && !word.starts_with("--token-file")) {
                eprintln!(
                    "warren-node: warning: a token on the command line is seen by everybody who can run `ps`; use --token-file"
                );
            }
            Zeroizing::new(token.clone())
        }
        (None, Some(path)) if path.as_os_str() != "-" => {
            let unreadable = |e: std::io::Error| {
                Error::Usage(format!("the token file {} cannot be read: {e}", path.display()))
            };
            read_all(std::fs::File::open(path).map_err(unreadable)?).map_err(unreadable)?
        }
        (None, given) if given.is_some() || !std::io::stdin().is_terminal() => {
            read_all(std::io::stdin()).map_err(Error::io("read the token from standard input"))?
        }
        _ => return Ok(None),
    };
    match text.trim() {
        "" => Ok(None),
        text => Ok(Some(Token::decode(text)?)),
    }
}

fn read_all(from: impl Read) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    from.take(MAX_TOKEN).read_to_string(&mut text)?;
    Ok(text)
}

fn no_token() -> Error {
    Error::Usage(
        "no enrolment token: give one with --token-file FILE (made by `warren token create`), or on standard input".to_owned(),
    )
}
