//! The kept bytes of the fuzzer (`config/fuzz`), replayed.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod fuzzed;

fn replay(folder: &str, target: fn(&[u8])) {
    let path = format!("{}/../../config/fuzz/corpus/{folder}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "{folder}: {}", files.len());
    files.iter().for_each(|file| target(&std::fs::read(file).unwrap()));
}

#[test]
fn kept_wire_bytes_are_read_or_refused() {
    replay("wire", fuzzed::wire);
}

#[test]
fn kept_messages_of_stun_are_read_or_refused() {
    replay("stun", fuzzed::stun);
}

#[test]
fn kept_frames_of_the_relay_are_read_or_refused() {
    replay("frame", fuzzed::frame);
}

#[test]
fn kept_pieces_of_datagrams_are_joined_or_refused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/fuzz/corpus/halves");
    let files: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "{}", files.len());
    files.iter().for_each(|file| fuzzed::halves(&std::fs::read(file).unwrap()));
}
