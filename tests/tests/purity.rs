//! The law of the pure crates: time, randomness, files and the network come in as arguments.
//!
//! Reads what cargo would link, and what the sources say, so that nobody has to remember the rule.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const PURE: [&str; 4] = ["warren-config", "warren-wire", "warren-coordinator-core", "warren-node-core"];

/// Crates that reach a socket, a file system watcher, a database or a runtime.
const IO: [&str; 17] = [
    "tokio",
    "mio",
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "socket2",
    "rusqlite",
    "libsqlite3-sys",
    "hyper",
    "axum",
    "hickory-net",
    "hickory-resolver",
    "rtnetlink",
    "netlink-sys",
    "tun-rs",
    "rustix",
    "async-io",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Package name by id, and the normal dependencies of each package id.
fn graph(metadata: &Value) -> (BTreeMap<String, String>, BTreeMap<String, Vec<String>>) {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let names =
        metadata["packages"].as_array().unwrap().iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let normal = |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null());
    let edges = metadata["resolve"]["nodes"].as_array().unwrap().iter();
    let edges = edges
        .map(|n| {
            let deps = n["deps"].as_array().unwrap().iter().filter(normal).map(|d| text(&d["pkg"])).collect();
            (text(&n["id"]), deps)
        })
        .collect();
    (names, edges)
}

fn reachable(
    from: &str,
    names: &BTreeMap<String, String>,
    edges: &BTreeMap<String, Vec<String>>,
) -> BTreeSet<String> {
    let start = names.iter().find(|(_, name)| *name == from).expect("package exists").0.clone();
    let (mut seen, mut todo) = (BTreeSet::new(), vec![start]);
    while let Some(id) = todo.pop() {
        if seen.insert(id.clone()) {
            todo.extend(edges[&id].iter().cloned());
        }
    }
    seen.into_iter().map(|id| names[&id].clone()).collect()
}

#[test]
fn a_pure_crate_reaches_no_io() {
    let (names, edges) = graph(&metadata());
    for pure in PURE {
        let reached = reachable(pure, &names, &edges);
        assert!(reached.contains("thiserror"), "{pure}: the graph was read");
        let found: Vec<_> = IO.iter().filter(|io| reached.contains(**io)).collect();
        assert!(found.is_empty(), "{pure} can reach {found:?}");
    }
}

#[test]
fn rooms_depend_only_downwards() {
    let (names, edges) = graph(&metadata());
    let order = [
        ("warren-config", vec![]),
        ("warren-wire", vec!["warren-config"]),
        ("warren-coordinator-core", vec!["warren-config", "warren-wire"]),
        ("warren-node-core", vec!["warren-config", "warren-wire"]),
        ("warren-kernel", vec![]),
        ("warren-door", vec!["warren-config", "warren-wire", "warren-kernel"]),
        ("warren-scrape", vec![]),
        (
            "warren-coordinator",
            vec![
                "warren-config",
                "warren-wire",
                "warren-coordinator-core",
                "warren-kernel",
                "warren-door",
                "warren-scrape",
            ],
        ),
        (
            "warren-node",
            vec![
                "warren-config",
                "warren-wire",
                "warren-node-core",
                "warren-kernel",
                "warren-door",
                "warren-scrape",
            ],
        ),
    ];
    for (room, below) in order {
        let reached = reachable(room, &names, &edges);
        let ours: Vec<_> = reached.iter().filter(|n| n.starts_with("warren-") && **n != room).collect();
        assert!(
            ours.iter().all(|n| below.contains(&n.as_str())),
            "{room} reaches {ours:?}, may reach {below:?}"
        );
    }
}

#[test]
fn the_node_links_no_server_of_the_coordinator() {
    let (names, edges) = graph(&metadata());
    let reached = reachable("warren-node", &names, &edges);
    for heavy in ["axum", "rusqlite", "libsqlite3-sys", "tokio-postgres", "ratatui"] {
        assert!(!reached.contains(heavy), "warren-node links {heavy}");
    }
    // The metadata adds up what all members ask of a crate; the coordinator asks the rooms they share for schemas. The
    // node by itself does not, and where both are built at once nothing of it is called.
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let tree = std::process::Command::new(cargo)
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", "warren-node"])
        .output()
        .expect("cargo tree");
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains("warren-config"), "{tree}");
    assert!(!tree.lines().any(|line| line.starts_with("utoipa")), "warren-node links utoipa");
}

#[test]
fn one_tls_library_only() {
    let (names, edges) = graph(&metadata());
    for program in ["warren-node", "warren-coordinator"] {
        let reached = reachable(program, &names, &edges);
        assert!(reached.contains("aws-lc-rs"), "{program}");
        for other in ["openssl-sys", "native-tls", "rsa"] {
            assert!(!reached.contains(other), "{program} links {other}");
        }
    }
}

/// The fake clock of boringtun must never reach a shipped binary.
#[test]
fn the_tunnel_clock_is_real() {
    let metadata = metadata();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        if node["id"].as_str().unwrap().contains("boringtun") {
            let features = node["features"].as_array().unwrap();
            assert!(!features.iter().any(|f| f == "mock-instant"), "{features:?}");
        }
    }
}

#[test]
fn pure_sources_read_no_clock_and_no_randomness() {
    let forbidden = [
        "Instant::now",
        "SystemTime::now",
        "thread_rng",
        "OsRng",
        "getrandom::",
        "std::fs::",
        "std::net::UdpSocket",
        "std::net::TcpStream",
    ];
    for room in ["config/src", "coordinator/wire/src", "coordinator/core/src", "node/core/src"] {
        for file in sources(&root().join(room)) {
            if file.to_string_lossy().contains("/session") {
                continue; // the one wall: the WireGuard library reads its own clock there
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for word in forbidden {
                let found = code.lines().find(|l| l.contains(word) && !l.trim_start().starts_with("//"));
                assert!(found.is_none(), "{}: {word}", file.display());
            }
        }
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
    found
}
