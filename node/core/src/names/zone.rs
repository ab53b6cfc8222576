//! Which names there are: made once for each publication, asked for each question.
//!
//! What may be seen changes by itself only when a grant ends, so each entry carries its end and nothing is made again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;
use warren_config::compile::Program;
use warren_config::name::Name;
use warren_config::policy::{Protocol, Service};
use warren_config::time::UnixTime;
use warren_wire::trust::Member;

use super::behind::Behind;
use crate::assembly::{Assembly, PeerSpec};

/// When something stops: `None` never.
pub type End = Option<UnixTime>;

/// At the instant of its end it is over.
pub fn lives(end: End, now: UnixTime) -> bool {
    end.is_none_or(|end| now < end)
}

/// A node that answers to a name.
#[derive(Clone, Debug)]
pub struct Offer {
    pub member: Arc<Member>,
    end: End,
}

#[derive(Clone, Debug)]
pub struct Visible {
    assembly: Arc<Assembly>,
    labels: HashMap<String, Vec<Offer>>,
    ports: HashMap<String, Vec<(Protocol, u16)>>,
    holders: HashMap<IpAddr, (Name, End)>,
    /// Services of hosts without an agent.
    pub behind: Behind,
    /// When something stops.
    ends: BTreeSet<UnixTime>,
}

impl Visible {
    pub fn new(assembly: Arc<Assembly>, program: &Program) -> Visible {
        let mut visible = Visible {
            assembly: assembly.clone(),
            labels: HashMap::new(),
            ports: HashMap::new(),
            holders: HashMap::new(),
            behind: Behind::new(&assembly, program),
            ends: BTreeSet::new(),
        };
        let me = Offer { member: assembly.me.clone(), end: None };
        visible.add_node(&me);
        for service in program.offered_by(&me.member.subject).into_iter().filter(|s| !s.is_behind()) {
            visible.add(&service.name, me.clone());
        }
        assembly.peers.values().for_each(|peer| visible.add_peer(peer));
        for service in program.services() {
            visible.ports.insert(service.name.to_string(), single_ports(service));
        }
        visible.ends.extend(visible.behind.ends());
        visible
    }

    fn add_peer(&mut self, peer: &PeerSpec) {
        let rules = &peer.outbound;
        if !rules.joins() {
            return;
        }
        let offer = |end| Offer { member: peer.member.clone(), end };
        let ends = rules.service_ends();
        // What passes only because the policy observes has no end.
        let last = ends.values().copied().reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b)));
        let joined = if rules.observes() { None } else { last.flatten() };
        self.add_node(&offer(joined));
        ends.into_iter().for_each(|(service, end)| self.add(service, offer(end)));
    }

    /// May this node open that port there? At itself it may.
    pub fn may_open(&self, at: &Offer, protocol: Protocol, port: u16, now: UnixTime) -> bool {
        let peer = self.assembly.peers.get(&at.member.id);
        peer.is_none_or(|peer| peer.outbound.judge(protocol, port, now).passes())
    }

    fn add_node(&mut self, offer: &Offer) {
        let name = offer.member.name();
        for address in offer.member.addresses() {
            self.holders.insert(address, (name.clone(), offer.end));
        }
        self.add(name, offer.clone());
    }

    fn add(&mut self, name: &Name, offer: Offer) {
        self.ends.extend(offer.end);
        self.labels.entry(name.to_string()).or_default().push(offer);
    }

    /// Who answers to `label` at `now`: the offerers of a service, or one node. Names of both are unique in a network.
    pub fn offers(&self, label: &str, now: UnixTime) -> Vec<&Offer> {
        let all = self.labels.get(label).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|offer| lives(offer.end, now)).collect()
    }

    /// When the next thing stops that has not yet.
    pub fn next_end(&self, now: UnixTime) -> End {
        self.ends.range((Bound::Excluded(now), Bound::Unbounded)).next().copied()
    }

    /// The single ports of a service; empty for nodes.
    pub fn ports(&self, service: &str) -> &[(Protocol, u16)] {
        self.ports.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn any_port(&self, protocol: Protocol, now: UnixTime) -> bool {
        let open = |(service, ports): (&String, &Vec<(Protocol, u16)>)| {
            let offers = self.offers(service, now);
            let mut fitting = ports.iter().filter(|(p, _)| *p == protocol);
            let behind = self.behind.has_hosts(service, now);
            fitting.any(|(p, n)| behind || offers.iter().any(|offer| self.may_open(offer, *p, *n, now)))
        };
        self.ports.iter().any(open)
    }

    pub fn holder(&self, address: IpAddr, now: UnixTime) -> Option<&Name> {
        self.holders.get(&address).filter(|(_, end)| lives(*end, now)).map(|(name, _)| name)
    }
}

/// A range is no port a client can be told.
fn single_ports(service: &Service) -> Vec<(Protocol, u16)> {
    let single = service.listen.iter().filter(|l| l.protocol.has_ports() && l.first == l.last);
    single.map(|l| (l.protocol, l.first)).collect()
}
