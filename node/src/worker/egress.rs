//! TUN → network. Reads until the TUN is empty, so that small packets of one burst leave in one send.

use std::io::ErrorKind;

use rustix::io::Errno;
use warren_node_core::dataplane::{EgressWorker, Settings};
use warren_node_core::session::Engine;

use super::pulse::Worker;
use super::{Shared, StopReason, wait_readable};
use crate::tun::MAX_FRAME;
use crate::udp::Patience;

/// Frames read before the open batch is sent although more are waiting: a bound on delay, not on size.
const READS_PER_FLUSH: usize = 256;

pub fn run<E: Engine>(shared: &Shared<E>, settings: &Settings) {
    let mut worker = EgressWorker::new(settings);
    let mut buffer = vec![0; MAX_FRAME];
    while wait_readable(shared, &shared.tun) {
        shared.pulse.beat(Worker::Egress, shared.clock.now().mono);
        for _ in 0..READS_PER_FLUSH {
            if !read_one(shared, &mut worker, &mut buffer) {
                break;
            }
        }
        shared.plane.flush(&mut worker);
        hand_out(shared, &mut worker);
    }
}

/// False when the TUN is empty or broken.
fn read_one<E: Engine>(shared: &Shared<E>, worker: &mut EgressWorker, buffer: &mut [u8]) -> bool {
    match shared.tun.read(buffer) {
        Ok(n) => {
            let frame = buffer.get_mut(..n).unwrap_or_default();
            shared.plane.egress(worker, frame, shared.clock.now());
            if worker.out.has_ready() || worker.tun_frames().next().is_some() {
                hand_out(shared, worker);
            }
            true
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => false,
        Err(e) if e.kind() == ErrorKind::Interrupted => true,
        Err(e) => {
            report(shared, &e);
            false
        }
    }
}

fn hand_out<E: Engine>(shared: &Shared<E>, worker: &mut EgressWorker) {
    for transmit in worker.out.transmits() {
        shared.sockets.send(&transmit, Patience::Wait);
    }
    for frame in worker.tun_frames() {
        shared.write_plain(frame);
    }
    worker.sent();
}

fn report<E: Engine>(shared: &Shared<E>, e: &std::io::Error) {
    let name = shared.tun.name();
    let text = match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::BADFD | Errno::NODEV | Errno::NXIO) => format!(
            "the interface {name} was deleted; overlay traffic stays blocked by the unreachable routes: \
             start the agent again (the service manager does)"
        ),
        _ => format!("cannot read from the interface {name}: {e}"),
    };
    shared.stop.set(StopReason::Failed(text));
}
