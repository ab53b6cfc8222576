//! Addresses at which somebody has shown that he receives, and is still there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;

#[derive(Clone, Debug, Default)]
pub struct Proven(Arc<RwLock<HashMap<IpAddr, usize>>>);

/// One who receives there; taken back when dropped.
#[derive(Debug)]
pub struct Proof {
    at: IpAddr,
    proven: Proven,
}

impl Proven {
    pub fn enter(&self, at: IpAddr) -> Proof {
        let at = at.to_canonical();
        *self.0.write().entry(at).or_default() += 1;
        Proof { at, proven: self.clone() }
    }

    /// What goes there does not wait for an address that nobody has: of one's own host there are none.
    pub fn has(&self, at: IpAddr) -> bool {
        let at = at.to_canonical();
        at.is_loopback() || self.0.read().contains_key(&at)
    }
}

impl Proof {
    pub fn at(&self) -> IpAddr {
        self.at
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let mut all = self.proven.0.write();
        if let Some(count) = all.get_mut(&self.at) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_proven_as_long_as_one_of_those_who_showed_it_is_there() {
        let proven = Proven::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = proven.enter(at("::ffff:192.0.2.1"));
        let two = proven.enter(at("192.0.2.1"));
        drop(one);
        assert!(proven.has(at("::ffff:192.0.2.1")) && !proven.has(at("192.0.2.2")));
        drop(two);
        assert!(!proven.has(at("192.0.2.1")) && proven.has(at("127.0.0.9")));
        assert!(proven.0.read().is_empty());
    }
}
