//! Network → TUN, for one socket.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use warren_node_core::dataplane::{IngressWorker, Settings, VNET_LEN};
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::packet::{classify, split};
use warren_node_core::session::Engine;

use super::pulse::Worker;
use super::{Shared, StopReason, wait_readable};
use crate::tun::Written;
use crate::udp::{Lane, MAX_RECEIVE, Patience};

/// The vnet header of a plain packet with a whole checksum.
const NO_OFFLOAD: [u8; VNET_LEN] = [0; VNET_LEN];
/// Batches taken before the worker shows that it lives.
const RECEIVES_PER_BEAT: usize = 1024;

pub fn run<E: Engine>(shared: &Shared<E>, lane: Option<&Lane>, settings: &Settings) {
    let Some(lane) = lane else { return };
    let is_v4 = shared.sockets.v4.as_ref().is_some_and(|v4| std::ptr::eq(v4, lane));
    let me = if is_v4 { Worker::Ingress4 } else { Worker::Ingress6 };
    let mut worker = IngressWorker::new(settings);
    let mut buffer = vec![0; MAX_RECEIVE];
    while wait_readable(shared, lane) {
        shared.pulse.beat(me, shared.clock.now().mono);
        for _ in 0..RECEIVES_PER_BEAT {
            if !receive_one(shared, lane, &mut worker, &mut buffer) {
                break;
            }
        }
    }
}

/// False when the socket is empty.
fn receive_one<E: Engine>(
    shared: &Shared<E>,
    lane: &Lane,
    worker: &mut IngressWorker,
    buffer: &mut [u8],
) -> bool {
    match lane.receive(buffer) {
        Ok((from, len, stride)) => {
            let bytes = buffer.get(..len).unwrap_or_default();
            shared.plane.ingress(worker, from, bytes, stride, shared.clock.now());
            hand_out(shared, worker);
            true
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => false,
        // An ICMP error about an earlier datagram; reading it clears it.
        Err(e) if is_passing(&e) => true,
        Err(e) => {
            shared.stop.set(StopReason::Failed(format!("cannot receive on the WireGuard socket: {e}")));
            false
        }
    }
}

fn hand_out<E: Engine>(shared: &Shared<E>, worker: &mut IngressWorker) {
    let mut refused = (false, false);
    for frame in worker.frames() {
        match shared.tun.write(frame.vnet, frame.parts()) {
            Written::Whole => {}
            Written::Lost => {
                shared.counters.tun_lost.fetch_add(1, Ordering::Relaxed);
            }
            Written::OffloadRefused => {
                let udp = frame.vnet.get(1).is_some_and(|kind| kind & 0x7f == 5);
                refused = (refused.0 || !udp, refused.1 || udp);
                unmerged(shared, frame.vnet, &mut frame.parts().collect::<Vec<_>>().concat());
            }
        }
    }
    for transmit in worker.out.transmits() {
        shared.sockets.send(&transmit, Patience::None);
    }
    worker.sent();
    if refused != (false, false) {
        worker.degrade(refused.0, refused.1);
    }
}

/// The kernel would not take a merged frame: it is cut again into the packets it was made of, so that nothing of it is
/// lost silently.
fn unmerged<E: Engine>(shared: &Shared<E>, vnet: &[u8], packet: &mut [u8]) {
    shared.counters.tun_offload_refused.fetch_add(1, Ordering::Relaxed);
    let plan = Vnet::read(vnet).and_then(|vnet| split::plan(&vnet, &classify(packet)?));
    match plan {
        Ok(plan) => plan.run(packet, |segment| {
            if shared.tun.write(&NO_OFFLOAD, std::iter::once(segment)) != Written::Whole {
                shared.counters.tun_lost.fetch_add(1, Ordering::Relaxed);
            }
        }),
        Err(_) => {
            shared.counters.tun_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn is_passing(e: &std::io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::ConnectionReset
    )
}
