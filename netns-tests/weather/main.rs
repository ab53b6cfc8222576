//! A bad link between two taps that it makes: every Ethernet frame read from one is written to the other, as late, as
//! often and in such order as the weather of that direction says. It runs until it is killed.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test program fails by panicking")]

use std::path::PathBuf;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use warren_netns_tests::attack::args::Args;
use warren_netns_tests::weather::Weather;
use warren_netns_tests::weather::line::Line;

const USAGE: &str = "weather --in TAP --out TAP --towards WEATHER --away WEATHER --seed N --ready FILE";
/// Largest frame that a link of ours carries: 9,000 bytes, an Ethernet header and a tag.
const MAX_FRAME: usize = 9_100;

fn main() {
    let args = Args::parse(USAGE);
    let taps = [tap(&args.need::<String>("in")), tap(&args.need::<String>("out"))];
    let seed: u64 = args.need("seed");
    // Line 0 leads from the host (read at `in`, written at `out`), line 1 towards it.
    let mut lines = [
        Line::new(args.or("away", Weather::default()), seed),
        Line::new(args.or("towards", Weather::default()), seed ^ 1),
    ];
    std::fs::write(args.need::<PathBuf>("ready"), "ready").unwrap();
    let start = Instant::now();
    let now = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut buffer = vec![0; MAX_FRAME];
    loop {
        sleep_until(&taps, lines.iter().filter_map(Line::next).min(), now());
        for (i, line) in lines.iter_mut().enumerate() {
            while let Ok(length) = taps[i].recv(&mut buffer) {
                line.offer(now(), &buffer[..length]);
            }
            while let Some(frame) = line.arrived(now()) {
                // A full device loses a frame, as a real one does.
                let _ = taps[1 - i].send(&frame);
            }
        }
    }
}

fn tap(name: &str) -> SyncDevice {
    let tap = DeviceBuilder::new().name(name).layer(Layer::L2).offload(false).build_sync();
    let tap = tap.unwrap_or_else(|e| panic!("the tap {name}: {e}"));
    tap.set_nonblocking(true).unwrap();
    tap
}

/// Until a frame comes in, or one under way arrives.
fn sleep_until(taps: &[SyncDevice; 2], next: Option<u64>, now: u64) {
    let wait = next.map(|at| at.saturating_sub(now));
    let wait =
        wait.map(|us| Timespec { tv_sec: (us / 1_000_000) as i64, tv_nsec: (us % 1_000_000 * 1000) as i64 });
    let mut fds = taps.each_ref().map(|tap| PollFd::new(tap, PollFlags::IN));
    let _ = poll(&mut fds, wait.as_ref());
}
