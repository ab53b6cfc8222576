//! A host behind two routers with a narrow link between them, which may keep silent about what they drop.
//!
//! ```text
//!   street ── near ══ 10.93.0.0/24, as wide as a test says ══ far ── inner 10.92.0.2, fd92::2
//! ```

use crate::process::run;
use crate::street::{Host, Street, Underlay};

#[derive(Debug)]
pub struct Narrow {
    pub near: Host,
    pub far: Host,
}

impl Narrow {
    /// Moves `inner` behind `far` and `near`, all of which are on the street.
    pub fn new(street: &mut Street, inner: &str, near: &str, far: &str, underlay: Underlay) -> Narrow {
        street.move_behind(inner, far, 1500, underlay);
        let (near, far) = (street.host(near), street.host(far));
        let moved = street.host(inner);
        let others = street.hosts().filter(|h| ![&near.name, &far.name, &moved.name].contains(&&h.name));
        let others: Vec<Host> = others.cloned().collect();
        far.run(&["ip", "link", "del", "up0"]).ok();
        let link =
            ["ip", "link", "add", "mid", "type", "veth", "peer", "name", "mid", "netns", &far.namespace];
        near.run(&link).ok();
        near.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]).ok();
        for (host, v4, v6) in [(&near, "10.93.0.1/24", "fd93::1/64"), (&far, "10.93.0.2/24", "fd93::2/64")] {
            host.run(&["ip", "link", "set", "mid", "up"]).ok();
            host.run(&["ip", "addr", "add", v4, "dev", "mid"]).ok();
            if underlay != Underlay::V4 {
                host.run(&["ip", "addr", "add", v6, "dev", "mid", "nodad"]).ok();
            }
        }
        let v4 = ("10.92.0.0/24", "10.93.0.2", "0.0.0.0/0", "10.93.0.1", near.v4.clone());
        let v6 = ("fd92::/64", "fd93::2", "::/0", "fd93::1", near.v6.clone());
        let spoken =
            [(v4, Underlay::V6), (v6, Underlay::V4)].into_iter().filter(|(_, other)| *other != underlay);
        for ((inside, down, all, up, door), _) in spoken {
            near.run(&["ip", "route", "replace", inside, "via", down]).ok();
            far.run(&["ip", "route", "replace", all, "via", up]).ok();
            others.iter().for_each(|host| {
                host.run(&["ip", "route", "replace", inside, "via", &door]).ok();
            });
        }
        Narrow { near, far }
    }

    /// The link between the routers carries packets of `mtu` bytes from now on.
    pub fn set_mtu(&self, mtu: u16) {
        for router in [&self.near, &self.far] {
            router.run(&["ip", "link", "set", "mid", "mtu", &mtu.to_string()]).ok();
        }
    }

    /// Whether the routers say that a packet was too large for them.
    pub fn set_silent(&self, silent: bool) {
        for router in [&self.near, &self.far] {
            let nft = |text: &str| router.run(&["nft", text]).ok();
            nft("add table inet silent; delete table inet silent");
            if silent {
                nft(
                    "add table inet silent; add chain inet silent out { type filter hook output priority 0 ; }",
                );
                nft("add rule inet silent out icmp type destination-unreachable drop");
                nft("add rule inet silent out icmpv6 type packet-too-big drop");
            }
        }
    }

    /// Lets no WireGuard through between the inner host and `other`: only what goes to the coordinator.
    pub fn wall(&self, other: &Host) {
        let nft = |text: &str| self.near.run(&["nft", text]).ok();
        nft("add table inet wall; add chain inet wall way { type filter hook forward priority 0 ; }");
        for (family, address) in [("ip", &other.v4), ("ip6", &other.v6)] {
            nft(&format!("add rule inet wall way {family} saddr {address} drop"));
            nft(&format!("add rule inet wall way {family} daddr {address} drop"));
        }
    }

    /// What the kernels of these hosts have learnt of the path is forgotten.
    pub fn forget(&self, hosts: &[&Host]) {
        for host in hosts {
            for family in ["-4", "-6"] {
                run(Some(&host.namespace), &["ip", family, "route", "flush", "cache"], &[]);
            }
        }
    }
}
