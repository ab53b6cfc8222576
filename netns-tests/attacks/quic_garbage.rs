//! Garbage on a QUIC port: random bytes, long headers of every type, versions nobody speaks, Initials too short to be
//! answered. What comes back is never more than three times what was sent (RFC 9000 section 8.1), and nothing comes back
//! for datagrams under 1200 bytes but a few stateless resets, each smaller than what caused it (section 10.3.3).

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::pace::{hear_out, pace};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-quic-garbage --target IP:PORT [--rate 2000] [--seconds 5]";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    socket.set_nonblocking(true).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut noise = Noise(4);
    let (mut sent, mut sent_bytes, mut back, mut largest) = (0u64, 0u64, 0u64, 0u64);
    let mut hear = || {
        let mut buffer = [0; 65_536];
        while let Ok((len, _)) = socket.recv_from(&mut buffer) {
            back += len as u64;
            largest = largest.max(len as u64);
        }
    };
    pace(args.or("rate", 2000), args.or("seconds", 5), |i| {
        let len = [0usize, 1, 7, 21, 64, 1199, 1200, 1400][(i % 8) as usize];
        let mut bytes = noise.bytes(len);
        if len >= 7 && i.is_multiple_of(2) {
            // Long header, fixed bit, any type; version 1, one that is reserved for negotiation, or any.
            bytes[0] |= 0xc0;
            match i / 16 % 3 {
                0 => bytes[1..5].copy_from_slice(&[0, 0, 0, 1]),
                1 => bytes[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]),
                _ => {}
            }
            bytes[5] = (i / 48 % 22) as u8;
        }
        if socket.send_to(&bytes, target).is_ok() {
            sent += 1;
            sent_bytes += len as u64;
        }
        hear();
    });
    hear_out(&socket, hear).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let held = sent > 0 && back <= 3 * sent_bytes && largest <= 1400;
    verdict(
        held,
        &format!("{sent} datagrams ({sent_bytes} bytes), {back} bytes came back, the largest of {largest}"),
    )
}
