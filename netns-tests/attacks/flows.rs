//! Flow-table exhaustion: an enrolled peer opens as many flows at its granted UDP port as it has source ports, again and
//! again. It fills its own share: its own oldest flows go, nobody else's, and whoever opens one more honest one can.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::inner::{read_udp, udp};
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-flows --target IP:PORT --key BASE64[,BASE64] --private BASE64[,BASE64] --me OVERLAY-IP --to OVERLAY-IP --open UDP-PORT \
                     [--rate 20000] [--seconds 5] [--flows 40000: at least] (an echo service must listen at --open)";

/// Seconds more that a slow host has for its flows.
const PATIENCE: u32 = 60;

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let (me, to, open): (Ipv4Addr, Ipv4Addr, u16) = (args.need("me"), args.need("to"), args.need("open"));
    let (private, key): (Keys, Keys) = (args.need("private"), args.need("key"));
    let mut rogue = Rogue::connect(target, private, &key).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut sent = 0u64;
    let mut port = 0u64;
    let mut open_one = |_| {
        let packet = udp((me, 1024 + (port % 64_000) as u16), (to, open), b"flow");
        port += 1;
        sent += u64::from(rogue.send(&packet).unwrap_or_default());
        // Its answers are taken from the socket, so that it is the target that is full and not this program.
        if port.is_multiple_of(64) {
            let _ = rogue.drain();
            rogue.heard.clear();
        }
        sent
    };
    let (rate, at_least) = (args.or("rate", 20_000), args.or("flows", 40_000));
    pace(rate, args.or("seconds", 5), |i| _ = open_one(i));
    for _ in 0..PATIENCE {
        let mut opened = 0;
        pace(rate, 1, |i| opened = open_one(i));
        if opened >= at_least {
            break;
        }
    }
    let text = b"one more honest flow";
    let again = (0..5).any(|_| {
        let _ = rogue.send(&udp((me, 900), (to, open), text));
        let echoed = |packet: &[u8]| read_udp(packet).is_some_and(|(.., body)| body == text);
        rogue.hear(Duration::from_secs(1), echoed).unwrap_or_default()
    });
    let held = again && sent >= at_least;
    verdict(
        held,
        &format!(
            "{sent} flows opened, of {at_least} at least; the same peer's next honest flow passes: {again}"
        ),
    )
}
