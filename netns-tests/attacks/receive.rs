//! In the place of an enrolled peer, with its keys: answers the target's handshakes, refuses nothing, and looks at every inner
//! packet that the target's agent sends. Only what a grant allows may come; that something comes at all is asked for by whoever
//! uses a granted UDP port behind the target, where this program answers with what it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::inner::{is_icmp, read, udp};
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-receive --target IP:PORT --key BASE64[,BASE64] --private BASE64[,BASE64] --open PORT,PORT [--place IP:PORT: 0.0.0.0:51820] \
                     [--seconds 60] (somebody must talk to a granted UDP port; prints `came: …` once a kind)";

/// After so long without an inner packet there is another handshake.
const QUIET: Duration = Duration::from_millis(300);
/// So long it goes on after something came that may not.
const REST: Duration = Duration::from_secs(1);

struct Receiving {
    rogue: Rogue,
    open: BTreeSet<u16>,
    allowed: u64,
    /// What may not come, by protocol and destination.
    strange: BTreeMap<String, u64>,
}

impl Receiving {
    fn take(&mut self, packet: &[u8]) -> std::io::Result<()> {
        let kind = match read(packet) {
            Some(spoken) if self.open.contains(&spoken.to.port()) => {
                self.allowed += 1;
                if !spoken.tcp {
                    self.rogue.send(&udp(spoken.to, spoken.from, spoken.body))?;
                }
                return Ok(());
            }
            None if is_icmp(packet) => return Ok(()),
            Some(spoken) => format!("{} to {}", if spoken.tcp { "TCP" } else { "UDP" }, spoken.to),
            None => "neither TCP, UDP nor ICMP".to_owned(),
        };
        let count = self.strange.entry(kind.clone()).or_default();
        *count += 1;
        if *count == 1 {
            println!("came: {kind}");
        }
        Ok(())
    }

    fn run(&mut self, seconds: u64) -> std::io::Result<()> {
        let (began, mut broken) = (Instant::now(), None::<Instant>);
        while began.elapsed().as_secs() < seconds && broken.is_none_or(|broken| broken.elapsed() < REST) {
            self.rogue.keep_up(QUIET)?;
            self.rogue.listen(Duration::from_millis(5))?;
            self.rogue.drain()?;
            for packet in std::mem::take(&mut self.rogue.heard) {
                self.take(&packet)?;
            }
            broken = broken.or_else(|| (!self.strange.is_empty()).then(Instant::now));
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let (target, open): (SocketAddr, String) = (args.need("target"), args.need("open"));
    let open = open.split(',').filter_map(|port| port.parse().ok()).collect();
    let (private, key): (Keys, Keys) = (args.need("private"), args.need("key"));
    let place = args.or("place", SocketAddr::from(([0; 4], 51820)));
    let rogue = Rogue::stand(place, target, private, &key).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut it = Receiving { rogue, open, allowed: 0, strange: BTreeMap::new() };
    it.run(args.or("seconds", 60)).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    verdict(
        it.allowed > 0 && it.strange.is_empty(),
        &format!("{} packets came that may; of others: {:?}", it.allowed, it.strange),
    )
}
