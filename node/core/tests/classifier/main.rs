//! The classifier is total: every byte string is one exact flow or one counted reason. A second reader that shares
//! nothing with it ([`judge`]) is asked about everything: named attacks, mutations of them, and the fuzzer's corpus.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod build;
mod items;
mod judge;

use std::path::Path;

use proptest::prelude::*;

#[test]
fn the_fuzzers_corpus_is_read_the_same_way_by_both_readers() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/classify");
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 100, "only {} inputs in {}", files.len(), dir.display());
    let mut accepted = 0;
    for file in files {
        let bytes = judge::repaired(&std::fs::read(&file).unwrap());
        judge::check(&bytes);
        accepted += usize::from(judge::read(&bytes).1.is_some());
    }
    assert!(accepted >= 20, "a corpus of refusals only says little: {accepted} accepted");
}

/// Packets that an attacker would begin with.
fn seeds() -> Vec<Vec<u8>> {
    use build::{icmp, icmp_number, ip, piece, tcp, udp};
    let mut seeds = Vec::new();
    for v4 in [true, false] {
        let syn = tcp(2, b"hello");
        let error = if v4 { 3 } else { 1 };
        seeds.extend([
            ip(v4, 6, &syn),
            ip(v4, 17, &udp(b"question")),
            ip(v4, icmp_number(v4), &icmp(if v4 { 8 } else { 128 }, 0, b"ping")),
            ip(v4, icmp_number(v4), &icmp(if v4 { 0 } else { 129 }, 0, b"pong")),
            ip(v4, icmp_number(v4), &icmp(error, 1, &ip(v4, 6, &syn))),
            ip(v4, icmp_number(v4), &icmp(error, 3, &ip(v4, 17, &udp(b"x")))),
            ip(v4, icmp_number(v4), &icmp(error, 1, &piece(v4, 17, 9, 0, true, &udp(&[0; 16])))),
            piece(v4, 6, 9, 0, true, &tcp(16, &[0; 12])),
            piece(v4, 6, 9, 32, false, &[1; 11]),
            piece(v4, 17, 9, 0, false, &udp(b"atomic")),
            ip(v4, 47, &ip(v4, 6, &syn)),
        ]);
    }
    seeds
}

fn attacks() -> impl Strategy<Value = Vec<u8>> {
    let change = (0usize..120, any::<u8>());
    let seed = prop::sample::select(seeds());
    (0u8..4, seed, prop::collection::vec(change, 0..5), 0usize..12).prop_map(|(wish, seed, changes, cut)| {
        let mut bytes = seed;
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(bytes.len() - cut.saturating_sub(6).min(bytes.len()));
        judge::repaired(&[&[wish][..], &bytes].concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30_000))]

    #[test]
    fn both_readers_agree_on_every_attack(bytes in attacks()) {
        judge::check(&bytes);
    }

    #[test]
    fn both_readers_agree_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        judge::check(&bytes);
        judge::check(&judge::repaired(&bytes));
    }
}
