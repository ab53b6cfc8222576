//! Who sits where questions come over a stream. When all places are taken, who comes gets the place of somebody who has been
//! silent: of those of the peer with the most places, whoever was heard of last the longest time ago.

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::clock::Mono;

#[derive(Debug)]
struct Seat {
    peer: IpAddr,
    heard: Mono,
    /// Questions that wait for their answers.
    asking: usize,
    /// The order in which they came.
    number: u64,
}

#[derive(Debug)]
pub struct Seats {
    taken: HashMap<u64, Seat>,
    room: usize,
    next: u64,
}

impl Seats {
    pub fn new(room: usize) -> Seats {
        Seats { taken: HashMap::new(), room: room.max(1), next: 0 }
    }

    pub fn len(&self) -> usize {
        self.taken.len()
    }

    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// The number of a seat, and of the one that was given up for it.
    pub fn take(&mut self, peer: IpAddr, now: Mono) -> (u64, Option<u64>) {
        let given_up = if self.taken.len() < self.room { None } else { self.longest_silent() };
        if let Some(given_up) = given_up {
            self.taken.remove(&given_up);
        }
        let number = self.next;
        self.next += 1;
        self.taken.insert(number, Seat { peer, heard: now, asking: 0, number });
        (number, given_up)
    }

    pub fn handle_question(&mut self, number: u64, now: Mono) {
        if let Some(seat) = self.taken.get_mut(&number) {
            (seat.heard, seat.asking) = (now, seat.asking + 1);
        }
    }

    pub fn handle_answer(&mut self, number: u64, now: Mono) {
        if let Some(seat) = self.taken.get_mut(&number) {
            (seat.heard, seat.asking) = (now, seat.asking.saturating_sub(1));
        }
    }

    pub fn has(&self, number: u64) -> bool {
        self.taken.contains_key(&number)
    }

    pub fn leave(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    fn longest_silent(&self) -> Option<u64> {
        let mut places: HashMap<IpAddr, usize> = HashMap::new();
        self.taken.values().for_each(|seat| *places.entry(seat.peer).or_default() += 1);
        let most = places.values().max()?;
        let theirs = self.taken.values().filter(|seat| places.get(&seat.peer) == Some(most));
        theirs.min_by_key(|seat| (seat.asking > 0, seat.heard, seat.number)).map(|seat| seat.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([100, 64, 0, last])
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn who_comes_when_all_is_taken_gets_the_place_of_who_was_silent_longest() {
        let mut seats = Seats::new(3);
        for (number, ms) in [(0, 10), (1, 20), (2, 30)] {
            assert_eq!(seats.take(peer(1), at(ms)), (number, None));
        }
        seats.handle_question(0, at(40));
        assert_eq!(seats.take(peer(1), at(50)), (3, Some(1)), "the first has asked meanwhile");
        // Whoever waits for an answer is silent for our sake.
        seats.handle_answer(0, at(60));
        seats.handle_question(2, at(61));
        seats.handle_question(3, at(62));
        assert_eq!(seats.take(peer(1), at(70)), (4, Some(0)));
        assert_eq!(seats.len(), 3);
        seats.leave(4);
        assert_eq!(seats.take(peer(1), at(80)), (5, None));
    }

    #[test]
    fn the_peer_with_the_most_places_gives_up_its_own() {
        let mut seats = Seats::new(8);
        seats.take(peer(1), at(0));
        seats.take(peer(2), at(1));
        for ms in 0..1_000 {
            let (number, given_up) = seats.take(peer(3), at(100 + ms));
            assert!(given_up.is_none_or(|given_up| given_up >= 2), "it takes only its own: {given_up:?}");
            seats.handle_question(number, at(100 + ms));
        }
        assert_eq!(seats.len(), 8);
    }
}
