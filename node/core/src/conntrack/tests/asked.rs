//! Whose a flow or a refused try is: who asks, how often.

use super::*;
use crate::workload::Question;

/// A world whose table asks, and what it asks.
fn asking(outbound: Rules) -> (World, std::sync::mpsc::Receiver<Question>) {
    let mut world = World::new(outbound, Rules::default());
    let ids = Arc::new(FlowIds::default());
    let (listener, asked) = std::sync::mpsc::sync_channel(1000);
    ids.openings().tell_to(listener);
    world.table = FlowTable::new(NodeId([7; 16]), ids, Limits::default());
    (world, asked)
}

#[test]
fn whose_a_flow_is_is_asked_once_whatever_it_carries() {
    let (mut world, asked) = asking(allow(&[(Protocol::Udp, 53)]));
    for _ in 0..1000 {
        assert_eq!(world.out(&forge::udp(dns(), b"?")), Ruling::Pass);
        assert_eq!(world.arrive(&forge::udp(dns().reversed(), b"!")), Ruling::Pass);
    }
    let flows: Vec<u64> = asked.try_iter().map(|question| question.flow).collect();
    assert_eq!(flows, [world.records()[0].flow]);
}

#[test]
fn whose_a_refused_try_is_is_asked_at_its_first_packet_and_of_a_scan_only_in_its_beginning() {
    let (mut world, asked) = asking(Rules::default());
    let try_it = |world: &mut World, sport, dport| {
        world.out(&forge::tcp(forge::tuple(Protocol::Tcp, ME, sport, PEER, dport), SYN, 77, 0, b""));
    };
    [1, 2].into_iter().for_each(|sport| try_it(&mut world, sport, 22));
    let questions: Vec<_> = asked.try_iter().collect();
    assert_eq!(questions.len(), 1, "of its kind");
    assert_eq!(questions[0].local, format!("{ME}:1").parse().unwrap());
    assert!(questions[0].outbound);
    assert_eq!(world.records()[0].flow, questions[0].flow, "the answer finds the record");
    (1..=500).for_each(|dport| try_it(&mut world, 3, dport));
    assert_eq!(asked.try_iter().count(), 64);
    assert_eq!(world.records().len(), 500);
    // What comes in and is refused is nobody's here.
    world.arrive(&forge::tcp(forge::tuple(Protocol::Tcp, PEER, 1, ME, 22), SYN, 77, 0, b""));
    assert_eq!(asked.try_iter().count(), 0);
}
