//! Two nodes that may call each other, each with a web server that has the same large file.

use crate::process::Daemon;
use crate::street::{Street, Underlay};
use crate::warren::{Coordinator, Node};

const POLICY: &str = r#"
version = 1
[group.platform]
members = ["alice@example.com"]
[tag.node]
owners = ["group:platform"]
[service.any]
on = ["tag:node"]
listen = ["tcp/8080", "udp/8081", "icmp/echo"]
[[grant]]
id = "anyone"
from = ["tag:node"]
to = ["service:any"]
"#;
/// Enough for many windows of 64 KiB.
const BULK: u32 = 6_000_000;

#[derive(Debug)]
pub struct Pair {
    pub a: Node,
    pub b: Node,
    pub servers: [Daemon; 2],
    pub coordinator: Coordinator,
    /// Last, so that it goes last.
    pub street: Street,
}

/// What the large file holds.
pub fn bulk() -> Vec<u8> {
    (0..BULK).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

impl Pair {
    /// The street has hosts `a`, `b` and `coord`.
    pub fn new(street: Street, underlay: Underlay) -> Pair {
        let coordinator = Coordinator::start(&street, "coord", underlay);
        let mut a = Node::begin(&street, &coordinator, "a", &["node"]);
        let mut b = Node::begin(&street, &coordinator, "b", &["node"]);
        [&mut a, &mut b].into_iter().for_each(Node::wait_enrolled);
        coordinator.apply(POLICY);
        let servers = [&a, &b].map(|node| {
            std::fs::create_dir_all(node.host.path("www")).unwrap();
            std::fs::write(node.host.path("www/bulk"), bulk()).unwrap();
            node.serve_http(8080)
        });
        Pair { a, b, servers, coordinator, street }
    }

    pub fn on(underlay: Underlay) -> Pair {
        Pair::new(Street::new(&["a", "b", "coord"], underlay), underlay)
    }

    /// Receiver and sender, both ways round.
    pub fn ends(&self) -> [(&Node, &Node); 2] {
        [(&self.a, &self.b), (&self.b, &self.a)]
    }

    /// Both directions, both families inside: every byte arrives.
    #[track_caller]
    pub fn assert_bulk_completes(&self, what: &str) {
        let want = bulk();
        for (to, from) in self.ends() {
            for address in [from.v4(), format!("[{}]", from.v6())] {
                let (got, url) = (to.host.path("got"), format!("http://{address}:8080/bulk"));
                let done = to.host.run(&["curl", "-sS", "--globoff", "--max-time", "15", "-o", &got, &url]);
                let at = format!("{what}, {} from {address}", to.host.name);
                assert!(done.status.success(), "{at}: {}", done.text());
                assert!(std::fs::read(&got).unwrap() == want, "{at}: other bytes");
            }
        }
    }

    /// Sum of a counter at both ends.
    pub fn count(&self, name: &str) -> u64 {
        self.a.counter(name) + self.b.counter(name)
    }
}
