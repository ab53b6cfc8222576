//! The JSON Schema that editors use accepts every example and refuses every fault of shape.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};
use warren_config::schema::SCHEMA;

/// Faults that no schema can see: they are about what names mean, or about more than one value.
const BEYOND_SHAPE: &[&str] = &[
    "all-to-all",
    "duplicate-id",
    "missing-version",
    "not-with-itself",
    "unknown-group",
    "unknown-service",
    "unknown-tag",
    "warnings",
];

struct Validator {
    schemas: Schemas,
    root: SchemaIndex,
}

impl Validator {
    fn new() -> Validator {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler.add_resource("policy.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let root = compiler.compile("policy.json", &mut schemas).unwrap_or_else(|e| panic!("{e:#}"));
        Validator { schemas, root }
    }

    fn refuses(&self, value: &Value) -> Option<String> {
        self.schemas.validate(value, self.root).err().map(|e| format!("{e:#}"))
    }
}

/// As editors see TOML: a time is its text.
fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(n) => json!(n),
        toml::Value::Float(n) => json!(n),
        toml::Value::Boolean(b) => json!(b),
        toml::Value::Datetime(time) => json!(time.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json_of).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(k, v)| (k, json_of(v))).collect(),
    }
}

fn policies(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(policies(&path));
        } else if path.extension().is_some_and(|ext| ext == "toml") {
            found.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), path);
        }
    }
    found
}

#[test]
fn every_example_has_the_shape() {
    let validator = Validator::new();
    let examples = policies(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"));
    assert!(examples.len() >= 4);
    for (name, path) in examples {
        let value = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(validator.refuses(&json_of(value)), None, "{name}");
    }
}

#[test]
fn every_fault_of_shape_is_refused() {
    let validator = Validator::new();
    let mut beyond = BTreeSet::new();
    for (name, path) in policies(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults")) {
        // One file of several is judged with the others only.
        if path.parent().is_some_and(|folder| folder.extension().is_some()) {
            continue;
        }
        // What is no TOML an editor refuses before it looks at a schema.
        let Ok(value) = toml::from_str(&std::fs::read_to_string(path).unwrap()) else { continue };
        if validator.refuses(&json_of(value)).is_none() {
            beyond.insert(name);
        }
    }
    assert_eq!(beyond, BEYOND_SHAPE.iter().map(|name| (*name).to_owned()).collect());
}

/// One wrong value in an otherwise good policy.
#[test]
fn every_key_knows_its_kind_and_spelling() {
    let validator = Validator::new();
    let good = json!({
        "version": 1,
        "group": { "ops": { "members": ["a@example.com"] } },
        "tag": { "web": { "owners": ["group:ops"], "not-with": ["tag:dev"] } },
        "service": { "s": { "on": ["tag:web & tag:prod"], "listen": ["tcp/1-65535", "proto/132", "icmp/echo"] } },
        "grant": [{ "id": "g", "from": ["all-nodes"], "except": ["node:x"], "to": ["service:s"],
            "until": "2027-01-31T00:00:00Z", "mode": "audit", "why": "" }],
        "invariant": [{ "id": "i", "never": { "from": ["tag:a"], "to": ["node:b tcp/22"], "via": "any" } }],
        "test": [{ "id": "t", "from": "tag:web", "to": { "node": "n", "port": "tcp/1" }, "expect": "deny" }],
        "dns": { "zone": "a.b", "upstream": ["tls://9.9.9.9:853#n"], "private": ["lab.x"], "report": "names",
            "split": [{ "suffix": "corp", "upstream": ["https://[2620:fe::fe]/dns-query#dns.quad9.net"] }] }
    });
    assert_eq!(validator.refuses(&good), None);
    for (place, bad) in [
        ("/version", json!(2)),
        ("/mode", json!("observ")),
        ("/group/ops/members/0", json!("node:x")),
        ("/group/ops/members/0", json!("a b")),
        ("/tag/web/owners/0", json!("ops")),
        ("/tag/web/not-with", json!([])),
        ("/service/s/on/0", json!("tag:web & node:x")),
        ("/service/s/listen/0", json!("tcp/0")),
        ("/service/s/listen/0", json!("tcp/65536")),
        ("/service/s/listen/0", json!("tcp/080")),
        ("/service/s/listen/0", json!("proto/6")),
        ("/service/s/listen/0", json!("proto/58")),
        ("/service/s/listen/0", json!("proto/256")),
        ("/service/s/listen/0", json!("icmp/8")),
        ("/service/s/listen/0", json!("8443")),
        ("/grant/0/id", json!("A")),
        ("/grant/0/id", json!("a".repeat(64))),
        ("/grant/0/from/0", json!("group:ops")),
        ("/grant/0/to/0", json!("tag:web")),
        ("/grant/0/until", json!("2027-01-31")),
        ("/grant/0/until", json!("2027-01-31T00:00:00+02:00")),
        ("/grant/0/mode", json!("on")),
        ("/grant/0/rate", json!(5)),
        ("/invariant/0/never/via", json!("all")),
        ("/invariant/0/only", json!({ "from": ["tag:a"], "to": ["service:b"] })),
        ("/invariant/0/never/to/0", json!("service:s tcp/1")),
        ("/test/0/by", json!("g")),
        ("/test/0/to/service", json!("s")),
        ("/test/0/expect", json!("refuse")),
        ("/dns/zone", json!("A.b")),
        ("/dns/upstream/0", json!("9.9.9.9")),
        ("/dns/upstream/0", json!("tls://#x")),
        ("/dns/upstream/0", json!("tls://9.9.9.9:853")),
        ("/dns/upstream/0", json!("udp://9.9.9.9#n")),
        ("/dns/upstream/0", json!("tls://dns.quad9.net#dns.quad9.net")),
        ("/dns/zone", json!("internal")),
        ("/dns/private/0", json!("*.lab.x")),
        ("/dns/report", json!("counts")),
        ("/dns/report", json!(true)),
        ("/dns/split/0/suffix", json!("Corp")),
        ("/dns/split/0/upstream", json!([])),
        ("/dns/split/0/zone", json!("a.b")),
    ] {
        let mut value = good.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        match value.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = bad,
            parent => parent[key] = bad,
        }
        assert!(validator.refuses(&value).is_some(), "{place}: {}", value.pointer(place).unwrap());
    }
}

/// Every protocol number is in the schema if and only if the language has it.
#[test]
fn the_spelling_of_ports_and_numbers_is_that_of_the_language() {
    let validator = Validator::new();
    let listens = (0..300u32).map(|n| format!("proto/{n}"));
    let ports =
        [0, 1, 9, 10, 99, 100, 999, 1000, 5999, 6000, 6999, 9999, 10_000, 59_999, 60_000, 64_999, 65_000]
            .into_iter()
            .chain(65_400..65_700)
            .chain([70_000, 99_999, 100_000, 655_350]);
    let listens = listens.chain(ports.flat_map(|p: u32| [format!("tcp/{p}"), format!("udp/1-{p}")]));
    for listen in
        listens.chain(["icmp/echo", "icmp/", "tcp", "tcp/", "tcp/1-", "tcp/-1", "TCP/1"].map(str::to_owned))
    {
        let value = json!({ "service": { "s": { "on": ["all-nodes"], "listen": [listen] } } });
        let known = warren_config::question::parse_listen(&listen).is_ok();
        assert_eq!(validator.refuses(&value).is_none(), known, "{listen}");
    }
}
