//! An enrolled peer that sends SYNs and datagrams to a port that no grant names, in both address families, without end and
//! whatever becomes of the target meanwhile: its sessions are made anew as soon as the target has forgotten them. For agents
//! that are open for a moment after they begin. That there are sessions is asked at a granted port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::inner::{Spoken, read, tcp, udp};
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-insist --target IP:PORT --key BASE64[,BASE64] --private BASE64[,BASE64] --me OVERLAY-IP[,OVERLAY-IP] --to OVERLAY-IP[,OVERLAY-IP] \
                     --hidden PORT --open UDP-PORT [--from IP:PORT] [--seconds 60] (an echo service must listen at --open; prints `asks N` and `answered N`)";

/// So often the granted port is asked; after so long without an answer there is another handshake.
const ASK: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_millis(300);
/// So long it goes on after the hidden port has answered.
const REST: Duration = Duration::from_secs(1);

struct Insisting {
    rogue: Rogue,
    /// My address and the target's, of one family.
    pairs: Vec<(IpAddr, IpAddr)>,
    hidden: u16,
    open: u16,
    sent: u64,
    asked: u64,
    answered: u64,
    /// What came from another port than the granted one.
    strange: BTreeMap<String, u64>,
}

impl Insisting {
    fn insist(&mut self) -> std::io::Result<()> {
        for (me, to) in self.pairs.clone() {
            let to = SocketAddr::new(to, self.hidden);
            for packet in [udp((me, 4000), to, b"insists"), tcp((me, 4001), to, 2, b"")] {
                self.sent += u64::from(self.rogue.send(&packet)?);
            }
        }
        Ok(())
    }

    fn ask(&mut self) -> std::io::Result<()> {
        let Some((me, to)) = self.pairs.first().copied() else { return Ok(()) };
        self.asked += 1;
        println!("asks {}", self.asked);
        self.rogue.send(&udp((me, 4000), (to, self.open), format!("ask {}", self.asked).as_bytes())).map(drop)
    }

    fn hear(&mut self) -> std::io::Result<()> {
        self.rogue.drain()?;
        for packet in std::mem::take(&mut self.rogue.heard) {
            let Some(spoken) = read(&packet) else { continue };
            match number(&spoken) {
                Some(number) if spoken.from.port() == self.open => {
                    self.answered += 1;
                    println!("answered {number}");
                }
                _ => *self.strange.entry(spoken.to_string()).or_default() += 1,
            }
        }
        Ok(())
    }

    fn run(&mut self, seconds: u64) -> std::io::Result<()> {
        let (began, mut asked, mut broken) = (Instant::now(), None::<Instant>, None::<Instant>);
        while began.elapsed().as_secs() < seconds && broken.is_none_or(|broken| broken.elapsed() < REST) {
            self.rogue.keep_up(QUIET)?;
            self.insist()?;
            if asked.is_none_or(|asked| asked.elapsed() >= ASK) {
                asked = Some(Instant::now());
                self.ask()?;
            }
            self.rogue.listen(Duration::from_millis(5))?;
            self.hear()?;
            broken = broken.or_else(|| (!self.strange.is_empty()).then(Instant::now));
        }
        Ok(())
    }
}

fn number(spoken: &Spoken<'_>) -> Option<u64> {
    std::str::from_utf8(spoken.body).ok()?.strip_prefix("ask ")?.parse().ok()
}

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let ips = |name| {
        let text: String = args.need(name);
        let read = |ip: &str| ip.parse().unwrap_or_else(|_| fail(USAGE, &format!("`{ip}` is no address")));
        text.split(',').map(read).collect::<Vec<IpAddr>>()
    };
    let (target, hidden, open) = (args.need("target"), args.need("hidden"), args.need("open"));
    let pairs = ips("me").into_iter().zip(ips("to")).collect();
    let (private, key): (Keys, Keys) = (args.need("private"), args.need("key"));
    let from = args.or("from", SocketAddr::from(([0; 4], 0)));
    let rogue = Rogue::stand(from, target, private, &key).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut it =
        Insisting { rogue, pairs, hidden, open, sent: 0, asked: 0, answered: 0, strange: BTreeMap::new() };
    it.run(args.or("seconds", 60)).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let Insisting { sent, asked, answered, strange, .. } = it;
    verdict(
        sent > 0 && answered > 0 && strange.is_empty(),
        &format!(
            "{sent} packets to port {hidden}; the granted port answered {answered} of {asked}; others answered: {strange:?}"
        ),
    )
}
