//! Hosts without an agent behind gateways, on a real kernel.
//!
//! ```text
//!   client   other        gw-a       gw-b
//!     |        |          |   lan0   |   lan0 (192.168.50.1, .2; fd50::1, ::2)
//!   --+--------+----------+--- | ----+--- |      underlay
//!                              +----+-----+
//!                                printer 192.168.50.10, fd50::10: no agent, no way back into the overlay
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use serde_json::Value;
use warren_netns_tests::flows::{Ended, Flows, monotonic, serve};
use warren_netns_tests::process::{Daemon, run};
use warren_netns_tests::street::{Host, Street, Underlay};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

const PRINTER: &str = "192.168.50.10";
const GRANT: &str = "\n[[grant]]\nid = \"laptops-print\"\nfrom = [\"tag:laptop\"]\nto = [\"service:lan\"]\n";

fn policy(grants: &str) -> String {
    policy_of("\"tcp/80\", \"icmp/echo\"", grants)
}

fn policy_of(listen: &str, grants: &str) -> String {
    format!(
        r#"
version = 1
[group.it]
members = ["ines@example.com"]
[tag.laptop]
owners = ["group:it"]
[tag.guest]
owners = ["group:it"]
[tag.gateway]
owners = ["group:it"]
[service.lan]
via = ["tag:gateway"]
addresses = ["192.168.50.0/24", "fd50::/64"]
listen = [{listen}]
[service.printer]
via = ["tag:gateway"]
addresses = ["192.168.50.10"]
listen = ["tcp/631"]
[service.ping]
on = ["tag:gateway"]
listen = ["icmp/echo"]
[[grant]]
id = "all-ping-gateways"
from = ["tag:laptop", "tag:guest"]
to = ["service:ping"]
{grants}
"#
    )
}

struct Office {
    coordinator: Coordinator,
    client: Node,
    other: Node,
    gateways: Vec<Node>,
    printer: Host,
    _servers: Vec<Daemon>,
    street: Street,
}

impl Office {
    fn new(gateways: &[&str]) -> Office {
        let hosts = [&["coord", "client", "other", "printer"][..], gateways].concat();
        let street = Street::new(&hosts, Underlay::V4);
        let printer = lan(&street, gateways);
        let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        let mut client = Node::begin(&street, &coordinator, "client", &["laptop"]);
        let mut other = Node::begin(&street, &coordinator, "other", &["guest"]);
        let begin = |name: &&str| Node::begin(&street, &coordinator, name, &["gateway"]);
        let mut gateways: Vec<Node> = gateways.iter().map(begin).collect();
        gateways.iter_mut().chain([&mut client, &mut other]).for_each(Node::wait_enrolled);
        let serve = |port: &str| {
            let words =
                ["python3", "-m", "http.server", port, "--bind", "::", "--directory", &printer.path("www")];
            printer.daemon(&format!("http-{port}"), &words)
        };
        std::fs::create_dir_all(printer.path("www")).unwrap();
        std::fs::write(printer.path("www/page"), "printed").unwrap();
        let servers = vec![serve("80"), serve("8090")];
        until("the printer listens", LIMIT, || {
            printer.run(&["ss", "-Hltn"]).stdout.matches("LISTEN").count() >= 2
        });
        Office { coordinator, client, other, gateways, printer, _servers: servers, street }
    }

    fn reaches(&self, port: u16) -> bool {
        fetch(&self.client, port, 2).stdout == "printed"
    }

    /// Since the moment of the call, to the first page that came.
    fn until_it_prints(&self) -> Duration {
        let begun = Instant::now();
        eventually("the printer answers", Duration::from_secs(20), || {
            (fetch(&self.client, 80, 1).stdout == "printed").then(|| begun.elapsed())
        })
    }

    /// The gateway in use to the printer's subnet.
    fn in_use(&self) -> Option<String> {
        let status = self.client.status()?;
        let subnet = status["subnets"].as_array()?.iter().find(|s| s["subnet"] == "192.168.50.0/24")?.clone();
        subnet["in_use"].as_str().map(str::to_owned)
    }

    fn flows(&self) -> Vec<Value> {
        let rows = self.coordinator.json(&["flow", "list", "--from", "client", "--limit", "500"]);
        let rows = rows.as_array().cloned().unwrap_or_default();
        rows.into_iter().filter(|row| row["to"]["address"] == PRINTER).collect()
    }
}

fn fetch(node: &Node, port: u16, seconds: u32) -> warren_netns_tests::process::Finished {
    let url = format!("http://{PRINTER}:{port}/page");
    node.host.run(&["curl", "-sS", "--max-time", &seconds.to_string(), &url])
}

/// Takes the printer off the underlay and joins it with the gateways on a link of their own.
fn lan(street: &Street, gateways: &[&str]) -> Host {
    let printer = street.host("printer");
    let ip = |namespace: &str, words: &[&str]| {
        run(None, &[&["ip", "-n", namespace][..], words].concat(), &[]).ok()
    };
    ip(&printer.namespace, &["link", "del", "up0"]);
    ip(&printer.namespace, &["link", "add", "lan", "type", "bridge"]);
    for address in ["192.168.50.10/24", "fd50::10/64"] {
        ip(&printer.namespace, &["addr", "add", address, "dev", "lan", "nodad"]);
    }
    ip(&printer.namespace, &["link", "set", "lan", "up"]);
    for (at, name) in gateways.iter().enumerate() {
        let gateway = street.host(name).namespace;
        let port = format!("port{at}");
        ip(
            &printer.namespace,
            &["link", "add", &port, "type", "veth", "peer", "name", "lan0", "netns", &gateway],
        );
        ip(&printer.namespace, &["link", "set", &port, "master", "lan", "up"]);
        for address in [format!("192.168.50.{}/24", at + 1), format!("fd50::{}/64", at + 1)] {
            ip(&gateway, &["addr", "add", &address, "dev", "lan0", "nodad"]);
        }
        ip(&gateway, &["link", "set", "lan0", "up"]);
    }
    printer
}

fn has_route(node: &Node) -> bool {
    node.host.run(&["ip", "route", "show", "192.168.50.0/24"]).stdout.contains("dev warren0")
}

fn forwards(host: &Host, interface: &str) -> String {
    host.run(&["cat", &format!("/proc/sys/net/ipv4/conf/{interface}/forwarding")]).stdout.trim().to_owned()
}

fn has_table(host: &Host) -> bool {
    host.run(&["nft", "list", "table", "inet", "warren_warren0_subnets"]).status.success()
}

#[test]
fn a_host_without_an_agent_is_reached_as_far_as_a_grant_goes_and_no_further() {
    let office = Office::new(&["gw-a"]);
    office.coordinator.apply(&policy(""));
    assert!(!has_route(&office.client), "nobody has a route without a grant");
    assert!(!has_table(&office.gateways[0].host));

    office.coordinator.apply(&policy(GRANT));
    until("the client has its route", LIMIT, || has_route(&office.client));
    until("the printer is reached over IPv4", LIMIT, || office.reaches(80));
    let v6 = ["curl", "-sS", "--globoff", "--max-time", "5", "http://[fd50::10]:80/page"];
    until("and over IPv6", LIMIT, || office.client.host.run(&v6).stdout == "printed");
    until("and by ping", LIMIT, || office.client.host.run(&["ping", "-c1", "-W2", PRINTER]).status.success());

    // Another port of the same host: refused at once, and recorded with its gateway.
    let begun = Instant::now();
    let refused = fetch(&office.client, 8090, 10);
    assert_eq!(refused.code(), 7, "curl says that it cannot connect: {}", refused.text());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until("both are on record", LIMIT, || {
        let flows = office.flows();
        let passed =
            |f: &&Value| f["verdict"] == "allow" && f["service"] == "lan" && f["to"]["name"] == "gw-a";
        let denied = |f: &&Value| f["verdict"] == "deny" && f["to"]["port"] == 8090;
        flows.iter().any(|f| passed(&f)) && flows.iter().any(|f| denied(&f))
    });
    let listed = office.coordinator.warren(&["flow", "list"]).ok();
    assert!(listed.contains(&format!("{PRINTER} by gw-a")), "{listed}");

    // Both ends can say by which grant, and by whom it is reached.
    let why = office.client.cli(&["why", PRINTER, "tcp/80"]).ok();
    assert!(why.contains("allowed by grant laptops-print") && why.contains("behind gw-a"), "{why}");
    let why = office.gateways[0].cli(&["why", "client", PRINTER, "tcp/80"]).ok();
    assert!(why.contains("client -> 192.168.50.10: allowed by grant laptops-print"), "{why}");
    let why = office.client.cli(&["why", PRINTER, "tcp/8090"]);
    assert!(
        why.code() == 1 && why.text().contains("no grant joins you to that; behind gw-a"),
        "{}",
        why.text()
    );
    let why = office.coordinator.warren(&["why", "client", PRINTER, "tcp/80"]).ok();
    assert!(why.contains("allowed by grant laptops-print") && why.contains("behind gw-a"), "{why}");

    // A service that is one host has its address; to whom it is granted.
    let lookup = |node: &Node| {
        node.host.run(&["dig", "+short", &format!("@{}", node.v4()), "printer.warren.internal"]).stdout
    };
    assert_eq!(lookup(&office.client), "");
    let prints = GRANT.replace("[\"service:lan\"]", "[\"service:lan\", \"service:printer\"]");
    office.coordinator.apply(&policy(&prints));
    until("the printer has a name", LIMIT, || lookup(&office.client).trim() == PRINTER);
    assert_eq!(lookup(&office.other), "");

    // Who has no grant has no route, though the gateway is its peer.
    assert!(!has_route(&office.other));
    let forced = ["ip", "route", "add", "192.168.50.0/24", "dev", "warren0", "src", &office.other.v4()];
    office.other.host.run(&forced).ok();
    let stolen = fetch(&office.other, 80, 2);
    assert!(!stolen.status.success(), "a route that somebody made opens nothing: {}", stolen.text());

    // The gateway itself is not opened by it, and the printer opens nothing in the overlay.
    let itself = office.client.curl(&format!("http://{}:80/", office.gateways[0].v4()));
    assert!(!itself.status.success());
    let (client, lan) = (office.client.v4(), "192.168.50.1");
    office.printer.run(&["ip", "route", "add", "100.64.0.0/10", "via", lan]).ok();
    let _server = office.client.serve_http(7777);
    let uninvited =
        office.printer.run(&["curl", "-sS", "--max-time", "2", &format!("http://{client}:7777/")]);
    assert!(!uninvited.status.success(), "{}", uninvited.text());

    // Status says which grant gives the route.
    let status = office.client.status().unwrap();
    let subnet =
        status["subnets"].as_array().unwrap().iter().find(|s| s["subnet"] == "192.168.50.0/24").unwrap();
    assert_eq!(subnet["by"][0]["grant"], "laptops-print", "{subnet}");
    let shown = office.client.cli(&["status"]).ok();
    assert!(shown.contains("192.168.50.0/24 by gw-a") && shown.contains("grant laptops-print"), "{shown}");

    // The doctor of either end is content, until somebody's firewall drops what it does not name.
    let gateway = &office.gateways[0];
    let doctor = |node: &Node| node.cli(&["doctor"]).text();
    assert!(doctor(&office.client).contains("granted ones go into the tunnel"), "{}", doctor(&office.client));
    let said = doctor(gateway);
    assert!(said.contains("ok   gateway      forwards to 192.168.50.0/24"), "{said}");
    assert!(gateway.cli(&["status"]).ok().contains("192.168.50.0/24 by lan0, on that network itself"));
    let drops =
        "table inet strict { chain forwarded { type filter hook forward priority 0; policy drop; }; }";
    gateway.host.run(&["nft", drops]).ok();
    assert!(fetch(&office.client, 80, 2).stdout.is_empty());
    assert!(doctor(gateway).contains("chain forwarded of table inet strict drops"), "{}", doctor(gateway));
    let fix = ["nft", "insert", "rule", "inet", "strict", "forwarded"];
    for way in ["iifname", "oifname"] {
        gateway.host.run(&[&fix[..], &[way, "warren0", "accept"]].concat()).ok();
    }
    assert!(!doctor(gateway).contains("BAD  gateway"), "{}", doctor(gateway));
    until("what the doctor said helps", LIMIT, || office.reaches(80));

    // A connection that lives is cut when the grant goes, and the route with it.
    let hold = format!(
        "import socket,time\ns=socket.create_connection(('{PRINTER}',80))\nprint('open',flush=True)\n\
         try:\n s.recv(1)\n print('closed',flush=True)\nexcept OSError as e:\n print('reset',time.time(),flush=True)"
    );
    let mut held = office.client.host.daemon("held", &["python3", "-c", &hold]);
    until("a connection is open", LIMIT, || held.output().contains("open"));
    office.coordinator.apply(&policy(""));
    let accepted = Instant::now();
    until("it is reset", LIMIT, || held.output().contains("reset"));
    assert!(accepted.elapsed() < Duration::from_secs(2), "{:?}", accepted.elapsed());
    held.finished();
    until("the route is gone", LIMIT, || !has_route(&office.client));
    assert!(!fetch(&office.client, 80, 1).status.success());

    // The gateway's host is as it was.
    let gateway = office.gateways[0].host.clone();
    until("no rule is left", LIMIT, || !has_table(&gateway));
    assert_eq!([forwards(&gateway, "lan0"), forwards(&gateway, "warren0")], ["0", "0"]);
    drop(office.street);
}

#[test]
fn the_second_gateway_takes_over_within_three_seconds_and_nothing_is_left_behind() {
    let mut office = Office::new(&["gw-a", "gw-b"]);
    office.coordinator.apply(&policy(GRANT));
    office.until_it_prints();
    let first = office.in_use().expect("one is in use");
    let dead = office.gateways.iter().position(|node| node.host.name == first).unwrap();
    let host = office.gateways[dead].host.clone();

    office.gateways[dead].kill_9();
    let took = office.until_it_prints();
    println!("the second gateway answered {took:?} after the first was killed");
    // The law is three seconds; the command that asks may itself take one.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_ne!(office.in_use().unwrap(), first);

    // What comes back takes nothing from what works, and clears up after the one that was killed.
    assert!(has_table(&host), "a killed agent cannot clear up");
    office.gateways[dead].start();
    office.gateways[dead].wait_enrolled();
    let second = office.in_use();
    std::thread::sleep(Duration::from_secs(3));
    assert!(office.reaches(80));
    assert_eq!(office.in_use(), second);

    // Killed again, and the grant withdrawn meanwhile: the next start takes rules and switches away.
    office.gateways[dead].kill_9();
    office.coordinator.warren(&["policy", "check", "/dev/null"]);
    let file = office.coordinator.host.path("policy.toml");
    std::fs::write(&file, policy("")).unwrap();
    office.coordinator.warren(&["policy", "apply", &file]).ok();
    assert!(has_table(&host) && forwards(&host, "lan0") == "1");
    office.gateways[dead].start();
    until("the next start clears up", LIMIT, || !has_table(&host) && forwards(&host, "lan0") == "0");

    // Stopped in order, nothing forwards either.
    office.coordinator.apply(&policy(GRANT));
    let standing = office.gateways[1 - dead].host.clone();
    until("the gateways forward", LIMIT, || has_table(&standing));
    office.gateways[1 - dead].stop();
    assert!(!has_table(&standing) && forwards(&standing, "lan0") == "0");
}

#[test]
fn a_host_that_is_on_such_a_network_itself_keeps_its_own_route() {
    let office = Office::new(&["gw-a"]);
    let ip = |words: &[&str]| office.client.host.run(&[&["ip"][..], words].concat()).ok();
    ip(&["link", "add", "home0", "type", "bridge"]);
    ip(&["addr", "add", "192.168.50.77/25", "dev", "home0"]);
    ip(&["link", "set", "home0", "up"]);
    office.coordinator.apply(&policy(GRANT));
    let obstacle = || -> Option<String> {
        let status = office.client.status()?;
        let subnets = status["subnets"].as_array()?.clone();
        subnets.iter().find_map(|s| s["obstacle"].as_str().map(str::to_owned))
    };
    let why = eventually("it is said", LIMIT, obstacle);
    assert!(why.contains("192.168.50.0/25") && why.contains("home0"), "{why}");
    assert!(!has_route(&office.client));
    assert!(office.client.cli(&["status"]).ok().contains("NOT ROUTED"));
    let doctor = office.client.cli(&["doctor"]);
    let said = doctor.text();
    assert!(
        doctor.code() == 1 && said.contains("192.168.50.0/24 is granted to this host and not routed"),
        "{said}"
    );
    assert!(said.contains("renumber one of the two, or leave the network at home0"), "{said}");
    let why = office.client.cli(&["why", PRINTER, "tcp/80"]).text();
    assert!(why.contains("NOT ROUTED here") && why.contains("home0"), "{why}");
}

/// What an end of a flow saw, in seconds after the command said "accepted".
fn lags(ended: Ended, accepted: f64) -> Vec<(String, f64)> {
    assert!(ended.told.is_some() || ended.kind == "icmp", "nobody told the application: {ended:?}");
    let bulk = ["tcp-bulk", "tcp-idle"].contains(&ended.kind.as_str());
    assert!(!bulk || ended.how == "ECONNRESET", "told in a strange way: {ended:?}");
    let lag = |what: &str, at: f64| (format!("{} {what}", ended.kind), (at - accepted).max(0.0));
    let last = ended.last.map(|at| lag("last packet", at));
    last.into_iter().chain(ended.told.map(|at| lag("told", at))).collect()
}

/// The host behind the gateway knows nothing of Warren; what it has open is ended by the gateway.
#[test]
fn every_kind_of_flow_behind_a_gateway_is_cut_at_both_ends_within_a_second_of_accepted() {
    let office = Office::new(&["gw-a"]);
    let _servers = serve(&office.printer);
    let listen =
        "\"tcp/80\", \"tcp/8080\", \"udp/8081\", \"tcp/8082\", \"tcp/8083\", \"udp/8084\", \"icmp/echo\"";
    let accept = |words: &[&str]| {
        office.coordinator.warren(words).ok();
        monotonic()
    };
    let file = office.coordinator.host.path("next.toml");
    std::fs::write(&file, policy_of(listen, "")).unwrap();
    let ways: [&[&str]; 3] = [
        &["policy", "apply", &file],
        &["node", "tag", "client", "--remove", "laptop"],
        &["node", "revoke", "client", "--why", "test"],
    ];
    let mut all: Vec<(String, f64)> = Vec::new();
    for (round, way) in ways.into_iter().enumerate() {
        if round == 2 {
            accept(&["node", "tag", "client", "--add", "laptop"]);
        }
        office.coordinator.apply(&policy_of(listen, GRANT));
        office.until_it_prints();
        let flows = Flows::open(&office.client.host, &office.printer, PRINTER, round);
        flows.wait_alive();
        let open = || {
            let words = ["ss", "-Htn", "state", "established", "( sport = :8080 or sport = :8083 )"];
            office.printer.run(&words).ok().lines().count()
        };
        // The client's end is open a moment before.
        until("they are open at the printer's end, too", LIMIT, || open() >= 3);
        let accepted = accept(way);
        let far = eventually("the printer's connections end", LIMIT, || (open() == 0).then(monotonic));
        all.push(("the printer's end".to_owned(), far - accepted));
        all.extend(flows.wait_ended().into_iter().flat_map(|ended| lags(ended, accepted)));
    }
    for (what, lag) in &all {
        println!("{what}: {lag:.3} s");
    }
    let worst = all.iter().map(|(_, lag)| *lag).fold(0.0, f64::max);
    println!("{} measurements, worst {worst:.3} s", all.len());
    assert!(worst <= 1.0, "{worst:.3} s");
}
