//! Becoming a member, and reading back what a member keeps.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use prost::Message;
use warren_node_core::control::enrolment::{Secrets, Wish};
use warren_node_core::control::keys::LaneSecret;
use warren_node_core::door::Transport;
use warren_node_core::host::{InterfaceName, Plan};
use warren_wire::signed::Signed;
use warren_wire::token::Token;
use warren_wire::trust::{Member, Network, Record};

use super::AGENT;
use crate::error::Error;
use crate::link;
use crate::resolver::Resolver;
use crate::state::{StateDir, StoredTrust, WgKeys, identity_from_seed, lanes_for, new_seed};

/// What a member keeps, checked against its roots.
pub struct Kept {
    pub identity: SigningKey,
    pub keys: WgKeys,
    pub trust: StoredTrust,
    pub charter: Signed,
    pub record: Record,
    pub network: Network,
    pub me: Member,
    /// How the coordinator was reached, if this node has just been enrolled.
    pub came_by: Option<Transport>,
}

/// Reads and checks everything. Whatever is missing or does not hold is an error, never "not enrolled".
pub fn load(state: &StateDir) -> Result<Kept, Error> {
    let missing = |name: &str| Error::Incomplete { path: state.path().join(name) };
    let identity = state.identity()?.ok_or_else(|| missing("identity.key"))?;
    let keys = state.wg_keys()?.ok_or_else(|| missing("wg.keys"))?;
    let trust = state.trust()?.ok_or_else(|| missing("trust.json"))?;
    let charter = state.charter()?.ok_or_else(|| missing("charter"))?;
    let charter = Signed::decode(charter.as_slice()).map_err(|_| missing("charter"))?;
    let record = state.record()?.ok_or_else(|| missing("record"))?;
    let record = Record::decode(record.as_slice()).map_err(|_| missing("record"))?;
    let network = trust.trust().network(&charter)?;
    let me = trust.trust().member(&network, &record)?;
    Ok(Kept {
        identity: identity_from_seed(&identity),
        keys,
        trust,
        charter,
        record,
        network,
        me,
        came_by: None,
    })
}

/// What the machine must have for this member.
pub fn members_plan(kept: &Kept, interface: &str, mtu: u16) -> Result<Plan, Error> {
    Ok(Plan::new(InterfaceName::parse(interface)?, mtu, &kept.network, &kept.me))
}

/// Private keys for [`warren_node_core::control::keys::sign`], each with fresh randomness for its proof.
pub fn lane_secrets(keys: &WgKeys) -> Result<Vec<LaneSecret>, Error> {
    let secret = |private: &zeroize::Zeroizing<[u8; 32]>| {
        let mut nonce = [0; 64];
        getrandom::fill(&mut nonce).map_err(Error::Random)?;
        Ok(LaneSecret { private: private.clone(), nonce })
    };
    keys.lanes.iter().map(secret).collect()
}

/// Redeems a token. Keys go to disk first, the record last: a crash in between leaves a host that can try again with
/// the same identity, and is no member until it has its record. It makes keys for so many packet workers.
pub async fn enrol(
    state: &StateDir,
    token: &Token,
    name: &Wish,
    workers: usize,
    resolver: Arc<Resolver>,
) -> Result<Kept, Error> {
    let secrets = secrets(state, workers)?;
    let (membership, came_by) = link::enrol(token, name, AGENT, &secrets, resolver).await?;
    state.store_trust(&StoredTrust {
        network: membership.trust.network,
        authorities: membership.trust.authorities.clone(),
        coordinators: membership.coordinators.clone(),
        coordinator_keys: vec![membership.coordinator_key],
    })?;
    state.store_charter(&membership.charter.encode_to_vec())?;
    state.store_record(&membership.record.encode_to_vec())?;
    Ok(Kept { came_by: Some(came_by), ..load(state)? })
}

/// The identity and keys of a try before, or new ones.
fn secrets(state: &StateDir, workers: usize) -> Result<Secrets, Error> {
    let seed = match state.identity()? {
        Some(seed) => seed,
        None => {
            let seed = new_seed().map_err(Error::Random)?;
            state.store_identity(&seed)?;
            seed
        }
    };
    let keys = match state.wg_keys()? {
        Some(keys) => keys,
        None => {
            let keys = WgKeys::generate(1, lanes_for(workers)).map_err(Error::Random)?;
            state.store_wg_keys(&keys)?;
            keys
        }
    };
    Ok(Secrets { identity: identity_from_seed(&seed), lanes: lane_secrets(&keys)? })
}
