//! Where nodes may be reached underneath: what they report of themselves, and where the coordinator sees them. Hints only;
//! WireGuard proves who answers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use warren_wire::id::NodeId;
use warren_wire::relay::Seat;
use warren_wire::trust::Network;
use warren_wire::underlay;
use warren_wire::view::MAX_CANDIDATES;

/// One node's candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub own: Vec<SocketAddr>,
    /// What its WireGuard socket looks like from outside a NAT, as it says.
    pub mapped: Vec<SocketAddr>,
    /// The same where it has proven that it receives there ([`warren_wire::stun::Proof`]).
    pub proven: Vec<SocketAddr>,
    /// The WireGuard port it named, to pair with the address it is seen at.
    pub port: u16,
    pub seen: Option<IpAddr>,
}

impl Reported {
    /// Where the node is seen comes first: behind a NAT nothing else can work. A NAT may have given its WireGuard socket
    /// another port there; what it says of that is believed of no other host than the one it is seen at, unless it has proven
    /// more, so that it cannot aim its peers at a stranger.
    pub fn candidates(&self, network: &Network) -> Vec<SocketAddr> {
        let mapped = self.mapped.iter().copied().filter(|place| Some(place.ip()) == self.seen);
        let seen = self.seen.map(|ip| SocketAddr::new(ip, self.port));
        let mut list: Vec<SocketAddr> = Vec::new();
        let proven = self.proven.iter().copied();
        let all = mapped.chain(seen).chain(proven).chain(self.own.iter().copied());
        for candidate in all.filter(|c| is_usable(network, *c)) {
            underlay::add(&mut list, candidate);
        }
        list
    }
}

/// Reads at most eight candidates of a report; the rest, and what is not an address, is left out.
pub fn parse(texts: &[String]) -> Vec<SocketAddr> {
    let texts = texts.iter().take(MAX_CANDIDATES).filter(|text| text.len() <= 64);
    texts.filter_map(|text| text.parse().ok()).map(plain).collect()
}

/// An IPv4 address in IPv6 clothes (RFC 4291 section 2.5.5.2) is an IPv4 address.
pub fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Nothing inside the overlay, on the host itself, on one link only, or for many at once.
pub fn is_usable(network: &Network, candidate: SocketAddr) -> bool {
    let ip = candidate.ip();
    let overlay = match ip {
        IpAddr::V4(ip) => network.v4_range.contains(&ip),
        IpAddr::V6(ip) => network.v6_prefix.contains(&ip),
    };
    underlay::is_of_one_host(ip) && !ip.is_loopback() && !overlay && candidate.port() != 0
}

/// Candidates of all nodes, since the coordinator started.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    reported: BTreeMap<NodeId, Reported>,
    usable: BTreeMap<NodeId, Vec<SocketAddr>>,
    seats: BTreeMap<NodeId, Seat>,
}

impl Endpoints {
    pub fn of(&self, node: &NodeId) -> &[SocketAddr] {
        self.usable.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// Its seat at the network's relay, where it can be reached if nowhere else.
    pub fn seat(&self, node: &NodeId) -> Option<Seat> {
        self.seats.get(node).copied()
    }

    /// True if it had another or none.
    pub fn give_seat(&mut self, node: NodeId, seat: Seat) -> bool {
        self.seats.insert(node, seat) != Some(seat)
    }

    /// What the node reported, for a change to be made on.
    pub fn reported(&self, node: &NodeId) -> Reported {
        self.reported.get(node).cloned().unwrap_or_default()
    }

    /// Would others be told something else?
    pub fn would_change(&self, network: &Network, node: &NodeId, reported: &Reported) -> bool {
        self.of(node) != reported.candidates(network)
    }

    /// True if what others are told has changed.
    pub fn update(&mut self, network: &Network, node: NodeId, change: impl FnOnce(&mut Reported)) -> bool {
        let reported = self.reported.entry(node).or_default();
        change(reported);
        let usable = reported.candidates(network);
        let before = self.usable.insert(node, usable.clone()).unwrap_or_default();
        before != usable
    }

    pub fn forget(&mut self, node: &NodeId) {
        self.reported.remove(node);
        self.usable.remove(node);
        self.seats.remove(node);
    }
}
