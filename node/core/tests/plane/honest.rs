//! What two honest nodes say to each other is never counted as forged, however the network or a slow thread puts it: what
//! comes late, twice or after its handshake was replaced is counted as that.

use std::collections::BTreeSet;

use proptest::prelude::*;
use warren_node_core::dataplane::Outbox;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::session::boring::BoringEngine;
use warren_node_core::session::standin::StandinEngine;
use warren_wire::id::NodeId;

use crate::both;
use crate::world::{Datagram, Keyed, World, collect, udp4, underlay};

both!(
    a_word_that_a_slow_thread_sends_behind_a_thousand_packets_is_late,
    a_response_to_an_initiation_that_was_replaced_is_superseded,
    a_response_that_two_crossing_handshakes_have_overtaken_is_superseded,
    data_that_comes_twice_is_a_duplicate,
);

/// What only strangers and forgers cause.
const FORGED: [&str; 5] =
    ["wg-not-authentic", "wg-bad-mac1", "wg-stranger", "wg-not-a-message", "wg-no-packet"];

fn forged<E: Keyed>(world: &World<E>) -> Vec<(usize, &'static str, u64)> {
    let counts = (0..2).flat_map(|node| FORGED.map(|name| (node, name, world.count(node, name))));
    counts.filter(|(_, _, count)| *count > 0).collect()
}

fn say<E: Keyed>(world: &mut World<E>, from: usize, number: u64) {
    let packet = udp4(from, 1 - from, 4000, 53, &number.to_be_bytes());
    world.send(from, Vnet::PLAIN, &packet);
}

fn knock<E: Keyed>(world: &mut World<E>, node: usize) {
    let mut out = Outbox::small();
    let (peer, now) = (NodeId([2 - node as u8; 16]), world.now);
    world.nodes[node].plane.knocked(peer, &mut out, now);
    out.flush();
    let sent = collect(&out, underlay(node));
    world.put(sent);
}

fn talk<E: Keyed>(lanes: usize) -> World<E> {
    let mut world = World::new(2, lanes, false);
    say(&mut world, 0, 0);
    world.settle();
    assert_eq!(world.received(1).len(), 1);
    world
}

/// The thread of the timers seals a word, and is put aside by the scheduler before it sends it. Meanwhile the packet worker,
/// which seals with the same keys, sends more than the replay window holds.
fn a_word_that_a_slow_thread_sends_behind_a_thousand_packets_is_late<E: Keyed>() {
    let mut world = talk::<E>(2);
    let mut slow = Outbox::small();
    world.nodes[0].plane.spread(b"a word", &mut slow, world.now);
    let word = collect(&slow, underlay(0)).remove(0);
    for number in 1..=1100 {
        say(&mut world, 0, number);
        world.settle();
    }
    assert_eq!(world.received(1).len(), 1100);
    world.deliver(1, &word);
    assert_eq!((world.count(1, "wg-late"), forged(&world)), (1, vec![]));
}

fn a_response_to_an_initiation_that_was_replaced_is_superseded<E: Keyed>() {
    let mut world = World::<E>::new(2, 2, false);
    say(&mut world, 0, 7);
    for _ in 0..3 {
        world.pass(1000);
        knock(&mut world, 0);
    }
    assert_eq!(world.wire.len(), 4, "nothing has arrived yet");
    world.settle();
    let superseded = world.count(0, "wg-superseded");
    assert!((2..=3).contains(&superseded) && forged(&world).is_empty(), "{superseded} {:?}", forged(&world));
    assert_eq!(world.received(1).len(), 1, "the newest made the session");
}

/// With one lane both ends begin handshakes on it, and the coordinator may have them knock.
fn a_response_that_two_crossing_handshakes_have_overtaken_is_superseded<E: Keyed>() {
    let mut world = World::<E>::new(2, 1, false);
    say(&mut world, 0, 1);
    say(&mut world, 1, 2);
    let first: Vec<Datagram> = world.wire.drain(..).collect();
    let answer: Vec<Datagram> = first.iter().filter(|d| d.to == underlay(1)).cloned().collect();
    let answer = world.deliver(1, &answer[0]);
    for crossing in first.iter().filter(|d| d.to == underlay(0)) {
        let answers = world.deliver(0, crossing);
        world.put(answers);
    }
    // Before its own is answered, another packet begins one more: the first is given up for it.
    for number in 3..6 {
        world.pass(1000);
        knock(&mut world, 0);
        say(&mut world, 0, number);
    }
    answer.iter().for_each(|d| drop(world.deliver(0, d)));
    assert_eq!((world.count(0, "wg-superseded"), forged(&world)), (1, vec![]));
    world.settle();
    let came = [world.received(0).len(), world.received(1).len()];
    assert_eq!((came, forged(&world)), ([1, 4], vec![]), "nothing is lost by it");
}

fn data_that_comes_twice_is_a_duplicate<E: Keyed>() {
    let mut world = talk::<E>(2);
    say(&mut world, 0, 1);
    let again = world.wire[0].clone();
    world.settle();
    world.deliver(1, &again);
    assert_eq!((world.count(1, "wg-duplicate"), world.count(1, "wg-late")), (1, 0));
    assert!(forged(&world).is_empty());
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Say(usize),
    /// The coordinator has the node show itself.
    Knock(usize),
    Pass(u16),
    /// The datagram at this place of what is under way, and whether it stays there, to come again.
    Deliver(usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = 0usize..2;
    let step = prop_oneof![
        3 => node.clone().prop_map(Step::Say),
        2 => node.prop_map(Step::Knock),
        2 => (0u16..1500).prop_map(Step::Pass),
        6 => (any::<prop::sample::Index>(), prop::bool::weighted(0.2))
            .prop_map(|(at, stays)| Step::Deliver(at.index(1000), stays)),
    ];
    prop::collection::vec(step, 1..120)
}

fn deliver<E: Keyed>(world: &mut World<E>, at: usize, stays: bool) {
    let at = at % world.wire.len().max(1);
    let datagram = if stays { world.wire.get(at).cloned() } else { world.wire.remove(at) };
    let Some(datagram) = datagram else { return };
    let node = usize::from(datagram.to == underlay(1));
    let answers = world.deliver(node, &datagram);
    world.put(answers);
}

fn nothing_honest_is_forged<E: Keyed>(lanes: usize, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::<E>::new(2, lanes, false);
    let mut said = 0;
    for step in steps {
        match *step {
            Step::Say(node) => {
                said += 1;
                say(&mut world, node, said);
            }
            Step::Knock(node) => knock(&mut world, node),
            Step::Pass(ms) => {
                world.pass(ms.into());
                world.tick();
            }
            Step::Deliver(at, stays) => deliver(&mut world, at, stays),
        }
    }
    while !world.wire.is_empty() {
        let last = world.wire.len() - 1;
        deliver(&mut world, last, false);
    }
    prop_assert_eq!(forged(&world), vec![]);
    for node in 0..2 {
        let came = world.received(node);
        let different: BTreeSet<&[u8]> = came.iter().map(|packet| &packet[28..]).collect();
        prop_assert_eq!(different.len(), came.len(), "a packet passed twice");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_honest_nodes_say_in_any_order_late_or_twice_is_never_forged(
        lanes in 1usize..3,
        steps in steps(),
    ) {
        nothing_honest_is_forged::<BoringEngine>(lanes, &steps)?;
        nothing_honest_is_forged::<StandinEngine>(lanes, &steps)?;
    }
}
