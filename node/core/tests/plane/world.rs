//! Two nodes in one process: frames in, datagrams between them, frames out. Nothing is random, nothing sleeps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use warren_config::compile::Program;
use warren_config::item::Item;
use warren_config::name::Name;
use warren_config::policy::{Grant, GrantMode, Listen, Protocol, Selector, Service, Subject};
use warren_config::time::UnixTime;
use warren_node_core::assembly::{Assembly, PeerSpec};
use warren_node_core::clock::{Mono, Now};
use warren_node_core::dataplane::{DataPlane, EgressWorker, IngressWorker, Outbox, Published, Settings};
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::path::Place;
use warren_node_core::session::boring::BoringEngine;
use warren_node_core::session::standin::StandinEngine;
use warren_node_core::session::{Engine, LaneSecret};
use warren_wire::id::{IdentityKey, NetworkId, NodeId};
use warren_wire::trust::{Member, Network};

pub const MTU: usize = 1420;

/// An engine a test can make.
pub trait Keyed: Engine {
    fn from_secrets(secrets: Vec<LaneSecret>) -> Self;
}
impl Keyed for BoringEngine {
    fn from_secrets(secrets: Vec<LaneSecret>) -> Self {
        BoringEngine::new(secrets)
    }
}
impl Keyed for StandinEngine {
    fn from_secrets(secrets: Vec<LaneSecret>) -> Self {
        StandinEngine::new(secrets)
    }
}

pub fn secrets(node: usize, lanes: usize) -> Vec<LaneSecret> {
    (0..lanes).map(|lane| LaneSecret::new([(16 * (node + 1) + lane + 1) as u8; 32])).collect()
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub fn member(node: usize, lanes: usize) -> Arc<Member> {
    Arc::new(Member {
        id: NodeId([node as u8 + 1; 16]),
        identity: Some(IdentityKey([node as u8 + 1; 32])),
        subject: Subject { name: name(&format!("node-{node}")), tags: BTreeSet::new() },
        v4: Some(v4(node)),
        v6: v6(node),
        lanes: secrets(node, lanes).iter().map(LaneSecret::public).collect(),
        key_serial: 1,
        amendment_serial: 0,
        enrolled: UnixTime(1),
    })
}

pub fn v4(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(100, 64, 0, node as u8 + 1)
}
pub fn v6(node: usize) -> Ipv6Addr {
    // The first address is nobody's.
    Ipv6Addr::new(0xfd00, 0xbeef, 0, 0, 0, 0, 0, node as u16 + 2)
}
pub fn underlay(node: usize) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, node as u8 + 1), 51820).into()
}

pub fn network() -> Arc<Network> {
    Arc::new(Network {
        id: NetworkId([9; 16]),
        name: "test".into(),
        v4_range: "100.64.0.0/10".parse().unwrap(),
        v6_prefix: "fd00:beef::/48".parse().unwrap(),
        coordinators: Vec::new(),
        serial: 1,
    })
}

/// Everybody may open TCP 80 and UDP 53 at everybody, by one grant per ordered pair in `pairs`.
pub fn program(pairs: &[(usize, usize)]) -> Program {
    program_until(pairs, None)
}

/// The same until then.
pub fn program_until(pairs: &[(usize, usize)], until: Option<UnixTime>) -> Program {
    let mut items = Vec::new();
    for (from, to) in pairs {
        let service = name(&format!("svc-{from}-{to}"));
        let listen = |protocol, port| Listen { protocol, first: port, last: port };
        items.push(Item::Service(Service {
            addresses: Default::default(),
            name: service.clone(),
            on: BTreeSet::from([Selector::Node(name(&format!("node-{to}")))]),
            listen: BTreeSet::from([listen(Protocol::Tcp, 80), listen(Protocol::Udp, 53)]),
        }));
        items.push(Item::Grant(Grant {
            id: name(&format!("grant-{from}-{to}")),
            from: BTreeSet::from([Selector::Node(name(&format!("node-{from}")))]),
            except: BTreeSet::new(),
            to: BTreeSet::from([service]),
            mode: GrantMode::Enforce,
            until,
            why: String::new(),
        }));
    }
    Program::of_items(&items)
}

/// What `me` is told: `others` joined by `pairs`.
pub fn assembly(
    me: usize,
    others: &[usize],
    pairs: &[(usize, usize)],
    revision: u64,
    lanes: usize,
) -> Assembly {
    assembly_of(&program(pairs), me, others, revision, lanes)
}

/// What `me` is told under a policy.
pub fn assembly_of(program: &Program, me: usize, others: &[usize], revision: u64, lanes: usize) -> Assembly {
    let mine = member(me, lanes);
    let peer = |other: &usize| {
        let member = member(*other, lanes);
        let spec = PeerSpec {
            seat: None,
            outbound: program.rules(&mine.subject, &member.subject).into(),
            inbound: program.rules(&member.subject, &mine.subject).into(),
            beyond: program.behind(&mine.subject, &member.subject).into(),
            hosts: program.behind(&member.subject, &mine.subject).into(),
            candidates: vec![underlay(*other)],
            my_key: None,
            member,
        };
        (spec.member.id, spec)
    };
    let peers: BTreeMap<NodeId, PeerSpec> = others.iter().map(peer).collect();
    let (network, audited) = (network(), Default::default());
    Assembly { network, me: mine.clone(), epoch: 1, revision, generation: 1, peers, audited }
}

#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    pub stride: usize,
}

pub struct Node<E: Engine> {
    pub plane: DataPlane<E>,
    pub egress: EgressWorker,
    pub ingress: IngressWorker,
    pub address: SocketAddr,
    /// Whole frames that came out at the TUN.
    pub tun: Vec<Vec<u8>>,
}

pub struct World<E: Engine> {
    pub nodes: Vec<Node<E>>,
    pub now: Now,
    pub wire: VecDeque<Datagram>,
    /// Everything that was ever on the wire.
    pub seen: Vec<Datagram>,
    pub lanes: usize,
}

impl<E: Keyed> World<E> {
    pub fn new(nodes: usize, lanes: usize, merge: bool) -> World<E> {
        let now = Now { mono: Mono::from_millis(1_000_000), wall_ms: 1_700_000_000_000 };
        let mut world = World { nodes: Vec::new(), now, wire: VecDeque::new(), seen: Vec::new(), lanes };
        for node in 0..nodes {
            world.nodes.push(make(node, lanes, merge, now));
        }
        let pairs: Vec<_> = pairs(nodes);
        for node in 0..nodes {
            let others: Vec<usize> = (0..nodes).filter(|n| *n != node).collect();
            world.publish(node, &others, &pairs, 1);
        }
        world
    }

    pub fn publish(
        &mut self,
        node: usize,
        others: &[usize],
        pairs: &[(usize, usize)],
        revision: u64,
    ) -> Published {
        let assembly = assembly(node, others, pairs, revision, self.lanes);
        self.nodes[node].plane.publish(&assembly, self.now)
    }

    pub fn restart(&mut self, node: usize) {
        let old = std::mem::replace(&mut self.nodes[node], make(node, self.lanes, false, self.now));
        let pairs = pairs(self.nodes.len());
        let others: Vec<usize> = (0..self.nodes.len()).filter(|n| *n != node).collect();
        self.nodes[node].plane.restore_stamps(&old.plane.stamps());
        self.publish(node, &others, &pairs, 1);
    }

    /// The local host sends a packet.
    pub fn send(&mut self, node: usize, vnet: Vnet, packet: &[u8]) {
        let mut frame = vnet.write().to_vec();
        frame.extend_from_slice(packet);
        let now = self.now;
        let n = &mut self.nodes[node];
        n.plane.egress(&mut n.egress, &mut frame, now);
        n.plane.flush(&mut n.egress);
        n.tun.extend(n.egress.tun_frames().map(<[u8]>::to_vec));
        let from = n.address;
        let sent = collect(&n.egress.out, from);
        n.egress.sent();
        self.put(sent);
    }

    pub fn put(&mut self, sent: Vec<Datagram>) {
        self.seen.extend(sent.iter().cloned());
        self.wire.extend(sent);
    }

    /// Gives a datagram to a node; returns what it sends back.
    pub fn deliver(&mut self, node: usize, d: &Datagram) -> Vec<Datagram> {
        let now = self.now;
        let n = &mut self.nodes[node];
        n.plane.ingress(&mut n.ingress, d.from, &d.bytes, d.stride, now);
        for frame in n.ingress.frames() {
            let mut whole = frame.vnet.to_vec();
            frame.parts().for_each(|part| whole.extend_from_slice(part));
            n.tun.push(whole);
        }
        let answers = collect(&n.ingress.out, n.address);
        n.ingress.sent();
        answers
    }

    pub fn tick(&mut self) {
        for node in 0..self.nodes.len() {
            let mut out = Outbox::small();
            let n = &mut self.nodes[node];
            n.plane.tick(&mut out, self.now);
            n.tun.extend(n.plane.take_frames());
            let sent = collect(&out, n.address);
            self.put(sent);
        }
    }

    /// Delivers until the wire is empty.
    pub fn settle(&mut self) {
        while let Some(d) = self.wire.pop_front() {
            if let Some(node) = self.nodes.iter().position(|n| n.address == d.to) {
                let answers = self.deliver(node, &d);
                self.put(answers);
            }
        }
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = Now { mono: self.now.mono.plus_millis(ms), wall_ms: self.now.wall_ms + ms };
    }

    /// Lets virtual time go on in steps of 200 ms.
    pub fn live(&mut self, ms: u64) {
        for _ in 0..ms / 200 {
            self.pass(200);
            self.tick();
            self.settle();
        }
    }

    /// Packets (without vnet header) that came out at a node since the last call.
    pub fn received(&mut self, node: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.nodes[node].tun).into_iter().map(|f| f[10..].to_vec()).collect()
    }

    pub fn count(&self, node: usize, counter: &str) -> u64 {
        self.nodes[node].plane.counters()[counter]
    }

    pub fn endpoint(&self, node: usize, peer: usize) -> Option<SocketAddr> {
        self.nodes[node].plane.endpoint(NodeId([peer as u8 + 1; 16])).and_then(Place::direct)
    }
}

fn make<E: Keyed>(node: usize, lanes: usize, merge: bool, now: Now) -> Node<E> {
    let settings = Settings { mtu: MTU, tso: merge, uso: merge, workers: 1 };
    Node {
        plane: DataPlane::new(E::from_secrets(secrets(node, lanes)), settings, [node as u8 + 77; 32], now),
        egress: EgressWorker::new(0),
        ingress: IngressWorker::new(&settings),
        address: underlay(node),
        tun: Vec::new(),
    }
}

pub fn pairs(nodes: usize) -> Vec<(usize, usize)> {
    (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b))).filter(|(a, b)| a != b).collect()
}

pub fn collect(out: &Outbox, from: SocketAddr) -> Vec<Datagram> {
    out.transmits()
        .map(|t| Datagram {
            from,
            to: t.to,
            bytes: t.bytes.to_vec(),
            stride: t.segment.unwrap_or(t.bytes.len()),
        })
        .collect()
}

// --- packets

pub fn udp4(from: usize, to: usize, sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    udp(IpAddr::V4(v4(from)), IpAddr::V4(v4(to)), sport, dport, payload)
}

pub fn udp(src: IpAddr, dst: IpAddr, sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ip(src, dst).udp(sport, dport).write(&mut packet, payload).unwrap();
    packet
}

fn ip(src: IpAddr, dst: IpAddr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => etherparse::PacketBuilder::ipv4(s.octets(), d.octets(), 64),
        (IpAddr::V6(s), IpAddr::V6(d)) => etherparse::PacketBuilder::ipv6(s.octets(), d.octets(), 64),
        _ => panic!("mixed families"),
    }
}

/// Flags: `S`, `A`, `P` in any order.
pub fn tcp4(
    from: (usize, u16),
    to: (usize, u16),
    flags: &str,
    seq: u32,
    ack: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut step = ip(IpAddr::V4(v4(from.0)), IpAddr::V4(v4(to.0))).tcp(from.1, to.1, seq, 60_000);
    if flags.contains('S') {
        step = step.syn();
    }
    if flags.contains('A') {
        step = step.ack(ack);
    }
    if flags.contains('P') {
        step = step.psh();
    }
    let mut packet = Vec::new();
    step.write(&mut packet, payload).unwrap();
    packet
}
