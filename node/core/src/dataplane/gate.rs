//! How much handshake work a source may cause, before its message costs more than a MAC.
//!
//! Handshakes are answered by the control worker, on a thread and a socket of its own; what this gate bounds is the time
//! they take from the rest of the host. Every source (IPv4 /32, IPv6 /64) has buckets of its own, so a flooder empties
//! only his own; all sources where no peer is expected share one more bucket, which bounds the Diffie-Hellman work
//! that strangers can cause to about 2 % of a core, however many addresses they forge. A source whose bucket is empty
//! must prove its address and port with a cookie (WireGuard paper, section 5.3), and even then has a limit. Packets go
//! before all this: their threads have the higher priority.
//! Hosts where a peer is expected never share a bucket with strangers. Whoever floods in the name of one takes its free
//! handshakes, and its cookies cannot be told from the peer's: so up to sixteen such hosts at a time have a cookie for each
//! message of a dense flood, each with a share of its own.
//!
//! What all share is divided in two, so that a crowd keeps nobody out: one half is for those who ask for little (a cookie a
//! second; a proven handshake every ten seconds), which is all an honest peer needs, and however much the others ask for,
//! they ask it of the other half. So a peer that comes from an address where nobody expects it gets in while ten thousand
//! forged sources, or thousands of real ones, do what they can; and a crowd of honest peers that comes back after an outage
//! is answered at about the rate of stock implementations.
//!
//! The tables have a fixed size and are indexed by a keyed hash: they cannot grow and cannot be aimed at. Two sources may
//! share a slot by chance; then they share a limit. Where an honest source must not share one with a crowd, it has a slot in
//! each of four tables ([`Sketch`]), and one that is its own is enough.

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
/// Hosts where a peer is expected, and in whose name very much is asked: so many at a time, each for so long. If nobody is
/// there any more, the kernel keeps 208 KiB for each while it looks for it: few enough for the send buffer.
const FLOODED: usize = 16;
const FLOODED_MS: u64 = 3_000;
/// The share of one of them, and what they have together beyond that.
const FLOODED_COOKIE: Rate = per_second(1000, 200);
const MORE_FLOODED_COOKIES: Rate = per_second(20_000, 2000);

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

/// One bucket for each slot: what is spent, and since when (the last 32 bits: one of just fifty days ago is as full as it was
/// then). Numbers and not [`Bucket`]s, because then the memory comes from the system as zeros, and a page that no source falls
/// into is never there.
struct Buckets(Vec<(u32, u32)>);

impl Buckets {
    fn new() -> Buckets {
        Buckets(vec![(0, 0); SLOTS])
    }

    fn take(&mut self, slot: usize, rate: Rate, now: Now) -> bool {
        let Some(place) = self.0.get_mut(slot) else { return false };
        let ms = now.mono.0 / 1_000_000;
        let since = u64::from((ms as u32).wrapping_sub(place.1));
        let mut bucket = Bucket { spent: place.0, at_ms: ms.saturating_sub(since) };
        let taken = bucket.take(rate, now);
        *place = (bucket.spent, bucket.at_ms as u32);
        taken
    }
}

/// A source has a slot in each table, and what it is given is taken in all of them. It is refused only where every one of its
/// slots is shared with others who have emptied it: of 10,000 sources that happens to one honest one in 2,000, not in seven.
struct Sketch([Buckets; ROWS]);

const ROWS: usize = 4;
type Slots = [usize; ROWS];

impl Sketch {
    fn new() -> Sketch {
        Sketch(std::array::from_fn(|_| Buckets::new()))
    }

    fn take(&mut self, slots: Slots, rate: Rate, now: Now) -> bool {
        self.0.iter_mut().zip(slots).fold(false, |taken, (row, slot)| row.take(slot, rate, now) || taken)
    }
}

/// Hosts in whose name very much is asked.
#[derive(Default)]
struct Flooded {
    hosts: Vec<(usize, u64)>,
    more: Bucket,
}

impl Flooded {
    /// Is this one of them now?
    fn holds(&mut self, slot: usize, now: Now) -> bool {
        let ms = now.mono.0 / 1_000_000;
        self.hosts.retain(|(_, since)| ms.saturating_sub(*since) < FLOODED_MS);
        let known = self.hosts.iter().any(|(host, _)| *host == slot);
        if !known && self.hosts.len() < FLOODED {
            self.hosts.push((slot, ms));
            return true;
        }
        known
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
    proved: Sketch,
    first: Sketch,
    responses: Buckets,
    cookies: Sketch,
    flooded_cookies: Buckets,
    flooded: Flooded,
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
            proved: Sketch::new(),
            first: Sketch::new(),
            responses: Buckets::new(),
            cookies: Sketch::new(),
            flooded_cookies: Buckets::new(),
            flooded: Flooded::default(),
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
        let [slot, ..] = self.slots(from.ip());
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
        let [slot, ..] = self.slots(from.ip());
        self.responses.take(slot, EXPECTED, now)
    }

    /// It has proved its address. There is still a limit.
    pub fn admit_proved(&mut self, from: SocketAddr, now: Now) -> bool {
        let slots = self.slots(from.ip());
        let is_first =
            |gate: &mut Gate| gate.first.take(slots, FIRST, now) && gate.all_first.take(ALL_FIRST, now);
        self.proved.take(slots, PROVED, now) && (is_first(self) || self.all_proved.take(ALL_PROVED, now))
    }

    /// A nonce for one more cookie reply, if one may be sent now: replies must not fill the send buffer.
    pub fn nonce(&mut self, from: SocketAddr, expected: bool, now: Now) -> Option<[u8; 24]> {
        let slots = self.slots(from.ip());
        let [strangers, hosts] = &mut self.more_cookies;
        let has_one = if expected {
            // Whoever floods in the name of a peer takes its small share as well.
            self.flooded.holds(slots[0], now)
                && (self.flooded_cookies.take(slots[0], FLOODED_COOKIE, now)
                    || self.flooded.more.take(MORE_FLOODED_COOKIES, now))
                || hosts.take(MORE_COOKIES, now)
        } else {
            self.cookies.take(slots, COOKIE, now) && self.all_cookies.take(ALL_COOKIES, now)
                || strangers.take(MORE_COOKIES, now)
        };
        if !has_one {
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

    fn slots(&self, ip: IpAddr) -> Slots {
        let digest = match ip {
            IpAddr::V4(v4) => self.digest(b"v4", &v4.octets()),
            IpAddr::V6(v6) => self.digest(b"v6", v6.octets().first_chunk::<8>().unwrap_or(&[0; 8])),
        };
        let mut numbers =
            digest.chunks_exact(4).map(|bytes| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)));
        std::array::from_fn(|_| numbers.next().unwrap_or_default() % SLOTS)
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
        assert_eq!(asked_for(ask, 10_000, 30_000), 100, "of 100 got one");
        assert_eq!(asked_for(ask, 250, 30_000), 100, "beside sources that ask a hundred times a second each");
    }

    #[test]
    fn thousands_of_proven_sources_leave_room_for_a_new_one() {
        assert_eq!(asked_for(Gate::admit_proved, 2000, 10_000), 100, "of 100 got in");
        assert_eq!(asked_for(Gate::admit_proved, 5000, 20_000), 100, "of 100 got in");
    }

    /// Of a hundred messages of each of `hosts` expected peers, among `rate` a second in their names and others in that of
    /// one more: how many cookies the unluckiest one gets.
    fn beside_a_flood(hosts: u32, rate: u64, others: u64) -> u32 {
        let mut gate = Gate::new([9; 32]);
        let mut served = vec![0; hosts as usize];
        for ms in 0..10_000u64 {
            let now = at(1_000_000 + ms);
            // Forged and honest messages cannot be told apart: of each host the last in a millisecond is its own.
            for number in 0..rate / 1000 {
                gate.nonce(from((number % u64::from(hosts)) as u32, 5), true, now);
            }
            (0..others / 1000).for_each(|_| _ = gate.nonce(from(0xffff, 5), true, now));
            if ms % 100 == 99 {
                for host in 0..hosts {
                    served[host as usize] += u32::from(gate.nonce(from(host, 5), true, now).is_some());
                }
            }
        }
        served.into_iter().min().unwrap()
    }

    #[test]
    fn whoever_floods_in_the_name_of_a_peer_leaves_cookies_for_it_and_for_all_others() {
        assert_eq!(beside_a_flood(1, 20_000, 0), 100, "in its own name");
        assert_eq!(beside_a_flood(15, 15_000, 100_000), 100, "in that of all, and of another much more");
    }

    /// To an address that nobody has any more, the kernel keeps a bounded number of datagrams.
    #[test]
    fn cookies_to_expected_hosts_that_are_gone_go_to_few_of_them_at_a_time() {
        let mut gate = Gate::new([7; 32]);
        let mut cookies = std::collections::BTreeMap::<u32, u64>::new();
        for i in 0..3 * 100_000u32 {
            let now = at(1_000_000 + u64::from(i) / 100);
            if gate.nonce(from(i % 1024, 1), true, now).is_some() {
                *cookies.entry(i % 1024).or_default() += 1;
            }
        }
        // Each takes less than 1,280 bytes, and the kernel keeps 208 KiB for a neighbour it looks for.
        let kept: u64 = cookies.values().map(|sent| (sent * 1280).min(208 << 10)).sum();
        assert!(kept <= 8 << 20, "{kept} bytes in three seconds");
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
