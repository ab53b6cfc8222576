//! Where a peer is: candidates from the coordinator are hints, an authenticated packet is proof. Where no direct place
//! answers, its seat at one of the network's relays does; [`probe`] says when one is left for the other, [`survey`] which of
//! several direct places is used.

mod hints;
mod moves;
mod place;
pub mod probe;
mod size;
pub mod survey;

use std::net::SocketAddr;
use std::sync::Arc;

use warren_wire::id::RelayId;
use warren_wire::relay::Seat;
pub use warren_wire::view::MAX_CANDIDATES;

pub use hints::{Locality, acceptable, order, speakable};
use moves::Moves;
pub use moves::{MAX_MOVES, Move, MoveReason};
pub use place::{Place, source_of};
use probe::Watch;
pub use probe::{Answer, Ping};
pub use size::Probe;
use size::Sizes;
use survey::Survey;

use crate::clock::Mono;

/// Relays that a handshake takes at once as long as nothing is proven.
const SPARES: usize = 2;

/// The places of one peer.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// Direct ones.
    candidates: Vec<Place>,
    seat: Option<Seat>,
    /// Relays that this node may send over, the nearest first.
    relays: Arc<[RelayId]>,
    /// Of the two nodes, this one says which relay is used.
    leads: bool,
    current: Option<Place>,
    /// Where the last authenticated packet came from that was followed.
    proven: Option<Place>,
    /// A direct place that packets came from while a relay is used, named by nobody: a NAT may have made it for this node alone.
    seen: Option<Place>,
    moves: Moves,
    watch: Watch,
    survey: Survey,
    sizes: Sizes,
}

/// What an authentic datagram says about the way it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The peer uses it.
    Used,
    /// Words about paths alone: the peer asks, or answers what was asked here.
    Asked,
}

impl Endpoints {
    pub fn new(candidates: &[SocketAddr], seat: Option<Seat>, now: Mono) -> Endpoints {
        let mut endpoints = Endpoints::default();
        endpoints.set_candidates(candidates, seat, now);
        endpoints
    }

    /// One of two peers does, and the other does not.
    pub fn leading(self, leads: bool) -> Endpoints {
        Endpoints { leads, ..self }
    }

    pub fn current(&self) -> Option<Place> {
        self.current
    }

    /// Was this direct place told?
    pub fn is_named(&self, place: Place) -> bool {
        self.candidates.contains(&place)
    }

    /// Where the last authenticated packet came from that was followed.
    pub fn proven(&self) -> Option<Place> {
        self.proven
    }

    /// Is it an address that others have named, and nobody has answered at?
    pub fn is_hint(&self, place: Place) -> bool {
        place.is_direct() && self.proven != Some(place) && self.answer_of(place).is_none()
    }

    /// The last answer from a place, if it was ever asked.
    pub fn answer_of(&self, place: Place) -> Option<Answer> {
        self.watch.answer_of(place)
    }

    /// The relays that a handshake takes as well, as long as nothing proves that the place in use answers.
    pub fn spares(&self) -> Vec<Place> {
        if !self.is_unsure() {
            return Vec::new();
        }
        self.relayed().filter(|place| Some(*place) != self.current).take(SPARES).collect()
    }

    /// Nothing proves that the place in use answers, or it is at a relay: then which relays there are matters.
    pub fn wants_relays(&self) -> bool {
        self.is_unsure() || !self.current.is_some_and(Place::is_direct)
    }

    /// Where an answer to what comes from `from` goes as well: that something comes from there proves nothing of the way back.
    pub fn proven_other_than(&self, from: Place) -> Option<Place> {
        self.proven.filter(|proven| *proven != from)
    }

    fn is_unsure(&self) -> bool {
        self.proven != self.current || self.current.is_none()
    }

    /// The peer's seat at each relay that may be used.
    fn relayed(&self) -> impl Iterator<Item = Place> + use<'_> {
        let seat = self.seat;
        self.relays.iter().filter_map(move |relay| Some(Place::Relayed(*relay, seat?)))
    }

    fn told(&self) -> impl Iterator<Item = Place> + use<'_> {
        self.candidates.iter().copied().chain(self.relayed())
    }

    /// The relays that this node may send over now, the nearest first. True if the peer is sent to elsewhere from now on: the
    /// relay in use is not among them any more.
    pub fn set_relays(&mut self, relays: &Arc<[RelayId]>, now: Mono) -> bool {
        if Arc::ptr_eq(&self.relays, relays) {
            return false;
        }
        self.relays = relays.clone();
        let lost = self.current.and_then(Place::relay).is_some_and(|relay| !relays.contains(&relay));
        let other = match self.current {
            None => self.told().next(),
            Some(_) if lost => self.watch.quickest(self.relayed(), now),
            Some(_) => None,
        };
        if let Some(other) = other {
            let reason = if lost { MoveReason::NoRelay } else { MoveReason::Told };
            self.move_to(Some(other), reason, now);
        }
        self.watch.retain(&self.places());
        other.is_some()
    }

    /// Everywhere the peer may be: the current place, the others it was told at, the last one proven.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        let known = [self.current, self.proven, self.seen];
        for place in known.into_iter().flatten().chain(self.told()) {
            let room = places.len() < MAX_CANDIDATES || !place.is_direct();
            if !places.contains(&place) && room {
                places.push(place);
            }
        }
        places
    }

    /// Oldest first, at most [`MAX_MOVES`].
    pub fn moves(&self) -> impl Iterator<Item = &Move> {
        self.moves.iter()
    }

    /// Is this what was told last?
    pub fn is_told(&self, candidates: &[SocketAddr], seat: Option<Seat>) -> bool {
        self.seat == seat && self.candidates == direct(candidates)
    }

    /// New hints, best first, already filtered by [`acceptable`]. A proven place stays: hints never move it, unless
    /// no hint is left of its address family. Then this node or the peer has none any more, and waiting for unanswered
    /// handshakes would only cost a quarter of a minute. Who is at a relay and gets another seat is at the new one.
    pub fn set_candidates(&mut self, candidates: &[SocketAddr], seat: Option<Seat>, now: Mono) {
        (self.candidates, self.seat) = (direct(candidates), seat);
        self.watch.ask_anew(now);
        let stays = self.current.is_some_and(|place| {
            // A seat that was told before any address is left for an address, unless it is in use already.
            let best = place.is_direct() || self.proven == Some(place) || candidates.is_empty();
            self.told().any(|told| told == place) && best
                || self.proven == Some(place) && place.direct().is_some_and(|c| of_family(candidates, c))
        });
        if !stays {
            let first = self.told().next();
            let reason = if first.is_none() { MoveReason::Withdrawn } else { MoveReason::Told };
            let at_relay = self.current.filter(|place| self.proven == Some(*place)).and_then(Place::relay);
            let reseated = at_relay.and_then(|relay| self.at(relay).or(self.relayed().next()));
            self.move_to(reseated.or(first), reason, now);
        }
        self.watch.retain(&self.places());
    }

    /// The peer's seat at a relay that may be used.
    fn at(&self, relay: RelayId) -> Option<Place> {
        self.relayed().find(|place| place.relay() == Some(relay))
    }

    /// A packet from `from` was authenticated by the peer's session: it is there now. True if that is a move.
    /// The caller has checked [`acceptable`]. Of a direct place and a relay, the one in use is not left as long as it works:
    /// a relay for an answer only, a direct place for silence only. Of two relays, see [`probe`]. Among direct places the peer is
    /// followed to where it speaks from, not to where it only asks; and not at once back from one that was chosen here, because it
    /// has to hear of that first.
    pub fn handle_authenticated(&mut self, from: Place, heard: Heard, now: Mono) -> bool {
        let (current, used) = (self.current, self.current == Some(from));
        let proven = self.proven.is_some() && self.proven == current;
        let both_direct = from.is_direct() && current.is_some_and(Place::is_direct);
        if !used && both_direct && proven && (heard == Heard::Asked || self.survey.settles(now)) {
            self.seen = Some(from);
            return false;
        }
        if !used && both_direct && proven && self.moves.are_a_chase(from, now) && self.watch.is_answering(now)
        {
            self.seen = Some(from);
            self.watch.ask_soon(now);
            return false;
        }
        let reason = match current {
            Some(current) if !used && current.is_direct() != from.is_direct() => {
                let works = match current {
                    Place::Direct(_) => {
                        self.watch.challenge(now);
                        let silent = self.watch.is_doubted(now) || !self.watch.is_alive(now);
                        self.proven == Some(current) && !silent && !self.watch.is_beaten(now)
                    }
                    // A question that comes directly proves one direction; answered questions of this end move it.
                    Place::Relayed(..) => {
                        self.proven == Some(current) && (heard == Heard::Asked || !self.watch.is_doubted(now))
                    }
                };
                self.watch.ask_soon(now);
                if works {
                    self.seen = Some(from).filter(|place| place.is_direct()).or(self.seen);
                    return false;
                }
                if current.is_direct() { MoveReason::Silent } else { MoveReason::Roamed }
            }
            Some(current) if !used && self.keeps_relay(current, from, now) => return false,
            _ => MoveReason::Roamed,
        };
        self.proven = Some(from);
        self.move_to(Some(from), reason, now);
        self.watch.heard(now);
        !used
    }

    /// The peer, which is reached over one relay, was heard over another: is the one in use kept?
    fn keeps_relay(&mut self, current: Place, from: Place, now: Mono) -> bool {
        let (Some(used), Some(other)) = (current.relay(), from.relay()) else { return false };
        let works = self.proven == Some(current)
            && self.relays.contains(&used)
            && !self.watch.is_relay_doubted(Some(current), now)
            && used != other;
        let follows = !self.leads && self.relays.contains(&other);
        works && !(self.watch.heard_elsewhere(now) && follows)
    }

    /// No relay can be used: a direct place, if one is known. True if that is a move.
    pub fn leave_relay(&mut self, now: Mono) -> bool {
        let relayed = self.current.is_some_and(|place| !place.is_direct());
        let direct = self.candidates.first().copied().filter(|_| relayed);
        if direct.is_some() {
            self.move_to(direct, MoveReason::NoRelay, now);
        }
        direct.is_some()
    }

    /// This host has slept: nothing that was proven still is, and everything is asked again.
    pub fn handle_resumed(&mut self, now: Mono) {
        self.proven = None;
        self.watch.moved(now);
        self.survey.moved(now);
    }

    /// What to ask the peer now, and where: words inside the tunnel. `sent`: packets sent to it so far.
    pub fn poll_pings(&mut self, sent: u64, now: Mono) -> Vec<Ping> {
        let places = self.places();
        let choice = places.len() > 1 || self.relayed().next().is_some();
        let Some(current) = self.current.filter(|_| choice) else { return Vec::new() };
        let pings = self.watch.poll(current, &places, sent, now);
        if !pings.is_empty() || !current.is_direct() || self.watch.is_doubted(now) {
            return pings;
        }
        if let Some(better) = self.survey.judge(current, now) {
            self.proven = Some(better);
            self.move_to(Some(better), MoveReason::Faster, now);
            self.watch.heard(now);
            // So that the peer follows, even if nothing else is sent.
            return vec![self.watch.ask(better, better, now)];
        }
        let direct: Vec<Place> = places.into_iter().filter(|place| place.is_direct()).collect();
        match direct.len() > 1 && self.survey.begins(sent, self.watch.last_heard(), now) {
            true => direct.into_iter().map(|to| self.watch.ask(to, current, now)).collect(),
            false => Vec::new(),
        }
    }

    /// What to ask about the size of packets that the path in use carries; `full` and `sizes` as [`Sizes::poll`] has it.
    pub fn poll_probes(&mut self, full: usize, sizes: &[usize], now: Mono) -> Vec<Probe> {
        match self.proven.is_some() && self.proven == self.current {
            true => self.sizes.poll(full, sizes, now),
            false => Vec::new(),
        }
    }

    /// True if it answers one of those.
    pub fn handle_size(&mut self, nonce: u64, now: Mono) -> bool {
        self.sizes.answered(nonce, now)
    }

    /// The largest packet the path in use carries, if asking has shown that it is narrow.
    pub fn limit(&self) -> Option<usize> {
        self.sizes.limit()
    }

    /// Relays to ask at once whether they are there, because something was sent and nothing came: the one in use, or, once for
    /// each silence of a direct place, those over which the peer would be reached. What closes UDP to a peer may close it to them
    /// as well, and a door takes a second to open.
    pub fn poll_hurried(&mut self, now: Mono) -> Vec<RelayId> {
        match self.current {
            Some(Place::Relayed(relay, _)) if self.watch.is_quiet(now) => vec![relay],
            Some(Place::Direct(_)) if self.seat.is_some() && self.watch.hurries(now) => self.relays.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The answer to one of those questions: if it was asked at a direct place while a relay is used, or while the direct one in
    /// use does not answer, that works both ways; another relay is taken if the one in use is silent, or far behind. True if that is
    /// a move.
    pub fn handle_pong(&mut self, nonce: u64, now: Mono) -> bool {
        let Some(place) = self.watch.answered(nonce, now) else { return false };
        let used = self.current == Some(place);
        if let Some(answer) = self.watch.answer_of(place) {
            self.survey.answered(place, used, answer.round_trip, now);
        }
        if used {
            self.watch.confirm();
            self.watch.heard(now);
        }
        let gone = self.watch.is_doubted(now) || self.watch.is_beaten(now) || self.proven != self.current;
        let reason = match (self.current, place) {
            (None | Some(Place::Relayed(..)), Place::Direct(_)) => Some(MoveReason::Answered),
            (Some(Place::Direct(_)), Place::Direct(_)) if !used && gone => Some(MoveReason::Answered),
            (Some(current), Place::Relayed(relay, _)) if current != place && !current.is_direct() => {
                self.better_relay(current, place, relay, now)
            }
            _ => None,
        };
        if let Some(reason) = reason {
            self.proven = Some(place);
            self.move_to(Some(place), reason, now);
            self.watch.heard(now);
        }
        reason.is_some()
    }

    fn better_relay(
        &mut self,
        current: Place,
        place: Place,
        relay: RelayId,
        now: Mono,
    ) -> Option<MoveReason> {
        let ahead = self.watch.leads(place, current, now);
        match self.relays.contains(&relay) {
            true if self.watch.is_relay_doubted(Some(current), now) => Some(MoveReason::Answered),
            true if ahead && self.leads => Some(MoveReason::Nearer),
            _ => None,
        }
    }

    /// Handshakes to the current place go unanswered: the next one to try, round robin over the candidates and
    /// the last proven place. A place that the peer was heard at just now is not left because one lane had no luck.
    pub fn handle_unanswered(&mut self, now: Mono) -> Option<Place> {
        if self.proven == self.current && self.watch.is_alive(now) {
            return self.current;
        }
        let extra = self.proven.filter(|p| self.told().all(|told| told != *p));
        let ring: Vec<Place> = self.told().chain(extra).collect();
        let at = ring.iter().position(|c| Some(*c) == self.current);
        let next = at.map_or(0, |i| i + 1) % ring.len().max(1);
        if let Some(next) = ring.get(next) {
            self.move_to(Some(*next), MoveReason::Unanswered, now);
        }
        self.current
    }

    /// The place in use is reached in another way.
    pub fn forget_sizes(&mut self) {
        self.sizes.moved();
    }

    fn move_to(&mut self, to: Option<Place>, reason: MoveReason, at: Mono) {
        if self.current == to {
            return;
        }
        self.moves.push(Move { at, from: self.current, to, reason });
        self.current = to;
        self.watch.moved(at);
        self.survey.moved(at);
        self.sizes.moved();
    }
}

fn direct(candidates: &[SocketAddr]) -> Vec<Place> {
    candidates.iter().take(MAX_CANDIDATES).copied().map(Place::Direct).collect()
}

/// Nothing told says nothing of a family.
fn of_family(candidates: &[SocketAddr], address: SocketAddr) -> bool {
    candidates.is_empty() || candidates.iter().any(|other| other.is_ipv4() == address.is_ipv4())
}

#[cfg(test)]
mod tests;
