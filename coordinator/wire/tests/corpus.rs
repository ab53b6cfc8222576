//! The kept bytes of the fuzzer (`config/fuzz`), replayed.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod fuzzed;

#[test]
fn kept_wire_bytes_are_read_or_refused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/fuzz/corpus/wire");
    let files: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "{}", files.len());
    files.iter().for_each(|file| fuzzed::wire(&std::fs::read(file).unwrap()));
}
