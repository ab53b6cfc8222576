//! Frames at a relay that nobody with a seat has written: garbage behind the first byte, seats that do not exist, seats that
//! do (an observer of the underlay reads their numbers) with guessed tags, pings for an answer to somebody else, and frames
//! that were captured, sent again from here, as they were and bent. A relay answers none of them, and passes none on.
//!
//! What a peer got, and which reasons the relay counted, is for whoever runs this to look at: `warren --json status`.

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::pace::{hear_out, pace};
use warren_netns_tests::attack::verdict::verdict;
use warren_wire::relay::{FRAME, HEAD, Head, Seat, TagKey, write};

const USAGE: &str =
    "attack-relay-frames --target IP:PORT [--seats 12,345] [--captured FILE] [--rate 20000] [--seconds 5]
  --seats     numbers of seats that exist
  --captured  frames that were seen on the way, one a line, in hexadecimal";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let seats: String = args.or("seats", String::new());
    let seats: Vec<u32> = seats.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    let captured: String = args.or("captured", String::new());
    let captured = if captured.is_empty() { Vec::new() } else { read(&captured) };
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    socket.set_nonblocking(true).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut forger = Forger { noise: Noise(8), seats, captured };
    let (mut sent, mut back) = (0u64, 0u64);
    let mut hear = || {
        let mut buffer = [0; 65_536];
        while let Ok((len, _)) = socket.recv_from(&mut buffer) {
            back += len as u64;
        }
    };
    let replayed = forger.captured.len();
    pace(args.or("rate", 20_000), args.or("seconds", 5), |i| {
        sent += u64::from(socket.send_to(&forger.frame(i), target).is_ok());
        hear();
    });
    hear_out(&socket, hear).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    verdict(
        sent > 0 && back == 0,
        &format!(
            "{sent} frames, of which {replayed} were captured and sent again and again; {back} bytes came back"
        ),
    )
}

/// Lines that are no hexadecimal are left out.
fn read(path: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| fail(USAGE, &format!("{path}: {e}")));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let line = |line: &str| line.trim().as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    text.lines().filter_map(line).filter(|frame| !frame.is_empty()).collect()
}

struct Forger {
    noise: Noise,
    seats: Vec<u32>,
    captured: Vec<Vec<u8>>,
}

impl Forger {
    fn frame(&mut self, i: u64) -> Vec<u8> {
        match i % 8 {
            0 => self.garbage(i),
            1 => self.forged(i, None, i),
            2 | 3 => self.forged(i, self.seat(i), i),
            // A counter from far ahead would shut the window before its owner, if it were believed.
            4 => self.forged(i, self.seat(i), (1 << 40) - 1 - i),
            5 => self.ping(i),
            6 => self.replay(i, false),
            _ => self.replay(i, true),
        }
    }

    fn seat(&self, i: u64) -> Option<u32> {
        self.seats.get(i as usize / 8 % self.seats.len().max(1)).copied()
    }

    /// The first byte of a frame, and nothing else of one.
    fn garbage(&mut self, i: u64) -> Vec<u8> {
        let len = [1usize, 2, 4, 19, 20, 27, 28, 148, 1200, 1452, 9000, 60_000][i as usize / 8 % 12];
        let mut bytes = self.noise.bytes(len);
        bytes[0] = FRAME;
        bytes
    }

    /// A whole frame by a key of ours.
    fn forged(&mut self, i: u64, seat: Option<u32>, counter: u64) -> Vec<u8> {
        let mut frame = self.noise.bytes(HEAD + [8, 32, 92, 148, 1432][i as usize / 8 % 5]);
        let random = u32::from_be_bytes([0, frame[20], frame[21], frame[22]]);
        let to = self.seat(i / 8 + 1).unwrap_or(1);
        self.write(&mut frame, seat.unwrap_or(random), to, counter);
        frame
    }

    /// The one thing a relay answers, if it believes who asks.
    fn ping(&mut self, i: u64) -> Vec<u8> {
        let mut frame = self.noise.bytes(HEAD + 32);
        let from = self.seat(i).unwrap_or(i as u32);
        self.write(&mut frame, from, 0, i);
        frame
    }

    fn write(&self, frame: &mut [u8], from: u32, to: u32, counter: u64) {
        let seat = |number: u32| Seat::new(number % (1 << 24)).unwrap_or(Seat::RELAY);
        let mut key = [0; 16];
        key.copy_from_slice(&frame[frame.len() - 8..].repeat(2));
        write(frame, Head { from: seat(from), to: seat(to), counter }, &TagKey::new(key));
    }

    /// As it was, or with one bit changed.
    fn replay(&mut self, i: u64, bent: bool) -> Vec<u8> {
        let Some(frame) = self.captured.get(i as usize / 8 % self.captured.len().max(1)) else {
            return self.forged(i, self.seat(i), i);
        };
        let mut frame = frame.clone();
        if bent {
            // Head, tag and the end; a bit in the middle is for the peer to see.
            let covered = HEAD.min(frame.len()) + 32.min(frame.len().saturating_sub(HEAD));
            let at = i as usize / 64 % covered.max(1);
            let at = if at < HEAD { at } else { frame.len() - 1 - (at - HEAD) };
            if let Some(byte) = frame.get_mut(at.max(1)) {
                *byte ^= 1 << (i / 8 % 8);
            }
        }
        frame
    }
}
