//! Settings of names that cannot be right: each is said where it can be mended, with what to do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use warren_netns_tests::nameserver::{self, NAME};
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

fn policy(dns: &str) -> String {
    format!(
        "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n[dns]\n{dns}\n"
    )
}

/// Does `doctor` say this of `check`, in the finding or in what to do?
fn says(doctor: &str, check: &str, words: &[&str]) -> bool {
    let lines: Vec<&str> = doctor.lines().collect();
    let bad = lines.windows(2).filter(|pair| pair[0].starts_with(&format!("BAD  {check}")));
    bad.map(|pair| pair.concat()).any(|text| words.iter().all(|word| text.contains(word)))
}

/// The same words at `check`, which needs no network, and at `apply`, which must change nothing.
#[test]
fn what_a_policy_cannot_mean_is_refused_with_what_to_write() {
    let street = Street::new(&["coord"], Underlay::V4);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let good = policy("zone = \"prod.internal\"");
    coordinator.apply(&good);
    let file = coordinator.host.path("bad.toml");
    for (dns, words) in [
        ("upstream = [\"udp://9.9.9.9:53#a\"]", &["udp://9.9.9.9:53#a", "tls://ADDRESS:853#NAME"][..]),
        ("upstream = [\"9.9.9.9\"]", &["`9.9.9.9`", "encrypted", "tls://ADDRESS:853#NAME"]),
        ("upstream = [\"tls://9.9.9.9:853\"]", &["names no certificate", "behind `#`"]),
        ("upstream = [\"quic://9.9.9.9#\"]", &["names no certificate", "behind `#`"]),
        ("upstream = [\"https://dns.quad9.net#dns.quad9.net\"]", &["dns.quad9.net", "not an IP address"]),
        ("upstream = [\"tls://9.9.9.9#a..b\"]", &["`a..b`", "certificate"]),
        ("zone = \"com\"", &["`com`", "top-level domain", "prod.internal"]),
        ("zone = \"co.uk\"", &["`co.uk`", "others register", "prod.internal"]),
        ("zone = \"sch.uk\"", &["`sch.uk`", "others register", "prod.internal"]),
        ("zone = \"s3.amazonaws.com\"", &["`s3.amazonaws.com`", "others register", "prod.internal"]),
        ("zone = \"home.local\"", &["`home.local`", "local link", "prod.internal"]),
        ("zone = \"Prod.internal\"", &["`Prod.internal`", "lower-case"]),
        (
            "[[dns.split]]\nsuffix = \"corp.example\"\nupstream = [\"tcp://10.0.0.1\"]",
            &["tcp://10.0.0.1", "tls://"],
        ),
    ] {
        std::fs::write(&file, policy(dns)).unwrap();
        for verb in ["check", "apply"] {
            let said = coordinator.warren(&["policy", verb, &file]);
            println!("policy {verb}: {}", said.text());
            assert_eq!(said.code(), 1, "{verb} {dns}: {}", said.text());
            for word in words {
                assert!(said.text().contains(word), "{verb} {dns}: no `{word}` in {}", said.text());
            }
        }
    }
    assert_eq!(coordinator.json(&["status"])["generation"], 1, "nothing of it was applied");
}

#[test]
fn a_server_that_cannot_be_reached_and_a_zone_of_two_networks_are_found_by_the_doctor() {
    let street = Street::new(&["coord", "lab", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let ranges = [["--v4-range", "100.64.0.0/11"], ["--v4-range", "100.96.0.0/11"]];
    let coordinator = Coordinator::start_with(&street, "coord", Underlay::V4, &ranges[0]);
    let lab = Coordinator::start_with(&street, "lab", Underlay::V4, &ranges[1]);
    let host = street.host("web-1");
    let agent = |interface: &str, port: &str| {
        vec![
            ("WARREN_NODE_INTERFACE", interface.to_owned()),
            ("WARREN_NODE_PORT", port.to_owned()),
            ("WARREN_NODE_STATE", host.path(interface)),
            ("WARREN_NODE_SOCKET", host.path(&format!("run/{interface}.sock"))),
            ("WARREN_NODE_DNS_CA", dns.ca.clone()),
        ]
    };
    let web =
        Node::enrol_with(&street, &coordinator, "web-1", &["web"], agent("warren0", "51820"), Vec::new());
    let _second = Node::enrol_with(&street, &lab, "web-1", &["web"], agent("lab0", "51821"), Vec::new());
    let at = |host: &str| format!("upstream = [\"tls://{}#{NAME}\"]", street.host(host).v4);
    coordinator.apply(&policy(&format!("zone = \"prod.internal\"\n{}", at("dns"))));
    lab.apply(&policy("zone = \"lab.internal\""));
    let doctor = || web.cli(&["doctor"]).text();
    until("two zones, and a server that answers: nothing to say of names", LIMIT, || {
        let said = doctor();
        said.contains("at 1 encrypted upstream") && !says(&said, "names", &[]) && !says(&said, "zone", &[])
    });

    // Nobody is at that address.
    coordinator.apply(&policy("zone = \"prod.internal\"\nupstream = [\"tls://10.91.0.77#dns.test\"]"));
    until("the server that is not there is found", Duration::from_secs(20), || {
        says(&doctor(), "names", &["tls://10.91.0.77:853#dns.test", "does not answer", "firewall"])
    });
    let said = web.cli(&["doctor"]);
    println!("{}", said.text());
    assert_eq!(said.code(), 1);

    coordinator.apply(&policy(&format!("zone = \"prod.internal\"\n{}", at("dns"))));
    lab.apply(&policy("zone = \"prod.internal\""));
    until("the zone of two networks is found", LIMIT, || {
        says(&doctor(), "zone", &["lab0", "prod.internal", "another `zone`"])
    });
    println!("{}", doctor());
}
