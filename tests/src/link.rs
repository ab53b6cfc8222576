//! The underlay between two places: how long a datagram takes, and whether it comes at all, once, twice, or late.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::MS;
use crate::random::Random;

/// A place on the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Coordinator,
    Node(usize),
    /// In front of nodes.
    Router(usize),
    /// The relay that is a program of its own.
    Annex,
}

/// What a way does to datagrams. Times in nanoseconds, chances per mille.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub latency: u64,
    pub jitter: u64,
    pub loss: u64,
    pub duplication: u64,
    /// So many are held back and come later than those sent after them.
    pub reordering: u64,
}

impl Weather {
    pub const FAIR: Weather = Weather { latency: 10 * MS, jitter: 0, loss: 0, duplication: 0, reordering: 0 };
    pub const FOUL: Weather =
        Weather { latency: 25 * MS, jitter: 15 * MS, loss: 50, duplication: 20, reordering: 50 };
}

type Way = (Place, Place);

fn way(a: Place, b: Place) -> Way {
    (a.min(b), a.max(b))
}

/// All ways. Partitions and weather are per pair and the same in both directions, unless places are in regions: between two of
/// them each direction has its own.
#[derive(Clone, Debug)]
pub struct Links {
    pub weather: Weather,
    special: BTreeMap<Way, Weather>,
    cut: BTreeSet<Way>,
    /// Which region a place is in, where there are regions.
    regions: BTreeMap<Place, u8>,
    /// What ways from one region to another are like: not the same as the way back.
    climate: BTreeMap<(u8, u8), Weather>,
    /// Regions that hear nothing of each other.
    severed: BTreeSet<(u8, u8)>,
    /// When the last datagram arrives, by direction: without reordering nothing overtakes.
    last: BTreeMap<Way, u64>,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            weather: Weather::FAIR,
            special: BTreeMap::new(),
            cut: BTreeSet::new(),
            regions: BTreeMap::new(),
            climate: BTreeMap::new(),
            severed: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }
}

impl Links {
    pub fn cut(&mut self, a: Place, b: Place) {
        self.cut.insert(way(a, b));
    }
    pub fn mend(&mut self, a: Place, b: Place) {
        self.cut.remove(&way(a, b));
    }
    pub fn is_cut(&self, a: Place, b: Place) -> bool {
        self.cut.contains(&way(a, b))
            || !self.severed.is_empty() && self.severed.contains(&self.regions_of(a, b))
    }
    fn regions_of(&self, from: Place, to: Place) -> (u8, u8) {
        let region = |place| self.regions.get(&place).copied().unwrap_or_default();
        (region(from), region(to))
    }
    pub fn settle_in(&mut self, place: Place, region: u8) {
        self.regions.insert(place, region);
    }
    pub fn set_climate(&mut self, from: u8, to: u8, weather: Weather) {
        self.climate.insert((from, to), weather);
    }
    /// Both directions.
    pub fn sever(&mut self, a: u8, b: u8) {
        self.severed.extend([(a, b), (b, a)]);
    }
    pub fn rejoin(&mut self) {
        self.severed.clear();
    }
    /// Every partition ends and the weather is fair everywhere.
    pub fn mend_all(&mut self) {
        self.cut.clear();
        self.severed.clear();
        self.special.clear();
        self.weather = Weather::FAIR;
    }
    pub fn set(&mut self, a: Place, b: Place, weather: Weather) {
        self.special.insert(way(a, b), weather);
    }
    pub fn weather(&self, from: Place, to: Place) -> Weather {
        let here = || self.climate.get(&self.regions_of(from, to)).copied();
        self.special.get(&way(from, to)).copied().or_else(here).unwrap_or(self.weather)
    }

    /// When a datagram sent now arrives: never, once or twice.
    pub fn arrivals(&mut self, from: Place, to: Place, now: u64, random: &mut Random) -> Vec<u64> {
        let weather = self.weather(from, to);
        if self.is_cut(from, to) || random.chance(weather.loss) {
            return Vec::new();
        }
        let copies = if random.chance(weather.duplication) { 2 } else { 1 };
        (0..copies).map(|_| self.arrival(weather, (from, to), now, random)).collect()
    }

    fn arrival(&mut self, weather: Weather, direction: Way, now: u64, random: &mut Random) -> u64 {
        let at = now + weather.latency + random.below(weather.jitter);
        if random.chance(weather.reordering) {
            return at + weather.latency;
        }
        let last = self.last.entry(direction).or_default();
        *last = at.max(*last);
        *last
    }

    /// How long a message on a reliable stream takes: a lost one is sent again.
    pub fn stream_delay(&self, from: Place, to: Place, random: &mut Random) -> u64 {
        let weather = self.weather(from, to);
        let mut delay = weather.latency + random.below(weather.jitter);
        while random.chance(weather.loss) {
            delay += 3 * weather.latency;
        }
        delay
    }
}
