//! The relay's hands: sockets on the control channel's port, and threads that carry what
//! [`warren_coordinator_core::relay`] lets pass.
//!
//! ```text
//!             UDP port ── steered by the first byte (SO_REUSEPORT)
//!                │
//!    QUIC, STUN  │  frames of relayed nodes, by their sender's seat
//!        ┌───────┴──────────┬──────────────┐
//!        ▼                  ▼              ▼
//!   [`crate::channel`]   thread 1 …     thread n      receive a batch, judge, send it on
//!        │                  │ may these two talk? (bounded queue)
//!        └─────▶ owner ◀────┘
//!                  │ the answer goes straight into the shared tables
//! ```
//!
//! Where the kernel does not steer, frames arrive with QUIC and are carried there. The owner waits for nobody: it changes
//! the tables, whose locks are held for a batch at most.

mod desk;
pub mod fares;
mod group;
mod settings;
mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use warren_coordinator_core::relay::{Ask, Forward, Place, Relay, RelayStatus, Verdicts};
use warren_wire::relay;

use crate::clock;
use crate::strangers::Proven;
use crate::stun::Stun;

pub use desk::Desk;
pub use group::Ports;
pub use settings::{RelaySettings, RelaySettingsError};
pub use thread::Threads;

/// Questions of all threads that wait for the owner.
const ASKS: usize = 1024;

/// What every thread that carries frames has in common.
#[derive(Clone, Debug)]
pub struct Carrier {
    relay: Arc<Relay>,
    asks: mpsc::Sender<Ask>,
    shared: Arc<Shared>,
    stun: Stun,
    proven: Proven,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Frames that may have gone and that the kernel did not take.
    unsent: AtomicU64,
    threads: AtomicU64,
}

/// How a relay fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RelayReport {
    /// Threads that carry frames; 0: they go by the control channel's own socket.
    pub threads: u64,
    /// Frames that may have gone and that the kernel did not take.
    pub unsent: u64,
    #[serde(flatten)]
    pub relay: RelayStatus,
}

impl Carrier {
    /// A relay, and what its owner hears of it.
    pub fn new(settings: &RelaySettings) -> (Carrier, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(ASKS);
        let relay = Arc::new(Relay::new(settings.limits()));
        let (stun, proven) = (Stun::default(), Proven::default());
        (Carrier { relay, asks, shared: Arc::default(), stun, proven }, asked)
    }

    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Answers who asks where it is seen, where nobody else reads the port.
    pub fn stun(&self) -> &Stun {
        &self.stun
    }

    /// Where seats have shown lately that their nodes are.
    pub fn proven(&self) -> &Proven {
        &self.proven
    }

    /// Judges one received batch and gives each stretch that goes on to `send`, which says whether the kernel took it.
    pub fn carry(
        &self,
        from: Place,
        batch: &mut [u8],
        stride: usize,
        verdicts: &mut Verdicts,
        mut send: impl FnMut(&Forward, &[u8]) -> u64,
    ) {
        let (now, seat) = (clock::mono(), relay::read(batch).map(|(head, _)| head.from));
        self.relay.handle(from, batch, stride, now, verdicts);
        // Whose frame was authentic is there: it is no stranger when it asks.
        self.proven.note(from.at.ip(), || seat.is_some_and(|seat| self.relay.place(seat, now) == Some(from)));
        for forward in &verdicts.forwards {
            let Some(bytes) = batch.get(forward.range.clone()) else { continue };
            self.unsent(send(forward, bytes));
        }
        for ask in &verdicts.asks {
            if self.asks.try_send(*ask).is_err() {
                self.relay.not_asked(ask.pair);
            }
        }
    }

    pub fn unsent(&self, frames: u64) {
        if frames > 0 {
            self.shared.unsent.fetch_add(frames, Ordering::Relaxed);
        }
    }

    pub fn report(&self) -> RelayReport {
        RelayReport {
            threads: self.shared.threads.load(Ordering::Relaxed),
            unsent: self.shared.unsent.load(Ordering::Relaxed),
            relay: self.relay.status(clock::mono()),
        }
    }
}

/// Carries what comes to the control channel's own socket: all frames, where the kernel does not steer.
#[derive(Debug)]
pub struct Beside {
    carrier: Carrier,
    verdicts: Mutex<Verdicts>,
}

impl Beside {
    pub fn new(carrier: Carrier) -> Beside {
        Beside { carrier, verdicts: Mutex::default() }
    }

    pub fn carry(
        &self,
        from: Place,
        batch: &mut [u8],
        stride: usize,
        send: impl FnMut(&Forward, &[u8]) -> u64,
    ) {
        self.carrier.carry(from, batch, stride, &mut self.verdicts.lock(), send);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use warren_coordinator_core::relay::Seating;
    use warren_wire::id::NodeId;
    use warren_wire::relay::{HEAD, Head, Seat, TagKey};

    use super::*;

    #[test]
    fn a_seat_that_has_shown_where_it_is_is_no_stranger_there_and_who_forges_one_is() {
        let (carrier, _asked) = Carrier::new(&RelaySettings::default());
        let (seat, up, down) = (Seat::new(5).unwrap(), TagKey::new([1; 16]), TagKey::new([2; 16]));
        let until = clock::mono() + Duration::from_secs(60);
        let seating = Seating { seat, node: NodeId([3; 16]), up: up.clone(), down, until };
        carrier.relay().seat(seating, clock::mono());
        let says = |from: &str, counter, key: &TagKey| {
            let mut frame = vec![0; HEAD + 32];
            assert!(relay::write(&mut frame, Head { from: seat, to: Seat::RELAY, counter }, key));
            let at: SocketAddr = from.parse().unwrap();
            let (len, place) = (frame.len(), Place { at, by: None });
            carrier.carry(place, &mut frame, len, &mut Verdicts::default(), |_, _| 0);
            carrier.proven().knows(at.ip())
        };
        assert!(says("192.0.2.1:7", 1, &up));
        assert!(!says("192.0.2.2:7", 2, &TagKey::new([9; 16])));
        assert!(!says("192.0.2.2:7", 1, &up), "said before");
    }
}
