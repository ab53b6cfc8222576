//! The agent's name server alone, for `scripts/bench dns`: `dns-bench PORT CA.pem SERVICES [UPSTREAM...]`.
//!
//! It answers `s0.bench.internal`, `s1.bench.internal`, ... from a view of its own, and other names from the upstreams.

#[path = "../tests/alone/mod.rs"]
mod alone;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use warren_config::policy::Settings;
use warren_node::agent::NameOptions;
use warren_node::clock::Clock;
use warren_node::resolver::{Resolver, serve};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, ca, services, upstream @ ..] = words.as_slice() else {
        eprintln!("usage: dns-bench PORT CA.pem SERVICES [UPSTREAM...]");
        std::process::exit(2);
    };
    let options = NameOptions { authorities: Some(PathBuf::from(ca)), ..NameOptions::default() };
    let settings =
        Settings { zone: Some("bench.internal".into()), upstream: upstream.to_vec(), ..Settings::default() };
    let resolver = Resolver::new(Arc::new(Clock::new(0)), options.own().expect("authorities"));
    resolver.publish(&alone::names(services.parse().expect("a number"), &settings), &settings);
    let at = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let _service = serve(&resolver, &[at], port.parse().expect("a port")).expect("serve");
    println!("answering");
    loop {
        std::thread::park();
    }
}
