//! A public internet in the small: NATs of every make, five regions with ways of their own, hosts that move, regions that lose each
//! other, a coordinator (which is the relay, too) that dies and comes back.
//!
//! `WARREN_NODES` says how many nodes there are (60, and 36 where they are disturbed; the whole is 2,000), `WARREN_SEED` or `WARREN_HISTORIES` which worlds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use warren_config::policy::Protocol;
use warren_tests::clock::{MS, SECOND};
use warren_tests::host::{Ends, Port};
use warren_tests::seed;
use warren_tests::storm::Second;
use warren_tests::world::{Reach, World};
use warren_wire::issue::NameRule;

/// Nodes of one cell, all of which may talk to each other; one of each, the hub, also to the next cell.
const CELL: usize = 6;
const TALK: u16 = 7_000;

/// What grants join and physics allow is heard again so long after the last disturbance: the longest back-off towards the coordinator
/// (15 s, after it was noticed for 10 s), a handshake that begins anew (15 s), and ways tried in turn every 10 s.
const QUIET_MS: u64 = 60_000;
/// Every pair talks once in so long.
const ROUND_MS: u64 = 5_000;

fn nodes(default: usize) -> usize {
    std::env::var("WARREN_NODES").map_or(default, |text| text.parse().unwrap())
}

fn policy(cells: usize) -> String {
    let mut text = "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n".to_owned();
    for cell in 0..cells {
        let next = (cell + 1) % cells;
        let _ = write!(
            text,
            "[tag.cell-{cell}]\nowners = [\"group:ops\"]\n[tag.hub-{cell}]\nowners = [\"group:ops\"]\n\
             [service.talk-{cell}]\non = [\"tag:cell-{cell}\"]\nlisten = [\"udp/{TALK}\"]\n\
             [[grant]]\nid = \"inside-{cell}\"\nfrom = [\"tag:cell-{cell}\"]\nto = [\"service:talk-{cell}\"]\n\
             [[grant]]\nid = \"onward-{cell}\"\nfrom = [\"tag:hub-{cell}\"]\nto = [\"service:talk-{next}\"]\n"
        );
    }
    text
}

struct Town {
    world: World,
    cells: usize,
    /// Who asks whom, and by which flow.
    pairs: Vec<(usize, usize)>,
    flows: BTreeMap<(usize, usize), Ends>,
}

impl Town {
    /// Everybody comes at once.
    fn new(title: &str, seed: u64, nodes: usize) -> Town {
        let cells = (nodes / CELL).max(3);
        let mut world = World::new(title, seed, 604_800);
        world.apply(&policy(cells));
        world.go_abroad(cells * CELL);
        world.storm.counts = true;
        for cell in 0..cells {
            let (cell_tag, hub_tag) = (format!("cell-{cell}"), format!("hub-{cell}"));
            let hub = world.token(NameRule::AnyFree, &[&cell_tag, &hub_tag], 1);
            let others = world.token(NameRule::AnyFree, &[&cell_tag], CELL as u32 - 1);
            for number in 0..CELL {
                let node = world.add_abroad(&format!("c{cell}-{number}"));
                world.nodes[node].host.listen(Port::Udp(TALK));
                world.enrol(node, if number == 0 { &hub } else { &others });
            }
        }
        let mut town = Town { world, cells, pairs: Vec::new(), flows: BTreeMap::new() };
        town.pairs = town.joined();
        let all = |w: &World| (0..w.nodes.len()).rev().all(|n| w.enforces(n) && w.is_online(n));
        assert!(town.world.run_until(60_000, all), "everybody comes in at once");
        println!("{title}: seed {seed}, {} nodes are in after {} ms", cells * CELL, town.world.now / MS);
        town
    }

    /// By hand, not by the program: who is in one cell, and each hub with the next cell.
    fn joined(&self) -> Vec<(usize, usize)> {
        let members = |cell: usize| cell * CELL..(cell + 1) * CELL;
        let inside =
            (0..self.cells).flat_map(|c| members(c).flat_map(move |a| members(c).map(move |b| (a, b))));
        let onward = (0..self.cells).flat_map(|c| members((c + 1) % self.cells).map(move |b| (c * CELL, b)));
        inside.filter(|(a, b)| a < b).chain(onward).collect()
    }

    /// Everybody asks everybody once, spread over the time of one round.
    fn round(&mut self) -> u64 {
        let begun = self.world.now;
        let pairs = self.pairs.clone();
        let slices = 50;
        for slice in 0..slices {
            for (number, (from, to)) in pairs.iter().enumerate() {
                if number % slices == slice {
                    self.ask(*from, *to);
                }
            }
            self.world.run_ms(ROUND_MS / slices as u64);
        }
        begun
    }

    fn ask(&mut self, from: usize, to: usize) {
        match self.flows.get(&(from, to)) {
            Some(ends) => self.world.nodes[from].host.udp_again(*ends, b"question"),
            None => {
                let Some(address) = self.world.address(to, false) else { return };
                let ends =
                    self.world.nodes[from].host.udp(SocketAddr::new(address, TALK), b"question").unwrap();
                self.flows.insert((from, to), ends);
            }
        }
        self.world.pump(from);
    }

    fn answered(&self, pair: (usize, usize), since: u64) -> bool {
        let Some(ends) = self.flows.get(&pair) else { return false };
        self.world.nodes[pair.0].host.answers.get(&(ends.local, ends.remote)).is_some_and(|at| *at >= since)
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(ROUND_MS) {
            self.round();
        }
    }

    fn is_direct(&self, from: usize, to: usize) -> bool {
        let peer = self.world.id(to);
        let agent = self.world.agent(from).unwrap();
        agent.plane.endpoint(peer).is_some_and(|place| place.is_direct())
    }

    fn describe(&self, (a, b): (usize, usize)) -> String {
        let internet = self.world.internet.as_ref().unwrap();
        let end = |from: usize, to: usize| {
            let places = self.world.agent(from).and_then(|agent| agent.plane.whereabouts(self.world.id(to)));
            format!("{} ({}): {places:?}", self.world.nodes[from].name, internet.describe(from))
        };
        format!("{}\n{}", end(a, b), end(b, a))
    }

    /// The first law: whom a grant joins, and physics let, talk. Three rounds, because ways lose something now and then: over the relay
    /// one question in 18, where all four ways are the worst. Of thousands of pairs one may lose all three; so who is not heard asks five times
    /// more, once a second.
    fn everybody_hears(&mut self, when: &str) {
        let begun = self.round();
        self.round();
        self.round();
        let mut lost = self.pairs.clone();
        lost.retain(|pair| !self.answered(*pair, begun));
        println!("{when}: {} of {} pairs ask again after three rounds", lost.len(), self.pairs.len());
        for _ in 0..5 {
            lost.iter().for_each(|(from, to)| self.ask(*from, *to));
            self.world.run_ms(if lost.is_empty() { 0 } else { 1_000 });
            lost.retain(|pair| !self.answered(*pair, begun));
        }
        if let Some(pair) = lost.first() {
            self.world.fail(&format!(
                "{when}: whom a grant joins talk, directly or over the relay: {} of {} pairs do not; one of them:\n{}",
                lost.len(),
                self.pairs.len(),
                self.describe(*pair)
            ));
        }
    }

    /// The second: directly, wherever there is a way.
    fn direct_where_it_can_be(&self, when: &str) {
        let internet = self.world.internet.as_ref().unwrap();
        let (mut direct, mut wrong) = (0, Vec::new());
        for (a, b) in &self.pairs {
            let (can, is) = (internet.can_meet(*a, *b), self.is_direct(*a, *b) && self.is_direct(*b, *a));
            direct += usize::from(is);
            if can != is {
                wrong.push((*a, *b));
            }
        }
        println!("{when}: {direct} of {} pairs direct, {} wrong", self.pairs.len(), wrong.len());
        if let Some(pair) = wrong.first() {
            self.world.fail(&format!(
                "{when}: pairs are direct where their NATs let them, and relayed elsewhere: {} of {} are not; one of them:\n{}",
                wrong.len(),
                self.pairs.len(),
                self.describe(*pair)
            ));
        }
    }

    /// The third: nobody asks without end. `since` is when it began.
    fn no_storm(&mut self, when: &str, since: u64) {
        let worst = self.world.storm.worst(since);
        let peers = self.most_peers() as u32;
        let bound = bound(peers);
        println!(
            "{when}: the most of one node in one second: {worst:?}; at most {peers} peers, bound {bound:?}"
        );
        let over = worst.datagrams > bound.datagrams
            || worst.relayed > bound.relayed
            || worst.begun > bound.begun
            || worst.dials > bound.dials
            || worst.said > bound.said
            || worst.heard > bound.heard;
        if over {
            self.world.fail(&format!("{when}: no storm: {worst:?} is over {bound:?} with {peers} peers"));
        }
        self.world.storm.forget();
    }

    fn most_peers(&self) -> usize {
        let peers = |node| self.world.agent(node).map_or(0, |agent| agent.peers().len());
        (0..self.world.nodes.len()).map(peers).max().unwrap_or_default()
    }
}

/// What one node may do in one second at the very worst, when all that it knows has become untrue at once.
///
/// A handshake that nothing proves a place for goes to every place a peer may be at, and so do answers to a knock: eight at most and the
/// relay; here a node has three, its peers ask back, and each lane begins once in five seconds (WireGuard paper, section 6.4). What
/// applications say, questions about paths and their answers come on top. A node has one try at the coordinator under way, and
/// waits a second or more between two once it has failed. It knocks once for each peer, tells each change of its own, and hears
/// of each change of a peer.
fn bound(peers: u32) -> Second {
    Second {
        datagrams: peers * 12 + 24,
        relayed: peers * 6 + 12,
        begun: peers * 4 + 8,
        dials: 3,
        said: peers * 4 + 20,
        heard: peers * 6 + 20,
    }
}

fn everyday(seed: u64, count: usize) {
    let mut town = Town::new("an internet", seed, count);
    let came = town.world.now;
    town.run(QUIET_MS);
    town.no_storm("everybody came", 0);
    town.everybody_hears("everybody came");
    town.direct_where_it_can_be("everybody came");
    println!("seed {seed}: {} nodes came within {} s", town.world.nodes.len(), came / SECOND);
    // Nobody else is reached: the laws look at every delivery, and who asks is told at once.
    let cell = |node: usize| node / CELL;
    for _ in 0..20 {
        let count = town.world.nodes.len() as u64;
        let (a, b) = (town.world.random.below(count) as usize, town.world.random.below(count) as usize);
        if cell(a).abs_diff(cell(b)) < 2 || cell(a).abs_diff(cell(b)) == town.cells - 1 {
            continue;
        }
        let reach = town.world.reach(a, b, Protocol::Udp, TALK, false);
        assert!(
            matches!(reach, Reach::Refused(0..=100)),
            "who is joined by no grant is refused at once: {reach:?}"
        );
    }
}

#[test]
fn whom_a_grant_joins_talk_and_directly_where_their_nats_let_them() {
    for seed in seed::histories(1) {
        everyday(seed, nodes(60));
    }
}

/// A whole region is cut off for three quarters of a minute.
fn region_away(town: &mut Town) {
    let begun = town.world.now;
    town.world.sever(0, 1);
    town.world.sever(1, 2);
    town.world.sever(1, 3);
    town.world.sever(1, 4);
    town.run(45_000);
    town.world.rejoin();
    town.run(QUIET_MS);
    let when = "a region was away and came back";
    town.no_storm(when, begun);
    town.everybody_hears(when);
}

#[test]
fn after_great_disturbances_all_talk_again_and_nobody_storms() {
    for seed in seed::histories(1) {
        let mut town = Town::new("a disturbed internet", seed, nodes(36));
        town.run(QUIET_MS);
        town.world.storm.forget();

        let begun = town.world.now;
        town.world.crash_coordinator();
        town.run(10_000);
        town.world.start_coordinator();
        town.run(QUIET_MS);
        let when = "the coordinator and its relay came back";
        town.no_storm(when, begun);
        town.everybody_hears(when);

        region_away(&mut town);

        let begun = town.world.now;
        for node in (0..town.world.nodes.len()).step_by(4) {
            town.world.move_abroad(node);
        }
        town.run(QUIET_MS);
        let when = "every fourth node moved at once";
        town.no_storm(when, begun);
        town.everybody_hears(when);

        let begun = town.world.now;
        town.world.internet.as_mut().unwrap().routers.iter_mut().for_each(warren_tests::nat::Nat::rebind);
        town.run(QUIET_MS);
        let when = "every NAT forgot everything";
        town.no_storm(when, begun);
        town.everybody_hears(when);
        town.direct_where_it_can_be(when);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed, nodes| {
        let mut town = Town::new("twice", seed, nodes);
        town.world.take_trace();
        town.run(15_000);
        town.world.move_abroad(3);
        town.world.crash_coordinator();
        town.run(5_000);
        town.world.start_coordinator();
        town.run(20_000);
        town.world.traced().unwrap()
    };
    let (seed, small) = (seed::or(1), 18);
    assert_eq!(trace(seed, nodes(small)), trace(seed, nodes(small)));
    assert_ne!(trace(seed, small), trace(seed + 1, small));
}
