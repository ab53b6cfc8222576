//! A network of one node, `me` at 100.64.0.1, that offers as many services as are wished: `s0`, `s1`, …

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use warren_config::compile::Program;
use warren_config::name::Name;
use warren_config::policy::{Listen, Policy, Protocol, Selector, Service, Settings, Subject};
use warren_config::time::UnixTime;
use warren_node_core::assembly::Assembly;
use warren_node_core::names::Names;
use warren_wire::id::{IdentityKey, NetworkId, NodeId};
use warren_wire::trust::{Member, Network};

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn service(number: usize) -> Service {
    let listen = Listen { protocol: Protocol::Tcp, first: 443, last: 443 };
    let name = name(&format!("s{number}"));
    Service { name, on: [Selector::AllNodes].into(), listen: [listen].into(), addresses: BTreeSet::new() }
}

pub fn names(services: usize, settings: &Settings) -> Arc<Names> {
    let network = Network {
        id: NetworkId([9; 16]),
        name: "alone".into(),
        v4_range: "100.64.0.0/10".parse().expect("a range"),
        v6_prefix: "fd00:1:2::/48".parse().expect("a range"),
        coordinators: Vec::new(),
        serial: 1,
    };
    let me = Member {
        id: NodeId([1; 16]),
        identity: Some(IdentityKey([1; 32])),
        subject: Subject { name: name("me"), tags: BTreeSet::new() },
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
    Arc::new(Names::new(Arc::new(assembly), &Program::of_policy(&policy)))
}
