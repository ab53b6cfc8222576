//! The packet workers: plain threads that carry bytes between the kernel and [`DataPlane`], and decide nothing.
//!
//! | thread | waits for | does |
//! |---|---|---|
//! | egress | the TUN | reads until it is empty, sends what is sealed |
//! | ingress (one per UDP socket) | its socket | hands datagrams in, writes frames to the TUN, sends answers |
//! | tick | the next timer | timers of sessions and flows |
//!
//! A worker that panics ends the whole agent at once: the kernel's guards stay, so nothing leaks and nothing is let
//! through by half an agent.

mod egress;
mod ingress;
mod pulse;
mod stop;
mod tick;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use warren_node_core::dataplane::DataPlane;
use warren_node_core::session::Engine;

use crate::clock::Clock;
use crate::tun::{Tun, Written};
use crate::udp::Sockets;
pub use pulse::Pulse;
pub use stop::{Stop, StopReason};

/// A worker shows at least this often that it lives.
const BEAT_SECONDS: i64 = 1;

/// What all workers share.
pub struct Shared<E: Engine> {
    pub tun: Tun,
    pub sockets: Sockets,
    pub plane: DataPlane<E>,
    pub clock: Arc<Clock>,
    pub stop: Stop,
    pub pulse: Pulse,
    pub counters: Counters,
}

/// What the hands lost or had to do differently; everything else is counted by the plane.
#[derive(Debug, Default)]
pub struct Counters {
    pub tun_lost: AtomicU64,
    pub tun_offload_refused: AtomicU64,
}

impl Counters {
    pub fn list(&self) -> [(&'static str, u64); 2] {
        [
            ("tun-lost", self.tun_lost.load(Ordering::Relaxed)),
            ("tun-offload-refused", self.tun_offload_refused.load(Ordering::Relaxed)),
        ]
    }
}

impl<E: Engine> Shared<E> {
    /// Writes a frame that carries no offload; counts it if it is lost.
    pub fn write_plain(&self, frame: &[u8]) {
        if self.tun.write_frame(frame) != Written::Whole {
            self.counters.tun_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

type Body<E> = Box<dyn FnOnce(&Shared<E>) + Send>;

/// Starts all workers. They end when [`Stop`] is set.
pub fn start<E: Engine>(shared: &Arc<Shared<E>>, settings: Settings) -> io::Result<Vec<JoinHandle<()>>> {
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
    spawn("egress", Box::new(move |s| egress::run(s, &settings)))?;
    if shared.sockets.v4.is_some() {
        spawn("ingress4", Box::new(move |s| ingress::run(s, s.sockets.v4.as_ref(), &settings)))?;
    }
    if shared.sockets.v6.is_some() {
        spawn("ingress6", Box::new(move |s| ingress::run(s, s.sockets.v6.as_ref(), &settings)))?;
    }
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

/// Waits until `fd` is readable or the agent stops. False: stop.
fn wait_readable<E: Engine>(shared: &Shared<E>, fd: impl std::os::fd::AsFd) -> bool {
    let limit = Timespec { tv_sec: BEAT_SECONDS, tv_nsec: 0 };
    let mut fds = [PollFd::new(&fd, PollFlags::IN), PollFd::new(&shared.stop, PollFlags::IN)];
    match poll(&mut fds, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => shared.stop.set(StopReason::Failed(format!("a packet worker cannot wait: {e}"))),
    }
    !shared.stop.is_set()
}
