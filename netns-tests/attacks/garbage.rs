//! Everything that is not a WireGuard message, and everything that only looks like one. Not one byte may come back.

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-garbage --target IP:PORT [--rate 5000] [--seconds 5]";
const LENGTHS: [usize; 14] = [0, 1, 4, 31, 32, 63, 64, 91, 92, 147, 148, 149, 1452, 65_507];

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut noise = Noise(3);
    let mut sent = 0u64;
    pace(args.or("rate", 5000), args.or("seconds", 5), |i| {
        // The largest is rare: the target's link would be the victim, not its port.
        let len = match LENGTHS[(i % 14) as usize] {
            65_507 if i % 140 != 13 => 256,
            len => len,
        };
        let mut bytes = noise.bytes(len);
        if len >= 4 && !i.is_multiple_of(3) {
            bytes[..4].copy_from_slice(&[(i / 14 % 6) as u8, 0, 0, 0]);
        }
        sent += u64::from(socket.send_to(&bytes, target).is_ok());
    });
    let mut buffer = [0; 65_536];
    let mut back = 0;
    while let Ok((len, _)) = socket.recv_from(&mut buffer) {
        back += len.max(1);
    }
    verdict(back == 0 && sent > 0, &format!("{sent} datagrams, {back} bytes came back"))
}
