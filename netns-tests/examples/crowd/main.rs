//! What `scripts/bench packet-path` needs many of: members without a process each, keys, handshakes, datagrams.
//!
//! ```text
//! crowd enrol TOKEN-FILE COUNT KEYS-FILE          COUNT fresh identities become members; their keys are appended
//! crowd keys COUNT KEYS-FILE                      COUNT key pairs for programs that `wg` configures
//! crowd handshakes KEYS-FILE PEER-KEY IP:PORT SECONDS
//!                                                 as many handshakes as the peer answers; one JSON object
//! crowd receive IP:PORT                           counts datagrams until none comes; one JSON object
//! crowd send IP:PORT SIZE RATE SECONDS            sends datagrams at a steady rate; one JSON object
//! ```
//!
//! A line of KEYS-FILE is a private and a public WireGuard key in base64. They are good for namespaces that live as
//! long as one measurement, and for nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measuring tool fails by panicking")]

mod datagrams;
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
        ["receive", at] => println!("{}", datagrams::receive(at.parse().unwrap())),
        ["send", to, size, rate, seconds] => {
            let (size, rate, seconds) = (number(size) as usize, number(rate), number(seconds));
            println!("{}", datagrams::send(to.parse().unwrap(), size, rate, seconds));
        }
        _ => panic!("crowd enrol|keys|handshakes|receive|send …: the top of main.rs says with what"),
    }
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}
