//! One lane: a pair of keys and, once it is used, a session behind a lock of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use warren_wire::id::WgKey;

use super::agenda::{Agenda, Turn};
use crate::clock::{Mono, Now};
use crate::session::{Engine, Session, Stamp};

/// No session, so no timer.
const NEVER: u64 = u64::MAX;

/// What is under the lock.
pub struct Cell<S> {
    /// Behind a pointer: most lanes of a large network have none.
    session: Option<Box<S>>,
    /// Greatest handshake timestamp received. It outlives the session: an old initiation stays old.
    greatest: Stamp,
    /// The peer is gone; a worker with an older snapshot must not bring the session back.
    closed: bool,
    greatest_sent: u64,
}

pub struct Lane<E: Engine> {
    /// Position of our key in the engine's ring, our public key, the peer's.
    pub mine: WgKey,
    pub theirs: WgKey,
    /// 24 random bits, unique in this node.
    pub index: u32,
    jitter: u64,
    cell: Mutex<Cell<E::Session>>,
    /// Changed under the lock only, like `turn`.
    deadline: AtomicU64,
    /// When the agenda will look at this lane.
    turn: AtomicU64,
    agenda: Arc<Agenda>,
    /// Initiations without an answer, as the last timer run saw them.
    unanswered: AtomicU32,
}

/// May a session be made for this use?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Only one that is there.
    Existing,
    /// Made on first use: ten thousand silent peers cost nothing.
    Create,
}

impl<E: Engine> Lane<E> {
    pub(super) fn new(
        mine: WgKey,
        theirs: WgKey,
        index: u32,
        jitter: u64,
        greatest: Stamp,
        agenda: Arc<Agenda>,
    ) -> Lane<E> {
        Lane {
            mine,
            theirs,
            index,
            jitter,
            cell: Mutex::new(Cell { session: None, greatest, closed: false, greatest_sent: 0 }),
            deadline: AtomicU64::new(NEVER),
            turn: AtomicU64::new(NEVER),
            agenda,
            unanswered: AtomicU32::new(0),
        }
    }

    /// Runs `f` on the session, under the lock. `None` without a session.
    pub fn with<R>(&self, engine: &E, how: Use, now: Now, f: impl FnOnce(&mut E::Session) -> R) -> Option<R> {
        self.enter(engine, how, now, |session, _| f(session))
    }

    /// As [`Lane::with`], for an initiation with timestamp `stamp`: `None` if it is not newer than every one before.
    /// The stamp is remembered only if `f` says that the session believed it.
    pub fn answer(
        &self,
        engine: &E,
        stamp: Stamp,
        now: Now,
        f: impl FnOnce(&mut E::Session) -> bool,
    ) -> Option<bool> {
        self.enter(engine, Use::Create, now, |session, greatest| {
            if stamp <= *greatest {
                return None;
            }
            let believed = f(session);
            if believed {
                *greatest = stamp;
            }
            Some(believed)
        })?
    }

    fn enter<R>(
        &self,
        engine: &E,
        how: Use,
        now: Now,
        f: impl FnOnce(&mut E::Session, &mut Stamp) -> R,
    ) -> Option<R> {
        let mut guard = self.cell.lock();
        let cell = &mut *guard;
        if cell.session.is_none() {
            if cell.closed || how == Use::Existing {
                return None;
            }
            let key = engine.keys().iter().position(|k| *k == self.mine)?;
            cell.session = engine.session(key, &self.theirs, self.index, self.jitter, now).map(Box::new);
        }
        let session = cell.session.as_mut()?;
        let result = f(session, &mut cell.greatest);
        self.set_deadline(session.deadline().0);
        Some(result)
    }

    /// When timers are due; `None` without a session.
    pub fn deadline(&self) -> Option<Mono> {
        match self.deadline.load(Ordering::Relaxed) {
            NEVER => None,
            at => Some(Mono(at)),
        }
    }

    /// Timers are due now, if there is a session.
    pub fn due(&self, now: Now) {
        let cell = self.cell.lock();
        if cell.session.is_some() {
            self.set_deadline(now.mono.0);
        }
    }

    /// Under the lock.
    fn set_deadline(&self, at: u64) {
        self.deadline.store(at, Ordering::Relaxed);
        if at < self.turn.load(Ordering::Relaxed) {
            self.turn.store(at, Ordering::Relaxed);
            self.agenda.ask(Turn { at: Mono(at), index: self.index });
        }
    }

    /// Is this the turn the lane waits for? Another one was overtaken by an earlier.
    pub fn waits_for(&self, turn: Turn) -> bool {
        self.turn.load(Ordering::Relaxed) == turn.at.0
    }

    /// Is there a session whose timers would not be run by one who has these turns? For tests.
    pub fn is_overlooked(&self, turns: &BTreeSet<Turn>) -> bool {
        let cell = self.cell.lock();
        let (deadline, at) = (self.deadline.load(Ordering::Relaxed), self.turn.load(Ordering::Relaxed));
        let looked_at = at <= deadline && turns.contains(&Turn { at: Mono(at), index: self.index });
        cell.session.is_some() && !looked_at
    }

    /// After its turn: asks for the next one, if there is a session.
    pub fn ask_again(&self) {
        let _cell = self.cell.lock();
        self.turn.store(NEVER, Ordering::Relaxed);
        self.set_deadline(self.deadline.load(Ordering::Relaxed));
    }

    /// The number of unanswered initiations if it grew since the last call.
    pub fn newly_unanswered(&self, unanswered: u32) -> Option<u32> {
        let before = self.unanswered.swap(unanswered, Ordering::Relaxed);
        (unanswered > before).then_some(unanswered)
    }

    /// The number as the last timer run saw it.
    pub fn known_unanswered(&self) -> u32 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Drops a session that has nothing left; the next use makes a new one.
    pub fn forget_idle(&self, now: Now) {
        let mut cell = self.cell.lock();
        if cell.session.as_ref().is_some_and(|s| s.stats(now).idle) {
            self.drop_session(&mut cell);
        }
    }

    /// The peer is gone: keys are dropped and no session will be made again. Returns what must be remembered.
    pub fn close(&self) -> (Stamp, u64) {
        let mut cell = self.cell.lock();
        self.drop_session(&mut cell);
        cell.closed = true;
        (cell.greatest, cell.greatest_sent)
    }

    fn drop_session(&self, cell: &mut Cell<E::Session>) {
        if let Some(session) = cell.session.take() {
            cell.greatest_sent = cell.greatest_sent.max(session.greatest_sent());
        }
        self.deadline.store(NEVER, Ordering::Relaxed);
    }

    /// Greatest timestamps received and (an upper bound, in nanoseconds since 1970) sent.
    pub fn stamps(&self) -> (Stamp, u64) {
        let cell = self.cell.lock();
        let sent = cell.session.as_ref().map_or(0, |session| session.greatest_sent());
        (cell.greatest, sent.max(cell.greatest_sent))
    }

    /// A stamp kept on disk; never lowers the known one.
    pub fn restore(&self, stamp: Stamp) {
        let mut cell = self.cell.lock();
        cell.greatest = cell.greatest.max(stamp);
    }
}
