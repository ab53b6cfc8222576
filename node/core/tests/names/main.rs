//! DNS messages from outside: the fuzzer's corpus and mutations of it, against the library.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod judge;

use std::path::Path;

use proptest::prelude::*;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz-names/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[test]
fn the_fuzzers_corpus_holds() {
    let (questions, answers) = (corpus("question"), corpus("answer"));
    assert!(questions.len() >= 12 && answers.len() >= 6, "{} and {}", questions.len(), answers.len());
    questions.iter().for_each(|bytes| judge::question(bytes));
    answers.iter().for_each(|bytes| judge::answer(bytes));
}

fn changed(mut bytes: Vec<u8>, changes: &[(usize, u8)], keep: usize) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at % bytes.len().max(1);
        if let Some(place) = bytes.get_mut(at) {
            *place = *byte;
        }
    }
    bytes.truncate(keep.max(1));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn mutations_of_the_corpus_hold(
        seed: prop::sample::Index, changes in proptest::collection::vec((0usize..600, any::<u8>()), 0..6), keep in 0usize..800
    ) {
        let (questions, answers) = (corpus("question"), corpus("answer"));
        judge::question(&changed(questions[seed.index(questions.len())].clone(), &changes, keep));
        judge::answer(&changed(answers[seed.index(answers.len())].clone(), &changes, keep));
    }
}
