//! A host behind a NAT of one of the kinds that RFC 4787 tells apart, made of nftables.
//!
//! ```text
//!   inner            router                      the underlay
//!   up0 192.168.1.2 ─ pN 192.168.1.1 │ up0 10.91.0.n ─ br0
//! ```
//!
//! Every inner network has the same addresses, as behind home routers; nobody outside has a route to them.

use crate::process::run;
use crate::street::{Host, Street};
use crate::warren::WIREGUARD_PORT;

/// The port that the WireGuard socket has outside, where a NAT keeps it for all destinations.
pub const OUTSIDE: u16 = 41_820;
const INNER: &str = "192.168.1.2";

/// Mapping and filtering in the words of RFC 4787 (sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Endpoint-independent both: "full cone".
    Open,
    /// Endpoint-independent mapping, address- and port-dependent filtering: "port-restricted".
    Restricted,
    /// Address- and port-dependent both: "symmetric".
    Symmetric,
}

/// A host behind a router.
#[derive(Debug)]
pub struct Home {
    pub inner: Host,
    pub router: Host,
}

impl Home {
    /// Moves `inner` behind `router`, both of which are on the street.
    pub fn new(street: &mut Street, inner: &str, router: &str, kind: Nat) -> Home {
        let home = Home { router: street.host(router), inner: street.hide_behind(inner, router, INNER) };
        home.become_kind(kind);
        home
    }

    /// Another kind of NAT from now on; what the old one knew is forgotten.
    pub fn become_kind(&self, kind: Nat) {
        let nft = |text: &str| self.router.run(&["nft", text]).ok();
        nft("add table ip nat; delete table ip nat");
        nft("add table ip nat; \
             add chain ip nat in { type nat hook prerouting priority -100 ; }; \
             add chain ip nat out { type nat hook postrouting priority 100 ; }; \
             add chain ip nat here { type filter hook input priority 0 ; }");
        // As every home router: who was not asked is dropped before the kernel remembers him. Remembered, he would hold the
        // mapping that the inner host needs to talk to him.
        nft("add rule ip nat here iifname up0 ct state new drop");
        let keep = format!("udp sport {WIREGUARD_PORT} masquerade to :{OUTSIDE}");
        match kind {
            Nat::Open => {
                let to = format!("udp dport {OUTSIDE} dnat to {INNER}:{WIREGUARD_PORT}");
                nft(&format!("add rule ip nat in iifname up0 {to}"));
                nft(&format!("add rule ip nat out oifname up0 {keep}"));
            }
            Nat::Restricted => drop(nft(&format!("add rule ip nat out oifname up0 {keep}"))),
            Nat::Symmetric => {}
        }
        nft("add rule ip nat out oifname up0 masquerade fully-random");
        self.forget();
    }

    /// As after a power cut: every mapping is forgotten.
    pub fn forget(&self) {
        run(Some(&self.router.namespace), &["conntrack", "-F"], &[]).ok();
    }
}
