//! Which address the WireGuard socket has outside: asked by STUN (RFC 8489), from that very socket, of the coordinator where the
//! control channel goes, and of relays where that does not answer or has no address of the family.
//!
//! The same question keeps the NAT's mapping alive: a NAT may forget it after two minutes (RFC 4787 section 4.3) and many do
//! after half of one. So it is asked every 25 seconds, and at once when the coordinator is another or the host has moved.
//! An answer counts only from who was asked, with the id of a question that was sent; an id is 96 unguessable bits.
//! What it says is a hint: peers find out whether this node answers there. With it comes a proof for the coordinator
//! ([`warren_wire::stun::Proof`]).

use std::collections::VecDeque;
use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};
use warren_wire::stun::{self, Proof, QUESTION, TransactionId};

use crate::clock::Mono;

/// Between two questions while they are answered.
pub const EVERY_MS: u64 = 25_000;
/// After one without an answer; each further one waits twice as long.
const AGAIN_MS: u64 = 500;
/// So many without an answer, and what was known is not believed any more.
const PATIENCE: u32 = 5;
/// Questions an answer may still come to.
const OPEN: usize = 4;
/// So many are asked in turn.
const SERVERS: usize = 3;

/// Where the world sees the socket, and the asked one's proof of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub place: SocketAddr,
    pub proof: Option<Proof>,
}

/// One socket's places outside, as far as is known: each address family has its own.
#[derive(Debug)]
pub struct Mappings([Mapping; 2]);

impl Mappings {
    /// `seeds` are random bytes, used for nothing else.
    pub fn new(seeds: [[u8; 32]; 2]) -> Mappings {
        Mappings(seeds.map(Mapping::new))
    }

    /// Whom to ask, the best first.
    pub fn set_servers(&mut self, servers: &[SocketAddr], now: Mono) {
        for (mapping, v4) in self.0.iter_mut().zip([true, false]) {
            let family: Vec<SocketAddr> = servers.iter().copied().filter(|s| s.is_ipv4() == v4).collect();
            mapping.set_servers(&family, now);
        }
    }

    /// The host's addresses have changed, so perhaps the NAT before it.
    pub fn ask_again(&mut self, now: Mono) {
        self.0.iter_mut().for_each(|mapping| mapping.ask_again(now));
    }

    /// What the world sees, as far as it was told.
    pub fn seen(&self) -> Vec<Seen> {
        self.0.iter().filter_map(Mapping::seen).collect()
    }

    /// When [`Mappings::poll_question`] has one.
    pub fn due(&self) -> Mono {
        self.0.iter().map(Mapping::due).min().unwrap_or(Mono(u64::MAX))
    }

    /// A question that is due, and for whom.
    pub fn poll_question(&mut self, now: Mono) -> Option<(SocketAddr, [u8; QUESTION])> {
        self.0.iter_mut().find_map(|mapping| mapping.poll_question(now))
    }

    /// True if this is an answer to a question of ours. Everything else changes nothing.
    pub fn handle_answer(&mut self, from: SocketAddr, datagram: &[u8], now: Mono) -> bool {
        self.0.iter_mut().any(|mapping| mapping.handle_answer(from, datagram, now))
    }
}

/// The place outside of one address family.
#[derive(Debug)]
struct Mapping {
    seed: [u8; 32],
    drawn: u64,
    servers: Vec<SocketAddr>,
    /// Who of them is asked, and how many others were asked in vain before.
    at: usize,
    vain: usize,
    open: VecDeque<(TransactionId, SocketAddr)>,
    unanswered: u32,
    next: Mono,
    seen: Option<Seen>,
}

impl Mapping {
    fn new(seed: [u8; 32]) -> Mapping {
        let open = VecDeque::with_capacity(OPEN);
        let (servers, next) = (Vec::new(), Mono(u64::MAX));
        Mapping { seed, drawn: 0, servers, at: 0, vain: 0, open, unanswered: 0, next, seen: None }
    }

    /// Whom to ask. Nobody: what was known stays true for a while, so it stays.
    fn set_servers(&mut self, servers: &[SocketAddr], now: Mono) {
        let servers = servers.get(..servers.len().min(SERVERS)).unwrap_or_default();
        if servers == self.servers {
            return;
        }
        let first = self.servers.first() != servers.first();
        self.servers = servers.to_vec();
        self.at = self.at.min(self.servers.len().saturating_sub(1));
        if first {
            self.ask_again(now);
        }
    }

    fn ask_again(&mut self, now: Mono) {
        self.open.clear();
        (self.at, self.vain, self.unanswered) = (0, 0, 0);
        self.next = if self.servers.is_empty() { Mono(u64::MAX) } else { now };
    }

    fn seen(&self) -> Option<Seen> {
        self.seen
    }

    fn due(&self) -> Mono {
        self.next
    }

    fn poll_question(&mut self, now: Mono) -> Option<(SocketAddr, [u8; QUESTION])> {
        if self.servers.is_empty() || now < self.next {
            return None;
        }
        if self.unanswered >= PATIENCE {
            self.turn();
        }
        let (id, server) = (self.draw(), *self.servers.get(self.at)?);
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back((id, server));
        let wait = AGAIN_MS.saturating_mul(1 << self.unanswered.min(PATIENCE + 1)).min(EVERY_MS);
        self.unanswered = self.unanswered.saturating_add(1);
        self.next = now.plus_millis(wait);
        Some((server, stun::question(id)))
    }

    /// To the next who may know. When nobody does, each is asked in turn, seldom, and what was known is not believed any more.
    fn turn(&mut self) {
        self.vain = self.vain.saturating_add(1);
        match self.vain < self.servers.len() {
            true => self.unanswered = 0,
            false => self.seen = None,
        }
        self.at = self.at.saturating_add(1).checked_rem(self.servers.len()).unwrap_or(0);
    }

    fn handle_answer(&mut self, from: SocketAddr, datagram: &[u8], now: Mono) -> bool {
        let Some((id, place)) = stun::read_answer(datagram) else { return false };
        let asked = self.open.contains(&(id, from));
        if asked {
            self.open.clear();
            (self.vain, self.unanswered) = (0, 0);
            self.seen = Some(Seen { place, proof: stun::read_proof(datagram) });
            self.next = now.plus_millis(EVERY_MS);
        }
        asked
    }

    fn draw(&mut self) -> TransactionId {
        self.drawn += 1;
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_le_bytes()).finalize();
        let mut id = [0; 12];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        TransactionId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn asked(mapping: &mut Mapping, now: Mono) -> Option<TransactionId> {
        let (_, question) = mapping.poll_question(now)?;
        stun::read_question(&question)
    }

    #[test]
    fn it_is_asked_at_once_then_as_often_as_a_mapping_needs() {
        let (server, outside) = (at("198.51.100.1:7946"), at("203.0.113.7:40123"));
        let mut mapping = Mapping::new([1; 32]);
        assert_eq!(asked(&mut mapping, Mono(5)), None, "nobody to ask");
        mapping.set_servers(&[server], Mono(10));
        let first = asked(&mut mapping, Mono(10)).unwrap();
        assert_eq!(asked(&mut mapping, Mono(11)), None);
        assert!(mapping.handle_answer(server, &stun::answer(first, outside), Mono(20)));
        assert_eq!(mapping.seen(), Some(Seen { place: outside, proof: None }));
        assert_eq!(mapping.due(), Mono(20).plus_millis(EVERY_MS));
        let due = mapping.due();
        let second = asked(&mut mapping, due).unwrap();
        assert_ne!(first, second);
    }

    /// RFC 8489 section 6.3.1; whoever guesses, repeats or answers for another is not heard.
    #[test]
    fn only_who_was_asked_can_answer_and_only_what_was_asked() {
        let server = at("198.51.100.1:7946");
        let mut mapping = Mapping::new([1; 32]);
        mapping.set_servers(&[server], Mono(0));
        let id = asked(&mut mapping, Mono(0)).unwrap();
        let answer = stun::answer(id, at("203.0.113.7:1"));
        assert!(!mapping.handle_answer(at("198.51.100.1:7947"), &answer, Mono(1)));
        let guessed = stun::answer(TransactionId([0; 12]), at("203.0.113.7:1"));
        assert!(!mapping.handle_answer(server, &guessed, Mono(1)));
        assert!(!mapping.handle_answer(server, &stun::question(id), Mono(1)));
        assert_eq!(mapping.seen(), None);
        assert!(mapping.handle_answer(server, &answer, Mono(1)));
        assert!(!mapping.handle_answer(server, &answer, Mono(2)), "a repeated answer answers nothing");
    }

    #[test]
    fn without_answers_it_is_asked_less_often_and_what_was_known_is_given_up() {
        let server = at("198.51.100.1:7946");
        let mut mapping = Mapping::new([1; 32]);
        mapping.set_servers(&[server], Mono(0));
        let id = asked(&mut mapping, Mono(0)).unwrap();
        assert!(mapping.handle_answer(server, &stun::answer(id, at("203.0.113.7:1")), Mono(0)));
        let mut gaps = Vec::new();
        let mut now = mapping.due();
        for _ in 0..9 {
            assert_eq!(mapping.seen().is_some(), gaps.len() <= PATIENCE as usize, "{gaps:?}");
            asked(&mut mapping, now).unwrap();
            gaps.push(mapping.due().millis_since(now));
            now = mapping.due();
        }
        assert_eq!(gaps, [500, 1000, 2000, 4000, 8000, 16_000, 25_000, 25_000, 25_000]);
        mapping.ask_again(now);
        assert_eq!(mapping.due(), now);
    }

    /// A network with a coordinator that has no IPv4, or whose port is behind a firewall.
    #[test]
    fn whoever_does_not_answer_is_left_for_the_next_and_when_nobody_does_nothing_is_believed() {
        let [first, second, third, fourth] =
            ["198.51.100.1:7946", "198.51.100.2:7946", "198.51.100.3:7946", "198.51.100.4:7946"].map(at);
        let mut mapping = Mapping::new([1; 32]);
        mapping.set_servers(&[first, second, third, fourth], Mono(0));
        let ask = |mapping: &mut Mapping| {
            let now = mapping.due();
            let (server, question) = mapping.poll_question(now).unwrap();
            (server, stun::read_question(&question).unwrap(), now)
        };
        let whole: Vec<SocketAddr> = (0..15).map(|_| ask(&mut mapping).0).collect();
        assert_eq!(whole, [[first; 5], [second; 5], [third; 5]].concat());
        let seldom: Vec<SocketAddr> = (0..4).map(|_| ask(&mut mapping).0).collect();
        assert_eq!(seldom, [first, second, third, first]);
        let (server, id, now) = ask(&mut mapping);
        assert!(!mapping.handle_answer(first, &stun::answer(id, at("203.0.113.7:1")), now), "not asked that");
        assert!(mapping.handle_answer(server, &stun::answer(id, at("203.0.113.7:1")), now));
        assert_eq!(ask(&mut mapping).0, server, "who answers is asked again");
        mapping.set_servers(&[fourth], now);
        assert_eq!((ask(&mut mapping).0, mapping.seen().is_some()), (fourth, true));
    }

    #[test]
    fn each_family_is_asked_of_those_who_have_it() {
        let (four, six) = (at("198.51.100.1:7946"), at("[2001:db8::1]:7946"));
        let mut mappings = Mappings::new([[1; 32], [2; 32]]);
        mappings.set_servers(&[six, four], Mono(0));
        let mut asked: Vec<SocketAddr> = Vec::new();
        while let Some((server, question)) = mappings.poll_question(Mono(0)) {
            let id = stun::read_question(&question).unwrap();
            let outside = if server == four { at("203.0.113.7:40123") } else { at("[2001:db8::7]:51820") };
            assert!(mappings.handle_answer(server, &stun::answer(id, outside), Mono(1)));
            asked.push(server);
        }
        asked.sort();
        assert_eq!(asked, [four, six]);
        let places: Vec<SocketAddr> = mappings.seen().iter().map(|seen| seen.place).collect();
        assert_eq!(places, [at("203.0.113.7:40123"), at("[2001:db8::7]:51820")]);
        assert_eq!(mappings.due(), Mono(1).plus_millis(EVERY_MS));
        mappings.set_servers(&[four], Mono(2));
        assert_eq!(mappings.seen().len(), 2, "what was known stays true for a while");
    }
}
