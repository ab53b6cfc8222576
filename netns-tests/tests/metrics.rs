//! What a scraper sees of both programs in a real network, and that the dashboard and the alert rules ask only for what is there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use warren_netns_tests::process::run;
use warren_netns_tests::street::Underlay;
use warren_netns_tests::town::Town;
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::LIMIT;

const AT_NODE: &str = "127.0.0.1:9586";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Metric names as they are scraped, each with its labels.
type Scrape = BTreeMap<String, BTreeSet<String>>;

/// Reads the OpenMetrics text format as far as names and labels go, and holds it to its rules.
fn read(text: &str, into: &mut Scrape) {
    assert!(text.ends_with("# EOF\n"), "it is whole");
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ").unwrap(),
            None => ("", rest.trim()),
        };
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(seen.insert((name, labels)), "twice: {line}");
        let keys = labels.split(',').filter_map(|pair| pair.split_once('=')).map(|(key, _)| key.to_owned());
        into.entry(name.to_owned()).or_default().extend(keys);
    }
}

/// Names of ours in an expression, each with the labels that are asked of it.
fn asked(expression: &str) -> Scrape {
    let mut found = Scrape::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut last, mut rest, mut grouped) = (String::new(), expression, BTreeSet::new());
    while let Some(c) = rest.chars().next() {
        if is_word(c) {
            let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            let word = &rest[..end];
            rest = &rest[end..];
            if word.starts_with("warren_") {
                found.entry(word.to_owned()).or_default();
                last = word.to_owned();
            } else if word == "by" {
                let (inside, after) = rest.split_once(')').unwrap();
                grouped.extend(inside.trim_start_matches([' ', '(']).split(',').map(|l| l.trim().to_owned()));
                rest = after;
            }
        } else if c == '{' {
            let (inside, after) = rest[1..].split_once('}').unwrap();
            let keys = inside.split(',').map(|pair| pair.split(['=', '!']).next().unwrap().trim().to_owned());
            found.get_mut(&last).unwrap().extend(keys);
            rest = after;
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    found.values_mut().for_each(|labels| labels.extend(grouped.iter().cloned()));
    found
}

/// Every `expr` of the dashboard, and what its variables ask.
fn of_dashboard() -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                found.extend(fields.get("query").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| walk(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(root().join("coordinator/monitoring/grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    walk(&serde_json::from_str(&text).unwrap(), &mut found);
    found
}

fn of_rules() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("coordinator/monitoring/alerts.yml")).unwrap();
    let found: Vec<String> =
        text.lines().filter_map(|l| l.trim().strip_prefix("expr: ")).map(str::to_owned).collect();
    assert_eq!(found.len(), text.matches("- alert:").count(), "one expression for each rule, on its line");
    found
}

#[test]
fn the_dashboard_and_the_rules_ask_only_for_what_both_programs_say() {
    let mut town = Town::new(Underlay::V4);
    // A receiver that is not there: its counters are, nevertheless.
    let settings = town.coordinator.host.dir.join("state/settings.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&settings).unwrap()).unwrap();
    kept["otlp"] = serde_json::json!({ "endpoint": "http://127.0.0.1:9" });
    std::fs::write(&settings, kept.to_string()).unwrap();
    town.coordinator.kill_9();
    town.coordinator.serve();
    let socket = town.web.host.path("metrics.sock");
    town.web.set_flags(&["--metrics", AT_NODE, "--metrics", &format!("unix:{socket}")]);
    town.web.restart();
    town.web.wait_enrolled();
    let _server = town.orders.serve_http(8080);
    assert!(town.web.curl(&format!("http://{}:8080/", town.orders.v4())).status.success());
    town.web.curl(&format!("http://{}:9090/", town.orders.v4()));

    let key = town.coordinator.warren(&["key", "create", "prometheus"]).ok();
    let bearer = format!("authorization: Bearer {}", key.trim());
    let coordinator = || {
        town.coordinator.host.run(&["curl", "-sS", "-i", "-H", &bearer, "http://127.0.0.1:7947/metrics"]).ok()
    };
    let counts = |text: &str, line: &str| -> u64 {
        let found = text.lines().find_map(|l| l.strip_prefix(line)).and_then(|rest| rest.trim().parse().ok());
        found.unwrap_or(0)
    };
    until("both flows are counted", LIMIT, || {
        let text = coordinator();
        counts(&text, "warren_flows_total{verdict=\"allow\"}") > 0
            && counts(&text, "warren_flows_total{verdict=\"deny\"}") > 0
            && counts(&text, "warren_flow_bytes_total{verdict=\"allow\"}") > 0
    });
    let node = town.web.host.run(&["curl", "-sS", "-i", &format!("http://{AT_NODE}/metrics")]).ok();
    let mut scrape = Scrape::new();
    for text in [coordinator(), node] {
        println!("{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
            "{head}"
        );
        read(body, &mut scrape);
    }
    // Prometheus adds these to whatever it scrapes.
    scrape.values_mut().for_each(|labels| labels.extend(["instance".to_owned(), "job".to_owned()]));
    let expressions: Vec<String> = of_dashboard().into_iter().chain(of_rules()).collect();
    let mut used = BTreeSet::new();
    for expression in &expressions {
        for (name, labels) in asked(expression) {
            let there = scrape.get(&name).unwrap_or_else(|| panic!("`{expression}`: nobody says {name}"));
            assert!(labels.is_subset(there), "`{expression}`: {name} has {there:?}, asked are {labels:?}");
            used.insert(name);
        }
    }
    let unused: Vec<&String> = scrape.keys().filter(|name| !used.contains(*name)).collect();
    println!("{} expressions, {} names used, not used: {unused:?}", expressions.len(), used.len());
    assert!(used.len() >= 25, "{used:?}");

    // Prometheus' own tool reads the rules, and the scrape.
    let promtool = root().join("target/debian/prometheus/usr/bin/promtool");
    assert!(promtool.is_file(), "scripts/test unpacks the Debian package prometheus under target/debian");
    let promtool = promtool.to_string_lossy();
    println!(
        "{}",
        run(
            None,
            &[
                &*promtool,
                "check",
                "rules",
                &root().join("coordinator/monitoring/alerts.yml").to_string_lossy()
            ],
            &[]
        )
        .ok()
    );

    // Nobody without a key, nobody from elsewhere.
    let stranger = town.coordinator.host.run(&[
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://127.0.0.1:7947/metrics",
    ]);
    assert_eq!(stranger.ok(), "401");
    let from_afar = town.orders.host.run(&[
        "curl",
        "-sS",
        "--max-time",
        "3",
        &format!("http://{}:9586/metrics", town.web.v4()),
    ]);
    assert!(!from_afar.status.success(), "only on loopback");
    let printed = town.web.cli(&["metrics"]).ok();
    let at_file = town.web.host.run(&["curl", "-sS", "--unix-socket", &socket, "http://node/metrics"]).ok();
    assert!(at_file.contains("warren_node_coordinator_connected 1"), "{at_file}");
    assert!(printed.contains("warren_node_coordinator_connected 1"), "{printed}");
    let wide = town.web.cli(&["run", "--metrics", "0.0.0.0:9586"]);
    assert_eq!(wide.code(), 2, "{}", wide.text());
}

#[test]
fn the_reader_of_expressions_finds_names_and_labels() {
    let found = asked("sum by (a, b) (rate(warren_x_total{c=~\"1.*\",d!=\"2\"}[5m])) > min(warren_y)");
    let labels = |of: &str| found[of].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(found.len(), 2);
    assert_eq!((labels("warren_x_total"), labels("warren_y")), (vec!["a", "b", "c", "d"], vec!["a", "b"]));
}
