//! Every verdict has a reason that can be asked for: at the coordinator for everybody, on a node for itself only, and for what
//! was just dropped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::{BEFORE, Town};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{WIREGUARD_PORT, binary};

fn explained(done: warren_netns_tests::process::Finished) -> (i32, String) {
    (done.code(), done.text())
}

#[test]
fn why_at_the_coordinator_names_the_grant_and_generation_or_the_nearest_miss() {
    let town = Town::new(Underlay::V4);
    let why = |words: [&str; 3]| explained(town.coordinator.warren(&[&["why"], &words[..]].concat()));
    let (code, said) = why(["web-1", "orders-1", "tcp/8080"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("web-reads-orders") && said.contains("generation 1"), "{said}");
    println!("{said}");
    town.coordinator.apply(&BEFORE.replace("tcp/5432", "tcp/5433"));
    let (code, said) = why(["web-1", "orders-1", "tcp/8080"]);
    assert!(code == 0 && said.contains("generation 2"), "the generation in force: {said}");
    for (question, nearest) in [
        (["web-1", "db-1", "tcp/5433"], "orders-reads-db"),
        (["web-1", "orders-1", "tcp/8081"], "`orders-1` does not offer a service that listens on tcp/8081"),
        (["orders-1", "web-1", "tcp/8080"], "`web-1` does not offer a service that listens on tcp/8080"),
    ] {
        let (code, said) = why(question);
        println!("{question:?}\n{said}");
        assert!(code == 1 && said.contains(nearest), "{question:?}: {said}");
    }
}

#[test]
fn why_on_a_node_speaks_of_itself_only_and_tells_no_more_than_it_may_know() {
    let town = Town::new(Underlay::V4);
    let why = |words: &[&str]| explained(town.web.cli(&[&["why"], words].concat()));
    let (code, said) = why(&["orders-1", "tcp/8080"]);
    assert!(code == 0 && said.contains("allowed by grant web-reads-orders at generation 1"), "{said}");
    // Whether it is there and refused, or not there at all, is told alike.
    let hidden = why(&["db-1", "tcp/5432"]);
    let absent = why(&["zz-1", "tcp/5432"]);
    assert_eq!(hidden.0, 1);
    assert!(hidden.1.contains("no grant joins you to that"), "{hidden:?}");
    assert_eq!((hidden.0, hidden.1.replace("db-1", "NAME")), (absent.0, absent.1.replace("zz-1", "NAME")));
    // Others' connections are not its business.
    let (code, said) = why(&["orders-1", "db-1", "tcp/5432"]);
    assert!(code == 2 && said.contains("a node knows only its own connections"), "{said}");
    println!("{}{}{said}", hidden.1, absent.1);
}

#[test]
fn what_was_just_dropped_is_explained_with_reason_count_and_time() {
    let town = Town::new(Underlay::V4);
    for _ in 0..3 {
        assert_eq!(town.web.curl(&format!("http://{}:9090/", town.orders.v4())).code(), 7);
    }
    let asked = |words: &[&str]| town.web.cli(&[&["--json", "why"], words].concat());
    let drops = |words: &[&str]| -> Value { serde_json::from_str(&asked(words).stdout).unwrap() };
    let said = drops(&["orders-1", "tcp/9090"]);
    let drop = &said["answers"][0]["drops"][0];
    assert_eq!((drop["reason"].as_str(), drop["count"].as_u64()), (Some("denied"), Some(3)), "{said}");
    assert!(drop["seconds_ago"].as_u64().unwrap() < 20, "{said}");
    assert!(drops(&["orders-1", "tcp/9091"])["answers"][0]["drops"].as_array().unwrap().is_empty(), "{said}");
    // Where no grant joins it to anybody, the address that was tried is all there is.
    let nobody = "100.64.0.77";
    town.web.curl(&format!("http://{nobody}:22/"));
    let said = drops(&[nobody, "tcp/22"]);
    assert_eq!(said["answers"][0]["drops"][0]["reason"], "destination-no-peer", "{said}");
    let text = town.web.cli(&["why", "orders-1", "tcp/9090"]).text();
    assert!(text.contains("dropped 3 times, last"), "{text}");
    println!("{text}{}", town.web.cli(&["why", nobody, "tcp/22"]).text());
}

/// Refused at the sender, or (if the sender keeps no rule) at the receiver: both ends' records have it within two seconds.
#[test]
fn a_refusal_is_in_the_records_of_both_ends_within_two_seconds() {
    let mut town = Town::new(Underlay::V4);
    let listed = |town: &Town, end: [&str; 2]| {
        let flows = town.coordinator.warren(&["flow", "list", end[0], end[1], "--verdict", "deny"]).ok();
        let row = |line: &&str| ["web-1", "orders-1", "deny"].iter().all(|word| line.contains(word));
        flows.lines().filter(row).map(String::from).collect::<Vec<_>>()
    };
    let ends = [["--from", "web-1"], ["--to", "orders-1"]];
    town.web.curl(&format!("http://{}:9090/", town.orders.v4()));
    for end in ends {
        until("the sender's refusal is listed at this end", Duration::from_secs(2), || {
            listed(&town, end).iter().any(|row| row.contains("9090"))
        });
    }
    let here = town.web.cli(&["flows"]).text();
    assert!(here.contains("9090") && here.contains("deny"), "{here}");
    // Its keys are in other hands, and whoever has them asks no policy before he sends.
    let (me, to, private, key) =
        (town.web.v4(), town.orders.v4(), town.web.stolen_keys(), town.orders.public_keys());
    let target = format!("{}:{WIREGUARD_PORT}", town.orders.host.v4);
    town.web.kill_9();
    let program = binary("attack-spray");
    let spray = ["--open", "8080,8081", "--rate", "20", "--seconds", "1"];
    let words =
        [&program, "--target", &target, "--key", &key, "--private", &private, "--me", &me, "--to", &to];
    town.web.host.run(&[&words[..], &spray].concat()).ok();
    for end in ends {
        until("the receiver's refusals are listed at this end", Duration::from_secs(2), || {
            listed(&town, end).iter().filter(|row| !row.contains("9090")).count() >= 5
        });
    }
    let there = town.orders.cli(&["flows"]).text();
    assert!(there.lines().filter(|line| line.contains("deny")).count() >= 5, "{there}");
    println!("{}", listed(&town, ends[1]).iter().take(5).map(|row| format!("{row}\n")).collect::<String>());
}
