//! A place a peer is reached at.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use warren_wire::id::RelayId;
use warren_wire::relay::Seat;

/// An address of the underlay, or a seat at one of the network's relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Direct(SocketAddr),
    Relayed(RelayId, Seat),
}

impl Place {
    pub fn direct(self) -> Option<SocketAddr> {
        match self {
            Place::Direct(address) => Some(address),
            Place::Relayed(..) => None,
        }
    }

    /// The relay on the way.
    pub fn relay(self) -> Option<RelayId> {
        match self {
            Place::Direct(_) => None,
            Place::Relayed(relay, _) => Some(relay),
        }
    }

    pub fn is_direct(self) -> bool {
        matches!(self, Place::Direct(_))
    }

    /// Whom limits and cookies are for.
    pub fn source(self) -> SocketAddr {
        match self {
            Place::Direct(address) => address,
            Place::Relayed(_, seat) => source_of(seat),
        }
    }
}

/// A seat's frames are authentic, so it has limits of its own, whichever relay it speaks over, under an address that nobody
/// has (RFC 6666).
pub fn source_of(seat: Seat) -> SocketAddr {
    let [high, low] = [seat.number() >> 16, seat.number() & 0xffff];
    // The lower half: limits are for a /64.
    SocketAddr::new(Ipv6Addr::new(0x100, 0, high as u16, low as u16, 0, 0, 0, 0).into(), 0)
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Place {
        Place::Direct(address)
    }
}

/// As people read it: `192.0.2.1:51820`, or `relayed (seat 7, relay 1a2b3c4d)`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Direct(address) => address.fmt(f),
            Place::Relayed(relay, seat) => {
                let relay: String = relay.to_string().chars().take(8).collect();
                write!(f, "relayed (seat {}, relay {relay})", seat.number())
            }
        }
    }
}

impl serde::Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seat_is_a_source_of_its_own() {
        let source = |number| Place::Relayed(RelayId([1; 16]), Seat::new(number).unwrap()).source();
        let bytes = |number| match source(number).ip() {
            std::net::IpAddr::V6(v6) => v6.octets()[..8].to_vec(),
            std::net::IpAddr::V4(_) => Vec::new(),
        };
        assert_ne!(bytes(1), bytes(2));
        assert_ne!(bytes(1), bytes(1 << 16 | 1));
    }
}
