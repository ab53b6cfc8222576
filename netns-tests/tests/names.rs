//! Names on a real kernel: stock clients, stock encrypted servers, and nobody on the way who reads along.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::capture::Capture;
use warren_netns_tests::nameserver::{self, ADDRESS, NAME, NameServer};
use warren_netns_tests::process::{Finished, run};
use warren_netns_tests::stock;
use warren_netns_tests::street::{Host, Street, Underlay};
use warren_netns_tests::unit::{self, AGENT};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{COORDINATOR_PORT, Coordinator, LIMIT, Node, WIREGUARD_PORT};

const DNS_PORTS: [u16; 4] = [COORDINATOR_PORT, WIREGUARD_PORT, 853, 443];

fn policy(upstream: &[String]) -> String {
    let list: Vec<String> = upstream.iter().map(|u| format!("\"{u}\"")).collect();
    let tags = "[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n";
    let upstream =
        if list.is_empty() { String::new() } else { format!("upstream = [{}]\n", list.join(", ")) };
    format!("version = 1\n{tags}[dns]\nzone = \"test.internal\"\n{upstream}")
}

fn url(scheme: &str, host: &Host) -> String {
    format!("{scheme}://{}#{NAME}", host.v4)
}

/// One file with all their authorities.
fn authorities(street: &Street, servers: &[&NameServer]) -> String {
    let all: Vec<String> = servers.iter().map(|s| std::fs::read_to_string(&s.ca).unwrap()).collect();
    let file = street.dir().join("authorities.pem");
    std::fs::write(&file, all.concat()).unwrap();
    file.to_string_lossy().into_owned()
}

/// How servers misbehave, each over one transport.
const MANNERS: [(&str, &str); 10] = [
    ("tls", "silent"),
    ("https", "truncating"),
    ("quic", "malformed"),
    ("tls", "other-question"),
    ("https", "failing"),
    ("quic", "slow"),
    ("tls", "huge"),
    ("https", "private"),
    ("https", "redirecting"),
    ("https", "overloaded"),
];

fn enrol(street: &Street, coordinator: &Coordinator, ca: &str) -> Node {
    let env = vec![("WARREN_NODE_DNS_CA", ca.to_owned())];
    Node::enrol_with(street, coordinator, "web-1", &["web"], env, Vec::new())
}

fn dig(node: &Node, words: &[&str]) -> Finished {
    let at = format!("@{}", node.v4());
    node.host.run(&[&["dig", "+tries=1", "+time=6", at.as_str()], words].concat())
}

/// A name in a message on the wire: its first label with its length in front, or as text.
fn seen(capture: &warren_netns_tests::capture::Seen, label: &str) -> usize {
    capture.containing(label.as_bytes())
}

#[test]
fn no_name_leaves_the_host_in_clear_whoever_asks_and_however() {
    let street = Street::new(&["coord", "web-1", "unbound", "knot", "hickory"], Underlay::V4);
    let unbound = nameserver::unbound(&street.host("unbound"));
    let knot = nameserver::knot(&street.host("knot"));
    let hickory = nameserver::hickory(&street.host("hickory"));
    let ca = authorities(&street, &[&unbound, &knot, &hickory]);
    // From the first moment of everything: no start, no crash and no restart is an exception.
    let capture = Capture::start(&street, "names");
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let mut web = enrol(&street, &coordinator, &ca);
    let upstreams = [
        ("tls", "unbound"),
        ("https", "unbound"),
        ("tls", "knot"),
        ("https", "knot"),
        ("tls", "hickory"),
        ("https", "hickory"),
        ("quic", "hickory"),
    ];
    for (scheme, server) in upstreams {
        // One at a time, so that each is known to work.
        coordinator.apply(&policy(&[url(scheme, &street.host(server))]));
        let name = format!("{scheme}-{server}.marker-one.example");
        let answer = dig(&web, &[&name]).ok();
        assert!(
            answer.contains("status: NOERROR") && answer.contains(ADDRESS),
            "{scheme} {server}: {answer}"
        );
        let shown = web.cli(&["dns", "query", &name]).ok();
        assert!(shown.contains("from the cache"), "{shown}");
    }
    coordinator.apply(&policy(&upstreams.map(|(scheme, server)| url(scheme, &street.host(server)))));
    // They are real encrypted servers: a stock client speaks each of the three with them.
    for (flag, name, server) in [
        ("+tls", "unbound", &unbound),
        ("+https", "unbound", &unbound),
        ("+tls", "knot", &knot),
        ("+https", "knot", &knot),
        ("+tls", "hickory", &hickory),
        ("+https", "hickory", &hickory),
        ("+quic", "hickory", &hickory),
    ] {
        let at = format!("@{}", street.host(name).v4);
        let (ca, host) = (format!("+tls-ca={}", server.ca), format!("+tls-hostname={NAME}"));
        // The transport stands last: the others mean TLS.
        let said = web.host.run(&["kdig", &at, &ca, &host, flag, "stock.marker-one.example"]).ok();
        assert!(said.contains(ADDRESS) && said.contains("session ("), "{flag} {name}: {said}");
    }
    web.resolve_here();
    let musl = stock::musl(&web.host);
    let python = "import socket; print(socket.getaddrinfo('python.marker-two.example', 80))";
    for words in [
        &["getent", "ahosts", "getent.marker-two.example"][..],
        &["python3", "-c", python],
        &[&musl, "musl.marker-two.example"],
        &[&musl, "web-1.test.internal"],
        &["kdig", &format!("@{}", web.v4()), "kdig.marker-two.example", "AAAA"],
        &["kdig", "+tcp", &format!("@{}", web.v4()), "kdig-tcp.marker-two.example"],
        &["dig", "+short", &format!("@{}", web.v6()), "dig6.marker-two.example"],
    ] {
        let said = web.host.run(words).ok();
        let found = said.contains(ADDRESS) || said.contains("2001:db8::7") || said.contains(&web.v4());
        assert!(found, "{words:?}: {said}");
    }
    let curl = web.host.run(&["curl", "-sS", "--max-time", "3", "http://curl.marker-two.example/"]);
    assert_eq!(curl.code(), 7, "the name resolved, nobody is there: {}", curl.text());
    // Programs go on asking while it crashes, is away and starts again.
    let asking =
        "for i in $(seq 100); do timeout 1 getent ahosts crash-$i.marker-five.example; sleep 0.02; done";
    let mut programs = web.host.daemon("asking", &["bash", "-c", asking]);
    web.kill_9();
    assert_ne!(web.host.run(&["getent", "ahosts", "away.marker-five.example"]).code(), 0, "nobody answers");
    web.start();
    web.wait_enrolled();
    until("names are answered again", LIMIT, || {
        web.host.run(&["getent", "ahosts", "again.marker-five.example"]).stdout.contains(ADDRESS)
    });
    web.restart();
    web.wait_enrolled();
    until("the programs have asked enough", Duration::from_secs(120), || programs.finished().is_some());
    assert!(programs.output().contains(ADDRESS), "they were answered, before or after");
    // Names nobody is asked for, and a network that is away.
    dig(&web, &["printer.marker-three.local"]);
    let servers = ["unbound", "knot", "hickory"];
    servers.iter().for_each(|host| street.unplug(host));
    let failed = dig(&web, &["gone.marker-four.example"]).ok();
    assert!(failed.contains("status: SERVFAIL") && failed.contains("EDE: 22"), "{failed}");
    let doctor = web.cli(&["doctor"]).text();
    assert!(doctor.contains("BAD  names"), "{doctor}");
    servers.iter().for_each(|host| street.plug(host));
    let seen_all = capture.finish();
    assert_eq!(seen_all.dropped, 0, "a capture with holes proves nothing");
    assert_eq!(seen_all.clear_dns(), 0, "DNS in clear");
    for marker in ["marker-one", "marker-two", "marker-three", "marker-four", "marker-five"] {
        assert_eq!(seen(&seen_all, marker), 0, "{marker} is readable on the underlay");
    }
    assert!(seen_all.with_ports(&DNS_PORTS) > 20, "the questions did go out");

    // The same detector finds a deliberate question in clear.
    let capture = Capture::start(&street, "in-clear");
    let clear = web.host.run(&[
        "dig",
        "+tries=1",
        "+time=3",
        &format!("@{}", street.host("unbound").v4),
        "x.marker-six.example",
    ]);
    assert!(clear.ok().contains(ADDRESS));
    let found = capture.finish();
    assert!(found.clear_dns() >= 2 && seen(&found, "marker-six") >= 2);
}

#[test]
fn every_way_in_which_servers_fail_ends_closed_and_is_said() {
    let street = Street::new(&["coord", "web-1", "bad", "good"], Underlay::V4);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let good = nameserver::unbound(&street.host("good"));
    let ca = authorities(&street, &[&good]);
    let mut web = enrol(&street, &coordinator, &ca);
    let capture = Capture::start(&street, "failures");
    // No authority vouches for this one.
    let bad = nameserver::special(&street.host("bad"), "tls", "honest");
    coordinator.apply(&policy(&[url("tls", &street.host("bad"))]));
    let failed = dig(&web, &["a.example"]).ok();
    assert!(failed.contains("status: SERVFAIL") && failed.contains("certificate"), "{failed}");
    let shown = web.cli(&["dns", "query", "a.example"]);
    assert_eq!(shown.code(), 1);
    assert!(shown.text().contains("certificate") && shown.text().contains(NAME), "{}", shown.text());
    let status = web.cli(&["dns", "status"]).ok();
    assert!(status.contains("certificate"), "{status}");
    // With a good one beside it nobody notices.
    coordinator.apply(&policy(&[url("tls", &street.host("bad")), url("tls", &street.host("good"))]));
    assert!(dig(&web, &["b.example"]).ok().contains(ADDRESS));
    // `doctor` finds it though nobody needed it.
    let doctor = web.cli(&["doctor"]);
    assert!(doctor.code() == 1 && doctor.text().contains("certificate"), "{}", doctor.text());
    drop(bad);
    // Vouched for, and with bad manners: alone it ends closed, and with a good one beside it nobody notices.
    for (number, (scheme, manner)) in MANNERS.into_iter().enumerate() {
        let bad = nameserver::special(&street.host("bad"), scheme, manner);
        std::fs::write(&ca, [&good, &bad].map(|s| std::fs::read_to_string(&s.ca).unwrap()).concat()).unwrap();
        web.restart();
        web.wait_enrolled();
        coordinator.apply(&policy(&[url(scheme, &street.host("bad"))]));
        // Longer names would not fit so often into the largest message there is.
        let name = match manner {
            "huge" => "big.example".to_owned(),
            _ => format!("alone-{number}.marker-bad.example"),
        };
        let alone = dig(&web, &["TXT", &name]).ok();
        match manner {
            "slow" => assert!(alone.contains("status: NOERROR"), "{manner}: {alone}"),
            "huge" => assert!(alone.contains("ANSWER: 290"), "{manner}, over TCP: {alone}"),
            // An address is what it lies about.
            "private" => {
                let lie = dig(&web, &[&name]).ok();
                assert!(lie.contains("status: REFUSED") && lie.contains("EDE: 15"), "{manner}: {lie}");
            }
            _ => assert!(alone.contains("status: SERVFAIL") && alone.contains("EDE: "), "{manner}: {alone}"),
        }
        coordinator.apply(&policy(&[url(scheme, &street.host("bad")), url("tls", &street.host("good"))]));
        if manner != "private" {
            let name = format!("beside-{number}.marker-bad.example");
            let beside = dig(&web, &["AAAA", &name]).ok();
            let answered = beside.contains("2001:db8::7") || beside.contains("status: NOERROR");
            assert!(answered, "{scheme} {manner}: {beside}");
        }
    }
    // A network that lets no QUIC through to the server: alone it ends closed, and over TLS nobody notices.
    let _quic = nameserver::special(&street.host("bad"), "quic", "honest");
    let block = "table inet blocked { chain in { type filter hook input priority 0; udp dport 853 drop; }; }";
    street.host("bad").run(&["nft", block]).ok();
    coordinator.apply(&policy(&[url("quic", &street.host("bad"))]));
    let blocked = dig(&web, &["blocked.marker-bad.example"]).ok();
    assert!(blocked.contains("status: SERVFAIL") && blocked.contains("EDE: 22"), "{blocked}");
    coordinator.apply(&policy(&[url("quic", &street.host("bad")), url("tls", &street.host("good"))]));
    assert!(dig(&web, &["unblocked.marker-bad.example"]).ok().contains(ADDRESS));
    let seen_all = capture.finish();
    assert_eq!((seen_all.dropped, seen_all.clear_dns(), seen(&seen_all, "marker-bad")), (0, 0, 0));
    // What a policy may not say.
    let file = coordinator.host.path("bad.toml");
    for (upstream, why) in [
        ("udp://10.91.0.4:53#x", "tls://"),
        ("tls://10.91.0.4:853", "certificate"),
        ("tls://dns.test:853#dns.test", "IP address"),
    ] {
        std::fs::write(&file, policy(&[upstream.to_owned()])).unwrap();
        let checked = coordinator.warren(&["policy", "check", &file]);
        assert_eq!(checked.code(), 1, "{upstream}");
        assert!(checked.text().contains(why), "{}", checked.text());
    }
}

/// A host whose `/etc` is its own, shared by all its programs.
struct OwnEtc {
    host: Host,
}

impl OwnEtc {
    fn new(host: Host) -> OwnEtc {
        let etc = host.path("etc");
        run(None, &["cp", "-a", "/etc", &etc], &[]).ok();
        let file = format!("{etc}/resolv.conf");
        run(None, &["rm", "-f", &file], &[]).ok();
        std::fs::write(&file, "search example\nnameserver 10.91.0.4\n").unwrap();
        OwnEtc { host }
    }

    fn wrapper(&self) -> Vec<String> {
        let script = format!("mount --bind {} /etc && exec \"$@\"", self.host.path("etc"));
        ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }

    fn run(&self, words: &[&str]) -> Finished {
        let wrapper = self.wrapper();
        let all: Vec<&str> = wrapper.iter().map(String::as_str).chain(words.iter().copied()).collect();
        self.host.run(&all)
    }

    fn resolv_conf(&self) -> String {
        std::fs::read_to_string(self.host.dir.join("etc/resolv.conf")).unwrap_or_default()
    }

    fn left_over(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.host.dir.join("etc")).unwrap();
        let names = names.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|n| n.starts_with("resolv.conf.")).collect()
    }

    fn guarded(&self) -> bool {
        self.host.run(&["nft", "list", "tables"]).ok().contains("warren_dns_")
    }
}

#[test]
fn the_host_s_resolver_is_ours_while_the_agent_lives_and_only_then() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let etc = OwnEtc::new(street.host("web-1"));
    let before = etc.resolv_conf();
    let env =
        vec![("WARREN_NODE_DNS_CA", dns.ca.clone()), ("WARREN_NODE_DNS_HOST", "resolv.conf".to_owned())];
    let mut web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, etc.wrapper());
    coordinator.apply(&policy(&[url("tls", &street.host("dns"))]));
    let ours = |etc: &OwnEtc| {
        let text = etc.resolv_conf();
        text.starts_with("# Written by warren-node")
            && !text.contains("10.91.0.4")
            && text.contains("search example")
    };
    until("the file is ours", LIMIT, || ours(&etc) && etc.guarded());
    assert!(etc.run(&["getent", "ahosts", "one.example"]).ok().contains(ADDRESS));

    // A program with a resolver of its own is refused at once, over UDP and TCP, and counted.
    let server = street.host("dns").v4;
    let capture = Capture::start(&street, "hard-wired");
    // The host's own search domain stands in the file as before, and leads no name out in clear; one that nothing is found for
    // neither.
    assert!(etc.run(&["getent", "ahosts", "lonely-label"]).ok().contains(ADDRESS), "lonely-label.example");
    etc.run(&["getent", "ahosts", "lonely-label.nowhere"]);
    for words in [&["dig", "+tries=1", "+time=3"][..], &["dig", "+tries=1", "+time=3", "+tcp"]] {
        let refused = etc.run(&[words, &[&format!("@{server}"), "hard-wired.example"]].concat());
        assert!(!refused.status.success() && !refused.text().contains(ADDRESS), "{}", refused.text());
    }
    let table = etc.host.run(&["nft", "list", "table", "inet", "warren_dns_warren0"]).ok();
    assert!(!table.contains("packets 0 "), "{table}");
    until("the refusals are seen", Duration::from_secs(10), || {
        web.cli(&["--json", "dns", "status"]).json()["host"]["refused"].as_u64().is_some_and(|n| n > 0)
    });
    // Recorded as a flow that was refused: by whom, to whom, at the node and at the coordinator.
    let refused = |flow: &serde_json::Value, address: &str, port: &str, protocol: &serde_json::Value| {
        let (to, port) = (flow.pointer(address), flow.pointer(port));
        to == Some(&server.as_str().into())
            && port == Some(&53.into())
            && flow["protocol"] == *protocol
            && flow["verdict"] == "deny"
    };
    let has = |list: &serde_json::Value, address: &str, port: &str, protocol: serde_json::Value| {
        list.as_array().is_some_and(|list| list.iter().any(|flow| refused(flow, address, port, &protocol)))
    };
    until("the node lists the refusals", Duration::from_secs(10), || {
        let flows = web.cli(&["--json", "flows"]).json();
        ["udp", "tcp"].iter().all(|p| has(&flows, "/dst", "/dst_port", (*p).into()))
    });
    until("the coordinator lists the refusals", Duration::from_secs(10), || {
        let flows = coordinator.json(&["flow", "list", "--verdict", "deny"]);
        let rows = flows.get("rows").unwrap_or(&flows);
        [17, 6].iter().all(|p| has(rows, "/to/address", "/to/port", (*p).into()))
    });
    // And on the map.
    until("the map shows it", Duration::from_secs(10), || {
        let map = coordinator.warren(&["map"]).ok();
        map.contains("REFUSED") && map.contains(&server) && map.contains("udp/53") && map.contains("tcp/53")
    });
    println!("{}", coordinator.warren(&["map"]).ok());
    let seen_all = capture.finish();
    assert_eq!((seen_all.dropped, seen_all.clear_dns(), seen(&seen_all, "hard-wired")), (0, 0, 0));
    assert_eq!(seen(&seen_all, "lonely-label"), 0);

    // A DHCP client writes its own: it is ours again, and its words are what comes back.
    let dhcp = "search example\nnameserver 10.91.0.4\n# by DHCP\n";
    std::fs::write(etc.host.dir.join("etc/resolv.conf"), dhcp).unwrap();
    until("the file is ours again", LIMIT, || ours(&etc));
    web.stop();
    assert_eq!(etc.resolv_conf(), dhcp, "after a stop");
    assert_eq!(etc.left_over(), Vec::<String>::new());
    assert!(!etc.guarded());

    web.start();
    until("the file is ours", LIMIT, || ours(&etc) && etc.guarded());
    web.kill_9();
    until("after a kill -9 it is as it was", Duration::from_secs(5), || {
        etc.resolv_conf() == dhcp && !etc.guarded() && etc.left_over().is_empty()
    });

    // Power was cut: the file is ours and nobody lives. The command puts it back; so would the next start and stop.
    web.start();
    until("the file is ours", LIMIT, || ours(&etc));
    let written = etc.resolv_conf();
    web.stop();
    std::fs::write(etc.host.dir.join("etc/resolv.conf.before-warren"), &before).unwrap();
    std::fs::write(etc.host.dir.join("etc/resolv.conf"), written).unwrap();
    let program = warren_netns_tests::warren::binary("warren-node");
    let doctor = etc.run(&[&program, "--socket", "/nowhere", "--state", &etc.host.path("none"), "doctor"]);
    assert!(doctor.text().contains("warren-node dns restore"), "{}", doctor.text());
    etc.run(&[&program, "dns", "restore"]).ok();
    assert_eq!(etc.resolv_conf(), before);
    assert_eq!(etc.left_over(), Vec::<String>::new());
}

#[test]
fn a_guard_that_was_wished_stands_also_where_the_host_cannot_be_told() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let etc = OwnEtc::new(street.host("web-1"));
    // As in a container: the file is a mount of its own, which cannot be replaced.
    let dir = etc.host.path("etc");
    let script =
        format!("mount --bind {dir} /etc && mount --bind {dir}/hosts /etc/resolv.conf && exec \"$@\"");
    let wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    let env = vec![
        ("WARREN_NODE_DNS_CA", dns.ca.clone()),
        ("WARREN_NODE_DNS_HOST", "resolv.conf".to_owned()),
        ("WARREN_NODE_DNS_GUARD", "on".to_owned()),
    ];
    let mut web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, wrapper);
    coordinator.apply(&policy(&[url("tls", &street.host("dns"))]));
    until("it is guarded", LIMIT, || etc.guarded());
    let server = format!("@{}", street.host("dns").v4);
    let clear = web.host.run(&["dig", "+tries=1", "+time=2", &server, "x.example"]);
    assert!(!clear.text().contains(ADDRESS), "{}", clear.text());
    let doctor = web.cli(&["doctor"]).text();
    assert!(doctor.contains("mount point"), "and it is said that programs ask elsewhere: {doctor}");
    web.stop();
    assert!(!etc.guarded(), "taken away with the agent");
}

/// With the two settings that README names for it.
#[test]
fn under_the_shipped_unit_every_program_can_read_the_file_and_root_gets_its_own_back() {
    use std::os::unix::fs::MetadataExt;
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let etc = OwnEtc::new(street.host("web-1"));
    let before = std::fs::metadata(etc.host.dir.join("etc/resolv.conf")).unwrap();
    run(None, &["chown", &format!("{AGENT}:{AGENT}"), &etc.host.path("")], &[]).ok();
    let script = format!("mount --bind {} /etc\n{}exec \"$@\"", etc.host.path("etc"), unit::prepare());
    let own = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned);
    let wrapper = [own.to_vec(), unit::words(&["cap_dac_override"])].concat();
    let env =
        vec![("WARREN_NODE_DNS_CA", dns.ca.clone()), ("WARREN_NODE_DNS_HOST", "resolv.conf".to_owned())];
    let mut web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, wrapper);
    coordinator.apply(&policy(&[url("tls", &street.host("dns"))]));
    until("the file is ours", LIMIT, || etc.resolv_conf().starts_with("# Written by") && etc.guarded());
    let nobody = ["setpriv", "--reuid", "65534", "--clear-groups", "getent", "ahostsv4", "a.example"];
    until("programs of every user resolve", LIMIT, || etc.run(&nobody).stdout.contains(ADDRESS));
    web.stop();
    let after = std::fs::metadata(etc.host.dir.join("etc/resolv.conf")).unwrap();
    let facts = |file: &std::fs::Metadata| (file.ino(), file.uid(), file.mode());
    assert_eq!(facts(&after), facts(&before));
    assert_eq!(etc.left_over(), Vec::<String>::new());
}

#[test]
fn without_upstreams_the_zone_is_ours_and_the_rest_of_the_host_stays_as_it_is() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let _dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let etc = OwnEtc::new(street.host("web-1"));
    // The host's owner wished that any server may be the first.
    let before = format!("nameserver {}\noptions rotate timeout:2\n", street.host("dns").v4);
    std::fs::write(etc.host.dir.join("etc/resolv.conf"), before).unwrap();
    let env = vec![("WARREN_NODE_DNS_HOST", "resolv.conf".to_owned())];
    let web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, etc.wrapper());
    coordinator.apply(&policy(&[]));
    until("the file is ours", LIMIT, || etc.resolv_conf().starts_with("# Written by"));
    let capture = Capture::start(&street, "zone-only");
    let own = etc.run(&["getent", "ahostsv4", "web-1.test.internal"]).ok();
    assert!(own.contains(&web.v4()), "{own}");
    assert!(
        etc.run(&["getent", "ahosts", "other.example"]).ok().contains(ADDRESS),
        "asked where it was asked before"
    );
    assert!(!etc.guarded());
    // Here others are asked in clear, as before and by the host's own choice; names of the zone are not.
    for _ in 0..12 {
        etc.run(&["getent", "ahosts", "absent.test.internal"]);
    }
    let several = "import socket\nfor n in range(12):\n try: socket.getaddrinfo(f'absent-{n}.test.internal', 80)\n except OSError: pass";
    etc.run(&["python3", "-c", several]).ok();
    let seen_all = capture.finish();
    assert!(seen_all.dropped == 0 && seen_all.clear_dns() > 0, "the detector sees what is there");
    assert_eq!((seen(&seen_all, "absent"), seen(&seen_all, "internal")), (0, 0));
    // What README, SECURITY and `doctor` say of musl: it asks all servers at once, whatever stands first.
    let musl = stock::musl(&etc.host);
    let capture = Capture::start(&street, "musl");
    // Whoever answers first is believed.
    etc.run(&[&musl, "web-1.test.internal"]);
    let seen_all = capture.finish();
    assert!(seen(&seen_all, "internal") > 0, "names of the zone leave in clear");
    let doctor = web.cli(&["doctor"]).text();
    assert!(doctor.contains("musl") && doctor.contains("--dns-host resolved"), "{doctor}");
}

#[test]
fn over_an_ipv6_underlay_it_is_the_same() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V6);
    let dns = nameserver::unbound_at(&street.host("dns"), &street.host("dns").v6);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V6);
    let web = enrol(&street, &coordinator, &dns.ca);
    let capture = Capture::start(&street, "v6");
    for scheme in ["tls", "https"] {
        coordinator.apply(&policy(&[format!("{scheme}://[{}]#{NAME}", street.host("dns").v6)]));
        for server in [web.v4(), web.v6()] {
            let name = format!("{scheme}.marker-six.example");
            let answer = web.host.run(&["dig", "+tries=1", &format!("@{server}"), &name, "AAAA"]).ok();
            assert!(answer.contains("2001:db8::7"), "{scheme} {server}: {answer}");
        }
    }
    street.unplug("dns");
    let failed = dig(&web, &["gone.marker-six.example"]).ok();
    assert!(failed.contains("status: SERVFAIL") && failed.contains("EDE: 22"), "{failed}");
    street.plug("dns");
    let seen_all = capture.finish();
    assert_eq!((seen_all.dropped, seen_all.clear_dns(), seen(&seen_all, "marker-six")), (0, 0, 0));
    assert!(seen_all.with_ports(&[853, 443]) > 10, "the questions did go out");
}

/// What container engines make of the host's file: servers on loopback addresses are left out, and where none is left
/// public ones are put in their place.
fn copied_by_a_container_engine(host: &str) -> String {
    let loopback = |line: &&str| !line.starts_with("nameserver 127.") && *line != "nameserver ::1";
    let kept: Vec<&str> = host.lines().filter(loopback).collect();
    match kept.iter().any(|line| line.starts_with("nameserver")) {
        true => kept.join("\n") + "\n",
        false => "nameserver 8.8.8.8\nnameserver 8.8.4.4\n".to_owned(),
    }
}

#[test]
fn a_container_that_copies_the_host_s_file_is_answered_where_it_says_and_not_by_public_servers() {
    let mut street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    street.add_host("container", Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let (host, container) = (street.host("web-1"), street.host("container"));
    let etc = OwnEtc::new(host.clone());
    // Its link goes from the street into a bridge of web-1's.
    street.move_into_bridge(&container, &host, "ctr0");
    let env = vec![
        ("WARREN_NODE_DNS_CA", dns.ca.clone()),
        ("WARREN_NODE_DNS_HOST", "resolv.conf".to_owned()),
        ("WARREN_NODE_DNS_BRIDGE", "ctr0".to_owned()),
        ("WARREN_NODE_DNS_LISTEN", "127.0.0.54".to_owned()),
    ];
    let web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, etc.wrapper());
    coordinator.apply(&policy(&[url("tls", &street.host("dns"))]));
    until("the file is ours", LIMIT, || etc.resolv_conf().starts_with("# Written by") && etc.guarded());
    assert!(!etc.resolv_conf().contains("127."), "no loopback address: {}", etc.resolv_conf());
    let copy = copied_by_a_container_engine(&etc.resolv_conf());
    assert!(copy.contains(&web.v4()) && !copy.contains("8.8.8.8"), "{copy}");
    let dir = format!("/etc/netns/{}", container.namespace);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(format!("{dir}/resolv.conf"), copy).unwrap();
    let capture = Capture::start(&street, "container");
    until("the container's names resolve", LIMIT, || {
        container.run(&["getent", "ahostsv4", "a.marker-container.example"]).stdout.contains(ADDRESS)
    });
    assert!(container.run(&["getent", "ahostsv4", "web-1.test.internal"]).ok().contains(&web.v4()));
    let by_tcp =
        container.run(&["dig", "+tcp", "+short", &format!("@{}", web.v4()), "t.marker-container.example"]);
    assert!(by_tcp.ok().contains(ADDRESS));
    // Nothing else of the overlay address is open to it.
    let _http = web.serve_http(8080);
    assert_ne!(
        container.run(&["curl", "-s", "--max-time", "2", &format!("http://{}:8080/", web.v4())]).code(),
        0
    );
    // Servers of its own in clear it may not ask past the node.
    let past = container.run(&[
        "dig",
        "+tries=1",
        "+time=2",
        &format!("@{}", street.host("dns").v4),
        "p.marker-container.example",
    ]);
    assert!(!past.text().contains(ADDRESS), "{}", past.text());
    let seen_all = capture.finish();
    assert_eq!((seen_all.dropped, seen_all.clear_dns(), seen(&seen_all, "marker-container")), (0, 0, 0));
}

#[test]
fn a_coordinator_s_own_name_is_asked_encrypted_or_not_at_all() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    assert_eq!(coordinator.host.v4, nameserver::COORDINATOR);
    // The host's resolver would answer, in clear; and must not be asked.
    street.host("web-1").resolve_at(&street.host("dns").v4);
    let by_name = format!("coordinator.lab:{COORDINATOR_PORT}");
    let token = coordinator.token(&["--name", "web-1", "--tag", "web", "--coordinator", &by_name]);
    let (host, file) = (street.host("web-1"), street.host("web-1").path("by-name"));
    std::fs::write(&file, token).unwrap();
    let program = warren_netns_tests::warren::binary("warren-node");
    let (state, run_dir) = (host.path("node"), host.path("run"));
    let enrol = |more: &[&str]| {
        let words = [&program, "--state", &state, "--run", &run_dir, "enroll", "--token-file", &file];
        host.run(&[&words[..], more].concat())
    };
    let capture = Capture::start(&street, "bootstrap");
    let refused = enrol(&[]);
    assert_eq!(refused.code(), 3, "{}", refused.text());
    assert!(refused.text().contains("no encrypted DNS upstream"), "{}", refused.text());
    let upstream = url("tls", &street.host("dns"));
    enrol(&["--dns-upstream", &upstream, "--dns-ca", &dns.ca]).ok();
    let seen_all = capture.finish();
    assert_eq!((seen_all.dropped, seen_all.clear_dns(), seen(&seen_all, "coordinator")), (0, 0, 0));
    // A policy with dead servers takes no node its coordinator: its own servers are asked, or it goes where that answered last.
    let flags = ["--dns-upstream", &upstream, "--dns-ca", &dns.ca];
    let mut web = Node::with_token(&street, "web-1", &std::fs::read_to_string(&file).unwrap());
    web.kill_9();
    let connected = |web: &mut Node, flags: &[&str], why: &str| {
        web.set_flags(flags);
        web.start();
        until(why, LIMIT, || web.status().is_some_and(|status| status["coordinator"] == "connected"));
    };
    connected(&mut web, &flags, "found at its own server");
    coordinator.apply(&policy(&[format!("tls://{}:1#{NAME}", street.host("dns").v4)]));
    web.stop();
    let _ = std::fs::remove_file(host.dir.join("node/places"));
    connected(&mut web, &flags, "found at its own server again");
    web.stop();
    street.unplug("dns");
    connected(&mut web, &[], "found where it was");
}
