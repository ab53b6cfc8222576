//! Who may even begin a handshake: caps on strangers and on connections, in total and per source.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connection attempts that wait to be looked at.
    pub incoming: usize,
    /// Connections that are not authorised yet.
    pub strangers: usize,
    pub strangers_per_source: usize,
    /// All connections. Many nodes may share one address behind a NAT.
    pub connections: usize,
    pub connections_per_source: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            incoming: 512,
            strangers: 1024,
            strangers_per_source: 256,
            connections: 20_000,
            connections_per_source: 4096,
        }
    }
}

/// From this many strangers of one source on, a new one must first prove that it receives at its address.
const RETRY_PER_SOURCE: usize = 4;

/// One source: an IPv4 address, or an IPv6 /64 (what one host can usually choose from).
type Source = IpAddr;

#[derive(Default)]
struct Counts {
    strangers: BTreeMap<Source, usize>,
    members: BTreeMap<Source, usize>,
    all_strangers: usize,
    all_members: usize,
}

#[derive(Clone)]
pub struct Gate {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

pub enum Answer {
    Accept(Place),
    Retry,
    Refuse,
}

/// A counted place; given back when dropped.
pub struct Place {
    gate: Gate,
    source: Source,
    member: bool,
}

impl Gate {
    pub fn new(limits: Limits) -> Gate {
        Gate { limits, counts: Arc::default() }
    }

    pub fn admit(&self, remote: SocketAddr, validated: bool) -> Answer {
        let source = source_of(remote.ip());
        let mut counts = lock(&self.counts);
        let strangers = counts.strangers.get(&source).copied().unwrap_or(0);
        let members = counts.members.get(&source).copied().unwrap_or(0);
        if strangers >= self.limits.strangers_per_source
            || counts.all_strangers >= self.limits.strangers
            || strangers + members >= self.limits.connections_per_source
            || counts.all_strangers + counts.all_members >= self.limits.connections
        {
            return Answer::Refuse;
        }
        if !validated && (strangers >= RETRY_PER_SOURCE || counts.all_strangers * 2 >= self.limits.strangers)
        {
            return Answer::Retry;
        }
        *counts.strangers.entry(source).or_default() += 1;
        counts.all_strangers += 1;
        Answer::Accept(Place { gate: self.clone(), source, member: false })
    }
}

impl Place {
    /// The client is authorised: it counts as a connection, no more as a stranger.
    pub fn promote(&mut self) {
        if !self.member {
            let mut counts = lock(&self.gate.counts);
            counts.leave(self.source, false);
            *counts.members.entry(self.source).or_default() += 1;
            counts.all_members += 1;
            self.member = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.gate.counts).leave(self.source, self.member);
    }
}

impl Counts {
    fn leave(&mut self, source: Source, member: bool) {
        let (all, by_source) = match member {
            true => (&mut self.all_members, &mut self.members),
            false => (&mut self.all_strangers, &mut self.strangers),
        };
        *all = all.saturating_sub(1);
        if let Some(count) = by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_source.remove(&source);
            }
        }
    }
}

fn source_of(ip: IpAddr) -> Source {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// Counters stay whole even if a holder panicked: they are changed in single steps.
fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
    fn take(gate: &Gate, from: &str) -> Place {
        match gate.admit(addr(from), true) {
            Answer::Accept(place) => place,
            Answer::Retry => panic!("retry"),
            Answer::Refuse => panic!("refused"),
        }
    }
    fn small() -> Gate {
        Gate::new(Limits {
            strangers: 8,
            strangers_per_source: 5,
            connections: 10,
            connections_per_source: 6,
            incoming: 1,
        })
    }

    #[test]
    fn one_source_cannot_take_the_places_of_all() {
        let gate = small();
        let held: Vec<_> = (0..5).map(|i| take(&gate, &format!("10.0.0.1:{}", 1000 + i))).collect();
        assert!(matches!(gate.admit(addr("10.0.0.1:9"), true), Answer::Refuse));
        assert!(matches!(gate.admit(addr("[::ffff:10.0.0.1]:9"), true), Answer::Refuse));
        let _other = take(&gate, "10.0.0.2:1");
        drop(held);
        let _again = take(&gate, "10.0.0.1:9");
    }

    #[test]
    fn an_ipv6_slash_64_is_one_source() {
        let gate = small();
        let _held: Vec<_> = (0..5).map(|i| take(&gate, &format!("[2001:db8::{i}]:1"))).collect();
        assert!(matches!(gate.admit(addr("[2001:db8::ffff:1]:1"), true), Answer::Refuse));
        let _other = take(&gate, "[2001:db8:0:1::1]:1");
    }

    #[test]
    fn a_busy_source_must_prove_its_address_first() {
        let gate = small();
        let _held: Vec<_> = (0..4).map(|i| take(&gate, &format!("10.0.0.1:{}", 1000 + i))).collect();
        assert!(matches!(gate.admit(addr("10.0.0.1:9"), false), Answer::Retry));
        // Half of all places taken: everybody must.
        assert!(matches!(gate.admit(addr("10.9.9.9:9"), false), Answer::Retry));
        let _proved = take(&gate, "10.0.0.1:9");
    }

    #[test]
    fn an_authorised_client_frees_its_strangers_place_but_still_counts() {
        let gate = small();
        let mut held: Vec<_> = (0..5).map(|i| take(&gate, &format!("10.0.0.1:{}", 1000 + i))).collect();
        held.iter_mut().for_each(Place::promote);
        let _sixth = take(&gate, "10.0.0.1:9");
        assert!(matches!(gate.admit(addr("10.0.0.1:10"), true), Answer::Refuse));
        drop(held);
        let counts = lock(&gate.counts);
        assert_eq!((counts.all_members, counts.all_strangers, counts.members.len()), (0, 1, 0));
    }
}
