//! A NAT as RFC 4787 describes it, in virtual time: how it maps, whom it lets in, for how long, and what it does with what comes
//! from inside for its own outside.
//!
//! It has one outside address (section 4.1, "paired" pooling) and gives ports in the order in which they are asked for, so that nobody can guess
//! the next one from the one before.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::clock::SECOND;

/// What a mapping or a filter looks at (RFC 4787 sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependence {
    EndpointIndependent,
    Address,
    AddressAndPort,
}

pub use Dependence::{Address, AddressAndPort, EndpointIndependent};

/// One make of NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub mapping: Dependence,
    pub filtering: Dependence,
    /// A mapping that nothing left through for so long is forgotten, nanoseconds (section 4.3).
    pub life: u64,
    /// Do hosts inside reach each other at the outside address (section 6)?
    pub hairpin: bool,
}

impl Kind {
    pub const fn new(mapping: Dependence, filtering: Dependence) -> Kind {
        Kind { mapping, filtering, life: 120 * SECOND, hairpin: false }
    }
    /// `life` in seconds.
    pub const fn living(self, life: u64) -> Kind {
        Kind { life: life * SECOND, ..self }
    }
    pub const fn hairpinning(self) -> Kind {
        Kind { hairpin: true, ..self }
    }
}

/// The inner end, and what of the outer end the mapping depends on.
type Key = (SocketAddr, Option<IpAddr>, Option<u16>);

#[derive(Clone, Debug)]
struct Mapping {
    port: u16,
    /// When something last left through it.
    used: u64,
    /// To whom something left, and when.
    spoken_to: BTreeMap<SocketAddr, u64>,
}

#[derive(Clone, Debug)]
pub struct Nat {
    pub kind: Kind,
    outside: IpAddr,
    mappings: BTreeMap<Key, Mapping>,
    ports: BTreeMap<u16, Key>,
    next: u64,
}

/// Ports that are given (RFC 6335 section 6, without those of the system).
const FIRST: u64 = 1024;
const PORTS: u64 = 65_536 - FIRST;
/// Steps through all of them: it shares no factor with their number.
const STRIDE: u64 = 10_007;

impl Nat {
    pub fn new(kind: Kind, outside: IpAddr, first: u64) -> Nat {
        Nat { kind, outside, mappings: BTreeMap::new(), ports: BTreeMap::new(), next: first }
    }

    pub fn outside(&self) -> IpAddr {
        self.outside
    }

    /// A datagram leaves: as whom it is seen.
    pub fn outbound(&mut self, inner: SocketAddr, to: SocketAddr, now: u64) -> SocketAddr {
        let key = match self.kind.mapping {
            EndpointIndependent => (inner, None, None),
            Address => (inner, Some(to.ip()), None),
            AddressAndPort => (inner, Some(to.ip()), Some(to.port())),
        };
        self.forget_if_old(key, now);
        if !self.mappings.contains_key(&key) {
            let port = self.fresh_port();
            self.ports.insert(port, key);
            self.mappings.insert(key, Mapping { port, used: now, spoken_to: BTreeMap::new() });
        }
        let Some(mapping) = self.mappings.get_mut(&key) else { return SocketAddr::new(self.outside, 0) };
        mapping.used = now;
        mapping.spoken_to.insert(to, now);
        SocketAddr::new(self.outside, mapping.port)
    }

    /// A datagram comes to the outside: whose it is, if it may pass.
    pub fn inbound(&mut self, from: SocketAddr, port: u16, now: u64) -> Option<SocketAddr> {
        let key = *self.ports.get(&port)?;
        self.forget_if_old(key, now);
        let mapping = self.mappings.get(&key)?;
        let life = self.kind.life;
        let fresh = |at: &u64| now.saturating_sub(*at) <= life;
        let passes = match self.kind.filtering {
            EndpointIndependent => true,
            Address => mapping.spoken_to.iter().any(|(to, at)| to.ip() == from.ip() && fresh(at)),
            AddressAndPort => mapping.spoken_to.get(&from).is_some_and(fresh),
        };
        passes.then_some(key.0)
    }

    /// As after a power cut: every mapping is another one from now on.
    pub fn rebind(&mut self) {
        self.mappings.clear();
        self.ports.clear();
    }

    fn forget_if_old(&mut self, key: Key, now: u64) {
        let old = |mapping: &Mapping| now.saturating_sub(mapping.used) > self.kind.life;
        if let Some(mapping) = self.mappings.get(&key).filter(|mapping| old(mapping)) {
            self.ports.remove(&mapping.port);
            self.mappings.remove(&key);
        }
    }

    fn fresh_port(&mut self) -> u16 {
        loop {
            self.next += 1;
            let port = (FIRST + self.next.wrapping_mul(STRIDE) % PORTS) as u16;
            if !self.ports.contains_key(&port) {
                return port;
            }
        }
    }
}

/// One end of a pair, as physics see it: no NAT at all, or one of this kind.
pub type End = Option<Kind>;

/// Is there a direct way between two hosts that are told where the other's mapping towards the coordinator is, both send there, and
/// answer whoever is heard? Reasoned from the words of the RFC, and shares nothing with [`Nat`].
pub fn can_meet(a: End, b: End) -> bool {
    hears(a, b) || hears(b, a)
}

/// `a` speaks to where `b` is known to be: is it let in, and is the answer?
fn hears(a: End, b: End) -> bool {
    let fixed = |end: End| end.is_none_or(|kind| kind.mapping == EndpointIndependent);
    let let_in = match b {
        None => true,
        Some(b) => match b.filtering {
            EndpointIndependent => true,
            // What `b` sent to `a` opened the mapping that `a` was told of only if it has just that one.
            Address => fixed(Some(b)),
            AddressAndPort => fixed(Some(b)) && fixed(a),
        },
    };
    let answer_let_in = match a {
        None => true,
        Some(a) => match a.filtering {
            EndpointIndependent | Address => true,
            AddressAndPort => fixed(b),
        },
    };
    let_in && answer_let_in
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn nat(mapping: Dependence, filtering: Dependence) -> Nat {
        Nat::new(Kind::new(mapping, filtering), "203.0.113.1".parse().unwrap(), 0)
    }

    #[test]
    fn a_mapping_depends_on_what_its_kind_says() {
        let (inner, a, b, c) =
            (at("192.168.1.2:1"), at("198.51.100.1:1"), at("198.51.100.1:2"), at("198.51.100.2:1"));
        for (kind, same) in
            [(EndpointIndependent, [true, true]), (Address, [true, false]), (AddressAndPort, [false, false])]
        {
            let mut nat = nat(kind, EndpointIndependent);
            let first = nat.outbound(inner, a, 0);
            assert_eq!([b, c].map(|to| nat.outbound(inner, to, 0) == first), same, "{kind:?}");
            assert_eq!(nat.outbound(inner, a, 1), first);
        }
    }

    #[test]
    fn a_filter_lets_in_whom_its_kind_says() {
        let (inner, asked) = (at("192.168.1.2:1"), at("198.51.100.1:1"));
        let (port, host) = (at("198.51.100.1:2"), at("198.51.100.2:1"));
        for (kind, passes) in
            [(EndpointIndependent, [true, true]), (Address, [true, false]), (AddressAndPort, [false, false])]
        {
            let mut nat = nat(EndpointIndependent, kind);
            let outside = nat.outbound(inner, asked, 0);
            assert_eq!(nat.inbound(asked, outside.port(), 0), Some(inner));
            assert_eq!(
                [port, host].map(|from| nat.inbound(from, outside.port(), 0).is_some()),
                passes,
                "{kind:?}"
            );
            assert_eq!(nat.inbound(asked, outside.port() ^ 1, 0), None);
        }
    }

    #[test]
    fn a_mapping_lives_as_long_as_something_leaves_through_it() {
        let (inner, to) = (at("192.168.1.2:1"), at("198.51.100.1:1"));
        let mut nat = nat(EndpointIndependent, EndpointIndependent);
        let first = nat.outbound(inner, to, 0);
        let life = nat.kind.life;
        assert_eq!(nat.outbound(inner, to, life), first, "used in time");
        assert_eq!(nat.inbound(to, first.port(), 2 * life), Some(inner));
        assert_eq!(nat.inbound(to, first.port(), 2 * life + 1), None, "what comes in keeps nothing alive");
        assert_ne!(nat.outbound(inner, to, 2 * life + 2), first);
        nat.rebind();
        assert_ne!(nat.outbound(inner, to, 2 * life + 3), first);
    }

    /// Physics against the machine: both send to where the other was told to be, then each answers whoever it hears.
    #[test]
    fn who_can_meet_is_who_meets() {
        let kinds = || [EndpointIndependent, Address, AddressAndPort].into_iter();
        let all = || kinds().flat_map(move |m| kinds().map(move |f| (m, f)));
        for (a, b) in all().flat_map(|a| all().map(move |b| (a, b))) {
            let meets = meets(a, b);
            let kind = |(mapping, filtering)| Some(Kind::new(mapping, filtering));
            assert_eq!(can_meet(kind(a), kind(b)), meets, "{a:?} and {b:?}");
        }
    }

    fn meets(a: (Dependence, Dependence), b: (Dependence, Dependence)) -> bool {
        let coordinator = at("198.18.0.1:7946");
        let mut nats = [
            Nat::new(Kind::new(a.0, a.1), "203.0.113.1".parse().unwrap(), 5),
            Nat::new(Kind::new(b.0, b.1), "203.0.113.2".parse().unwrap(), 9),
        ];
        let inner = [at("192.168.1.2:51820"), at("192.168.1.3:51820")];
        let known = [0, 1].map(|i| nats[i].outbound(inner[i], coordinator, 0));
        // Both have sent to where they were told, whether or not it came through.
        let seen = [0, 1].map(|i| nats[i].outbound(inner[i], known[1 - i], 1));
        [0, 1].into_iter().any(|me| {
            let other = 1 - me;
            if nats[other].inbound(seen[me], known[other].port(), 1) != Some(inner[other]) {
                return false;
            }
            let answer = nats[other].outbound(inner[other], seen[me], 1);
            nats[me].inbound(answer, seen[me].port(), 1) == Some(inner[me])
        })
    }
}
