//! Two whole nodes and an honest coordinator's words, in virtual time.

use std::net::{Ipv4Addr, SocketAddr};

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use warren_config::item::ItemTree;
use warren_wire::frame::{CoordinatorSays, NodeSays, Welcome};
use warren_wire::specimen::SpecimenNode;

use super::*;
use crate::control::tests::world::{POLICY, T0, World, policy};
use crate::session::LaneSecret;
use crate::session::standin::StandinEngine;

struct Pair {
    world: World,
    now: Mono,
    nodes: [Node<StandinEngine>; 2],
    hosts: [Vec<Vec<u8>>; 2],
    said: [Vec<NodeSays>; 2],
}

fn at(index: u64) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, index as u8), 51820).into()
}

impl Pair {
    fn new() -> Pair {
        let world = World::new();
        let make = |node: &SpecimenNode| {
            let config = control::Config { record: node.record.clone(), ..world.config() };
            let engine = StandinEngine::new(node.lanes.iter().map(|lane| LaneSecret::new(*lane)));
            Node::new(config, engine, 1420, [node.index as u8; 32], Mono(0)).unwrap()
        };
        let nodes = [make(&world.web), make(&world.orders)];
        let mut pair =
            Pair { world, now: Mono(0), nodes, hosts: Default::default(), said: Default::default() };
        for i in 0..2 {
            pair.nodes[i].handle_started(None, T0 * 1000, Mono(0));
            pair.nodes[i].handle_connected(Mono(0));
            let welcome = Welcome { epoch: 1, revision: 10, now: T0, seen_as: String::new() };
            pair.say(i, CoordinatorSays::Welcome(welcome));
        }
        pair.tell();
        pair
    }

    fn say(&mut self, i: usize, says: CoordinatorSays) {
        self.nodes[i].handle_control_frame(ToNode { says: Some(says) }, self.now);
    }

    /// Both hear what is true now.
    fn tell(&mut self) {
        for i in 0..2 {
            let (me, other) = match i {
                0 => (&self.world.web, &self.world.orders),
                _ => (&self.world.orders, &self.world.web),
            };
            let view = self.world.view_of(me, &[other]);
            let deltas = self.world.whole_for(me.id, view);
            let seconds = self.now.0 / 1_000_000_000;
            deltas.into_iter().for_each(|delta| self.say(i, CoordinatorSays::Delta(delta)));
            self.say(i, CoordinatorSays::Freshness(self.world.freshness(T0 + seconds)));
        }
        self.run(0);
    }

    /// Everything that is put out is delivered; time passes for `ms`.
    fn run(&mut self, ms: u64) {
        let end = self.now.plus_millis(ms);
        loop {
            while self.deliver() {}
            let due = (0..2).map(|i| (self.nodes[i].poll_timeout().0, i)).min().unwrap();
            if due.0 > end {
                break;
            }
            self.now = self.now.max(due.0);
            self.nodes[due.1].handle_timeout(self.now);
        }
        self.now = end;
    }

    fn deliver(&mut self) -> bool {
        let mut any = false;
        for i in 0..2 {
            while let Some(output) = self.nodes[i].poll_output() {
                any = true;
                match output {
                    Output::Datagram(to, bytes) if to == at(2 - i as u64) => {
                        self.nodes[1 - i].handle_datagram(at(1 + i as u64), &bytes, self.now);
                    }
                    Output::PacketToHost(packet) => self.hosts[i].push(packet),
                    Output::ToCoordinator(frame) => self.said[i].extend(frame.says),
                    _ => {}
                }
            }
        }
        any
    }

    fn syn(&mut self, from: usize, port: u16) {
        let (a, b) = match from {
            0 => (&self.world.web, &self.world.orders),
            _ => (&self.world.orders, &self.world.web),
        };
        let builder = PacketBuilder::ipv4(a.v4.octets(), b.v4.octets(), 64).tcp(40_000, port, 1, 1000).syn();
        let mut packet = Vec::new();
        builder.write(&mut packet, &[]).unwrap();
        self.nodes[from].handle_packet_from_host(&packet, self.now);
        self.run(50);
    }

    /// (port, is it a reset) of the TCP packets a host got.
    fn got(&mut self, i: usize) -> Vec<(u16, bool)> {
        let packets = std::mem::take(&mut self.hosts[i]);
        let tcp = |p: &Vec<u8>| match SlicedPacket::from_ip(p).unwrap().transport {
            Some(TransportSlice::Tcp(tcp)) => (tcp.destination_port(), tcp.rst()),
            other => panic!("not TCP: {other:?}"),
        };
        packets.iter().map(tcp).collect()
    }
}

#[test]
fn only_what_a_grant_allows_crosses_and_a_refusal_is_heard_at_once() {
    let mut pair = Pair::new();
    pair.syn(0, 8443);
    assert_eq!(pair.got(1), [(8443, false)]);
    pair.syn(0, 22);
    assert_eq!(pair.got(1), []);
    assert_eq!(pair.got(0), [(40_000, true)], "a reset from the own node");
    pair.syn(1, 8443);
    assert_eq!(pair.got(0), [], "the grant has a direction");
}

#[test]
fn a_policy_change_cuts_live_flows_and_is_acknowledged() {
    let mut pair = Pair::new();
    pair.syn(0, 8443);
    assert_eq!(pair.got(1).len(), 1);
    pair.world.tree =
        ItemTree::new(&policy(&POLICY.replace("web-reads-orders\"", "web-reads-orders\"\nmode = \"off\"")));
    (pair.world.revision, pair.world.generation) = (11, 4);
    pair.now = pair.now.plus_secs(1);
    pair.tell();
    assert!(pair.nodes.iter().all(|node| node.control().publication().unwrap().assembly.peers.is_empty()));
    for said in &pair.said {
        let enforced = said.iter().rev().find_map(|s| match s {
            NodeSays::Enforced(e) => Some((e.revision, e.generation)),
            _ => None,
        });
        assert_eq!(enforced, Some((11, 4)));
    }
    assert_eq!(pair.got(1), [(8443, true)], "the live connection is reset");
    pair.got(0);
    pair.syn(0, 8443);
    assert_eq!((pair.got(1), pair.got(0)), (vec![], vec![(40_000, true)]), "and a new one refused at once");
}

#[test]
fn a_flow_is_reported_with_both_ends_and_its_grant() {
    let mut pair = Pair::new();
    pair.syn(0, 8443);
    pair.run(2000);
    for (i, peer) in [(0, pair.world.orders.id), (1, pair.world.web.id)] {
        let records = pair.said[i].iter().filter_map(|s| match s {
            NodeSays::Flows(report) => Some(report.records.clone()),
            _ => None,
        });
        let record = records.flatten().next().unwrap();
        assert_eq!((record.peer, record.grant.as_str()), (peer.0.to_vec(), "web-reads-orders"));
        assert_eq!(record.outbound, i == 0);
    }
}
