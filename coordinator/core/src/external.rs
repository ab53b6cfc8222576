//! Devices without an agent, and the `wg-quick` files they were given.
//!
//! Such a device cannot be told of anything: what its file says stays true only as long as everybody keeps to it. So the
//! coordinator remembers what each file names. A node keeps the WireGuard key that a file names until a new file is issued
//! ([`warren_wire::view::FiledKey`]), and a file that no longer says what is true is called stale.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::id::{NodeId, WgKey};
use warren_wire::signed::Signed;
use warren_wire::trust::{Member, Network, Record, external_id};

use crate::addresses::Leased;
use crate::change::Change;
use crate::decide::{check_keys_free, check_name_free, check_wearable, live, parse_name};
use crate::directory::MAX_NODES;
use crate::endpoints;
use crate::refusal::Refusal;
use crate::state::State;

/// A device must take its time of admission from the coordinator's clock; so far it may be off.
const MAX_SKEW: u64 = 600;
/// Peers of one file: a device's own tables are small, and a file is read by people.
pub const MAX_FILE_PEERS: usize = 1024;

/// What is known of a device beyond its record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// Where nodes may begin a handshake; without it the device must begin.
    pub endpoint: Option<SocketAddr>,
    pub file: Option<IssuedFile>,
}

/// The newest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedFile {
    pub at: UnixTime,
    pub peers: Vec<FilePeer>,
}

/// One `[Peer]` of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FilePeer {
    pub node: NodeId,
    /// The node's WireGuard key, that of its first lane.
    pub key: WgKey,
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub endpoint: Option<SocketAddr>,
}

/// What a file would have to say now, with every place its nodes may be reached at, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPeer {
    pub node: NodeId,
    pub name: String,
    pub key: WgKey,
    pub endpoints: Vec<SocketAddr>,
}

/// `status`: a file that no longer says what is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StaleFile {
    pub node: NodeId,
    pub name: String,
    /// `None`: no file was ever issued.
    pub issued: Option<UnixTime>,
    /// One sentence each.
    pub why: Vec<String>,
}

/// `node show` of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExternalRow {
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub endpoint: Option<SocketAddr>,
    pub issued: Option<UnixTime>,
    pub peers: Vec<FilePeer>,
    pub stale: Vec<String>,
}

/// What a new device would get; nothing is promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExternalOffer {
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub v4: Option<Ipv4Addr>,
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub v6: Ipv6Addr,
}

/// Records for a file, for one who checks them before he believes them.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDraft {
    pub record: Record,
    pub endpoint: Option<SocketAddr>,
    pub peers: Vec<(Record, Option<SocketAddr>)>,
}

/// Addresses for the device with this key.
pub(crate) fn offer(
    state: &State,
    leased: &Leased,
    key: &WgKey,
    name: &str,
    now: UnixTime,
) -> Result<ExternalOffer, Refusal> {
    let network = &state.founded()?.network;
    if let Some(owner) = state.directory().key_owner(key) {
        return Err(Refusal::KeyTaken { key: *key, owner });
    }
    let node = external_id(&network.id, key);
    check_name_free(state, &parse_name(name)?, None)?;
    let v4 = state.addresses().next_v4(network, leased, now);
    let v6 = state.addresses().next_v6(network, &node, leased, now).ok_or(Refusal::AddressesUsedUp)?;
    Ok(ExternalOffer { v4, v6 })
}

pub(crate) fn add(
    state: &State,
    external: Signed,
    endpoint: Option<SocketAddr>,
    now: UnixTime,
) -> Result<Vec<Change>, Refusal> {
    let what = "admission of an external device";
    let founded = state.founded()?;
    let record = Record { external: Some(external), ..Record::default() };
    let member = founded.member(&record).map_err(|why| Refusal::BadStatement { what, why })?;
    if member.enrolled.since(now).max(now.since(member.enrolled)) > MAX_SKEW {
        let why = format!("it says {}, it is {now} here", member.enrolled);
        return Err(Refusal::Malformed { what, why });
    }
    check_keys_free(state, &member)?;
    if state.directory().get(&member.id).is_some() {
        return Err(Refusal::KeyTaken { key: first_key(&member)?, owner: member.id });
    }
    if let Some(address) = member.addresses().find(|a| !state.addresses().is_free(*a, now)) {
        return Err(Refusal::AddressTaken { address });
    }
    check_name_free(state, member.name(), None)?;
    check_wearable(state, member.tags(), member.name().as_str(), now)?;
    check_endpoint(&founded.network, endpoint)?;
    if state.directory().len() >= MAX_NODES {
        return Err(Refusal::TooMany { what: "nodes", limit: MAX_NODES });
    }
    let (node, name) = (member.id, member.name().to_string());
    Ok(vec![Change::ExternalAdmitted { node, name, record, endpoint }])
}

/// A new file: what it names must be what is true now.
pub(crate) fn issue(
    state: &State,
    id: NodeId,
    endpoint: Option<SocketAddr>,
    peers: Vec<FilePeer>,
) -> Result<Vec<Change>, Refusal> {
    let node = live(state, &id)?;
    let device = node.device.as_ref().ok_or(Refusal::NotExternal { node: id })?;
    check_endpoint(&state.founded()?.network, endpoint)?;
    if peers.len() > MAX_FILE_PEERS {
        return Err(Refusal::TooMany { what: "peers of one file", limit: MAX_FILE_PEERS });
    }
    let mut seen = BTreeSet::new();
    for peer in &peers {
        let named = state.directory().live(&peer.node).filter(|named| !named.member.is_external());
        let named = named.ok_or_else(|| Refusal::NodeUnknown(peer.node.to_string()))?;
        let joined = state.joins(node.subject(), named.subject());
        if !joined || first_key(&named.member)? != peer.key || !seen.insert(peer.node) {
            return Err(Refusal::FileMoved { node: id });
        }
    }
    let old = device.file.iter().flat_map(|file| &file.peers).map(|peer| peer.node);
    let before: Vec<NodeId> = old.filter(|node| !seen.contains(node)).collect();
    let name = node.member.name().to_string();
    Ok(vec![Change::FileIssued { node: id, name, endpoint, peers, before }])
}

fn check_endpoint(network: &Network, endpoint: Option<SocketAddr>) -> Result<(), Refusal> {
    match endpoint.filter(|endpoint| !endpoints::is_usable(network, endpoints::plain(*endpoint))) {
        None => Ok(()),
        Some(endpoint) => {
            let why = format!("{endpoint} is inside the overlay, or no place that other hosts can send to");
            Err(Refusal::Malformed { what: "endpoint", why })
        }
    }
}

pub(crate) fn first_key(member: &Member) -> Result<WgKey, Refusal> {
    member.lanes.first().copied().ok_or(Refusal::Protocol("a node without a WireGuard key"))
}

/// What is no longer true of a file, one sentence each. A place that nobody knows at the moment (the coordinator has just
/// started) proves nothing against a file.
pub fn stale(
    file: Option<&IssuedFile>,
    wanted: &[WantedPeer],
    name: impl Fn(&NodeId) -> String,
) -> Vec<String> {
    let Some(file) = file else { return vec!["no file was issued".to_owned()] };
    let gone = file.peers.iter().filter(|peer| wanted.iter().all(|w| w.node != peer.node));
    let mut why: Vec<String> =
        gone.map(|peer| format!("{} is no peer of it any more", name(&peer.node))).collect();
    for want in wanted {
        match file.peers.iter().find(|peer| peer.node == want.node) {
            None => why.push(format!("{} is not in it", want.name)),
            Some(peer) => why.extend(changed(peer, want)),
        }
    }
    why
}

fn changed(peer: &FilePeer, want: &WantedPeer) -> Vec<String> {
    let name = &want.name;
    let mut why = Vec::new();
    if peer.key != want.key {
        why.push(format!("{name} has new WireGuard keys and keeps the old one for this file"));
    }
    match peer.endpoint {
        _ if want.endpoints.is_empty() => {}
        Some(endpoint) if want.endpoints.contains(&endpoint) => {}
        Some(endpoint) => why.push(format!("{name} is not at {endpoint} any more")),
        None => why.push(format!("it was not known where {name} is")),
    }
    why
}
