//! Asks a name server as fast as it answers, for `scripts/bench dns`: `dns-load PORT SECONDS WINDOW SOCKETS PREFIX FIRST COUNT SUFFIX`.
//!
//! Always WINDOW questions are under way, over SOCKETS ports; it never sleeps, takes many answers a system call and sends many
//! questions in one datagram that the kernel cuts, so that it costs less than any server. The names are PREFIX, a number, and
//! SUFFIX, all of one length. With a window of 1 it measures one question at a time. Prints one line of JSON.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use warren_kernel::batch::Inbox;
use warren_kernel::datagram::{Wait, send};

/// Questions in one call: as many as the kernel cuts.
const CUT: usize = 64;
/// An answer that has not come by then is lost.
const LOST: Duration = Duration::from_millis(500);
const HEADER: usize = 12;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, seconds, window, sockets, prefix, first, count, suffix] = words.as_slice() else {
        eprintln!("usage: dns-load PORT SECONDS WINDOW SOCKETS PREFIX FIRST COUNT SUFFIX");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().expect("a port")));
    let names: Vec<Vec<u8>> =
        (0..number(count)).map(|n| question(&format!("{prefix}{}{suffix}", number(first) + n))).collect();
    assert!(names.windows(2).all(|pair| pair[0].len() == pair[1].len()), "all names have one length");
    let each = (number(window) / number(sockets)).max(1);
    let mut asked = Asked::default();
    let mut askers: Vec<Asker> = (0..number(sockets)).map(|_| Asker::new(at, each)).collect();
    let began = Instant::now();
    let ends = began + Duration::from_secs_f64(seconds.parse().expect("seconds"));
    while Instant::now() < ends {
        for asker in &mut askers {
            asker.hear(&mut asked);
            asker.ask(&names, &mut asked);
        }
    }
    println!("{}", asked.summary(began.elapsed()));
}

/// A whole message for type A, but for its number.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// What all askers share: whose turn a name has, and what came of it.
#[derive(Default)]
struct Asked {
    next: usize,
    /// Nanoseconds.
    took: Vec<u32>,
    lost: u64,
    /// Answers without a record, or with an error.
    bad: u64,
}

impl Asked {
    fn summary(mut self, elapsed: Duration) -> String {
        self.took.sort_unstable();
        let part = |part: f64| {
            let at = (self.took.len() as f64 * part) as usize;
            f64::from(self.took.get(at).copied().unwrap_or(u32::MAX)) / 1e6
        };
        format!(
            "{{\"per second\": {:.0}, \"p50 ms\": {:.4}, \"p99 ms\": {:.4}, \"lost\": {}, \"bad\": {}}}",
            self.took.len() as f64 / elapsed.as_secs_f64(),
            part(0.5),
            part(0.99),
            self.lost,
            self.bad
        )
    }
}

struct Asker {
    socket: UdpSocket,
    at: SocketAddr,
    inbox: Inbox<1500>,
    /// By number of the question: since when it is under way.
    under_way: Vec<Option<Instant>>,
    free: Vec<u16>,
    heard: Instant,
}

impl Asker {
    fn new(at: SocketAddr, window: usize) -> Asker {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_nonblocking(true).expect("not blocking");
        let free = (0..u16::try_from(window).expect("at most 65535 questions")).collect();
        let under_way = vec![None; window];
        Asker { socket, at, inbox: Inbox::default(), under_way, free, heard: Instant::now() }
    }

    fn hear(&mut self, asked: &mut Asked) {
        match self.inbox.receive(&self.socket) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return self.give_up(asked),
            Err(_) => return,
        }
        let now = Instant::now();
        self.heard = now;
        for (_, answer) in self.inbox.datagrams() {
            let [high, low, _, code, _, _, _, records, ..] = answer else { continue };
            let number = u16::from_be_bytes([*high, *low]);
            let Some(since) = self.under_way.get_mut(usize::from(number)).and_then(Option::take) else {
                continue;
            };
            if code & 0xf != 0 || *records == 0 || answer.len() < HEADER {
                asked.bad += 1;
            }
            let took = now.duration_since(since).as_nanos();
            asked.took.push(u32::try_from(took).unwrap_or(u32::MAX));
            self.free.push(number);
        }
    }

    /// Only looked at while nothing comes.
    fn give_up(&mut self, asked: &mut Asked) {
        if self.heard.elapsed() < LOST {
            return;
        }
        self.heard = Instant::now();
        for (number, since) in (0..).zip(&mut self.under_way) {
            if since.is_some_and(|since| since.elapsed() > LOST) {
                *since = None;
                self.free.push(number);
                asked.lost += 1;
            }
        }
    }

    fn ask(&mut self, names: &[Vec<u8>], asked: &mut Asked) {
        let many = self.free.len().min(CUT);
        let Some(length) = names.first().map(Vec::len).filter(|_| many > 0) else { return };
        let mut batch = Vec::with_capacity(many * length);
        let now = Instant::now();
        for number in self.free.drain(self.free.len() - many..) {
            let Some(name) = names.get(asked.next % names.len()) else { continue };
            asked.next += 1;
            batch.extend(number.to_be_bytes());
            batch.extend(name.iter().skip(2));
            if let Some(place) = self.under_way.get_mut(usize::from(number)) {
                *place = Some(now);
            }
        }
        let segment = u16::try_from(length).ok().filter(|_| many > 1);
        // What does not go out now is lost, and found to be so.
        let _ = send(&self.socket, &self.at, &batch, segment, Wait::Never);
    }
}
