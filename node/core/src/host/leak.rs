//! The leak guard as nftables text: where this node answers for all names, nothing else on the host asks in clear.
//!
//! A program with a resolver of its own would tell the whole way what it looks for, and would be told anything. It is
//! refused at once, not left to time out, and counted, so that it is found.

use super::InterfaceName;

/// Name of the counter in it.
pub const COUNTER: &str = "refused";
/// DNS, multicast DNS (RFC 6762), LLMNR (RFC 4795).
const PORTS: &str = "{ 53, 5353, 5355 }";

/// Name of the table, in family `inet`; it is ours alone.
pub fn table(interface: &InterfaceName) -> String {
    format!("warren_dns_{}", interface.as_str())
}

/// Replaces the table whole, in one transaction. Questions to ourselves (over `lo`) and through the tunnel pass.
pub fn ruleset(interface: &InterfaceName) -> String {
    let (table, tun) = (table(interface), interface.as_str());
    format!(
        "table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n\
         \tcounter refused {{ }}\n\tchain leak {{\n\t\ttype filter hook output priority 0; policy accept;\n\
         \t\toifname {{ \"lo\", \"{tun}\" }} accept\n\
         \t\ttcp dport 53 counter name \"refused\" reject with tcp reset\n\
         \t\tudp dport {PORTS} counter name \"refused\" reject\n\
         \t}}\n}}\n"
    )
}

/// Takes the table out; declaring it first makes that succeed when it is already gone.
pub fn removal(interface: &InterfaceName) -> String {
    let table = table(interface);
    format!("table inet {table}\ndelete table inet {table}\n")
}
