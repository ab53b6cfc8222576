//! The leak guard as nftables text: where this node answers for all names, nothing else on the host asks in clear.
//!
//! A program with a resolver of its own would tell the whole way what it looks for, and would be told anything. It is
//! refused at once, not left to time out, and counted by whom it asked, so that it is found: such a refusal is a flow
//! record like any other.

use std::net::IpAddr;

use warren_wire::flow::{FlowEnd, FlowRecord, FlowVerdict, address_bytes};

use super::InterfaceName;

/// Name of the counter in it, and of the sets that say who was asked.
pub const COUNTER: &str = "refused";
pub const ASKED: [&str; 2] = ["asked4", "asked6"];
/// DNS, multicast DNS (RFC 6762), LLMNR (RFC 4795).
const PORTS: &str = "{ 53, 5353, 5355 }";

/// Name of the table, in family `inet`; it is ours alone.
pub fn table(interface: &InterfaceName) -> String {
    format!("warren_dns_{}", interface.as_str())
}

/// Replaces the table whole, in one transaction. Questions to ourselves (over `lo`) and through the tunnel pass. What
/// containers behind `bridges` send out is treated as the host's own; what others send through this host is theirs.
pub fn ruleset(interface: &InterfaceName, bridges: &[InterfaceName]) -> String {
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
    let refusals = |protocol: &str, ports: &str, how: &str| {
        format!(
            "\t\t{protocol} dport {ports} update @{asked4} {{ ip daddr . meta l4proto . th dport }}\n\
             \t\t{protocol} dport {ports} update @{asked6} {{ ip6 daddr . meta l4proto . th dport }}\n\
             \t\t{protocol} dport {ports} counter name \"refused\" {how}\n"
        )
    };
    let (tcp, udp) = (refusals("tcp", "53", "reject with tcp reset"), refusals("udp", PORTS, "reject"));
    let forwarded: String =
        bridges.iter().map(|b| format!("\t\tiifname \"{}\" jump asked\n", b.as_str())).collect();
    format!(
        "table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n\
         \tcounter refused {{ }}\n{set4}{set6}\
         \tchain asked {{\n\t\toifname {{ \"lo\", \"{tun}\" }} accept\n{tcp}{udp}\t}}\n\
         \tchain leak {{\n\t\ttype filter hook output priority 0; policy accept;\n\t\tjump asked\n\t}}\n\
         \tchain through {{\n\t\ttype filter hook forward priority 0; policy accept;\n{forwarded}\t}}\n}}\n"
    )
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
