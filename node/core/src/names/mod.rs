//! DNS decisions: what this node may see has a name, everything else does not exist; other names are asked elsewhere,
//! encrypted, or not at all.
//!
//! The zone comes from the signed settings. `<service>.<zone>` is every node that offers the service and at which this
//! node may open it now; `<node>.<zone>` is this node and the peers it may open something at; `_<service>._tcp.<zone>`
//! (RFC 2782) and SVCB say the ports; PTR likewise. A service behind gateways has the addresses of its single hosts; of one
//! that has only prefixes the name exists, and no address. A name that may not be reached answers exactly like one that does
//! not exist.
//!
//! - `behind`: services of hosts without an agent.
//! - `zone`: which names there are, made once for each publication. [`standing`]: who of several is given first.
//! - [`query`], [`reply`]: DNS messages as bytes. [`crowd`]: whose question is next when too many come; [`seats`]: whose
//!   connection stays.
//! - [`forward`]: everything outside the zone. [`census`]: which names are asked, where the policy wants to know.

mod behind;
pub mod census;
pub mod crowd;
pub mod forward;
pub mod query;
pub mod reply;
mod reverse;
pub mod seats;
pub mod standing;
#[cfg(test)]
mod tests;
mod zone;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use warren_config::compile::Program;
use warren_config::name::Name;
use warren_config::policy::{DEFAULT_ZONE, Protocol, Settings};
use warren_config::time::UnixTime;
use warren_wire::trust::Network;

use crate::assembly::Assembly;
use standing::{Standing, Standings};
use zone::{Offer, Visible};

/// Longest life of an answer in a cache: a revoked permission must not live on there.
pub const TTL_SECONDS: u32 = 5;

/// Class IN only: every other class is refused before this is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    A,
    Aaaa,
    Ptr,
    Soa,
    Ns,
    Srv,
    Svcb,
    Https,
    /// ANY, AXFR, IXFR: refused.
    Whole,
    Other,
}

impl Type {
    /// By its number (IANA, "Resource Record (RR) TYPEs").
    pub fn of(number: u16) -> Type {
        match number {
            1 => Type::A,
            2 => Type::Ns,
            6 => Type::Soa,
            12 => Type::Ptr,
            28 => Type::Aaaa,
            33 => Type::Srv,
            64 => Type::Svcb,
            65 => Type::Https,
            251..=255 => Type::Whole,
            _ => Type::Other,
        }
    }
}

/// Names are fully qualified, without the final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ptr(String),
    Ns(String),
    Soa {
        mname: String,
        rname: String,
        serial: u32,
    },
    /// Weights are equal: among those of one priority the order of the records is the choice.
    Srv {
        priority: u16,
        port: u16,
        target: String,
    },
    /// RFC 9460: SVCB, or HTTPS for services on port 443. `port` is `None` for the default one.
    Svcb {
        https: bool,
        /// From 1: 0 would be an alias.
        priority: u16,
        port: Option<u16>,
        target: String,
        v4: Option<Ipv4Addr>,
        v6: Option<Ipv6Addr>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All with the owner name asked for.
    Records(Vec<Data>),
    /// The name exists, this type does not.
    NoData,
    NxDomain,
    /// Not in the zone: see [`forward`].
    NotOurs,
    Refused,
}

/// What the order of several answers depends on.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// A counter of the caller: the first place goes round.
    pub turn: u64,
    pub standings: &'a Standings,
}

impl Order<'_> {
    fn standing(&self, offer: &Offer) -> Standing {
        self.standings.get(&offer.member.id).copied().unwrap_or_default()
    }
}

static NOTHING_KNOWN: Standings = Standings::new();

impl Order<'static> {
    pub fn turn(turn: u64) -> Order<'static> {
        Order { turn, standings: &NOTHING_KNOWN }
    }
}

/// The names one assembly makes visible.
#[derive(Clone, Debug)]
pub struct Names {
    network: Arc<Network>,
    me: Name,
    revision: u64,
    zone: String,
    visible: Visible,
}

impl Names {
    pub fn new(assembly: Arc<Assembly>, program: &Program) -> Names {
        Names::with_settings(assembly, program, program.settings())
    }

    /// This node alone, in the zone of `settings`.
    pub fn alone(assembly: Arc<Assembly>) -> Names {
        Names::with_settings(assembly, &Program::default(), &Settings::default())
    }

    fn with_settings(assembly: Arc<Assembly>, program: &Program, settings: &Settings) -> Names {
        Names {
            network: assembly.network.clone(),
            me: assembly.me.name().clone(),
            revision: assembly.revision,
            zone: settings.zone.clone().unwrap_or_else(|| DEFAULT_ZONE.to_owned()),
            visible: Visible::new(assembly, program),
        }
    }

    /// Lower case, without the final dot.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    /// `name` in presentation form, with or without the final dot, any case.
    pub fn answer(&self, name: &str, kind: Type, now: UnixTime, order: Order<'_>) -> Answer {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.answer_lower(&name, kind, now, order)
    }

    /// The same for a name that is already lower case and without the final dot.
    pub fn answer_lower(&self, name: &str, kind: Type, now: UnixTime, order: Order<'_>) -> Answer {
        match self.place(name) {
            Place::Abroad(ip) => self.pointer_behind(ip, kind, now),
            Place::Elsewhere if kind == Type::Whole => Answer::Refused,
            Place::Elsewhere => Answer::NotOurs,
            _ if kind == Type::Whole => Answer::Refused,
            Place::Apex => self.apex(kind),
            Place::Label(label) => self.forward(label, kind, now, order),
            Place::Port(service, protocol) => self.ports(service, protocol, kind, now, order),
            Place::AbovePorts(protocol) if self.visible.any_port(protocol, now) => Answer::NoData,
            Place::AbovePorts(_) | Place::Nothing => Answer::NxDomain,
            Place::Address(ip) => self.pointer(ip, kind, now),
            Place::Above => Answer::NoData,
        }
    }

    /// How long an answer of `now` may be kept: never beyond the end of a grant.
    pub fn ttl(&self, now: UnixTime) -> u32 {
        let left = self.visible.next_end(now).map_or(u64::MAX, |end| end.0.saturating_sub(now.0));
        u32::try_from(left).unwrap_or(u32::MAX).min(TTL_SECONDS)
    }

    /// For negative answers: the zone's SOA (RFC 2308 section 3).
    pub fn soa(&self) -> Data {
        let mname = self.fqdn(&self.me);
        let rname = format!("hostmaster.{}", self.zone);
        // Only its change matters: wrapping is serial arithmetic (RFC 1982).
        let serial = (self.revision & u64::from(u32::MAX)) as u32;
        Data::Soa { mname, rname, serial }
    }

    /// The zone that says of `name` what there is not: the SOA's owner (RFC 2308 section 3). `name` is lower case and one of those
    /// that are answered here; an address outside the overlay is a zone of its own.
    pub fn zone_above<'a>(&'a self, name: &'a str) -> &'a str {
        if name == self.zone || name.strip_suffix(&self.zone).is_some_and(|rest| rest.ends_with('.')) {
            return &self.zone;
        }
        reverse::zone(name, &self.network).unwrap_or(name)
    }

    fn place<'a>(&self, name: &'a str) -> Place<'a> {
        if name == self.zone {
            return Place::Apex;
        }
        if let Some(rest) = name.strip_suffix(&self.zone).and_then(|rest| rest.strip_suffix('.')) {
            return place_in_zone(rest);
        }
        match reverse::read(name, &self.network) {
            reverse::Reverse::Elsewhere(Some(ip)) => Place::Abroad(ip),
            reverse::Reverse::Elsewhere(None) => Place::Elsewhere,
            reverse::Reverse::Address(ip) => Place::Address(ip),
            reverse::Reverse::Above => Place::Above,
            reverse::Reverse::Nothing => Place::Nothing,
        }
    }

    fn apex(&self, kind: Type) -> Answer {
        match kind {
            Type::Soa => Answer::Records(vec![self.soa()]),
            Type::Ns => Answer::Records(vec![Data::Ns(self.fqdn(&self.me))]),
            _ => Answer::NoData,
        }
    }

    fn forward(&self, label: &str, kind: Type, now: UnixTime, order: Order<'_>) -> Answer {
        let offers = self.visible.offers(label, now);
        if offers.is_empty() {
            return self.host_behind(label, kind, now, order.turn);
        }
        let offers = arrange(offers, order);
        records(match kind {
            Type::A => offers.iter().filter_map(|o| o.member.v4).map(Data::A).collect(),
            Type::Aaaa => offers.iter().map(|o| Data::Aaaa(o.member.v6)).collect(),
            Type::Svcb => self.bindings(label, &offers, false, now, order),
            Type::Https => self.bindings(label, &offers, true, now, order),
            _ => Vec::new(),
        })
    }

    /// Ports a client can be told: single ones. HTTPS (RFC 9460 section 9) only where the service has port 443 itself,
    /// because the record alone makes browsers turn `http` into `https`.
    fn bindings(
        &self,
        service: &str,
        offers: &[&Offer],
        https: bool,
        now: UnixTime,
        order: Order<'_>,
    ) -> Vec<Data> {
        let ports = self.visible.ports(service);
        let wanted = |port: u16, protocol| protocol == Protocol::Tcp && (!https || port == 443);
        let ports: Vec<u16> = ports.iter().filter(|(p, n)| wanted(*n, *p)).map(|(_, n)| *n).collect();
        let one = |offer: &Offer, port: u16| Data::Svcb {
            https,
            priority: order.standing(offer).priority() + 1,
            port: Some(port).filter(|_| !https),
            target: self.fqdn(offer.member.name()),
            v4: offer.member.v4,
            v6: Some(offer.member.v6),
        };
        let may = |offer: &Offer, port| self.visible.may_open(offer, Protocol::Tcp, port, now);
        let all = offers.iter().flat_map(|offer| ports.iter().map(move |port| (*offer, *port)));
        all.filter(|(offer, port)| may(offer, *port)).map(|(offer, port)| one(offer, port)).collect()
    }

    fn ports(
        &self,
        service: &str,
        protocol: Protocol,
        kind: Type,
        now: UnixTime,
        order: Order<'_>,
    ) -> Answer {
        let ports: Vec<u16> =
            self.visible.ports(service).iter().filter(|(p, _)| *p == protocol).map(|(_, n)| *n).collect();
        let offers = arrange(self.visible.offers(service, now), order);
        let all = offers.iter().flat_map(|offer| ports.iter().map(move |port| (*offer, *port)));
        let open = all.filter(|(offer, port)| self.visible.may_open(offer, protocol, *port, now));
        let one = |offer: &Offer, port| Data::Srv {
            priority: order.standing(offer).priority(),
            port,
            target: self.fqdn(offer.member.name()),
        };
        let mut found: Vec<Data> = open.map(|(offer, port)| one(offer, port)).collect();
        if self.visible.behind.has_hosts(service, now) {
            let target = format!("{service}.{}", self.zone);
            found.extend(ports.iter().map(|port| Data::Srv {
                priority: 0,
                port: *port,
                target: target.clone(),
            }));
        }
        match found.is_empty() {
            true => Answer::NxDomain,
            false if kind == Type::Srv => Answer::Records(found),
            false => Answer::NoData,
        }
    }

    fn pointer(&self, ip: IpAddr, kind: Type, now: UnixTime) -> Answer {
        match self.visible.holder(ip, now) {
            None => Answer::NxDomain,
            Some(name) if kind == Type::Ptr => Answer::Records(vec![Data::Ptr(self.fqdn(name))]),
            Some(_) => Answer::NoData,
        }
    }

    /// A service of hosts without an agent. It may be that nothing of it can be told but that it exists.
    fn host_behind(&self, service: &str, kind: Type, now: UnixTime, turn: u64) -> Answer {
        let Some(hosts) = self.visible.behind.hosts(service, now) else { return Answer::NxDomain };
        let bound = |https: bool| {
            let ports = self.visible.ports(service).iter().filter(|(protocol, _)| *protocol == Protocol::Tcp);
            let ports = ports.map(|(_, port)| *port).filter(|port| !https || *port == 443);
            // Its addresses stand at the very name that was asked for.
            let target = format!("{service}.{}", self.zone);
            let one = |port: u16| Data::Svcb {
                https,
                priority: 1,
                port: Some(port).filter(|_| !https),
                target: target.clone(),
                v4: None,
                v6: None,
            };
            if hosts.is_empty() { Vec::new() } else { ports.map(one).collect() }
        };
        records(match kind {
            Type::A => in_turn(hosts.into_iter().filter_map(v4).map(Data::A).collect(), turn),
            Type::Aaaa => in_turn(hosts.into_iter().filter_map(v6).map(Data::Aaaa).collect(), turn),
            Type::Svcb => bound(false),
            Type::Https => bound(true),
            _ => Vec::new(),
        })
    }

    /// An address outside the overlay: ours only as far as it is a host that may be reached behind a gateway.
    fn pointer_behind(&self, ip: IpAddr, kind: Type, now: UnixTime) -> Answer {
        let names: Vec<Data> =
            self.visible.behind.names(ip, now).map(|name| Data::Ptr(self.fqdn(name))).collect();
        match kind {
            _ if names.is_empty() && kind == Type::Whole => Answer::Refused,
            _ if names.is_empty() => Answer::NotOurs,
            Type::Whole => Answer::Refused,
            Type::Ptr => Answer::Records(names),
            _ => Answer::NoData,
        }
    }

    fn fqdn(&self, name: &Name) -> String {
        format!("{name}.{}", self.zone)
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(v4) = address { Some(v4) } else { None }
}

fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(v6) = address { Some(v6) } else { None }
}

fn records(found: Vec<Data>) -> Answer {
    if found.is_empty() { Answer::NoData } else { Answer::Records(found) }
}

fn in_turn<T>(mut all: Vec<T>, turn: u64) -> Vec<T> {
    if !all.is_empty() {
        let by = turn % all.len() as u64;
        all.rotate_left(by as usize);
    }
    all
}

/// Near ones first, in turn; those that do not answer at the end.
fn arrange<'a>(offers: Vec<&'a Offer>, order: Order<'_>) -> Vec<&'a Offer> {
    let mut offers = in_turn(offers, order.turn);
    if offers.len() > 1 && !order.standings.is_empty() {
        offers.sort_by_key(|offer| order.standing(offer));
    }
    offers
}

/// `rest` is what stands before the zone. Anything but one plain label, or `_service._protocol`, cannot exist: escapes,
/// look-alikes, deeper names.
fn place_in_zone(rest: &str) -> Place<'_> {
    let protocol = |text| match text {
        "_tcp" => Some(Protocol::Tcp),
        "_udp" => Some(Protocol::Udp),
        _ => None,
    };
    if Name::is_valid(rest) {
        return Place::Label(rest);
    }
    if let Some(protocol) = protocol(rest) {
        return Place::AbovePorts(protocol);
    }
    let parts = rest.split_once('.').and_then(|(s, p)| Some((s.strip_prefix('_')?, protocol(p)?)));
    match parts {
        Some((service, protocol)) if Name::is_valid(service) => Place::Port(service, protocol),
        _ => Place::Nothing,
    }
}

/// Where a question stands.
enum Place<'a> {
    Elsewhere,
    /// The reverse name of an address outside the overlay.
    Abroad(IpAddr),
    Apex,
    /// One valid label under the zone.
    Label(&'a str),
    /// `_service._tcp` or `_service._udp` under the zone.
    Port(&'a str, Protocol),
    /// `_tcp` or `_udp` itself: it exists, empty, if something is under it (RFC 8020).
    AbovePorts(Protocol),
    /// In our zones, but no name can stand there.
    Nothing,
    Address(IpAddr),
    /// A reverse name above addresses of ours: it exists, empty.
    Above,
}
