//! `warren backup` and `warren restore`.

use std::path::Path;

use ed25519_dalek::SigningKey;
use serde_json::json;
use warren_config::item::ItemTree;
use warren_config::resolve::Source;
use warren_config::time::UnixTime;
use warren_coordinator_core::Coordinator;
use warren_coordinator_core::change::Principal;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::store::Store;
use warren_wire::id::{Epoch, Generation};
use warren_wire::issue;
use warren_wire::trust::SignedPolicy;

use super::args::RestoreArgs;
use super::{Context, Failure, Outcome, init, local_user, output, vouch};
use crate::authority::Authority;
use crate::network::NetworkInfo;
use crate::state_dir::{Settings, StateDir};
use crate::store::backup::{self, Kept};
use crate::store::log::LogStore;
use crate::{clock, files, serve, tls};

pub async fn backup(context: &Context, file: &Path) -> Outcome {
    let mut sink =
        files::open_new(file).map_err(|e| Failure::usage(format!("the backup cannot be written: {e}")))?;
    let bytes = match download(context, &mut sink, file).await {
        Ok(bytes) => bytes,
        Err(failure) => {
            let _ = std::fs::remove_file(file);
            return Err(failure);
        }
    };
    match context.json {
        true => output::json(&json!({ "file": file, "bytes": bytes })),
        false => output::line(&format!(
            "{} written ({}); it holds the coordinator's online key: keep it secret, and beside it a copy of the authority file",
            file.display(),
            output::bytes(bytes)
        )),
    }
    Ok(())
}

async fn download(context: &Context, sink: &mut std::fs::File, file: &Path) -> Result<u64, Failure> {
    let bytes = context.client.download("/v1/backup", sink).await?;
    let durable = sink.sync_all().and_then(|()| files::sync_parent(file));
    durable.map_err(|e| Failure::finding(format!("{} cannot be written: {e}", file.display())))?;
    // A backup that cannot be read back is none.
    backup::read_kept(file).map_err(|e| Failure::of_finding(&e))?;
    Ok(bytes)
}

pub fn restore(args: &RestoreArgs, json: bool) -> Outcome {
    let owner = args.service_user.as_deref().map(init::find_user).transpose()?;
    let authority = Authority::read(&args.authority.authority)?;
    let kept = backup::read_kept(&args.file)
        .map_err(|e| Failure::usage(format!("the backup cannot be used: {e}")))?;
    let settings: Settings = serde_json::from_slice(&kept.settings)
        .map_err(|e| Failure::usage(format!("the backup's settings cannot be read: {e}")))?;
    let state = StateDir::at(&args.state.state);
    let made = state.make_empty().map_err(|e| Failure::of_finding(&e))?;
    let mut store = backup::restore_log(&args.file, &state.log()).map_err(|e| Failure::of_finding(&e))?;
    let restored = new_epoch(args, &authority, &kept, &mut store)?;
    drop(store);
    state.write_online_key(&kept.online_seed).map_err(|e| Failure::of_finding(&e))?;
    state.write_settings(&settings).map_err(|e| Failure::of_finding(&e))?;
    if let Some(user) = owner {
        init::give(state.path(), user)?;
    }
    made.keep();
    show(args, &restored, json);
    Ok(())
}

struct Restored {
    network: NetworkInfo,
    taken: UnixTime,
    epoch: Epoch,
    generation: Generation,
}

/// Nodes refuse everything older than what they have seen: the epoch grows, and the policy is signed again in it.
fn new_epoch(
    args: &RestoreArgs,
    authority: &Authority,
    kept: &Kept,
    store: &mut LogStore,
) -> Result<Restored, Failure> {
    let (state, founding) = serve::replay(store).map_err(|e| Failure::of_finding(&e))?;
    let info = founding.and_then(|f| f.info(tls::public_of(&kept.online_seed), Vec::new(), String::new()));
    let network =
        info.ok_or_else(|| Failure::usage("the backup does not begin with the founding of a network"))?;
    authority.check(&args.authority.authority, network.network, &network.authorities)?;
    let now = clock::now();
    let key = SigningKey::from_bytes(&kept.online_seed);
    let mut coordinator = Coordinator::new(state, key, now).map_err(|e| Failure::of_finding(&e))?;
    let taken = UnixTime(kept.taken);
    let why = format!("restored from a backup of {taken}");
    carry_out(&mut coordinator, store, Command::RaiseEpoch { why })?;
    let status = coordinator.status(now);
    if status.generation > 0 {
        let command = same_policy(&coordinator, &network, authority, status.epoch, status.generation)?;
        carry_out(&mut coordinator, store, command)?;
    }
    let status = coordinator.status(now);
    Ok(Restored { network, taken, epoch: status.epoch, generation: status.generation })
}

fn carry_out(coordinator: &mut Coordinator, store: &mut dyn Store, command: Command) -> Outcome {
    let now = clock::now();
    let proposal = coordinator
        .handle_command(command, Principal::Local(local_user()), now)
        .map_err(|r| Failure::finding(format!("{r}. {}", r.hint())))?;
    coordinator.commit(store, proposal, now).map_err(|e| Failure::of_finding(&e))?;
    while coordinator.poll_output().is_some() {}
    Ok(())
}

/// The policy in force, as the next generation of the new epoch.
fn same_policy(
    coordinator: &Coordinator,
    network: &NetworkInfo,
    authority: &Authority,
    epoch: Epoch,
    generation: Generation,
) -> Result<Command, Failure> {
    let text = coordinator.policy_at(None).map_err(|r| Failure::of_finding(&r))?;
    // The file may have been made by whoever held the old coordinator.
    vouch::policy(authority, &text, Some(generation))?;
    let sources: Vec<Source> = text.sources.iter().map(Source::from).collect();
    let resolved = warren_config::resolve::resolve(&sources).map_err(|_| {
        Failure::finding(
            "the policy in the backup cannot be read by this version: restore with the version that made it",
        )
    })?;
    let tree = ItemTree::new(&resolved.policy);
    let policy = SignedPolicy { epoch, generation: generation + 1, root: tree.root(), items: tree.len() };
    let head = issue::policy_head(&network.network, &policy, clock::now(), authority.key());
    Ok(Command::ApplyPolicy { sources: text.sources, head, expect: Some(generation), allow_observe: true })
}

fn show(args: &RestoreArgs, restored: &Restored, json: bool) {
    let state = args.state.state.display();
    if json {
        return output::json(&json!({
            "network": restored.network.network, "name": restored.network.name, "state": args.state.state,
            "taken": restored.taken, "epoch": restored.epoch, "generation": restored.generation,
        }));
    }
    output::line(&format!(
        "network {} restored from the backup of {} into {state}: epoch {}, policy generation {}",
        restored.network.name, restored.taken, restored.epoch, restored.generation
    ));
    output::line(
        "What was changed after that backup is not in it: revoke again what was revoked since, and enrol again what was enrolled since.",
    );
    output::line(&format!(
        "Tokens made before are void. Make sure the old coordinator is off, then: warren serve --state {state}"
    ));
}
