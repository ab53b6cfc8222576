//! SYN and UDP sprays through the tunnel, by an enrolled peer that keeps no rule: every port, many source ports. Only the
//! granted port may be answered; the target's other peers must not notice.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::inner::{read_udp, tcp, udp};
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-spray --target IP:PORT --key BASE64[,BASE64] --private BASE64[,BASE64] --me OVERLAY-IP --to OVERLAY-IP --open PORT,PORT \
                     [--rate 10000] [--seconds 5]";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let (me, to): (Ipv4Addr, Ipv4Addr) = (args.need("me"), args.need("to"));
    let open: String = args.need("open");
    let open: BTreeSet<u16> = open.split(',').filter_map(|port| port.parse().ok()).collect();
    let (private, key): (Keys, Keys) = (args.need("private"), args.need("key"));
    let mut rogue = Rogue::connect(target, private, &key).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut noise = Noise(5);
    let mut sent = 0u64;
    pace(args.or("rate", 10_000), args.or("seconds", 5), |i| {
        let (sport, dport) = (1024 + (noise.draw() % 64_000) as u16, 1 + (noise.draw() % 65_535) as u16);
        let packet = match i % 2 {
            0 => tcp((me, sport), (to, dport), 2, b""),
            _ => udp((me, sport), (to, dport), b"spray"),
        };
        sent += u64::from(rogue.send(&packet).unwrap_or_default());
        if i.is_multiple_of(64) {
            let _ = rogue.drain();
        }
    });
    rogue.listen(Duration::from_secs(1)).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let from = |packet: &Vec<u8>| match (packet.get(9), packet.get(20..22)) {
        (Some(6 | 17), Some(port)) => u16::from_be_bytes([port[0], port[1]]),
        _ => read_udp(packet).map_or(0, |(from, ..)| from),
    };
    let answered: BTreeSet<u16> = rogue.heard.iter().filter(|p| p.len() >= 22).map(from).collect();
    let hidden: Vec<_> = answered.difference(&open).collect();
    verdict(
        hidden.is_empty() && sent > 0,
        &format!(
            "{sent} packets to random ports; answered ports: {answered:?}, of them not granted: {hidden:?}"
        ),
    )
}
