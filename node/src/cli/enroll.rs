//! `enroll`, and the first half of `up`.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use warren_config::name::Name;
use warren_node_core::control::enrolment::{EnrolError, Wish};
use warren_node_core::host::{DEFAULT_MTU, Step};
use warren_wire::frame::RefusalCode;
use warren_wire::token::Token;
use zeroize::Zeroizing;

use super::file::{Settings, warn_if_open};
use super::patience::{Outlook, Patience, outlook};
use super::{Said, args, runtime};
use crate::agent::{self, Kept, Options};
use crate::error::Error;
use crate::host::Host;
use crate::link::EnrolFailure;
use crate::state::StateDir;

/// A token has a few hundred characters.
const MAX_TOKEN: u64 = 64 * 1024;
/// Where `up` looks for a token that is named nowhere.
const USUAL_TOKEN: &str = "/etc/warren/token";
/// The name the kernel has for this host.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// How often an unattended host that was refused looks whether it has another token.
const LOOK: Duration = Duration::from_secs(5);

pub fn command(options: &Options, enrol: &args::Enrol, settings: &Settings) -> Result<Said, Error> {
    let wish = wish(enrol)?;
    // Bad input is found before anything is touched.
    let token = read_token(enrol, settings)?.ok_or_else(no_token)?;
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
    let kept = redeem(options, &state, &token, &wish)?;
    drop_token(enrol);
    let text = format!(
        "enrolled as {} in network {}; start the agent with `warren-node run`",
        kept.me.name(),
        kept.network.name
    );
    Ok(Said::ok(described(&kept), text))
}

/// The member of this state directory: the stored one, whatever token is given; else enrolled now.
pub fn member(
    options: &Options,
    enrol: &args::Enrol,
    settings: &Settings,
) -> Result<(StateDir, Kept), Error> {
    let wish = wish(enrol)?;
    let state = StateDir::open(&options.state)?;
    if state.is_enrolled()? {
        let kept = agent::load(&state)?;
        if is_named(enrol, settings) {
            tracing::info!(
                "already enrolled as {}: the stored identity wins, the token is not used",
                kept.me.name()
            );
        }
        return Ok((state, kept));
    }
    let kept = admitted(options, enrol, settings, &state, &wish)?;
    tracing::info!("enrolled as {} in network {}", kept.me.name(), kept.network.name);
    drop_token(enrol);
    Ok((state, kept))
}

/// Once, or until it works.
fn admitted(
    options: &Options,
    enrol: &args::Enrol,
    settings: &Settings,
    state: &StateDir,
    wish: &Wish,
) -> Result<Kept, Error> {
    if enrol.unattended && is_input(enrol) {
        return Err(Error::Usage(
            "--unattended reads the token more than once: give it in a file".to_owned(),
        ));
    }
    let mut patience = Patience::default();
    loop {
        let token = usual_token(enrol, settings)
            .and_then(|token| token.ok_or_else(|| Error::NotEnrolled(options.state.clone())));
        let shown = token.as_ref().ok().map(Token::key);
        let error = match token.and_then(|token| redeem(options, state, &token, wish)) {
            Ok(kept) => return Ok(kept),
            Err(error) => error,
        };
        let outlook = outlook(&error);
        if !enrol.unattended || outlook == Outlook::Hopeless {
            return Err(error);
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(Error::Random)?;
        let wait = patience.after(outlook, u64::from_le_bytes(random));
        tracing::warn!("not enrolled: {error}; tried again in {} s", wait.as_secs().max(1));
        let begun = Instant::now();
        while begun.elapsed() < wait {
            std::thread::sleep(LOOK.min(wait.saturating_sub(begun.elapsed())));
            // Somebody has put another token there.
            let now = usual_token(enrol, settings).ok().flatten().map(|token| token.key());
            if now.is_some() && now != shown {
                patience = Patience::default();
                break;
            }
        }
    }
}

/// The lease of the stored identity has ended: it is forgotten, and its interface taken away. The guards stay: nothing for the
/// overlay leaves in clear until the next start has enrolled.
pub fn begin_anew(options: &Options) -> Result<(), Error> {
    let state = StateDir::open(&options.state)?;
    let plan = agent::members_plan(&agent::load(&state)?, &options.interface, DEFAULT_MTU)?;
    let interface: Vec<_> =
        plan.down().into_iter().filter(|planned| matches!(planned.step, Step::DeleteTun { .. })).collect();
    runtime(1)?.block_on(async { Ok::<_, Error>(Host::open(1)?.carry_out_all(&interface).await) })?;
    Ok(state.forget()?)
}

/// Is there a token with which this host could come in anew?
pub fn has_token(enrol: &args::Enrol, settings: &Settings) -> bool {
    !is_input(enrol) && usual_token(enrol, settings).is_ok_and(|token| token.is_some())
}

/// An identity that is left of a try before may be out by now: then another is made, once.
fn redeem(options: &Options, state: &StateDir, token: &Token, wish: &Wish) -> Result<Kept, Error> {
    match redeem_once(options, state, token, wish) {
        Err(Error::Enrol(EnrolFailure::Refused(EnrolError::Refused {
            code: RefusalCode::LeaseEnded,
            ..
        }))) => {
            state.forget()?;
            redeem_once(options, state, token, wish)
        }
        other => other,
    }
}

fn redeem_once(options: &Options, state: &StateDir, token: &Token, wish: &Wish) -> Result<Kept, Error> {
    let resolver = options.names.resolver()?;
    let runtime = runtime(1)?;
    let kept = runtime.block_on(agent::enrol(state, token, wish, options.workers, resolver));
    runtime.shutdown_timeout(Duration::from_secs(1));
    kept
}

/// Only after the record is on the disk.
fn drop_token(enrol: &args::Enrol) {
    let remove = enrol.remove_token && !is_input(enrol);
    let Some(path) = enrol.token_file.as_deref().filter(|_| remove) else { return };
    match std::fs::remove_file(path) {
        Ok(()) => tracing::info!("the token file {} is removed", path.display()),
        Err(e) => tracing::warn!("the token file {} cannot be removed: {e}", path.display()),
    }
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

fn wish(enrol: &args::Enrol) -> Result<Wish, Error> {
    match &enrol.name {
        Some(name) => Name::parse(name).map(Wish::Exactly).map_err(|e| Error::Usage(e.to_string())),
        None if enrol.hostname => {
            let host = std::fs::read_to_string(HOSTNAME).unwrap_or_default();
            Ok(liked(&host).map_or(Wish::Any, Wish::Like))
        }
        None => Ok(Wish::Any),
    }
}

/// The first label of a host's name as a node's name: `Web_1.example.com` is `web-1`.
fn liked(host: &str) -> Option<Name> {
    let label = host.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    let plain: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    Name::parse(plain.trim_matches('-')).ok()
}

fn is_input(enrol: &args::Enrol) -> bool {
    enrol.token_file.as_deref() == Some(Path::new("-"))
}

fn is_named(enrol: &args::Enrol, settings: &Settings) -> bool {
    enrol.token.is_some() || enrol.token_file.is_some() || settings.token.is_some()
}

/// As [`read_token`]; one that is named nowhere is looked for at the usual place, not on standard input.
fn usual_token(enrol: &args::Enrol, settings: &Settings) -> Result<Option<Token>, Error> {
    let usual = Path::new(USUAL_TOKEN);
    match is_named(enrol, settings) {
        true => read_token(enrol, settings),
        false if usual.exists() => decode(&read_file(usual)?),
        false => Ok(None),
    }
}

/// Flag or environment, token file, settings file, standard input, in this order. The text is wiped when the token has been read.
fn read_token(enrol: &args::Enrol, settings: &Settings) -> Result<Option<Token>, Error> {
    let text = match (&enrol.token, &enrol.token_file) {
        (Some(token), _) => {
            if std::env::args().any(|word| word.starts_with("--token") && !word.starts_with("--token-file")) {
                eprintln!(
                    "warren-node: warning: a token on the command line is seen by everybody who can run `ps`; use --token-file"
                );
            }
            Zeroizing::new(token.clone())
        }
        (None, Some(path)) if path.as_os_str() != "-" => read_file(path)?,
        (None, None) if settings.token.is_some() => settings.token.clone().unwrap_or_default(),
        (None, given) if given.is_some() || !std::io::stdin().is_terminal() => {
            read_all(std::io::stdin()).map_err(Error::io("read the token from standard input"))?
        }
        _ => return Ok(None),
    };
    decode(&text)
}

fn decode(text: &str) -> Result<Option<Token>, Error> {
    match text.trim() {
        "" => Ok(None),
        text => Ok(Some(Token::decode(text)?)),
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, Error> {
    let unreadable =
        |e: std::io::Error| Error::Usage(format!("the token file {} cannot be read: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    warn_if_open(path, &file);
    read_all(file).map_err(unreadable)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_name_becomes_a_nodes_name() {
        let name = |host| liked(host).map(|name| name.to_string());
        assert_eq!(name("Web_1.example.com\n").as_deref(), Some("web-1"));
        assert_eq!(name("ip-10-0-0-7").as_deref(), Some("ip-10-0-0-7"));
        assert_eq!(name("-._"), None);
        assert_eq!(name(""), None);
    }
}
