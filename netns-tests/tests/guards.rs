//! Guards that outlive the agent: closed, never in the clear.

use std::time::Duration;

use warren_netns_tests::capture::Capture;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::Town;
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
    assert_eq!(seen.strange(&[WIREGUARD_PORT, COORDINATOR_PORT]), vec![]);
    assert_eq!(seen.containing(MARKER.as_bytes()), 0);

    town.web.start();
    let url = format!("http://{v4}:8080/");
    until("the agent mends what was deleted", LIMIT, || town.web.curl(&url).status.success());
}

#[test]
fn an_overlay_address_is_reached_only_through_the_tunnel() {
    let mut town = Town::new(Underlay::V4);
    town.street.add_host("neighbour", Underlay::V4);
    let neighbour = town.street.host("neighbour");
    let _server = town.orders.serve_http(8080);
    for key in ["all", "up0", "warren0"] {
        town.orders.host.run(&["sysctl", "-qw", &format!("net.ipv4.conf.{key}.rp_filter=0")]).ok();
    }
    let (overlay, underlay) = (town.orders.v4(), town.orders.host.v4.clone());
    neighbour.run(&["ip", "route", "add", &format!("{overlay}/32"), "via", &underlay]).ok();
    let curl = |to: &str| neighbour.run(&["curl", "-sS", "--max-time", "2", &format!("http://{to}:8080/")]);
    assert!(curl(&underlay).status.success(), "the server itself answers on the underlay");
    assert!(!curl(&overlay).status.success(), "in clear, from the side");
    let ping = neighbour.run(&["ping", "-c", "2", "-W", "1", &overlay]);
    assert!(!ping.status.success(), "{}", ping.text());
    // The guard stays when the agent goes, and only then when it is told to go for good.
    town.orders.kill_9();
    assert!(!curl(&overlay).status.success(), "without the agent too");
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
