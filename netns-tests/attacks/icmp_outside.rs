//! ICMP errors at a target's WireGuard port, from any router: every type and code that speaks of the datagrams of a tunnel,
//! quoting them as they would be, with every path MTU from nothing to 65,535.
//!
//! Who forges them needs no key, only the addresses of both ends. The tunnel must not notice.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::forge::Forger;
use warren_netns_tests::attack::inner::{icmp_with, udp};
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-icmp-outside --target IP:PORT --peer IP:PORT [--rate 10000] [--seconds 5] (the target's tunnel with this peer is quoted)";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let (target, peer): (SocketAddrV4, SocketAddrV4) = (args.need("target"), args.need("peer"));
    let forger = Forger::new().unwrap_or_else(|e| fail(USAGE, &format!("no raw socket: {e}")));
    let mut noise = Noise(7);
    let mut kinds: Vec<(u8, u8)> = (0..16).map(|code| (3, code)).collect();
    kinds.extend([(4, 0), (5, 0), (5, 1), (11, 0), (11, 1), (12, 0), (12, 1)]);
    let mtus = [0u16, 1, 67, 68, 296, 552, 576, 1000, 1279, 1280, 1420, 1499, 1500, 65_535];
    let mut sent = 0u64;
    pace(args.or("rate", 10_000), args.or("seconds", 5), |i| {
        let (kind, code) = kinds[(i % kinds.len() as u64) as usize];
        let mtu = mtus[(i / kinds.len() as u64 % mtus.len() as u64) as usize];
        let router = match i % 3 {
            0 => *peer.ip(),
            1 => Ipv4Addr::from_bits(peer.ip().to_bits() & 0xffff_0000 | (noise.draw() % 65_000) as u32),
            _ => Ipv4Addr::new(198, 51, 100, (noise.draw() % 250) as u8),
        };
        // The datagram that the target itself would have sent, cut as routers cut it.
        let quoted = udp((*target.ip(), target.port()), (*peer.ip(), peer.port()), &noise.bytes(64));
        let second = u32::from(mtu);
        let error = icmp_with(router, *target.ip(), (kind, code), second, &quoted);
        sent += u64::from(forger.raw(*target.ip(), &error).is_ok());
    });
    // Who forges an address hears nothing: whether the tunnel noticed is seen at the tunnel, not from here.
    verdict(
        sent > 0,
        &format!(
            "{sent} errors of {} kinds with {} path MTUs sent; watch the target's tunnels",
            kinds.len(),
            mtus.len()
        ),
    )
}
