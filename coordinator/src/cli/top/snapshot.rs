//! What is known this second: read from the API, ordered, and cut to what anybody looks at.

use serde::Serialize;
use warren_config::time::UnixTime;
use warren_coordinator_core::alarm::Alarm;
use warren_coordinator_core::edges::Sum;
use warren_coordinator_core::map::{MapEdge, MapEnd, NetworkMap};
use warren_coordinator_core::status::NodeRow;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::Generation;

use crate::api::types::StatusReply;
use crate::cli::output;
use crate::client::{Client, ClientError};

/// Rates are over so many seconds, refusals are kept for so many.
pub const RATE: u64 = 10;
pub const REFUSED: u64 = 60;
/// At most so many rows of each kind, and edges on the map of a minute: half of its room belongs to what was refused.
const ROWS: usize = 1000;
const EDGES: usize = 4 * ROWS;

#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    pub at: UnixTime,
    pub network: String,
    pub generation: Generation,
    pub observe: bool,
    pub enforced: usize,
    pub of: usize,
    pub online: usize,
    pub nodes: Vec<TopNode>,
    /// Conversations of the last ten seconds, the busiest first.
    pub flows: Vec<TopFlow>,
    /// How many there are; only the first thousand are in `flows`.
    pub flows_total: usize,
    /// Refused attempts of the last minute, the most first.
    pub refusals: Vec<TopRefusal>,
    pub refusals_total: usize,
    pub alarms: Vec<Alarm>,
    pub bytes_per_second: u64,
    pub flows_opened: u64,
    pub tries_refused: u64,
    /// Conversations that are in the sums, and in no list and in no node's rate: the lightest of too many.
    pub edges_left_out: u64,
    /// Records that are missing from all this, since the coordinator started.
    pub records_lost: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct TopNode {
    pub name: String,
    pub tags: Vec<String>,
    pub online: bool,
    /// A device without an agent.
    pub external: bool,
    pub enforces: Option<Generation>,
    pub since: Option<UnixTime>,
    pub peers: usize,
    pub bytes_per_second: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct TopFlow {
    pub from: String,
    pub to: String,
    pub service: Option<String>,
    pub port: String,
    pub verdict: FlowVerdict,
    pub grant: Option<String>,
    pub flows: u64,
    pub bytes_out_per_second: u64,
    pub bytes_back_per_second: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct TopRefusal {
    pub from: String,
    pub to: String,
    pub port: String,
    pub verdict: FlowVerdict,
    pub tries: u64,
    pub last: UnixTime,
}

impl Snapshot {
    pub async fn ask(client: &Client) -> Result<Snapshot, ClientError> {
        let status: StatusReply = client.get("/v1/status").await?;
        let nodes: Vec<NodeRow> = client.get("/v1/nodes").await?;
        let rates: NetworkMap = client.get(&format!("/v1/map?window={RATE}")).await?;
        let minute: NetworkMap = client.get(&format!("/v1/map?window={REFUSED}&edges={EDGES}")).await?;
        Ok(Snapshot::of(status, &nodes, &rates, &minute))
    }

    pub fn of(status: StatusReply, nodes: &[NodeRow], rates: &NetworkMap, minute: &NetworkMap) -> Snapshot {
        let span = rates.at.since(rates.from).max(1);
        let mut flows: Vec<TopFlow> =
            rates.edges.iter().filter(|edge| !is_refused(edge)).map(|edge| flow(edge, span)).collect();
        flows.sort_by_key(|flow| {
            std::cmp::Reverse((flow.bytes_out_per_second + flow.bytes_back_per_second, flow.flows))
        });
        let mut refusals: Vec<TopRefusal> =
            minute.edges.iter().filter(|e| is_refused(e)).map(refusal).collect();
        refusals.sort_by_key(|refusal| std::cmp::Reverse((refusal.tries, refusal.last)));
        let left = (&rates.extent.left_out, &minute.extent.left_out);
        let sum = |of: fn(&Sum) -> u64| {
            rates.edges.iter().map(|edge| of(&edge.sum)).fold(of(left.0), u64::saturating_add)
        };
        let (flows_total, refusals_total) = (flows.len(), refusals.len());
        let status = status.status;
        let nodes = nodes.iter().map(|node| top_node(node, rates, span)).collect();
        let tries_refused =
            refusals.iter().map(|refusal| refusal.tries).fold(left.1.tries, u64::saturating_add);
        flows.truncate(ROWS);
        refusals.truncate(ROWS);
        Snapshot {
            at: status.now,
            network: status.name,
            generation: status.generation,
            observe: status.observe,
            enforced: status.enforcement.enforced,
            of: status.enforcement.of,
            online: status.online,
            nodes,
            flows,
            flows_total,
            refusals,
            refusals_total,
            alarms: status.alarms,
            bytes_per_second: sum(Sum::bytes) / span,
            flows_opened: sum(|sum| sum.flows),
            tries_refused,
            edges_left_out: rates.extent.total.saturating_sub(rates.extent.shown),
            records_lost: rates.lost.records(),
        }
    }
}

fn is_refused(edge: &MapEdge) -> bool {
    matches!(edge.verdict, FlowVerdict::Deny | FlowVerdict::WouldDeny)
}

fn flow(edge: &MapEdge, span: u64) -> TopFlow {
    TopFlow {
        from: end(&edge.from),
        to: end(&edge.to),
        service: edge.service.clone(),
        port: port(edge),
        verdict: edge.verdict,
        grant: edge.grant.clone(),
        flows: edge.sum.flows,
        bytes_out_per_second: edge.sum.bytes_out / span,
        bytes_back_per_second: edge.sum.bytes_back / span,
    }
}

fn refusal(edge: &MapEdge) -> TopRefusal {
    TopRefusal {
        from: end(&edge.from),
        to: end(&edge.to),
        port: port(edge),
        verdict: edge.verdict,
        tries: edge.sum.tries.max(edge.sum.flows),
        last: UnixTime(edge.last_seen / 1000),
    }
}

fn top_node(node: &NodeRow, rates: &NetworkMap, span: u64) -> TopNode {
    let mine = |edge: &&MapEdge| edge.from.node == Some(node.id) || edge.to.node == Some(node.id);
    let bytes = rates.edges.iter().filter(mine).map(|edge| edge.sum.bytes()).fold(0, u64::saturating_add);
    TopNode {
        name: node.name.clone(),
        tags: node.tags.clone(),
        online: node.online,
        external: node.external.is_some(),
        enforces: node.enforced.map(|progress| progress.generation),
        since: node.since,
        peers: node.peers,
        bytes_per_second: bytes / span,
    }
}

fn end(end: &MapEnd) -> String {
    let address = || end.address.map_or_else(|| "?".to_owned(), |address| address.to_string());
    end.name.clone().unwrap_or_else(address)
}

fn port(edge: &MapEdge) -> String {
    output::port(edge.protocol, edge.port)
}
