//! Devices without an agent: Debian's `wireguard-go` and `boringtun-cli` as peers of nodes, set up from the file that
//! `warren node add-external` prints and from nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::time::Duration;

use serde_json::Value;
use warren_netns_tests::external::{Device, Stock, values};
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{Coordinator, LIMIT, Node, WIREGUARD_PORT, binary};

/// Phones may read orders; web may open the phone's camera; phones and orders may ping each other.
const POLICY: &str = r#"
version = 1
[group.platform]
members = ["alice@example.com"]
[tag.web]
owners = ["group:platform"]
[tag.orders]
owners = ["group:platform"]
[tag.phone]
owners = ["group:platform"]

[service.orders]
on = ["tag:orders"]
listen = ["tcp/8080", "udp/8081"]
[service.camera]
on = ["tag:phone"]
listen = ["tcp/8080"]
[service.ping]
on = ["tag:phone", "tag:orders"]
listen = ["icmp/echo"]

[[grant]]
id = "phones-read-orders"
from = ["tag:phone"]
to = ["service:orders"]
[[grant]]
id = "web-opens-cameras"
from = ["tag:web"]
to = ["service:camera"]
[[grant]]
id = "phones-and-orders-ping"
from = ["tag:phone", "tag:orders"]
to = ["service:ping"]
"#;

struct Town {
    phone: Device,
    file: String,
    web: Node,
    orders: Node,
    coordinator: Coordinator,
    /// Last, so that it goes last.
    _street: Street,
}

/// Everybody there; the phone has its file. With `fixed` the nodes know where it is and may begin.
fn town(stock: Stock, fixed: bool) -> Town {
    let street = Street::new(&["coord", "web-1", "orders-1", "phone"], Underlay::V4);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let mut web = Node::begin(&street, &coordinator, "web-1", &["web"]);
    let mut orders = Node::begin(&street, &coordinator, "orders-1", &["orders"]);
    [&mut web, &mut orders].into_iter().for_each(Node::wait_enrolled);
    coordinator.apply(POLICY);
    let phone = Device::start(&street, "phone", stock);
    let endpoint = format!("{}:{WIREGUARD_PORT}", phone.host.v4);
    let mut args =
        vec!["node", "add-external", "--public-key", &phone.public, "--name", "phone", "--tag", "phone"];
    args.extend(["--endpoint", &endpoint].iter().filter(|_| fixed));
    let file = coordinator.warren(&args).ok();
    phone.install(&file);
    let town = Town { phone, file, web, orders, coordinator, _street: street };
    until("both nodes know the phone", LIMIT, || {
        [&town.web, &town.orders].iter().all(|node| knows(node, "phone"))
    });
    town
}

fn knows(node: &Node, peer: &str) -> bool {
    node.cli(&["peers"]).stdout.contains(peer)
}

impl Town {
    fn stale(&self) -> Vec<String> {
        let status = self.coordinator.json(&["status"]);
        let why =
            |file: &Value| file["why"].as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>();
        status["stale_files"].as_array().unwrap().iter().flat_map(why).collect()
    }

    fn phone_v4(&self) -> String {
        values(&self.file, "Address")[0].split('/').next().unwrap().to_owned()
    }

    fn fetch(&self, address: &str, port: u16) -> bool {
        let url = format!("http://{address}:{port}/");
        self.phone.host.run(&["curl", "-sS", "--globoff", "--max-time", "3", &url]).status.success()
    }
}

/// Every answer, or the test fails; the first one may wait for a handshake.
#[track_caller]
fn ping_without_a_loss(from: &warren_netns_tests::street::Host, to: &str, seconds: u64) {
    until("the first ping is answered", LIMIT, || {
        from.run(&["ping", "-c", "1", "-W", "2", to]).status.success()
    });
    let count = (seconds * 5).to_string();
    let script = format!("exec ping -q -i 0.2 -c {count} -W 5 {to}");
    // Longer than a command may take here: in pieces of less than a minute.
    let log = from.daemon(&format!("ping-{to}"), &["bash", "-c", &script]);
    let done = eventually("the pings are over", Duration::from_secs(seconds + 60), || {
        Some(log.output()).filter(|text| text.contains("packets transmitted"))
    });
    let summary = done.lines().find(|line| line.contains("packets transmitted")).unwrap().to_owned();
    println!("{} -> {to}: {summary}", from.name);
    assert!(summary.contains(&format!("{count} packets transmitted, {count} received")), "{summary}");
}

fn rekey_seconds() -> u64 {
    std::env::var("WARREN_REKEY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[track_caller]
fn the_same_policy_holds(town: &Town) {
    let (phone, _servers) = (
        &town.phone,
        [town.web.serve_http(8080), town.orders.serve_http(8080), town.orders.serve_http(9090)],
    );
    let _camera = {
        let www = phone.host.path("www");
        std::fs::create_dir_all(&www).unwrap();
        phone
            .host
            .daemon("camera", &["python3", "-m", "http.server", "8080", "--bind", "::", "--directory", &www])
    };
    until("orders answers the phone", LIMIT, || town.fetch(&town.orders.v4(), 8080));
    assert!(town.fetch(&format!("[{}]", town.orders.v6()), 8080), "over IPv6 as well");
    assert!(!town.fetch(&town.orders.v4(), 9090), "no grant for this port");
    assert!(!town.fetch(&town.web.v4(), 8080), "web may open the phone, not the other way round");
    let camera = format!("http://{}:8080/", town.phone_v4());
    until("the camera answers web", LIMIT, || town.web.curl(&camera).status.success());
    let refused = town.orders.curl(&camera);
    assert_eq!(refused.code(), 7, "refused at once, at the node itself: {}", refused.text());
}

#[test]
fn a_stock_peer_that_begins_keeps_to_the_same_policy() {
    for stock in Stock::ALL {
        let town = town(stock, false);
        assert_eq!(values(&town.file, "PersistentKeepalive").len(), 2, "it keeps its NAT open");
        the_same_policy_holds(&town);
        println!("{stock:?} as initiator: held");
    }
}

#[test]
fn a_stock_peer_that_is_begun_with_keeps_to_the_same_policy() {
    for stock in Stock::ALL {
        let town = town(stock, true);
        assert_eq!(values(&town.file, "ListenPort"), [WIREGUARD_PORT.to_string()]);
        assert_eq!(values(&town.file, "PersistentKeepalive"), Vec::<String>::new());
        // Silent until a node speaks.
        let key = values(&town.file, "PublicKey");
        assert!(key.iter().all(|key| town.phone.handshake(key) == 0));
        until("the node begins", LIMIT, || {
            town.orders.host.run(&["ping", "-c", "1", "-W", "2", &town.phone_v4()]).status.success()
        });
        the_same_policy_holds(&town);
        println!("{stock:?} as responder: held");
    }
}

/// `WARREN_REKEY_SECONDS=300` sees two rekeys each way (`scripts/attack`).
#[test]
fn rekeys_with_a_stock_peer_lose_no_ping_whoever_begins() {
    let seconds = rekey_seconds();
    let ways = Stock::ALL.into_iter().flat_map(|stock| [(stock, false), (stock, true)]);
    let runs = ways.map(|(stock, fixed)| {
        std::thread::spawn(move || {
            let town = town(stock, fixed);
            let (phone, orders) = (town.phone.host.clone(), town.orders.host.clone());
            let (to_phone, to_orders) = (town.phone_v4(), town.orders.v4());
            let other = std::thread::spawn(move || ping_without_a_loss(&orders, &to_phone, seconds));
            ping_without_a_loss(&phone, &to_orders, seconds);
            other.join().unwrap();
            println!("{stock:?}, nodes may begin: {fixed}: {seconds} s both ways without a loss");
        })
    });
    // All begin before one is waited for.
    let runs: Vec<_> = runs.collect();
    runs.into_iter().for_each(|run| run.join().unwrap());
}

#[test]
fn what_a_device_sealed_is_delivered_once_however_often_and_however_bent_it_comes() {
    let town = town(Stock::WireguardGo, false);
    let echo = "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('0.0.0.0',8081))\n\
                while True:\n d,a=s.recvfrom(2000)\n s.sendto(d,a)";
    let _echo = town.orders.host.daemon("echo", &["python3", "-c", echo]);
    let listens = || town.orders.host.run(&["ss", "-Hlun", "sport = :8081"]).stdout.contains("UNCONN");
    until("the echo service listens", LIMIT, listens);
    // The attacker has the device's key, and is where it was.
    let key = town.file.split("# orders-1").nth(1).map(|part| values(part, "PublicKey")[0].clone()).unwrap();
    let target = format!("{}:{WIREGUARD_PORT}", town.orders.host.v4);
    let (me, to) = (town.phone_v4(), town.orders.v4());
    let private = town.phone.private().to_owned();
    town.phone.host.run(&["ip", "link", "set", &town.phone.interface, "down"]).ok();
    let words = [
        "--target",
        &target,
        "--private",
        &private,
        "--key",
        &key,
        "--me",
        &me,
        "--to",
        &to,
        "--open",
        "8081",
    ];
    let attack = town.phone.host.run(&[&[binary("attack-replay").as_str()][..], &words].concat());
    println!("{}", attack.text());
    assert!(attack.text().contains("verdict: held"), "{}", attack.text());
}

/// WireGuard keys change when a host's clock goes back. A device cannot be told: the key in its file goes on.
#[test]
fn a_node_keeps_the_key_that_a_file_names_until_a_new_file_is_issued() {
    let mut town = town(Stock::WireguardGo, false);
    let _server = town.orders.serve_http(8080);
    until("orders answers the phone", LIMIT, || town.fetch(&town.orders.v4(), 8080));
    assert_eq!(town.stale(), Vec::<String>::new());
    let keys = |town: &Town| std::fs::read_to_string(town.orders.host.dir.join("node/wg.keys")).unwrap();
    assert!(!keys(&town).contains("kept "));
    town.orders.stop();
    town.orders.set_clock(-7200);
    town.orders.start();
    town.orders.wait_enrolled();
    assert!(town.orders.log().contains("new WireGuard keys"), "the clock went back");
    until("the coordinator has the new keys", LIMIT, || !town.stale().is_empty());
    assert!(town.stale()[0].contains("orders-1 has new WireGuard keys"), "{:?}", town.stale());
    assert_eq!(keys(&town).matches("kept ").count(), 1);
    until("the old file goes on", LIMIT, || town.fetch(&town.orders.v4(), 8080));
    let shown = town.coordinator.warren(&["status"]).ok();
    assert!(shown.contains("file       that of external device phone is stale"), "{shown}");
    // Over another restart as well.
    town.orders.restart();
    town.orders.wait_enrolled();
    until("the old file still goes on", LIMIT, || town.fetch(&town.orders.v4(), 8080));
    let file = town.coordinator.warren(&["node", "external-file", "phone"]).ok();
    assert_eq!(town.stale(), Vec::<String>::new());
    assert_ne!(values(&file, "PublicKey"), values(&town.file, "PublicKey"));
    until("the old key is forgotten", LIMIT, || !keys(&town).contains("kept "));
    town.phone.install(&file);
    until("the new file works", LIMIT, || town.fetch(&town.orders.v4(), 8080));
}

#[test]
fn a_revoked_device_is_cut_off_at_once() {
    let town = town(Stock::Boringtun, false);
    let _server = town.orders.serve_http(8080);
    until("orders answers the phone", LIMIT, || town.fetch(&town.orders.v4(), 8080));
    town.coordinator.warren(&["node", "revoke", "phone", "--why", "lost"]).ok();
    until("the nodes forget it", Duration::from_secs(2), || {
        [&town.web, &town.orders].iter().all(|node| !knows(node, "phone"))
    });
    assert!(!town.fetch(&town.orders.v4(), 8080));
    let listed = town.coordinator.warren(&["node", "list"]).ok();
    assert!(!listed.contains("phone"), "{listed}");
}

/// What an administrator sees of it.
#[test]
fn a_file_tells_whose_it_is_and_holds_no_secret() {
    let town = town(Stock::WireguardGo, false);
    println!("{}", town.file);
    for word in
        ["# phone (", "[Interface]", "# orders-1", "# web-1", "PostUp = wg set %i private-key", "/128"]
    {
        assert!(town.file.contains(word), "`{word}` is missing");
    }
    assert_eq!(values(&town.file, "Endpoint").len(), 2);
    let shown = town.coordinator.warren(&["node", "show", "phone"]).ok();
    assert!(shown.contains("by the authority") && shown.contains("2 peer(s)"), "{shown}");
    let listed = town.coordinator.warren(&["node", "list"]).ok();
    assert!(listed.lines().any(|line| line.contains("phone") && line.contains("external")), "{listed}");
}
