//! Workers on threads share one plane with the control side: nothing is lost, nothing waits for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use warren_node_core::dataplane::{DataPlane, Outbox};
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::Engine;

use crate::both;
use crate::world::{Datagram, Keyed, World, assembly, collect, udp4};

both!(
    policies_applied_under_traffic_lose_no_packet,
    what_the_last_policy_allowed_is_not_opened_after_the_next
);

const PACKETS: usize = 3000;

fn shared<T: Send + Sync>(_: &T) {}

fn policies_applied_under_traffic_lose_no_packet<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"first"));
    w.settle();
    assert_eq!(w.received(1).len(), 1);
    let now = w.now;
    let mut nodes = w.nodes.drain(..);
    let (mut a, mut b) = (nodes.next().unwrap(), nodes.next().unwrap());
    shared(&a.plane);
    let (wire, arrive) = mpsc::channel::<Datagram>();
    let done = AtomicBool::new(false);
    let control = |plane: &DataPlane<E>, me: usize| apply(plane, me, &done, now);
    let (plane_a, plane_b) = (&a.plane, &b.plane);
    let (egress, ingress) = (&mut a.egress, &mut b.ingress);
    let received = std::thread::scope(|scope| {
        let applied = [scope.spawn(move || control(plane_a, 0)), scope.spawn(move || control(plane_b, 1))];
        let address = a.address;
        scope.spawn(move || {
            for i in 0..PACKETS {
                let mut frame = Vnet::PLAIN.write().to_vec();
                frame.extend_from_slice(&udp4(0, 1, 4000, 53, &i.to_be_bytes()));
                plane_a.egress(egress, &mut frame, now);
                if i % 50 == 49 {
                    plane_a.flush(egress);
                    collect(&egress.out, address).into_iter().for_each(|d| wire.send(d).unwrap());
                    egress.sent();
                }
            }
        });
        let mut received = 0;
        for d in arrive {
            plane_b.ingress(ingress, d.from, &d.bytes, d.stride, now);
            received += ingress.frames().count();
            ingress.sent();
        }
        done.store(true, Ordering::Relaxed);
        for thread in applied {
            assert!(thread.join().unwrap() > 0, "no policy was applied meanwhile");
        }
        received
    });
    assert_eq!(
        received,
        PACKETS,
        "{:?}",
        b.plane.counters().into_iter().filter(|c| c.1 > 0).collect::<Vec<_>>()
    );
}

/// Publishes, ticks and reports until the traffic is over.
fn apply<E: Engine>(
    plane: &DataPlane<E>,
    me: usize,
    done: &AtomicBool,
    now: warren_node_core::clock::Now,
) -> u64 {
    let mut out = Outbox::small();
    for revision in 2.. {
        let published = plane.publish(&assembly(me, &[1 - me], &[(0, 1), (1, 0)], revision, 2), now);
        assert_eq!(published.cut, 0);
        plane.tick(&mut out, now);
        out.sent();
        plane.drain_flows(now);
        plane.status(now);
        if done.load(Ordering::Relaxed) {
            return revision;
        }
    }
    0
}

/// A worker that took its snapshot before a publish judges after it: by the new rules.
fn what_the_last_policy_allowed_is_not_opened_after_the_next<E: Keyed>() {
    let mut w = World::<E>::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"first"));
    w.settle();
    for round in 0..40u16 {
        let revision = 10 + 2 * u64::from(round);
        w.publish(1, &[0], &[(0, 1), (1, 0)], revision);
        for i in 0..60 {
            let mut frame = Vnet::PLAIN.write().to_vec();
            frame.extend_from_slice(&udp4(0, 1, 5000 + 60 * round + i, 53, &[7; 1000]));
            let a = &mut w.nodes[0];
            a.plane.egress(&mut a.egress, &mut frame, w.now);
        }
        let a = &mut w.nodes[0];
        a.plane.flush(&mut a.egress);
        let batch = collect(&a.egress.out, a.address);
        a.egress.sent();
        let (now, b) = (w.now, &mut w.nodes[1]);
        let (plane, ingress) = (&b.plane, &mut b.ingress);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for d in &batch {
                    plane.ingress(ingress, d.from, &d.bytes, d.stride, now);
                }
            });
            plane.publish(&assembly(1, &[0], &[(1, 0)], revision + 1, 2), now);
        });
        b.ingress.sent();
        assert_eq!(b.plane.status(now)[0].flows, 0, "round {round}: a flow that no grant allows");
    }
}
