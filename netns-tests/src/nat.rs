//! A host behind a NAT of one of the kinds that RFC 4787 tells apart, made of nftables.
//!
//! ```text
//!   inner            router                      the underlay
//!   up0 192.168.1.2 ─ pN 192.168.1.1 │ up0 10.91.0.n ─ br0
//! ```
//!
//! Every inner network has the same addresses, as behind home routers; nobody outside has a route to them. A carrier's NAT is one
//! of these whose inner host is a home router; a LAN is a router with several hosts, which may or may not let them meet at its outside address
//! (hairpinning, RFC 4787 section 6).

use crate::process::{Daemon, run};
use crate::street::{Host, Street};
use crate::warren::WIREGUARD_PORT;

/// The port that the WireGuard socket has outside, where a NAT keeps it for all destinations.
pub const OUTSIDE: u16 = 41_820;
const INNER: &str = "192.168.1.2";
/// The same of a home router, behind a carrier.
pub const CARRIED: u16 = 45_820;
const CARRIER_INNER: &str = "172.20.0.2";

/// Mapping and filtering in the words of RFC 4787 (sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Endpoint-independent both: "full cone".
    Open,
    /// Endpoint-independent mapping, address- and port-dependent filtering: "port-restricted".
    Restricted,
    /// Address- and port-dependent both: "symmetric".
    Symmetric,
    /// Address- and port-dependent mapping, endpoint-independent filtering.
    Lenient,
}

/// By what a router is asked to map ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// PCP and NAT-PMP.
    Pcp,
    /// UPnP alone, as a gateway of version 1 or 2.
    Igd1,
    Igd2,
}

/// A host behind a router.
#[derive(Debug)]
pub struct Home {
    pub inner: Host,
    pub router: Host,
    /// The inner host's address and port, and the port it has outside.
    inside: (&'static str, u16),
    outside: u16,
}

impl Home {
    /// Moves `inner` behind `router`, both of which are on the street.
    pub fn new(street: &mut Street, inner: &str, router: &str, kind: Nat) -> Home {
        let inside = (INNER, WIREGUARD_PORT);
        Home::with(street, inner, router, kind, inside, OUTSIDE)
    }

    /// A carrier's NAT before the home router `inner`, which itself is to be put before somebody.
    pub fn carrier(street: &mut Street, inner: &str, router: &str, kind: Nat) -> Home {
        Home::with(street, inner, router, kind, (CARRIER_INNER, OUTSIDE), CARRIED)
    }

    fn with(
        street: &mut Street,
        inner: &str,
        router: &str,
        kind: Nat,
        inside: (&'static str, u16),
        outside: u16,
    ) -> Home {
        let (router, inner) = (street.host(router), street.hide_behind(inner, router, inside.0));
        let home = Home { inner, router, inside, outside };
        home.become_kind(kind);
        home
    }

    /// From now on the inner host is seen at another port, and all that was known is forgotten, in the middle of whatever runs.
    pub fn rebind(&mut self, kind: Nat) {
        self.outside += 1;
        self.become_kind(kind);
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
        let ((inner, port), outside) = (self.inside, self.outside);
        let keep = format!("udp sport {port} masquerade to :{outside}");
        match kind {
            Nat::Open => {
                let to = format!("udp dport {outside} dnat to {inner}:{port}");
                nft(&format!("add rule ip nat in iifname up0 {to}"));
                nft(&format!("add rule ip nat out oifname up0 {keep}"));
            }
            Nat::Restricted => drop(nft(&format!("add rule ip nat out oifname up0 {keep}"))),
            // Every port leads in; which one it leaves by is another for each destination all the same.
            Nat::Lenient => {
                drop(nft(&format!(
                    "add rule ip nat in iifname up0 udp dport 1024-65535 dnat to {inner}:{port}"
                )));
            }
            Nat::Symmetric => {}
        }
        nft("add rule ip nat out oifname up0 masquerade fully-random");
        self.forget();
    }

    /// Until another kind is made of it, what comes to this port goes to the inner host's WireGuard socket.
    pub fn forward(&self, port: u16) {
        let (inner, own) = self.inside;
        let rule = format!("add rule ip nat in iifname up0 udp dport {port} dnat to {inner}:{own}");
        self.router.run(&["nft", &rule]).ok();
    }

    /// Lets no UDP through between the inner host and `other` any more, or again: only a way round is left.
    pub fn wall(&self, other: &Home, up: bool) {
        let nft = |text: &str| self.router.run(&["nft", text]).ok();
        nft("add table ip wall; delete table ip wall");
        if up {
            let far = &other.router.v4;
            nft("add table ip wall; add chain ip wall way { type filter hook forward priority 0 ; }");
            nft(&format!("add rule ip wall way ip daddr {far} udp dport != 7946 drop"));
            nft(&format!("add rule ip wall way ip saddr {far} udp sport != 7946 drop"));
        }
    }

    /// As after a power cut: every mapping is forgotten.
    pub fn forget(&self) {
        run(Some(&self.router.namespace), &["conntrack", "-F"], &[]).ok();
    }

    /// The router grants mappings: Debian's miniupnpd.
    pub fn serve_mappings(&self, speaks: Speaks) -> Daemon {
        let chains = "add table inet upnp; delete table inet upnp; add table inet upnp; add chain inet upnp forward; add chain inet upnp post; add chain inet upnp pre; \
             add chain inet upnp in { type nat hook prerouting priority -110 ; }; add rule inet upnp in jump pre";
        self.router.run(&["nft", chains]).ok();
        let yes_or_no = |yes: bool| if yes { "yes" } else { "no" };
        let (pcp, upnp) = (yes_or_no(speaks == Speaks::Pcp), yes_or_no(speaks != Speaks::Pcp));
        let first = yes_or_no(speaks == Speaks::Igd1);
        let conf = format!(
            "ext_ifname=up0\nlistening_ip={}\nenable_natpmp={pcp}\nenable_upnp={upnp}\nforce_igd_desc_v1={first}\nsecure_mode=yes\nupnp_table_name=upnp\nupnp_nat_table_name=upnp\n\
             upnp_forward_chain=forward\nupnp_nat_chain=pre\nupnp_nat_postrouting_chain=post\nmin_lifetime=120\nmax_lifetime=86400\n\
             uuid=00000000-0000-0000-0000-000000000001\nallow 1024-65535 192.168.1.0/24 1024-65535\n",
            self.inner.port
        );
        std::fs::write(self.router.dir.join("miniupnpd.conf"), conf).unwrap();
        let (conf, pid) = (self.router.path("miniupnpd.conf"), self.router.path("miniupnpd.pid"));
        self.router.daemon("miniupnpd", &["miniupnpd", "-d", "-f", &conf, "-P", &pid])
    }

    /// What it has granted.
    pub fn mappings(&self) -> String {
        self.router.run(&["nft", "list chain inet upnp pre"]).ok()
    }
}

/// Two hosts behind one router, with endpoint-independent mapping and address- and port-dependent filtering.
#[derive(Debug)]
pub struct Lan {
    pub router: Host,
    pub hosts: Vec<Host>,
}

impl Lan {
    pub fn new(street: &mut Street, inners: [&str; 2], router: &str) -> Lan {
        let [first, second] = inners;
        let hosts = street.share_lan(&[(first, INNER), (second, "192.168.1.3")], router);
        let lan = Lan { router: street.host(router), hosts };
        lan.become_kind(street, false, false);
        lan
    }

    /// `hairpin`: a host finds the other at the router's outside address. `isolated`: not at its address on the LAN.
    pub fn become_kind(&self, street: &Street, hairpin: bool, isolated: bool) {
        let nft = |text: &str| self.router.run(&["nft", text]).ok();
        nft("add table ip nat; delete table ip nat");
        nft("add table ip nat; \
             add chain ip nat in { type nat hook prerouting priority -100 ; }; \
             add chain ip nat out { type nat hook postrouting priority 100 ; }; \
             add chain ip nat here { type filter hook input priority 0 ; }");
        nft("add rule ip nat here iifname up0 ct state new drop");
        for (host, outside) in self.hosts.iter().zip(OUTSIDE..) {
            let (inner, here) = (&host.v4, &self.router.v4);
            let from = format!("ip saddr {inner} udp sport {WIREGUARD_PORT}");
            nft(&format!("add rule ip nat out oifname up0 {from} masquerade to :{outside}"));
            if hairpin {
                let to = format!("ip daddr {here} udp dport {outside} dnat to {inner}:{WIREGUARD_PORT}");
                nft(&format!("add rule ip nat in iifname lan0 {to}"));
                nft(&format!(
                    "add rule ip nat out oifname lan0 ct status dnat {from} snat to {here}:{outside}"
                ));
            }
            street.isolate(host, &self.router, isolated);
        }
        nft("add rule ip nat out oifname up0 masquerade fully-random");
        run(Some(&self.router.namespace), &["conntrack", "-F"], &[]).ok();
    }
}
