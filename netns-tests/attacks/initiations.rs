//! A flood of handshake initiations from many sources, with a right or a wrong mac1.
//!
//! The sources may be the host's own (`ip route add local NET dev lo`): then whatever comes back is counted. Nothing may
//! come back but cookies of 64 bytes, and none at all for a wrong mac1.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::forge::{Forger, nth};
use warren_netns_tests::attack::knock::{Key, Noise, initiation};
use warren_netns_tests::attack::pace::{hear_out, pace};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-initiations --target IP:PORT --key BASE64 --from FIRST-SOURCE [--sources 10000] [--mac1 valid|bad] \
                     [--rate 10000] [--seconds 5] [--port 4242]";

#[derive(Default)]
struct Replies {
    cookies: u64,
    others: u64,
    bytes: u64,
}

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddrV4 = args.need("target");
    let key: Key = args.need("key");
    let from: Ipv4Addr = args.need("from");
    let (sources, port) = (args.or("sources", 10_000), args.or("port", 4242));
    let right = args.or("mac1", "valid".to_owned()) == "valid";
    let forger = Forger::new().unwrap_or_else(|e| fail(USAGE, &format!("no raw socket: {e}")));
    let ears =
        UdpSocket::bind(("0.0.0.0", port)).unwrap_or_else(|e| fail(USAGE, &format!("port {port}: {e}")));
    let mut noise = Noise(1);
    let (mut sent, mut lost) = (0u64, 0u64);
    let mut replies = Replies::default();
    ears.set_nonblocking(true).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let made = pace(args.or("rate", 10_000), args.or("seconds", 5), |i| {
        let message = initiation(&key, &mut noise, right, i as u32);
        match forger.udp(SocketAddrV4::new(nth(from, i, sources), port), target, &message) {
            Ok(()) => sent += message.len() as u64,
            Err(_) => lost += 1,
        }
        if i.is_multiple_of(16) {
            hear(&ears, &mut replies);
        }
    });
    hear_out(&ears, || hear(&ears, &mut replies)).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let Replies { cookies, others, bytes } = replies;
    let held = others == 0 && bytes <= sent && (right || cookies == 0) && made > lost;
    verdict(
        held,
        &format!(
            "{} initiations from {sources} sources ({sent} bytes), {lost} not sent; {cookies} cookies and {others} other answers ({bytes} bytes)",
            made - lost
        ),
    )
}

fn hear(ears: &UdpSocket, replies: &mut Replies) {
    let mut buffer = [0; 2048];
    while let Ok((len, _)) = ears.recv_from(&mut buffer) {
        replies.bytes += len as u64;
        match (buffer[0], len) {
            (3, 64) => replies.cookies += 1,
            _ => replies.others += 1,
        }
    }
}
