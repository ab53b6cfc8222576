//! ICMP errors through the tunnel, by an enrolled peer: about a flow that is, which it opened itself, and about flows that are
//! not. Of the first only so many a second may come out at the other end; of the second none.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::inner::{icmp, read_udp, udp};
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-icmp-inside --target IP:PORT --key BASE64[,BASE64] --private BASE64[,BASE64] --me OVERLAY-IP --to OVERLAY-IP --open UDP-PORT \
                     [--rate 5000] [--seconds 5] [--real TEXT] [--false TEXT] (an echo service must listen at --open)";

/// Of an honest datagram.
const TRIES: usize = 5;

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let (me, to, open): (Ipv4Addr, Ipv4Addr, u16) = (args.need("me"), args.need("to"), args.need("open"));
    let (real, never) = (
        args.or("real", "ERROR-about-a-flow".to_owned()),
        args.or("false", "ERROR-about-nothing".to_owned()),
    );
    let (private, key): (Keys, Keys) = (args.need("private"), args.need("key"));
    let io = |e: std::io::Error| -> ! { fail(USAGE, &e.to_string()) };
    let mut rogue = Rogue::connect(target, private, &key).unwrap_or_else(|e| io(e));
    // Sent again if it is lost: right behind the flood it may find no room in the target's socket, as any datagram.
    let honest = |rogue: &mut Rogue, text: &str| {
        rogue.heard.clear();
        for _ in 0..TRIES {
            rogue.send(&udp((me, 4000), (to, open), text.as_bytes()))?;
            let echoed = |packet: &[u8]| read_udp(packet).is_some_and(|(.., body)| body == text.as_bytes());
            if rogue.hear(Duration::from_secs(1), echoed)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let before = honest(&mut rogue, "honest before").unwrap_or_else(|e| io(e));
    let mut sent = 0u64;
    pace(args.or("rate", 5000), args.or("seconds", 5), |i| {
        // What the target's service has sent, or has not.
        let (port, text) = if i.is_multiple_of(2) { (4000, &real) } else { (4001, &never) };
        let quoted = udp((to, open), (me, port), text.as_bytes());
        let (kind, code) = [(3, 1), (3, 3), (3, 13), (11, 0), (12, 0)][(i / 2 % 5) as usize];
        sent += u64::from(rogue.send(&icmp(me, to, kind, code, &quoted)).unwrap_or_default());
        if i.is_multiple_of(64) {
            let _ = rogue.drain();
        }
    });
    let after = honest(&mut rogue, "honest after").unwrap_or_else(|e| io(e));
    let text = format!(
        "{sent} errors sent; count `{real}` and `{never}` behind the tunnel; honest before: {before}, after: {after}"
    );
    verdict(before && after && sent > 0, &text)
}
