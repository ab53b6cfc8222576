//! Two nodes behind NATs that a grant joins or does not join.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crate::nat::{Home, Lan, Nat};
use crate::street::{Street, Underlay};
use crate::town::BEFORE;
use crate::wait::until;
use crate::warren::{Coordinator, LIMIT, Node};

/// The same policy with nobody joined to anybody.
fn nobody() -> String {
    let end = BEFORE.find("[[grant]]").unwrap();
    let dns = BEFORE.find("[dns]").unwrap();
    format!("{}{}", &BEFORE[..end], &BEFORE[dns..])
}

const FIREWALL: &str = "table inet home { chain in { type filter hook input priority 0 ; policy drop ; \
    ct state established,related accept ; iifname != up0 accept ; meta l4proto icmpv6 accept ; } ; }";

/// A web node and an orders node that the coordinator tells of each other, wherever they are.
#[derive(Debug)]
pub struct Meeting {
    pub coordinator: Coordinator,
    pub web: Node,
    pub orders: Node,
    /// Last, so that it goes last.
    pub street: Street,
}

impl Meeting {
    fn new(street: Street, underlay: Underlay) -> Meeting {
        let coordinator = Coordinator::start(&street, "coord", underlay);
        let web = Node::enrol(&street, &coordinator, "web-1", &["web"]);
        let orders = Node::enrol(&street, &coordinator, "orders-1", &["orders"]);
        Meeting { coordinator, web, orders, street }
    }

    /// Without any NAT; each host has a firewall that lets in what answers and nothing else, and forgets after 25 s without a word.
    pub fn behind_firewalls(underlay: Underlay) -> Meeting {
        let street = Street::new(&["coord", "web-1", "orders-1"], underlay);
        for name in ["web-1", "orders-1"] {
            let host = street.host(name);
            let short = [
                "net.netfilter.nf_conntrack_udp_timeout=25",
                "net.netfilter.nf_conntrack_udp_timeout_stream=25",
            ];
            host.run(&["nft", FIREWALL]).ok();
            host.run(&[&["sysctl", "-qw"][..], &short].concat()).ok();
        }
        Meeting::new(street, underlay)
    }

    /// Nobody has said a word to the other, and both agents are stopped.
    pub fn part(&mut self) {
        self.coordinator.apply(&nobody());
        self.web.stop();
        self.orders.stop();
    }

    /// New agents.
    pub fn come_back(&mut self) {
        self.web.start();
        self.orders.start();
        self.web.wait_enrolled();
        self.orders.wait_enrolled();
    }

    pub fn wait_mapped(&self) {
        for node in [&self.web, &self.orders] {
            let mapped = || node.status().is_some_and(|s| s["mapped"].is_string());
            until("the node knows where it is seen", LIMIT, mapped);
        }
    }

    /// From the grant that joins them to the first answer; `None`: not within the limit.
    pub fn first_answer(&self, limit: Duration) -> Option<Duration> {
        let to = self.orders.v4();
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if self.web.host.run(&["ping", "-c", "1", "-W", "1", &to]).status.success() {
                return Some(begun.elapsed());
            }
        }
        None
    }

    /// Live flows are what a path is looked after for.
    pub fn say_something(&self) {
        self.web.host.run(&["ping", "-c", "1", "-W", "1", &self.orders.v4()]);
    }

    pub fn path(&self, node: &Node, peer: &str) -> serde_json::Value {
        node.cli(&["--json", "path", peer]).json()
    }

    /// The place that web-1 sends to.
    pub fn used(&self) -> String {
        self.path(&self.web, "orders-1")["endpoint"].as_str().unwrap_or_default().to_owned()
    }
}

/// One at home and one in an office, each behind a NAT, with the same inner addresses.
#[derive(Debug)]
pub struct Neighbours {
    meeting: Meeting,
    pub home: Home,
    pub office: Home,
    /// Before the home router.
    pub carrier: Option<Home>,
}

impl Deref for Neighbours {
    type Target = Meeting;
    fn deref(&self) -> &Meeting {
        &self.meeting
    }
}

impl DerefMut for Neighbours {
    fn deref_mut(&mut self) -> &mut Meeting {
        &mut self.meeting
    }
}

const HOSTS: [&str; 5] = ["coord", "gate-a", "gate-b", "web-1", "orders-1"];

impl Neighbours {
    pub fn new(home: Nat, office: Nat) -> Neighbours {
        let mut street = Street::new(&HOSTS, Underlay::V4);
        let home = Home::new(&mut street, "web-1", "gate-a", home);
        let office = Home::new(&mut street, "orders-1", "gate-b", office);
        Neighbours { meeting: Meeting::new(street, Underlay::V4), home, office, carrier: None }
    }

    /// The home router has no address of the street: it is behind a carrier's NAT.
    pub fn carried(carrier: Nat, home: Nat, office: Nat) -> Neighbours {
        let mut street = Street::new(&[&HOSTS[..], &["carrier"]].concat(), Underlay::V4);
        let carrier = Home::carrier(&mut street, "gate-a", "carrier", carrier);
        let home = Home::new(&mut street, "web-1", "gate-a", home);
        let office = Home::new(&mut street, "orders-1", "gate-b", office);
        Neighbours { meeting: Meeting::new(street, Underlay::V4), home, office, carrier: Some(carrier) }
    }

    /// As [`Neighbours::new`]; the home router has a public address, as a router that maps ports must.
    pub fn with_public_home(home: Nat, office: Nat) -> Neighbours {
        let mut street = Street::new(&HOSTS, Underlay::V4);
        street.make_public("gate-a");
        let home = Home::new(&mut street, "web-1", "gate-a", home);
        let office = Home::new(&mut street, "orders-1", "gate-b", office);
        Neighbours { meeting: Meeting::new(street, Underlay::V4), home, office, carrier: None }
    }

    /// Other NATs, new agents, and nobody has said a word to the other.
    pub fn become_kinds(&mut self, home: Nat, office: Nat) {
        self.meeting.part();
        self.home.become_kind(home);
        self.office.become_kind(office);
        self.meeting.come_back();
    }

    /// The same with another carrier.
    pub fn become_carried(&mut self, carrier: Nat, office: Nat) {
        self.meeting.part();
        self.office.become_kind(office);
        self.carrier.iter().for_each(|before| before.become_kind(carrier));
        self.home.forget();
        self.meeting.come_back();
    }
}

/// Both on one LAN behind one router.
#[derive(Debug)]
pub struct Roommates {
    pub meeting: Meeting,
    pub lan: Lan,
}

impl Roommates {
    pub fn new() -> Roommates {
        let mut street = Street::new(&["coord", "gate-a", "web-1", "orders-1"], Underlay::V4);
        let lan = Lan::new(&mut street, ["web-1", "orders-1"], "gate-a");
        Roommates { meeting: Meeting::new(street, Underlay::V4), lan }
    }

    pub fn become_kind(&mut self, hairpin: bool, isolated: bool) {
        self.meeting.part();
        self.lan.become_kind(&self.meeting.street, hairpin, isolated);
        self.meeting.come_back();
    }
}

impl Default for Roommates {
    fn default() -> Roommates {
        Roommates::new()
    }
}
