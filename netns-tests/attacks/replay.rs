//! One sealed packet sent again: exactly, shifted, cut, longer, with other indices, from another port, and many times.
//! The echo service behind the tunnel answers it once.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::inner::{read_udp, udp};
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-replay --target IP:PORT --key BASE64[,BASE64] --private BASE64[,BASE64] --me OVERLAY-IP --to OVERLAY-IP --open UDP-PORT \
                     [--rounds 20] (an echo service must listen at --open)";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let (me, to, open): (Ipv4Addr, Ipv4Addr, u16) = (args.need("me"), args.need("to"), args.need("open"));
    let (private, key): (Keys, Keys) = (args.need("private"), args.need("key"));
    let rounds = args.or("rounds", 20);
    let outcome = (|| -> std::io::Result<(usize, usize, usize, usize)> {
        let mut rogue = Rogue::connect(target, private, &key)?;
        let other = UdpSocket::bind("0.0.0.0:0")?;
        let (mut copies, mut once, mut doubled) = (0, 0, 0);
        for round in 0..rounds {
            let text = format!("replay-{round}");
            let Some(sealed) = rogue.seal(&udp((me, 4000), (to, open), text.as_bytes())) else { continue };
            rogue.heard.clear();
            rogue.socket.send_to(&sealed, target)?;
            for copy in bent(&sealed) {
                rogue.socket.send_to(&copy, target)?;
                other.send_to(&copy, target)?;
                copies += 2;
            }
            let echoed = |packet: &[u8]| read_udp(packet).is_some_and(|(.., body)| body == text.as_bytes());
            rogue.hear(Duration::from_secs(3), echoed)?;
            rogue.listen(Duration::from_millis(150))?;
            let answers = rogue.heard.iter().filter(|packet| echoed(packet)).count();
            once += usize::from(answers == 1);
            doubled += usize::from(answers > 1);
        }
        // Answers still come here, not to the port the copies came from.
        other.set_nonblocking(true)?;
        let mut buffer = [0; 2048];
        let astray = std::iter::from_fn(|| other.recv_from(&mut buffer).ok()).count();
        Ok((copies, once, doubled, astray))
    })();
    match outcome {
        Err(e) => fail(USAGE, &e.to_string()),
        Ok((copies, once, doubled, astray)) => verdict(
            once == rounds && doubled == 0 && astray == 0,
            &format!(
                "{copies} copies of {rounds} packets: {once} echoed once, {doubled} more than once, {astray} answers went astray"
            ),
        ),
    }
}

/// The same datagram again, and bent in every way.
fn bent(sealed: &[u8]) -> Vec<Vec<u8>> {
    let mut copies = vec![sealed.to_vec(); 3];
    for at in [4, 8, 9, 15, 16, sealed.len() - 1] {
        let mut bent = sealed.to_vec();
        bent[at] ^= 1;
        copies.push(bent);
    }
    copies.extend([1, 4, 16].map(|n| sealed[n..].to_vec()));
    copies.extend([1, 4, 16].map(|n| [&vec![0; n][..], sealed].concat()));
    copies.extend([1, 16].map(|n| sealed[..sealed.len() - n].to_vec()));
    copies.push([sealed, &[0; 16]].concat());
    copies.push([sealed, sealed].concat());
    copies
}
