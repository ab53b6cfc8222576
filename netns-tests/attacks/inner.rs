//! An enrolled peer that may open one UDP port sends everything that no grant allows: forged sources, foreign
//! destinations, fragments, options, extension headers in any order and number, all protocols, all flags, discovery and
//! redirects, errors about flows that are not; over IPv4, and over IPv6 if it is given addresses. Nothing may be answered;
//! whether anything came out at the target's interface is for a capture there to say.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::verdict;
use warren_netns_tests::attack::{inner, inner6};

const USAGE: &str = "attack-inner --target IP:PORT --key BASE64[,BASE64] --private BASE64[,BASE64] --me OVERLAY-IP --to OVERLAY-IP --open UDP-PORT \
                     [--me6 OVERLAY-IP --to6 OVERLAY-IP] [--mark TEXT] (an echo service must listen at --open)";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let (me, to, open): (Ipv4Addr, Ipv4Addr, u16) = (args.need("me"), args.need("to"), args.need("open"));
    let mark = args.or("mark", "MARK-never-out-of-the-tunnel".to_owned());
    let (private, key): (Keys, Keys) = (args.need("private"), args.need("key"));
    let io = |e: std::io::Error| -> ! { fail(USAGE, &e.to_string()) };
    let mut rogue = Rogue::connect(target, private, &key).unwrap_or_else(|e| io(e));
    let six = args.maybe::<Ipv6Addr>("me6").zip(args.maybe::<Ipv6Addr>("to6"));
    let honest = |rogue: &mut Rogue, text: &str| {
        let body = |packet: &[u8]| {
            let read = inner::read_udp(packet).or(inner6::read_udp(packet));
            read.is_some_and(|(.., body)| body == text.as_bytes())
        };
        rogue.send(&inner::udp((me, 4000), (to, open), text.as_bytes()))?;
        let mut echoed = rogue.hear(Duration::from_secs(3), body)?;
        if let Some((me, to)) = six {
            rogue.heard.clear();
            rogue.send(&inner6::udp((me, 4000), (to, open), text.as_bytes()))?;
            echoed &= rogue.hear(Duration::from_secs(3), body)?;
        }
        std::io::Result::Ok(echoed)
    };
    let before = honest(&mut rogue, "honest before").unwrap_or_else(|e| io(e));
    rogue.heard.clear();
    let mut all = inner::forbidden(me, to, open, mark.as_bytes());
    let fours = all.len();
    if let Some((me, to)) = six {
        all.extend(inner6::forbidden(me, to, open, mark.as_bytes()));
    }
    let mut sent = 0;
    for (at, (_, packet)) in all.iter().enumerate() {
        sent += usize::from(rogue.send(packet).unwrap_or_else(|e| io(e)));
        if at % 32 == 31 {
            rogue.drain().unwrap_or_else(|e| io(e));
        }
    }
    rogue.listen(Duration::from_secs(1)).unwrap_or_else(|e| io(e));
    let answers = rogue.heard.iter().filter(|packet| packet.len() >= 20).count();
    let after = honest(&mut rogue, "honest after").unwrap_or_else(|e| io(e));
    let held = before && after && answers == 0 && sent == all.len();
    verdict(
        held,
        &format!(
            "{sent} forbidden packets of {} kinds sent, {} of them over IPv6; {answers} answered; honest before: {before}, after: {after}",
            all.len(),
            all.len() - fours
        ),
    )
}
