//! `warren policy check --sarif` has the shape of SARIF 2.1.0 (OASIS Standard, 27 March 2020).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{World, code, stdout};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// An object whose properties are among `allowed`, with all of `required`.
fn object<'a>(value: &'a Value, required: &[&str], allowed: &[&str]) -> &'a Object {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    for key in object.keys() {
        assert!(
            required.contains(&key.as_str()) || allowed.contains(&key.as_str()),
            "unknown property {key}"
        );
    }
    for key in required {
        assert!(object.contains_key(*key), "{key} is missing: {value}");
    }
    object
}

fn text(value: &Value) -> &str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or_else(|| panic!("no text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn number(value: &Value, at_least: u64) {
    assert!(value.as_u64().is_some_and(|n| n >= at_least), "{value}");
}

/// Sections 3.13, 3.14, 3.18, 3.19.
fn log(value: &Value) -> &[Value] {
    let log = object(value, &["version", "runs"], &["$schema"]);
    assert_eq!(log["version"], "2.1.0");
    let [run] = list(&log["runs"]) else { panic!("one run") };
    let run = object(run, &["tool", "results"], &["columnKind"]);
    assert!(["utf16CodeUnits", "unicodeCodePoints"].contains(&text(&run["columnKind"])));
    let tool = object(&run["tool"], &["driver"], &[]);
    let driver = object(&tool["driver"], &["name", "version", "rules"], &[]);
    text(&driver["name"]);
    text(&driver["version"]);
    // 3.49: an id each, none twice (3.19.23).
    let rules: Vec<&str> =
        list(&driver["rules"]).iter().map(|r| text(&object(r, &["id"], &[])["id"])).collect();
    let mut distinct = rules.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), rules.len());
    let results = list(&run["results"]);
    results.iter().for_each(|one| result(one, &rules));
    results
}

/// Section 3.27.
fn result(value: &Value, rules: &[&str]) {
    let result = object(value, &["message", "ruleId", "level", "locations"], &[]);
    text(&object(&result["message"], &["text"], &[])["text"]);
    assert!(rules.contains(&text(&result["ruleId"])));
    assert!(["none", "note", "warning", "error"].contains(&text(&result["level"])));
    for location in list(&result["locations"]) {
        let place = object(
            &object(location, &["physicalLocation"], &[])["physicalLocation"],
            &["artifactLocation"],
            &["region"],
        );
        let uri = text(&object(&place["artifactLocation"], &["uri"], &[])["uri"]);
        // 3.4.3: a URI reference. RFC 3986, section 4.2: a relative one has no colon in its first segment.
        assert!(uri.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b)), "{uri}");
        assert!(uri.starts_with("file:///") || !uri.split('/').next().unwrap().contains(':'), "{uri}");
        if let Some(value) = place.get("region") {
            // 3.30: lines and columns from 1, bytes from 0.
            let region = object(value, &["startLine", "startColumn"], &["byteOffset", "byteLength"]);
            number(&region["startLine"], 1);
            number(&region["startColumn"], 1);
            number(&region["byteOffset"], 0);
            number(&region["byteLength"], 0);
        }
    }
}

const GOOD: &str = "version = 1\n[group.g]\nmembers = [\"a\"]\n[tag.web]\nowners = [\"group:g\"]\n\
    [service.s]\non = [\"tag:web\"]\nlisten = [\"tcp/1\"]\n";
const TEST: &str = "[[test]]\nid = \"fails\"\nfrom = \"tag:web\"\nto = \"service:s\"\nexpect = \"allow\"\n";
const LAW: &str =
    "[[invariant]]\nid = \"law\"\nalways = { from = [\"tag:web\"], to = [\"tag:web tcp/1\"] }\n";

fn check(text: &str) -> (i32, Value) {
    let world = World::empty();
    let file = world.write("a policy.toml", text);
    let output = world.run(&["policy", "check", "--sarif", &file]);
    (code(&output), serde_json::from_str(&stdout(&output)).unwrap())
}

#[test]
fn every_kind_of_finding_has_the_shape_of_sarif() {
    let faulty = format!("{GOOD}[[grant]]\nid = \"g\"\nfrom = [\"tag:wep\"]\nto = [\"service:t\"]\n");
    let warned = format!("{GOOD}[tag.orphan]\n");
    let broken = format!("{GOOD}{TEST}{LAW}");
    for (source, exit, ids) in [
        (GOOD, 0, &[][..]),
        (&faulty, 1, &["unknown-tag", "unknown-service"]),
        (&warned, 0, &["tag-without-owner"]),
        (&broken, 1, &["test-fails", "invariant-broken"]),
        ("version = ", 1, &["syntax"]),
    ] {
        let (code, value) = check(source);
        let found: Vec<&str> = log(&value).iter().map(|r| r["ruleId"].as_str().unwrap()).collect();
        assert_eq!((code, found.as_slice()), (exit, ids), "{source}");
    }
}

#[test]
fn a_failed_test_and_a_broken_invariant_are_shown_where_they_stand() {
    let (_, value) = check(&format!("{GOOD}{TEST}{LAW}"));
    let line = |n: usize| {
        value["runs"][0]["results"][n]["locations"][0]["physicalLocation"]["region"]["startLine"].clone()
    };
    let of = |needle: &str| format!("{GOOD}{TEST}{LAW}").lines().position(|l| l == needle).unwrap() + 1;
    assert_eq!((line(0), line(1)), (of("id = \"fails\"").into(), of("id = \"law\"").into()));
    let world = World::empty();
    let file = world.write("p.toml", &format!("{GOOD}{TEST}{LAW}"));
    let text = stdout(&world.run(&["policy", "check", &file]));
    assert!(text.contains(&format!("p.toml:{}:6: test fails fails: ", of("id = \"fails\""))), "{text}");
    let output = world.run(&["--json", "policy", "check", &file]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let ids: Vec<&Value> = list(&json["findings"]).iter().map(|f| &f["id"]).collect();
    assert_eq!((code(&output), ids), (1, vec![&"test-fails".into(), &"invariant-broken".into()]));
    assert!(json["findings"][1]["span"]["end"].as_u64() > json["findings"][1]["span"]["start"].as_u64());
}
