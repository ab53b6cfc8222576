//! The slow judge of the policy language against what a node does with bytes: whatever the family, the first packet of a
//! flow passes where the specification allows it, at the sender and at the receiver, and nowhere else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

#[path = "../../../config/tests/generate/mod.rs"]
mod generate;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use etherparse::{IpNumber, PacketBuilder};
use generate::packet::{Packet, dice, packet};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};
use warren_config::compile::Program;
use warren_config::oracle;
use warren_config::policy::{Mode, Policy, Protocol, Subject};
use warren_config::time::UnixTime;
use warren_node_core::clock::{Mono, Now};
use warren_node_core::conntrack::{Addresses, Edition, Ends, FlowIds, FlowTable, Limits, Load};
use warren_node_core::judge::{Ruling, inbound, outbound};
use warren_node_core::packet::classify;
use warren_wire::id::NodeId;

fn addresses(last: u8) -> Addresses {
    Addresses { v4: Some([100, 64, 0, last].into()), v6: [0xfd00, 0, 0, 0, 0, 0, 0, last.into()].into() }
}

/// The packet that opens a flow from 1 to 2.
fn opening(v6: bool, protocol: Protocol, port: u16) -> Vec<u8> {
    opening_between(v6, (1, 2), protocol, port)
}

fn opening_between(v6: bool, ends: (u8, u8), protocol: Protocol, port: u16) -> Vec<u8> {
    let (from, to) = (addresses(ends.0), addresses(ends.1));
    let ip = match v6 {
        true => PacketBuilder::ipv6(from.v6.octets(), to.v6.octets(), 64),
        false => PacketBuilder::ipv4(from.v4.unwrap().octets(), to.v4.unwrap().octets(), 64),
    };
    let mut bytes = Vec::new();
    match protocol {
        Protocol::Tcp => ip.tcp(40_000, port, 7, 1_000).syn().write(&mut bytes, b""),
        Protocol::Udp => ip.udp(40_000, port).write(&mut bytes, b"ask"),
        Protocol::IcmpEcho if v6 => ip.icmpv6_echo_request(9, 1).write(&mut bytes, b"ping"),
        Protocol::IcmpEcho => ip.icmpv4_echo_request(9, 1).write(&mut bytes, b"ping"),
        Protocol::Number(number) => ip.write(&mut bytes, IpNumber(number), &[0; 12]),
    }
    .unwrap();
    bytes
}

/// Does it leave the sender, and does it come in at the receiver?
fn passes(policy: &Policy, p: &Packet, bytes: &[u8]) -> (bool, bool) {
    let Ok(read) = classify(bytes) else { return (false, false) };
    let program = Program::of_policy(policy);
    let (ahead, back) = (program.rules(&p.from, &p.to), program.rules(&p.to, &p.from));
    let (one, two) = (addresses(1), addresses(2));
    let edition = Edition { epoch: 1, revision: 1, generation: 1 };
    let (beyond, hosts) = (&warren_config::subnet::NOTHING, &warren_config::subnet::NOTHING);
    let sender = Ends { mine: &one, peer: &two, outbound: &ahead, inbound: &back, beyond, hosts, edition };
    let receiver = Ends { mine: &two, peer: &one, outbound: &back, inbound: &ahead, beyond, hosts, edition };
    let table = || FlowTable::new(NodeId([7; 16]), Arc::new(FlowIds::default()), Limits::default());
    let load = Load { packets: 1, bytes: bytes.len() as u64 };
    let now = Now { mono: Mono::from_millis(1_000_000), wall_ms: p.at.0 * 1000 };
    let out = outbound(&sender, &mut table(), &read, load, now);
    let arrives = inbound(&receiver, &mut table(), &read, load, now);
    (out == Ruling::Pass, arrives == Ruling::Pass)
}

#[test]
fn law_5_a_first_packet_of_either_family_passes_where_the_judge_allows_it() {
    let cases = std::env::var("WARREN_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let counts: RefCell<BTreeMap<(&str, Protocol, bool), u32>> = RefCell::default();
    let test = |(policy, dice): (Policy, _)| {
        let Some(p) = packet(&policy, &dice) else { return Ok(()) };
        let says = oracle::allows(&policy, &p.from, &p.to, p.protocol, p.port, p.at);
        for (family, v6) in [("IPv4", false), ("IPv6", true)] {
            let found = passes(&policy, &p, &opening(v6, p.protocol, p.port));
            prop_assert_eq!(found, (says, says), "{} {:?}", family, p);
            *counts.borrow_mut().entry((family, p.protocol, says)).or_default() += 1;
        }
        Ok(())
    };
    TestRunner::new_with_rng(config, rng)
        .run(&(generate::whole_policy(), dice()), test)
        .unwrap_or_else(|error| panic!("{error}"));
    let counts = counts.into_inner();
    println!("{counts:#?}");
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::IcmpEcho, Protocol::Number(132)];
    for (family, protocol) in ["IPv4", "IPv6"].into_iter().flat_map(|f| protocols.map(|p| (f, p))) {
        for says in [true, false] {
            let count = counts.get(&(family, protocol, says)).copied().unwrap_or(0);
            assert!(count * 100 >= cases, "{family} {protocol} allowed {says}: {count} of {cases}");
        }
    }
}

/// Everything else passes in this mode.
#[test]
fn observe_lets_no_foreign_source_pass() {
    let mut policy = Policy::default();
    policy.settings.mode = Mode::Observe;
    let [from, to] = ["n1", "n2"].map(|name| Subject { name: name.parse().unwrap(), tags: [].into() });
    let p = Packet { from, to, protocol: Protocol::Tcp, port: 22, at: UnixTime(9) };
    for v6 in [false, true] {
        let bytes = |ends| opening_between(v6, ends, p.protocol, p.port);
        assert_eq!(passes(&policy, &p, &bytes((1, 2))), (true, true));
        assert_eq!(passes(&policy, &p, &bytes((3, 2))), (false, false), "not the sender's address");
        assert_eq!(passes(&policy, &p, &bytes((1, 3))), (false, false), "not the receiver's");
    }
}
