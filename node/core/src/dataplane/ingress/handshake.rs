//! Handshake messages: cheap checks first, and work only behind the gate.

use super::super::DataPlane;
use super::super::counters::Event;
use super::super::gate::Admission;
use super::IngressWorker;
use crate::clock::Now;
use crate::path::{Heard, Place};
use crate::peers::Snapshot;
use crate::session::{Engine, Opened, Session as _, Sink as _};

impl<E: Engine> DataPlane<E> {
    /// A response costs key agreements: only with our mac1, and within its source's limit.
    pub(super) fn may_answer(&self, snapshot: &Snapshot<E>, from: Place, datagram: &[u8], now: Now) -> bool {
        snapshot.engine.addressee(datagram).is_some() && self.gate.lock().admit_response(from.source(), now)
    }

    pub(super) fn initiation(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        from: Place,
        datagram: &[u8],
        now: Now,
    ) {
        let engine = &*snapshot.engine;
        let Some(key) = engine.addressee(datagram) else {
            return self.counters.event(Event::BadMac1, 1);
        };
        if !self.admits(snapshot, worker, from, key, datagram, now) {
            return;
        }
        let known = |peer: &_| snapshot.place_of_key(key, peer).is_some();
        let knock = engine.knock(key, datagram, &known);
        let Some((knock, place)) = knock.and_then(|k| Some((k, snapshot.place_of_key(key, &k.peer)?))) else {
            return self.counters.event(Event::Stranger, 1);
        };
        let Some((peer, lane)) = snapshot.lane(place) else { return };
        let Some(way) = self.way(from) else { return };
        // Of an initiation that was sent everywhere the copy counts that comes first, perhaps on a way that nothing goes back on.
        let proven = peer.link.proven_other_than(from).and_then(|place| self.way(place));
        let spares = proven.into_iter().collect();
        let (plain, mut replies) = (&mut worker.plain, worker.out.to_all(way, spares));
        let mut opened = Opened::default();
        let answered = lane.answer(engine, knock.stamp, now, |session| {
            opened = session.open(std::iter::once(datagram), plain, &mut replies, now);
            opened.established
        });
        if answered.is_none() {
            return self.counters.event(Event::OldInitiation, 1);
        }
        self.account(snapshot, worker, place, from, &opened, now);
        if opened.authentic {
            self.follow(snapshot, peer, from, Heard::Used, now);
        }
    }

    /// Within its limits, or with proof of its address. Sends the one reply a stranger can get.
    fn admits(
        &self,
        snapshot: &Snapshot<E>,
        worker: &mut IngressWorker,
        from: Place,
        key: usize,
        datagram: &[u8],
        now: Now,
    ) -> bool {
        let mut gate = self.gate.lock();
        let source = from.source();
        let expected = snapshot.is_expected(source.ip());
        let Admission::Prove { cookies } = gate.admit(source, expected, now) else {
            return true;
        };
        if cookies.iter().any(|cookie| snapshot.engine.proves(datagram, cookie)) {
            let admitted = gate.admit_proved(source, now);
            self.counters.event(Event::RateLimited, u64::from(!admitted));
            return admitted;
        }
        let reply = gate
            .nonce(source, expected, now)
            .and_then(|nonce| snapshot.engine.cookie_reply(key, datagram, cookies.first()?, &nonce));
        if let Some((reply, way)) = reply.zip(self.way(from)) {
            worker.out.to(way).control_bytes(&reply);
            self.counters.event(Event::CookieSent, 1);
        } else {
            self.counters.event(Event::RateLimited, 1);
        }
        false
    }
}
