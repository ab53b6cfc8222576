//! Bytes from outside as a question.

#![no_main]

#[path = "../../tests/names/judge.rs"]
#[allow(dead_code, reason = "the other target's half")]
mod judge;

libfuzzer_sys::fuzz_target!(|data: &[u8]| judge::question(data));
