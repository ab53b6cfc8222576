//! How much handshake work a source may cause, before its message costs more than a MAC.
//!
//! Handshakes are answered by the control worker, on a thread and a socket of its own; what this gate bounds is the time
//! they take from the rest of the host. Every source (IPv4 /32, IPv6 /64) has buckets of its own, so a flooder empties
//! only his own; all sources where no peer is expected share one more bucket, which bounds the Diffie-Hellman work
//! that strangers can cause to about 2 % of a core, however many addresses they forge. A source whose bucket is empty
//! must prove its address and port with a cookie (WireGuard paper, section 5.3), and even then has a limit. Packets go
//! before all this: their threads have the higher priority.
//! Hosts where a peer is expected never share a bucket with strangers.
//!
//! What all share is divided in two, so that a crowd keeps nobody out: one half is for those who ask for little (a cookie a
//! second; a proven handshake every ten seconds), which is all an honest peer needs, and however much the others ask for,
//! they ask it of the other half. So a peer that comes from an address where nobody expects it gets in while ten thousand
//! forged sources, or thousands of real ones, do what they can; and a crowd of honest peers that comes back after an outage
//! is answered at about the rate of stock implementations.
//!
//! The tables have a fixed size and are indexed by a keyed hash: they cannot grow and cannot be aimed at. Two sources may
//! share a slot by chance; then they share a limit.

use std::net::{IpAddr, SocketAddr};

use sha2::{Digest as _, Sha256};

use crate::clock::Now;

/// Many more than sources of a flood: an honest one should have its slot to itself. Takes memory by use.
const SLOTS: usize = 65_536;
/// Secrets of cookies change this often (paper, section 5.3).
const COOKIE_LIFE_MS: u64 = 120_000;

/// How many on average, and how many may be saved up.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    per_ten_seconds: u32,
    burst: u32,
}

const fn per_second(count: u32, burst: u32) -> Rate {
    Rate { per_ten_seconds: 10 * count, burst }
}

const EXPECTED: Rate = per_second(20, 20);
const STRANGER: Rate = per_second(5, 5);
const ALL_STRANGERS: Rate = per_second(400, 64);
const PROVED: Rate = per_second(5, 5);
const ALL_PROVED: Rate = per_second(1000, 128);
/// Of those, the first of a source in a while.
const FIRST: Rate = Rate { per_ten_seconds: 1, burst: 1 };
const ALL_FIRST: Rate = per_second(1000, 128);
/// One source's share. To addresses that nobody has, cookies fill the send buffer until the kernel has given up looking for
/// them: a few seconds' worth must fit, for as many neighbours as the kernel looks for at a time (1,024).
const COOKIE: Rate = per_second(1, 2);
const ALL_COOKIES: Rate = per_second(20_000, 2000);
/// Whoever wants more than its share.
const MORE_COOKIES: Rate = per_second(1000, 128);

/// A token bucket in ten-thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    spent: u32,
    at_ms: u64,
}

const TOKEN: u32 = 10_000;

impl Bucket {
    pub fn take(&mut self, rate: Rate, now: Now) -> bool {
        let ms = now.mono.0 / 1_000_000;
        let refill = ms.saturating_sub(self.at_ms).saturating_mul(u64::from(rate.per_ten_seconds));
        self.spent = self.spent.saturating_sub(u32::try_from(refill).unwrap_or(u32::MAX));
        self.at_ms = ms;
        let free = self.spent.saturating_add(TOKEN) <= rate.burst.saturating_mul(TOKEN);
        if free {
            self.spent += TOKEN;
        }
        free
    }
}

/// One bucket for each slot: what is spent, and since when. Numbers and not [`Bucket`]s, because then the memory comes from
/// the system as zeros, and a page that no source falls into is never there.
struct Buckets(Vec<(u32, u64)>);

impl Buckets {
    fn new() -> Buckets {
        Buckets(vec![(0, 0); SLOTS])
    }

    fn take(&mut self, slot: usize, rate: Rate, now: Now) -> bool {
        let Some(place) = self.0.get_mut(slot) else { return false };
        let mut bucket = Bucket { spent: place.0, at_ms: place.1 };
        let taken = bucket.take(rate, now);
        *place = (bucket.spent, bucket.at_ms);
        taken
    }
}

/// What a handshake message may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Work,
    /// Only if it carries one of these cookies in mac2: of this period, or of the one before.
    Prove {
        cookies: [[u8; 16]; 2],
    },
}

pub struct Gate {
    seed: [u8; 32],
    expected: Buckets,
    strangers: Buckets,
    proved: Buckets,
    first: Buckets,
    responses: Buckets,
    cookies: Buckets,
    all_strangers: Bucket,
    all_proved: Bucket,
    all_first: Bucket,
    all_cookies: Bucket,
    /// For strangers, and for hosts where a peer is expected.
    more_cookies: [Bucket; 2],
    nonce: u64,
}

impl Gate {
    pub fn new(seed: [u8; 32]) -> Gate {
        Gate {
            seed,
            expected: Buckets::new(),
            strangers: Buckets::new(),
            proved: Buckets::new(),
            first: Buckets::new(),
            responses: Buckets::new(),
            cookies: Buckets::new(),
            all_strangers: Bucket::default(),
            all_proved: Bucket::default(),
            all_first: Bucket::default(),
            all_cookies: Bucket::default(),
            more_cookies: [Bucket::default(); 2],
            nonce: 0,
        }
    }

    /// A message with a valid mac1 came from `from`; `expected` says whether a peer is looked for there.
    pub fn admit(&mut self, from: SocketAddr, expected: bool, now: Now) -> Admission {
        let slot = self.slot(from.ip());
        let free = if expected {
            self.expected.take(slot, EXPECTED, now)
        } else {
            self.strangers.take(slot, STRANGER, now) && self.all_strangers.take(ALL_STRANGERS, now)
        };
        if free {
            return Admission::Work;
        }
        let period = now.mono.millis_since(crate::clock::Mono(0)) / COOKIE_LIFE_MS;
        Admission::Prove { cookies: [self.cookie(from, period), self.cookie(from, period.wrapping_sub(1))] }
    }

    /// A response that names a lane of ours came from `from`. Its limit is its own: initiations, which anybody can
    /// send in the name of a peer, must not keep out what the peer answers to ours.
    pub fn admit_response(&mut self, from: SocketAddr, now: Now) -> bool {
        let slot = self.slot(from.ip());
        self.responses.take(slot, EXPECTED, now)
    }

    /// It has proved its address. There is still a limit.
    pub fn admit_proved(&mut self, from: SocketAddr, now: Now) -> bool {
        let slot = self.slot(from.ip());
        let is_first =
            |gate: &mut Gate| gate.first.take(slot, FIRST, now) && gate.all_first.take(ALL_FIRST, now);
        self.proved.take(slot, PROVED, now) && (is_first(self) || self.all_proved.take(ALL_PROVED, now))
    }

    /// A nonce for one more cookie reply, if one may be sent now: replies must not fill the send buffer.
    pub fn nonce(&mut self, from: SocketAddr, expected: bool, now: Now) -> Option<[u8; 24]> {
        let slot = self.slot(from.ip());
        let [strangers, hosts] = &mut self.more_cookies;
        let more = if expected { hosts } else { strangers };
        // Whoever floods in the name of a peer would take its share as well: there, all have the larger budget.
        let share =
            !expected && self.cookies.take(slot, COOKIE, now) && self.all_cookies.take(ALL_COOKIES, now);
        if !share && !more.take(MORE_COOKIES, now) {
            return None;
        }
        self.nonce += 1;
        let digest = self.digest(b"nonce", &self.nonce.to_le_bytes());
        digest.first_chunk().copied()
    }

    /// Bound to address and port.
    fn cookie(&self, from: SocketAddr, period: u64) -> [u8; 16] {
        let mut input = [0u8; 26];
        let octets = match from.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let fields = octets.into_iter().chain(from.port().to_le_bytes()).chain(period.to_le_bytes());
        for (place, byte) in input.iter_mut().zip(fields) {
            *place = byte;
        }
        self.digest(b"cookie", &input).first_chunk().copied().unwrap_or_default()
    }

    fn slot(&self, ip: IpAddr) -> usize {
        let digest = match ip {
            IpAddr::V4(v4) => self.digest(b"v4", &v4.octets()),
            IpAddr::V6(v6) => self.digest(b"v6", v6.octets().first_chunk::<8>().unwrap_or(&[0; 8])),
        };
        let number = digest.first_chunk().copied().map_or(0, u32::from_le_bytes);
        number as usize % SLOTS
    }

    fn digest(&self, what: &[u8], input: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.seed).chain_update(what).chain_update(input).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;

    fn at(ms: u64) -> Now {
        Now { mono: Mono::from_millis(ms), wall_ms: 0 }
    }

    fn from(host: u32, port: u16) -> SocketAddr {
        (std::net::Ipv4Addr::from(host), port).into()
    }

    #[test]
    fn a_flood_from_many_sources_leaves_the_expected_host_alone() {
        let mut gate = Gate::new([7; 32]);
        let mut worked = 0;
        for host in 0..100_000u32 {
            let now = at(1_000_000 + u64::from(host) / 100);
            if gate.admit(from(0x0a00_0000 + host, 1), false, now) == Admission::Work {
                worked += 1;
            }
        }
        assert!(worked <= 64 + 400 * 2, "strangers caused {worked} key agreements in a second");
        assert_eq!(gate.admit(from(0xc0a8_0001, 5), true, at(1_001_000)), Admission::Work);
    }

    #[test]
    fn a_cookie_belongs_to_address_and_port() {
        let mut gate = Gate::new([7; 32]);
        let now = at(500_000);
        while gate.admit(from(1, 1), false, now) == Admission::Work {}
        while gate.admit(from(1, 2), false, now) == Admission::Work {}
        let (one, two) = (gate.admit(from(1, 1), false, now), gate.admit(from(1, 2), false, now));
        assert_ne!(one, two);
        let Admission::Prove { cookies } = one else { panic!("still free") };
        let later = gate.admit(from(1, 1), false, at(500_001));
        assert_eq!(later, Admission::Prove { cookies });
    }

    #[test]
    fn a_flood_of_strangers_leaves_cookies_for_expected_hosts() {
        let mut gate = Gate::new([7; 32]);
        let now = at(500_000);
        while gate.nonce(from(1, 1), false, now).is_some() {}
        assert!(
            gate.nonce(from(1, 1), true, now).is_some(),
            "a peer whose address is forged as well can still prove itself"
        );
    }

    /// What becomes of one honest source that asks once, 20 seconds into a flood: of how many in a hundred.
    fn asked_for(ask: impl Fn(&mut Gate, SocketAddr, Now) -> bool, sources: u32, rate: u32) -> u32 {
        let mut gate = Gate::new([9; 32]);
        let mut served = 0;
        for i in 0..20 * rate {
            let now = at(1_000_000 + u64::from(i) * 1000 / u64::from(rate));
            ask(&mut gate, from(0x0a00_0000 + i % sources, 1), now);
            if i >= 10 * rate && i % (rate / 10) == 0 {
                served += u32::from(ask(&mut gate, from(0xc0a8_0000 + i / (rate / 10), 5), now));
            }
        }
        served
    }

    #[test]
    fn ten_thousand_forged_sources_leave_a_cookie_for_a_new_one() {
        let ask = |gate: &mut Gate, source, now| gate.nonce(source, false, now).is_some();
        let served = asked_for(ask, 10_000, 10_000);
        assert!(served >= 85, "{served} of 100 got one");
        let served = asked_for(ask, 250, 30_000);
        assert!(
            served >= 85,
            "{served} of 100 got one beside sources that ask a hundred times a second each"
        );
    }

    #[test]
    fn thousands_of_proven_sources_leave_room_for_a_new_one() {
        let served = asked_for(Gate::admit_proved, 2000, 10_000);
        assert!(served >= 85, "{served} of 100 got in");
        let served = asked_for(Gate::admit_proved, 5000, 20_000);
        assert!(served >= 85, "{served} of 100 got in");
    }

    #[test]
    fn what_proven_sources_cost_is_bounded_however_many_they_are() {
        let mut gate = Gate::new([7; 32]);
        let worked = (0..100_000u32)
            .filter(|host| gate.admit_proved(from(*host, 1), at(1_000_000 + u64::from(*host) / 100)))
            .count();
        assert!(worked <= 2 * (1000 + 128), "{worked} key agreements in a second");
    }

    #[test]
    fn cookies_to_neighbours_that_nobody_looks_for_any_more_fit_in_a_send_buffer() {
        let mut gate = Gate::new([7; 32]);
        let sent = (0..3 * 100_000u32)
            .filter(|i| {
                let now = at(1_000_000 + u64::from(*i) / 100);
                gate.nonce(from(i % 1024, 1), false, now).is_some()
            })
            .count();
        // Of the kernel's memory each takes less than 1,280 bytes; 7 MiB were asked for, and the kernel gives twice that.
        assert!(sent * 1280 <= 14 << 20, "{sent} in three seconds");
    }

    #[test]
    fn an_emptied_bucket_fills_again() {
        let mut bucket = Bucket::default();
        let rate = per_second(5, 5);
        let taken = (0..100).filter(|_| bucket.take(rate, at(10_000))).count();
        assert_eq!(taken, 5);
        assert!(!bucket.take(rate, at(10_100)));
        assert!(bucket.take(rate, at(10_301)));
    }
}
