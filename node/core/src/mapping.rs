//! Which address the WireGuard socket has outside: asked of the coordinator by STUN (RFC 8489), from that very socket.
//!
//! The same question keeps the NAT's mapping alive: a NAT may forget it after two minutes (RFC 4787 section 4.3) and many do
//! after half of one. So it is asked every 25 seconds, and at once when the coordinator is another or the host has moved.
//! An answer counts only from who was asked, with the id of a question that was sent; an id is 96 unguessable bits.
//! What it says is a hint: peers find out whether this node answers there.

use std::collections::VecDeque;
use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};
use warren_wire::stun::{self, QUESTION, TransactionId};

use crate::clock::Mono;

/// Between two questions while they are answered.
pub const EVERY_MS: u64 = 25_000;
/// After one without an answer; each further one waits twice as long.
const AGAIN_MS: u64 = 500;
/// So many without an answer, and what was known is not believed any more.
const PATIENCE: u32 = 5;
/// Questions an answer may still come to.
const OPEN: usize = 4;

/// One socket's place outside, as far as is known.
#[derive(Debug)]
pub struct Mapping {
    seed: [u8; 32],
    drawn: u64,
    server: Option<SocketAddr>,
    open: VecDeque<TransactionId>,
    unanswered: u32,
    next: Mono,
    mapped: Option<SocketAddr>,
}

impl Mapping {
    /// `seed` is 32 random bytes, used for nothing else.
    pub fn new(seed: [u8; 32]) -> Mapping {
        let open = VecDeque::with_capacity(OPEN);
        Mapping { seed, drawn: 0, server: None, open, unanswered: 0, next: Mono(u64::MAX), mapped: None }
    }

    /// Whom to ask. `None`: nobody; what was known stays true for a while, so it stays.
    pub fn set_server(&mut self, server: Option<SocketAddr>, now: Mono) {
        if server != self.server {
            self.server = server;
            self.ask_again(now);
        }
    }

    /// The host's addresses have changed, so perhaps the NAT before it.
    pub fn ask_again(&mut self, now: Mono) {
        self.open.clear();
        self.unanswered = 0;
        self.next = self.server.map_or(Mono(u64::MAX), |_| now);
    }

    /// What the world sees, if it was told.
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// When [`Mapping::poll_question`] has one.
    pub fn due(&self) -> Mono {
        self.next
    }

    /// The question that is due, and for whom.
    pub fn poll_question(&mut self, now: Mono) -> Option<(SocketAddr, [u8; QUESTION])> {
        let server = self.server.filter(|_| self.next <= now)?;
        if self.unanswered >= PATIENCE {
            self.mapped = None;
        }
        let id = self.draw();
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back(id);
        let wait = AGAIN_MS.saturating_mul(1 << self.unanswered.min(PATIENCE + 1)).min(EVERY_MS);
        self.unanswered = self.unanswered.saturating_add(1);
        self.next = now.plus_millis(wait);
        Some((server, stun::question(id)))
    }

    /// True if this is an answer to a question of ours. Everything else changes nothing.
    pub fn handle_answer(&mut self, from: SocketAddr, datagram: &[u8], now: Mono) -> bool {
        let Some((id, seen)) = stun::read_answer(datagram) else { return false };
        let asked = self.server == Some(from) && self.open.contains(&id);
        if asked {
            self.open.clear();
            self.unanswered = 0;
            self.mapped = Some(seen);
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
        mapping.set_server(Some(server), Mono(10));
        let first = asked(&mut mapping, Mono(10)).unwrap();
        assert_eq!(asked(&mut mapping, Mono(11)), None);
        assert!(mapping.handle_answer(server, &stun::answer(first, outside), Mono(20)));
        assert_eq!(mapping.mapped(), Some(outside));
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
        mapping.set_server(Some(server), Mono(0));
        let id = asked(&mut mapping, Mono(0)).unwrap();
        let answer = stun::answer(id, at("203.0.113.7:1"));
        assert!(!mapping.handle_answer(at("198.51.100.1:7947"), &answer, Mono(1)));
        let guessed = stun::answer(TransactionId([0; 12]), at("203.0.113.7:1"));
        assert!(!mapping.handle_answer(server, &guessed, Mono(1)));
        assert!(!mapping.handle_answer(server, &stun::question(id), Mono(1)));
        assert_eq!(mapping.mapped(), None);
        assert!(mapping.handle_answer(server, &answer, Mono(1)));
        assert!(!mapping.handle_answer(server, &answer, Mono(2)), "a repeated answer answers nothing");
    }

    #[test]
    fn without_answers_it_is_asked_less_often_and_what_was_known_is_given_up() {
        let server = at("198.51.100.1:7946");
        let mut mapping = Mapping::new([1; 32]);
        mapping.set_server(Some(server), Mono(0));
        let id = asked(&mut mapping, Mono(0)).unwrap();
        assert!(mapping.handle_answer(server, &stun::answer(id, at("203.0.113.7:1")), Mono(0)));
        let mut gaps = Vec::new();
        let mut now = mapping.due();
        for _ in 0..9 {
            assert_eq!(mapping.mapped().is_some(), gaps.len() <= PATIENCE as usize, "{gaps:?}");
            asked(&mut mapping, now).unwrap();
            gaps.push(mapping.due().millis_since(now));
            now = mapping.due();
        }
        assert_eq!(gaps, [500, 1000, 2000, 4000, 8000, 16_000, 25_000, 25_000, 25_000]);
        mapping.ask_again(now);
        assert_eq!(mapping.due(), now);
    }
}
