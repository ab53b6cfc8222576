//! Paths that are narrower than the tunnel's MTU.
//!
//! The TUN has one MTU for all peers, and never less than 1280 (below it the kernel takes the IPv6 addresses away). What
//! the underlay carries to one peer may be less: a link with a smaller MTU, or a router that said so. The hands learn it
//! when a datagram does not fit, and from then on, for that peer only:
//!
//! 1. a SYN announces no larger segments than fit, both ways ([`crate::packet::mss`]);
//! 2. TCP segments that are too large are cut anew ([`crate::packet::split::Plan::narrowed`]);
//! 3. of other packets the sender is told (RFC 1191, RFC 8201), if it may be told and can act on it (IPv6: no less than 1280);
//! 4. what is left (IPv4 that may be fragmented, IPv6 at its minimum of 1280) leaves in fragments of the underlay.

use std::net::SocketAddr;

use warren_wire::relay::HEAD;

use crate::path::Place;
use crate::session::{DATA_OVERHEAD, Engine};

use super::DataPlane;

/// No path is believed to be narrower than this for inner packets: a forged "packet too big" must not make every
/// segment tiny. What does not fit then leaves in fragments.
const LEAST: usize = 1000;
const UDP_HEADER: usize = 8;

/// The largest inner packet for an underlay that carries packets of `mtu` bytes to `to`.
pub fn inner_mtu(to: SocketAddr, mtu: usize) -> usize {
    let ip = if to.is_ipv4() { 20 } else { 40 };
    mtu.saturating_sub(ip + UDP_HEADER + DATA_OVERHEAD).max(LEAST)
}

/// The same where each datagram has a relay's head in front.
fn relayed_mtu(relay: SocketAddr, mtu: usize) -> usize {
    inner_mtu(relay, mtu.saturating_sub(HEAD))
}

/// Underlays there are: PPPoE, tunnels of clouds, IPv6's least, and one with two tunnels in it.
const UNDERLAYS: [usize; 5] = [1492, 1400, 1300, 1280, 1124];

/// Sizes of inner packets that a path may carry, largest first.
pub(super) fn ladder(carrier: SocketAddr, place: Place) -> [usize; UNDERLAYS.len()] {
    UNDERLAYS.map(|mtu| match place {
        Place::Direct(_) => inner_mtu(carrier, mtu),
        Place::Relayed(..) => relayed_mtu(carrier, mtu),
    })
}

impl<E: Engine> DataPlane<E> {
    /// The underlay carries packets of `mtu` bytes to the peers at `to`.
    pub fn set_underlay_mtu(&self, to: SocketAddr, mtu: usize) {
        let known = |inner: usize| if inner < self.settings.mtu { inner } else { usize::MAX };
        for peer in &self.snapshot.load().peers {
            let place = peer.link.endpoint().filter(|place| self.carrier(*place) == Some(to));
            match place {
                Some(Place::Direct(_)) => peer.link.set_mtu(known(inner_mtu(to, mtu))),
                Some(Place::Relayed(..)) => peer.link.set_mtu(known(relayed_mtu(to, mtu))),
                None => {}
            }
        }
    }

    /// Places of peers whose path is narrower than the tunnel: to be looked at again.
    pub fn narrow_paths(&self) -> Vec<SocketAddr> {
        let snapshot = self.snapshot.load();
        let narrow = snapshot.peers.iter().filter(|peer| peer.link.known_mtu() < self.settings.mtu);
        let mut places: Vec<SocketAddr> =
            narrow.filter_map(|peer| self.carrier(peer.link.endpoint()?)).collect();
        places.dedup();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_mtu_leaves_room_for_ip_udp_and_wireguard() {
        let (v4, v6) = (([192, 0, 2, 1], 1).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1).into());
        assert_eq!(inner_mtu(v4, 1500), 1440);
        assert_eq!(inner_mtu(v6, 1500), 1420);
        assert_eq!(inner_mtu(v6, 552), LEAST);
    }
}
