//! The room that flows take, and who gives way to whom.

use super::*;

/// Much less than there is, so that a test fills it soon.
const BEYOND: usize = 10_000;

/// Flows of `peer` that all tables together know of, opened one after the other.
fn fill(world: &mut World, flows: u32) -> u32 {
    let ask = |n: u32| {
        let way = forge::tuple(Protocol::Udp, ME, 1 + (n % 60_000) as u16, PEER, 50 + (n / 60_000) as u16);
        forge::udp(way, b"?")
    };
    (0..flows).filter(|n| world.out(&ask(*n)) == Ruling::Pass).count() as u32
}

fn neighbour(shared: &Arc<FlowIds>, limits: Limits) -> World {
    let rules: Vec<_> = (50..60).map(|port| (Protocol::Udp, port)).collect();
    let mut world = World::with_limits(allow(&rules), Rules::default(), limits);
    world.table = FlowTable::new(NodeId([7; 16]), shared.clone(), limits);
    world
}

#[test]
fn the_room_of_all_peers_together_is_bounded_and_each_keeps_its_own_share() {
    let shared = Arc::new(FlowIds::with_room(BEYOND));
    let greedy = Limits { flows: BEYOND + 1000, share: 256, ..Limits::default() };
    let mut attacker = neighbour(&shared, greedy);
    fill(&mut attacker, BEYOND as u32 + 1000);
    assert_eq!(attacker.table.len(), BEYOND / 5 + 256, "its share, and a part of the room beyond");
    // However many do the same, all together have that room, and each next one finds some.
    let greedy = |_| {
        let mut peer = neighbour(&shared, greedy);
        fill(&mut peer, 4_000);
        peer
    };
    let more: Vec<World> = (0..20).map(greedy).collect();
    let held = |world: &World| world.table.len() - 256;
    assert!(held(&attacker) + more.iter().map(held).sum::<usize>() <= BEYOND);
    let mut other = neighbour(&shared, Limits::default());
    assert_eq!(fill(&mut other, 300), 300);
    assert!(other.table.len() > 256, "{}", other.table.len());
    drop(more);
    // Room that is given back is there for all.
    attacker.pass_ms(31_000);
    attacker.timeout();
    assert_eq!(attacker.table.len(), 0);
    assert_eq!(fill(&mut other, 2000), 2000);
    assert_eq!(other.table.len(), 2000);
    drop(other);
    assert_eq!(shared.beyond.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing is kept by the dead");
}

#[test]
fn a_peer_that_fills_its_table_takes_nothing_from_another() {
    let shared = Arc::new(FlowIds::default());
    let (mut attacker, mut honest) =
        (neighbour(&shared, Limits::default()), neighbour(&shared, Limits::default()));
    assert_eq!(fill(&mut honest, 1000), 1000);
    assert_eq!(fill(&mut attacker, 40_000), 40_000);
    assert_eq!((attacker.table.len(), honest.table.len()), (Limits::default().flows, 1000));
    assert_eq!(fill(&mut honest, 5000), 5000);
    assert_eq!(honest.table.len(), 5000);
}

/// A forwarder of names asks each question from a port of its own.
#[test]
fn questions_with_one_answer_each_keep_nobody_out_at_any_rate() {
    // Two hundred a second for long, and all at once.
    for pause_ms in [5, 0] {
        let mut world = World::new(allow(&[(Protocol::Udp, 53), (Protocol::Tcp, 443)]), Rules::default());
        for number in 0..20_000 {
            let way = forge::tuple(Protocol::Udp, ME, 1024 + number, PEER, 53);
            assert_eq!(world.exchange(way), (Ruling::Pass, Ruling::Pass), "{number}");
            world.pass_ms(pause_ms);
            if number % 100 == 0 {
                world.timeout();
            }
        }
        world.connect();
        assert!(world.table.len() <= Limits::default().flows);
    }
}

/// What is asked again later, or goes on streaming, is no question any more.
#[test]
fn a_dialogue_that_goes_on_gives_way_to_nobody() {
    let limits = Limits { flows: 8, ..Limits::default() };
    let mut world = World::with_limits(allow(&[(Protocol::Udp, 53)]), Rules::default(), limits);
    let way = |sport| forge::tuple(Protocol::Udp, ME, sport, PEER, 53);
    let (asks, streams, begins) = (way(1), way(2), way(3));
    for way in [asks, streams] {
        world.exchange(way);
    }
    world.pass_ms(2_001);
    assert_eq!(world.out(&forge::udp(asks, b"?")), Ruling::Pass);
    assert_eq!(world.arrive(&forge::udp(streams.reversed(), b"!!")), Ruling::Pass);
    world.exchange(begins);
    for sport in 100..200 {
        assert_eq!(world.exchange(way(sport)), (Ruling::Pass, Ruling::Pass));
    }
    for (way, left) in [(asks, Ruling::Pass), (streams, Ruling::Pass), (begins, dropped(DropReason::Denied))]
    {
        assert_eq!(world.arrive(&forge::udp(way.reversed(), b"!!")), left);
    }
}

#[test]
fn who_lasts_is_known_to_the_next_agent() {
    let mut world = web();
    world.exchange(dns());
    world.pass_ms(2_001);
    world.exchange(dns());
    let bytes = world.table.snapshot(world.now);
    world.pass_ms(179_000);
    let (peer, ids) = (NodeId([7; 16]), Arc::new(FlowIds::default()));
    let restored = world
        .with(|ends, _, now| FlowTable::restore(&bytes, peer, ids, Limits::default(), ends, now))
        .unwrap();
    world.table = restored.0;
    assert_eq!(world.arrive(&forge::udp(dns().reversed(), b"!")), Ruling::Pass);
}

/// Nine that fill their tables with flows that last: to one who comes later a fifth of what they left is open, and they
/// left enough.
#[test]
fn however_many_fill_their_tables_with_flows_that_last_another_finds_room() {
    let shared = Arc::new(FlowIds::with_room(10_000));
    let limits = Limits { flows: 4_000, share: 10, ..Limits::default() };
    let mut hogs: Vec<World> = (0..9).map(|_| neighbour(&shared, limits)).collect();
    for _ in 0..2 {
        for hog in &mut hogs {
            for sport in 1..=4_000 {
                hog.exchange(forge::tuple(Protocol::Udp, ME, sport, PEER, 50));
            }
            hog.pass_ms(2_001);
        }
    }
    let mut other = neighbour(&shared, limits);
    let (left, lasting) = (shared.part(), hogs.iter().map(|hog| hog.table.len()).sum::<usize>());
    fill(&mut other, 4_000);
    assert!(other.table.len() >= 10 + left * 4 / 5, "{} of {left}, beside {lasting}", other.table.len());
    assert!(other.table.len() >= 400, "{} beside {lasting}", other.table.len());
}

/// What the slow judge knows of one peer: its flows, by source port, in the order in which each came to its standing.
#[derive(Default)]
struct Holds {
    half_open: Vec<u16>,
    brief: Vec<u16>,
    lasting: Vec<u16>,
}

impl Holds {
    fn all(&self) -> BTreeSet<u16> {
        self.half_open.iter().chain(&self.brief).chain(&self.lasting).copied().collect()
    }
    fn give_way(&mut self) -> bool {
        let queue = if self.half_open.is_empty() { &mut self.brief } else { &mut self.half_open };
        let gives = !queue.is_empty();
        queue.drain(..usize::from(gives));
        gives
    }
}

const ROOM: usize = 60;
const SMALL: Limits = Limits { flows: 40, share: 3, fragments: 8, refusals: 8, records: 10_000 };

/// Part of the common room that one may hold, counted anew from all of them.
fn part(all: &[Holds]) -> usize {
    (ROOM - all.iter().map(|one| one.all().len().saturating_sub(SMALL.share)).sum::<usize>()) / 4
}

fn is_greedy(all: &[Holds], peer: usize) -> bool {
    all[peer].all().len().saturating_sub(SMALL.share) > part(all)
}

/// May this peer open one more? Whoever must go has gone.
fn may_open(all: &mut [Holds], peer: usize) -> bool {
    let flows = all[peer].all().len();
    if flows < SMALL.flows && (flows < SMALL.share || flows - SMALL.share < part(all)) {
        return true;
    }
    let made = all[peer].give_way();
    if is_greedy(all, peer) {
        all[peer].give_way();
    }
    made
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn peers_share_the_room_as_the_slow_judge_says(steps in prop::collection::vec((0usize..8, 0u8..9), 1..300)) {
        let shared = Arc::new(FlowIds::with_room(ROOM));
        let rules = || allow(&[(Protocol::Udp, 53), (Protocol::Tcp, 443)]);
        let mut worlds: Vec<World> = (0..8).map(|_| {
            let mut world = World::with_limits(rules(), Rules::default(), SMALL);
            world.table = FlowTable::new(NodeId([7; 16]), shared.clone(), SMALL);
            world
        }).collect();
        let mut all: Vec<Holds> = (0..8).map(|_| Holds::default()).collect();
        for (sport, (peer, step)) in (1u16..).zip(steps) {
            let world = &mut worlds[peer];
            let udp = forge::tuple(Protocol::Udp, ME, sport, PEER, 53);
            let tcp = forge::tuple(Protocol::Tcp, ME, sport, PEER, 443);
            let expected = step >= 8 || may_open(&mut all, peer);
            let ruling = match step {
                0..3 => world.out(&forge::udp(udp, b"?")),
                3..6 => world.exchange(udp).0,
                6..8 => {
                    let first = world.out(&forge::tcp(tcp, SYN, 1000, 0, b""));
                    world.arrive(&forge::tcp(tcp.reversed(), SYN_ACK, 5000, 1001, b""));
                    world.out(&forge::tcp(tcp, ACK, 1001, 5001, b""));
                    first
                }
                _ => {
                    world.timeout();
                    while is_greedy(&all, peer) && all[peer].give_way() {}
                    Ruling::Pass
                }
            };
            prop_assert_eq!(ruling == Ruling::Pass, expected, "{:?}", ruling);
            let holds = &mut all[peer];
            match step {
                0..3 if expected => holds.half_open.push(sport),
                3..6 if expected => holds.brief.push(sport),
                6..8 if expected => holds.lasting.push(sport),
                _ => {}
            }
            // Nobody else lost anything, and nothing that lasts is ever lost.
            for (world, holds) in worlds.iter().zip(&all) {
                let live: BTreeSet<u16> = world.table.flows().iter().map(|flow| flow.src_port as u16).collect();
                prop_assert_eq!(live, holds.all());
            }
            prop_assert!(all.iter().map(|one| one.all().len().saturating_sub(3)).sum::<usize>() <= ROOM);
        }
        // When each has been looked at, who holds more than his part holds only what lasts, and room is left for one more.
        for peer in 0..8 {
            worlds[peer].timeout();
            while is_greedy(&all, peer) && all[peer].give_way() {}
        }
        for peer in 0..8 {
            prop_assert_eq!(worlds[peer].table.len(), all[peer].all().len());
            prop_assert!(!is_greedy(&all, peer) || all[peer].half_open.len() + all[peer].brief.len() == 0);
        }
    }
}
