//! TUN → network, for one queue of the TUN. Reads until it is empty, so that small packets of one burst leave in one
//! send.

use std::io::ErrorKind;

use rustix::io::Errno;
use warren_node_core::dataplane::EgressWorker;
use warren_node_core::session::Engine;

use super::pulse::Worker;
use super::{Shared, StopReason, wait_readable};
use crate::tun::{MAX_FRAME, Queue};
use crate::udp::Sender;

/// Frames read before the open batch is sent although more are waiting: a bound on delay, not on size.
const READS_PER_FLUSH: usize = 256;

/// One egress thread.
struct Egress<'a, E: Engine> {
    shared: &'a Shared<E>,
    queue: Queue<'a>,
    worker: EgressWorker,
    number: usize,
}

pub fn run<E: Engine>(shared: &Shared<E>, number: usize) {
    let Some(fd) = shared.tun.fd(number) else { return };
    let queue = shared.tun.queue(number);
    let mut egress = Egress { shared, queue, worker: EgressWorker::new(number), number };
    let mut buffer = vec![0; MAX_FRAME];
    while wait_readable(shared, fd) {
        shared.pulse.beat(Worker::Egress { number }, shared.clock.now().mono);
        for _ in 0..READS_PER_FLUSH {
            if !egress.read_one(&mut buffer) {
                break;
            }
        }
        shared.plane.flush(&mut egress.worker);
        egress.hand_out();
    }
}

impl<E: Engine> Egress<'_, E> {
    /// False when the TUN is empty or broken.
    fn read_one(&mut self, buffer: &mut [u8]) -> bool {
        match self.queue.read(buffer) {
            Ok(n) => {
                let frame = buffer.get_mut(..n).unwrap_or_default();
                self.shared.plane.egress(&mut self.worker, frame, self.shared.clock.now());
                if self.worker.out.has_ready() || self.worker.tun_frames().next().is_some() {
                    self.hand_out();
                }
                true
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(e) if e.kind() == ErrorKind::Interrupted => true,
            Err(e) => {
                self.report(&e);
                false
            }
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
            Some(Errno::BADFD | Errno::NODEV | Errno::NXIO) => format!(
                "the interface {name} was deleted; overlay traffic stays blocked by the unreachable routes: \
                 start the agent again (the service manager does)"
            ),
            _ => format!("cannot read from the interface {name}: {e}"),
        };
        self.shared.stop.set(StopReason::Failed(text));
    }
}
