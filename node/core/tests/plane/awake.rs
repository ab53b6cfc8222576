//! Who has nothing to do costs nothing, and who has something is never forgotten.

use std::sync::Arc;

use proptest::prelude::*;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::boring::BoringEngine;
use warren_node_core::session::standin::StandinEngine;
use warren_wire::id::{IdentityKey, NodeId, WgKey};
use warren_wire::trust::Member;

use crate::both;
use crate::world::{Keyed, World, assembly, member, name, pairs, tcp4, udp4};

const CROWD: u32 = 10_000;

both!(silent_peers_are_never_looked_at);

/// Somebody whom only the view knows.
fn silent(number: u32) -> Arc<Member> {
    let mut id = [0xee; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let key = |lane: u8| {
        let mut key = [lane; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        WgKey(key)
    };
    let mut silent = (*member(1, 2)).clone();
    silent.id = NodeId(id);
    silent.identity = Some(IdentityKey(key(9).0));
    silent.subject.name = name(&format!("silent-{number}"));
    silent.v4 = Some((u32::from(std::net::Ipv4Addr::new(100, 65, 0, 0)) + number).into());
    silent.v6 = (u128::from(crate::world::v6(200)) + u128::from(number)).into();
    silent.lanes = vec![key(1), key(2)];
    Arc::new(silent)
}

fn silent_peers_are_never_looked_at<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    let mut crowded = assembly(0, &[1], &pairs(2), 2, 2);
    let known = crowded.peers[&NodeId([2; 16])].clone();
    for member in (1..CROWD).map(silent) {
        let mut spec = known.clone();
        spec.member = member;
        crowded.peers.insert(spec.member.id, spec);
    }
    w.nodes[0].plane.publish(&crowded, w.now);
    assert_eq!(w.nodes[0].plane.status(w.now).len(), CROWD as usize);
    w.live(2000);
    assert_eq!(w.nodes[0].plane.awake(), (0, 0), "ten thousand silent peers");
    assert!(w.nodes[0].plane.snapshot_flows(w.now).is_empty());
    w.nodes[0].plane.take_stirred();
    w.live(2000);
    assert!(!w.nodes[0].plane.take_stirred(), "nothing happened");

    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"one speaks"));
    w.settle();
    let (lanes, links) = w.nodes[0].plane.awake();
    assert!((1..=4).contains(&lanes) && links == 1, "{lanes} turns of two lanes, {links} links");
    assert!(w.nodes[0].plane.take_stirred());
    assert_eq!(w.nodes[0].plane.snapshot_flows(w.now).len(), 1);
    assert_eq!(w.received(1).len(), 1);
    // The flow ends after 30 s, and is told; the session is given up later.
    for _ in 0..40 {
        w.live(1000);
        w.nodes[0].plane.drain_flows(w.now);
    }
    assert_eq!(w.nodes[0].plane.awake().1, 0, "what is over is forgotten");
}

/// What can happen, in a small world of three nodes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Udp { from: usize, to: usize, port: u16 },
    Tcp { from: usize, to: usize, port: u16, how: usize },
    Lose,
    Settle,
    Tick { ms: u64 },
    Publish { node: usize, grants: bool },
    Drain { node: usize },
    Snapshot { node: usize },
    Restart { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (node, port) = (0usize..3, 53u16..55);
    prop_oneof![
        4 => (node.clone(), node.clone(), port.clone()).prop_map(|(from, to, port)| Step::Udp { from, to, port }),
        4 => (node.clone(), node.clone(), 80u16..82, 0usize..4)
            .prop_map(|(from, to, port, how)| Step::Tcp { from, to, port, how }),
        1 => Just(Step::Lose),
        4 => Just(Step::Settle),
        4 => prop_oneof![1u64..400, 1000u64..60_000].prop_map(|ms| Step::Tick { ms }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, grants)| Step::Publish { node, grants }),
        2 => node.clone().prop_map(|node| Step::Drain { node }),
        1 => node.clone().prop_map(|node| Step::Snapshot { node }),
        1 => node.prop_map(|node| Step::Restart { node }),
    ]
}

fn carry_out<E: Keyed>(w: &mut World<E>, step: Step, revision: u64) {
    let now = w.now;
    match step {
        Step::Udp { from, to, port } => w.send(from, Vnet::PLAIN, &udp4(from, to, 4000, port, b"x")),
        Step::Tcp { from, to, port, how } => {
            let flags = ["S", "SA", "A", "AP"][how];
            w.send(from, Vnet::PLAIN, &tcp4((from, 4000), (to, port), flags, 100, 500, b""));
        }
        Step::Lose => w.wire.clear(),
        Step::Settle => w.settle(),
        Step::Tick { ms } => {
            w.pass(ms);
            w.tick();
        }
        Step::Publish { node, grants } => {
            let others: Vec<usize> = (0..3).filter(|other| *other != node).collect();
            let pairs = if grants { pairs(3) } else { vec![(0, 1)] };
            w.publish(node, &others, &pairs, revision);
        }
        Step::Drain { node } => drop(w.nodes[node].plane.drain_flows(now)),
        Step::Snapshot { node } => {
            let plane = &w.nodes[node].plane;
            let flows = plane.snapshot_flows(now);
            plane.restore_flows(&flows, now);
        }
        Step::Restart { node } => w.restart(node),
    }
}

fn nobody_is_overlooked<E: Keyed>(steps: &[Step]) {
    let mut w = World::<E>::new(3, 2, false);
    for (done, step) in steps.iter().enumerate() {
        carry_out(&mut w, *step, done as u64 + 2);
        for node in &w.nodes {
            assert_eq!(node.plane.overlooked(w.now), [], "after step {done}: {step:?}");
        }
    }
    // Left alone, everybody finds rest: no table is kept for ever.
    for _ in 0..5 {
        w.pass(3 * 3600 * 1000);
        w.wire.clear();
        w.tick();
        w.nodes.iter().for_each(|node| drop(node.plane.drain_flows(w.now)));
        w.pass(1000);
        w.tick();
    }
    assert!(w.nodes.iter().all(|node| node.plane.awake().1 == 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nobody_with_work_is_overlooked_with_real_sessions(steps in prop::collection::vec(step(), 1..60)) {
        nobody_is_overlooked::<BoringEngine>(&steps);
    }

    #[test]
    fn nobody_with_work_is_overlooked_with_the_standin(steps in prop::collection::vec(step(), 1..60)) {
        nobody_is_overlooked::<StandinEngine>(&steps);
    }
}
