//! A relay that is a program of its own, without its sockets: what its coordinator says becomes seats and permits of the
//! heart ([`crate::relay`]), and the heart's questions become questions to the coordinator.
//!
//! It believes its coordinator in what only takes away. A seat is given only for a node whose record an authority stands
//! behind, checked here, so that no coordinator can seat a node of another network or of none. While the coordinator is
//! away, seats go on until their end and pairs that may talk go on talking; nobody new does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use warren_wire::frame::{
    PairAnswer, Pairs, Reason, Refused, RelayCounts, RelayWelcome, SaidToRelay, SeatFor,
};
use warren_wire::id::NodeId;
use warren_wire::relay::Seat;
use warren_wire::stun::PlaceKey;
use warren_wire::trust::{Network, Trust};

use crate::relay::{Ask, MAX_PAIRS, Moment, PLACE_LIFE, Pair, Relay, Released, Seating};

/// Seats that are ever given at once.
pub const MAX_SEATS: usize = 1 << 20;
/// A longer life of a seat is cut.
const MAX_LIFE: Duration = Duration::from_secs(warren_wire::trust::MAX_FRESHNESS_SECONDS);

type Nodes = (NodeId, NodeId);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The session has begun: under this name. From now on places are proven with this key.
    Begun { name: String, place_key: Option<PlaceKey> },
    /// A frame that has waited for an answer may go.
    Release(Released),
    /// Carry on until nobody sends, then end.
    Drain,
    /// The coordinator wants no more of this session.
    Refused(Refused),
    /// For the log.
    Warn(String),
}

/// See the module.
#[derive(Debug)]
pub struct Outpost {
    trust: Trust,
    /// As the charter says; none before the first session.
    network: Option<Network>,
    seats: BTreeMap<NodeId, Place>,
    /// How many sessions there were, and since when there is one now.
    session: u64,
    begun: Option<Moment>,
    /// Asked and not answered.
    asked: BTreeMap<Nodes, BTreeSet<Pair>>,
    /// To be asked.
    to_ask: Vec<Nodes>,
    unproven: u64,
    unasked: u64,
}

/// Where a node sits.
#[derive(Clone, Copy, Debug)]
struct Place {
    newest: Seat,
    /// After a restart of the coordinator it has another number. The one before holds until the node has taken up the newer one:
    /// from then on it reads nothing that is written for the older ([`Outpost::tidy`]).
    older: Option<Seat>,
    /// The session in which the coordinator has named it last.
    named: u64,
}

fn ordered((a, b): Nodes) -> Nodes {
    (a.min(b), a.max(b))
}

impl Outpost {
    /// Before its first session it holds every pair: there are none.
    pub fn new(trust: Trust) -> Outpost {
        Outpost {
            trust,
            network: None,
            seats: BTreeMap::new(),
            session: 0,
            begun: None,
            asked: BTreeMap::new(),
            to_ask: Vec::new(),
            unproven: 0,
            unasked: 0,
        }
    }

    // --- the session

    /// It is over: what was allowed stays so.
    pub fn handle_gone(&mut self, relay: &Relay) {
        relay.hold();
        self.begun = None;
        let asked = std::mem::take(&mut self.asked);
        asked.into_values().flatten().for_each(|pair| relay.not_asked(pair));
        self.to_ask.clear();
    }

    /// What the coordinator says.
    pub fn handle(&mut self, said: SaidToRelay, relay: &Relay, now: Moment) -> Vec<Act> {
        match said {
            SaidToRelay::Welcome(welcome) => self.welcome(&welcome, relay, now).into_iter().collect(),
            SaidToRelay::Refused(refused) => vec![Act::Refused(refused)],
            SaidToRelay::Seat(seat) => self.seat(&seat, relay, now).into_iter().collect(),
            SaidToRelay::Unseat(unseat) => {
                if let Some(seat) = Seat::new(unseat.number) {
                    self.unseat(seat, relay);
                }
                Vec::new()
            }
            SaidToRelay::Answer(answer) => self.answer(&answer, relay, now),
            SaidToRelay::Withdraw(pairs) => {
                let gone: BTreeSet<Nodes> = pairs.nodes().map(ordered).collect();
                relay.retain_pairs(|a, b| !gone.contains(&ordered((*a, *b))));
                Vec::new()
            }
            SaidToRelay::Drain(_) => vec![Act::Drain],
        }
    }

    /// Everything that may talk is asked about anew: the coordinator may have been another one meanwhile.
    fn welcome(&mut self, welcome: &RelayWelcome, relay: &Relay, now: Moment) -> Option<Act> {
        let network = self.trust.network(welcome.charter.as_ref()?);
        match network {
            Ok(network) => {
                self.network = Some(network);
                (self.session, self.begun) = (self.session.saturating_add(1), Some(now));
                relay.resume(now);
                for ask in relay.allowed() {
                    self.ask(ask);
                }
                let place_key = PlaceKey::from_slice(&welcome.place_key);
                Some(Act::Begun { name: welcome.name.clone(), place_key })
            }
            Err(why) => Some(Act::Warn(format!("the coordinator's charter is not believed: {why}"))),
        }
    }

    // --- seats

    fn seat(&mut self, said: &SeatFor, relay: &Relay, now: Moment) -> Option<Act> {
        let (seat, (up, down), record) = (said.seat()?, said.keys()?, said.record.as_ref()?);
        let network = self.network.as_ref()?;
        let node = match self.trust.member(network, record) {
            Ok(member) => member.id,
            Err(why) => {
                self.unproven = self.unproven.saturating_add(1);
                return Some(Act::Warn(format!(
                    "a seat was not given: its node's record is not believed: {why}"
                )));
            }
        };
        let before = self.seats.get(&node).copied();
        if before.is_none() && self.seats.len() >= MAX_SEATS {
            self.seats.retain(|_, place| relay.has_seat(place.newest));
        }
        if before.is_none() && self.seats.len() >= MAX_SEATS {
            return Some(Act::Warn("a seat was not given: this relay has no room for more".into()));
        }
        let until = now.saturating_add(Duration::from_secs(said.life).min(MAX_LIFE));
        relay.seat(Seating { seat, node, up, down, until }, now);
        let older = match before {
            Some(Place { newest, older, .. }) if newest != seat => {
                if let Some(older) = older.filter(|older| *older != seat) {
                    relay.unseat(older);
                }
                Some(newest)
            }
            Some(place) => place.older,
            None => None,
        };
        self.seats.insert(node, Place { newest: seat, older, named: self.session });
        None
    }

    fn unseat(&mut self, seat: Seat, relay: &Relay) {
        relay.unseat(seat);
        let node = self.seats.iter().find(|(_, place)| place.newest == seat).map(|(node, _)| *node);
        if let Some(older) = node.and_then(|node| self.seats.remove(&node)).and_then(|place| place.older) {
            relay.unseat(older);
        }
    }

    /// Once a second or so: gives back seats that nobody needs. Those are the older ones of nodes that have shown themselves at
    /// their newer one; and, after the coordinator was started anew, those of nodes that it has not named since and that are not
    /// here either: who comes back gets a seat from it.
    pub fn tidy(&mut self, relay: &Relay, now: Moment) {
        let here = |seat: Seat| relay.place(seat, now).is_some();
        for place in self.seats.values_mut() {
            if let Some(older) = place.older.take_if(|_| here(place.newest)) {
                relay.unseat(older);
            }
        }
        let settled = self.begun.is_some_and(|begun| now.saturating_sub(begun) >= PLACE_LIFE);
        if !settled {
            return;
        }
        let session = self.session;
        let gone =
            |place: &Place| place.named != session && !here(place.newest) && !place.older.is_some_and(here);
        self.seats.retain(|_, place| {
            let gone = gone(place);
            if gone {
                [Some(place.newest), place.older].into_iter().flatten().for_each(|seat| relay.unseat(seat));
            }
            !gone
        });
    }

    // --- who may talk

    /// A question of the heart. [`Outpost::poll_ask`] says what is to be sent.
    pub fn ask(&mut self, ask: Ask) {
        let nodes = ordered(ask.nodes);
        if self.asked.len() >= MAX_PAIRS {
            return;
        }
        let pairs = self.asked.entry(nodes).or_default();
        if pairs.is_empty() {
            self.to_ask.push(nodes);
        }
        pairs.insert(ask.pair);
    }

    /// Questions for the coordinator, as many messages as it takes.
    pub fn poll_ask(&mut self) -> Vec<Pairs> {
        Pairs::of(&std::mem::take(&mut self.to_ask))
    }

    fn answer(&mut self, answer: &PairAnswer, relay: &Relay, now: Moment) -> Vec<Act> {
        let each = |pairs: &Option<Pairs>, may: bool| {
            let nodes: Vec<Nodes> = pairs.iter().flat_map(Pairs::nodes).collect();
            nodes.into_iter().map(move |nodes| (ordered(nodes), may))
        };
        let mut released = Vec::new();
        for (nodes, may) in each(&answer.may, true).chain(each(&answer.may_not, false)) {
            // What was not asked is not answered: a yes for others opens nothing.
            let Some(pairs) = self.asked.remove(&nodes) else {
                self.unasked = self.unasked.saturating_add(1);
                continue;
            };
            for pair in pairs {
                released.extend(relay.answer(pair, may, now).map(Act::Release));
            }
        }
        released
    }

    // --- what can be seen

    /// Without its doors.
    pub fn counts(&self, relay: &Relay, threads: u64, unsent: u64, now: Moment) -> RelayCounts {
        let status = relay.status(now);
        let reason = |(word, count): (String, u64)| Reason { word, count };
        RelayCounts {
            seats: status.seats as u64,
            here: status.here as u64,
            pairs: status.pairs as u64,
            frames: status.frames,
            bytes: status.bytes,
            pongs: status.pongs,
            unsent,
            threads,
            kept: status.kept as u64,
            refused: status.refused.into_iter().filter(|(_, count)| *count > 0).map(reason).collect(),
            unproven: self.unproven,
            unasked: self.unasked,
            doors: None,
        }
    }
}
