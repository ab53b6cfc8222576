//! Nodes behind NATs find each other without a setting; where no hole can be made, a relay carries what they say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::time::{Duration, Instant};

use warren_netns_tests::nat::{CARRIED, Nat, OUTSIDE, Speaks};
use warren_netns_tests::neighbours::{Meeting, Neighbours, Roommates};
use warren_netns_tests::process::Daemon;
use warren_netns_tests::town::BEFORE;
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::LIMIT;

/// A download from orders-1 to web-1.
struct Transfer {
    got: String,
    want: Vec<u8>,
    curl: Daemon,
    _server: Daemon,
}

impl Transfer {
    fn begin(meeting: &Meeting, size: u32, rate: &str) -> Transfer {
        let server = meeting.orders.serve_http(8080);
        let want: Vec<u8> = (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        std::fs::write(meeting.orders.host.path("www/data.bin"), &want).unwrap();
        let got = meeting.web.host.path("got.bin");
        let url = format!("http://{}:8080/data.bin", meeting.orders.v4());
        let words = ["curl", "-sS", "--max-time", "90", "--limit-rate", rate, "-o", &got, &url];
        Transfer { curl: meeting.web.host.daemon("transfer", &words), got, want, _server: server }
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.got).map(|m| m.len()).unwrap_or_default()
    }

    /// Every byte has come.
    fn end(&mut self) {
        let status = eventually("the transfer ends", Duration::from_secs(90), || self.curl.finished());
        assert!(status.success(), "{}", self.curl.output());
        assert!(std::fs::read(&self.got).unwrap() == self.want, "every byte came");
    }
}

/// Whatever the NATs are, the first packet is answered within 3 s: over the relay if need be. Wherever two NATs let two hosts
/// meet at all (RFC 5128 section 3.3), the path is direct, and each knows the other where the world sees it. A transfer that runs meanwhile
/// notices nothing.
#[test]
fn behind_any_two_nats_nodes_talk_within_three_seconds_and_directly_where_that_is_possible() {
    use Nat::{Lenient, Open, Restricted, Symmetric};
    let kinds = [Open, Restricted, Symmetric, Lenient];
    let mut meeting = Neighbours::new(Restricted, Restricted);
    let mut table = String::new();
    for (home, office) in kinds.iter().flat_map(|home| kinds.map(|office| (*home, office))) {
        meeting.become_kinds(home, office);
        meeting.wait_mapped();
        meeting.coordinator.apply(BEFORE);
        let took = meeting.first_answer(Duration::from_secs(3));
        assert!(took.is_some(), "{table}\n{home:?} {office:?} {:#}", meeting.path(&meeting.web, "orders-1"));
        let mut transfer = Transfer::begin(&meeting, 4_000_000, "1M");
        let possible =
            !matches!((home, office), (Symmetric, Symmetric | Restricted) | (Restricted, Symmetric));
        let used = || meeting.path(&meeting.web, "orders-1")["endpoint"].as_str().map(str::to_owned);
        if possible {
            until("the path is direct", LIMIT, || {
                meeting.say_something();
                used().is_some_and(|place| !place.starts_with("relayed"))
            });
            let outside = format!("{}:{OUTSIDE}", meeting.office.router.v4);
            let path = meeting.path(&meeting.web, "orders-1");
            // Where both ends' first packets come in, each router has an entry for either, and gives the second another port.
            let keeps_its_port = matches!(office, Open | Restricted) && home != Lenient;
            assert!(!keeps_its_port || path["endpoint"] == outside.as_str(), "{table}\n{path:#}");
        } else {
            let path = meeting.path(&meeting.web, "orders-1");
            assert!(used().is_some_and(|place| place.starts_with("relayed")), "{path:#}");
            assert!(path["why"].as_str().unwrap().contains("the relay carries"), "{path:#}");
        }
        transfer.end();
        table.push_str(&format!(
            "{home:?} and {office:?}: {took:?}, {}\n",
            if possible { "direct" } else { "relayed" }
        ));
    }
    println!("{table}");
}

/// The first packet within 3 s, and then the way that `wanted` says, kept for a while.
fn settles(meeting: &Meeting, row: &str, wanted: impl Fn(&str) -> bool) {
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    let took = meeting.first_answer(Duration::from_secs(3));
    assert!(took.is_some(), "{row}: {:#}", meeting.path(&meeting.web, "orders-1"));
    let begun = Instant::now();
    while !wanted(&meeting.used()) {
        let path = meeting.path(&meeting.web, "orders-1");
        assert!(begun.elapsed() < LIMIT, "{row}: {path:#}");
        meeting.say_something();
    }
    for _ in 0..3 {
        meeting.say_something();
        let path = meeting.path(&meeting.web, "orders-1");
        assert!(wanted(path["endpoint"].as_str().unwrap_or_default()), "{row}: {path:#}");
    }
    println!("{row}: first answer after {took:?}, {}", meeting.used());
}

/// Each end asks for itself which ways there are: orders-1 comes to send to this place of web-1, and to no other.
fn the_other_end_uses(meeting: &Meeting, place: &str) {
    until(&format!("orders-1 sends to {place}"), LIMIT, || {
        meeting.say_something();
        meeting.path(&meeting.orders, "web-1")["endpoint"] == place
    });
}

/// On one LAN they meet there, whatever the router does (RFC 4787 section 6). Where the LAN keeps its hosts apart, as a guest network
/// does, they meet at the router's outside address if it hairpins; else the relay carries what they say.
#[test]
fn behind_one_router_nodes_meet_on_the_lan_with_hairpinning_or_without() {
    let mut rooms = Roommates::new();
    let lan = "192.168.1.3:51820";
    let outside = format!("{}:{}", rooms.lan.router.v4, OUTSIDE + 1);
    for (hairpin, isolated) in [(false, false), (true, false), (false, true), (true, true)] {
        rooms.become_kind(hairpin, isolated);
        let row = format!("hairpinning: {hairpin}, isolated: {isolated}");
        settles(&rooms.meeting, &row, |used| match (hairpin, isolated) {
            (_, false) => used == lan,
            (true, true) => used == outside,
            (false, true) => used.starts_with("relayed"),
        });
    }
}

/// Two NATs one behind the other are together as strict as the stricter of them.
#[test]
fn behind_a_carriers_nat_nodes_meet_as_if_it_were_the_only_one() {
    use Nat::{Open, Restricted, Symmetric};
    let mut meeting = Neighbours::carried(Restricted, Restricted, Restricted);
    let outside = format!("{}:{CARRIED}", meeting.carrier.as_ref().unwrap().router.v4);
    for (carrier, office) in [(Restricted, Restricted), (Symmetric, Open), (Symmetric, Restricted)] {
        meeting.become_carried(carrier, office);
        let row = format!("{carrier:?} before the home router, {office:?} at the office");
        let direct = (carrier, office) != (Symmetric, Restricted);
        settles(&meeting, &row, |used| !used.is_empty() && used.starts_with("relayed") != direct);
        if carrier != Symmetric {
            the_other_end_uses(&meeting, &outside);
        }
    }
}

/// Of two symmetric NATs one maps the port of its node, if that asks (RFC 6887): that is enough. It is given back at the end.
#[test]
fn behind_a_router_that_maps_ports_a_node_is_reached_directly_from_behind_any_nat() {
    let mut meeting = Neighbours::with_public_home(Nat::Symmetric, Nat::Symmetric);
    let _router = meeting.home.serve_mappings(Speaks::Pcp);
    settles(&meeting, "nobody asks for a mapping", |used| used.starts_with("relayed"));
    assert!(
        meeting.web.status().unwrap()["port_mapping"].is_null() && !meeting.home.mappings().contains("dnat")
    );
    let doctor = |meeting: &Neighbours| meeting.web.cli(&["doctor"]).stdout;
    assert!(doctor(&meeting).contains("port mapping off"), "{}", doctor(&meeting));
    meeting.part();
    meeting.web.set_flags(&["--port-mapping"]);
    meeting.come_back();
    let granted = || meeting.web.status().is_some_and(|s| s["port_mapping"]["outside"].is_string());
    until("the router grants a mapping", LIMIT, granted);
    let status = meeting.web.status().unwrap();
    assert_eq!(status["port_mapping"]["protocol"], "pcp", "{status:#}");
    settles(&meeting, "web-1 has a mapping", |used| !used.is_empty() && !used.starts_with("relayed"));
    the_other_end_uses(&meeting, status["port_mapping"]["outside"].as_str().unwrap());
    assert!(meeting.home.mappings().contains("dnat"));
    assert!(doctor(&meeting).contains("granted by"), "{}", doctor(&meeting));
    meeting.web.stop();
    until("the mapping is given back", LIMIT, || !meeting.home.mappings().contains("dnat"));
    // Its interface went with it, and the kernel told of that.
    assert!(!meeting.web.log().contains("unsolicited message"), "{}", meeting.web.log());
}

/// The same where the router speaks UPnP alone: a gateway of version 1 and one of version 2.
#[test]
fn behind_a_router_that_maps_ports_by_upnp_alone_it_is_the_same() {
    let mut meeting = Neighbours::with_public_home(Nat::Symmetric, Nat::Symmetric);
    meeting.web.set_flags(&["--port-mapping"]);
    for speaks in [Speaks::Igd1, Speaks::Igd2] {
        let router = meeting.home.serve_mappings(speaks);
        meeting.part();
        meeting.come_back();
        let granted = || meeting.web.status().is_some_and(|s| s["port_mapping"]["outside"].is_string());
        let begun = Instant::now();
        until("the router grants a mapping", 2 * LIMIT, granted);
        let status = meeting.web.status().unwrap();
        assert_eq!(status["port_mapping"]["protocol"], "upnp", "{status:#}\n{}", router.output());
        println!("{speaks:?}: {} after {:?}", status["port_mapping"], begun.elapsed());
        settles(&meeting, "web-1 has a mapping", |used| !used.is_empty() && !used.starts_with("relayed"));
        the_other_end_uses(&meeting, status["port_mapping"]["outside"].as_str().unwrap());
        let mappings = meeting.home.mappings();
        assert!(mappings.contains("dnat"), "{mappings}");
        meeting.web.stop();
        assert!(!meeting.home.mappings().contains("dnat"), "given back before the agent has ended");
        meeting.web.start();
        meeting.web.wait_enrolled();
    }
}

/// The same where somebody has told the router by hand, and the node.
#[test]
fn behind_a_router_that_was_told_by_hand_a_node_is_reached_at_the_endpoint_it_names() {
    let mut meeting = Neighbours::new(Nat::Symmetric, Nat::Symmetric);
    let place = format!("{}:4500", meeting.home.router.v4);
    meeting.home.forward(4500);
    meeting.part();
    meeting.web.set_flags(&["--endpoint", &place]);
    meeting.come_back();
    settles(&meeting, "web-1 names its endpoint", |used| !used.is_empty() && !used.starts_with("relayed"));
    the_other_end_uses(&meeting, &place);
}

/// What is said of it names the relay, and nothing that was sent can be read on it.
#[test]
fn a_transfer_survives_that_the_direct_path_comes_and_goes() {
    let meeting = Neighbours::new(Nat::Restricted, Nat::Restricted);
    let wall = |up| {
        meeting.home.wall(&meeting.office, up);
        meeting.office.wall(&meeting.home, up);
    };
    wall(true);
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    meeting.first_answer(Duration::from_secs(3)).expect("the relay carries it");
    let used = || meeting.path(&meeting.web, "orders-1")["endpoint"].as_str().unwrap_or_default().to_owned();
    assert!(used().starts_with("relayed"));
    let mut transfer = Transfer::begin(&meeting, 60_000_000, "4M");
    for (up, size) in [(false, 8_000_000), (true, 24_000_000), (false, 40_000_000)] {
        until("the transfer runs", LIMIT, || transfer.size() > size);
        wall(up);
        let begun = Instant::now();
        let limit = Duration::from_secs(if up { 5 } else { 30 });
        until("the path follows", limit, || used().starts_with("relayed") == up);
        println!("wall {up}: the path follows after {:?}", begun.elapsed());
    }
    transfer.end();
    let flows = meeting.coordinator.json(&["flow", "list", "--limit", "1000"]);
    for path in ["relayed", "direct"] {
        let seen = |flow: &serde_json::Value| flow["path"] == path;
        assert!(flows.as_array().is_some_and(|flows| flows.iter().any(seen)), "{path}: {flows:#}");
    }
}

/// A relay that is started again gives new seats; what runs over it goes on.
#[test]
fn a_relayed_transfer_survives_a_restart_of_the_relay() {
    let mut meeting = Neighbours::new(Nat::Symmetric, Nat::Symmetric);
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    meeting.first_answer(Duration::from_secs(3)).expect("the relay carries it");
    let mut transfer = Transfer::begin(&meeting, 30_000_000, "4M");
    until("the transfer runs", LIMIT, || transfer.size() > 4_000_000);
    meeting.coordinator.kill_9();
    meeting.coordinator.serve();
    transfer.end();
}

/// RFC 4787 section 4.3: a mapping lives as long as somebody sends; a silent session keeps its own open.
#[test]
fn a_silent_session_keeps_its_mapping_open() {
    let meeting = Neighbours::new(Nat::Restricted, Nat::Restricted);
    for gate in [&meeting.home.router, &meeting.office.router] {
        let short =
            ["net.netfilter.nf_conntrack_udp_timeout=25", "net.netfilter.nf_conntrack_udp_timeout_stream=25"];
        gate.run(&[&["sysctl", "-qw"][..], &short].concat()).ok();
    }
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    meeting.first_answer(Duration::from_secs(3)).expect("they meet");
    let used = || meeting.path(&meeting.web, "orders-1")["endpoint"].as_str().unwrap_or_default().to_owned();
    until("the path is direct", LIMIT, || {
        meeting.say_something();
        !used().starts_with("relayed")
    });
    let known = || {
        let list = meeting.office.router.run(&["conntrack", "-L", "-p", "udp"]).text();
        let outside = meeting.home.router.v4.clone();
        // Questions to other places of the peer leave mappings, too; the one that is used was answered.
        let used = |line: &&str| line.contains(&format!("dst={outside}")) && !line.contains("UNREPLIED");
        let line = list.lines().find(used).map(str::to_owned);
        let seconds = line.and_then(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
        (list, seconds)
    };
    // Half of its life passes in silence, once WireGuard's own keepalives about what was last said have gone; then something
    // renews it.
    let low = eventually("the mapping grows old", 2 * LIMIT, || known().1.filter(|left| *left < 12));
    until("it is renewed", LIMIT, || known().1.is_some_and(|left| left > low + 5));
    // One packet, and no other way: it is what holds the mapping open that is asked about, not how quick the answer is.
    meeting.orders.host.run(&["ping", "-c", "1", "-W", "5", &meeting.web.v4()]).ok();
}

/// A router that was switched off and on gives other ports; what runs goes on at the new place.
#[test]
fn a_transfer_survives_a_nat_that_forgets_everything_and_gives_another_port() {
    let mut meeting = Neighbours::new(Nat::Restricted, Nat::Restricted);
    meeting.wait_mapped();
    meeting.coordinator.apply(BEFORE);
    meeting.first_answer(Duration::from_secs(3)).expect("they meet");
    let mut transfer = Transfer::begin(&meeting, 30_000_000, "6M");
    until("the transfer runs", LIMIT, || transfer.size() > 5_000_000);
    meeting.home.rebind(Nat::Restricted);
    until("the transfer runs", LIMIT, || transfer.size() > 15_000_000);
    meeting.office.rebind(Nat::Restricted);
    transfer.end();
    until("the path is direct again", Duration::from_secs(40), || {
        meeting.say_something();
        !meeting.used().starts_with("relayed")
    });
}
