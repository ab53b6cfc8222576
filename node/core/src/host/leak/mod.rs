//! The leak guard as nftables text: where this node answers for all names, nothing else on the host asks in clear.
//!
//! A program with a resolver of its own would tell the whole way what it looks for, and would be told anything. It is
//! refused, not left to time out, and recorded as a flow like any other, so that it is found.
//!
//! A program that is refused at once has closed its socket before anybody can look whose it was. So the first packet of a
//! socket is held back and told of ([`heard`]): who looks finds a program that waits, and then refuses it with an ICMP error
//! ([`refusal`]), some milliseconds later. What is over the limit of a user, and whatever else comes of that socket, is refused
//! by the kernel. All is counted by whom it was to ([`account`]).

pub mod account;
pub mod heard;
pub mod programs;

use std::net::IpAddr;

use ipnet::IpNet;
use warren_wire::flow::{FlowEnd, FlowRecord, FlowVerdict, address_bytes};

use self::heard::Tried;
use super::InterfaceName;
use crate::dataplane::frame_of;
use crate::packet::reply;
use crate::workload::Question;

/// Name of the counter in it, and of the sets that say who was asked.
pub const COUNTER: &str = "refused";
pub const ASKED: [&str; 2] = ["asked4", "asked6"];
/// Groups of the kernel's packet log, of which an agent takes one that nobody has.
pub const GROUPS: std::ops::Range<u16> = 21_300..21_332;
/// Numbers of flows that were refused here, and of those that were told of; those of the packet path count from 1.
pub const NUMBERS: u64 = 1 << 62;
pub const HEARD: u64 = 3 << 61;
/// DNS, multicast DNS (RFC 6762), LLMNR (RFC 4795).
const PORTS: &str = "{ 53, 5353, 5355 }";
/// A datagram that is refused would be an error at its sender at once. Held back it goes to nobody, under this mark.
const MARK: &str = "0x57a77e11";
/// How often whose a try is may be asked, for each user of the host.
const LIMIT: &str = "limit rate 20/second burst 40 packets";

/// Name of the table, in family `inet`; it is ours alone.
pub fn table(interface: &InterfaceName) -> String {
    format!("warren_dns_{}", interface.as_str())
}

/// Replaces the table whole, in one transaction. Questions to ourselves (over `lo`) and through the tunnel pass. What
/// containers behind `bridges` send out is treated as the host's own; what others send through this host is theirs.
/// With `group`, somebody hears what is logged for it.
pub fn ruleset(interface: &InterfaceName, bridges: &[InterfaceName], group: Option<u16>) -> String {
    let (table, tun) = (table(interface), interface.as_str());
    let set = |name: &str, family: &str| {
        format!(
            "\tset {name} {{\n\t\ttypeof {family} daddr . meta l4proto . th dport\n\t\tsize 1024\n\
             \t\tflags dynamic,timeout\n\t\ttimeout 1h\n\t\tcounter\n\t}}\n"
        )
    };
    let [asked4, asked6] = ASKED;
    let (set4, set6) = (set(asked4, "ip"), set(asked6, "ip6"));
    // A set that is full leaves a rule unmatched: remembering and refusing are rules of their own.
    let count = |what: &str| {
        format!(
            "\t\t{what}update @{asked4} {{ ip daddr . meta l4proto . th dport }}\n\
             \t\t{what}update @{asked6} {{ ip6 daddr . meta l4proto . th dport }}\n\
             \t\t{what}counter name \"refused\""
        )
    };
    let refusals = |protocol: &str, ports: &str, how: &str| {
        format!("{} {how}\n", count(&format!("{protocol} dport {ports} ")))
    };
    let (tcp, udp) = (refusals("tcp", PORTS, "reject with tcp reset"), refusals("udp", PORTS, "reject"));
    let forwarded: String =
        bridges.iter().map(|b| format!("\t\tiifname \"{}\" jump asked\n", b.as_str())).collect();
    let held = group.map(|group| held_back(tun, &count(""), group)).unwrap_or_default();
    format!(
        "table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n\
         \tcounter refused {{ }}\n{set4}{set6}{held}\
         \tchain asked {{\n\t\toifname {{ \"lo\", \"{tun}\" }} accept\n{tcp}{udp}\t}}\n\
         \tchain leak {{\n\t\ttype filter hook output priority 0; policy accept;\n\t\tjump asked\n\t}}\n\
         \tchain through {{\n\t\ttype filter hook forward priority 0; policy accept;\n{forwarded}\t}}\n}}\n"
    )
}

/// A SYN that is dropped is sent again in a second, and is refused then if nobody did it before. A datagram that is dropped
/// here is an error at its sender: it is turned back to this host, and dropped there. Nothing of it is on any wire.
fn held_back(tun: &str, count: &str, group: u16) -> String {
    let first = format!(
        "update @heard {{ meta skuid {LIMIT} }} add @held {{ meta l4proto . th sport }} jump held-back\n"
    );
    format!(
        "\tset heard {{\n\t\ttypeof meta skuid\n\t\tsize 1024\n\t\tflags dynamic,timeout\n\t\ttimeout 1m\n\t}}\n\
         \tset held {{\n\t\ttypeof meta l4proto . th sport\n\t\tsize 4096\n\t\tflags dynamic,timeout\n\t\ttimeout 3s\n\t}}\n\
         \tchain held-back {{\n{count}\n\t\tlog group {group}\n\t\tmeta l4proto tcp drop\n\t\tmeta mark set {MARK}\n\
         \t\tudp dport set 9\n\t\tip daddr set 127.0.0.1\n\t\tip6 daddr set ::1\n\t}}\n\
         \tchain aside {{\n\t\ttype route hook output priority -150; policy accept;\n\
         \t\toifname {{ \"lo\", \"{tun}\" }} accept\n\t\tmeta l4proto . th sport @held accept\n\
         \t\ttcp dport {PORTS} tcp flags & (syn | ack) == syn {first}\t\tudp dport {PORTS} {first}\t}}\n\
         \tchain turned-back {{\n\t\ttype filter hook input priority -150; policy accept;\n\
         \t\tiifname \"lo\" meta mark {MARK} drop\n\t}}\n"
    )
}

/// What a program hears whose packet was held back, as a frame for the TUN: "port unreachable", from an address of the overlay
/// that no node has, so that it comes the way it should. `None` where the overlay has no address of the packet's family.
pub fn refusal(tried: &Tried, ranges: &[IpNet]) -> Option<Vec<u8>> {
    let range = ranges.iter().find(|range| range.addr().is_ipv4() == tried.from.is_ipv4())?;
    reply::no_such_port(range.network(), tried.from.ip(), &tried.quote).map(|packet| frame_of(&packet))
}

/// Packets to one server that were refused since it was last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub server: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    pub port: u16,
    pub packets: u64,
    pub bytes: u64,
}

/// One try, told of under a number of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub flow: u64,
    pub tried: Tried,
}

impl Heard {
    /// Its socket waits: whose is it?
    pub fn question(&self) -> Question {
        let Tried { protocol, from: local, server: remote, user, .. } = self.tried;
        Question { flow: self.flow, protocol, outbound: true, local, remote, user }
    }

    /// The refusal as this node reports it; whose it was is said by who knows.
    pub fn record(&self, own: &[IpAddr], generation: u64, now_ms: u64) -> Option<FlowRecord> {
        let Tried { protocol, from, server, bytes, .. } = self.tried;
        let refused = Refused { server: server.ip(), protocol, port: server.port(), packets: 1, bytes };
        let record = record(&refused, own, self.flow, generation, now_ms)?;
        Some(FlowRecord { src_port: from.port().into(), ..record })
    }
}

/// The refusal as this node reports it: from its own address of the same family; `None` if it has none.
pub fn record(
    refused: &Refused,
    own: &[IpAddr],
    flow: u64,
    generation: u64,
    now_ms: u64,
) -> Option<FlowRecord> {
    let from = own.iter().find(|ip| ip.is_ipv4() == refused.server.is_ipv4())?;
    Some(FlowRecord {
        flow,
        outbound: true,
        protocol: refused.protocol.into(),
        src: address_bytes(*from),
        dst: address_bytes(refused.server),
        dst_port: refused.port.into(),
        verdict: FlowVerdict::Deny.into(),
        generation,
        packets_out: refused.packets,
        bytes_out: refused.bytes,
        started_ms: now_ms,
        last_ms: now_ms,
        end: FlowEnd::Refused.into(),
        count: refused.packets,
        ..FlowRecord::default()
    })
}

/// Takes the table out; declaring it first makes that succeed when it is already gone.
pub fn removal(interface: &InterfaceName) -> String {
    let table = table(interface);
    format!("table inet {table}\ndelete table inet {table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(group: Option<u16>) -> String {
        let name = |text| InterfaceName::parse(text).unwrap();
        ruleset(&name("warren0"), &[name("docker0")], group)
    }

    #[test]
    fn nothing_is_held_back_where_nobody_hears_and_refused_it_is_all_the_same() {
        let (deaf, hearing) = (rules(None), rules(Some(21_300)));
        assert!(hearing.contains("log group 21300") && hearing.contains("jump held-back"));
        for word in ["log", "held", "mark", "type route"] {
            assert!(!deaf.contains(word), "{word}: {deaf}");
        }
        let refusals =
            |text: &str| text.lines().filter(|l| l.contains("reject")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(refusals(&deaf), refusals(&hearing));
        assert_eq!(refusals(&deaf).len(), 2, "TCP and UDP");
    }

    /// LLMNR has TCP too (RFC 4795 section 2.3), and a server in clear may be at any of the three.
    #[test]
    fn the_same_ports_are_refused_over_tcp_and_over_udp() {
        let text = rules(Some(21_300));
        for chain in ["chain asked {", "chain aside {"] {
            let body = text.split(chain).nth(1).unwrap().split("\t}\n").next().unwrap();
            let ports = |protocol: &str| {
                let word = format!("{protocol} dport ");
                let all = body.split(&word).skip(1);
                all.map(|rest| rest.split_inclusive('}').next().unwrap()).collect::<Vec<_>>()
            };
            let (tcp, udp) = (ports("tcp"), ports("udp"));
            assert!(!tcp.is_empty() && tcp == udp, "{chain} {tcp:?} {udp:?}");
            assert!(tcp.iter().all(|ports| *ports == PORTS), "{chain} {tcp:?}");
        }
    }

    /// What is asked here and through the tunnel is nobody's business, in each chain that does something.
    #[test]
    fn questions_to_ourselves_pass_before_anything_else() {
        let text = rules(Some(21_300));
        for chain in ["chain asked {", "chain aside {"] {
            let body: Vec<&str> = text.split(chain).nth(1).unwrap().lines().collect();
            let first = body.iter().find(|line| !line.is_empty() && !line.contains("type route")).unwrap();
            assert_eq!(first.trim(), "oifname { \"lo\", \"warren0\" } accept", "{chain}");
        }
    }

    #[test]
    fn a_refusal_speaks_from_the_overlay_and_quotes_what_was_held_back() {
        let ranges: Vec<IpNet> = ["100.64.0.0/10", "fd00:1::/48"].map(|r| r.parse().unwrap()).to_vec();
        let tried = |from: &str, server: &str| Tried {
            protocol: 17,
            from: from.parse().unwrap(),
            server: server.parse().unwrap(),
            user: None,
            bytes: 60,
            quote: b"the packet's beginning".to_vec(),
        };
        let v4 = refusal(&tried("192.0.2.1:4000", "192.0.2.53:53"), &ranges).unwrap();
        // Behind the frame's header: from the range's own address to who asked; ICMP 3/3, and the quote.
        let packet = v4.get(crate::packet::vnet::VNET_LEN..).unwrap();
        assert_eq!((&packet[12..16], &packet[16..20]), (&[100, 64, 0, 0][..], &[192, 0, 2, 1][..]));
        assert_eq!((&packet[20..22], &packet[28..]), (&[3, 3][..], &b"the packet's beginning"[..]));
        let v6 = refusal(&tried("[2001:db8::1]:4000", "[2001:db8::53]:53"), &ranges).unwrap();
        let packet = v6.get(crate::packet::vnet::VNET_LEN..).unwrap();
        assert_eq!(packet[40..42], [1, 4]);
        assert_eq!(refusal(&tried("[2001:db8::1]:4000", "[2001:db8::53]:53"), &ranges[..1]), None);
    }

    #[test]
    fn a_refusal_is_a_record_that_the_coordinator_takes() {
        let own: Vec<IpAddr> = ["fd00::1", "100.64.0.1"].map(|ip| ip.parse().unwrap()).to_vec();
        for (server, from) in [("192.0.2.53", own[1]), ("2001:db8::53", own[0])] {
            let server = server.parse().unwrap();
            let refused = Refused { server, protocol: 17, port: 53, packets: 3, bytes: 200 };
            let record = record(&refused, &own, 7, 4, 1_000).unwrap();
            record.check().unwrap();
            assert_eq!((record.source(), record.destination()), (Some(from), Some(server)));
            assert_eq!((record.verdict(), record.count), (FlowVerdict::Deny, 3));
        }
        let refused =
            Refused { server: "192.0.2.53".parse().unwrap(), protocol: 6, port: 53, packets: 1, bytes: 60 };
        assert_eq!(
            record(&refused, &own[..1], 1, 1, 1),
            None,
            "an address of another family would be no one's"
        );
    }
}
