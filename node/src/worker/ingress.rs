//! Network → TUN, for one socket of one packet worker. One system call a batch each way: the receive sleeps in the
//! kernel until something comes.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use warren_node_core::dataplane::{IngressWorker, Settings, VNET_LEN};
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::packet::{classify, split};
use warren_node_core::session::Engine;

use super::nice::Rank;
use super::pulse::Worker;
use super::{Shared, StopReason};
use crate::tun::{Queue, Written};
use crate::udp::{MAX_RECEIVE, Port, Sender};

/// The vnet header of a plain packet with a whole checksum.
const NO_OFFLOAD: [u8; VNET_LEN] = [0; VNET_LEN];
/// Batches taken before the worker shows that it lives.
const RECEIVES_PER_BEAT: usize = 1024;

/// Datagrams that came together.
pub(super) struct Batch<'a> {
    pub from: SocketAddr,
    pub bytes: &'a [u8],
    pub segment: usize,
}

/// `number` is the packet worker's; `at` the position of the socket among its sockets.
pub fn run<E: Engine>(shared: &Shared<E>, number: usize, at: usize, settings: &Settings) {
    let Some(port) = shared.sockets.of_worker(number).nth(at) else { return };
    let Some(_bed) = shared.sleepers.lie_down(Worker::Ingress { number, at }) else { return };
    let _ahead = Rank::ahead();
    let mut worker = IngressWorker::for_data(settings, number);
    let mut buffer = vec![0; MAX_RECEIVE];
    while !shared.stop.is_set() {
        shared.pulse.beat(Worker::Ingress { number, at }, shared.clock.now().mono);
        for _ in 0..RECEIVES_PER_BEAT {
            if !receive_one(shared, port, number, &mut worker, &mut buffer) || shared.stop.is_set() {
                break;
            }
        }
    }
}

/// False when it is time to look around.
fn receive_one<E: Engine>(
    shared: &Shared<E>,
    port: &Port,
    number: usize,
    worker: &mut IngressWorker,
    buffer: &mut [u8],
) -> bool {
    match port.receive(buffer) {
        Ok(got) => {
            let bytes = buffer.get(..got.len).unwrap_or_default();
            // Only where the kernel does not steer.
            if shared.takes_stun(got.from, bytes) {
                return true;
            }
            let from = shared.sockets.detours.back(got.from);
            shared.plane.ingress(worker, from, bytes, got.segment, shared.clock.now());
            hand_out(shared, worker, number, Sender::Worker(number));
            true
        }
        Err(e) if e.kind() == ErrorKind::Interrupted => false,
        Err(e) => may_go_on(shared, &e),
    }
}

/// After an error of a receive: true if the socket may hold more. An error that will not pass stops the agent.
pub(super) fn may_go_on<E: Engine>(shared: &Shared<E>, e: &std::io::Error) -> bool {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => false,
        // An ICMP error about an earlier datagram; reading it clears it.
        ErrorKind::Interrupted
        | ErrorKind::ConnectionRefused
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::ConnectionReset => true,
        _ => {
            shared.stop.set(StopReason::Failed(format!("cannot receive on the WireGuard socket: {e}")));
            false
        }
    }
}

/// Writes and sends what a call made.
pub(super) fn hand_out<E: Engine>(
    shared: &Shared<E>,
    worker: &mut IngressWorker,
    number: usize,
    sender: Sender,
) {
    let queue = shared.tun.queue(number);
    let mut refused = (false, false);
    for frame in worker.frames() {
        match queue.write(frame.vnet, frame.parts()) {
            Written::Whole => {}
            Written::Lost => count(&shared.counters.tun_lost),
            Written::OffloadRefused => {
                let udp = frame.vnet.get(1).is_some_and(|kind| kind & 0x7f == 5);
                refused = (refused.0 || !udp, refused.1 || udp);
                unmerged(shared, queue, frame.vnet, &mut frame.parts().collect::<Vec<_>>().concat());
            }
        }
    }
    for transmit in worker.out.transmits() {
        shared.sockets.send(&transmit, sender);
    }
    for (from, message) in worker.aside() {
        if !shared.aside.put(from, message) {
            count(&shared.counters.aside_lost);
        }
    }
    worker.sent();
    if refused != (false, false) {
        worker.degrade(refused.0, refused.1, shared.clock.now());
    }
}

fn count(counter: &std::sync::atomic::AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The kernel would not take a merged frame: it is cut again into the packets it was made of, so that nothing of it is
/// lost silently.
fn unmerged<E: Engine>(shared: &Shared<E>, queue: Queue<'_>, vnet: &[u8], packet: &mut [u8]) {
    count(&shared.counters.tun_offload_refused);
    let plan = Vnet::read(vnet).and_then(|vnet| split::plan(&vnet, &classify(packet)?));
    match plan {
        Ok(plan) => plan.run(packet, |segment| {
            if queue.write(&NO_OFFLOAD, std::iter::once(segment)) != Written::Whole {
                count(&shared.counters.tun_lost);
            }
        }),
        Err(_) => count(&shared.counters.tun_lost),
    }
}
