//! Hosts on one underlay.
//!
//! ```text
//!   host 1          host 2          host n
//!   up0 10.91.0.1   up0 10.91.0.2   up0 10.91.0.n      fd91::n
//!      |               |               |
//!   ---+-------- br0 (namespace "net") +---
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::process::{Daemon, Finished, run};

/// Which address families the underlay speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underlay {
    V4,
    V6,
    Both,
}

/// A set of namespaces that lives as long as this value.
#[derive(Debug)]
pub struct Street {
    tag: String,
    dir: tempfile::TempDir,
    hosts: BTreeMap<String, Host>,
    /// Machines that were ever plugged in.
    plugged: usize,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub namespace: String,
    pub v4: String,
    pub v6: String,
    /// The far end of its link `up0`, in the namespace of the underlay.
    pub port: String,
    pub dir: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Street {
    pub fn new(hosts: &[&str], underlay: Underlay) -> Street {
        let tag = format!("wt{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut street =
            Street { tag, dir: tempfile::tempdir().unwrap(), hosts: BTreeMap::new(), plugged: 0 };
        let net = street.net();
        ip(&["netns", "add", &net]);
        run(Some(&net), &["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], &[]);
        ip(&["-n", &net, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]);
        ip(&["-n", &net, "link", "set", "br0", "up"]);
        for name in hosts {
            street.add_host(name, underlay);
        }
        street
    }

    /// Plugs in one more machine.
    pub fn add_host(&mut self, name: &str, underlay: Underlay) {
        self.plugged += 1;
        let number = self.plugged;
        let (net, namespace) = (self.net(), format!("{}-{name}", self.tag));
        let port = format!("p{number}");
        let (v4, v6) = (format!("10.91.{}.{}", number / 250, number % 250 + 1), format!("fd91::{number:x}"));
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        ip(&["-n", &net, "link", "add", &port, "type", "veth", "peer", "name", "up0", "netns", &namespace]);
        ip(&["-n", &net, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", &namespace, "link", "set", "up0", "up"]);
        if underlay != Underlay::V6 {
            ip(&["-n", &namespace, "addr", "add", &format!("{v4}/16"), "dev", "up0"]);
        }
        if underlay != Underlay::V4 {
            ip(&["-n", &namespace, "addr", "add", &format!("{v6}/64"), "dev", "up0", "nodad"]);
        }
        let dir = self.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        self.hosts.insert(name.to_owned(), Host { name: name.to_owned(), namespace, v4, v6, port, dir });
    }

    /// Takes a machine away, with everything that runs and lies on it.
    pub fn remove_host(&mut self, name: &str) {
        let Some(host) = self.hosts.remove(name) else { return };
        remove(&host.namespace);
        std::fs::remove_dir_all(&host.dir).unwrap();
    }

    /// Puts a container behind a bridge of `host`, which forwards for it: 172.30.0.2 and fd30::2.
    pub fn add_container(&mut self, host: &str, name: &str) -> Host {
        let (outer, namespace) = (self.host(host), format!("{}-{name}", self.tag));
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        ip(&["-n", &outer.namespace, "link", "add", "box0", "type", "bridge"]);
        let inside = ["type", "veth", "peer", "name", "eth0", "netns", &namespace];
        ip(&[&["-n", &outer.namespace, "link", "add", "box1"][..], &inside].concat());
        ip(&["-n", &outer.namespace, "link", "set", "box1", "master", "box0", "up"]);
        ip(&["-n", &outer.namespace, "link", "set", "box0", "up"]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
        for (near, far) in [("172.30.0.1/24", "172.30.0.2/24"), ("fd30::1/64", "fd30::2/64")] {
            ip(&["-n", &outer.namespace, "addr", "add", near, "dev", "box0", "nodad"]);
            ip(&["-n", &namespace, "addr", "add", far, "dev", "eth0", "nodad"]);
            let gateway = near.split('/').next().unwrap();
            ip(&["-n", &namespace, "route", "add", "default", "via", gateway]);
        }
        outer.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]).ok();
        let dir = self.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let (v4, v6) = ("172.30.0.2".to_owned(), "fd30::2".to_owned());
        let host = Host { name: name.to_owned(), namespace, v4, v6, port: "box1".to_owned(), dir };
        self.hosts.insert(name.to_owned(), host.clone());
        host
    }

    #[track_caller]
    pub fn host(&self, name: &str) -> Host {
        self.hosts.get(name).unwrap_or_else(|| panic!("no host {name}")).clone()
    }
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// The namespace of the underlay itself.
    pub fn net(&self) -> String {
        format!("{}-net", self.tag)
    }
    /// Every link of the underlay carries packets of `mtu` bytes.
    pub fn set_mtu(&self, mtu: u16) {
        let mtu = mtu.to_string();
        for host in self.hosts.values() {
            ip(&["-n", &self.net(), "link", "set", &host.port, "mtu", &mtu]);
            ip(&["-n", &host.namespace, "link", "set", "up0", "mtu", &mtu]);
        }
        ip(&["-n", &self.net(), "link", "set", "br0", "mtu", &mtu]);
    }
    /// Puts `inner` behind `router` on a link of its own that carries packets of `mtu` bytes; `inner` gets other addresses.
    pub fn move_behind(&mut self, inner: &str, router: &str, mtu: u16, underlay: Underlay) {
        let (moved, router) = (self.host(inner), self.host(router));
        ip(&["-n", &self.net(), "link", "set", &moved.port, "netns", &router.namespace]);
        for (host, link) in [(&router, moved.port.as_str()), (&moved, "up0")] {
            ip(&["-n", &host.namespace, "addr", "flush", "dev", link, "scope", "global"]);
            ip(&["-n", &host.namespace, "link", "set", link, "up", "mtu", &mtu.to_string()]);
        }
        router.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]).ok();
        let others: Vec<_> =
            self.hosts.values().filter(|h| h.name != moved.name && h.name != router.name).collect();
        let v4 = ("10.92.0.1/24", "10.92.0.2/24", "10.92.0.0/24", "0.0.0.0/0", &router.v4);
        let v6 = ("fd92::1/64", "fd92::2/64", "fd92::/64", "::/0", &router.v6);
        let spoken =
            [(v4, Underlay::V6), (v6, Underlay::V4)].into_iter().filter(|(_, other)| *other != underlay);
        for ((near, far, net, all, via), _) in spoken {
            ip(&["-n", &router.namespace, "addr", "add", near, "dev", &moved.port, "nodad"]);
            ip(&["-n", &moved.namespace, "addr", "add", far, "dev", "up0", "nodad"]);
            let gateway = near.split('/').next().unwrap();
            ip(&["-n", &moved.namespace, "route", "add", all, "via", gateway]);
            others.iter().for_each(|host| ip(&["-n", &host.namespace, "route", "add", net, "via", via]));
        }
        if let Some(host) = self.hosts.get_mut(inner) {
            (host.v4, host.v6) = ("10.92.0.2".to_owned(), "fd92::2".to_owned());
        }
    }
    /// Puts `inner` behind `router`, with the address `far` of a /24; nobody else has a route to it. What the router does with
    /// its packets is another question.
    pub fn hide_behind(&mut self, inner: &str, router: &str, far: &str) -> Host {
        let (moved, router) = (self.host(inner), self.host(router));
        let near = format!("{}.1", far.rsplit_once('.').expect("an IPv4 address").0);
        ip(&["-n", &self.net(), "link", "set", &moved.port, "netns", &router.namespace]);
        for (host, link, address) in [(&router, moved.port.as_str(), near.as_str()), (&moved, "up0", far)] {
            ip(&["-n", &host.namespace, "addr", "flush", "dev", link, "scope", "global"]);
            ip(&["-n", &host.namespace, "link", "set", link, "up"]);
            ip(&["-n", &host.namespace, "addr", "add", &format!("{address}/24"), "dev", link]);
        }
        ip(&["-n", &moved.namespace, "route", "add", "default", "via", &near]);
        router.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]).ok();
        let host = Host { v4: far.to_owned(), ..moved };
        self.hosts.insert(inner.to_owned(), host.clone());
        host
    }
    /// Gives `inner`, which is behind `router`, an IPv6 address of the /64 `net` that `far` alone has a route to.
    pub fn route_v6(&mut self, inner: &Host, router: &Host, far: &str, net: &str) {
        let (near, address, far) = (format!("{net}::1"), format!("{net}::2"), self.host(far));
        ip(&["-n", &router.namespace, "addr", "add", &format!("{near}/64"), "dev", &inner.port, "nodad"]);
        ip(&["-n", &inner.namespace, "addr", "add", &format!("{address}/64"), "dev", "up0", "nodad"]);
        ip(&["-n", &inner.namespace, "route", "add", "default", "via", &near]);
        ip(&["-n", &far.namespace, "route", "add", &format!("{net}::/64"), "via", &router.v6]);
        router.run(&["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]).ok();
        self.hosts.insert(inner.name.clone(), Host { v6: address, ..inner.clone() });
    }

    /// Puts several hosts on one LAN, the bridge `lan0` of `router`, each with its address of 192.168.1.0/24.
    pub fn share_lan(&mut self, inners: &[(&str, &str)], router: &str) -> Vec<Host> {
        let out = self.host(router).namespace;
        let hosts: Vec<Host> =
            inners.iter().map(|(inner, address)| self.hide_behind(inner, router, address)).collect();
        ip(&["-n", &out, "link", "add", "lan0", "type", "bridge", "mcast_snooping", "0"]);
        // Where the module is loaded, a bridge would translate addresses itself, and past the router. There it has no such file.
        run(Some(&out), &["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"], &[]);
        for host in &hosts {
            ip(&["-n", &out, "addr", "flush", "dev", &host.port, "scope", "global"]);
            ip(&["-n", &out, "link", "set", &host.port, "master", "lan0", "up"]);
        }
        ip(&["-n", &out, "link", "set", "lan0", "up"]);
        ip(&["-n", &out, "addr", "add", "192.168.1.1/24", "dev", "lan0"]);
        hosts
    }
    /// Lets the hosts of that LAN talk to each other, or to the router alone, as many an access point does.
    pub fn isolate(&self, inner: &Host, router: &Host, isolated: bool) {
        let isolated = if isolated { "on" } else { "off" };
        let port = ["link", "set", "dev", &inner.port, "type", "bridge_slave", "isolated", isolated];
        ip(&[&["-n", &router.namespace][..], &port].concat());
    }
    /// Gives `name` a public address of 11.91.0.0/16 on the underlay in place of its own (there is no internet here), for programs that
    /// do nothing where they see a private one.
    pub fn make_public(&mut self, name: &str) -> Host {
        let host = self.host(name);
        let v4 = host.v4.replacen("10.", "11.", 1);
        ip(&["-n", &host.namespace, "addr", "flush", "dev", "up0", "scope", "global"]);
        ip(&["-n", &host.namespace, "addr", "add", &format!("{v4}/16"), "dev", "up0"]);
        ip(&["-n", &host.namespace, "route", "add", "10.91.0.0/16", "dev", "up0"]);
        for other in self.hosts.values().filter(|other| other.name != name) {
            // Who is behind somebody has a default route.
            other.run(&["ip", "route", "add", "11.91.0.0/16", "dev", "up0"]);
        }
        let host = Host { v4, ..host };
        self.hosts.insert(name.to_owned(), host.clone());
        host
    }
    /// Makes `inner` a container of `outer`: behind a bridge of that host, which forwards and hides it.
    pub fn move_into_bridge(&self, inner: &Host, outer: &Host, bridge: &str) {
        let (out, port) = (outer.namespace.as_str(), inner.port.as_str());
        ip(&["-n", &self.net(), "link", "set", port, "netns", out]);
        ip(&["-n", out, "link", "add", bridge, "type", "bridge"]);
        ip(&["-n", out, "addr", "add", "172.30.0.1/24", "dev", bridge]);
        ip(&["-n", out, "link", "set", bridge, "up"]);
        ip(&["-n", out, "link", "set", port, "master", bridge, "up"]);
        ip(&["-n", &inner.namespace, "addr", "flush", "dev", "up0", "scope", "global"]);
        ip(&["-n", &inner.namespace, "addr", "add", "172.30.0.2/24", "dev", "up0"]);
        ip(&["-n", &inner.namespace, "route", "add", "default", "via", "172.30.0.1"]);
        outer.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]).ok();
        let hide = "add table ip hide; add chain ip hide out { type nat hook postrouting priority 100 ; }; \
             add rule ip hide out oifname up0 masquerade";
        outer.run(&["nft", hide]).ok();
    }
    /// Cuts a host off, and joins it again.
    pub fn unplug(&self, name: &str) {
        ip(&["-n", &self.host(name).namespace, "link", "set", "up0", "down"]);
    }
    pub fn plug(&self, name: &str) {
        ip(&["-n", &self.host(name).namespace, "link", "set", "up0", "up"]);
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        let names = self.hosts.values().map(|h| h.namespace.clone()).chain([self.net()]);
        names.collect::<Vec<_>>().iter().for_each(|namespace| remove(namespace));
        if std::thread::panicking() {
            eprintln!("--- what the hosts of {} logged", self.tag);
            show_logs(self.dir.path());
        }
    }
}

/// What is killed is gone a moment later: until then it may still make files, in a directory that is about to go.
const GONE: Duration = Duration::from_secs(5);

fn remove(namespace: &str) {
    let begun = Instant::now();
    loop {
        let pids = run(None, &["ip", "netns", "pids", namespace], &[]).stdout;
        for pid in pids.split_whitespace() {
            run(None, &["kill", "-9", pid], &[]);
        }
        // Not insisted on: this also runs while a test fails.
        if pids.trim().is_empty() || begun.elapsed() > GONE {
            break;
        }
    }
    run(None, &["ip", "netns", "del", namespace], &[]);
    let _ = std::fs::remove_dir_all(format!("/etc/netns/{namespace}"));
}

/// After a failure: the end of every log, because the directory goes away.
fn show_logs(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            show_logs(&path);
        } else if path.extension().is_some_and(|e| e == "log") {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- {}", path.display());
            lines.iter().skip(lines.len().saturating_sub(40)).for_each(|l| eprintln!("{l}"));
        }
    }
}

impl Host {
    pub fn run(&self, args: &[&str]) -> Finished {
        run(Some(&self.namespace), args, &[])
    }
    pub fn daemon(&self, name: &str, args: &[&str]) -> Daemon {
        Daemon::start(Some(&self.namespace), args, &[], &self.dir.join(format!("{name}.log")))
    }
    pub fn path(&self, file: &str) -> String {
        self.dir.join(file).to_string_lossy().into_owned()
    }
    /// Makes programs on this host resolve names at `server` (as `ip netns exec` mounts it).
    pub fn resolve_at(&self, server: &str) {
        let dir = format!("/etc/netns/{}", self.namespace);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(format!("{dir}/resolv.conf"), format!("nameserver {server}\n")).unwrap();
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    run(None, &[&["ip"], args].concat(), &[]).ok();
}
