//! Addresses at which somebody has shown that he receives: he is still there, or was a member there a few minutes ago.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// Who comes back in this time is no stranger.
const LIFE: Duration = Duration::from_secs(300);
/// Addresses of those who have gone. Who has been gone for longest is forgotten first.
const MOST: usize = 16_384;
/// Who is often seen at one address is noted so often.
const NOTED: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default)]
pub struct Proven(Arc<RwLock<All>>);

#[derive(Debug, Default)]
struct All {
    here: HashMap<IpAddr, usize>,
    lately: Lately,
}

/// Each address once, in the order in which they were last seen.
#[derive(Debug, Default)]
struct Lately {
    seen: HashMap<IpAddr, (Instant, u64)>,
    order: BTreeMap<u64, IpAddr>,
    next: u64,
}

/// One who receives there; taken back when dropped.
#[derive(Debug)]
pub struct Proof {
    at: IpAddr,
    proven: Proven,
    lasts_from: Option<Instant>,
}

impl Proven {
    pub fn enter(&self, at: IpAddr) -> Proof {
        let at = at.to_canonical();
        *self.0.write().here.entry(at).or_default() += 1;
        Proof { at, proven: self.clone(), lasts_from: None }
    }

    /// What goes there does not wait for an address that nobody has: of one's own host there are none.
    pub fn has(&self, at: IpAddr) -> bool {
        let at = at.to_canonical();
        at.is_loopback() || self.0.read().here.contains_key(&at)
    }

    /// No stranger: here, or a few minutes ago. Who has gone may have left an address that nobody has, so what goes there
    /// still leaves by the sockets for strangers.
    pub fn knows(&self, at: IpAddr) -> bool {
        self.has(at) || self.0.read().lately.has(at.to_canonical(), LIFE, Instant::now())
    }

    /// A member was seen there just now. Who is noted already is soon found.
    pub fn note(&self, at: IpAddr, is_member: impl FnOnce() -> bool) {
        let (at, now) = (at.to_canonical(), Instant::now());
        if !self.0.read().lately.has(at, NOTED, now) && is_member() {
            self.0.write().lately.keep(at, now);
        }
    }

    #[cfg(test)]
    pub fn counts(&self, at: IpAddr) -> usize {
        self.0.read().here.get(&at).copied().unwrap_or(0)
    }

    #[cfg(test)]
    pub fn remembers(&self, at: IpAddr) -> bool {
        self.0.read().lately.has(at, LIFE, Instant::now())
    }
}

impl Lately {
    fn has(&self, at: IpAddr, life: Duration, now: Instant) -> bool {
        self.seen.get(&at).is_some_and(|(since, _)| now.saturating_duration_since(*since) < life)
    }

    fn keep(&mut self, at: IpAddr, now: Instant) {
        self.next += 1;
        if let Some((_, before)) = self.seen.insert(at, (now, self.next)) {
            self.order.remove(&before);
        }
        self.order.insert(self.next, at);
        while let Some(at) = self.order.first_key_value().map(|(_, at)| *at)
            && (self.seen.len() > MOST || !self.has(at, LIFE, now))
        {
            self.order.pop_first();
            self.seen.remove(&at);
        }
    }
}

impl Proof {
    pub fn at(&self) -> IpAddr {
        self.at
    }

    /// It is a member's: if it still stands at `from`, it is remembered for some minutes after it has gone.
    pub fn lasts(&mut self, from: Instant) {
        self.lasts_from = Some(from);
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let now = Instant::now();
        let All { here, lately } = &mut *self.proven.0.write();
        if let Some(count) = here.get_mut(&self.at) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                here.remove(&self.at);
            }
        }
        if self.lasts_from.is_some_and(|from| from <= now) {
            lately.keep(self.at, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_proven_as_long_as_one_of_those_who_showed_it_is_there() {
        let proven = Proven::default();
        let one = proven.enter(at("::ffff:192.0.2.1"));
        let two = proven.enter(at("192.0.2.1"));
        drop(one);
        assert!(proven.has(at("::ffff:192.0.2.1")) && !proven.has(at("192.0.2.2")));
        drop(two);
        assert!(!proven.has(at("192.0.2.1")) && proven.has(at("127.0.0.9")));
        assert!(proven.0.read().here.is_empty());
    }

    #[test]
    fn a_member_is_known_for_minutes_after_it_has_gone_and_a_stranger_is_not() {
        let proven = Proven::default();
        let (mut member, mut passer) = (proven.enter(at("192.0.2.1")), proven.enter(at("192.0.2.3")));
        let stranger = proven.enter(at("192.0.2.2"));
        let now = Instant::now();
        member.lasts(now);
        passer.lasts(now + Duration::from_secs(600));
        drop((member, stranger, passer));
        assert!(proven.knows(at("::ffff:192.0.2.1")) && !proven.has(at("192.0.2.1")));
        assert!(!proven.knows(at("192.0.2.2")));
        assert!(!proven.knows(at("192.0.2.3")), "it was only passing by");
        let lately = &proven.0.read().lately;
        assert!(lately.has(at("192.0.2.1"), LIFE, now + LIFE - Duration::from_secs(1)));
        assert!(!lately.has(at("192.0.2.1"), LIFE, now + LIFE + Duration::from_secs(60)));
    }

    #[test]
    fn so_many_are_remembered_and_who_has_been_gone_for_longest_is_forgotten_first() {
        let (mut lately, now) = (Lately::default(), Instant::now());
        let number = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let most = u32::try_from(MOST).unwrap();
        (0..most).for_each(|n| lately.keep(number(n), now));
        (0..most).for_each(|_| lately.keep(number(0), now));
        lately.keep(number(most), now);
        assert!(lately.has(number(0), LIFE, now) && !lately.has(number(1), LIFE, now));
        assert!(lately.has(number(2), LIFE, now) && lately.has(number(most), LIFE, now));
        assert_eq!((lately.seen.len(), lately.order.len()), (MOST, MOST));
        lately.keep(number(7), now + LIFE);
        assert_eq!((lately.seen.len(), lately.order.len()), (1, 1), "whose time is over is not kept");
    }
}
