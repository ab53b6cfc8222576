//! Timers: sessions (handshakes, keepalives, expiry), flows that end, and what must be told to local applications.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warren_node_core::clock::Mono;
use warren_node_core::dataplane::{Outbox, Transmit};
use warren_node_core::session::Engine;

use super::Shared;
use super::pulse::Worker;
use crate::udp::Sender;
use warren_kernel::option::path_mtu;

/// Never sleep longer: new sessions may want an earlier timer than the plane knew of when it was asked.
const LONGEST_MS: u64 = 250;
/// A path may widen again.
const LOOK_AGAIN_SECONDS: u64 = 30;
/// Who is asked is decided elsewhere.
const PROBE_MS: u64 = 500;

pub fn run<E: Engine>(shared: &Shared<E>) {
    let mut out = Outbox::small();
    let mut look_again = Mono(0);
    let mut wake_again = Mono(0);
    let mut probe_again = Mono(0);
    while !shared.stop.is_set() {
        let now = shared.clock.now();
        let wake = shared.plane.tick(&mut out, now);
        out.flush();
        for transmit in out.transmits() {
            shared.sockets.send(&transmit, Sender::Control);
        }
        out.sent();
        for frame in shared.plane.take_frames() {
            shared.write_plain(&frame);
        }
        ask_outside(shared, now.mono);
        shared.pulse.beat(Worker::Tick, now.mono);
        look_at_paths(shared, &mut look_again, now.mono);
        if probe_again <= now.mono {
            probe_again = now.mono.plus_millis(PROBE_MS);
            probe_sizes(shared, &mut out);
        }
        if wake_again <= now.mono {
            wake_again = now.mono.plus_secs(1);
            shared.sleepers.wake();
        }
        sleep(shared, wake.at.millis_since(now.mono).clamp(1, LONGEST_MS));
    }
    // One that was about to sleep just now did not notice: again until none is left.
    while shared.sleepers.wake() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// From the WireGuard socket itself: only so does the answer tell where that is seen.
fn ask_outside<E: Engine>(shared: &Shared<E>, now: Mono) {
    let question = || shared.mappings.lock().poll_question(now);
    for (to, bytes) in std::iter::from_fn(question) {
        let transmit = Transmit { to, bytes: &bytes, segment: None, pieces: false };
        shared.sockets.send_straight(&transmit, Sender::Control);
    }
}

/// As a packet that must not be fragmented.
fn probe_sizes<E: Engine>(shared: &Shared<E>, out: &mut Outbox) {
    shared.plane.probe_sizes(out, shared.clock.now());
    for transmit in out.transmits() {
        shared.sockets.send(&transmit, Sender::Worker(0));
    }
    out.sent();
}

/// Paths that a datagram did not fit are measured at once; those known to be narrow again from time to time.
fn look_at_paths<E: Engine>(shared: &Shared<E>, look_again: &mut Mono, now: Mono) {
    let mut places = shared.sockets.take_narrow();
    if *look_again <= now {
        *look_again = now.plus_secs(LOOK_AGAIN_SECONDS);
        places.extend(shared.plane.narrow_paths());
    }
    for to in places {
        // A door carries what loopback does.
        if let Ok(mtu) = path_mtu(shared.sockets.detours.out(to)) {
            shared.plane.set_underlay_mtu(to, mtu);
        }
    }
}

/// Until the time has passed or the agent stops.
fn sleep<E: Engine>(shared: &Shared<E>, ms: u64) {
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::try_from(ms).unwrap_or(1).saturating_mul(1_000_000) };
    let _ = poll(&mut [PollFd::new(&shared.stop, PollFlags::IN)], Some(&limit));
}
