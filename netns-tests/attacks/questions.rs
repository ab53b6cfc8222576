//! A flood of questions to a name server from its own host, while honest clients ask beside it: one for a name of the
//! zone, one for names that have to be asked elsewhere. They must be served, and soon.

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::verdict::verdict;
use warren_netns_tests::measure::percentile;

const USAGE: &str = "attack-questions --target IP:PORT --name NAME.ZONE [--elsewhere SUFFIX] [--rate 50000] [--seconds 5] [--ports 1]";
/// As stub resolvers do, only sooner.
const PATIENCE: Duration = Duration::from_millis(300);
const TRIES: usize = 3;

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let (target, name): (SocketAddr, String) = (args.need("target"), args.need("name"));
    let elsewhere: String = args.or("elsewhere", "honest.example".to_owned());
    let ports: usize = args.or("ports", 1);
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = || {
        let socket = UdpSocket::bind(any).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
        socket.connect(target).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
        socket
    };
    let flooders: Vec<UdpSocket> = (0..ports).map(|_| socket()).collect();
    flooders.iter().for_each(|s| s.set_nonblocking(true).unwrap_or_else(|e| fail(USAGE, &e.to_string())));
    let (honest, other, done) = (socket(), socket(), AtomicBool::new(false));
    let seconds = args.or("seconds", 5);
    let mut sent = 0u64;
    let [client, forwarded] = std::thread::scope(|scope| {
        let client = scope.spawn(|| be_honest(&honest, |_| name.clone(), &done));
        let forwarded = scope.spawn(|| be_honest(&other, |id| format!("h{id}.{elsewhere}"), &done));
        let asked = pace(args.or("rate", 50_000), seconds, |i| {
            let question = match i % 4 {
                0 => question(&name, 1, i),
                // Each asked once, of nobody before: the cache is of no use.
                1 => question(&format!("r{i}.flood.example"), 1, i),
                2 => question(&format!("absent-{i}.{name}"), 28, i),
                _ => question(&name, 252, i),
            };
            let flooder = &flooders[(i as usize) % ports];
            sent += u64::from(flooder.send(&question).is_ok());
            if i % 16 == 0 {
                // What comes back is thrown away.
                let mut buffer = [0; 2048];
                while flooder.recv(&mut buffer).is_ok() {}
            }
        });
        done.store(true, Ordering::SeqCst);
        println!("{asked} questions were due, {sent} went out: {} a second", sent / seconds.max(1));
        [client, forwarded].map(|c| c.join().unwrap_or_else(|_| fail(USAGE, "a client failed")))
    });
    let [half, most, all] = [50.0, 99.0, 100.0].map(|p| percentile(&client.times, p));
    println!(
        "sent {} served {:.2} p50_ms {half:.2} p99_ms {most:.2} max_ms {all:.2} elsewhere {:.2} elsewhere_p99_ms {:.2}",
        sent / seconds.max(1),
        client.part(),
        forwarded.part(),
        percentile(&forwarded.times, 99.0)
    );
    let (served, missed) = (client.times.len(), client.missed);
    verdict(served > 0, &format!("{served} of {} honest questions were answered", served + missed))
}

struct Honest {
    times: Vec<f64>,
    missed: usize,
}

impl Honest {
    /// Per cent that were answered.
    fn part(&self) -> f64 {
        100.0 * self.times.len() as f64 / (self.times.len() + self.missed).max(1) as f64
    }
}

fn be_honest(socket: &UdpSocket, name: impl Fn(u64) -> String, done: &AtomicBool) -> Honest {
    let mut honest = Honest { times: Vec::new(), missed: 0 };
    let mut id = 0;
    while !done.load(Ordering::SeqCst) {
        id += 1;
        let (start, name) = (Instant::now(), name(id));
        match (0..TRIES).find(|_| ask(socket, &name, id)) {
            Some(_) => honest.times.push(start.elapsed().as_secs_f64() * 1000.0),
            None => honest.missed += 1,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    honest
}

/// True if the right answer came in time.
fn ask(socket: &UdpSocket, name: &str, id: u64) -> bool {
    let question = question(name, 1, id);
    if socket.send(&question).is_err() {
        return false;
    }
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; 2048];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        match socket.recv(&mut buffer) {
            // An address is in it.
            Ok(n) if n > 12 && buffer[..2] == question[..2] && buffer[7] > 0 => return true,
            _ => {}
        }
    }
}

fn question(name: &str, kind: u16, id: u64) -> Vec<u8> {
    let mut bytes = vec![(id >> 8) as u8, id as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}
