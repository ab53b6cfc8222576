//! Answers to strangers: whoever has not shown that he receives at the address he gives.
//!
//! Such an address may be one of our own link that nobody has. Then the kernel keeps each answer until it has asked for the
//! owner in vain, for three seconds, and counts it for the socket that sent it: 250 such addresses fill a socket's buffer.
//! So answers to strangers leave by sockets of their own, which share the port and receive nothing; they wait for no
//! room, and there are few of them for one address. A member is never behind them in a queue.

mod proven;
mod ration;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::udp::{Transmit, UdpSockRef, UdpSocketState};
use warren_kernel::option::{self, Fragmentation};

use crate::source::Source;
pub use proven::{Proof, Proven};
use ration::{Rate, Rates, Ration};

/// While few strangers ask, many of them may be behind one NAT.
const CALM: Rates = Rates {
    source: Rate { burst: 128, every: Duration::from_micros(15_625) },
    total: Rate { burst: 512, every: Duration::from_micros(3_906) },
};
/// In a flood. What 250 addresses can make us send in three seconds fits into the buffers.
const FLOOD: Rates = Rates {
    source: Rate { burst: 8, every: Duration::from_millis(500) },
    total: Rate { burst: 4000, every: Duration::from_micros(250) },
};

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
    calm: Ration,
    flood: Ration,
    began: Instant,
}

impl Strangers {
    /// `mouths`: sockets that share the port and to which nothing is steered; there may be none.
    pub fn new(mouths: Vec<UdpSocket>) -> io::Result<Strangers> {
        let mouths = mouths.into_iter().map(Mouth::new).collect::<io::Result<Vec<_>>>()?;
        let (calm, flood) = (Ration::new(CALM), Ration::new(FLOOD));
        Ok(Strangers(Arc::new(Inner {
            mouths,
            hash: RandomState::new(),
            calm,
            flood,
            began: Instant::now(),
        })))
    }

    /// May one more answer go to the stranger at `to`?
    pub fn may(&self, to: SocketAddr) -> bool {
        let (source, now) = (Source::of(to.ip()), self.0.began.elapsed());
        self.0.calm.take(source, now) || self.0.flood.take(source, now)
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
