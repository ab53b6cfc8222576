//! Answers of UPnP: over UDP, HTTP, and in XML.

#![no_main]

#[path = "../../tests/portmap/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::upnp(bytes));
