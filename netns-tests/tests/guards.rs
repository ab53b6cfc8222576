//! Guards that outlive the agent: closed, never in the clear.

use std::time::Duration;

use warren_netns_tests::capture::{Capture, Tap};
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::{BEFORE, Town};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{COORDINATOR_PORT, LIMIT, WIREGUARD_PORT};

const MARKER: &str = "MARKER-51c0de-never-in-clear";

#[test]
fn nothing_for_the_overlay_leaves_in_clear_when_the_agent_is_killed_or_its_interface_deleted() {
    let mut town = Town::new(Underlay::Both);
    let _server = town.orders.serve_http(8080);
    let (v4, v6) = (town.orders.v4(), town.orders.v6());
    let try_all = |town: &Town| {
        for target in [format!("http://{v4}:8080/{MARKER}"), format!("http://[{v6}]:8080/{MARKER}")] {
            let done = town.web.host.run(&["curl", "-sS", "--globoff", "--max-time", "1", &target]);
            assert!(!done.status.success(), "{}", done.text());
        }
        let say = format!("printf {MARKER} >/dev/udp/{v4}/8081");
        town.web.host.run(&["bash", "-c", &say]);
    };
    assert!(town.web.curl(&format!("http://{v4}:8080/")).status.success(), "it works before");
    let capture = Capture::start(&town.street, "guards");
    town.web.kill_9();
    try_all(&town);
    town.web.host.run(&["ip", "link", "del", "warren0"]).ok();
    try_all(&town);
    let route = town.web.host.run(&["ip", "route", "get", &v4]);
    assert!(!route.status.success(), "no way out: {}", route.text());
    let seen = capture.finish();
    assert_eq!(seen.dropped, 0);
    assert_eq!(seen.strange_but_refusals(&[WIREGUARD_PORT, COORDINATOR_PORT]), vec![]);
    assert_eq!(seen.containing(MARKER.as_bytes()), 0);

    town.web.start();
    let url = format!("http://{v4}:8080/");
    until("the agent mends what was deleted", LIMIT, || town.web.curl(&url).status.success());
}

#[test]
fn an_overlay_address_is_reached_only_through_the_tunnel() {
    let mut town = Town::new(Underlay::Both);
    town.street.add_host("neighbour", Underlay::Both);
    let neighbour = town.street.host("neighbour");
    let _server = town.orders.serve_http(8080);
    for key in ["all", "up0", "warren0"] {
        town.orders.host.run(&["sysctl", "-qw", &format!("net.ipv4.conf.{key}.rp_filter=0")]).ok();
    }
    let orders = &town.orders.host;
    let families =
        [(town.orders.v4(), orders.v4.clone(), "32"), (town.orders.v6(), orders.v6.clone(), "128")];
    let curl = |to: &str| {
        let host = if to.contains(':') { format!("[{to}]") } else { to.to_owned() };
        let url = format!("http://{host}:8080/");
        neighbour.run(&["curl", "-sS", "--globoff", "--max-time", "2", &url]).status.success()
    };
    for (overlay, underlay, bits) in &families {
        neighbour.run(&["ip", "route", "add", &format!("{overlay}/{bits}"), "via", underlay]).ok();
        assert!(curl(underlay), "the server itself answers on the underlay");
        assert!(!curl(overlay), "in clear, from the side");
        let ping = neighbour.run(&["ping", "-c", "2", "-W", "1", overlay]);
        assert!(!ping.status.success(), "{}", ping.text());
    }
    // The node's own name server too is asked from the host itself only.
    let dns = neighbour.run(&[
        "dig",
        "+tries=1",
        "+time=1",
        &format!("@{}", families[0].0),
        "orders.test.internal",
    ]);
    assert!(!dns.status.success(), "{}", dns.text());
    // The guard stays when the agent goes, and only then when it is told to go for good.
    town.orders.kill_9();
    families.iter().for_each(|(overlay, ..)| assert!(!curl(overlay), "without the agent too"));
}

/// A neighbour on the host's own network speaks in the name of another node, to a service that is bound to every address.
#[test]
fn nobody_speaks_in_the_name_of_another_node_past_the_tunnel() {
    let mut town = Town::new(Underlay::Both);
    town.street.add_host("neighbour", Underlay::Both);
    let neighbour = town.street.host("neighbour");
    for key in ["all", "up0"] {
        town.orders.host.run(&["sysctl", "-qw", &format!("net.ipv4.conf.{key}.rp_filter=0")]).ok();
    }
    let listen = "import socket
s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); s.bind(('::',8081)); print('ready',flush=True)
while True:
    d,a=s.recvfrom(2048); print(d.decode(),a[0],flush=True)";
    let service = town.orders.host.daemon("everywhere", &["python3", "-c", listen]);
    until("the service listens", LIMIT, || service.output().contains("ready"));
    let say = |from: &str, to: &str, word: &str| {
        let script = "import socket,sys
f,t,w=sys.argv[1:]; s=socket.socket(socket.AF_INET6 if ':' in t else socket.AF_INET,socket.SOCK_DGRAM)
s.bind((f,0)); s.sendto(w.encode(),(t,8081))";
        neighbour.run(&["python3", "-c", script, from, to, word]).ok();
    };
    let ends = [
        (town.web.v4(), town.orders.host.v4.clone(), neighbour.v4.clone(), "32"),
        (town.web.v6(), town.orders.host.v6.clone(), neighbour.v6.clone(), "128"),
    ];
    for (foreign, to, own, bits) in &ends {
        neighbour.run(&["ip", "addr", "add", &format!("{foreign}/{bits}"), "dev", "lo"]).ok();
        say(foreign, to, "FORGED");
        let honest = format!("HONEST-{bits}");
        say(own, to, &honest);
        until("what the neighbour says as itself comes", LIMIT, || service.output().contains(&honest));
    }
    assert!(!service.output().contains("FORGED"), "{}", service.output());
}

/// From boot to policy: the machine has started, its agent has not.
#[test]
fn a_host_that_boots_says_nothing_in_clear_before_its_agent_runs() {
    let mut town = Town::new(Underlay::Both);
    let (v4, v6) = (town.orders.v4(), town.orders.v6());
    town.web.stop();
    let web = town.web.host.clone();
    let boot = || {
        web.run(&["ip", "link", "del", "warren0"]);
        for family in ["-4", "-6"] {
            web.run(&["ip", family, "route", "flush", "type", "unreachable"]);
        }
        web.run(&["nft", "flush", "ruleset"]).ok();
        let routes = web.run(&["ip", "route", "show", "table", "all"]).ok();
        assert!(!routes.contains("unreachable 100.64"), "{routes}");
    };
    for (family, gateway) in [("-4", &town.db.host.v4), ("-6", &town.db.host.v6)] {
        web.run(&["ip", family, "route", "add", "default", "via", gateway]).ok();
    }
    let try_all = || {
        for target in [&v4, &v6] {
            web.run(&["bash", "-c", &format!("printf {MARKER} >/dev/udp/{target}/8081")]);
        }
    };
    // Or the leak would still wait for the gateway's link address when the eavesdropper ends.
    for gateway in [&town.db.host.v4, &town.db.host.v6] {
        let known = || web.run(&["ping", "-c", "1", "-W", "1", gateway]).status.success();
        until("the gateway is known on the link", LIMIT, known);
    }
    // That a leak would be seen is tried first.
    boot();
    let capture = Capture::start(&town.street, "unguarded");
    try_all();
    let leaked = capture.finish().containing(MARKER.as_bytes());
    assert!(leaked >= 2, "without guards both go to the gateway: {leaked}");

    boot();
    let capture = Capture::start(&town.street, "guarded");
    let said = town.web.cli(&["guard"]).ok();
    assert!(said.contains("shut until the agent runs"), "{said}");
    try_all();
    let seen = capture.finish();
    assert_eq!((seen.dropped, seen.containing(MARKER.as_bytes())), (0, 0));
    town.web.start();
    let _server = town.orders.serve_http(8080);
    let url = format!("http://{v4}:8080/");
    until("the agent takes over", LIMIT, || town.web.curl(&url).status.success());
    assert!(town.web.cli(&["guard"]).ok().contains("the agent runs"));
}

/// What the host forwards: a container behind a bridge, once with masquerade and once without.
#[test]
fn a_container_speaks_as_its_host_by_masquerade_and_otherwise_not_at_all() {
    let mut town = Town::new(Underlay::V4);
    let container = town.street.add_container("web-1", "box");
    let (_open, _hidden) = (town.orders.serve_http(8080), town.orders.serve_http(9090));
    let own = town.web.serve_http(8088);
    let curl = |to: String, port: u16| {
        container.run(&["curl", "-sS", "--globoff", "--max-time", "3", &format!("http://{to}:{port}/")])
    };
    let [v4, v6] = [town.orders.v4(), format!("[{}]", town.orders.v6())];
    let foreign = |town: &Town| town.web.counter("source-not-mine");

    // As it stands: nobody signed 172.30.0.2, so nothing of it goes into the tunnel.
    let (tap, before) = (Tap::start(&town.orders.host, "warren0"), foreign(&town));
    assert!(!curl(v4.clone(), 8080).status.success() && !curl(v6.clone(), 8080).status.success());
    assert!(foreign(&town) >= before + 2, "counted by its reason");
    let seen = tap.finish();
    assert!(
        !seen.iter().any(|packet| packet.get(12..16) == Some(&[172, 30, 0, 2])),
        "it came out at the other end"
    );
    // Nor with the host's own address for a source, which a bridge lets through.
    for (own, device) in [(format!("{}/32", town.web.v4()), "-4"), (format!("{}/128", town.web.v6()), "-6")] {
        container.run(&["ip", device, "addr", "add", &own, "dev", "eth0", "nodad"]).ok();
        let source = own.split('/').next().unwrap();
        let target = if device == "-4" { v4.as_str() } else { v6.trim_matches(['[', ']']) };
        let ping = container.run(&["ping", "-c", "2", "-W", "1", "-I", source, target]);
        assert!(!ping.status.success(), "{}", ping.text());
        container.run(&["ip", device, "addr", "del", &own, "dev", "eth0"]).ok();
    }

    let masquerade = "table inet box { chain post { type nat hook postrouting priority 100; oifname \"warren0\" masquerade; }; }";
    town.web.host.run(&["nft", masquerade]).ok();
    for to in [&v4, &v6] {
        let done = curl(to.clone(), 8080);
        assert!(done.status.success(), "{to}: {}", done.text());
        assert!(!curl(to.clone(), 9090).status.success(), "what its host may not, it may not either");
    }
    until("it is recorded as its host", Duration::from_secs(2), || {
        let flows = town.coordinator.warren(&["flow", "list"]).ok();
        flows.lines().any(|l| ["web-1", "orders-1", "allow", "8080"].iter().all(|w| l.contains(w)))
    });
    // The overlay address of its own host is no way round the policy.
    assert!(curl("172.30.0.1".to_owned(), 8088).status.success(), "the host's own service");
    assert!(!curl(town.web.v4(), 8088).status.success());
    drop(own);
}

/// The agent's own services obey the policy like any other.
#[test]
fn the_agents_own_services_are_for_whom_the_policy_says() {
    let town = Town::new(Underlay::V4);
    let ask = |at: &str| {
        let at = format!("@{at}");
        town.web.host.run(&["dig", "+tries=1", "+time=2", &at, "orders.test.internal", "A"])
    };
    assert!(ask(&town.web.v4()).stdout.contains("status: NOERROR"), "its own host");
    let other = ask(&town.orders.v4());
    assert!(!other.stdout.contains("status:"), "a peer's name server answers no peer: {}", other.text());
    // It waits a second for each answer, and the first waits for a handshake.
    until("who may ping is answered", LIMIT, || {
        town.web.cli(&["ping", "orders-1", "--count", "1"]).status.success()
    });
    let unpinged = BEFORE.replace(
        "from = [\"all-nodes\"]\nto = [\"service:ping\"]",
        "from = [\"tag:db\"]\nto = [\"service:ping\"]",
    );
    assert_ne!(unpinged, BEFORE);
    town.coordinator.apply(&unpinged);
    let ping = town.web.cli(&["ping", "orders-1", "--count", "1"]);
    assert!(!ping.status.success(), "{}", ping.text());
}

#[test]
fn going_down_for_good_leaves_nothing_behind() {
    let mut town = Town::new(Underlay::V4);
    let host = town.web.host.clone();
    let left = || {
        let links = host.run(&["ip", "link"]).ok();
        let routes = host.run(&["ip", "route", "show", "table", "all"]).ok();
        let guards = host.run(&["nft", "list", "tables"]).ok();
        links.contains("warren0") || routes.contains("unreachable 100.64") || guards.contains("warren")
    };
    assert!(left(), "something is there while it runs");
    town.web.cli(&["down"]).ok();
    until("everything is gone", Duration::from_secs(10), || !left());
    until("the agent has ended", Duration::from_secs(10), || town.web.finished().is_some());
}
