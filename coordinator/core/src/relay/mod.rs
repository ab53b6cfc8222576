//! The heart of a relay: which datagram goes on, and where to. Bytes and `now` go in, verdicts come out; it sends nothing.
//!
//! A node has a *seat*: a number, and keys for each direction (see [`warren_wire::relay`]). What it sends is passed on only if
//!
//! 1. its tag says that the seat's node wrote it, and its counter says that it is new ([`window`]);
//! 2. the seat is within its [`limit`]s;
//! 3. a *permit* joins the two seats ([`pairs`]): the relay asks for it when the pair first talks, and keeps one frame meanwhile ([`kept`]);
//! 4. the receiver has shown lately where it is, by any authentic frame, and it goes there.
//!
//! The receiver's tag is written over the sender's and nothing else is changed: no frame gets longer. Everything that is not
//! passed on is counted with its reason ([`counts`]), and who is not authentic gets no answer. The one answer there is goes
//! to a ping, has its length, and goes to where that node has shown to be.
//!
//! Whoever holds a seat's key tells the relay where the seat is, as a WireGuard peer does by roaming: a member could name a
//! stranger's place by a forged source address. The relay sends there what a peer sent, no byte more, and within limits.
//!
//! Shared by several threads: tables are locked for reading by those that forward, a seat by who judges or stamps one run
//! of its frames. Locks are taken in this order: seats, pairs, one seat, kept; never two seats.

mod chair;
mod counts;
mod kept;
mod limit;
mod pairs;
mod run;
mod window;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use warren_wire::id::NodeId;
use warren_wire::relay::{self, Head, Seat};

use chair::Chair;
use kept::Kept;
use pairs::{Pairs, Standing};
use run::Run;

pub use chair::{PLACE_LIFE, Seating};
pub use counts::{Counts, Refused, RelayStatus};
pub use kept::MAX_KEPT;
pub use limit::{BURST, Limits};
pub use pairs::{ASKS, MAX_PAIRS, PERMIT_LIFE, Pair, REFUSAL_LIFE, RESUMED};
pub use window::WINDOW;

/// What time it is, since some moment of the caller's that does not change.
pub type Moment = Duration;

/// A longer frame is refused: what jumbo frames of Ethernet carry.
pub const MAX_FRAME: usize = 9216;
/// What a ping carries, at most.
pub const MAX_PING: usize = 32;

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub at: SocketAddr,
    /// By which of this host's addresses it knows the relay, where that is known: its NAT listens to no other.
    pub by: Option<IpAddr>,
}

/// Frames of a batch that go on together: equal in size, but for the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub to: Place,
    /// Of the batch.
    pub range: Range<usize>,
    pub segment: usize,
}

/// May these two talk? To be answered by [`Relay::answer`], or taken back by [`Relay::not_asked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub pair: Pair,
    pub nodes: (NodeId, NodeId),
}

/// A kept frame that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    pub to: Place,
    pub frame: Vec<u8>,
}

/// What became of one batch. One for each thread, used again and again: a frame costs no allocation.
#[derive(Debug, Default)]
pub struct Verdicts {
    pub forwards: Vec<Forward>,
    pub asks: Vec<Ask>,
    /// Authentic stretches of the run that is looked at.
    good: Vec<Range<usize>>,
}

impl Verdicts {
    fn clear(&mut self) {
        self.forwards.clear();
        self.asks.clear();
    }
}

type Seats = HashMap<Seat, Chair>;

/// See the module.
#[derive(Debug, Default)]
pub struct Relay {
    limits: Limits,
    seats: RwLock<Seats>,
    pairs: RwLock<Pairs>,
    kept: Mutex<Kept>,
    counts: Counts,
}

/// What a run may do now.
enum Permit {
    Yes,
    No(Refused),
    /// Nobody has asked yet; this question has just been noted.
    Asked,
}

impl Relay {
    pub fn new(limits: Limits) -> Relay {
        Relay { limits, ..Relay::default() }
    }

    // --- what the coordinator says

    /// Gives a seat, or more time or new keys for it.
    pub fn seat(&self, seating: Seating, now: Moment) {
        let mut seats = self.seats.write();
        match seats.get(&seating.seat).filter(|chair| chair.node == seating.node) {
            Some(chair) => chair.renew(seating, now),
            None => {
                seats.insert(seating.seat, Chair::new(seating, now));
            }
        }
    }

    /// Takes a seat away, at once.
    pub fn unseat(&self, seat: Seat) {
        let mut seats = self.seats.write();
        seats.remove(&seat);
        self.pairs.write().forget(|pair| pair.has(seat));
        self.kept.lock().forget(|pair| pair.has(seat));
    }

    /// The answer to an [`Ask`]. A frame that has waited for a yes may go now.
    pub fn answer(&self, pair: Pair, may: bool, now: Moment) -> Option<Released> {
        let seats = self.seats.read();
        let (Some(_), Some(_)) = (seats.get(&pair.low()), seats.get(&pair.high())) else { return None };
        self.pairs.write().answer(pair, may, now);
        let waiting = self.kept.lock().take(pair)?;
        match may {
            true => self.release(&seats, waiting, now),
            false => {
                self.counts.refuse(Refused::NoPermit, 1);
                None
            }
        }
    }

    /// The question could not be put: it is forgotten, and what waited for the answer is lost.
    pub fn not_asked(&self, pair: Pair) {
        self.pairs.write().not_asked(pair);
        let lost = self.kept.lock().take(pair).is_some();
        self.counts.refuse(Refused::OverLimit, lost.into());
    }

    /// Something has changed in who may talk: what was refused may be asked again, and pairs that `are_peers` denies are
    /// withdrawn. The others notice nothing.
    pub fn retain_pairs(&self, are_peers: impl Fn(&NodeId, &NodeId) -> bool) {
        let seats = self.seats.read();
        let node = |seat: Seat| seats.get(&seat).map(|chair| chair.node);
        let joined = |pair: &Pair| match (node(pair.low()), node(pair.high())) {
            (Some(a), Some(b)) => are_peers(&a, &b),
            _ => false,
        };
        let gone: Vec<Pair> = self.pairs.read().allowed().filter(|pair| !joined(pair)).collect();
        self.pairs.write().withdraw(&gone);
    }

    /// The coordinator is away: what it has allowed goes on, and nobody new is.
    pub fn hold(&self) {
        self.pairs.write().hold();
    }

    /// It is back, and is asked about all of [`Relay::allowed`].
    pub fn resume(&self, now: Moment) {
        self.pairs.write().resume(now);
    }

    /// All pairs that may talk, as questions.
    pub fn allowed(&self) -> Vec<Ask> {
        let seats = self.seats.read();
        let node = |seat: Seat| seats.get(&seat).map(|chair| chair.node);
        let ask = |pair: Pair| Some(Ask { pair, nodes: (node(pair.low())?, node(pair.high())?) });
        self.pairs.read().allowed().filter_map(ask).collect()
    }

    /// Once a second or so: forgets what is over.
    pub fn tidy(&self, now: Moment) {
        let over: Vec<Seat> =
            self.seats.read().iter().filter(|(_, chair)| chair.is_over(now)).map(|(seat, _)| *seat).collect();
        over.into_iter().for_each(|seat| self.unseat(seat));
        let over = self.pairs.read().over(now);
        if !over.is_empty() {
            self.pairs.write().remove(&over);
        }
        let lost = self.kept.lock().expire(now);
        self.counts.refuse(Refused::NoPermit, lost);
    }

    // --- what comes

    /// Judges what one receive gave: datagrams of `stride` bytes, the last perhaps shorter, all from one place. What goes on
    /// is stamped for its receiver in the batch itself.
    pub fn handle(&self, from: Place, batch: &mut [u8], stride: usize, now: Moment, verdicts: &mut Verdicts) {
        verdicts.clear();
        let seats = self.seats.read();
        let mut at = 0;
        while let Some(run) = Run::at(batch, at, stride) {
            at = run.end;
            self.handle_run(&seats, &run, from, batch, now, verdicts);
        }
    }

    fn handle_run(
        &self,
        seats: &Seats,
        run: &Run,
        from: Place,
        batch: &mut [u8],
        now: Moment,
        verdicts: &mut Verdicts,
    ) {
        let Some((sender_seat, to)) = run.ends else {
            return self.counts.refuse(Refused::NotAFrame, run.count());
        };
        let Some(sender) = seats.get(&sender_seat) else {
            return self.counts.refuse(Refused::UnknownSeat, run.count());
        };
        let mut good = std::mem::take(&mut verdicts.good);
        self.authentic(sender, run, from, batch, now, &mut good);
        match to.is_relay() {
            true => self.pong(sender, run, &good, batch, now, verdicts),
            false => self.forward(seats, run, &good, batch, now, verdicts),
        }
        verdicts.good = good;
    }

    /// The stretches of a run that its sender wrote, for the first time and within limits.
    fn authentic(
        &self,
        sender: &Chair,
        run: &Run,
        from: Place,
        batch: &[u8],
        now: Moment,
        good: &mut Vec<Range<usize>>,
    ) {
        good.clear();
        let mut state = sender.lock();
        for range in run.frames() {
            let Some((frame, (head, carried))) =
                batch.get(range.clone()).and_then(|frame| Some((frame, relay::read(frame)?)))
            else {
                continue;
            };
            let most = if head.to.is_relay() { MAX_PING } else { MAX_FRAME - relay::HEAD };
            let outcome = match carried.len() <= most {
                true => state.handle(frame, head.counter, from, &self.limits, now),
                false => Err(Refused::TooLong),
            };
            match (outcome, good.last_mut()) {
                (Ok(()), Some(last)) if last.end == range.start => last.end = range.end,
                (Ok(()), _) => good.push(range),
                (Err(why), _) => self.counts.refuse(why, 1),
            }
        }
    }

    /// A ping comes back to where its sender has shown to be.
    fn pong(
        &self,
        sender: &Chair,
        run: &Run,
        good: &[Range<usize>],
        batch: &mut [u8],
        now: Moment,
        verdicts: &mut Verdicts,
    ) {
        let state = sender.lock();
        let Some(to) = state.place(now) else {
            return self.counts.refuse(Refused::PeerNotHere, run.count_in(good).unwrap_or(0));
        };
        for range in good {
            let Some(frames) = batch.get_mut(range.clone()) else { continue };
            for frame in frames.chunks_mut(run.stride) {
                let Some((Head { from, counter, .. }, _)) = relay::read(frame) else { continue };
                relay::write(frame, Head { from: Seat::RELAY, to: from, counter }, state.down());
                self.counts.pong();
            }
            verdicts.forwards.push(Forward { to, range: range.clone(), segment: run.stride });
        }
    }

    fn forward(
        &self,
        seats: &Seats,
        run: &Run,
        good: &[Range<usize>],
        batch: &mut [u8],
        now: Moment,
        verdicts: &mut Verdicts,
    ) {
        let Some((first, count)) = good.first().zip(run.count_in(good)) else { return };
        let ends = run.ends.and_then(|(from, to)| Some((from, to, seats.get(&from)?, seats.get(&to))));
        let Some((from, to, sender, Some(receiver))) = ends else {
            return self.counts.refuse(Refused::UnknownSeat, count);
        };
        let pair = Pair::of(from, to);
        match self.permit(pair, sender, receiver, now, verdicts) {
            Permit::Yes => {}
            Permit::No(why) => return self.counts.refuse(why, count),
            Permit::Asked => {
                let first = first.start..first.end.min(first.start.saturating_add(run.stride));
                let frame = batch.get(first).unwrap_or_default();
                let kept = self.kept.lock().keep(pair, to, frame, now);
                return self.counts.refuse(Refused::PermitAsked, count.saturating_sub(kept.into()));
            }
        }
        let state = receiver.lock();
        let Some(place) = state.place(now) else { return self.counts.refuse(Refused::PeerNotHere, count) };
        for range in good {
            let Some(frames) = batch.get_mut(range.clone()) else { continue };
            frames.chunks_mut(run.stride).for_each(|frame| relay::stamp(frame, state.down()));
            self.counts.forward(count_of(range, run.stride), range.len() as u64);
            verdicts.forwards.push(Forward { to: place, range: range.clone(), segment: run.stride });
        }
    }

    /// Asks if need be. A permit that will end soon is asked for again while it still holds.
    fn permit(
        &self,
        pair: Pair,
        sender: &Chair,
        receiver: &Chair,
        now: Moment,
        verdicts: &mut Verdicts,
    ) -> Permit {
        if pair.low() == pair.high() {
            return Permit::No(Refused::NoPermit);
        }
        let standing = self.pairs.read().standing(pair, now);
        match standing {
            Standing::Allowed => return Permit::Yes,
            Standing::Refused => return Permit::No(Refused::NoPermit),
            Standing::Asked => return Permit::No(Refused::PermitAsked),
            Standing::EndsSoon | Standing::Unknown => {}
        }
        let holds = standing == Standing::EndsSoon;
        let may_ask = sender.lock().may_ask(now);
        let asked = may_ask && self.pairs.write().ask(pair, now);
        if asked {
            verdicts.asks.push(Ask { pair, nodes: (sender.node, receiver.node) });
        }
        match (holds, asked) {
            (true, _) => Permit::Yes,
            (false, true) => Permit::Asked,
            (false, false) => Permit::No(Refused::OverLimit),
        }
    }

    fn release(&self, seats: &Seats, waiting: kept::Waiting, now: Moment) -> Option<Released> {
        let kept::Waiting { to, mut frame, .. } = waiting;
        let state = seats.get(&to)?.lock();
        let Some(place) = state.place(now) else {
            self.counts.refuse(Refused::PeerNotHere, 1);
            return None;
        };
        relay::stamp(&mut frame, state.down());
        self.counts.forward(1, frame.len() as u64);
        Some(Released { to: place, frame })
    }

    // --- what can be seen

    pub fn status(&self, now: Moment) -> RelayStatus {
        let seats = self.seats.read();
        let here = seats.values().filter(|chair| chair.lock().place(now).is_some()).count();
        let (pairs, kept) = (self.pairs.read().allowed().count(), self.kept.lock().bytes());
        self.counts.status(seats.len(), here, pairs, kept)
    }

    /// Was it given, and not taken away, and is its time not over?
    pub fn has_seat(&self, seat: Seat) -> bool {
        self.seats.read().contains_key(&seat)
    }

    /// Where a seat's node has shown to be.
    pub fn place(&self, seat: Seat, now: Moment) -> Option<Place> {
        self.seats.read().get(&seat)?.lock().place(now)
    }
}

fn count_of(range: &Range<usize>, stride: usize) -> u64 {
    range.len().div_ceil(stride.max(1)) as u64
}
