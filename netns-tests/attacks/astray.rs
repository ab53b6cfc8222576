//! What a coordinator or a relay answers without knowing anybody, asked for from on-link addresses that nobody has: STUN
//! questions, QUIC packets of an unknown version, and QUIC's first packets, genuine ones and then ones that only look so. The kernel
//! keeps each answer until it has given up to look for the owner of the address, and counts it for the socket that sent it.
//! Meanwhile the attacker asks honestly, from its own address: that is the verdict.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::forge::{Forger, nth};
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::pace::{hear_out, pace};
use warren_netns_tests::attack::verdict::verdict;
use warren_node::agent::NameOptions;
use warren_node::link::Connector;
use warren_wire::id::IdentityKey;
use warren_wire::stun::{self, TransactionId};

const USAGE: &str = "attack-astray --target IP:PORT --kind stun|version|initial --from FIRST-ON-LINK-ADDRESS [--sources 250] \
                     [--rate 3000] [--seconds 5]";
/// Clients whose first packets are recorded.
const GENUINE: usize = 200;
/// Between two honest questions.
const HONEST: Duration = Duration::from_millis(250);
/// Said when so many have gone.
const UNDER_WAY: u64 = 3000;

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let (target, kind): (SocketAddrV4, String) = (args.need("target"), args.need("kind"));
    let from: Ipv4Addr = args.need("from");
    let (sources, rate, seconds) = (args.or("sources", 250), args.or("rate", 3000), args.or("seconds", 5));
    let mut noise = Noise(7);
    let genuine = if kind == "initial" { first_packets() } else { Vec::new() };
    if !["stun", "version", "initial"].contains(&kind.as_str()) {
        fail(USAGE, "no such kind");
    }
    let forger = Forger::new().unwrap_or_else(|e| fail(USAGE, &format!("no raw socket: {e}")));
    let mut honest = Honest::begin(target).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let mut sent = 0u64;
    pace(rate, seconds, |i| {
        let source = SocketAddrV4::new(nth(from, i, sources), 1024 + (i % 50_000) as u16);
        let one = match genuine.get(i as usize) {
            Some(first) => first.iter().all(|datagram| forger.udp(source, target, datagram).is_ok()),
            None => forger.udp(source, target, &forged(&kind, &mut noise)).is_ok(),
        };
        sent += u64::from(one);
        if i == UNDER_WAY {
            println!("the flood is under way");
        }
        honest.ask_now_and_then();
    });
    let (asked, answered) = honest.finish().unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let held = sent >= rate * seconds / 2 && asked > 4 && answered * 10 >= asked * 9;
    verdict(
        held,
        &format!(
            "{sent} of kind {kind} from {sources} addresses that nobody has, {} clients among them; {answered} of {asked} honest \
             questions were answered",
            genuine.len()
        ),
    )
}

/// One that needs no key.
fn forged(kind: &str, noise: &mut Noise) -> Vec<u8> {
    if kind == "stun" {
        let mut id = [0; 12];
        id.copy_from_slice(&noise.bytes(12));
        return stun::question(TransactionId(id)).to_vec();
    }
    let mut bytes = noise.bytes(1200);
    // A long header; a version that is kept free for this, or version 1; connection ids of eight bytes; no token.
    bytes[0] = 0xc0;
    bytes[1..5].copy_from_slice(&if kind == "version" { [0x1a, 0x2a, 0x3a, 0x4a] } else { [0, 0, 0, 1] });
    (bytes[5], bytes[14], bytes[23]) = (8, 8, 0);
    bytes[24..26].copy_from_slice(&(0x4000u16 | 1174).to_be_bytes());
    bytes
}

/// What clients send first, each to a port of this host where nobody answers.
fn first_packets() -> Vec<Vec<Vec<u8>>> {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let at = sink.local_addr().unwrap_or_else(|e| fail(USAGE, &e.to_string())).to_string();
    sink.set_read_timeout(Some(Duration::from_millis(700))).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let resolver = NameOptions::default().resolver().unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let key = SigningKey::from_bytes(&[9; 32]);
    let server = IdentityKey(key.verifying_key().to_bytes());
    let _entered = runtime.enter();
    for _ in 0..GENUINE {
        let connector = Connector::new(key.clone(), vec![server], Arc::clone(&resolver)).without_doors();
        let at = at.clone();
        tokio::spawn(async move { connector.connect(&at).await.map(drop) });
    }
    let mut all: BTreeMap<SocketAddr, Vec<Vec<u8>>> = BTreeMap::new();
    let (mut buffer, began) = ([0; 2048], Instant::now());
    while let Ok((len, from)) = sink.recv_from(&mut buffer) {
        let of_one = all.entry(from).or_default();
        // The third is a first one that was lost.
        if of_one.len() < 2 {
            of_one.push(buffer[..len].to_vec());
        }
        if began.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    runtime.shutdown_background();
    all.into_values().collect()
}

/// Who asks from an address of its own.
struct Honest {
    socket: UdpSocket,
    last: Instant,
    asked: u64,
    answered: u64,
}

impl Honest {
    fn begin(target: SocketAddrV4) -> std::io::Result<Honest> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target)?;
        socket.set_nonblocking(true)?;
        Ok(Honest { socket, last: Instant::now(), asked: 0, answered: 0 })
    }

    fn hear(&mut self) {
        let mut buffer = [0; 512];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.answered += u64::from(stun::read_answer(&buffer[..len]).is_some());
        }
    }

    fn ask_now_and_then(&mut self) {
        if self.last.elapsed() < HONEST {
            return;
        }
        self.last = Instant::now();
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.asked.to_be_bytes());
        self.asked += u64::from(self.socket.send(&stun::question(TransactionId(id))).is_ok());
        self.hear();
    }

    fn finish(mut self) -> std::io::Result<(u64, u64)> {
        let ears = self.socket.try_clone()?;
        hear_out(&ears, || self.hear())?;
        Ok((self.asked, self.answered))
    }
}
