//! DNS decisions: what this node may see has a name, everything else does not exist.
//!
//! The zone comes from the signed settings. `<service>.<zone>` is every node that offers the service and at which this
//! node may open it now; `<node>.<zone>` is this node and the peers it may open something at; PTR likewise. A name
//! that may not be reached answers exactly like one that does not exist.

mod reverse;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use warren_config::name::Name;
use warren_config::policy::{DEFAULT_ZONE, Settings};
use warren_config::time::UnixTime;
use warren_wire::trust::Member;

use crate::assembly::Assembly;

/// Longest life of an answer in a cache: a revoked permission must not live on there.
pub const TTL_SECONDS: u32 = 5;

/// Class IN only: the server refuses every other class before it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    A,
    Aaaa,
    Ptr,
    Soa,
    Ns,
    /// ANY, AXFR, IXFR: refused.
    Whole,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// Fully qualified, without the final dot.
    Ptr(String),
    Ns(String),
    Soa {
        mname: String,
        rname: String,
        serial: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All with the owner name asked for and [`TTL_SECONDS`].
    Records(Vec<Data>),
    /// The name exists, this type does not.
    NoData,
    NxDomain,
    /// Not in the zone: forward it or refuse it.
    NotOurs,
    Refused,
}

/// The names one assembly makes visible.
#[derive(Clone, Debug)]
pub struct Names {
    assembly: Arc<Assembly>,
    zone: String,
    offers: Vec<Name>,
}

impl Names {
    /// `offers`: services this node itself offers.
    pub fn new(assembly: Arc<Assembly>, settings: &Settings, offers: Vec<Name>) -> Names {
        let zone = settings.zone.clone().unwrap_or_else(|| DEFAULT_ZONE.to_owned());
        Names { assembly, zone, offers }
    }

    /// Lower case, without the final dot.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// `name` in presentation form, with or without the final dot, any case. `turn` rotates the order of addresses:
    /// a counter of the caller.
    pub fn answer(&self, name: &str, kind: Type, now: UnixTime, turn: u64) -> Answer {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match self.place(&name) {
            Place::Elsewhere if kind == Type::Whole => Answer::Refused,
            Place::Elsewhere => Answer::NotOurs,
            _ if kind == Type::Whole => Answer::Refused,
            Place::Apex => self.apex(kind),
            Place::Label(label) => self.forward(label, kind, now, turn),
            Place::Deeper => Answer::NxDomain,
            Place::Address(ip) => self.pointer(ip, kind, now),
            Place::Above => Answer::NoData,
        }
    }

    /// For negative answers: the zone's SOA (RFC 2308 section 3).
    pub fn soa(&self) -> Data {
        let mname = self.fqdn(self.assembly.me.name());
        let rname = format!("hostmaster.{}", self.zone);
        // Only its change matters: wrapping is serial arithmetic (RFC 1982).
        let serial = (self.assembly.revision & u64::from(u32::MAX)) as u32;
        Data::Soa { mname, rname, serial }
    }

    fn place<'a>(&self, name: &'a str) -> Place<'a> {
        if name == self.zone {
            return Place::Apex;
        }
        if let Some(rest) = name.strip_suffix(&self.zone).and_then(|rest| rest.strip_suffix('.')) {
            // Anything but one plain label (escapes, underscores, look-alikes, deeper names) cannot exist.
            return if Name::parse(rest).is_ok() { Place::Label(rest) } else { Place::Deeper };
        }
        match reverse::read(name, &self.assembly.network) {
            reverse::Reverse::Elsewhere => Place::Elsewhere,
            reverse::Reverse::Address(ip) => Place::Address(ip),
            reverse::Reverse::Above => Place::Above,
            reverse::Reverse::Nothing => Place::Deeper,
        }
    }

    fn apex(&self, kind: Type) -> Answer {
        match kind {
            Type::Soa => Answer::Records(vec![self.soa()]),
            Type::Ns => Answer::Records(vec![Data::Ns(self.fqdn(self.assembly.me.name()))]),
            _ => Answer::NoData,
        }
    }

    fn forward(&self, label: &str, kind: Type, now: UnixTime, turn: u64) -> Answer {
        let members = self.members(label, now);
        if members.is_empty() {
            return Answer::NxDomain;
        }
        let mut records: Vec<Data> = match kind {
            Type::A => members.iter().filter_map(|m| m.v4).map(Data::A).collect(),
            Type::Aaaa => members.iter().map(|m| Data::Aaaa(m.v6)).collect(),
            _ => Vec::new(),
        };
        if records.is_empty() {
            return Answer::NoData;
        }
        let by = turn % records.len() as u64;
        records.rotate_left(by as usize);
        Answer::Records(records)
    }

    /// Who answers to `label`: the offerers of a service, or one node. Names of both are unique in a network.
    fn members(&self, label: &str, now: UnixTime) -> Vec<&Member> {
        let me = &*self.assembly.me;
        let offers = self.offers.iter().any(|service| service.as_str() == label);
        let mine = (offers || me.name().as_str() == label).then_some(me);
        let peers = self.assembly.peers.values().filter(|peer| {
            let node = peer.member.name().as_str() == label && peer.outbound.joins_at(now);
            node || peer.outbound.services(now).iter().any(|service| service.as_str() == label)
        });
        mine.into_iter().chain(peers.map(|peer| &*peer.member)).collect()
    }

    fn pointer(&self, ip: IpAddr, kind: Type, now: UnixTime) -> Answer {
        let peers = self.assembly.peers.values().filter(|peer| peer.outbound.joins_at(now));
        let mut visible = std::iter::once(&self.assembly.me).chain(peers.map(|peer| &peer.member));
        match visible.find(|member| member.addresses().any(|a| a == ip)) {
            None => Answer::NxDomain,
            Some(member) if kind == Type::Ptr => Answer::Records(vec![Data::Ptr(self.fqdn(member.name()))]),
            Some(_) => Answer::NoData,
        }
    }

    fn fqdn(&self, name: &Name) -> String {
        format!("{name}.{}", self.zone)
    }
}

/// Where a question stands.
enum Place<'a> {
    Elsewhere,
    Apex,
    /// One valid label under the zone.
    Label(&'a str),
    /// In our zones, but no name can stand there.
    Deeper,
    Address(IpAddr),
    /// A reverse name above addresses of ours: it exists, empty (RFC 8020).
    Above,
}
