//! An enrolled peer that does not play by the rules: it has the keys, and seals whatever it likes.

use std::net::SocketAddr;

use warren_node_core::clock::Now;
use warren_node_core::session::{Arena, Engine, LaneSecret, Segments, Session, Sink};

use crate::world::{Datagram, Keyed, secrets};

#[derive(Default)]
pub struct Bytes {
    room: Vec<u8>,
    pub out: Vec<Vec<u8>>,
}

impl Sink for Bytes {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        self.room.resize(need.max(2048), 0);
        Some(&mut self.room)
    }
    fn data(&mut self, len: usize) {
        self.out.push(self.room[..len].to_vec());
    }
    fn control(&mut self, len: usize) {
        self.data(len);
    }
}

impl Arena for Bytes {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        Sink::room(self, need)
    }
    fn opened(&mut self, len: usize) {
        self.data(len);
    }
}

struct One<'a>(&'a [u8]);

impl Segments for One<'_> {
    fn each(&mut self, mut seal: impl FnMut(&[u8])) {
        seal(self.0);
    }
}

/// A session of its own, under the keys of node `me`, towards lane `lane` of node `peer`.
pub struct Rogue<E: Engine> {
    session: E::Session,
    from: SocketAddr,
    to: SocketAddr,
}

impl<E: Keyed> Rogue<E> {
    pub fn new(me: usize, peer: usize, lane: usize, from: SocketAddr, now: Now) -> Rogue<E> {
        let engine = E::from_secrets(secrets(me, 2));
        let key = secrets(peer, 2).iter().map(LaneSecret::public).nth(lane).unwrap();
        let session = engine.session(lane, &key, 0x00ab_cdef, 5, now).unwrap();
        Rogue { session, from, to: crate::world::underlay(peer) }
    }

    fn wrap(&self, out: Bytes) -> Vec<Datagram> {
        let datagram = |bytes: Vec<u8>| Datagram { from: self.from, to: self.to, stride: bytes.len(), bytes };
        out.out.into_iter().map(datagram).collect()
    }

    pub fn initiation(&mut self, now: Now) -> Datagram {
        let mut out = Bytes::default();
        self.session.initiate(&mut out, now);
        self.wrap(out).remove(0)
    }

    pub fn handle(&mut self, answers: &[Datagram], now: Now) -> Vec<Datagram> {
        let (mut arena, mut out) = (Bytes::default(), Bytes::default());
        self.session.open(answers.iter().map(|d| &d.bytes[..]), &mut arena, &mut out, now);
        self.wrap(out)
    }

    pub fn seal(&mut self, packet: &[u8], now: Now) -> Datagram {
        let mut out = Bytes::default();
        self.session.seal(&mut One(packet), &mut out, now);
        self.wrap(out).pop().unwrap()
    }
    /// What it sends when its timers are due.
    pub fn retry(&mut self, now: Now) -> Datagram {
        let mut out = Bytes::default();
        self.session.tick(&mut out, now);
        self.wrap(out).remove(0)
    }
}
