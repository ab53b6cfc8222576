//! The packet workers: plain threads that carry bytes between the kernel and [`DataPlane`], and decide nothing.
//!
//! | thread | waits for | does |
//! |---|---|---|
//! | egress (one a worker) | its queue of the TUN | reads until it is empty, seals, sends |
//! | ingress (one a worker and address family) | its socket | opens, judges, merges, writes to its queue of the TUN |
//! | control | the sockets for what is not data | handshakes, cookies, floods |
//! | tick | the next timer | timers of sessions and flows |
//!
//! A worker that panics ends the whole agent at once: the kernel's guards stay, so nothing leaks and nothing is let
//! through by half an agent.

mod aside;
mod control;
mod egress;
mod ingress;
mod nice;
mod pace;
mod pulse;
mod sleepers;
mod stop;
mod tick;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use warren_node_core::dataplane::DataPlane;
use warren_node_core::mapping::Mappings;
use warren_node_core::session::Engine;
use warren_wire::stun::is_stun;

use crate::clock::Clock;
use crate::door::Outlook;
use crate::tun::{Tun, Written};
use crate::udp::Sockets;
pub use aside::Aside;
pub use pulse::Pulse;
pub use sleepers::Sleepers;
pub use stop::{Stop, StopReason};
use warren_kernel::interrupt;

/// A worker shows at least this often that it lives.
const BEAT_SECONDS: i64 = 1;

/// Packet workers at most.
pub const MAX_WORKERS: usize = 8;

/// One packet worker for every four processors: each has two busy threads, and the host has other work.
pub fn default_count() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 4).clamp(1, MAX_WORKERS)
}

/// What all workers share.
pub struct Shared<E: Engine> {
    pub tun: Tun,
    pub sockets: Sockets,
    pub plane: DataPlane<E>,
    pub clock: Arc<Clock>,
    pub stop: Stop,
    pub pulse: Pulse,
    pub counters: Counters,
    pub aside: Aside,
    pub sleepers: Sleepers,
    /// Asked by the tick thread, answered at the control worker, read by the control half.
    pub mappings: Mutex<Mappings>,
    /// Does UDP reach relays that are used through doors?
    pub outlook: Mutex<Outlook>,
    pub workers: usize,
}

/// What the hands lost or had to do differently; everything else is counted by the plane.
#[derive(Debug, Default)]
pub struct Counters {
    pub tun_lost: AtomicU64,
    pub tun_offload_refused: AtomicU64,
    /// Handshakes that came with data, when too many of them waited.
    pub aside_lost: AtomicU64,
}

impl Counters {
    pub fn list(&self) -> [(&'static str, u64); 3] {
        [
            ("tun-lost", self.tun_lost.load(Ordering::Relaxed)),
            ("tun-offload-refused", self.tun_offload_refused.load(Ordering::Relaxed)),
            ("handshakes-aside-lost", self.aside_lost.load(Ordering::Relaxed)),
        ]
    }
}

impl<E: Engine> Shared<E> {
    /// Takes the answer of STUN that this node waits for out of what came to a WireGuard socket. Any other is for the plane
    /// to count.
    pub fn takes_stun(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        is_stun(datagram)
            && (self.mappings.lock().handle_answer(from, datagram, self.clock.now().mono)
                || self.outlook.lock().handle_answer(from, datagram))
    }

    /// Writes a frame that carries no offload; counts it if it is lost.
    pub fn write_plain(&self, frame: &[u8]) {
        if self.tun.queue(0).write_frame(frame) != Written::Whole {
            self.counters.tun_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

type Body<E> = Box<dyn FnOnce(&Shared<E>) + Send>;

/// Starts all workers. They end when [`Stop`] is set.
pub fn start<E: Engine>(shared: &Arc<Shared<E>>, settings: Settings) -> io::Result<Vec<JoinHandle<()>>> {
    interrupt::prepare()?;
    let mut threads = Vec::new();
    let mut spawn = |name: &str, body: Body<E>| -> io::Result<()> {
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name(format!("warren-{name}"));
        threads.push(thread.spawn(move || {
            let _closed = AbortOnPanic;
            body(&shared);
        })?);
        Ok(())
    };
    for number in 0..shared.workers {
        spawn(&format!("out{number}"), Box::new(move |s| egress::run(s, number)))?;
        for at in 0..shared.sockets.of_worker(number).count() {
            spawn(&format!("in{number}.{at}"), Box::new(move |s| ingress::run(s, number, at, &settings)))?;
        }
    }
    spawn("control", Box::new(move |s| control::run(s, &settings)))?;
    spawn("tick", Box::new(tick::run))?;
    Ok(threads)
}

pub use warren_node_core::dataplane::Settings;

/// Ends the process when the thread that holds it unwinds.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "a packet worker failed: the agent ends at once; the kernel's guards stay in place"
            );
            std::process::abort();
        }
    }
}
