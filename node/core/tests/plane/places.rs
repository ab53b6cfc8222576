//! Two nodes that have several addresses each, with different ways between them: the quickest is used, by both, and nothing is lost
//! on the way there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use warren_node_core::dataplane::Outbox;
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::path::MoveReason;
use warren_node_core::session::standin::StandinEngine;
use warren_wire::id::NodeId;

use crate::world::{Datagram, World, assembly, collect, pairs, udp4, underlay};

fn id(node: usize) -> NodeId {
    NodeId([node as u8 + 1; 16])
}

/// Address number `way` of a node; a way joins the addresses of its number.
fn address(node: usize, way: usize) -> SocketAddr {
    underlay(10 * (way + 1) + node)
}

const STEP_MS: u64 = 5;

struct Town {
    world: World<StandinEngine>,
    /// How long a datagram takes, a way; `None` where nothing arrives.
    delays: Vec<Option<u64>>,
    /// By the step in which they arrive.
    under_way: BTreeMap<u64, Vec<(usize, Datagram)>>,
    step: u64,
    /// Datagrams sent, a way.
    sent: Vec<usize>,
}

impl Town {
    fn new(delays: &[Option<u64>]) -> Town {
        let world = World::<StandinEngine>::new(2, 2, false);
        for node in 0..2 {
            let mut told = assembly(node, &[1 - node], &pairs(2), 2, world.lanes);
            let ways = 0..delays.len();
            told.peers.get_mut(&id(1 - node)).unwrap().candidates =
                ways.map(|way| address(1 - node, way)).collect();
            world.nodes[node].plane.publish(&told, world.now);
        }
        let sent = vec![0; delays.len()];
        Town { world, delays: delays.to_vec(), under_way: BTreeMap::new(), step: 0, sent }
    }

    /// What was sent leaves from the address that the way begins at, as a host's routes have it.
    fn carry(&mut self) {
        while let Some(d) = self.world.wire.pop_front() {
            let ways = 0..self.delays.len();
            let found =
                ways.flat_map(|way| [(way, 0), (way, 1)]).find(|(way, node)| address(*node, *way) == d.to);
            let Some((way, node)) = found else { continue };
            self.sent[way] += 1;
            let Some(delay) = self.delays[way] else { continue };
            let arrives = self.step + delay / STEP_MS;
            let from = address(1 - node, way);
            self.under_way.entry(arrives).or_default().push((node, Datagram { from, ..d }));
        }
    }

    fn live(&mut self, ms: u64) {
        for _ in 0..ms / STEP_MS {
            self.step += 1;
            self.world.pass(STEP_MS);
            if self.step.is_multiple_of(20) {
                self.world.tick();
            }
            self.carry();
            while let Some(first) = self.under_way.first_entry().filter(|first| *first.key() <= self.step) {
                for (node, datagram) in first.remove() {
                    let answers = self.world.deliver(node, &datagram);
                    self.world.put(answers);
                }
                self.carry();
            }
        }
    }

    /// A word each way every 50 ms; how many of both arrived.
    fn talk(&mut self, ms: u64) -> (usize, usize) {
        let mut heard = (0, 0);
        for _ in 0..ms / 50 {
            for (from, sport, dport) in [(0, 4000, 53), (1, 53, 4000)] {
                self.world.send(from, Vnet::PLAIN, &udp4(from, 1 - from, sport, dport, b"word"));
            }
            self.live(50);
            heard.0 += self.world.received(1).len();
            heard.1 += self.world.received(0).len();
        }
        heard
    }

    fn ways(&self) -> [Option<usize>; 2] {
        [0, 1].map(|node| {
            let at = self.world.endpoint(node, 1 - node)?;
            (0..self.delays.len()).find(|way| address(1 - node, *way) == at)
        })
    }

    fn reasons(&self, node: usize) -> Vec<MoveReason> {
        let places = self.world.nodes[node].plane.whereabouts(id(1 - node)).unwrap();
        places.moves().map(|m| m.reason).collect()
    }
}

#[test]
fn the_quickest_of_several_direct_ways_is_used_by_both_and_no_word_is_lost() {
    let mut town = Town::new(&[Some(40), Some(10), Some(25)]);
    town.talk(2_000);
    assert_eq!(town.ways(), [Some(0), Some(0)], "the first that was told");
    let heard = town.talk(30_000);
    assert!(heard.0 >= 599 && heard.1 >= 599, "{heard:?}");
    assert_eq!(town.ways(), [Some(1), Some(1)]);
    let reasons = [town.reasons(0), town.reasons(1)].concat();
    assert!(reasons.contains(&MoveReason::Faster), "{reasons:?}");
    let moved = reasons.iter().filter(|reason| **reason != MoveReason::Told).count();
    assert!(moved <= 2, "each went to the quickest once: {reasons:?}");
    // And that is all that happens.
    let before = town.sent.clone();
    town.talk(60_000);
    assert_eq!(town.ways(), [Some(1), Some(1)]);
    assert_eq!([town.reasons(0), town.reasons(1)].concat(), reasons);
    let asked = town.sent[0] - before[0];
    assert!((1..=2 * 2 * 7).contains(&asked), "{asked} questions and answers in a minute");
}

#[test]
fn a_direct_way_that_dies_is_left_for_another_within_four_seconds_and_taken_again_when_it_is_back() {
    let mut town = Town::new(&[Some(10), Some(40)]);
    town.talk(5_000);
    assert_eq!(town.ways(), [Some(0), Some(0)]);
    town.delays[0] = None;
    town.talk(4_000);
    assert_eq!(town.ways(), [Some(1), Some(1)], "{:?}", town.reasons(0));
    let heard = town.talk(5_000);
    assert!(heard.0 >= 99 && heard.1 >= 99, "{heard:?}");
    town.delays[0] = Some(10);
    let heard = town.talk(30_000);
    assert!(heard.0 >= 599 && heard.1 >= 599, "{heard:?}");
    assert_eq!(town.ways(), [Some(0), Some(0)]);
}

/// A question over another way is no reason to go there, and an answer neither.
#[test]
fn ways_that_are_as_good_as_the_one_in_use_are_asked_about_and_left_alone() {
    let mut town = Town::new(&[Some(20), Some(20), Some(20)]);
    town.talk(2_000);
    let before = [town.reasons(0), town.reasons(1)];
    town.talk(60_000);
    assert_eq!([town.reasons(0), town.reasons(1)], before);
    assert!(town.sent[1] > 0);
}

/// Data moves a peer that did not choose for itself: as when a NAT gives it another port in the middle of a transfer.
#[test]
fn a_peer_that_speaks_from_elsewhere_is_followed_at_once() {
    let mut town = Town::new(&[Some(10), Some(10)]);
    town.talk(20_000);
    assert_eq!(town.ways(), [Some(0), Some(0)]);
    // Node 0 hears of a new candidate alone and the old one is gone.
    let mut told = assembly(0, &[1], &pairs(2), 3, town.world.lanes);
    told.peers.get_mut(&id(1)).unwrap().candidates = vec![address(1, 1)];
    town.world.nodes[0].plane.publish(&told, town.world.now);
    town.delays[0] = None;
    town.talk(4_000);
    assert_eq!(town.ways(), [Some(1), Some(1)]);
}

/// Hours later the peer may be anywhere, and no key of before is good for anything.
#[test]
fn after_a_sleep_a_peer_with_flows_is_greeted_at_once_wherever_it_may_be() {
    let mut town = Town::new(&[Some(10), Some(10), Some(10)]);
    town.talk(5_000);
    assert_eq!(town.ways(), [Some(0), Some(0)]);
    let hours = 3 * 3600 * 1000;
    town.world.pass(hours);
    town.delays[0] = None;
    let mut out = Outbox::small();
    let plane = &town.world.nodes[0].plane;
    assert_eq!(plane.resumed(&mut out, town.world.now), 1);
    assert_eq!(plane.resumed(&mut out, town.world.now), 0, "not twice at once");
    out.flush();
    let sent = collect(&out, underlay(0));
    let to: std::collections::BTreeSet<SocketAddr> = sent.iter().map(|d| d.to).collect();
    assert_eq!(to, (0..3).map(|way| address(1, way)).collect());
    town.world.put(sent);
    town.live(100);
    let age = |town: &Town, node: usize| {
        town.world.nodes[node].plane.status(town.world.now)[0].last_handshake.map(|age| age.as_secs())
    };
    assert_eq!(
        (age(&town, 0), age(&town, 1)),
        (Some(0), Some(0)),
        "new keys, before any packet asks for them"
    );
    let heard = town.talk(2_000);
    assert!(heard.0 >= 38 && heard.1 >= 38, "{heard:?}");
    assert!(!town.ways().contains(&Some(0)));
}

/// For the coordinator, which only shows it.
#[test]
fn a_way_is_told_when_it_changes_and_once_a_minute_and_no_way_to_a_silent_peer() {
    use warren_wire::path::{PathWhy, PeerPath};
    let mut town = Town::new(&[Some(40), Some(10)]);
    let tell = |town: &Town| -> Vec<PeerPath> { town.world.nodes[0].plane.tell_paths(town.world.now) };
    assert_eq!(tell(&town), [], "one does not talk to it");
    town.talk(1_000);
    let told = tell(&town);
    assert_eq!((told.len(), told[0].node(), told[0].why()), (1, Some(id(1)), PathWhy::Candidate));
    assert_eq!(tell(&town), []);
    town.talk(20_000);
    let told = tell(&town);
    assert_eq!((told.len(), told[0].why()), (1, PathWhy::Faster), "it has changed");
    let used = told[0].places.iter().find(|place| place.in_use).unwrap();
    assert_eq!(used.place, address(1, 1).to_string());
    assert!(used.round_trip_us.is_some_and(|us| (20_000..200_000).contains(&us)), "{used:?}");
    assert!(told[0].places.iter().all(|place| place.answered_ago.is_some_and(|ago| ago <= 11)));
    let mut times = 0;
    for _ in 0..18 {
        town.talk(10_000);
        times += tell(&town).len();
    }
    assert_eq!(times, 3, "in three minutes");
    town.world.nodes[0].plane.forget_told_paths();
    assert_eq!(tell(&town).len(), 1, "who is told now knows nothing of before");
}
