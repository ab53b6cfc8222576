//! What a policy would cut of the flows that were seen: each of them is asked of the policy in force and of the new one,
//! as if it were opened now, and put under the row of the difference that takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use warren_config::filter::Rules;
use warren_config::name::Name;
use warren_config::policy::{Listen, Mode, Protocol, Subject};
use warren_config::question::{Kinds, Tuple};
use warren_config::subnet::Behind;
use warren_config::time::UnixTime;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::NodeId;

use crate::flows::{FlowPoint, FlowRow};
use crate::policies::InForce;

/// More pairs of nodes and ports than this are counted and not listed.
pub const MAX_CUTS: usize = 10_000;

/// Compiled rules of so many pairs of nodes are kept at a time.
const MAX_PAIRS: usize = 4096;

/// One pair of nodes and one port that was used and would be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cut {
    pub from: String,
    pub to: String,
    pub listen: Listen,
    /// What let it pass when it was last seen.
    pub grant: Option<String>,
    pub service: Option<String>,
    pub flows: u64,
    /// Both ways.
    pub bytes: u64,
    pub last: UnixTime,
    /// The row of the difference that takes it. `None`: nothing grants it now either, it passes because the policy in
    /// force only observes.
    pub loss: Option<Tuple>,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Seen {
    /// What was asked for.
    pub since: UnixTime,
    /// The oldest record that is still stored; `None`: there is none.
    pub oldest: Option<UnixTime>,
    /// Records read.
    pub records: u64,
    /// Records since the coordinator's start that nodes lost or that were not stored: flows nobody can speak of.
    pub lost: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cuts {
    pub cuts: Vec<Cut>,
    /// Pairs and ports beyond [`MAX_CUTS`].
    pub unlisted: u64,
}

/// What a plan looks at in a [`FlowRow`]; of a stored one nothing else is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Window<'a> {
    reporter: NodeId,
    boot: u64,
    flow: u64,
    from: WindowEnd,
    to: WindowEnd,
    protocol: u8,
    verdict: FlowVerdict,
    #[serde(borrow)]
    grant: Option<&'a str>,
    #[serde(borrow)]
    service: Option<&'a str>,
    bytes_out: u64,
    bytes_back: u64,
    last_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct WindowEnd {
    node: Option<NodeId>,
    address: IpAddr,
    port: u16,
}

impl<'a> From<&'a FlowRow> for Window<'a> {
    fn from(row: &'a FlowRow) -> Window<'a> {
        let end =
            |point: &FlowPoint| WindowEnd { node: point.node, address: point.address, port: point.port };
        Window {
            reporter: row.reporter,
            boot: row.boot,
            flow: row.flow,
            from: end(&row.from),
            to: end(&row.to),
            protocol: row.protocol,
            verdict: row.verdict,
            grant: row.grant.as_deref(),
            service: row.service.as_deref(),
            bytes_out: row.bytes_out,
            bytes_back: row.bytes_back,
            last_ms: row.last_ms,
        }
    }
}

/// From whom, to whom, at which address behind him, by what.
type Path = (NodeId, NodeId, Option<IpAddr>, u8, u16);

#[derive(Clone, Debug, Default)]
struct Sum {
    /// By reporter, so that a flow that both ends reported counts once.
    flows: BTreeMap<NodeId, BTreeSet<(u64, u64)>>,
    bytes: BTreeMap<NodeId, u64>,
    grant: Option<String>,
    service: Option<String>,
    last: UnixTime,
}

/// Two policies and the nodes there are; takes flow records one by one.
#[derive(Debug)]
pub struct Forecast {
    before: Arc<InForce>,
    after: InForce,
    kinds: Kinds,
    lost: Vec<Tuple>,
    nodes: BTreeMap<NodeId, Subject>,
    at: UnixTime,
    /// What each policy lets pass between two nodes, compiled once for all their ports.
    rules: BTreeMap<(NodeId, NodeId), [(Rules, Behind); 2]>,
    /// `None`: it would go on, or does not pass today.
    paths: BTreeMap<Path, Option<Sum>>,
    listed: usize,
    unlisted: BTreeSet<Path>,
}

impl Forecast {
    pub fn new(
        before: Arc<InForce>,
        after: InForce,
        lost: Vec<Tuple>,
        nodes: BTreeMap<NodeId, Subject>,
        at: UnixTime,
    ) -> Forecast {
        let kinds = Kinds::between(&before.policy, &after.policy);
        let (rules, paths, unlisted) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Forecast { before, after, kinds, lost, nodes, at, rules, paths, listed: 0, unlisted }
    }

    /// One record. What did not pass, and what a node that is gone did, nobody can cut.
    pub fn take(&mut self, row: &Window<'_>) {
        if !matches!(row.verdict, FlowVerdict::Allow | FlowVerdict::WouldDeny) {
            return;
        }
        let (Some(from), Some(to)) = (row.from.node, row.to.node) else { return };
        let port = if protocol_of(row.protocol).has_ports() { row.to.port } else { 0 };
        let path = (from, to, self.behind(row), row.protocol, port);
        if self.unlisted.contains(&path) {
            return;
        }
        if !self.paths.contains_key(&path) {
            self.judge(path);
        }
        if let Some(Some(sum)) = self.paths.get_mut(&path) {
            sum.add(row);
        }
    }

    /// The address of a host behind the node that was reached, if it was one.
    fn behind(&self, row: &Window<'_>) -> Option<IpAddr> {
        let service = row.service.and_then(|name| Name::parse(name).ok())?;
        let service = self.before.policy.services.get(&service)?;
        service.has_address(row.to.address).then_some(row.to.address)
    }

    fn judge(&mut self, path: Path) {
        let cut = self.is_cut(path);
        if cut && self.listed >= MAX_CUTS {
            self.unlisted.insert(path);
            return;
        }
        self.listed += usize::from(cut);
        self.paths.insert(path, cut.then(Sum::default));
    }

    fn is_cut(&mut self, (from, to, address, protocol, port): Path) -> bool {
        let (Some(source), Some(target)) = (self.nodes.get(&from), self.nodes.get(&to)) else { return false };
        if self.rules.len() >= MAX_PAIRS {
            self.rules.clear();
        }
        let compile =
            |policy: &InForce| (policy.program.rules(source, target), policy.program.behind(source, target));
        let [before, after] =
            self.rules.entry((from, to)).or_insert_with(|| [compile(&self.before), compile(&self.after)]);
        let passes = |(own, behind): &(Rules, Behind)| {
            let rules = address.map_or(Some(own), |address| behind.rules(address));
            rules.is_some_and(|rules| rules.judge(protocol_of(protocol), port, self.at).passes())
        };
        passes(before) && !passes(after)
    }

    /// Under each row of the difference; the most used first.
    pub fn finish(mut self) -> Cuts {
        let paths = std::mem::take(&mut self.paths);
        let mut losses: BTreeMap<(&str, &str), Vec<&Tuple>> = BTreeMap::new();
        for tuple in &self.lost {
            losses.entry((&tuple.from, tuple.place().1)).or_default().push(tuple);
        }
        let found = paths.into_iter().filter_map(|(path, sum)| self.cut(&losses, path, sum?));
        let mut cuts: Vec<Cut> = found.collect();
        cuts.sort_by(|a, b| {
            let key = |c: &Cut| (c.loss.is_none(), c.loss.clone(), std::cmp::Reverse(c.flows));
            (key(a), &a.from, &a.to, a.listen).cmp(&(key(b), &b.from, &b.to, b.listen))
        });
        Cuts { cuts, unlisted: self.unlisted.len() as u64 }
    }

    fn cut(
        &self,
        losses: &BTreeMap<(&str, &str), Vec<&Tuple>>,
        (from, to, address, protocol, port): Path,
        sum: Sum,
    ) -> Option<Cut> {
        let (from, to) = (self.nodes.get(&from)?, self.nodes.get(&to)?);
        let listen = Listen { protocol: protocol_of(protocol), first: port, last: port };
        let (from_kind, to_kind) = (self.kinds.label(from), self.kinds.label(to));
        let rows = losses.get(&(from_kind.as_str(), to_kind.as_str())).into_iter().flatten();
        let mut rows = rows.filter(|row| match (row.place().0, address) {
            (Some(subnet), Some(address)) => subnet.contains(&address),
            (None, None) => true,
            _ => false,
        });
        Some(Cut {
            from: from.name.to_string(),
            to: address.map_or(to.name.to_string(), |address| format!("{address} behind {}", to.name)),
            listen,
            grant: sum.grant,
            service: sum.service,
            flows: sum.flows.values().map(|flows| flows.len() as u64).max().unwrap_or(0),
            bytes: sum.bytes.values().copied().max().unwrap_or(0),
            last: sum.last,
            loss: rows.find(|row| row.listen.covers(&listen)).map(|row| (*row).clone()),
        })
    }

    /// The policy in force only observes, and the new one does not.
    pub fn ends_observing(&self) -> bool {
        self.before.observes() && self.after.policy.settings.mode == Mode::Enforce
    }
}

impl Sum {
    fn add(&mut self, row: &Window<'_>) {
        self.flows.entry(row.reporter).or_default().insert((row.boot, row.flow));
        let bytes = self.bytes.entry(row.reporter).or_default();
        *bytes = bytes.saturating_add(row.bytes_out).saturating_add(row.bytes_back);
        let last = UnixTime(row.last_ms / 1000);
        if last >= self.last {
            self.last = last;
            self.grant = row.grant.map(str::to_owned);
            self.service = row.service.map(str::to_owned);
        }
    }
}

pub(crate) fn protocol_of(number: u8) -> Protocol {
    match number {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        1 | 58 => Protocol::IcmpEcho,
        other => Protocol::Number(other),
    }
}
