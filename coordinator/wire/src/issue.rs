//! The signing side: each statement made in one place, from checked types, so that nobody spells one differently.
//! What comes out of here passes [`crate::trust`] whenever the arguments obey the network's charter.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ed25519_dalek::SigningKey;
use warren_config::item::Root;
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::time::UnixTime;
use zeroize::Zeroizing;

use crate::id::{Digest, Epoch, Generation, IdentityKey, NetworkId, NodeId, Revision, WgKey};
use crate::possession;
use crate::signed::Signed;
use crate::statement;
use crate::trust::{self, Network, POLICY_VERSION, SignedPolicy};

/// Which names a token may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameRule {
    Exactly(Name),
    /// Any free name that begins so.
    Prefix(String),
    AnyFree,
}

/// What whoever holds a token's key may do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub names: NameRule,
    pub tags: BTreeSet<Name>,
    /// From 1.
    pub uses: u32,
    pub created: UnixTime,
    pub not_after: UnixTime,
    /// Seconds that its nodes may be away before they are taken out, `MIN_LEASE` to `MAX_LEASE`; 0: they stay.
    pub lease: u64,
}

/// What a node is from the moment it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub name: Name,
    pub tags: BTreeSet<Name>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Ipv6Addr,
    pub enrolled: UnixTime,
}

/// A WireGuard private key with 64 fresh random bytes for its proof. Wiped when dropped.
pub struct LaneSecret {
    pub private: Zeroizing<[u8; 32]>,
    pub nonce: Zeroizing<[u8; 64]>,
}

/// What the coordinator knows at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub epoch: Epoch,
    pub revision: Revision,
    pub generation: Generation,
    /// `None` while no policy was ever applied.
    pub policy_root: Option<Root>,
    /// [`crate::revocation::Chain::head`].
    pub revocation_head: Digest,
    /// [`crate::roll::Roll::root`].
    pub roll: Digest,
}

fn strings(tags: &BTreeSet<Name>) -> Vec<String> {
    tags.iter().map(Name::to_string).collect()
}

/// Signed by the authority.
pub fn charter(network: &Network, created: UnixTime, authority: &SigningKey) -> Signed {
    let charter = statement::Charter {
        network: network.id.0.to_vec(),
        name: network.name.clone(),
        v4_range: network.v4_range.to_string(),
        v6_prefix: network.v6_prefix.to_string(),
        coordinators: network.coordinators.iter().map(|key| key.0.to_vec()).collect(),
        created: created.0,
        serial: network.serial,
    };
    Signed::seal(&charter, &[authority])
}

/// Signed by the authority; `token` is the public half of the token's key.
pub fn delegation(network: &NetworkId, token: &IdentityKey, terms: &Terms, authority: &SigningKey) -> Signed {
    let (name, name_prefix) = match &terms.names {
        NameRule::Exactly(name) => (name.to_string(), String::new()),
        NameRule::Prefix(prefix) => (String::new(), prefix.clone()),
        NameRule::AnyFree => Default::default(),
    };
    let delegation = statement::Delegation {
        network: network.0.to_vec(),
        token_key: token.0.to_vec(),
        tags: strings(&terms.tags),
        name,
        name_prefix,
        uses: terms.uses,
        not_after: terms.not_after.0,
        created: terms.created.0,
        lease: terms.lease,
    };
    Signed::seal(&delegation, &[authority])
}

/// Signed by the token's key and the new node's identity key.
pub fn admission(network: &NetworkId, place: &Place, token: &SigningKey, identity: &SigningKey) -> Signed {
    let key = IdentityKey::of(identity);
    let admission = statement::Admission {
        network: network.0.to_vec(),
        node: trust::node_id(network, &key).0.to_vec(),
        identity: key.0.to_vec(),
        name: place.name.to_string(),
        tags: strings(&place.tags),
        v4: place.v4.map(|a| a.octets().to_vec()).unwrap_or_default(),
        v6: place.v6.octets().to_vec(),
        enrolled: place.enrolled.0,
    };
    Signed::seal(&admission, &[token, identity])
}

/// Signed by the authority: a device without an agent is in, under the WireGuard key it has.
pub fn external(network: &NetworkId, place: &Place, key: &WgKey, authority: &SigningKey) -> Signed {
    let external = statement::External {
        network: network.0.to_vec(),
        node: trust::external_id(network, key).0.to_vec(),
        key: key.0.to_vec(),
        name: place.name.to_string(),
        tags: strings(&place.tags),
        v4: place.v4.map(|a| a.octets().to_vec()).unwrap_or_default(),
        v6: place.v6.octets().to_vec(),
        enrolled: place.enrolled.0,
    };
    Signed::seal(&external, &[authority])
}

/// The node's WireGuard keys, lane by lane, each proven, signed by its identity key. `serial` is from 1 and grows.
pub fn sign_lane_keys(
    network: &NetworkId,
    identity: &SigningKey,
    serial: u64,
    lanes: &[LaneSecret],
) -> Signed {
    let node = trust::node_id(network, &IdentityKey::of(identity));
    let prove = |lane: &LaneSecret| {
        let key = WgKey::of(&lane.private);
        let message = possession::message(network, &node, serial, &key);
        let possession = possession::sign(&lane.private, &message, &lane.nonce).to_vec();
        statement::LaneKey { key: key.0.to_vec(), possession }
    };
    let keys = statement::NodeKeys {
        network: network.0.to_vec(),
        node: node.0.to_vec(),
        serial,
        lanes: lanes.iter().map(prove).collect(),
    };
    Signed::seal(&keys, &[identity])
}

/// Signed by the authority: from now on the node has this name and these tags. `serial` is from 1 and grows.
pub fn amendment(
    network: &NetworkId,
    node: NodeId,
    serial: u64,
    subject: &Subject,
    authority: &SigningKey,
) -> Signed {
    let amendment = statement::Amendment {
        network: network.0.to_vec(),
        node: node.0.to_vec(),
        serial,
        name: subject.name.to_string(),
        tags: strings(&subject.tags),
    };
    Signed::seal(&amendment, &[authority])
}

/// Signed by the authority: the node is out for ever.
pub fn revocation(
    network: &NetworkId,
    node: NodeId,
    at: UnixTime,
    why: &str,
    authority: &SigningKey,
) -> Signed {
    let revocation = statement::Revocation {
        network: network.0.to_vec(),
        node: node.0.to_vec(),
        at: at.0,
        why: why.to_owned(),
    };
    Signed::seal(&revocation, &[authority])
}

/// Signed by the authority.
pub fn policy_head(
    network: &NetworkId,
    policy: &SignedPolicy,
    signed_at: UnixTime,
    authority: &SigningKey,
) -> Signed {
    let head = statement::PolicyHead {
        network: network.0.to_vec(),
        generation: policy.generation,
        root: policy.root.0.to_vec(),
        items: policy.items,
        signed_at: signed_at.0,
        min_version: POLICY_VERSION,
        epoch: policy.epoch,
    };
    Signed::seal(&head, &[authority])
}

/// Signed by the coordinator's online key, for `life` seconds.
pub fn freshness(
    network: &NetworkId,
    state: &State,
    signed_at: UnixTime,
    life: u64,
    coordinator: &SigningKey,
) -> Signed {
    let freshness = statement::Freshness {
        network: network.0.to_vec(),
        epoch: state.epoch,
        revision: state.revision,
        generation: state.generation,
        policy_root: state.policy_root.map(|root| root.0.to_vec()).unwrap_or_default(),
        revocation_head: state.revocation_head.0.to_vec(),
        roll: state.roll.0.to_vec(),
        signed_at: signed_at.0,
        not_after: signed_at.plus(life).0,
    };
    Signed::seal(&freshness, &[coordinator])
}

/// Signed by the coordinator's online key: `digest` is that of `node`'s whole view at `state.revision`.
pub fn view_head(
    network: &NetworkId,
    node: NodeId,
    state: &State,
    digest: &Digest,
    coordinator: &SigningKey,
) -> Signed {
    let head = statement::ViewHead {
        network: network.0.to_vec(),
        node: node.0.to_vec(),
        epoch: state.epoch,
        revision: state.revision,
        generation: state.generation,
        digest: digest.0.to_vec(),
    };
    Signed::seal(&head, &[coordinator])
}
