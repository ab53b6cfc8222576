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

use crate::clock;
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
        (Carrier { relay, asks, shared: Arc::default(), stun: Stun::default() }, asked)
    }

    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Answers who asks where it is seen, where nobody else reads the port.
    pub fn stun(&self) -> &Stun {
        &self.stun
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
        self.relay.handle(from, batch, stride, clock::mono(), verdicts);
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
