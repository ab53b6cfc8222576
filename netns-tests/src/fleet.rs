//! Many hosts behind a few NATs, all brought up by one and the same file.
//!
//! ```text
//!   n1 … n10 ─ router 1 ─┐
//!   n11 …    ─ router 2 ─┼─ br0 ─ coord, hub
//! ```
//!
//! Each host has its own UTS namespace, so that it has a name; nothing else of it is told to its agent.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::process::{Daemon, run};
use crate::street::{Host, Street, Underlay};
use crate::wait::until;
use crate::warren::{Coordinator, Node, binary};

pub const ZONE: &str = "fleet.internal";
/// Everybody may ask the hub, and everybody may ping everybody.
pub const POLICY: &str = r#"
version = 1

[group.ops]
members = ["alice@example.com"]
[tag.fleet]
owners = ["group:ops"]
[tag.hub]
owners = ["group:ops"]

[service.hub-web]
on     = ["tag:hub"]
listen = ["tcp/8080"]
[service.echo]
on     = ["tag:fleet"]
listen = ["icmp/echo"]

[[grant]]
id   = "fleet-asks-hub"
from = ["tag:fleet"]
to   = ["service:hub-web"]
[[grant]]
id   = "fleet-pings-fleet"
from = ["tag:fleet"]
to   = ["service:echo"]

[dns]
zone = "fleet.internal"
"#;

/// One host of the fleet.
#[derive(Debug)]
pub struct Member {
    pub host: Host,
    agent: Daemon,
    asks: Option<Daemon>,
}

#[derive(Debug)]
pub struct Fleet {
    pub street: Street,
    pub coordinator: Coordinator,
    pub hub: Node,
    /// By the name of its host.
    pub members: BTreeMap<String, Member>,
    _web: Daemon,
    file: String,
    routers: usize,
    links: usize,
}

impl Fleet {
    /// The coordinator, the hub and the routers; no member yet. The token is for `uses` hosts.
    pub fn new(routers: usize, uses: usize, lease: &str) -> Fleet {
        let names: Vec<String> = (0..routers).map(|router| format!("r{router}")).collect();
        let hosts: Vec<&str> = ["coord", "hub"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let street = Street::new(&hosts, Underlay::V4);
        let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        coordinator.apply(POLICY);
        let hub = Node::enrol(&street, &coordinator, "hub", &["hub"]);
        let web = hub.serve_http(8080);
        names.iter().for_each(|router| masquerade(&street.host(router)));
        let uses = uses.to_string();
        let token = coordinator.token(&["--tag", "fleet", "--uses", &uses, "--lease", lease]);
        let file = street.dir().join("node.toml").to_string_lossy().into_owned();
        std::fs::write(&file, format!("token = \"{token}\"\nhostname = true\nunattended = true\n")).unwrap();
        run(None, &["chmod", "600", &file], &[]).ok();
        Fleet { street, coordinator, hub, members: BTreeMap::new(), _web: web, file, routers, links: 0 }
    }

    /// Namespaces behind their routers, with nothing on them yet.
    pub fn plug_in(&mut self, names: &[String]) {
        for name in names {
            let (router, link) = (self.links % self.routers, self.links / self.routers);
            self.links += 1;
            self.street.add_host(name, Underlay::V4);
            let (high, low) = (link / 200 + 1, link % 200);
            self.street.hide_behind(name, &format!("r{router}"), &format!("172.{}.{low}.2", 15 + high));
        }
    }

    /// All at once, each with the one file.
    pub fn start(&mut self, names: &[String]) {
        for name in names {
            let host = self.street.host(name);
            let env = [
                ("WARREN_NODE_STATE", host.path("node")),
                ("WARREN_NODE_SOCKET", host.path("node.sock")),
                ("WARREN_NODE_RUN", host.path("run")),
            ];
            let env: Vec<_> = env.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let script = "hostname \"$0\" && exec \"$@\"";
            let words = ["unshare", "--uts", "sh", "-c", script, name, &binary("warren-node")];
            let up = ["up", "--config", &self.file, "--dns-host", "off"];
            let log = host.dir.join("node.log");
            let agent = Daemon::start(Some(&host.namespace), &[&words[..], &up].concat(), &env, &log);
            self.members.insert(name.clone(), Member { host, agent, asks: None });
        }
    }

    /// Lets each of these hosts ask its neighbour (by the name it has) and the hub.
    pub fn ask(&mut self, pairs: &[(String, String)]) {
        for (name, neighbour) in pairs {
            let Some(member) = self.members.get_mut(name) else { panic!("no member {name}") };
            let (to, hub) = (format!("{neighbour}.{ZONE}"), format!("hub-web.{ZONE}"));
            let done = member.host.path("done");
            let _ = std::fs::remove_file(&done);
            member.asks =
                Some(member.host.daemon("asks", &[&binary("flows-reach"), &to, &hub, "8080", &done]));
        }
    }

    /// When each of them had reached what it may, seconds since 1970; the last of them.
    pub fn all_have_reached(&self, names: &[String], limit: Duration) -> f64 {
        let missing = || names.iter().filter(|name| self.done(name).is_none()).collect::<Vec<_>>();
        let begun = std::time::Instant::now();
        while !missing().is_empty() {
            assert!(
                begun.elapsed() < limit,
                "within {limit:?} these have not reached what they may: {:?}; known: {:?}\n{}",
                missing(),
                self.known(),
                missing().iter().map(|name| self.account_of(name)).collect::<String>()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        names.iter().filter_map(|name| self.done(name)).fold(0.0, f64::max)
    }

    /// What a host that is late says of itself.
    fn account_of(&self, name: &str) -> String {
        let host = &self.members[name].host;
        let said = |words: &str| {
            let line = format!("{} --socket {} {words}", binary("warren-node"), host.path("node.sock"));
            host.run(&["sh", "-c", &format!("{line} 2>&1 | head -40")]).stdout
        };
        let asks = self.members[name].asks.as_ref().map_or_else(String::new, Daemon::output);
        let tail: Vec<&str> = asks.lines().rev().take(6).collect();
        let parts = ["status", "flows", "counters"].map(|part| format!("-- {part}\n{}", said(part)));
        format!("==== {name}\n{}\n-- asks, last line first\n{}\n", parts.concat(), tail.join("\n"))
    }

    fn done(&self, name: &str) -> Option<f64> {
        let member = self.members.get(name)?;
        std::fs::read_to_string(member.host.dir.join("done")).ok()?.trim().parse().ok()
    }

    /// The agent dies where it stands, and its machine is gone.
    pub fn destroy(&mut self, name: &str) {
        let member = self.members.remove(name).unwrap_or_else(|| panic!("no member {name}"));
        drop(member.asks);
        member.agent.kill_9();
        self.street.remove_host(name);
    }

    /// Names of the nodes that the coordinator knows.
    pub fn known(&self) -> Vec<String> {
        let nodes = self.coordinator.json(&["node", "list"]);
        let names = nodes
            .as_array()
            .into_iter()
            .flatten()
            .map(|node| node["name"].as_str().unwrap_or_default().to_owned());
        names.collect()
    }

    /// The overlay address that a member's own node answers for a name.
    pub fn resolve(&self, at: &str, name: &str) -> Option<String> {
        let own = self.members[at].host.run(&[
            "sh",
            "-c",
            "ip -4 -o addr show dev warren0 | awk '{print $4}' | cut -d/ -f1",
        ]);
        let server = format!("@{}", own.stdout.trim());
        let found =
            self.members[at].host.run(&["dig", "+short", "+time=2", &server, &format!("{name}.{ZONE}"), "A"]);
        found.stdout.lines().next().map(str::to_owned).filter(|line| !line.is_empty())
    }

    pub fn wait_known(&self, what: &str, limit: Duration, right: impl Fn(&[String]) -> bool) {
        until(what, limit, || right(&self.known()));
    }
}

/// As a home router: what is asked from inside comes back, and nothing else.
fn masquerade(router: &Host) {
    let rules = "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100 ; }; \
         add chain ip nat here { type filter hook input priority 0 ; }; \
         add rule ip nat here iifname up0 ct state new drop; add rule ip nat out oifname up0 masquerade";
    router.run(&["nft", rules]).ok();
}
