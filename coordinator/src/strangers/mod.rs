//! Answers to strangers: whoever has not shown that he receives at the address he gives.
//!
//! Such an address may be one of our own link that nobody has. Then the kernel keeps each answer until it has asked for the
//! owner in vain, for three seconds, and counts it for the socket that sent it: 250 such addresses fill a socket's buffer.
//! So answers to strangers leave by sockets of their own, which share the port and receive nothing; they wait for no
//! room, and there are few of them for one address. A member is never behind them in a queue.
//!
//! Questions (STUN) and handshakes (all of QUIC) have rations of their own, each in three parts ([`Rations`]). Whoever was a member
//! a few minutes ago ([`Proven::knows`]) needs none of it: strangers cannot keep out who comes back, however much they ask.

mod proven;
mod ration;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use quinn::udp::{Transmit, UdpSockRef, UdpSocketState};
use warren_kernel::option::{self, Fragmentation};

use crate::source::Source;
pub use proven::{Proof, Proven};
use ration::Rations;

/// What a stranger is answered. One takes nothing from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Question,
    Handshake,
}

/// One socket that only sends.
#[derive(Debug)]
struct Mouth {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Shared by all who answer on one port.
#[derive(Clone, Debug)]
pub struct Strangers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Which of them answers whom nobody outside knows.
    mouths: Vec<Mouth>,
    hash: RandomState,
    questions: Rations,
    handshakes: Rations,
    began: Instant,
}

impl Strangers {
    /// `mouths`: sockets that share the port and to which nothing is steered; there may be none.
    pub fn new(mouths: Vec<UdpSocket>) -> io::Result<Strangers> {
        let mouths = mouths.into_iter().map(Mouth::new).collect::<io::Result<Vec<_>>>()?;
        Ok(Strangers(Arc::new(Inner {
            mouths,
            hash: RandomState::new(),
            questions: Rations::of(Kind::Question),
            handshakes: Rations::of(Kind::Handshake),
            began: Instant::now(),
        })))
    }

    /// May one more answer go to the stranger at `to`?
    pub fn may(&self, kind: Kind, to: SocketAddr) -> bool {
        let rations = match kind {
            Kind::Question => &self.0.questions,
            Kind::Handshake => &self.0.handshakes,
        };
        rations.take(Source::of(to.ip()), self.0.began.elapsed())
    }

    /// Sends without waiting: what finds no room is lost. False: there is no socket for that.
    pub fn send(&self, transmit: &Transmit<'_>) -> bool {
        let all = &self.0.mouths;
        let Some(at) = (self.0.hash.hash_one(transmit.destination.ip()) as usize).checked_rem(all.len())
        else {
            return false;
        };
        if let Some(mouth) = all.get(at) {
            let _ = mouth.state.send(UdpSockRef::from(&mouth.socket), transmit);
        }
        true
    }
}

impl Mouth {
    fn new(socket: UdpSocket) -> io::Result<Mouth> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // As for the port itself: QUIC's first packets have 1,200 bytes, and a path may carry less.
        option::set_fragmentation(&socket, socket.local_addr()?.is_ipv4(), Fragmentation::Allowed)?;
        Ok(Mouth { socket, state })
    }
}
