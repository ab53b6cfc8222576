//! What the WireGuard sockets send through doors: datagrams for a relay go to a door's socket in its place, and what comes
//! from there came from the relay.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Detour {
    /// Its addresses.
    relay: Vec<SocketAddr>,
    door: SocketAddr,
    /// Datagrams go there now; if not, it is only heard.
    used: bool,
}

/// Read for every batch, changed by the control half.
#[derive(Debug, Default)]
pub struct Detours {
    any: AtomicBool,
    list: ArcSwap<Vec<Detour>>,
}

impl Detours {
    /// Where to send what is for `to`.
    pub fn out(&self, to: SocketAddr) -> SocketAddr {
        if !self.any.load(Ordering::Relaxed) {
            return to;
        }
        let list = self.list.load();
        list.iter().find(|detour| detour.used && detour.relay.contains(&to)).map_or(to, |detour| detour.door)
    }

    /// Whose it is, what came from `from`.
    pub fn back(&self, from: SocketAddr) -> SocketAddr {
        if !self.any.load(Ordering::Relaxed) {
            return from;
        }
        let list = self.list.load();
        let detour = list.iter().find(|detour| detour.door == from);
        detour.and_then(|detour| detour.relay.first().copied()).unwrap_or(from)
    }

    /// What is for `relay`, at any of its addresses, goes to `door` from now on, or is heard from there only.
    pub fn set(&self, relay: &[SocketAddr], door: SocketAddr, used: bool) {
        self.change(|list| {
            list.retain(|detour| detour.door != door);
            list.push(Detour { relay: relay.to_vec(), door, used });
        });
    }

    /// The door is closed.
    pub fn remove(&self, door: SocketAddr) {
        self.change(|list| list.retain(|detour| detour.door != door));
    }

    fn change(&self, change: impl Fn(&mut Vec<Detour>)) {
        self.list.rcu(|list| {
            let mut list = Vec::clone(list);
            change(&mut list);
            list
        });
        self.any.store(!self.list.load().is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_for_the_relay_goes_through_its_door_and_back_it_is_the_relays() {
        let at = |text: &str| -> SocketAddr { text.parse().expect("address") };
        let (relay, other, door) = (at("192.0.2.1:7946"), at("192.0.2.2:7946"), at("127.0.0.1:4000"));
        let detours = Detours::default();
        assert_eq!((detours.out(relay), detours.back(door)), (relay, door));
        detours.set(&[relay], door, true);
        assert_eq!((detours.out(relay), detours.out(other), detours.back(door)), (door, other, relay));
        detours.set(&[relay], door, false);
        assert_eq!((detours.out(relay), detours.back(door)), (relay, relay), "late datagrams are heard");
        detours.remove(door);
        assert_eq!(detours.back(door), door);
    }
}
