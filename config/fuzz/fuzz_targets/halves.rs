#![no_main]
#[path = "../../../coordinator/wire/tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::halves(bytes));
