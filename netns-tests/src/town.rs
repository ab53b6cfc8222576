//! The demo's town: a coordinator, web-1, orders-1 and db-1, and the policies that are tried on it.

use crate::street::{Street, Underlay};
use crate::warren::{Coordinator, Node};

/// Web may open orders, orders may open db, everyone may ping.
pub const BEFORE: &str = r#"
version = 1

[group.platform]
members = ["alice@example.com"]

[tag.web]
owners = ["group:platform"]
[tag.orders]
owners = ["group:platform"]
[tag.db]
owners = ["group:platform"]

[service.orders]
on = ["tag:orders"]
listen = ["tcp/8080", "udp/8081"]
[service.db]
on = ["tag:db"]
listen = ["tcp/5432"]
[service.ping]
on = ["all-nodes"]
listen = ["icmp/echo"]

[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders"]
[[grant]]
id = "orders-reads-db"
from = ["tag:orders"]
to = ["service:db"]
[[grant]]
id = "everyone-pings"
from = ["all-nodes"]
to = ["service:ping"]

[dns]
zone = "test.internal"
"#;

/// The same with web's grant moved from orders to db.
pub fn after() -> String {
    BEFORE.replace("web-reads-orders", "web-reads-db").replace(
        "from = [\"tag:web\"]\nto = [\"service:orders\"]",
        "from = [\"tag:web\"]\nto = [\"service:db\"]",
    )
}

#[derive(Debug)]
pub struct Town {
    pub coordinator: Coordinator,
    pub web: Node,
    pub orders: Node,
    pub db: Node,
    /// Last, so that it goes last.
    pub street: Street,
}

impl Town {
    /// Everybody enrolled, [`BEFORE`] enforced.
    pub fn new(underlay: Underlay) -> Town {
        Town::with(underlay, &[])
    }

    /// The same, with more words for `warren init`.
    pub fn with(underlay: Underlay, init: &[&str]) -> Town {
        let street = Street::new(&["coord", "web-1", "orders-1", "db-1"], underlay);
        let coordinator = Coordinator::start_with(&street, "coord", underlay, init);
        let mut web = Node::begin(&street, &coordinator, "web-1", &["web"]);
        let mut orders = Node::begin(&street, &coordinator, "orders-1", &["orders"]);
        let mut db = Node::begin(&street, &coordinator, "db-1", &["db"]);
        [&mut web, &mut orders, &mut db].into_iter().for_each(Node::wait_enrolled);
        coordinator.apply(BEFORE);
        Town { coordinator, web, orders, db, street }
    }
}
