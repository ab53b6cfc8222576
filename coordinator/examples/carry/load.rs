//! As many frames as what is between takes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use warren_kernel::datagram::{self, Wait};
use warren_kernel::option::{Switch, set};

use super::way::{Way, sender, up};

/// Frames under way at most, tried one after the other.
const WINDOWS: [u64; 3] = [64, 256, 1024];
/// What does not come for so long is lost.
const LOST: Duration = Duration::from_millis(20);

struct Options {
    from: IpAddr,
    to: SocketAddr,
    size: usize,
    seconds: f64,
    batch: usize,
}

fn options(words: &[&str]) -> Options {
    let value = |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1));
    let number = |name: &str, default: f64| value(name).map_or(default, |text| text.parse().unwrap());
    Options {
        from: value("--from").expect("--from IP").parse().unwrap(),
        to: value("--to").expect("--to IP:PORT").parse().unwrap(),
        size: number("--size", 1400.0) as usize,
        seconds: number("--seconds", 3.0),
        batch: number("--batch", 32.0) as usize,
    }
}

/// Prints one line of JSON.
pub fn run(by: &str, via: SocketAddr, words: &[&str]) {
    let options = options(words);
    let sender = UdpSocket::bind((options.from, 0)).unwrap();
    let receiver = UdpSocket::bind(options.to).unwrap();
    let mut way = Way::open(by, &sender, &receiver, via);
    set(&receiver, Switch::UdpGro, true).unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (received, end) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| receive(&receiver, options.size + way_head(by), &received, &end));
        let each = Duration::from_secs_f64(options.seconds / WINDOWS.len() as f64);
        let rates: Vec<(f64, u64, u64)> =
            WINDOWS.map(|window| send(&sender, via, &mut way, &options, window, each, &received)).to_vec();
        end.store(true, Relaxed);
        let best = rates.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!(
            "{{\"frames_per_second\": {:.0}, \"gbit_per_second\": {:.3}, \"window\": {}, \"lost\": {}, \"frames\": {}}}",
            best.0,
            best.0 * options.size as f64 * 8.0 / 1e9,
            best.1,
            best.2,
            received.load(Relaxed)
        );
    });
}

fn way_head(by: &str) -> usize {
    if by == "relay" { warren_wire::relay::HEAD } else { 0 }
}

fn receive(socket: &UdpSocket, len: usize, received: &AtomicU64, end: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while !end.load(Relaxed) {
        let Ok(got) = datagram::receive(socket, &mut buffer, Wait::Socket) else { continue };
        if got.segment == len {
            received.fetch_add(got.len.div_ceil(len) as u64, Relaxed);
        }
    }
}

/// Frames a second, the window, and what was lost.
fn send(
    socket: &UdpSocket,
    via: SocketAddr,
    way: &mut Way,
    options: &Options,
    window: u64,
    time: Duration,
    received: &AtomicU64,
) -> (f64, u64, u64) {
    let len = options.size + way.heads().0;
    let batch = options.batch.min(65_000 / len).min(window as usize);
    let (key, mut buffer) = (up(sender()), vec![0x5a; len * batch]);
    let (begin, first) = (Instant::now(), received.load(Relaxed));
    let (mut sent, mut lost, mut moved, mut seen) = (first, 0, begin, first);
    while begin.elapsed() < time {
        let now = received.load(Relaxed);
        if now != seen {
            (seen, moved) = (now, Instant::now());
        }
        if sent.saturating_sub(now + lost) + batch as u64 > window {
            if moved.elapsed() > LOST {
                lost += sent.saturating_sub(now + lost);
                moved = Instant::now();
            }
            std::thread::yield_now();
            continue;
        }
        buffer.chunks_mut(len).for_each(|frame| way.write(frame, &key));
        let segment = (batch > 1).then_some(len as u16);
        if datagram::send(socket, &via, &buffer, segment, Wait::Socket).is_ok() {
            sent += batch as u64;
        }
    }
    let rate = (received.load(Relaxed) - first) as f64 / begin.elapsed().as_secs_f64();
    (rate, window, lost)
}
