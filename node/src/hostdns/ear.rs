//! Hears of the first packet of every socket that asks past this node, finds out whose it is while it waits, and refuses it.
//!
//! ```text
//! program ──(its packet is held back)──▶ kernel's packet log ──▶ ear ──whose?──▶ workload helper
//!    ▲                                                           │
//!    └───────────(ICMP: no such port, out of the TUN)────────────┴──▶ the agent's next report
//! ```

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use warren_node_core::host::leak::heard::{acknowledged, read, requests};
use warren_node_core::host::leak::{GROUPS, HEARD, Heard, refusal};

use crate::workload::Asker;

/// So long a program is kept waiting at most until it is refused; and while the helper has not answered the last time.
const PATIENCE: Duration = Duration::from_millis(250);
const IMPATIENCE: Duration = Duration::from_millis(50);
/// What waits for the agent's next report; the rest is a number in it.
const WAITING: usize = 1024;
/// How often the ear looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);
const DATAGRAM: usize = 64 * 1024;

/// Where a refusal goes.
type Tell = dyn Fn(&[u8]) + Send + Sync;

/// What the ear needs of the agent.
#[derive(Clone)]
pub struct Means {
    /// Nobody: then nobody is named.
    pub asker: Option<Asker>,
    pub ranges: Vec<IpNet>,
    /// Writes a frame to this host, out of the TUN.
    pub tell: Arc<Tell>,
}

/// Ends its thread when it is dropped.
pub struct Ear {
    /// Of the kernel's packet log.
    pub group: u16,
    heard: Receiver<Heard>,
    ends: Arc<AtomicBool>,
}

impl Ear {
    pub fn open(means: Means) -> io::Result<Ear> {
        let (socket, group) = listen()?;
        let (sender, heard) = sync_channel(WAITING);
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::Builder::new().name("warren-ear".to_owned());
        thread.spawn(move || hear(&socket, &means, &sender, &ended))?;
        Ok(Ear { group, heard, ends })
    }

    pub fn heard(&self) -> impl Iterator<Item = Heard> + '_ {
        self.heard.try_iter()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// A group of the packet log that nobody else on this host listens to.
fn listen() -> io::Result<(Socket, u16)> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(LOOK))?;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for group in GROUPS {
        match requests(group).iter().try_for_each(|request| ask(&socket, request)) {
            Ok(()) => return Ok((socket, group)),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn ask(socket: &Socket, request: &[u8]) -> io::Result<()> {
    socket.send(request, 0)?;
    let mut answer = Vec::with_capacity(DATAGRAM);
    loop {
        answer.clear();
        socket.recv(&mut answer, 0)?;
        // A packet of before comes between.
        match acknowledged(&answer) {
            Some(0) => return Ok(()),
            Some(error) => return Err(io::Error::from_raw_os_error(error)),
            None => {}
        }
    }
}

fn hear(socket: &Socket, means: &Means, sender: &SyncSender<Heard>, ends: &AtomicBool) {
    let (mut datagram, mut flow, mut patience) = (Vec::with_capacity(DATAGRAM), HEARD, PATIENCE);
    while !ends.load(Ordering::Relaxed) {
        datagram.clear();
        // Nothing came, or too much for the socket: what is lost here the kernel has counted.
        if socket.recv(&mut datagram, 0).is_err() {
            continue;
        }
        for tried in read(&datagram) {
            flow += 1;
            let heard = Heard { flow, tried };
            if let Some(asker) = &means.asker {
                let answered = asker.ask(heard.question(), patience);
                patience = if answered { PATIENCE } else { IMPATIENCE };
            }
            if let Some(frame) = refusal(&heard.tried, &means.ranges) {
                (means.tell)(&frame);
            }
            let _ = sender.try_send(heard);
        }
    }
}
