//! The threads that carry frames: receive, judge, send, each with its own socket and buffer.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use quinn::udp::Transmit;
use warren_coordinator_core::relay::{Forward, Place, Verdicts};
use warren_kernel::datagram::{self, Received, Wait};
use warren_wire::{relay, stun};

use super::{Carrier, Ports, group};
use crate::clock;
use crate::strangers::{Kind, Strangers};

/// What one receive gives at most.
const BUFFER: usize = 64 * 1024;
/// How often what is over is forgotten.
const TIDY: Duration = Duration::from_secs(1);

/// All of them.
pub struct Threads {
    carrier: Carrier,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// One for each socket, and one that keeps the tables tidy.
    pub fn start(carrier: Carrier, sockets: Vec<UdpSocket>) -> io::Result<Threads> {
        carrier.shared.threads.store(sockets.len() as u64, Ordering::Relaxed);
        let mut threads = Threads { carrier, threads: Vec::new() };
        for socket in sockets {
            threads.add("relay", move |carrier| carry(&carrier, &socket))?;
        }
        threads.add("relay-tidy", |carrier| tidy(&carrier))?;
        Ok(threads)
    }

    /// The same for a relay that is a program of its own: nobody else reads the port's first socket, where STUN comes in.
    pub fn start_alone(carrier: Carrier, ports: Ports) -> io::Result<Threads> {
        let Ports { control, relay, mouths } = ports;
        control.set_read_timeout(Some(group::PATIENCE))?;
        let strangers = Strangers::new(mouths)?;
        let mut threads = Threads::start(carrier, relay)?;
        threads.add("relay-first", move |carrier| answer(&carrier, &control, &strangers))?;
        Ok(threads)
    }

    fn add(&mut self, name: &str, work: impl FnOnce(Carrier) + Send + 'static) -> io::Result<()> {
        let carrier = self.carrier.clone();
        let thread = std::thread::Builder::new().name(name.into());
        self.threads.push(thread.spawn(move || work(carrier))?);
        Ok(())
    }

    /// Returns when they have ended.
    pub fn stop(self) {
        self.carrier.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn carry(carrier: &Carrier, socket: &UdpSocket) {
    let (mut buffer, mut verdicts) = (vec![0; BUFFER], Verdicts::default());
    while !carrier.shared.stop.load(Ordering::Relaxed) {
        match datagram::receive(socket, &mut buffer, Wait::Socket) {
            Ok(received) => {
                let batch = buffer.get_mut(..received.len).unwrap_or_default();
                let send = |forward: &Forward, bytes: &[u8]| send(socket, forward, bytes);
                let from = Place { at: received.from, by: received.to };
                carrier.carry(from, batch, received.segment, &mut verdicts, send);
            }
            Err(error) if is_silence(&error) => {}
            Err(error) => {
                tracing::debug!(%error, "the relay's socket");
                std::thread::sleep(group::PATIENCE);
            }
        }
    }
}

/// STUN, and all frames where the kernel does not steer. What is neither is nobody's.
fn answer(carrier: &Carrier, socket: &UdpSocket, strangers: &Strangers) {
    let (mut buffer, mut verdicts) = (vec![0; BUFFER], Verdicts::default());
    while !carrier.shared.stop.load(Ordering::Relaxed) {
        let Ok(received) = datagram::receive(socket, &mut buffer, Wait::Socket) else { continue };
        let batch = buffer.get_mut(..received.len).unwrap_or_default();
        if relay::is_frame(batch) {
            let send = |forward: &Forward, bytes: &[u8]| send(socket, forward, bytes);
            let from = Place { at: received.from, by: received.to };
            carrier.carry(from, batch, received.segment, &mut verdicts, send);
        } else if may_ask(carrier, strangers, batch, received.from) {
            tell(carrier, socket, strangers, batch, &received);
        }
    }
}

/// What only looks like a question takes nothing from those who ask. What goes to a seat's place leaves as if to a stranger: its
/// node may have said so and be elsewhere.
fn may_ask(carrier: &Carrier, strangers: &Strangers, question: &[u8], from: SocketAddr) -> bool {
    stun::read_question(question).is_some()
        && (carrier.proven().knows(from.ip()) || strangers.may(Kind::Question, from))
}

/// One that finds no room is lost, like any.
fn tell(carrier: &Carrier, socket: &UdpSocket, strangers: &Strangers, question: &[u8], asked: &Received) {
    let Some(contents) = carrier.stun().reply(question, asked.from) else { return };
    let transmit = Transmit {
        destination: asked.from,
        ecn: None,
        contents: &contents,
        segment_size: None,
        src_ip: asked.to,
    };
    if !strangers.send(&transmit) {
        let _ = datagram::send_from(socket, asked.to, &asked.from, &contents, None, Wait::Never);
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// As one batch, or, where the kernel does not cut it, one by one; how many were lost.
fn send(socket: &UdpSocket, forward: &Forward, bytes: &[u8]) -> u64 {
    let Place { at, by } = forward.to;
    let segment = u16::try_from(forward.segment).ok().filter(|size| usize::from(*size) < bytes.len());
    match datagram::send_from(socket, by, &at, bytes, segment, Wait::Socket) {
        Ok(()) => 0,
        Err(error) if is_silence(&error) || segment.is_none() => frames(forward, bytes),
        Err(_) => {
            let frames = bytes.chunks(forward.segment.max(1));
            frames
                .filter(|frame| datagram::send_from(socket, by, &at, frame, None, Wait::Socket).is_err())
                .count() as u64
        }
    }
}

fn frames(forward: &Forward, bytes: &[u8]) -> u64 {
    bytes.len().div_ceil(forward.segment.max(1)) as u64
}

fn tidy(carrier: &Carrier) {
    while !carrier.shared.stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(TIDY);
        carrier.relay.tidy(clock::mono());
    }
}
