//! Several ways to one place, begun one after the other: whoever works first is taken, and none waits for another's timeout.
//!
//! As with addresses (RFC 8305), what should work is not disturbed by what might: the next way is begun when the ones before have
//! had their time, or have all failed.

use warren_wire::door::DoorAt;

use super::{Transport, Way, doors};
use crate::clock::Mono;

/// UDP has this long alone,
pub const FIRST_MS: u64 = 1_500;
/// or this, if it was a door that worked the last time.
const KNOWN_MS: u64 = 300;
/// Between one door and the next.
pub const NEXT_MS: u64 = 300;
/// UDP that carries something is waited for so long.
const PATIENT_MS: u64 = 4_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Runs,
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    way: Way,
    begins: Mono,
    state: State,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Race {
    entries: Vec<Entry>,
}

impl Race {
    /// To the UDP port `port`. `last`: what worked the last time.
    pub fn new(port: u16, last: Option<Transport>, now: Mono) -> Race {
        let udp = Way { transport: Transport::Udp, port };
        let known = last.is_some_and(|last| last != Transport::Udp);
        let first = if known { KNOWN_MS } else { FIRST_MS };
        let mut race = Race::of(std::iter::once(udp), now);
        race.add(ordered(port, None, last), now.plus_millis(first));
        race
    }

    /// To the doors of `port` only, of which are `told`.
    pub fn doors(port: u16, told: Option<&[DoorAt]>, last: Option<Transport>, now: Mono) -> Race {
        Race::of(ordered(port, told, last).into_iter(), now)
    }

    fn of(ways: impl Iterator<Item = Way>, now: Mono) -> Race {
        let mut race = Race { entries: Vec::new() };
        race.add(ways, now);
        race
    }

    fn add(&mut self, ways: impl IntoIterator<Item = Way>, from: Mono) {
        let entries = ways.into_iter().zip(0..).map(|(way, n)| {
            let begins = from.plus_millis(NEXT_MS.saturating_mul(n));
            Entry { way, begins, state: State::Waits }
        });
        self.entries.extend(entries);
    }

    /// The next way to begin, if one is due. Ask until there is none.
    pub fn poll(&mut self, now: Mono) -> Option<Way> {
        let due = |entry: &&mut Entry| entry.state == State::Waits && entry.begins <= now;
        let entry = self.entries.iter_mut().find(due)?;
        entry.state = State::Runs;
        Some(entry.way)
    }

    /// When [`Race::poll`] has something to say.
    pub fn deadline(&self) -> Option<Mono> {
        let waiting = self.entries.iter().filter(|entry| entry.state == State::Waits);
        waiting.map(|entry| entry.begins).min()
    }

    /// If nothing else runs, the next begins now, and those behind it come as much sooner.
    pub fn handle_failed(&mut self, way: Way, now: Mono) {
        for entry in self.entries.iter_mut().filter(|entry| entry.way == way) {
            entry.state = State::Failed;
        }
        let runs = self.entries.iter().any(|entry| entry.state == State::Runs);
        if !runs {
            self.begin_doors(|begins, at| begins.min(at), now);
        }
    }

    /// UDP reaches the port, though what was begun over it is not finished: its owner is busy, and doors would make him busier.
    pub fn handle_udp_passes(&mut self, now: Mono) {
        self.begin_doors(Mono::max, now.plus_millis(PATIENT_MS));
    }

    fn begin_doors(&mut self, choose: impl Fn(Mono, Mono) -> Mono, from: Mono) {
        let waiting = self.entries.iter_mut().filter(|entry| entry.state == State::Waits);
        for (entry, n) in waiting.zip(0..) {
            entry.begins = choose(entry.begins, from.plus_millis(NEXT_MS.saturating_mul(n)));
        }
    }

    /// All have failed.
    pub fn is_lost(&self) -> bool {
        self.entries.iter().all(|entry| entry.state == State::Failed)
    }
}

/// What worked the last time comes first.
fn ordered(port: u16, told: Option<&[DoorAt]>, last: Option<Transport>) -> Vec<Way> {
    let mut ways = doors(port, told);
    ways.sort_by_key(|way| Some(way.transport) != last);
    ways
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(10_000 + ms)
    }

    fn begun(race: &mut Race, ms: u64) -> Vec<(Transport, u16)> {
        std::iter::from_fn(|| race.poll(at(ms))).map(|way| (way.transport, way.port)).collect()
    }

    #[test]
    fn udp_has_its_time_alone_and_then_doors_join_one_by_one() {
        use Transport::{Quic, Udp, WebSocket};
        let mut race = Race::new(7946, None, at(0));
        assert_eq!(begun(&mut race, 0), [(Udp, 7946)]);
        assert_eq!(begun(&mut race, FIRST_MS - 1), []);
        assert_eq!(begun(&mut race, FIRST_MS), [(Quic, 443)]);
        assert_eq!(begun(&mut race, FIRST_MS + NEXT_MS), [(WebSocket, 443)]);
        assert_eq!(begun(&mut race, FIRST_MS + 2 * NEXT_MS), [(WebSocket, 7946)]);
        assert_eq!(race.deadline(), None);
    }

    #[test]
    fn a_way_that_fails_is_not_waited_for() {
        let mut race = Race::new(7946, None, at(0));
        assert_eq!(begun(&mut race, 0).len(), 1);
        race.handle_failed(Way { transport: Transport::Udp, port: 7946 }, at(20));
        assert_eq!(begun(&mut race, 20), [(Transport::Quic, 443)]);
        assert_eq!(begun(&mut race, 20 + NEXT_MS), [(Transport::WebSocket, 443)]);
        for way in doors(7946, None) {
            assert!(!race.is_lost());
            race.handle_failed(way, at(400));
            let _ = begun(&mut race, 400);
        }
        assert!(race.is_lost());
    }

    #[test]
    fn the_door_that_worked_comes_soon_and_first_and_udp_still_before_it() {
        let mut race = Race::new(7946, Some(Transport::WebSocket), at(0));
        assert_eq!(begun(&mut race, 0), [(Transport::Udp, 7946)]);
        assert_eq!(begun(&mut race, KNOWN_MS), [(Transport::WebSocket, 443)]);
        let mut again = Race::new(7946, Some(Transport::Udp), at(0));
        let _ = begun(&mut again, 0);
        assert_eq!(begun(&mut again, KNOWN_MS), []);
    }

    #[test]
    fn while_udp_carries_something_doors_wait_and_if_it_fails_they_do_not() {
        let mut race = Race::new(7946, None, at(0));
        let _ = begun(&mut race, 0);
        race.handle_udp_passes(at(200));
        assert_eq!(begun(&mut race, PATIENT_MS), []);
        let mut patient = race.clone();
        assert_eq!(begun(&mut patient, PATIENT_MS + 200), [(Transport::Quic, 443)]);
        race.handle_failed(Way { transport: Transport::Udp, port: 7946 }, at(900));
        assert_eq!(begun(&mut race, 900), [(Transport::Quic, 443)]);
        assert_eq!(begun(&mut race, 900 + NEXT_MS), [(Transport::WebSocket, 443)]);
    }

    #[test]
    fn where_the_port_is_443_itself_its_udp_is_not_tried_twice() {
        let mut race = Race::new(443, None, at(0));
        let all: Vec<_> = begun(&mut race, 60_000);
        assert_eq!(all, [(Transport::Udp, 443), (Transport::WebSocket, 443)]);
    }

    proptest! {
        /// Whatever fails whenever: every way is begun once, UDP first, and none later than if nothing had failed.
        #[test]
        fn every_way_has_its_turn_in_time(port in prop::sample::select(vec![443u16, 7946]), fails in prop::collection::vec(0u64..3_000, 4)) {
            let mut race = Race::new(port, None, at(0));
            let (mut order, mut running) = (Vec::new(), Vec::new());
            for ms in (0..10_000).step_by(10) {
                while let Some(way) = race.poll(at(ms)) {
                    let n = order.len() as u64;
                    let latest = if n == 0 { 0 } else { FIRST_MS + (n - 1) * NEXT_MS };
                    prop_assert!(ms <= latest);
                    running.push((way, ms + fails[order.len()]));
                    order.push(way);
                }
                let over: Vec<Way> = running.iter().filter(|(_, end)| *end <= ms).map(|(way, _)| *way).collect();
                running.retain(|(_, end)| *end > ms);
                over.iter().for_each(|way| race.handle_failed(*way, at(ms)));
            }
            prop_assert!(race.is_lost());
            let mut all = doors(port, None);
            all.insert(0, Way { transport: Transport::Udp, port });
            prop_assert_eq!(order, all);
        }
    }
}
