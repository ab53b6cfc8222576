//! The API and the page of a real coordinator with real nodes and traffic: Chromium walks every view and compares each number
//! with its field of the API; schemathesis holds the API to its own description.
//!
//! What they need (Chromium, Node, the page's tools, schemathesis) is put in place by `scripts/test`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use warren_netns_tests::process::{Daemon, run_within};
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::{Town, after};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::LIMIT;

const API: &str = "http://127.0.0.1:7947";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Opens what is granted and knocks where nothing is, twice a second, for as long as it is held.
fn chatter(town: &Town) -> [Daemon; 3] {
    let (orders, db) = (town.orders.v4(), town.db.v4());
    let curl = "curl -s -o /dev/null --max-time 2";
    let web = format!(
        "while sleep 0.5; do {curl} http://{orders}:8080/; {curl} http://{orders}:9090/; {curl} http://{db}:5432/; done"
    );
    let ask = format!("while sleep 0.5; do {curl} http://{db}:5432/; ping -c1 -W1 {db}; done");
    [
        town.orders.serve_http(8080),
        town.web.host.daemon("chatter", &["bash", "-c", &web]),
        town.orders.host.daemon("chatter", &["bash", "-c", &ask]),
    ]
}

fn key(town: &Town, scope: &str) -> String {
    town.coordinator
        .warren(&["key", "create", &format!("test-{scope}"), "--scope", scope])
        .ok()
        .trim()
        .to_owned()
}

/// Both verdicts are on the map, also on that of ten seconds ago.
fn wait_for_edges(town: &Town) {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let has = |verdict: &str| {
        let map = town.coordinator.json(&["map", "--at", &(now() - 10).to_string()]);
        map["edges"].as_array().unwrap().iter().any(|edge| edge["verdict"] == verdict)
    };
    until("allowed and refused traffic is on the map", LIMIT, || has("allow") && has("deny"));
}

/// Not asked of it: streams without an end; and refusing wrong keys, which is another test's: one source may only try twenty a
/// minute. A request that its schema permits may still be refused (an end before its beginning, a node nobody knows).
const NOT_ASKED: [&str; 4] =
    ["--exclude-path", "/v1/events", "--exclude-checks", "ignored_auth,positive_data_acceptance"];
/// Seconds of making up requests.
const MADE_UP: &str = "45";

#[test]
fn the_api_answers_everything_as_its_description_says() {
    let town = Town::new(Underlay::V4);
    let _traffic = chatter(&town);
    wait_for_edges(&town);
    let tool = root().join("target/tools/schemathesis/bin/schemathesis");
    assert!(tool.is_file(), "scripts/test puts schemathesis under target/tools");
    let (tool, bearer) = (tool.to_string_lossy(), format!("Authorization: Bearer {}", key(&town, "admin")));
    let document = format!("{API}/openapi.json");
    let run = [&*tool, "run", &document, "-H", &bearer, "--phases", "examples,coverage,fuzzing"];
    // Fewer than the API takes of one source in a second.
    let bounds =
        ["--max-time", MADE_UP, "--max-examples", "20", "--request-timeout", "10", "--rate-limit", "300/s"];
    let form = [
        "--generation-deterministic",
        "--continue-on-failure",
        "--no-shrink",
        "--no-color",
        "--warnings",
        "off",
    ];
    let words = [&run[..], &bounds, &form, &NOT_ASKED].concat();
    let said = run_within(
        120,
        Some(&town.coordinator.host.namespace),
        &words,
        &[("HOME", town.coordinator.host.path("").as_str())],
    );
    println!("{}", said.text());
    let said = said.ok();
    assert!(said.contains("Fuzzing") && said.contains("generated"), "{said}");
    assert!(town.coordinator.warren(&["status"]).status.success(), "it goes on");
}

/// What needs a coordinator that can be made to fall silent, refuse, forget, or have five hundred services: the page's own
/// stand-in for one.
#[test]
fn the_page_keeps_its_laws_with_a_coordinator_that_goes_away_refuses_lies_or_is_large() {
    let shots = root().join("target/screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let ui = root().join("coordinator/ui");
    let (ui, shots) = (ui.to_string_lossy(), shots.to_string_lossy());
    let npm = ["npm", "--prefix", &ui, "run", "--silent", "browser", "--", "-t", "against the mock only"];
    let walked = run_within(300, None, &npm, &[("WARREN_SHOTS", &shots)]).ok();
    println!("{walked}");
    assert!(walked.contains("500 services are drawn"), "{walked}");
}

#[test]
fn every_number_on_the_page_of_a_real_network_is_its_field_of_the_api() {
    let town = Town::new(Underlay::V4);
    let traffic = chatter(&town);
    town.coordinator.apply(&after());
    town.coordinator.apply(warren_netns_tests::town::BEFORE);
    town.coordinator.token(&["--name", "spare-1"]);
    let admin = key(&town, "admin");
    wait_for_edges(&town);
    // What stands still can be compared to the last digit.
    drop(traffic);
    let shots = root().join("target/screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let ui = root().join("coordinator/ui");
    let env = [("WARREN_URL", API), ("WARREN_KEY", &admin), ("WARREN_SHOTS", &shots.to_string_lossy())];
    let npm = ["npm", "--prefix", &ui.to_string_lossy(), "run", "--silent", "browser"];
    let walked = run_within(300, Some(&town.coordinator.host.namespace), &npm, &env).ok();
    println!("{walked}");
    assert!(shots.join("map.png").is_file(), "screenshots are in {}", shots.display());
}
