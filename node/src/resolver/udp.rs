//! Questions in datagrams: one thread for all sockets, many datagrams a system call. What is known is answered in the
//! same breath; what must be asked elsewhere is left to the runtime.
//!
//! Each address has several sockets, over which the kernel spreads askers by their ports, and which take turns: a program
//! that floods fills the queue it is in, and delays the others by one turn.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use tokio::runtime::Handle;
use warren_node_core::names::reply::Carrier;

use super::Resolver;
use super::answer::Said;
use crate::kernel::batch::{self, Inbox};

/// No question is longer.
const LONGEST: usize = 4096;
/// Sockets of one address.
pub const SOCKETS: usize = 8;
/// Batches of one socket after which the others have a turn.
const TURN: usize = 2;

/// The thread; it ends when this is dropped.
pub struct Thread {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

struct Stop {
    flag: AtomicBool,
    event: OwnedFd,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.flag.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.stop.event, &1u64.to_ne_bytes());
        // Its sockets are closed afterwards, so that the next one may have their addresses.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn start(resolver: Arc<Resolver>, sockets: Vec<UdpSocket>, runtime: Handle) -> io::Result<Thread> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let stop = Arc::new(Stop { flag: AtomicBool::new(false), event });
    let own = Arc::clone(&stop);
    let run = move || {
        // What is asked elsewhere is asked on the runtime.
        let _inside = runtime.enter();
        serve(&resolver, sockets.into_iter().map(Arc::new).collect(), &own);
    };
    let thread = std::thread::Builder::new().name("warren-dns".to_owned()).spawn(run)?;
    Ok(Thread { stop, thread: Some(thread) })
}

fn serve(resolver: &Arc<Resolver>, sockets: Vec<Arc<UdpSocket>>, stop: &Stop) {
    let mut inbox = Inbox::<LONGEST>::default();
    let mut answers = Vec::with_capacity(batch::BATCH);
    while !stop.flag.load(Ordering::SeqCst) {
        for socket in ready(&sockets, stop.event.as_fd()) {
            turn(resolver, socket, &mut inbox, &mut answers);
        }
    }
}

fn turn(
    resolver: &Arc<Resolver>,
    socket: &Arc<UdpSocket>,
    inbox: &mut Inbox<LONGEST>,
    answers: &mut Vec<(SocketAddr, Vec<u8>)>,
) {
    for _ in 0..TURN {
        match inbox.receive(socket) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            // An earlier answer met a closed port: nothing of ours is wrong.
            Err(_) => continue,
        }
        answers.clear();
        for (asker, bytes) in inbox.datagrams() {
            match resolver.say(bytes, asker, Carrier::Datagram) {
                Said::Now(answer) => answers.push((asker, answer)),
                Said::Silence => {}
                Said::Later(later) => {
                    let socket = Arc::clone(socket);
                    tokio::spawn(async move { drop(socket.send_to(&later.await, asker)) });
                }
            }
        }
        send(socket, answers);
        if !inbox.is_full() {
            return;
        }
    }
}

/// A full send buffer loses answers, as a network would: the asker asks again.
fn send(socket: &UdpSocket, mut answers: &[(SocketAddr, Vec<u8>)]) {
    while !answers.is_empty() {
        let sent = match batch::send(socket, answers) {
            Ok(sent) => sent.max(1),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(_) => 1,
        };
        answers = answers.get(sent..).unwrap_or_default();
    }
}

/// Sleeps until one has something, or it is time to stop.
fn ready<'a>(sockets: &'a [Arc<UdpSocket>], stop: BorrowedFd<'_>) -> Vec<&'a Arc<UdpSocket>> {
    let fds = sockets.iter().map(|socket| socket.as_fd()).chain([stop]);
    let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    if poll(&mut fds, None).is_err() {
        // Interrupted, or out of memory: not in a circle without a breath.
        std::thread::sleep(Duration::from_millis(1));
    }
    let readable = sockets.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
    readable.map(|(socket, _)| socket).collect()
}
