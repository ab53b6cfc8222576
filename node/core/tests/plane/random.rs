//! Whatever bytes come: no panic, no answer, no output.

use proptest::prelude::*;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::boring::BoringEngine;
use warren_node_core::session::standin::StandinEngine;

use crate::world::{Datagram, Keyed, World, udp4, underlay};

fn talk<E: Keyed>() -> World<E> {
    let mut w = World::<E>::new(2, 2, true);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"question"));
    w.settle();
    w.received(1);
    w
}

fn nothing_comes_of<E: Keyed>(inputs: &[(Vec<u8>, usize, u8)]) {
    let mut w = talk::<E>();
    let known: Vec<Vec<u8>> = w.seen.iter().map(|d| d.bytes.clone()).collect();
    for (bytes, stride, how) in inputs {
        let mut bytes = bytes.clone();
        // Half of the inputs begin like a real message of this very session.
        if let Some(real) = known.get(usize::from(*how)) {
            let head = real.len().min(bytes.len()).min(17);
            bytes[..head].copy_from_slice(&real[..head]);
        }
        let d = Datagram { from: underlay(0), to: underlay(1), bytes: bytes.clone(), stride: *stride };
        assert!(w.deliver(1, &d).is_empty());
        assert!(w.received(1).is_empty());
        let mut frame = bytes;
        let now = w.now;
        let n = &mut w.nodes[0];
        n.plane.egress(&mut n.egress, &mut frame, now);
        n.plane.flush(&mut n.egress);
        assert_eq!(n.egress.out.transmits().count(), 0);
        n.egress.sent();
    }
}

fn inputs() -> impl Strategy<Value = Vec<(Vec<u8>, usize, u8)>> {
    let bytes =
        prop_oneof![prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(any::<u8>(), 0..3000),];
    prop::collection::vec((bytes, 0usize..300, 0u8..12), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_come_to_nothing_with_real_sessions(inputs in inputs()) {
        nothing_comes_of::<BoringEngine>(&inputs);
    }

    #[test]
    fn random_bytes_come_to_nothing_with_the_standin(inputs in inputs()) {
        nothing_comes_of::<StandinEngine>(&inputs);
    }
}
