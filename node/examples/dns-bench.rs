//! The agent's name server alone, for `scripts/bench dns`: `dns-bench PORT CA.pem SERVICES [UPSTREAM...]`.
//!
//! It answers `s0.bench.internal`, `s1.bench.internal`, ... from a view of its own, and other names from the upstreams.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use warren_config::compile::Program;
use warren_config::name::Name;
use warren_config::policy::{Listen, Policy, Protocol, Selector, Service, Settings, Subject};
use warren_config::time::UnixTime;
use warren_node::agent::NameOptions;
use warren_node::clock::Clock;
use warren_node::resolver::{Resolver, serve};
use warren_node_core::assembly::Assembly;
use warren_node_core::names::Names;
use warren_wire::id::{IdentityKey, NetworkId, NodeId};
use warren_wire::trust::{Member, Network};

fn service(number: usize) -> Service {
    let name = Name::parse(&format!("s{number}")).expect("a name");
    let listen = Listen { protocol: Protocol::Tcp, first: 443, last: 443 };
    Service { name, on: [Selector::AllNodes].into(), listen: [listen].into() }
}

fn names(services: usize, settings: &Settings) -> Names {
    let network = Network {
        id: NetworkId([9; 16]),
        name: "bench".into(),
        v4_range: "100.64.0.0/10".parse().expect("a range"),
        v6_prefix: "fd00:1:2::/48".parse().expect("a range"),
        coordinators: Vec::new(),
        serial: 1,
    };
    let me = Member {
        id: NodeId([1; 16]),
        identity: Some(IdentityKey([1; 32])),
        subject: Subject { name: Name::parse("me").expect("a name"), tags: BTreeSet::new() },
        v4: Some(Ipv4Addr::new(100, 64, 0, 1)),
        v6: "fd00:1:2::1".parse().expect("an address"),
        lanes: Vec::new(),
        key_serial: 1,
        amendment_serial: 0,
        enrolled: UnixTime(0),
    };
    let assembly = Assembly {
        network: Arc::new(network),
        me: Arc::new(me),
        epoch: 1,
        revision: 1,
        generation: 1,
        peers: BTreeMap::new(),
        audited: Default::default(),
    };
    let services = (0..services).map(service).map(|s| (s.name.clone(), s)).collect();
    let policy = Policy { settings: settings.clone(), services, ..Policy::default() };
    Names::new(Arc::new(assembly), &Program::of_policy(&policy))
}

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
    resolver.publish(&Arc::new(names(services.parse().expect("a number"), &settings)), &settings);
    let at = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let _service = serve(&resolver, &[at], port.parse().expect("a port")).expect("serve");
    println!("answering");
    loop {
        std::thread::park();
    }
}
