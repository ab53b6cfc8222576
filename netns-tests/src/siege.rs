//! A town under attack: somebody talks to the target all the while, and what that costs him is counted.

use std::time::Duration;

use crate::measure::{Pings, Returned, echo_service, memory_kib};
use crate::process::Daemon;
use crate::street::{Host, Underlay};
use crate::town::Town;
use crate::wait::{eventually, until};
use crate::warren::{LIMIT, Node, WIREGUARD_PORT, binary};

/// Orders is attacked. Web-2 is its friend, and keeps talking to it. The attacker has no key; web-1's key is stolen where
/// an attack needs one.
#[derive(Debug)]
pub struct Siege {
    pub town: Town,
    pub friend: Node,
    pub attacker: Host,
    _echo: Daemon,
}

/// What an attack did.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: String,
    pub friend: Returned,
    /// The most that the agent's memory was above where it began, and where it was in the end: KiB.
    pub grown: i64,
    pub left: i64,
}

impl Siege {
    pub fn begin() -> Siege {
        let mut town = Town::new(Underlay::V4);
        town.street.add_host("web-2", Underlay::V4);
        town.street.add_host("attacker", Underlay::V4);
        let friend = Node::enrol(&town.street, &town.coordinator, "web-2", &["web"]);
        let _echo = echo_service(&town.orders.host, 8081);
        let attacker = town.street.host("attacker");
        let siege = Siege { town, friend, attacker, _echo };
        until("the friend's tunnel is up", LIMIT, || siege.ping(&siege.friend));
        siege
    }

    pub fn target(&self) -> String {
        format!("{}:{WIREGUARD_PORT}", self.town.orders.host.v4)
    }

    /// Web-1's keys are in other hands now: what every attack from inside is told.
    pub fn stolen_peer(&mut self) -> Vec<String> {
        let (me, to) = (self.town.web.v4(), self.town.orders.v4());
        let (me6, to6) = (self.town.web.v6(), self.town.orders.v6());
        let (target, key, private) =
            (self.target(), self.town.orders.public_keys(), self.town.web.stolen_keys());
        self.town.web.kill_9();
        let families = ["--me", &me, "--to", &to, "--me6", &me6, "--to6", &to6];
        let keys = ["--target", &target, "--key", &key, "--private", &private];
        keys.into_iter().chain(families).map(String::from).collect()
    }

    /// KiB that the attacked agent holds.
    pub fn memory(&self) -> i64 {
        let pid = self.town.orders.status().unwrap()["pid"].as_u64().unwrap();
        memory_kib(pid) as i64
    }

    pub fn ping(&self, from: &Node) -> bool {
        from.host.run(&["ping", "-c", "1", "-W", "1", &self.town.orders.v4()]).status.success()
    }

    /// Runs `attack` on `host` to its verdict while the friend talks to orders, and `during` happens.
    pub fn under(&self, host: &Host, attack: &str, args: &[&str], during: impl FnOnce(&Siege)) -> Outcome {
        let pid = self.town.orders.status().unwrap()["pid"].as_u64().unwrap();
        let before = memory_kib(pid) as i64;
        let pings = Pings::start(&self.friend.host, &self.town.orders.v4(), 8081, 200);
        let program = binary(attack);
        let mut running = host.daemon(attack, &[&[program.as_str()], args].concat());
        let mut grown = 0;
        during(self);
        eventually("the attack ends", Duration::from_secs(120), || {
            grown = grown.max(memory_kib(pid) as i64 - before);
            running.finished()
        });
        let friend = pings.stop();
        let verdict = running.output().lines().last().unwrap_or_default().to_owned();
        let outcome = Outcome { verdict, friend, grown, left: memory_kib(pid) as i64 - before };
        println!(
            "{attack} {}: {outcome:?}",
            args.iter().skip(4).map(|a| shown(a)).collect::<Vec<_>>().join(" ")
        );
        outcome
    }

    /// A peer that nobody has ever spoken with, which comes from where it is expected, or (if `place` is a number) from an
    /// address that nobody has told of.
    pub fn newcomer(&mut self, name: &str, place: Option<u8>) -> Newcomer {
        self.town.street.add_host(name, Underlay::V4);
        let host = self.town.street.host(name);
        let place = place.map(|number| format!("10.94.0.{number}"));
        if let Some(place) = &place {
            self.stands_elsewhere(&host, place);
        }
        let node = Node::enrol(&self.town.street, &self.town.coordinator, name, &["db"]);
        let newcomer = Newcomer { node, place: place.unwrap_or(host.v4) };
        until("the attacked one knows the newcomer", LIMIT, || !self.seen(&newcomer.node).is_null());
        newcomer
    }

    /// What `host` sends to the attacked one comes from `place`.
    fn stands_elsewhere(&self, host: &Host, place: &str) {
        let (orders, home) = (&self.town.orders.host, &host.v4);
        orders.run(&["ip", "route", "replace", &format!("{place}/32"), "via", home]).ok();
        let table = format!(
            "table ip elsewhere {{ \
               chain out {{ type filter hook postrouting priority 0; ip daddr {} udp dport {WIREGUARD_PORT} ip saddr set {place}; }}; \
               chain in {{ type filter hook prerouting priority -300; ip daddr {place} ip daddr set {home}; }}; }}",
            orders.v4
        );
        host.run(&["nft", &table]).ok();
    }

    /// What the attacked one says of a peer; null if it is none.
    fn seen(&self, peer: &Node) -> serde_json::Value {
        let said = self.town.orders.cli(&["--json", "peers"]).json();
        let peers = said["peers"].as_array().or(said.as_array()).cloned().unwrap_or_default();
        peers.into_iter().find(|seen| seen["name"] == peer.host.name.as_str()).unwrap_or_default()
    }

    /// The flood has taken what it can take: the attacked one answers no more strangers than it wants to.
    pub fn until_flooded(&self) {
        self.until_counted(&["wg-bad-mac1", "wg-cookie-sent", "wg-rate-limited"], 1000);
    }

    /// The attacked one knows at least so many flows of the peer whose keys were stolen.
    pub fn until_it_knows(&self, flows: u64) {
        until("flows are there", LIMIT, || self.seen(&self.town.web)["flows"].as_u64() >= Some(flows));
    }

    /// The attacked one has counted so much more of these.
    pub fn until_counted(&self, kinds: &[&str], more: u64) {
        let count = || kinds.iter().map(|kind| self.town.orders.counter(kind)).sum::<u64>();
        let before = count();
        until("the flood is felt", LIMIT, || count() >= before + more);
    }

    /// Of a peer with which neither end ever had a session: within three seconds of its first packet it has one, from the
    /// place where it is.
    pub fn honest_handshake(&self, newcomer: &Newcomer) -> Duration {
        let Newcomer { node, place } = newcomer;
        let before = self.seen(node);
        assert!(before["last_handshake_seconds"].is_null() && !before.is_null(), "no session yet: {before}");
        // A relay may carry it first; what is asked here is when the flooded socket itself lets it in.
        let heard =
            || self.seen(node)["endpoint"].as_str().is_some_and(|at| at.starts_with(&format!("{place}:")));
        let took = until("an honest peer handshakes under the flood", LIMIT, || self.ping(node) && heard());
        let after = self.seen(node);
        assert!(
            took <= Duration::from_secs(3),
            "{took:?}: {after} {}",
            self.town.orders.cli(&["counters"]).text()
        );
        assert!(!after["last_handshake_seconds"].is_null(), "{after}");
        took
    }
}

/// A peer without a session, and the address that it comes from.
#[derive(Debug)]
pub struct Newcomer {
    pub node: Node,
    place: String,
}

impl Newcomer {
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// Keys are not for a log.
fn shown(arg: &str) -> &str {
    if arg.len() >= 44 && arg.ends_with('=') { "KEY" } else { arg }
}

impl Outcome {
    /// The attack is over, and the agent is hardly larger than before.
    #[track_caller]
    pub fn came_back(&self) {
        assert!(self.left <= 8 * 1024, "memory comes back: {self:?}");
    }

    #[track_caller]
    pub fn held(&self) {
        assert!(self.verdict.starts_with("verdict: held: "), "{self:?}");
        assert!(self.friend.sent >= 200, "{self:?}");
        assert!(
            self.friend.loss_percent() < 1.0,
            "established tunnels lose less than one in a hundred: {self:?}"
        );
        assert!(self.grown.max(self.left) <= 64 * 1024, "memory: {self:?}");
    }
}
