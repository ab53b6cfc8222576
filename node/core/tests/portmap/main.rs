//! What gateways answer when they are asked to map a port: the fuzzer's corpus, replayed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod fuzzed;

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "{target}: {}", files.len());
    files.iter().for_each(|file| check(&std::fs::read(file).unwrap()));
}

#[test]
fn kept_answers_of_pcp_and_nat_pmp_map_nothing_that_is_not_bounded() {
    replay("portmap", fuzzed::portmap);
}

#[test]
fn kept_answers_of_upnp_lead_nowhere_else() {
    replay("upnp", fuzzed::upnp);
}
