//! Doors ([`warren_wire::door`]): how nodes reach this host's UDP port from networks that let no UDP through, or none but to 443.
//!
//! ```text
//!   TCP 443, and TCP of the port's own number ── TLS 1.3 ── WebSocket ──┐
//!   UDP 443 ──────────────────────────────────── QUIC datagrams ────────┴─▶ [`warren_door::Local`] ──▶ the UDP port
//! ```
//!
//! A door proves by TLS that it is the port's owner's and asks nobody who he is; what comes out of it is judged at the port as
//! everything there: QUIC's keys, the relay's tags, permits and limits. The port knows by [`Callers`] whose address a door was opened
//! from, so that limits for each source hold for whom they are meant. What a stranger can make us hold:
//!
//! | what | bound |
//! |---|---|
//! | doors in all, of one source (IPv4 address, IPv6 /64) | 4,096 (less if the host allows fewer files), 1,024 |
//! | doors of which nobody at the port has said that they are good | 256, 16 of one source; who comes when all places are taken gets the oldest's |
//! | such a door | 30 s, and 512 datagrams from outside |
//! | TCP, TLS and WebSocket handshake together | 10 s, and 4 KiB; with QUIC 4 KiB |
//! | what has come by such doors over TCP, of one source, and is no whole message yet | 64 KiB |
//! | a message | 9,216 bytes, binary, in pieces or not |
//! | what waits for a slow client | the buffers of one socket, 32 KiB more, and 20 s without progress |
//! | a door that the port says nothing by | 60 s |
//!
//! An answer is never sent to an address that has not been proven (TCP; QUIC's address validation from the busy mark on), so
//! there is no amplification but QUIC's own threefold.

mod callers;
mod listen;
mod quic;
mod settings;
mod tcp;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinHandle;
use warren_door::{End, Tally};
use warren_wire::door::DoorAt;

use crate::channel::{Gate, Limits};
pub use callers::{Caller, Callers};
pub use settings::{DoorSettings, DoorSettingsError, Words};
pub use warren_coordinator_core::doors::{DoorReport, Transport};
use watch::Watch;

/// The doors of one UDP port.
#[derive(Clone)]
pub struct Doors {
    shared: Arc<Shared>,
    tasks: Arc<Vec<JoinHandle<()>>>,
}

struct Shared {
    /// The UDP port that they belong to.
    port: SocketAddr,
    callers: Callers,
    gate: Gate,
    listening: Vec<String>,
    told: Vec<DoorAt>,
    tally: Tally,
    opened: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// For each stranger's door two descriptors, and for each member's.
const LIMITS: Limits = Limits {
    incoming: 128,
    strangers: 256,
    strangers_per_source: 16,
    bytes_per_source: 64 * 1024,
    connections: 4096,
    connections_per_source: 1024,
};

impl Doors {
    /// Opens what can be opened for the UDP port `port` of this host, whose owner's key has the seed `seed`. What cannot is said in the log,
    /// in `words` of who has set it, and does without. Must be called within a tokio runtime.
    pub fn open(
        settings: &DoorSettings,
        words: &Words,
        port: SocketAddr,
        seed: &[u8; 32],
        callers: Callers,
    ) -> Doors {
        let sockets = listen::bind(settings, words, port);
        Doors::on(sockets, port, seed, callers)
    }

    fn on(sockets: listen::Sockets, port: SocketAddr, seed: &[u8; 32], callers: Callers) -> Doors {
        let (listening, told) = (sockets.names(), sockets.told());
        let shared = Arc::new(Shared {
            port,
            callers,
            gate: Gate::new(Limits { connections: listen::room(LIMITS.connections), ..LIMITS }),
            listening,
            told,
            tally: Tally::default(),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let mut tasks = tcp::start(sockets.tcp, seed, &shared);
        tasks.extend(quic::start(sockets.udp, seed, &shared));
        Doors { shared, tasks: Arc::new(tasks) }
    }

    /// With one TCP listener at `at`, for tests and programs that choose for themselves.
    ///
    /// # Errors
    /// `at` cannot be had.
    pub fn tcp_at(
        at: SocketAddr,
        port: SocketAddr,
        seed: &[u8; 32],
        callers: Callers,
    ) -> std::io::Result<(Doors, SocketAddr)> {
        let sockets = listen::Sockets::tcp_at(at)?;
        let at = sockets.tcp.first().and_then(|tcp| tcp.local_addr().ok()).unwrap_or(at);
        Ok((Doors::on(sockets, port, seed, callers), at))
    }

    pub fn report(&self) -> DoorReport {
        self.shared.report()
    }

    /// What nodes are told of them.
    pub fn told(&self) -> &[DoorAt] {
        &self.shared.told
    }

    /// Takes no more; those that are open end with the port's other connections.
    pub fn close(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn fail(&self, from: SocketAddr, why: &dyn std::fmt::Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%from, %why, "a door was not opened");
    }

    fn report(&self) -> DoorReport {
        let (websocket, quic) = self.callers.count();
        let carried = self.tally.read();
        DoorReport {
            listening: self.listening.clone(),
            websocket: websocket as u64,
            quic: quic as u64,
            opened: self.opened.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            inward: carried.inward,
            outward: carried.outward,
            bytes: carried.bytes,
            lost: carried.lost,
        }
    }

    fn opened(&self, watch: &Watch) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(from = %watch.caller().remote, "a door is open");
    }
}

fn say_end(from: SocketAddr, end: &End) {
    tracing::debug!(%from, %end, "a door has closed");
}
