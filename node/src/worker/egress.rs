//! TUN → network, for one queue of the TUN.
//!
//! A lone packet costs two system calls: a read that sleeps until it is there, and a send. When the read did not have to
//! sleep, or gave a super-packet, more may be waiting: then it reads until the TUN is empty, so that small packets of one
//! burst leave in one send, and the rest of one super-packet with the next.

use std::io::ErrorKind;

use rustix::io::Errno;
use warren_node_core::clock::Now;
use warren_node_core::dataplane::EgressWorker;
use warren_node_core::session::Engine;

use super::nice::Rank;
use super::pace::{Pace, Tempo};
use super::pulse::Worker;
use super::{Shared, StopReason};
use crate::clock::boot;
use crate::tun::{MAX_FRAME, Queue};
use crate::udp::Sender;
use warren_kernel::datagram::Wait;

/// Frames read before the open batch is sent although more are waiting: a bound on delay, not on size.
const READS_PER_FLUSH: u64 = 256;
/// A read that took longer has slept: a thread is put aside and woken in more, a frame that waits is taken in less.
const SLEPT_NANOS: u64 = 3000;
/// A longer frame is a super-packet: bulk, whose copy alone takes longer than a small packet's sleep.
const SUPER: usize = 4096;

/// One egress thread.
struct Egress<'a, E: Engine> {
    shared: &'a Shared<E>,
    queue: Queue<'a>,
    worker: EgressWorker,
    number: usize,
}

pub fn run<E: Engine>(shared: &Shared<E>, number: usize) {
    let Some(_bed) = shared.sleepers.lie_down(Worker::Egress { number }) else { return };
    let queue = shared.tun.queue(number);
    let mut egress = Egress { shared, queue, worker: EgressWorker::new(number), number };
    let mut buffer = vec![0; MAX_FRAME];
    let (mut pace, mut rank) = (Pace::default(), Rank::ahead());
    while !shared.stop.is_set() {
        let before = boot();
        let read = egress.read(&mut buffer, Wait::Socket);
        let now = shared.clock.now();
        shared.pulse.beat(Worker::Egress { number }, now.mono);
        let mut frames = 0;
        if let Some(len) = read {
            egress.carry(buffer.get_mut(..len).unwrap_or_default(), now);
            frames = 1;
            if len > SUPER || now.mono.0.saturating_sub(before.0) < SLEPT_NANOS {
                frames += egress.drain(&mut buffer);
            }
        }
        shared.plane.flush(&mut egress.worker);
        egress.hand_out();
        let tempo = pace.took(frames, now.mono);
        rank.set(tempo == Tempo::Calm);
        if let Some(gather) = tempo.gather() {
            std::thread::sleep(gather);
        }
    }
}

impl<E: Engine> Egress<'_, E> {
    /// What more there is, without sleeping. Returns how many frames.
    fn drain(&mut self, buffer: &mut [u8]) -> u64 {
        for frames in 1..READS_PER_FLUSH {
            let Some(len) = self.read(buffer, Wait::Never) else { return frames - 1 };
            self.carry(buffer.get_mut(..len).unwrap_or_default(), self.shared.clock.now());
        }
        READS_PER_FLUSH - 1
    }

    /// The length of the frame that was read; `None` when there is none, or when the sleep was interrupted.
    fn read(&self, buffer: &mut [u8], wait: Wait) -> Option<usize> {
        match self.queue.read(buffer, wait) {
            Ok(len) => Some(len),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            // A kernel whose TUN does not know how not to sleep: frames are then sent one by one.
            Err(e) if wait == Wait::Never && e.kind() == ErrorKind::Unsupported => None,
            Err(e) => {
                self.report(&e);
                None
            }
        }
    }

    fn carry(&mut self, frame: &mut [u8], now: Now) {
        self.shared.plane.egress(&mut self.worker, frame, now);
        if self.worker.out.has_ready() || self.worker.tun_frames().next().is_some() {
            self.hand_out();
        }
    }

    fn hand_out(&mut self) {
        for transmit in self.worker.out.transmits() {
            self.shared.sockets.send(&transmit, Sender::Worker(self.number));
        }
        for frame in self.worker.tun_frames() {
            self.shared.write_plain(frame);
        }
        self.worker.sent();
    }

    fn report(&self, e: &std::io::Error) {
        let name = self.shared.tun.name();
        let text = match e.raw_os_error().map(Errno::from_raw_os_error) {
            // A queue of a device that goes away under a sleeping reader says EFAULT.
            Some(Errno::BADFD | Errno::NODEV | Errno::NXIO | Errno::FAULT) => format!(
                "the interface {name} was deleted; overlay traffic stays blocked by the unreachable routes: \
                 start the agent again (the service manager does)"
            ),
            _ => format!("cannot read from the interface {name}: {e}"),
        };
        self.shared.stop.set(StopReason::Failed(text));
    }
}
