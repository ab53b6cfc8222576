//! From belief to what is enforced: each pair's rules compiled from signed items and signed records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use warren_config::compile::Program;
use warren_config::filter::Rules;
use warren_config::name::Name;
use warren_config::policy::Settings;
use warren_config::subnet::Behind;
use warren_config::time::UnixTime;
use warren_wire::trust::{Member, Network};
use warren_wire::view::PeerEndpoints;

use super::belief::Belief;
use super::output::{CutReason, Publication};
use crate::assembly::{Assembly, Audited, PeerSpec};
use crate::names::Names;
use crate::path::{self, Locality};

/// Compiles `belief` as it is at `now`. With `cut` there are no peers, whatever the belief says.
pub fn compile(
    belief: &Belief,
    me: &Arc<Member>,
    own: &[SocketAddr],
    now: UnixTime,
    cut: Option<CutReason>,
) -> Publication {
    let program = Program::of_items(belief.items());
    let peers = match cut {
        Some(_) => BTreeMap::new(),
        None => peers(belief, &program, me, own, now),
    };
    let audited = match cut {
        Some(_) => Audited::new(),
        None => audited(belief, &program, me, &peers),
    };
    let assembly = Arc::new(Assembly {
        network: belief.network.clone(),
        me: me.clone(),
        epoch: belief.epoch,
        revision: belief.revision,
        generation: belief.generation,
        peers,
        audited: Arc::new(audited),
    });
    Publication {
        names: Arc::new(Names::new(assembly.clone(), &program)),
        assembly,
        settings: program.settings().clone(),
        observe: program.settings().mode == warren_config::policy::Mode::Observe,
        cut,
    }
}

/// Nothing is known but this node itself.
pub fn nothing(network: &Arc<Network>, me: &Arc<Member>, cut: CutReason) -> Publication {
    let assembly = Arc::new(Assembly {
        network: network.clone(),
        me: me.clone(),
        epoch: 0,
        revision: 0,
        generation: 0,
        peers: BTreeMap::new(),
        audited: Arc::default(),
    });
    Publication {
        names: Arc::new(Names::alone(assembly.clone())),
        assembly,
        settings: Settings::default(),
        observe: false,
        cut: Some(cut),
    }
}

fn peers(
    belief: &Belief,
    program: &Program,
    me: &Arc<Member>,
    own: &[SocketAddr],
    now: UnixTime,
) -> BTreeMap<warren_wire::id::NodeId, PeerSpec> {
    let (mut peers, mut shared) = (BTreeMap::new(), SharedRules::default());
    // The overlay is behind nobody, and what is behind this node it reaches without help.
    let overlay = [IpNet::V4(belief.network.v4_range), IpNet::V6(belief.network.v6_prefix)];
    let offered = program.offered_by(&me.subject);
    let near: Vec<IpNet> =
        offered.iter().flat_map(|service| service.addresses.iter().copied()).chain(overlay).collect();
    for (node, member) in &belief.members {
        let outbound = shared.of(program.rules(&me.subject, &member.subject));
        let inbound = shared.of(program.rules(&member.subject, &me.subject));
        // A device without an agent judges nothing: it is no gateway.
        let beyond = match member.is_external() {
            true => Behind::default(),
            false => program.beyond(&me.subject, &member.subject).without(&near),
        };
        let beyond = Arc::new(beyond);
        let hosts = Arc::new(program.beyond(&member.subject, &me.subject).without(&overlay));
        let joins = outbound.joins_at(now) || inbound.joins_at(now);
        if joins || beyond.joins_at(now) || hosts.joins_at(now) {
            let told = belief.endpoints.get(node);
            let candidates = told.map(|told| candidates(&told.candidates, &belief.network, own));
            let spec = PeerSpec {
                member: member.clone(),
                outbound,
                inbound,
                beyond,
                hosts,
                candidates: candidates.unwrap_or_default(),
                seat: told.and_then(PeerEndpoints::seat),
                my_key: belief.filed_for(member),
            };
            peers.insert(*node, spec);
        }
    }
    leave_routed_places(&mut peers, own, now);
    peers
}

/// What is sent to a place in a subnet that is routed into the tunnel would come back out of it. A host that is on the
/// subnet itself has no such route.
fn leave_routed_places(
    peers: &mut BTreeMap<warren_wire::id::NodeId, PeerSpec>,
    own: &[SocketAddr],
    now: UnixTime,
) {
    let routed = peers.values().flat_map(|peer| peer.beyond.routes(now).map(|(net, _)| *net));
    let is_there = |net: &IpNet| own.iter().any(|own| net.contains(&own.ip()));
    let routed: BTreeSet<IpNet> = routed.filter(|net| !is_there(net)).collect();
    for peer in peers.values_mut() {
        peer.candidates.retain(|place| !routed.iter().any(|net| net.contains(&place.ip())));
    }
}

/// Rules that many peers have are kept once. Only the last few different ones are compared.
#[derive(Default)]
struct SharedRules(VecDeque<Arc<Rules>>);

const COMPARED: usize = 32;

impl SharedRules {
    fn of(&mut self, rules: Rules) -> Arc<Rules> {
        if let Some(known) = self.0.iter().find(|known| ***known == rules) {
            return known.clone();
        }
        if self.0.len() == COMPARED {
            self.0.pop_front();
        }
        let rules = Arc::new(rules);
        self.0.push_back(rules.clone());
        rules
    }
}

/// What this node is told to recognise, and members whose every enforced grant has ended. Nobody's rules here pass
/// anything: a coordinator that lies about them makes false records, of its own.
fn audited(
    belief: &Belief,
    program: &Program,
    me: &Member,
    peers: &BTreeMap<warren_wire::id::NodeId, PeerSpec>,
) -> Audited {
    let mut services: BTreeMap<IpAddr, BTreeSet<Name>> = belief.audited.clone();
    for member in belief.members.values().filter(|member| !peers.contains_key(&member.id)) {
        let names: BTreeSet<Name> = program.audited_at(&me.subject, &member.subject).cloned().collect();
        for address in member.addresses() {
            services.entry(address).or_default().extend(names.iter().cloned());
        }
    }
    let mut known: BTreeMap<BTreeSet<Name>, Arc<Rules>> = BTreeMap::new();
    let mut compiled = |names: BTreeSet<Name>| {
        let rules =
            known.entry(names).or_insert_with_key(|names| Arc::new(program.audited(&me.subject, names)));
        rules.clone()
    };
    let rules = services.into_iter().map(|(address, names)| (address, compiled(names)));
    rules.filter(|(_, rules)| !rules.is_empty()).collect()
}

/// Hints that make sense from here. One that cannot be read is no hint.
fn candidates(told: &[String], network: &Network, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let locality = Locality::of(own);
    let acceptable = |c: &SocketAddr| path::acceptable(*c, network, locality);
    let told: Vec<SocketAddr> = told.iter().filter_map(|c| c.parse().ok()).filter(acceptable).collect();
    path::order(&path::speakable(told, own), own)
}

/// The earliest `until` after `now` in what is enforced.
pub fn next_end(assembly: &Assembly, now: UnixTime) -> Option<UnixTime> {
    let ends = |peer: &PeerSpec| {
        let behind = [peer.beyond.next_end(now), peer.hosts.next_end(now)];
        [peer.outbound.next_end(now), peer.inbound.next_end(now)].into_iter().chain(behind)
    };
    assembly.peers.values().flat_map(ends).flatten().min()
}
