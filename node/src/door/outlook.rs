//! Questions of STUN from the WireGuard socket to relays that are reached through doors: an answer says that UDP passes again,
//! by the very ports that frames would take.

use std::net::SocketAddr;

use warren_wire::stun::{self, QUESTION, TransactionId};

/// Questions an answer may still come to.
const OPEN: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Outlook {
    open: Vec<(SocketAddr, TransactionId)>,
    answered: Vec<SocketAddr>,
}

impl Outlook {
    /// A question for `relay` with an unguessable id.
    pub fn ask(&mut self, relay: SocketAddr, id: [u8; 12]) -> [u8; QUESTION] {
        if self.open.len() == OPEN {
            self.open.remove(0);
        }
        self.open.push((relay, TransactionId(id)));
        stun::question(TransactionId(id))
    }

    /// True if it answers a question of ours, from who was asked.
    pub fn handle_answer(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        let Some((id, _)) = stun::read_answer(datagram) else { return false };
        let asked = self.open.iter().position(|open| *open == (from, id));
        if let Some(at) = asked {
            self.open.remove(at);
            self.answered.push(from);
        }
        asked.is_some()
    }

    /// Who has answered since this was asked last.
    pub fn take_answered(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_asked_answers_and_only_once() {
        let at = |text: &str| -> SocketAddr { text.parse().expect("address") };
        let (relay, mut outlook) = (at("192.0.2.1:7946"), Outlook::default());
        let question = outlook.ask(relay, [7; 12]);
        let id = stun::read_question(&question).expect("a question");
        let answer = stun::answer(id, at("198.51.100.1:51820"));
        assert!(!outlook.handle_answer(at("192.0.2.2:7946"), &answer));
        assert!(!outlook.handle_answer(relay, &stun::answer(TransactionId([8; 12]), relay)));
        assert!(outlook.handle_answer(relay, &answer) && !outlook.handle_answer(relay, &answer));
        assert_eq!((outlook.take_answered(), outlook.take_answered()), (vec![relay], vec![]));
    }
}
