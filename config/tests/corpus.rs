//! The kept bytes of the fuzzer, replayed.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod fuzzed;

fn replay(folder: &str, target: fn(&[u8])) {
    let path = format!("{}/fuzz/corpus/{folder}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "{folder}: {}", files.len());
    files.iter().for_each(|file| target(&std::fs::read(file).unwrap()));
}

#[test]
fn kept_documents_are_read_or_refused() {
    replay("document", fuzzed::document);
}

#[test]
fn kept_items_and_proofs_are_read_or_refused() {
    replay("items", fuzzed::items);
}
