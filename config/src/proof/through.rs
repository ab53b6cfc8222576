//! Which doors lie behind which, through any number of services: worked out once for a policy. Names are not counted
//! here, so it may say "behind" of what is not; it never says "not behind" of what is.

use std::collections::BTreeMap;

use super::reach::Map;
use super::space::Conj;

/// Above this many cells the table is not made; the search does without.
const MAX_CELLS: usize = 100_000_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    fn of(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }
    pub fn has(&self, i: usize) -> bool {
        self.0.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }
    fn set(&mut self, i: usize) {
        if let Some(word) = self.0.get_mut(i / 64) {
            *word |= 1 << (i % 64);
        }
    }
    fn add(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }
    pub fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        let bits = |(i, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i * 64 + bit)
        };
        self.0.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(bits)
    }
}

#[derive(Debug)]
pub(super) struct Through {
    /// For each door the places it leads to that one can go on from.
    places_of: Vec<Vec<usize>>,
    /// For each place all doors that lie behind it.
    behind: Vec<Bits>,
}

impl Through {
    pub fn new(map: &Map<'_>) -> Option<Through> {
        let doors = map.doors;
        let mut ids: BTreeMap<&Conj, usize> = BTreeMap::new();
        let carries =
            |place: &&usize| map.lead_possible(**place) && doors.lead(**place).is_some_and(|l| l.carries);
        let mut places_of = Vec::new();
        for door in &doors.doors {
            let ons =
                door.leads.iter().filter(carries).filter_map(|place| doors.lead(*place)).map(|lead| &lead.on);
            let mut places: Vec<usize> = Vec::new();
            for on in ons {
                let next = ids.len();
                places.push(*ids.entry(on).or_insert(next));
            }
            places_of.push(places);
        }
        if ids.len().saturating_mul(doors.doors.len().max(ids.len())) > MAX_CELLS {
            return None;
        }
        let mut exits = vec![Bits::of(doors.doors.len()); ids.len()];
        for (on, place) in &ids {
            let open = (0..doors.doors.len()).filter(|door| map.openers(on, *door).next().is_some());
            let Some(bits) = exits.get_mut(*place) else { continue };
            open.for_each(|door| bits.set(door));
        }
        Some(Through { behind: close(exits, &places_of), places_of })
    }

    /// These doors and all behind them.
    pub fn doors_from(&self, first: impl Iterator<Item = usize>) -> Bits {
        let mut reached = Bits::of(self.places_of.len());
        let mut entered = Bits::of(self.behind.len());
        for door in first {
            reached.set(door);
            let places = self.places_of.get(door).map(Vec::as_slice).unwrap_or_default();
            places.iter().for_each(|place| entered.set(*place));
        }
        entered.ones().filter_map(|place| self.behind.get(place)).for_each(|behind| reached.add(behind));
        reached
    }
}

/// For each place the doors behind it, by walking on from it until nothing is new.
fn close(exits: Vec<Bits>, places_of: &[Vec<usize>]) -> Vec<Bits> {
    let next: Vec<Bits> = exits
        .iter()
        .map(|doors| {
            let mut places = Bits::of(exits.len());
            doors
                .ones()
                .filter_map(|door| places_of.get(door))
                .flatten()
                .for_each(|place| places.set(*place));
            places
        })
        .collect();
    let mut behind: Vec<Bits> = Vec::new();
    for start in 0..exits.len() {
        let mut seen = Bits::of(exits.len());
        let mut doors = Bits::default();
        doors.0.resize(exits.get(start).map_or(0, |bits| bits.0.len()), 0);
        let mut todo = vec![start];
        seen.set(start);
        while let Some(place) = todo.pop() {
            // What was closed before is taken whole.
            if let Some(done) = behind.get(place) {
                doors.add(done);
                continue;
            }
            exits.get(place).into_iter().for_each(|bits| doors.add(bits));
            let on: Vec<usize> =
                next.get(place).into_iter().flat_map(Bits::ones).filter(|p| !seen.has(*p)).collect();
            on.iter().for_each(|p| seen.set(*p));
            todo.extend(on);
        }
        behind.push(doors);
    }
    behind
}
