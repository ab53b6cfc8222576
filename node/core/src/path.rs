//! Where a peer is: candidates from the coordinator are hints, an authenticated packet is proof.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use warren_wire::trust::Network;

use crate::clock::Mono;

/// Candidates kept per peer, and moves remembered.
pub const MAX_CANDIDATES: usize = 8;
pub const MAX_MOVES: usize = 8;

/// Where the underlay is. Loopback endpoints are believed only by a node that itself has nothing but loopback
/// candidates: that is a test on one machine, where nothing else could work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locality {
    #[default]
    Wide,
    Loopback,
}

impl Locality {
    /// Judged by this node's own candidates; none at all is `Wide`.
    pub fn of(own: &[SocketAddr]) -> Locality {
        match !own.is_empty() && own.iter().all(|a| a.ip().is_loopback()) {
            true => Locality::Loopback,
            false => Locality::Wide,
        }
    }
}

/// May `endpoint` be a peer's underlay address? Never an address of the overlay itself (a tunnel inside the tunnel),
/// nor one that no single host answers at.
pub fn acceptable(endpoint: SocketAddr, network: &Network, locality: Locality) -> bool {
    let ip = endpoint.ip();
    let overlay = match ip {
        IpAddr::V4(v4) => network.v4_range.contains(&v4),
        IpAddr::V6(v6) => network.v6_prefix.contains(&v6),
    };
    let local = !ip.is_loopback() || locality == Locality::Loopback;
    endpoint.port() != 0 && !overlay && local && is_unicast(ip)
}

fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let reserved = v4.octets()[0] == 0 || v4.octets()[0] >= 224;
            !reserved && !v4.is_link_local() && v4 != Ipv4Addr::BROADCAST
        }
        // A mapped IPv4 address would be a second spelling of the same place.
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some();
            !mapped && !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local()
        }
    }
}

/// Those in a subnet of ours first (IPv4 /24, IPv6 /64), otherwise as given; duplicates removed, at most [`MAX_CANDIDATES`].
pub fn order(candidates: &[SocketAddr], own: &[SocketAddr]) -> Vec<SocketAddr> {
    let near = |c: &SocketAddr| own.iter().any(|o| same_subnet(c.ip(), o.ip()));
    let (first, rest): (Vec<SocketAddr>, Vec<SocketAddr>) = candidates.iter().copied().partition(near);
    let mut ordered = Vec::new();
    for candidate in first.into_iter().chain(rest) {
        if !ordered.contains(&candidate) && ordered.len() < MAX_CANDIDATES {
            ordered.push(candidate);
        }
    }
    ordered
}

/// Those of an address family this node has itself; all, if that leaves none, or if its own addresses are unknown.
pub fn speakable(candidates: Vec<SocketAddr>, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let spoken = |c: &SocketAddr| own.iter().any(|o| o.is_ipv4() == c.is_ipv4());
    match candidates.iter().any(spoken) {
        true => candidates.into_iter().filter(spoken).collect(),
        false => candidates,
    }
}

fn same_subnet(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => false,
    }
}

/// Why a peer's endpoint changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveReason {
    /// The coordinator's candidates, when nothing better was known.
    Told,
    /// An authenticated packet came from there.
    Roamed,
    /// Handshakes went unanswered at the one before.
    Unanswered,
    /// The coordinator no longer names it and no packet ever proved it.
    Withdrawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub at: Mono,
    pub from: Option<SocketAddr>,
    pub to: Option<SocketAddr>,
    pub reason: MoveReason,
}

/// The endpoints of one peer.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    candidates: Vec<SocketAddr>,
    current: Option<SocketAddr>,
    /// The address the last authenticated packet came from.
    proven: Option<SocketAddr>,
    moves: VecDeque<Move>,
}

impl Endpoints {
    pub fn new(candidates: Vec<SocketAddr>, now: Mono) -> Endpoints {
        let mut endpoints = Endpoints::default();
        endpoints.set_candidates(candidates, now);
        endpoints
    }

    pub fn current(&self) -> Option<SocketAddr> {
        self.current
    }

    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// The address the last authenticated packet came from.
    pub fn proven(&self) -> Option<SocketAddr> {
        self.proven
    }

    /// Everywhere the peer may be: the current place, the others it was told at, the last one proven.
    pub fn places(&self) -> Vec<SocketAddr> {
        let mut places = Vec::new();
        for place in self.current.iter().chain(&self.candidates).chain(&self.proven) {
            if !places.contains(place) && places.len() < MAX_CANDIDATES {
                places.push(*place);
            }
        }
        places
    }

    /// Oldest first, at most [`MAX_MOVES`].
    pub fn moves(&self) -> impl Iterator<Item = &Move> {
        self.moves.iter()
    }

    /// New hints, best first, already filtered by [`acceptable`]. A proven endpoint stays: hints never move it, unless
    /// no hint is left of its address family. Then this node or the peer has none any more, and waiting for unanswered
    /// handshakes would only cost a quarter of a minute.
    pub fn set_candidates(&mut self, candidates: Vec<SocketAddr>, now: Mono) {
        self.candidates = candidates;
        self.candidates.truncate(MAX_CANDIDATES);
        let stays = self.current.is_some_and(|c| {
            let family =
                self.candidates.is_empty() || self.candidates.iter().any(|o| o.is_ipv4() == c.is_ipv4());
            self.proven == Some(c) && family || self.candidates.contains(&c)
        });
        if !stays {
            let reason = if self.candidates.is_empty() { MoveReason::Withdrawn } else { MoveReason::Told };
            self.move_to(self.candidates.first().copied(), reason, now);
        }
    }

    /// A packet from `from` was authenticated by the peer's session: it is there now. True if that is a move.
    /// The caller has checked [`acceptable`].
    pub fn handle_authenticated(&mut self, from: SocketAddr, now: Mono) -> bool {
        self.proven = Some(from);
        let moved = self.current != Some(from);
        self.move_to(Some(from), MoveReason::Roamed, now);
        moved
    }

    /// Handshakes to the current endpoint go unanswered: the next one to try, round robin over the candidates and
    /// the last proven address.
    pub fn handle_unanswered(&mut self, now: Mono) -> Option<SocketAddr> {
        let extra = self.proven.filter(|p| !self.candidates.contains(p));
        let ring: Vec<SocketAddr> = self.candidates.iter().copied().chain(extra).collect();
        let at = ring.iter().position(|c| Some(*c) == self.current);
        let next = at.map_or(0, |i| i + 1) % ring.len().max(1);
        if let Some(next) = ring.get(next) {
            self.move_to(Some(*next), MoveReason::Unanswered, now);
        }
        self.current
    }

    fn move_to(&mut self, to: Option<SocketAddr>, reason: MoveReason, at: Mono) {
        if self.current == to {
            return;
        }
        if self.moves.len() == MAX_MOVES {
            self.moves.pop_front();
        }
        self.moves.push_back(Move { at, from: self.current, to, reason });
        self.current = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that has moved to the other family is not there any more, whatever was proven.
    #[test]
    fn a_proven_endpoint_of_a_family_nobody_names_any_more_is_left() {
        let (v4, v6) = (at("192.0.2.1:1"), at("[2001:db8::1]:1"));
        let mut endpoints = Endpoints::new(vec![v4, v6], Mono(0));
        endpoints.handle_authenticated(v4, Mono(1));
        endpoints.set_candidates(vec![v6], Mono(2));
        assert_eq!(endpoints.current(), Some(v6));
        endpoints.handle_authenticated(v6, Mono(3));
        endpoints.set_candidates(vec![], Mono(4));
        assert_eq!(endpoints.current(), Some(v6));
        assert_eq!(speakable(vec![v4, v6], &[v6]), vec![v6]);
        assert_eq!(speakable(vec![v4], &[v6]), vec![v4]);
    }

    fn network() -> Network {
        Network {
            id: warren_wire::id::NetworkId([1; 16]),
            name: "test".into(),
            v4_range: "100.64.0.0/10".parse().unwrap(),
            v6_prefix: "fd00:1:2::/48".parse().unwrap(),
            coordinators: Vec::new(),
            serial: 1,
        }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Field note 38: an endpoint that is reachable only through the overlay is a tunnel in the tunnel.
    #[test]
    fn an_endpoint_is_never_inside_the_overlay_nor_nowhere() {
        let bad = [
            "100.64.0.1:1",
            "100.127.255.254:1",
            "[fd00:1:2::9]:1",
            "0.0.0.0:1",
            "0.1.2.3:1",
            "[::]:1",
            "224.0.0.1:1",
            "239.1.1.1:1",
            "255.255.255.255:1",
            "240.0.0.1:1",
            "169.254.169.254:1",
            "[ff02::1]:1",
            "[fe80::1]:1",
            "[::ffff:192.0.2.1]:1",
            "192.0.2.1:0",
            "127.0.0.1:1",
            "[::1]:1",
        ];
        for endpoint in bad {
            assert!(!acceptable(at(endpoint), &network(), Locality::Wide), "{endpoint}");
        }
        for endpoint in
            ["192.0.2.1:1", "10.0.0.1:51820", "100.128.0.1:1", "[2001:db8::1]:1", "[fd00:1:3::1]:1"]
        {
            assert!(acceptable(at(endpoint), &network(), Locality::Wide), "{endpoint}");
        }
    }

    #[test]
    fn loopback_is_believed_only_where_nothing_else_could_work() {
        let all = [at("127.0.0.1:1"), at("[::1]:1")];
        assert_eq!(Locality::of(&all), Locality::Loopback);
        assert_eq!(Locality::of(&[]), Locality::Wide);
        assert_eq!(Locality::of(&[at("127.0.0.1:1"), at("192.0.2.1:1")]), Locality::Wide);
        assert!(acceptable(at("127.0.0.1:1"), &network(), Locality::Loopback));
    }

    #[test]
    fn neighbours_come_first_and_nobody_twice() {
        let given = [at("198.51.100.1:1"), at("[2001:db8:0:1::5]:1"), at("10.0.0.5:1"), at("198.51.100.1:1")];
        let own = [at("10.0.0.9:2"), at("[2001:db8:0:2::1]:2")];
        assert_eq!(order(&given, &own), [at("10.0.0.5:1"), at("198.51.100.1:1"), at("[2001:db8:0:1::5]:1")]);
        let many: Vec<SocketAddr> = (1..20).map(|i| SocketAddr::from(([192, 0, 2, i], 1))).collect();
        assert_eq!(order(&many, &[]).len(), MAX_CANDIDATES);
    }

    #[test]
    fn only_an_authenticated_packet_moves_a_proven_endpoint() {
        let (a, b, c) = (at("192.0.2.1:1"), at("192.0.2.2:1"), at("192.0.2.3:1"));
        let mut endpoints = Endpoints::new(vec![a, b], Mono(0));
        assert_eq!(endpoints.current(), Some(a));
        assert!(endpoints.handle_authenticated(c, Mono(1)));
        assert!(!endpoints.handle_authenticated(c, Mono(2)), "no move");
        endpoints.set_candidates(vec![b], Mono(3));
        assert_eq!(endpoints.current(), Some(c), "hints do not move what is proven");
        assert_eq!(endpoints.handle_unanswered(Mono(4)), Some(b));
        assert_eq!(endpoints.handle_unanswered(Mono(5)), Some(c), "the proven address is tried again");
        let reasons: Vec<MoveReason> = endpoints.moves().map(|m| m.reason).collect();
        use MoveReason::{Roamed, Told, Unanswered};
        assert_eq!(reasons, [Told, Roamed, Unanswered, Unanswered]);
    }

    #[test]
    fn an_unproven_endpoint_follows_the_hints() {
        let (a, b) = (at("192.0.2.1:1"), at("192.0.2.2:1"));
        let mut endpoints = Endpoints::new(vec![a], Mono(0));
        endpoints.set_candidates(vec![b, a], Mono(1));
        assert_eq!(endpoints.current(), Some(a), "still named");
        endpoints.set_candidates(vec![b], Mono(2));
        assert_eq!(endpoints.current(), Some(b));
        endpoints.set_candidates(vec![], Mono(3));
        assert_eq!(endpoints.current(), None);
        assert_eq!(endpoints.handle_unanswered(Mono(4)), None);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut endpoints = Endpoints::default();
        for port in 1..100 {
            endpoints.handle_authenticated(SocketAddr::from(([192, 0, 2, 1], port)), Mono(u64::from(port)));
        }
        assert_eq!(endpoints.moves().count(), MAX_MOVES);
        assert_eq!(endpoints.moves().last().and_then(|m| m.to), Some(at("192.0.2.1:99")));
    }
}
