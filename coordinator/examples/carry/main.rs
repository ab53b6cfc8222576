//! What a relay carries: the relay itself without a coordinator, a forwarder that only forwards, and a load that goes through
//! either of them, or through a TURN server (RFC 8656). For `scripts/bench relay`.
//!
//! The load keeps a window of frames under way and waits for them at the other end: it goes as fast as what is between, and
//! what is lost is written off after 20 ms. Three windows are tried; the best counts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement ends at the first surprise")]

mod forward;
mod load;
mod turn;
mod way;

use std::net::SocketAddr;

const USAGE: &str = "carry relay LISTEN [THREADS]
carry forward LISTEN TO
carry load relay|plain|turn VIA --from IP --to IP:PORT --size BYTES [--seconds S] [--batch N]";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["relay", listen] => forward::relay(address(listen), 1),
        ["relay", listen, threads] => forward::relay(address(listen), threads.parse().unwrap()),
        ["forward", listen, to] => forward::plain(address(listen), address(to)),
        ["load", by, via, options @ ..] => load::run(by, address(via), options),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address with a port\n{USAGE}"))
}
