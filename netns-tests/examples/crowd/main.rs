//! What `scripts/bench packet-path` needs many of: members without a process each, keys, handshakes.
//!
//! ```text
//! crowd enrol TOKEN-FILE COUNT KEYS-FILE          COUNT fresh identities become members; their keys are appended
//! crowd keys COUNT KEYS-FILE                      COUNT key pairs for programs that `wg` configures
//! crowd handshakes KEYS-FILE PEER-KEY IP:PORT SECONDS
//!                                                 as many handshakes as the peer answers; one JSON object
//! ```
//!
//! A line of KEYS-FILE is a private and a public WireGuard key in base64. They are good for namespaces that live as
//! long as one measurement, and for nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measuring tool fails by panicking")]

mod enrol;
mod handshakes;
mod keys;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["enrol", token, count, file] => enrol::enrol(token, number(count), file),
        ["keys", count, file] => keys::append(file, &keys::generate(number(count))),
        ["handshakes", file, peer, to, seconds] => {
            let rate =
                handshakes::run(&keys::read(file), &keys::key(peer), to.parse().unwrap(), number(seconds));
            println!("{rate}");
        }
        _ => panic!(
            "crowd enrol TOKEN-FILE COUNT FILE | crowd keys COUNT FILE | crowd handshakes FILE KEY IP:PORT SECONDS"
        ),
    }
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}
