//! The guards, by the time given: the library's own clock stands still for them.

use super::*;
use crate::clock::Mono;

#[derive(Default)]
struct Bytes {
    room: Vec<u8>,
    out: Vec<Vec<u8>>,
    full: bool,
}
impl Sink for Bytes {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        self.room.resize(need.max(256), 0);
        (!self.full).then_some(&mut self.room)
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

fn at(ms: u64) -> Now {
    Now { mono: Mono::from_millis(10_000 + ms), wall_ms: 0 }
}

fn pair() -> (BoringSession, BoringSession) {
    let (a, b) = (LaneSecret::new([1; 32]), LaneSecret::new([2; 32]));
    let (ka, kb) = (a.public(), b.public());
    let (ea, eb) = (BoringEngine::new([a]), BoringEngine::new([b]));
    (ea.session(0, &kb, 7, 1, at(0)).unwrap(), eb.session(0, &ka, 9, 2, at(0)).unwrap())
}

fn handshake(a: &mut BoringSession, b: &mut BoringSession) {
    let mut wire = Bytes::default();
    a.initiate(&mut wire, at(0));
    for side in 0..3 {
        let sent = std::mem::take(&mut wire.out);
        let to = if side % 2 == 0 { &mut *b } else { &mut *a };
        let mut arena = Bytes::default();
        to.open(sent.iter().map(Vec::as_slice), &mut arena, &mut wire, at(0));
    }
}

const PACKET: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 100, 64, 0, 1, 100, 64, 0, 2];

#[test]
fn timers_run_before_keys_are_used_when_they_are_a_second_old() {
    let (mut a, mut b) = pair();
    handshake(&mut a, &mut b);
    let mut wire = Bytes::default();
    assert_eq!(a.seal(&mut One(&PACKET), &mut wire, at(900)).packets, 1);
    assert_eq!(a.last_tick, at(0).mono, "fresh enough");
    assert_eq!(a.seal(&mut One(&PACKET), &mut wire, at(1001)).packets, 1);
    assert_eq!(a.last_tick, at(1001).mono);
    let mut arena = Bytes::default();
    let opened = b.open(wire.out.iter().map(Vec::as_slice), &mut arena, &mut Bytes::default(), at(5000));
    assert_eq!((opened.packets, arena.out.len()), (2, 2));
    assert_eq!(b.last_tick, at(5000).mono);
}

#[test]
fn keys_of_unknown_age_are_not_used() {
    let (mut a, mut b) = pair();
    handshake(&mut a, &mut b);
    let mut full = Bytes { full: true, ..Bytes::default() };
    assert_eq!(a.seal(&mut One(&PACKET), &mut full, at(3_600_000)).lost, 1);
    assert!(full.out.is_empty());
}

#[test]
fn what_timers_say_while_a_message_is_opened_waits_for_the_peers_address() {
    let (mut a, _) = pair();
    let mut wire = Bytes::default();
    a.initiate(&mut wire, at(0));
    assert_eq!(wire.out.len(), 1);
    let (mut arena, mut replies) = (Bytes::default(), Bytes::default());
    let garbage = [[4u8; 64]];
    a.open(garbage.iter().map(|g| &g[..]), &mut arena, &mut replies, at(2000));
    assert!(replies.out.is_empty(), "a stranger hears nothing");
    assert!(a.deadline() <= at(2000).mono);
    a.tick(&mut wire, at(2000));
    assert_eq!(wire.out.len(), 2, "the early retry goes to the peer");
}

#[test]
fn early_retries_are_few_and_never_in_step() {
    let mut moments = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let engine = BoringEngine::new([LaneSecret::new([1; 32])]);
        let mut session = engine.session(0, &LaneSecret::new([2; 32]).public(), 7, seed, at(0)).unwrap();
        let mut wire = Bytes::default();
        session.initiate(&mut wire, at(0));
        let sent: Vec<u64> = (0..4500)
            .filter(|ms| {
                let before = wire.out.len();
                if session.deadline() <= at(*ms).mono {
                    session.tick(&mut wire, at(*ms));
                }
                wire.out.len() > before
            })
            .collect();
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert!((1000..=1666).contains(&sent[0]), "{sent:?}");
        moments.insert(sent[0]);
    }
    assert!(moments.len() > 10, "{moments:?}");
}

#[test]
fn the_bound_of_sent_stamps_is_above_wall_time() {
    let (mut a, _) = pair();
    assert_eq!(a.greatest_sent(), 0);
    a.initiate(&mut Bytes::default(), at(0));
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    assert!(u128::from(a.greatest_sent()) >= wall);
}

#[test]
fn a_low_order_key_never_gets_a_session() {
    let engine = BoringEngine::new([LaneSecret::new([1; 32])]);
    assert!(engine.session(0, &WgKey([0; 32]), 7, 1, at(0)).is_none());
    let mut one = [0u8; 32];
    one[0] = 1;
    assert!(engine.session(0, &WgKey(one), 7, 1, at(0)).is_none());
}

#[test]
fn what_we_read_in_an_initiation_is_what_the_library_wrote() {
    let (a, b) = (LaneSecret::new([1; 32]), LaneSecret::new([2; 32]));
    let (ka, kb) = (a.public(), b.public());
    let (ea, eb) = (BoringEngine::new([a]), BoringEngine::new([b]));
    let mut session = ea.session(0, &kb, 7, 1, at(0)).unwrap();
    let mut wire = Bytes::default();
    session.initiate(&mut wire, at(0));
    let first = eb.knock(0, &wire.out[0], &|_| true).unwrap();
    assert_eq!(first.peer, ka);
    assert!(eb.knock(0, &wire.out[0], &|_| false).is_none());
    assert!(ea.knock(0, &wire.out[0], &|_| true).is_none(), "not for this key");
    assert_eq!((eb.addressee(&wire.out[0]), ea.addressee(&wire.out[0])), (Some(0), None));
    session.send_initiation(&mut wire, true, at(1));
    let second = eb.knock(0, &wire.out[1], &|_| true).unwrap();
    assert!(second.stamp > first.stamp);
}
