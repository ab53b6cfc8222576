//! The demo's story as laws, on a real kernel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use warren_netns_tests::capture::Capture;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::{BEFORE, Town, after};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{COORDINATOR_PORT, LIMIT, WIREGUARD_PORT};

const MARKER: &str = "MARKER-7f3a9c-through-the-tunnel";

fn write(path: String, bytes: &[u8]) {
    std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_a_grant_allows_goes_through_by_name_and_over_both_families() {
    let town = Town::new(Underlay::Both);
    write(town.orders.host.path("www/index.html"), MARKER.as_bytes());
    let _server = town.orders.serve_http(8080);
    town.web.resolve_here();
    assert!(town.web.curl("http://orders.test.internal:8080/").ok().contains(MARKER));
    assert!(town.web.curl("http://orders-1.test.internal:8080/").ok().contains(MARKER));
    assert!(town.web.curl(&format!("http://{}:8080/", town.orders.v4())).ok().contains(MARKER));
    assert!(town.web.curl(&format!("http://[{}]:8080/", town.orders.v6())).ok().contains(MARKER));
    let ping = |to: String| town.web.host.run(&["ping", "-c", "1", "-W", "5", &to]).status.success();
    assert!(ping(town.orders.v4()) && ping(town.orders.v6()));
}

#[test]
fn what_no_grant_allows_is_refused_at_once_and_explained() {
    let town = Town::new(Underlay::V4);
    let (_orders, _admin, _db) =
        (town.orders.serve_http(8080), town.orders.serve_http(9090), town.db.serve_http(5432));
    let start = Instant::now();
    for url in [
        format!("http://{}:9090/", town.orders.v4()),
        format!("http://[{}]:9090/", town.orders.v6()),
        format!("http://{}:5432/", town.db.v4()),
        format!("http://[{}]:5432/", town.db.v6()),
    ] {
        let refused = town.web.curl(&url);
        assert_eq!(refused.code(), 7, "{url}: {}", refused.text());
    }
    assert!(start.elapsed() < Duration::from_secs(4), "refused after {:?}", start.elapsed());
    let why = town.coordinator.warren(&["why", "web-1", "db-1", "tcp/5432"]);
    assert_eq!(why.code(), 1, "{}", why.text());
    assert!(why.text().contains("orders-reads-db"), "the nearest miss: {}", why.text());
    let here = town.web.cli(&["why", "db-1", "tcp/5432"]);
    assert_eq!(here.code(), 1);
    assert!(here.text().contains("no grant joins you to that"), "{}", here.text());
}

#[test]
fn a_name_that_may_not_be_reached_answers_like_one_that_does_not_exist() {
    let town = Town::new(Underlay::V4);
    let ask = |name: &str, kind: &str| {
        let at = format!("@{}", town.web.v4());
        town.web.host.run(&["dig", "+tries=1", "+time=3", &at, name, kind]).ok()
    };
    assert!(ask("orders.test.internal", "A").contains("status: NOERROR"));
    assert!(ask("orders.test.internal", "AAAA").contains(&town.orders.v6()));
    for kind in ["A", "AAAA", "TXT"] {
        let (hidden, absent) = (ask("db.test.internal", kind), ask("zz.test.internal", kind));
        let shape = |text: &str, name: &str| {
            let kept =
                text.lines().filter(|l| l.contains("flags:") || l.contains("status:") || l.starts_with(';'));
            let kept: String = kept
                .filter(|l| !l.contains("id:") && !l.contains("WHEN") && !l.contains("Query time"))
                .collect();
            kept.replace(name, "NAME")
        };
        assert!(hidden.contains("status: NXDOMAIN"), "{hidden}");
        assert_eq!(shape(&hidden, "db.test.internal"), shape(&absent, "zz.test.internal"));
    }
    // A grant to ping makes a node's own name visible; without one, neither the name nor the address tells of it.
    let ptr = |of: &str| {
        town.web.host.run(&["dig", "+short", "+tries=1", &format!("@{}", town.web.v4()), "-x", of]).ok()
    };
    let (orders, db) = (town.orders.v4(), town.db.v4());
    assert_eq!(ptr(&orders).trim(), "orders-1.test.internal.");
    assert_eq!(ptr(&db).trim(), "db-1.test.internal.");
    let unpinged = BEFORE.replace(
        "from = [\"all-nodes\"]\nto = [\"service:ping\"]",
        "from = [\"tag:db\"]\nto = [\"service:ping\"]",
    );
    assert_ne!(unpinged, BEFORE);
    town.coordinator.apply(&unpinged);
    assert_eq!(ptr(&orders).trim(), "orders-1.test.internal.");
    assert_eq!(ptr(&db).trim(), "");
    assert!(ask("db-1.test.internal", "A").contains("status: NXDOMAIN"));
}

#[test]
fn a_port_scan_finds_only_what_is_granted() {
    let town = Town::new(Underlay::V4);
    let (_granted, _hidden) = (town.orders.serve_http(8080), town.orders.serve_http(9090));
    let scan = town.web.host.run(&[
        "nmap",
        "-n",
        "-Pn",
        "-sT",
        "--max-retries",
        "1",
        "-oG",
        "-",
        "-p",
        "1-200,5432,8080,9090",
        &town.orders.v4(),
    ]);
    let open: Vec<_> = scan.stdout.split_whitespace().filter(|w| w.contains("/open/")).collect();
    assert_eq!(open.len(), 1, "{}", scan.text());
    assert!(open[0].starts_with("8080/open/"), "{open:?}");
    // An ACK scan learns nothing: a port that listens and is granted, one that listens and is hidden, and one where
    // nothing listens answer alike (the scanner's own node answers, nothing leaves the host).
    let target = town.orders.v4();
    let ack = ["nmap", "-n", "-Pn", "-sA", "--max-retries", "1", "-oG", "-", "-p", "8080,9090,9999", &target];
    let ack = town.web.host.run(&ack);
    let states: std::collections::BTreeSet<_> = ack
        .stdout
        .split([' ', '\t', ','])
        .filter_map(|w| w.split('/').nth(1))
        .filter(|s| !s.is_empty())
        .collect();
    assert_eq!(states.len(), 1, "{}", ack.text());
}

#[test]
fn a_change_of_policy_opens_one_path_and_cuts_the_other_while_a_transfer_runs() {
    let town = Town::new(Underlay::V4);
    let (_orders, _db) = (town.orders.serve_http(8080), town.db.serve_http(5432));
    let big = std::fs::File::create(town.orders.host.path("www/big.bin")).unwrap();
    big.set_len(16 << 30).unwrap(); // sparse: it takes no room, and is never read to the end
    let got = town.web.host.path("got.bin");
    let url = format!("http://{}:8080/big.bin", town.orders.v4());
    let mut transfer = town.web.host.daemon("transfer", &["curl", "-sS", "-o", &got, &url]);
    let size = || std::fs::metadata(&got).map(|m| m.len()).unwrap_or_default();
    until("the transfer runs", LIMIT, || size() > 5_000_000);
    assert_eq!(town.web.curl(&format!("http://{}:5432/", town.db.v4())).code(), 7);

    town.coordinator.apply(&after());
    let status = eventually("the transfer is cut", Duration::from_secs(3), || transfer.finished());
    assert!(!status.success());
    assert!(transfer.output().contains("reset by peer"), "{}", transfer.output());
    assert!(town.web.curl(&format!("http://{}:5432/", town.db.v4())).status.success());
    assert_eq!(town.web.curl(&url).code(), 7);
}

#[test]
fn a_flow_that_stays_allowed_loses_nothing_through_a_change_of_policy() {
    let town = Town::new(Underlay::V4);
    let _orders = town.orders.serve_http(8080);
    let bytes: Vec<u8> = (0..40_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    write(town.orders.host.path("www/data.bin"), &bytes);
    let got = town.web.host.path("got.bin");
    let url = format!("http://{}:8080/data.bin", town.orders.v4());
    let mut transfer =
        town.web.host.daemon("transfer", &["curl", "-sS", "--limit-rate", "15M", "-o", &got, &url]);
    until("the transfer runs", LIMIT, || std::fs::metadata(&got).is_ok_and(|m| m.len() > 1_000_000));
    for round in 0..4 {
        let text = BEFORE.replace("tcp/5432", &format!("tcp/{}", 5432 + round));
        town.coordinator.apply(&text);
    }
    let status = eventually("the transfer ends", 3 * LIMIT, || transfer.finished());
    assert!(status.success(), "{}", transfer.output());
    assert!(std::fs::read(&got).unwrap() == bytes, "every byte came");
}

#[test]
fn a_revoked_node_is_cut_and_stays_out() {
    let mut town = Town::new(Underlay::V4);
    let _orders = town.orders.serve_http(8080);
    let url = format!("http://{}:8080/", town.orders.v4());
    assert!(town.web.curl(&url).status.success());
    town.coordinator.warren(&["node", "revoke", "web-1", "--why", "stolen"]).ok();
    until("web-1 reaches nothing, and hears so at once", Duration::from_secs(5), || {
        town.web.curl(&url).code() == 7
    });
    town.web.kill_9();
    town.web.start();
    let said = until("a restart does not help", LIMIT, || town.web.log().contains("revoked"));
    assert!(said < LIMIT);
    assert!(!town.web.curl(&url).status.success());
    let listed = town.coordinator.json(&["node", "list"]).to_string();
    assert!(!listed.contains("web-1"), "{listed}");
}

#[test]
fn an_eavesdropper_on_the_underlay_reads_nothing() {
    let town = Town::new(Underlay::Both);
    write(town.orders.host.path("www/index.html"), MARKER.as_bytes());
    let _server = town.orders.serve_http(8080);
    town.web.resolve_here();
    let capture = Capture::start(&town.street, "underlay");
    for _ in 0..5 {
        assert!(town.web.curl("http://orders.test.internal:8080/").ok().contains(MARKER));
    }
    let refused = town.web.curl("http://db.test.internal:5432/");
    assert_eq!(refused.code(), 6, "{}", refused.text());
    town.coordinator.apply(&after());
    let seen = capture.finish();
    assert_eq!(seen.dropped, 0, "a capture with holes proves nothing");
    assert!(
        seen.udp_with_port(WIREGUARD_PORT) >= 20,
        "{} tunnel packets",
        seen.udp_with_port(WIREGUARD_PORT)
    );
    assert!(seen.udp_with_port(COORDINATOR_PORT) >= 2);
    assert_eq!(seen.strange(&[WIREGUARD_PORT, COORDINATOR_PORT]), vec![]);
    for word in [MARKER, "orders", "web-1", "test.internal", "GET /", "HTTP/1"] {
        assert_eq!(seen.containing(word.as_bytes()), 0, "`{word}` is readable on the underlay");
    }
}

#[test]
fn two_nodes_talk_over_an_ipv6_underlay() {
    let town = Town::new(Underlay::V6);
    let _server = town.orders.serve_http(8080);
    assert!(town.web.curl(&format!("http://{}:8080/", town.orders.v4())).status.success());
    assert!(town.web.curl(&format!("http://[{}]:8080/", town.orders.v6())).status.success());
}

#[test]
fn a_flow_is_listed_with_both_identities_within_two_seconds() {
    let town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    town.web.curl(&format!("http://{}:8080/", town.orders.v4())).ok();
    assert_eq!(town.web.curl(&format!("http://{}:9090/", town.orders.v4())).code(), 7);
    let listed = |words: &[&str]| {
        let flows = town.coordinator.warren(&["flow", "list"]).ok();
        flows.lines().any(|l| words.iter().all(|w| l.contains(w)))
    };
    until("the allowed flow is listed", Duration::from_secs(2), || {
        listed(&["web-1", "orders-1", "allow", "web-reads-orders", "8080"])
    });
    until("the refused one too", Duration::from_secs(2), || listed(&["web-1", "orders-1", "deny", "9090"]));
}

#[test]
fn a_node_shows_its_own_flows_as_they_happen_for_people_and_for_programs() {
    let town = Town::new(Underlay::V4);
    let _server = town.orders.serve_http(8080);
    let (allowed, refused) = (town.orders.v4(), town.db.v4());
    let knock = format!(
        "while sleep 0.3; do curl -s -o /dev/null --max-time 2 http://{allowed}:8080/; curl -s --max-time 2 http://{refused}:5432/; done"
    );
    let _traffic = town.web.host.daemon("knock", &["bash", "-c", &knock]);
    let watch = |more: &[&str]| town.web.cli(&[more, &["flows", "--watch", "--count", "12"]].concat()).ok();
    let text = watch(&[]);
    assert_eq!(text.lines().count(), 12, "{text}");
    let line = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(line(&["allow", "→ orders-1", "tcp/8080", "web-reads-orders"]), "{text}");
    assert!(line(&["DENY", "tcp/5432"]), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour into a pipe");
    for line in watch(&["--json"]).lines() {
        let flow: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(flow["verdict"].is_string() && flow["last_ms"].is_u64(), "{line}");
    }
}
