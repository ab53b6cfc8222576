//! `warren init`: a new network. Everything or nothing: what a failed `init` made, it takes away again.

use std::net::Ipv6Addr;
use std::path::Path;

use ed25519_dalek::SigningKey;
use ipnet::Ipv6Net;
use serde_json::json;
use warren_coordinator_core::change::Principal;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::state::State;
use warren_coordinator_core::store::Store;
use warren_wire::id::{IdentityKey, NetworkId};
use warren_wire::issue;
use warren_wire::trust::Network;

use super::args::InitArgs;
use super::{Failure, Outcome, local_user, output};
use crate::account::{Accounts, User};
use crate::api::web::WebSettings;
use crate::authority::Authority;
use crate::clock;
use crate::door::DoorSettings;
use crate::relay::RelaySettings;
use crate::state_dir::{FORMAT, HistorySettings, MapSettings, Settings, StateDir};
use crate::store::log::LogStore;

pub fn run(args: &InitArgs, json: bool) -> Outcome {
    let owner = args.service_user.as_deref().map(find_user).transpose()?;
    let state = StateDir::at(&args.state.state);
    state.check_new().map_err(|e| Failure::of_finding(&e))?;
    let file = &args.authority.authority;
    if file.symlink_metadata().is_ok() {
        return Err(Failure::finding(format!(
            "{} exists already and is never overwritten: nothing was changed; name another file with `--authority FILE`, or use the network it belongs to",
            file.display()
        )));
    }
    let made = state.make_empty().map_err(|e| Failure::of_finding(&e))?;
    let (network, authority) = found(args, &state)?;
    authority
        .create(file)
        .map_err(|e| Failure::usage(format!("the authority file cannot be written: {e}")))?;
    if let Err(error) = finish(args, &state, owner) {
        let _ = std::fs::remove_file(file);
        return Err(error);
    }
    made.keep();
    show(args, &network, &authority, json);
    Ok(())
}

/// Keys, charter and the log's first entry.
fn found(args: &InitArgs, state: &StateDir) -> Result<(Network, Authority), Failure> {
    let no_random = |e: clock::NoRandom| Failure::of_finding(&e);
    let id = NetworkId(*clock::secret::<16>().map_err(no_random)?);
    let authority = Authority::new(id, &*clock::secret::<32>().map_err(no_random)?);
    let online = clock::secret::<32>().map_err(no_random)?;
    let network = Network {
        id,
        name: args.name.to_string(),
        v4_range: args.v4_range,
        v6_prefix: ula(&*clock::secret::<5>().map_err(no_random)?),
        coordinators: vec![IdentityKey::of(&SigningKey::from_bytes(&online))],
        serial: 1,
    };
    let now = clock::now();
    let command = Command::FoundNetwork {
        charter: issue::charter(&network, now, authority.key()),
        authorities: vec![authority.public()],
        freshness: args.freshness.0,
    };
    let proposal = State::default().propose(command, Principal::Local(local_user()), now);
    let proposal = proposal.map_err(|r| Failure::usage(format!("{r}. {}", r.hint())))?;
    let mut store = LogStore::create(&state.log()).map_err(|e| Failure::of_finding(&e))?;
    store.commit(proposal.entry()).map_err(|e| Failure::of_finding(&e))?;
    state.write_online_key(&online).map_err(|e| Failure::of_finding(&e))?;
    Ok((network, authority))
}

/// A random ULA /48 (RFC 4193 section 3.2.2: 40 random bits after `fd`).
fn ula(random: &[u8; 5]) -> Ipv6Net {
    let bits = random.iter().fold(0xfd_u128, |bits, byte| bits << 8 | u128::from(*byte)) << 80;
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 48)
}

fn finish(args: &InitArgs, state: &StateDir, owner: Option<User>) -> Outcome {
    let settings = Settings {
        format: FORMAT,
        listen: args.listen,
        advertise: match args.advertise.is_empty()
            && !args.listen.ip().is_unspecified()
            && args.listen.port() != 0
        {
            true => vec![args.listen.to_string()],
            false => args.advertise.clone(),
        },
        group: args.group.clone(),
        api: WebSettings { listen: args.api.0, ..WebSettings::default() },
        otlp: None,
        history: HistorySettings::default(),
        map: MapSettings::default(),
        relay: RelaySettings::default(),
        doors: DoorSettings::default(),
    };
    state.write_settings(&settings).map_err(|e| Failure::of_finding(&e))?;
    owner.map_or(Ok(()), |user| give(state.path(), user))
}

pub fn find_user(name: &str) -> Result<User, Failure> {
    Accounts::of_host().user(name).ok_or_else(|| {
        Failure::usage(format!(
            "there is no user `{}` on this host: create it first (`useradd --system`)",
            crate::text::plain(name, 64)
        ))
    })
}

/// Gives the directory and what is in it to the service's user.
pub fn give(dir: &Path, user: User) -> Outcome {
    let chown = |path: &Path| std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid));
    let all = std::fs::read_dir(dir).and_then(|mut entries| {
        entries.try_for_each(|entry| chown(&entry?.path()))?;
        chown(dir)
    });
    all.map_err(|e| {
        Failure::finding(format!("{} cannot be given to the service's user: {e}; run as root", dir.display()))
    })
}

fn show(args: &InitArgs, network: &Network, authority: &Authority, json: bool) {
    let (state, file) = (&args.state.state, &args.authority.authority);
    if json {
        return output::json(&json!({
            "network": network.id, "name": network.name, "authority": authority.public(), "authority_file": file,
            "coordinator": network.coordinators.first(), "state": state,
            "v4_range": network.v4_range, "v6_prefix": network.v6_prefix, "freshness": args.freshness.0,
        }));
    }
    output::pairs(&[
        ("network", format!("{} ({})", network.name, network.id)),
        ("authority", format!("{} in {}", authority.public(), file.display())),
        ("coordinator", network.coordinators.first().map(ToString::to_string).unwrap_or_default()),
        ("addresses", format!("{} and {}", network.v4_range, network.v6_prefix)),
        ("freshness", args.freshness.to_string()),
        ("state", state.display().to_string()),
    ]);
    output::line(&format!(
        "\nThe authority file decides who may join: keep it safe, and a copy elsewhere. The service never needs it.\nNext: warren serve --state {}",
        state.display()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ula_prefix_is_fd_and_forty_random_bits() {
        assert_eq!(ula(&[0x12, 0x34, 0x56, 0x78, 0x9a]).to_string(), "fd12:3456:789a::/48");
    }
}
