//! Everything that is not data: handshakes, cookies, garbage, floods. It shares no socket, no send buffer and no queue
//! with the packet workers; what it has no time for is lost here and nowhere else.
//!
//! It also handles data: where the kernel does not steer, datagrams for a worker may come to its sockets.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use warren_node_core::dataplane::{IngressWorker, Settings};
use warren_node_core::session::Engine;

use super::ingress::{Batch, hand_out};
use super::pulse::Worker;
use super::{BEAT_SECONDS, Shared, StopReason};
use crate::udp::{MAX_RECEIVE, Port, Sender};

/// Batches from one socket before the other one has its turn.
const TURN: usize = 64;

pub fn run<E: Engine>(shared: &Shared<E>, settings: &Settings) {
    let mut worker = IngressWorker::new(settings);
    let mut buffer = vec![0; MAX_RECEIVE];
    let ports: Vec<&Port> = shared.sockets.of_control().collect();
    while !shared.stop.is_set() {
        shared.pulse.beat(Worker::Control, shared.clock.now().mono);
        wait(shared, &ports);
        for port in &ports {
            for _ in 0..TURN {
                if !receive_one(shared, port, &mut worker, &mut buffer) {
                    break;
                }
            }
        }
        while let Some((from, message)) = shared.aside.take() {
            let batch = Batch { from, bytes: &message, segment: message.len() };
            handle(shared, &mut worker, batch);
        }
    }
}

fn handle<E: Engine>(shared: &Shared<E>, worker: &mut IngressWorker, batch: Batch<'_>) {
    shared.plane.ingress(worker, batch.from, batch.bytes, batch.segment, shared.clock.now());
    hand_out(shared, worker, 0, Sender::Control);
}

/// False when the socket is empty.
fn receive_one<E: Engine>(
    shared: &Shared<E>,
    port: &Port,
    worker: &mut IngressWorker,
    buffer: &mut [u8],
) -> bool {
    match port.try_receive(buffer) {
        Ok(got) => {
            let bytes = buffer.get(..got.len).unwrap_or_default();
            let from = shared.sockets.detours.back(got.from);
            if !shared.takes_stun(got.from, bytes) {
                handle(shared, worker, Batch { from, bytes, segment: got.segment });
            }
            true
        }
        Err(e) => super::ingress::may_go_on(shared, &e),
    }
}

fn wait<E: Engine>(shared: &Shared<E>, ports: &[&Port]) {
    let limit = Timespec { tv_sec: BEAT_SECONDS, tv_nsec: 0 };
    let mut fds = vec![PollFd::new(&shared.stop, PollFlags::IN), PollFd::new(&shared.aside, PollFlags::IN)];
    fds.extend(ports.iter().map(|port| PollFd::new(*port, PollFlags::IN)));
    match poll(&mut fds, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => shared.stop.set(StopReason::Failed(format!("the control worker cannot wait: {e}"))),
    }
}
