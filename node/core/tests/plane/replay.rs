//! The replay window never refuses an honest packet: in order at full rate, and when whole batches overtake each other as
//! far as the window reaches.

use proptest::prelude::*;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::boring::BoringEngine;

use crate::world::{Datagram, World, collect, udp4};

/// Datagrams of one send.
const BATCH: usize = 64;
/// Counters that the window reaches back (boringtun 0.7: 16 words of 64 bits).
const WINDOW: usize = 1024;
/// Batches that one batch may come too late by: all its counters are still inside.
const LATE: usize = WINDOW / BATCH - 1;

fn talk() -> World<BoringEngine> {
    let mut w = World::new(2, 2, false);
    w.send(0, Vnet::PLAIN, &udp4(0, 1, 4000, 53, b"first"));
    w.settle();
    w.received(1);
    w
}

/// Sends of [`BATCH`] datagrams each; every payload is another number.
fn batches(w: &mut World<BoringEngine>, count: usize) -> Vec<Datagram> {
    let mut all = Vec::new();
    for number in 0..count * BATCH {
        let mut frame = Vnet::PLAIN.write().to_vec();
        frame.extend_from_slice(&udp4(0, 1, 4000, 53, &number.to_be_bytes()));
        let (now, n) = (w.now, &mut w.nodes[0]);
        n.plane.egress(&mut n.egress, &mut frame, now);
        if number % BATCH == BATCH - 1 {
            n.plane.flush(&mut n.egress);
            all.extend(collect(&n.egress.out, n.address));
            n.egress.sent();
        }
    }
    assert!(all.len() == count && all.iter().all(|d| d.bytes.len() == BATCH * d.stride));
    all
}

/// Forged, come twice, passed by the window.
fn refused(w: &World<BoringEngine>) -> [u64; 3] {
    ["wg-not-authentic", "wg-duplicate", "wg-late"].map(|name| w.count(1, name))
}

fn numbers(packets: Vec<Vec<u8>>) -> Vec<usize> {
    packets.iter().map(|packet| usize::from_be_bytes(packet[28..36].try_into().unwrap())).collect()
}

#[test]
fn a_hundred_thousand_packets_in_order_all_arrive_in_order() {
    let mut w = talk();
    let sent = batches(&mut w, 100_000usize.div_ceil(BATCH));
    for batch in &sent {
        w.deliver(1, batch);
    }
    let arrived = numbers(w.received(1));
    assert!(arrived.iter().copied().eq(0..sent.len() * BATCH));
    assert_eq!(refused(&w), [0; 3]);
}

#[test]
fn a_batch_is_refused_only_when_the_window_has_passed_it() {
    for (late, passed) in [(1, false), (LATE, false), (LATE + 1, true)] {
        let mut w = talk();
        let mut sent = batches(&mut w, LATE + 4);
        let slow = sent.remove(0);
        sent.insert(late, slow);
        sent.iter().for_each(|batch| drop(w.deliver(1, batch)));
        let [forged, duplicate, lost] = refused(&w);
        assert_eq!((forged, duplicate), (0, 0));
        assert_eq!(lost > 0, passed, "{late} batches late: {lost} refused");
        assert_eq!(w.received(1).len() + lost as usize, sent.len() * BATCH);
        // Once is once, whatever came in between.
        sent.iter().for_each(|batch| drop(w.deliver(1, batch)));
        assert!(w.received(1).is_empty(), "a packet passed twice");
        let [forged, duplicate, late] = refused(&w);
        assert_eq!((forged, duplicate + late - lost), (0, (sent.len() * BATCH) as u64));
    }
}

/// Each batch gets a delay; what is due earlier comes first. So no batch is overtaken by more than [`LATE`] others.
fn shuffled(sent: Vec<Datagram>, delays: &[usize]) -> Vec<Datagram> {
    let due = |at: usize| at + delays.get(at).copied().unwrap_or(0);
    let mut order: Vec<(usize, Datagram)> = sent.into_iter().enumerate().collect();
    order.sort_by_key(|(at, _)| (due(*at), *at));
    order.into_iter().map(|(_, batch)| batch).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn batches_that_overtake_each_other_within_the_window_lose_nothing_and_pass_once(
        delays in prop::collection::vec(0..=LATE, 1..80)
    ) {
        let mut w = talk();
        let sent = batches(&mut w, delays.len());
        let came = shuffled(sent, &delays);
        came.iter().for_each(|batch| drop(w.deliver(1, batch)));
        let mut arrived = numbers(w.received(1));
        arrived.sort_unstable();
        prop_assert!(arrived.into_iter().eq(0..delays.len() * BATCH));
        prop_assert_eq!(refused(&w), [0; 3]);
        came.iter().for_each(|batch| drop(w.deliver(1, batch)));
        prop_assert!(w.received(1).is_empty());
    }
}
