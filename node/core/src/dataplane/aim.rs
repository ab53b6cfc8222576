//! How much goes to an address that is a hint and no more.
//!
//! Whoever names a stranger's address as its own, at many ports or under many names, must not aim this node at the stranger. So retries of
//! handshakes and questions about paths are few a second to one address (an IPv6 /64), whatever the number of peers it is named for, until
//! somebody has answered there. What is left out is tried again in a few seconds; a relay carries meanwhile.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::clock::Mono;

/// Datagrams to one address in a second: hosts behind one NAT have the same.
pub(super) const A_SECOND: u32 = 64;
/// Addresses that are hints, in a second.
const ROOM: usize = 4096;
const NANOS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Aim {
    second: u64,
    sent: BTreeMap<IpAddr, u32>,
}

impl Aim {
    /// May one more go there now?
    pub fn may(&mut self, to: SocketAddr, now: Mono) -> bool {
        let second = now.0 / NANOS;
        if self.second != second {
            self.second = second;
            self.sent.clear();
        }
        let to = block(to.ip());
        if self.sent.len() >= ROOM && !self.sent.contains_key(&to) {
            return false;
        }
        let sent = self.sent.entry(to).or_default();
        *sent = sent.saturating_add(1);
        *sent <= A_SECOND
    }
}

/// Who has one address of a /64 has all of them.
fn block(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_hears_little_in_a_second_at_whatever_port_and_others_as_much() {
        let mut aim = Aim::default();
        let now = Mono::from_millis(5_000);
        let heard = |aim: &mut Aim, now| {
            (1..1000).filter(|port| aim.may(SocketAddr::from(([192, 0, 2, 1], *port)), now)).count()
        };
        assert_eq!(heard(&mut aim, now), A_SECOND as usize);
        assert!(aim.may(at("192.0.2.2:1"), now));
        let one_subnet = |n: u16| at(&format!("[2001:db8::{n:x}]:1"));
        assert_eq!((0..1000).filter(|n| aim.may(one_subnet(*n), now)).count(), A_SECOND as usize);
        assert_eq!(heard(&mut aim, now.plus_millis(1000)), A_SECOND as usize);
    }

    #[test]
    fn however_many_addresses_are_named_little_is_remembered() {
        let mut aim = Aim::default();
        let now = Mono::from_millis(5_000);
        let named = (0..100_000u32).filter(|n| aim.may(SocketAddr::from((n.to_be_bytes(), 1)), now)).count();
        assert_eq!((named, aim.sent.len()), (ROOM, ROOM));
        assert!(aim.may(at("192.0.2.2:1"), now.plus_millis(1000)));
    }
}
