//! New WireGuard keys: all of them when the wall clock is behind the greatest handshake stamp used, and some more when the
//! node has more packet workers than it has keys for.
//!
//! A peer refuses a handshake whose TAI64N stamp is not greater than the last one it saw from that key (WireGuard
//! paper, section 5.1). After a clock that went back this node would be locked out until the old time comes again; a
//! new key has no history.
//!
//! An external device has a file with one key of this node in it, and nobody who tells it of another: that key is kept
//! for it until a new file names a newer one.

use prost::Message;
use warren_node_core::clock::Mono;
use warren_node_core::control::{Control, keys};
use warren_node_core::session::LaneSecret;
use warren_node_core::session::boring::BoringEngine;

use super::membership::lane_secrets;
use crate::error::Error;
use crate::state::{StateDir, WgKeys, lanes_for};

/// The engine of these keys.
pub fn engine(keys: &WgKeys) -> BoringEngine {
    BoringEngine::new(keys.lanes.iter().chain(&keys.kept).map(|key| LaneSecret::new(**key)))
}

/// Other keys with the next serial, as many as there were or as `workers` need: on disk, then announced.
pub fn rotate(
    state: &StateDir,
    control: &mut Control,
    identity: &ed25519_dalek::SigningKey,
    network: &warren_wire::id::NetworkId,
    old: &WgKeys,
    workers: usize,
    now: Mono,
) -> Result<WgKeys, Error> {
    let lanes = lanes_for(workers).max(old.lanes.len());
    let mut new = WgKeys::generate(next_serial(control, old), lanes).map_err(Error::Random)?;
    new.keep_filed(old, control.filed_keys().as_ref());
    state.store_wg_keys(&new)?;
    announce(state, control, identity, network, &new, now)?;
    tracing::warn!(
        serial = new.serial,
        "new WireGuard keys, because the host's clock is behind a time it has shown before"
    );
    Ok(new)
}

/// What no file names any more is forgotten: the keys without it, or `None` if all are named.
pub fn forget_unfiled(control: &Control, keys: &WgKeys) -> Option<WgKeys> {
    if keys.kept.is_empty() {
        return None;
    }
    let filed = control.filed_keys()?;
    let mut fewer = keys.clone();
    fewer.keep_filed(&WgKeys { lanes: Vec::new(), ..keys.clone() }, Some(&filed));
    (fewer.kept.len() < keys.kept.len()).then_some(fewer)
}

/// The keys there are, and more if `workers` need more: then on disk, and announced.
pub fn widen(
    state: &StateDir,
    control: &mut Control,
    identity: &ed25519_dalek::SigningKey,
    network: &warren_wire::id::NetworkId,
    old: &WgKeys,
    workers: usize,
    now: Mono,
) -> Result<WgKeys, Error> {
    let Some(new) = old.widened(next_serial(control, old), lanes_for(workers)).map_err(Error::Random)? else {
        return Ok(old.clone());
    };
    state.store_wg_keys(&new)?;
    announce(state, control, identity, network, &new, now)?;
    tracing::info!(
        serial = new.serial,
        keys = new.lanes.len(),
        "more WireGuard keys, for more packet workers"
    );
    Ok(new)
}

fn next_serial(control: &Control, old: &WgKeys) -> u64 {
    control.next_key_serial().max(old.serial.saturating_add(1))
}

/// Signs `keys` and gives them to the control half. Also after a crash between the two writes of a rotation.
pub fn announce(
    state: &StateDir,
    control: &mut Control,
    identity: &ed25519_dalek::SigningKey,
    network: &warren_wire::id::NetworkId,
    keys: &WgKeys,
    now: Mono,
) -> Result<(), Error> {
    let id = control.id();
    let signed = keys::sign(network, &id, keys.serial, identity, &lane_secrets(keys)?);
    control.handle_new_keys(signed, now)?;
    state.store_record(&control.record().encode_to_vec())?;
    Ok(())
}
