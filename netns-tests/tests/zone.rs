//! The zone as stock clients read it: who offers a service, at which ports, by which names, and that a policy changes it at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::capture::Capture;
use warren_netns_tests::process::Finished;
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::town::BEFORE;
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

/// Orders is offered by two nodes, at port 443 as well, so that it has HTTPS records.
fn policy() -> String {
    let text = BEFORE.replace(
        "listen = [\"tcp/8080\", \"udp/8081\"]",
        "listen = [\"tcp/443\", \"tcp/8080\", \"udp/8081\", \"tcp/9000-9010\"]",
    );
    assert_ne!(text, BEFORE);
    text
}

struct Shop {
    coordinator: Coordinator,
    web: Node,
    near: Node,
    far: Node,
    street: Street,
}

impl Shop {
    fn new() -> Shop {
        let street = Street::new(&["coord", "web-1", "orders-1", "orders-2"], Underlay::V4);
        let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        let mut nodes = [("web-1", "web"), ("orders-1", "orders"), ("orders-2", "orders")]
            .map(|(name, tag)| Node::begin(&street, &coordinator, name, &[tag]));
        nodes.iter_mut().for_each(Node::wait_enrolled);
        let [web, near, far] = nodes;
        coordinator.apply(&policy());
        let shop = Shop { coordinator, web, near, far, street };
        until("the service is known", LIMIT, || shop.lines(&["orders.test.internal", "A"]).len() == 2);
        shop
    }

    fn dig(&self, words: &[&str]) -> Finished {
        let at = format!("@{}", self.web.v4());
        self.web.host.run(&[&["dig", "+tries=1", "+time=3", at.as_str()], words].concat())
    }

    /// The answers, in the order they came.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let said = self.dig(&[&["+short"], words].concat()).ok();
        said.lines().map(str::to_owned).collect()
    }

    fn sorted(&self, words: &[&str]) -> Vec<String> {
        let mut lines = self.lines(words);
        lines.sort();
        lines
    }
}

#[test]
fn a_service_has_addresses_ports_and_bindings_and_its_nodes_have_names() {
    let shop = Shop::new();
    let capture = Capture::start(&shop.street, "zone");
    let (v4, v6) = ([shop.near.v4(), shop.far.v4()], [shop.near.v6(), shop.far.v6()]);
    let all = |lines: &[String; 2]| {
        let mut lines = lines.to_vec();
        lines.sort();
        lines
    };
    for by in ["+notcp", "+tcp"] {
        assert_eq!(shop.sorted(&[by, "orders.test.internal", "A"]), all(&v4));
        assert_eq!(shop.sorted(&[by, "orders.test.internal", "AAAA"]), all(&v6));
    }
    // The first place goes round among equals.
    let firsts: std::collections::BTreeSet<String> =
        (0..8).map(|_| shop.lines(&["orders.test.internal", "A"])[0].clone()).collect();
    assert_eq!(firsts.len(), 2, "{firsts:?}");
    // Ports: single ones, of each protocol by itself; a range is no port.
    let node = |number: u8| format!("orders-{number}.test.internal.");
    let srv = |port: u16| [1, 2].map(|n| format!("0 0 {port} {}", node(n))).to_vec();
    assert_eq!(shop.sorted(&["_orders._udp.test.internal", "SRV"]), srv(8081));
    assert_eq!(shop.sorted(&["_orders._tcp.test.internal", "SRV"]), [srv(443), srv(8080)].concat());
    // Bindings (RFC 9460) name the node, the port where it is not the usual one, and its addresses.
    let https = shop.sorted(&["orders.test.internal", "HTTPS"]);
    let bound = |n: usize| format!("1 {} ipv4hint={} ipv6hint={}", node(n as u8 + 1), v4[n], v6[n]);
    assert_eq!(https, [bound(0), bound(1)]);
    let svcb = shop.lines(&["orders.test.internal", "SVCB"]);
    for port in ["port=443", "port=8080"] {
        assert_eq!(svcb.iter().filter(|line| line.contains(port)).count(), 2, "{svcb:?}");
    }
    assert_eq!(svcb.len(), 4);
    // Names of nodes, and back.
    assert_eq!(shop.lines(&["orders-2.test.internal", "A"]), [shop.far.v4()]);
    for address in [shop.far.v4(), shop.far.v6()] {
        assert_eq!(shop.lines(&["-x", &address]), [node(2)]);
    }
    // The zone itself.
    assert_eq!(shop.lines(&["test.internal", "NS"]), ["web-1.test.internal."]);
    let soa = shop.lines(&["test.internal", "SOA"]);
    assert!(
        soa.len() == 1 && soa[0].starts_with("web-1.test.internal. hostmaster.test.internal. "),
        "{soa:?}"
    );
    // The name is there and this type is not; or the name is not there. Both say for how long.
    for (name, kind, status) in [
        ("orders.test.internal", "TXT", "NOERROR"),
        ("_tcp.test.internal", "SRV", "NOERROR"),
        ("_orders._tcp.test.internal", "A", "NOERROR"),
        ("absent.test.internal", "A", "NXDOMAIN"),
        ("_absent._tcp.test.internal", "SRV", "NXDOMAIN"),
        ("a.orders.test.internal", "A", "NXDOMAIN"),
    ] {
        let said = shop.dig(&[name, kind]).ok();
        assert!(said.contains(&format!("status: {status}")) && said.contains("ANSWER: 0"), "{name}: {said}");
        assert!(said.contains("AUTHORITY: 1") && said.contains("SOA"), "{name} {kind}: {said}");
    }
    // No answer lives longer than five seconds.
    let said = shop.dig(&["orders.test.internal", "A"]).ok();
    let records = said.lines().filter(|line| line.starts_with("orders.test.internal."));
    let ttls: Vec<u32> =
        records.map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
    assert!(ttls.len() == 2 && ttls.iter().all(|ttl| (1..=5).contains(ttl)), "{ttls:?}");
    // None of it was asked of anybody else.
    let seen = capture.finish();
    assert_eq!((seen.dropped, seen.clear_dns()), (0, 0));
    for name in [&b"orders"[..], b"absent", b"internal"] {
        assert_eq!(seen.containing(name), 0, "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn who_does_not_answer_is_given_last_and_comes_back() {
    let shop = Shop::new();
    let server = |node: &Node| node.serve_http(8080);
    let (_near, _far) = (server(&shop.near), server(&shop.far));
    let silent = shop.far.v4();
    let ask = |node: &Node| {
        shop.web.curl(&format!("http://{}:8080/", node.v4()));
    };
    ask(&shop.near);
    ask(&shop.far);
    shop.street.unplug("orders-2");
    // Somebody wants something of it, and it does not answer.
    until("it is given last, each time", Duration::from_secs(60), || {
        ask(&shop.far);
        (0..4).all(|_| shop.lines(&["orders.test.internal", "A"]).last() == Some(&silent))
    });
    let srv = shop.lines(&["_orders._udp.test.internal", "SRV"]);
    let priority = |name: &str| -> u16 {
        let line = srv.iter().find(|line| line.contains(name)).unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(priority("orders-1") < priority("orders-2"), "{srv:?}");
    shop.street.plug("orders-2");
    until("it takes its turn again", Duration::from_secs(60), || {
        ask(&shop.far);
        (0..8).any(|_| shop.lines(&["orders.test.internal", "A"]).first() == Some(&silent))
    });
}

#[test]
fn names_and_filter_change_at_one_generation() {
    let shop = Shop::new();
    let _server = (shop.near.serve_http(8080), shop.far.serve_http(8080));
    let without = policy().replace(
        "from = [\"tag:web\"]\nto = [\"service:orders\"]",
        "from = [\"tag:web\"]\nto = [\"service:db\"]",
    );
    assert_ne!(without, policy());
    let name = || !shop.lines(&["orders.test.internal", "A"]).is_empty();
    let url = format!("http://{}:8080/", shop.near.v4());
    let open = || shop.web.curl(&url).status.success();
    for text in [&without, &policy(), &without] {
        shop.coordinator.apply(text);
        let granted = text == &policy();
        // `apply` returns when it is stored; a node says which generation it enforces.
        let wanted = shop.coordinator.json(&["status"])["generation"].as_u64().unwrap();
        until("the node enforces it", LIMIT, || {
            shop.web.status().is_some_and(|status| status["generation"] == wanted)
        });
        assert_eq!((name(), open()), (granted, granted), "at generation {wanted}");
    }
}
