//! An enrolled peer that may open one UDP port sends everything that no grant allows: forged sources, foreign
//! destinations, fragments, options, extension headers, all protocols, all flags, errors about flows that are not. Nothing
//! may be answered; whether anything came out at the target's interface is for a capture there to say.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::inner::{forbidden, read_udp, udp};
use warren_netns_tests::attack::rogue::{Keys, Rogue};
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-inner --target IP:PORT --key BASE64[,BASE64] --private BASE64[,BASE64] --me OVERLAY-IP --to OVERLAY-IP --open UDP-PORT \
                     [--mark TEXT] (an echo service must listen at --open)";

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let (me, to, open): (Ipv4Addr, Ipv4Addr, u16) = (args.need("me"), args.need("to"), args.need("open"));
    let mark = args.or("mark", "MARK-never-out-of-the-tunnel".to_owned());
    let (private, key): (Keys, Keys) = (args.need("private"), args.need("key"));
    let io = |e: std::io::Error| -> ! { fail(USAGE, &e.to_string()) };
    let mut rogue = Rogue::connect(target, private, &key).unwrap_or_else(|e| io(e));
    let honest = |rogue: &mut Rogue, text: &str| {
        rogue.send(&udp((me, 4000), (to, open), text.as_bytes()))?;
        rogue.hear(Duration::from_secs(3), |packet| {
            read_udp(packet).is_some_and(|(.., body)| body == text.as_bytes())
        })
    };
    let before = honest(&mut rogue, "honest before").unwrap_or_else(|e| io(e));
    rogue.heard.clear();
    let all = forbidden(me, to, open, mark.as_bytes());
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
            "{sent} forbidden packets of {} kinds sent, {answers} answered; honest before: {before}, after: {after}",
            all.len()
        ),
    )
}
