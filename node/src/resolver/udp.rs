//! Questions in datagrams: one thread for all sockets, many datagrams a system call. What is known is answered in the
//! same breath; what must be asked elsewhere is left to the runtime.
//!
//! Each address has several sockets, over which the kernel spreads askers by their ports, and which take turns. While more
//! comes than is answered, sockets are emptied faster than questions are answered, so that the kernel has no reason to
//! throw away anybody's, and the [`Crowd`] says whose turn it is: a program that floods waits for itself.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use tokio::runtime::Handle;
use warren_node_core::names::crowd::Crowd;
use warren_node_core::names::reply::Carrier;

use super::Resolver;
use super::answer::Said;
use warren_kernel::batch::{self, Inbox};

/// No question is longer.
const LONGEST: usize = 4096;
/// Sockets of one address.
pub const SOCKETS: usize = 8;
/// Batches of one asker that are answered as they come; what still comes then waits in the crowd.
const AT_ONCE: usize = 4;
/// Batches that are taken from one socket before the next one's turn.
const TAKEN: usize = 12;
/// Questions that wait in the crowd, and how many of them are answered before sockets are emptied again.
const CROWD: usize = 2048;
const TURN: usize = 64;
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// What the event of the end is called among sockets.
const STOP: u64 = u64::MAX;

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
    let sockets: Vec<Arc<UdpSocket>> = sockets.into_iter().map(Arc::new).collect();
    let ready = Ready::new(&sockets, &stop)?;
    let mut desk = Desk {
        resolver,
        answers: sockets.iter().map(|_| Vec::with_capacity(batch::BATCH)).collect(),
        sockets,
        inbox: Inbox::default(),
        crowd: Crowd::new(CROWD),
    };
    let own = Arc::clone(&stop);
    let run = move || {
        // What is asked elsewhere is asked on the runtime.
        let _inside = runtime.enter();
        desk.serve(&ready, &own);
    };
    let thread = std::thread::Builder::new().name("warren-dns".to_owned()).spawn(run)?;
    Ok(Thread { stop, thread: Some(thread) })
}

/// A question and the socket it came by.
type Waiting = (usize, Vec<u8>);

struct Desk {
    resolver: Arc<Resolver>,
    sockets: Vec<Arc<UdpSocket>>,
    inbox: Inbox<LONGEST>,
    crowd: Crowd<Waiting>,
    /// Of each socket, to be sent.
    answers: Vec<Vec<(SocketAddr, Vec<u8>)>>,
}

impl Desk {
    fn serve(&mut self, ready: &Ready, stop: &Stop) {
        let mut events = Vec::with_capacity(self.sockets.len() + 1);
        while !stop.flag.load(Ordering::SeqCst) {
            for socket in ready.wait(&mut events, !self.crowd.is_empty()) {
                self.listen(socket);
            }
            for _ in 0..TURN {
                let Some((asker, (socket, question))) = self.crowd.pop() else { break };
                answer(&self.resolver, &self.sockets, &mut self.answers, socket, asker, &question);
            }
            (0..self.sockets.len()).for_each(|socket| self.send(socket));
        }
    }

    fn listen(&mut self, socket: usize) {
        let Some(from) = self.sockets.get(socket).cloned() else { return };
        for taken in 0..TAKEN {
            match self.inbox.receive(&from) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // An earlier answer met a closed port: nothing of ours is wrong.
                Err(_) => continue,
            }
            if self.crowd.is_empty() && (!self.inbox.is_full() || (taken < AT_ONCE && self.is_of_one())) {
                for (asker, question) in self.inbox.datagrams() {
                    answer(&self.resolver, &self.sockets, &mut self.answers, socket, asker, question);
                }
                self.send(socket);
            } else {
                for (asker, question) in self.inbox.datagrams() {
                    if self.crowd.push(asker, (socket, question.to_vec())).is_some() {
                        self.resolver.count_crowded_out();
                    }
                }
            }
            if !self.inbox.is_full() {
                return;
            }
        }
    }

    /// Did one asker send the whole batch?
    fn is_of_one(&self) -> bool {
        let mut askers = self.inbox.datagrams().map(|(asker, _)| asker);
        let first = askers.next();
        askers.all(|asker| Some(asker) == first)
    }

    fn send(&mut self, socket: usize) {
        if let (Some(to), Some(answers)) = (self.sockets.get(socket), self.answers.get_mut(socket)) {
            send(to, answers);
            answers.clear();
        }
    }
}

fn answer(
    resolver: &Arc<Resolver>,
    sockets: &[Arc<UdpSocket>],
    answers: &mut [Vec<(SocketAddr, Vec<u8>)>],
    socket: usize,
    asker: SocketAddr,
    question: &[u8],
) {
    let (Some(from), Some(answers)) = (sockets.get(socket), answers.get_mut(socket)) else { return };
    match resolver.say(question, asker, Carrier::Datagram) {
        Said::Now(answer) => answers.push((asker, answer)),
        Said::Silence => {}
        Said::Later(later) => {
            let socket = Arc::clone(from);
            tokio::spawn(async move { drop(socket.send_to(&later.await, asker)) });
        }
    }
}

/// A full send buffer loses answers, as a network would: the asker asks again.
fn send(socket: &UdpSocket, mut answers: &[(SocketAddr, Vec<u8>)]) {
    if let [(asker, answer)] = answers {
        let _ = socket.send_to(answer, asker);
        return;
    }
    while !answers.is_empty() {
        let sent = match batch::send(socket, answers) {
            Ok(sent) => sent.max(1),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(_) => 1,
        };
        answers = answers.get(sent..).unwrap_or_default();
    }
}

/// Says which sockets have something.
struct Ready(OwnedFd);

impl Ready {
    fn new(sockets: &[Arc<UdpSocket>], stop: &Stop) -> io::Result<Ready> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (socket, name) in sockets.iter().zip(0..) {
            epoll::add(&epoll, socket, EventData::new_u64(name), EventFlags::IN)?;
        }
        epoll::add(&epoll, &stop.event, EventData::new_u64(STOP), EventFlags::IN)?;
        Ok(Ready(epoll))
    }

    /// Sleeps until one has something or it is time to stop; not if there is something to do.
    fn wait<'a>(
        &self,
        events: &'a mut Vec<Event>,
        something_to_do: bool,
    ) -> impl Iterator<Item = usize> + use<'a> {
        events.clear();
        let at_most = something_to_do.then_some(&NOW);
        if epoll::wait(&self.0, spare_capacity(events), at_most).is_err() {
            // Interrupted, or out of memory: not in a circle without a breath.
            std::thread::sleep(Duration::from_millis(1));
        }
        let names = events.iter().map(|event| event.data.u64()).filter(|name| *name != STOP);
        names.filter_map(|name| usize::try_from(name).ok())
    }
}
