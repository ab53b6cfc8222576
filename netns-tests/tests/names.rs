//! Names on a real kernel: stock clients, stock encrypted servers, and nobody on the way who reads along.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::capture::Capture;
use warren_netns_tests::nameserver::{self, ADDRESS, NAME, NameServer};
use warren_netns_tests::process::{Finished, run};
use warren_netns_tests::street::{Host, Street, Underlay};
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
    let street = Street::new(&["coord", "web-1", "unbound", "knot", "doq"], Underlay::V4);
    let unbound = nameserver::unbound(&street.host("unbound"));
    let knot = nameserver::knot(&street.host("knot"));
    let doq = nameserver::special(&street.host("doq"), "quic", "honest");
    let ca = authorities(&street, &[&unbound, &knot, &doq]);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let web = enrol(&street, &coordinator, &ca);
    let capture = Capture::start(&street, "names");
    let upstreams =
        [("tls", "unbound"), ("https", "unbound"), ("tls", "knot"), ("https", "knot"), ("quic", "doq")];
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
    web.resolve_here();
    let python = "import socket; print(socket.getaddrinfo('python.marker-two.example', 80))";
    for words in [
        &["getent", "ahosts", "getent.marker-two.example"][..],
        &["python3", "-c", python],
        &["kdig", &format!("@{}", web.v4()), "kdig.marker-two.example", "AAAA"],
        &["kdig", "+tcp", &format!("@{}", web.v4()), "kdig-tcp.marker-two.example"],
        &["dig", "+short", &format!("@{}", web.v6()), "dig6.marker-two.example"],
    ] {
        let said = web.host.run(words).ok();
        assert!(said.contains(ADDRESS) || said.contains("2001:db8::7"), "{words:?}: {said}");
    }
    let curl = web.host.run(&["curl", "-sS", "--max-time", "3", "http://curl.marker-two.example/"]);
    assert_eq!(curl.code(), 7, "the name resolved, nobody is there: {}", curl.text());
    // Names nobody is asked for, and a network that is away.
    dig(&web, &["printer.marker-three.local"]);
    street.unplug("unbound");
    street.unplug("knot");
    street.unplug("doq");
    let failed = dig(&web, &["gone.marker-four.example"]).ok();
    assert!(failed.contains("status: SERVFAIL") && failed.contains("EDE: 22"), "{failed}");
    let doctor = web.cli(&["doctor"]).text();
    assert!(doctor.contains("BAD  names"), "{doctor}");
    for host in ["unbound", "knot", "doq"] {
        street.plug(host);
    }
    let seen_all = capture.finish();
    assert_eq!(seen_all.dropped, 0, "a capture with holes proves nothing");
    assert_eq!(seen_all.clear_dns(), 0, "DNS in clear");
    for marker in ["marker-one", "marker-two", "marker-three", "marker-four"] {
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
        "x.marker-five.example",
    ]);
    assert!(clear.ok().contains(ADDRESS));
    let found = capture.finish();
    assert!(found.clear_dns() >= 2 && seen(&found, "marker-five") >= 2);
}

#[test]
fn every_way_in_which_servers_fail_ends_closed_and_is_said() {
    let street = Street::new(&["coord", "web-1", "bad", "good"], Underlay::V4);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let good = nameserver::unbound(&street.host("good"));
    let web = enrol(&street, &coordinator, &authorities(&street, &[&good]));
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
    drop(bad);
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
    for words in [&["dig", "+tries=1", "+time=3"][..], &["dig", "+tries=1", "+time=3", "+tcp"]] {
        let refused = etc.run(&[words, &[&format!("@{server}"), "hard-wired.example"]].concat());
        assert!(!refused.status.success() && !refused.text().contains(ADDRESS), "{}", refused.text());
    }
    let table = etc.host.run(&["nft", "list", "table", "inet", "warren_dns_warren0"]).ok();
    assert!(!table.contains("packets 0 "), "{table}");
    until("the refusals are seen", Duration::from_secs(10), || {
        web.cli(&["--json", "dns", "status"]).json()["host"]["refused"].as_u64().is_some_and(|n| n > 0)
    });
    let seen_all = capture.finish();
    assert_eq!((seen_all.dropped, seen_all.clear_dns(), seen(&seen_all, "hard-wired")), (0, 0, 0));

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
fn without_upstreams_the_zone_is_ours_and_the_rest_of_the_host_stays_as_it_is() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let _dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let etc = OwnEtc::new(street.host("web-1"));
    std::fs::write(etc.host.dir.join("etc/resolv.conf"), format!("nameserver {}\n", street.host("dns").v4))
        .unwrap();
    let env = vec![("WARREN_NODE_DNS_HOST", "resolv.conf".to_owned())];
    let web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, etc.wrapper());
    coordinator.apply(&policy(&[]));
    until("the file is ours", LIMIT, || etc.resolv_conf().starts_with("# Written by"));
    let own = etc.run(&["getent", "ahostsv4", "web-1.test.internal"]).ok();
    assert!(own.contains(&web.v4()), "{own}");
    assert!(
        etc.run(&["getent", "ahosts", "other.example"]).ok().contains(ADDRESS),
        "asked where it was asked before"
    );
    assert!(!etc.guarded());
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
}
