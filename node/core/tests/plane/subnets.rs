//! Hosts without an agent behind gateways, as packets: node 0 uses them, nodes 1 and 2 lead there, node 3 is a peer that
//! nothing of it is granted to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use warren_config::compile::Program;
use warren_config::item::Item;
use warren_config::policy::{Grant, GrantMode, Listen, Protocol, Selector, Service};
use warren_node_core::packet::vnet::Vnet;
use warren_wire::flow::FlowVerdict;
use warren_wire::id::NodeId;

use crate::both;
use crate::world::{Keyed, World, assembly_of, pairs, program, udp, v4, v6};

both!(
    a_granted_host_behind_a_gateway_is_reached_and_answers,
    what_is_not_granted_behind_a_gateway_is_refused_at_once_and_recorded,
    a_gateway_lets_nobody_through_whom_nothing_is_granted,
    a_host_behind_a_gateway_opens_nothing,
    nobody_speaks_in_the_name_of_a_host_that_is_not_behind_him,
    a_withdrawn_grant_cuts_at_both_ends_and_takes_the_way,
    a_gateway_that_is_silent_is_left_within_three_seconds,
    a_gateway_that_nobody_knows_a_place_of_is_left_as_well,
    a_gateway_that_answers_is_kept_though_the_hosts_are_silent,
);

const HOST: &str = "192.168.50.10";

fn host() -> IpAddr {
    HOST.parse().unwrap()
}
fn own(node: usize) -> IpAddr {
    v4(node).into()
}
fn id(node: usize) -> NodeId {
    NodeId([node as u8 + 1; 16])
}

/// `gateways` lead to a subnet that `users` may ask at UDP 53; everybody may ask everybody else at his own port 53.
fn policy(users: &[usize], gateways: &[usize]) -> Program {
    let base = program(&pairs(4));
    let nodes = |list: &[usize]| -> BTreeSet<Selector> {
        list.iter().map(|n| Selector::Node(format!("node-{n}").parse().unwrap())).collect()
    };
    let lan = Service {
        name: "lan".parse().unwrap(),
        on: nodes(gateways),
        listen: [Listen { protocol: Protocol::Udp, first: 53, last: 53 }].into(),
        addresses: ["192.168.50.0/24", "fd50::/64"].map(|net| net.parse().unwrap()).into(),
    };
    let grant = Grant {
        id: "uses-lan".parse().unwrap(),
        from: nodes(users),
        except: BTreeSet::new(),
        to: ["lan".parse().unwrap()].into(),
        mode: GrantMode::Enforce,
        until: None,
        why: String::new(),
    };
    let services = base.services().cloned().chain([lan]).map(Item::Service);
    let users = !users.is_empty();
    let grants = base.grants().cloned().chain(users.then_some(grant)).map(Item::Grant);
    let items: Vec<Item> = services.chain(grants).collect();
    Program::of_items(&items)
}

fn tell<E: Keyed>(w: &mut World<E>, node: usize, program: &Program, revision: u64) -> usize {
    let others: Vec<usize> = (0..w.nodes.len()).filter(|n| *n != node).collect();
    let assembly = assembly_of(program, node, &others, revision, w.lanes);
    w.nodes[node].plane.publish(&assembly, w.now).cut
}

fn town<E: Keyed>(gateways: &[usize]) -> World<E> {
    let mut w = World::<E>::new(4, 2, false);
    let program = policy(&[0], gateways);
    for node in 0..4 {
        tell(&mut w, node, &program, 2);
    }
    w
}

/// The gateway in use to the host.
fn used<E: Keyed>(w: &World<E>) -> usize {
    let hop = w.nodes[0].plane.next_hop(host()).expect("there is a way");
    (0..4).find(|node| id(*node) == hop).unwrap()
}

fn verdicts<E: Keyed>(w: &World<E>, node: usize) -> Vec<(FlowVerdict, String, Option<NodeId>)> {
    let (records, _) = w.nodes[node].plane.drain_flows(w.now);
    records
        .iter()
        .map(|r| (FlowVerdict::try_from(r.verdict).unwrap(), r.service.clone(), r.other_end()))
        .collect()
}

fn a_granted_host_behind_a_gateway_is_reached_and_answers<E: Keyed>() {
    let mut w = town::<E>(&[1]);
    for (mine, theirs) in [(own(0), host()), (v6(0).into(), "fd50::10".parse().unwrap())] {
        let (there, back) =
            (udp(mine, theirs, 4000, 53, b"question"), udp(theirs, mine, 53, 4000, b"answer"));
        w.send(0, Vnet::PLAIN, &there);
        w.settle();
        assert_eq!(w.received(1), vec![there]);
        w.send(1, Vnet::PLAIN, &back);
        w.settle();
        assert_eq!(w.received(0), vec![back]);
    }
    for (node, peer) in [(0, 1), (1, 0)] {
        let lan = (FlowVerdict::Allow, "lan".to_owned(), Some(id(peer)));
        assert!(verdicts(&w, node).contains(&lan), "node {node}");
    }
}

fn what_is_not_granted_behind_a_gateway_is_refused_at_once_and_recorded<E: Keyed>() {
    let mut w = town::<E>(&[1]);
    w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 54, b"question"));
    assert!(w.wire.is_empty(), "it does not leave");
    let told = w.received(0);
    assert!(told.len() == 1 && told[0][9] == 1, "ICMP at once: {told:?}");
    assert!(verdicts(&w, 0).contains(&(FlowVerdict::Deny, String::new(), Some(id(1)))));
}

/// The sender's own filter is switched off: its policy says that it may.
fn a_gateway_lets_nobody_through_whom_nothing_is_granted<E: Keyed>() {
    let mut w = town::<E>(&[1]);
    tell(&mut w, 3, &policy(&[0, 3], &[1]), 3);
    w.send(3, Vnet::PLAIN, &udp(own(3), host(), 4000, 53, b"question"));
    w.settle();
    assert!(w.received(1).is_empty());
    assert!(w.count(1, "destination-not-mine") > 0, "{:?}", w.nodes[1].plane.counters());
}

fn a_host_behind_a_gateway_opens_nothing<E: Keyed>() {
    let mut w = town::<E>(&[1]);
    // Uninvited, at a port that the gateway itself may open.
    w.send(1, Vnet::PLAIN, &udp(host(), own(0), 4000, 53, b"hello"));
    w.settle();
    assert!(w.received(0).is_empty(), "the gateway's own judge");
    assert!(w.count(1, "denied") > 0);
    // An answer to nothing that was asked is none.
    w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 53, b"question"));
    w.settle();
    w.received(1);
    w.send(1, Vnet::PLAIN, &udp(host(), own(0), 53, 4001, b"not an answer"));
    w.settle();
    assert!(w.received(0).is_empty());
}

fn nobody_speaks_in_the_name_of_a_host_that_is_not_behind_him<E: Keyed>() {
    let mut w = town::<E>(&[1]);
    // Node 0 has a flow with the host, over node 1.
    w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 53, b"question"));
    w.settle();
    w.received(1);
    // Node 3 calls itself a gateway: by its own policy it is one.
    let lie = policy(&[0], &[3]);
    tell(&mut w, 3, &lie, 3);
    // A real flow first, as that policy would have it: then its own judge lets the answer pass.
    let liar = tell(&mut w, 0, &lie, 3);
    assert_eq!(liar, 1, "with another gateway the flow is cut");
    w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 53, b"question"));
    w.settle();
    assert_eq!(w.received(3).len(), 1);
    tell(&mut w, 0, &policy(&[0], &[1]), 4);
    w.received(0);
    w.send(3, Vnet::PLAIN, &udp(host(), own(0), 53, 4000, b"forged"));
    w.settle();
    assert!(w.received(0).is_empty(), "node 3 is no gateway to that subnet for node 0");
    assert!(w.count(0, "source-not-the-peers") > 0, "{:?}", w.nodes[0].plane.counters());
}

fn a_withdrawn_grant_cuts_at_both_ends_and_takes_the_way<E: Keyed>() {
    let mut w = town::<E>(&[1]);
    w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 53, b"question"));
    w.settle();
    w.received(1);
    let without = policy(&[], &[1]);
    assert_eq!(tell(&mut w, 1, &without, 3), 1, "the gateway alone suffices");
    w.send(1, Vnet::PLAIN, &udp(host(), own(0), 53, 4000, b"answer"));
    w.settle();
    assert!(w.received(0).iter().all(|packet| packet[12..16] != [192, 168, 50, 10]));
    assert_eq!(tell(&mut w, 0, &without, 3), 1);
    assert_eq!(w.nodes[0].plane.next_hop(host()), None);
}

fn a_gateway_that_is_silent_is_left_within_three_seconds<E: Keyed>() {
    let mut w = town::<E>(&[1, 2]);
    let first = used(&w);
    let second = 3 - first;
    w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 53, b"question"));
    w.settle();
    assert_eq!(w.received(first).len(), 1);
    w.live(5000);
    assert_eq!(used(&w), first, "who is not asked for anything need not answer");
    let begun = w.now.mono;
    // Nothing reaches it, or comes from it, any more.
    while used(&w) == first {
        w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 53, b"question"));
        let gone = w.nodes[first].address;
        w.wire.retain(|d| d.to != gone);
        w.settle();
        w.pass(100);
        let mut out = warren_node_core::dataplane::Outbox::small();
        w.nodes[0].plane.tick(&mut out, w.now);
        assert!(w.now.mono.millis_since(begun) <= 3000, "three seconds are over");
    }
    w.received(first);
    w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4001, 53, b"question"));
    w.settle();
    assert_eq!(w.received(second).len(), 1);
    assert_eq!(w.count(0, "gateway-left"), 1);
    w.live(5000);
    assert_eq!(used(&w), second, "what works is kept");
}

/// Nothing can be sent to it, and that must not look like nothing to send.
fn a_gateway_that_nobody_knows_a_place_of_is_left_as_well<E: Keyed>() {
    let mut w = town::<E>(&[1, 2]);
    let first = used(&w);
    let program = policy(&[0], &[1, 2]);
    // Its link is forgotten, and with it where it was.
    for (others, revision) in [(&[3][..], 3), (&[1, 2, 3][..], 4)] {
        let mut assembly = assembly_of(&program, 0, others, revision, w.lanes);
        assembly.peers.entry(id(first)).and_modify(|peer| peer.candidates.clear());
        w.nodes[0].plane.publish(&assembly, w.now);
    }
    assert_eq!(used(&w), first);
    let begun = w.now.mono;
    while used(&w) == first {
        w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 53, b"question"));
        assert!(w.wire.is_empty() && w.now.mono.millis_since(begun) <= 3000, "three seconds are over");
        w.live(200);
    }
    w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4001, 53, b"question"));
    w.settle();
    assert_eq!(w.received(3 - first).len(), 1);
}

fn a_gateway_that_answers_is_kept_though_the_hosts_are_silent<E: Keyed>() {
    let mut w = town::<E>(&[1, 2]);
    let first = used(&w);
    for _ in 0..50 {
        w.send(0, Vnet::PLAIN, &udp(own(0), host(), 4000, 53, b"question"));
        w.settle();
        w.live(200);
    }
    assert_eq!(used(&w), first);
    assert_eq!(w.count(0, "gateway-left"), 0);
}
