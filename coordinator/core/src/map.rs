//! The map of one stretch of time: who is there, what is offered, who talked to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use warren_config::time::UnixTime;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::{Generation, NodeId, Revision};

use crate::accounts::Balance;
use crate::directory::Node;
use crate::edges::{EdgeEnd, EdgeKey, Sides, Sum};
use crate::state::State;

/// A question about a stretch of time is answered in steps of one of these, seconds.
pub const RESOLUTIONS: [u64; 3] = [1, 60, 3600];
/// A record is on the map at most so long after its window ended, seconds: younger sums may still grow.
pub const SETTLED: u64 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NetworkMap {
    /// The stretch is from `from` up to but not including `at`.
    pub at: UnixTime,
    pub from: UnixTime,
    /// Both are multiples of this, seconds: the finest that fits the stretch and is still kept of its beginning.
    pub resolution: u64,
    /// Up to now, and not about the past.
    pub live: bool,
    pub revision: Revision,
    pub generation: Generation,
    /// The policy only records.
    pub observe: bool,
    /// What came before is not kept in this resolution any more, and is not on the map; the same as `from`: all is.
    pub complete_from: UnixTime,
    /// Sums before this are not expected to grow.
    pub complete_until: UnixTime,
    /// The oldest sum that is kept, in any resolution: how far back one can ask. None: nothing was recorded yet.
    pub recorded_since: Option<UnixTime>,
    pub lost: LostRecords,
    pub extent: MapExtent,
    pub nodes: Vec<MapNode>,
    pub services: Vec<MapService>,
    pub edges: Vec<MapEdge>,
}

/// How much of the stretch is on the map: of a very large network the lightest edges are left out, and that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MapExtent {
    /// Edges on the map.
    pub shown: u64,
    /// Edges of the stretch.
    pub total: u64,
    /// At most so many are shown: as was asked, and as the settings permit (`map.edges`).
    pub limit: u64,
    /// What passed, and was refused, on the edges that are not shown.
    pub left_out: Sum,
}

/// What was judged and is on no edge, as the accounts of all nodes tell it (`/v1/accounts`): of all time that they know, not of
/// one stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LostRecords {
    /// Records that nodes say they lost before they could be sent.
    pub declared: u64,
    /// Records that were not about the reporter's own side, or malformed.
    pub rejected: u64,
    /// Records that were taken, and could not be written.
    pub skipped: u64,
    /// Packets, of which no record was made: taken along by agents that ended before they could report them.
    pub lost_at_end: u64,
    /// Ends of agents of which nobody knows how much they took along.
    pub untold_ends: u64,
}

impl LostRecords {
    /// `unwritten`: records that could not be written since the coordinator started; of those before, the accounts know.
    pub fn of(all: &Balance, unwritten: u64) -> LostRecords {
        LostRecords {
            declared: all.lost.records,
            rejected: all.rejected.records,
            skipped: all.skipped.records.saturating_add(unwritten),
            lost_at_end: all.lost_at_end.packets,
            untold_ends: all.untold_ends,
        }
    }

    pub fn records(&self) -> u64 {
        self.declared.saturating_add(self.rejected).saturating_add(self.skipped)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MapNode {
    pub id: NodeId,
    pub name: String,
    pub tags: Vec<String>,
    /// Where it runs, if its tags say so (`site-NAME`).
    pub site: Option<String>,
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
    /// None: not known of the past.
    pub online: Option<bool>,
    /// Generation it enforces; none: not known.
    pub enforces: Option<Generation>,
    pub behind_since: Option<UnixTime>,
    pub revoked: Option<UnixTime>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MapService {
    pub name: String,
    pub ports: Vec<String>,
    /// Who may offer it; with `addresses`, the gateways to them.
    pub nodes: Vec<NodeId>,
    /// Subnets of hosts without an agent, behind `nodes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MapEnd {
    pub node: Option<NodeId>,
    pub name: Option<String>,
    /// Where no node is known.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MapEdge {
    /// The same for the same edge at any time.
    pub id: String,
    pub from: MapEnd,
    pub to: MapEnd,
    pub service: Option<String>,
    pub protocol: u8,
    /// 0: the protocol has none, or refused attempts of one pair at many ports, put together.
    pub port: u16,
    pub verdict: FlowVerdict,
    pub grant: Option<String>,
    /// The newest under which it was judged.
    pub generation: Generation,
    #[serde(flatten)]
    pub sum: Sum,
    /// Round-trip time of its TCP connections in the mean, microseconds, as the opener's kernel measured it, or the other
    /// end's. None: not known.
    pub rtt_us: Option<u64>,
    /// TCP segments that its ends sent again, as far as they know. None: not known.
    pub retransmissions: Option<u64>,
    /// Milliseconds since 1970, over all time that is kept.
    pub first_seen: u64,
    pub last_seen: u64,
    pub seen_by: Vec<Seer>,
    /// What the two ends say, where both cannot be true.
    pub mismatch: Option<Mismatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Seer {
    From,
    To,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Mismatch {
    pub from_bytes: u64,
    pub to_bytes: u64,
}

/// What is known of an edge besides its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeLife {
    pub generation: Generation,
    pub first_ms: u64,
    pub last_ms: u64,
}

impl EdgeKey {
    /// A name for an edge that says nothing but is always the same.
    pub fn id(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(&json).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl MapEdge {
    /// `mismatch` is found by who has the sums before and after as well.
    pub fn new(
        state: &State,
        key: &EdgeKey,
        sides: &Sides,
        life: EdgeLife,
        mismatch: Option<Mismatch>,
    ) -> MapEdge {
        let seen = |side: Option<Sum>, seer| side.map(|_| seer);
        MapEdge {
            id: key.id(),
            from: MapEnd::of(state, &key.from),
            to: MapEnd::of(state, &key.to),
            service: key.service.clone(),
            protocol: key.protocol,
            port: key.port,
            verdict: key.verdict,
            grant: key.grant.clone(),
            generation: life.generation,
            sum: sides.shown(),
            rtt_us: sides.rtt_us(),
            retransmissions: sides.retransmissions(),
            first_seen: life.first_ms,
            last_seen: life.last_ms,
            seen_by: [seen(sides.opener, Seer::From), seen(sides.other, Seer::To)]
                .into_iter()
                .flatten()
                .collect(),
            mismatch,
        }
    }
}

impl MapEnd {
    pub fn of(state: &State, end: &EdgeEnd) -> MapEnd {
        let name = |node: &NodeId| state.directory().get(node).map(|n| n.member.name().to_string());
        match end {
            EdgeEnd::Node(node) => MapEnd { node: Some(*node), name: name(node), address: None },
            EdgeEnd::Address(address) => MapEnd { node: None, name: None, address: Some(*address) },
        }
    }
}

impl MapNode {
    /// As the log tells it; whether it is online only its sessions know.
    pub fn of(node: &Node) -> MapNode {
        let tags: Vec<String> = node.member.tags().iter().map(ToString::to_string).collect();
        MapNode {
            id: node.id(),
            name: node.member.name().to_string(),
            site: tags.iter().find_map(|tag| tag.strip_prefix("site-")).map(str::to_owned),
            tags,
            addresses: node.member.addresses().collect(),
            online: None,
            enforces: None,
            behind_since: None,
            revoked: node.revoked.as_ref().map(|gone| gone.at),
        }
    }
}

/// Nodes that live, and those that are named although they were revoked.
pub fn nodes(state: &State, named: &BTreeSet<NodeId>) -> Vec<MapNode> {
    let wanted = |node: &&Node| node.is_live() || named.contains(&node.id());
    state.directory().all().filter(wanted).map(MapNode::of).collect()
}

/// Services of the policy in force, and who may offer them.
pub fn services(state: &State) -> Vec<MapService> {
    let Some(policy) = state.policies().in_force() else { return Vec::new() };
    let mut offered: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for node in state.directory().alive() {
        for service in policy.program.offered_by(node.subject()) {
            offered.entry(service.name.to_string()).or_default().push(node.id());
        }
    }
    let all = policy.policy.services.iter();
    all.map(|(name, service)| MapService {
        name: name.to_string(),
        ports: service.listen.iter().map(ToString::to_string).collect(),
        nodes: offered.remove(name.as_str()).unwrap_or_default(),
        addresses: service.addresses.iter().map(ToString::to_string).collect(),
    })
    .collect()
}

/// The finest step in which a stretch is answered, as long as it is kept: an answer has at most some hundred steps.
pub fn resolution(window: u64) -> u64 {
    match window {
        0..=600 => 1,
        601..=36_000 => 60,
        _ => 3600,
    }
}
