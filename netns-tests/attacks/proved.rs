//! Initiations that prove their address: the attacker receives at thousands of addresses, takes the cookie that each is
//! sent, and sends on with a right mac2. What is left to the target is a limit for each source.
//!
//! The sources must be the host's own (`ip route add local NET dev lo`). Nothing may come back but cookies.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::forge::{Forger, nth};
use warren_netns_tests::attack::knock::{Key, Noise, cookie, initiation, prove};
use warren_netns_tests::attack::pace::{hear_out, pace};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-proved --target IP:PORT --key BASE64 --from FIRST-SOURCE [--sources 2000] [--rate 10000] [--seconds 5] [--port 4343]";

/// The last message of each source, until its cookie has come.
#[derive(Default)]
struct Sources {
    asked: BTreeMap<u32, Vec<u8>>,
    cookies: BTreeMap<u32, [u8; 16]>,
    others: u64,
    bytes: u64,
}

impl Sources {
    fn hear(&mut self, ears: &UdpSocket, key: &Key) {
        let mut buffer = [0; 2048];
        while let Ok((len, _)) = ears.recv_from(&mut buffer) {
            self.bytes += len as u64;
            // It names the sender by the index that the sender chose: here the source's number.
            let source = u32::from_le_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
            let asked = self.asked.get(&source).filter(|_| (buffer[0], len) == (3, 64));
            match asked.and_then(|asked| cookie(key, asked, &buffer[..len])) {
                Some(cookie) => drop(self.cookies.insert(source, cookie)),
                None if (buffer[0], len) == (3, 64) => {}
                None => self.others += 1,
            }
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddrV4 = args.need("target");
    let key: Key = args.need("key");
    let from: Ipv4Addr = args.need("from");
    let (sources, port) = (args.or("sources", 2000u64), args.or("port", 4343));
    let forger = Forger::new().unwrap_or_else(|e| fail(USAGE, &format!("no raw socket: {e}")));
    let ears =
        UdpSocket::bind(("0.0.0.0", port)).unwrap_or_else(|e| fail(USAGE, &format!("port {port}: {e}")));
    ears.set_nonblocking(true).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let (mut noise, mut all) = (Noise(6), Sources::default());
    let (mut sent, mut proved) = (0u64, 0u64);
    pace(args.or("rate", 10_000), args.or("seconds", 5), |i| {
        let number = (i % sources) as u32;
        let mut message = initiation(&key, &mut noise, true, number);
        match all.cookies.get(&number) {
            Some(cookie) => prove(&mut message, cookie),
            None => drop(all.asked.insert(number, message.clone())),
        }
        if forger.udp(SocketAddrV4::new(nth(from, i, sources), port), target, &message).is_ok() {
            sent += message.len() as u64;
            proved += u64::from(all.cookies.contains_key(&number));
        }
        if i.is_multiple_of(16) {
            all.hear(&ears, &key);
        }
    });
    hear_out(&ears, || all.hear(&ears, &key)).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let held = all.others == 0 && all.bytes <= sent && proved > 0;
    verdict(
        held,
        &format!(
            "{} of {sources} sources proved themselves, {proved} initiations with a right mac2; {} other answers, {} bytes back for {sent}",
            all.cookies.len(),
            all.others,
            all.bytes
        ),
    )
}
