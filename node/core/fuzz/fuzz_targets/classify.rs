//! The classifier against a second, independent reader of packets.

#![no_main]

#[path = "../../tests/classifier/judge.rs"]
mod judge;

libfuzzer_sys::fuzz_target!(|data: &[u8]| judge::check(&judge::repaired(data)));
