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

/// An enrolled peer with its own WireGuard: after a whole handshake it seals an empty message under any counter.
struct Hostile {
    key: [u8; 32],
    receiver: [u8; 4],
}

impl Hostile {
    fn seal(&self, counter: u64) -> Vec<u8> {
        use chacha20poly1305::aead::{Aead as _, KeyInit as _};
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        let cipher = chacha20poly1305::ChaCha20Poly1305::new((&self.key).into());
        let sealed = cipher.encrypt(&nonce.into(), &[][..]).unwrap();
        [&4u32.to_le_bytes()[..], &self.receiver, &counter.to_le_bytes(), &sealed].concat()
    }

    /// WireGuard paper, section 5.4, as the initiator.
    fn shake(me: [u8; 32], session: &mut BoringSession, them: &WgKey) -> Hostile {
        use super::super::initiation::{hash, kdf2, mac16};
        use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
        use x25519_dalek::StaticSecret;
        let seal = |key: &[u8; 32], msg: &[u8], aad: &[u8; 32]| {
            let cipher = chacha20poly1305::ChaCha20Poly1305::new(key.into());
            cipher.encrypt(&[0u8; 12].into(), Payload { msg, aad }).unwrap()
        };
        let (me, once) = (StaticSecret::from(me), StaticSecret::from([77; 32]));
        let (mine, fleeting) = (PublicKey::from(&me), PublicKey::from(&once));
        let theirs = PublicKey::from(them.0);
        let chain = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        let seen = hash(&[&hash(&[&chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]), theirs.as_bytes()]);
        let seen = hash(&[&seen, fleeting.as_bytes()]);
        let (chain, _) = kdf2(&chain, fleeting.as_bytes());
        let (chain, key) = kdf2(&chain, once.diffie_hellman(&theirs).as_bytes());
        let sealed_static = seal(&key, mine.as_bytes(), &seen);
        let seen = hash(&[&seen, &sealed_static]);
        let (chain, key) = kdf2(&chain, me.diffie_hellman(&theirs).as_bytes());
        let stamp = [0x40, 0, 0, 0, 0x70, 0, 0, 0, 0, 0, 0, 0];
        let sealed_stamp = seal(&key, &stamp, &seen);
        let body =
            [&[1, 0, 0, 0, 9, 9, 9, 9][..], fleeting.as_bytes(), &sealed_static, &sealed_stamp].concat();
        let mac = mac16(&hash(&[b"mac1----", theirs.as_bytes()]), &[&body]).unwrap();
        let initiation = [&body[..], &mac, &[0; 16]].concat();
        let mut wire = Bytes::default();
        let opened = session.open(std::iter::once(&initiation[..]), &mut Bytes::default(), &mut wire, at(0));
        assert!(opened.established, "{opened:?}");
        let answer = &wire.out[0];
        let reply = PublicKey::from(<[u8; 32]>::try_from(&answer[12..44]).unwrap());
        let (chain, _) = kdf2(&chain, reply.as_bytes());
        let (chain, _) = kdf2(&chain, once.diffie_hellman(&reply).as_bytes());
        let (chain, _) = kdf2(&chain, me.diffie_hellman(&reply).as_bytes());
        let (chain, _) = kdf2(&chain, &[0; 32]);
        let (key, _) = kdf2(&chain, &[]);
        Hostile { key, receiver: answer[4..8].try_into().unwrap() }
    }
}

/// The library adds to the counter unchecked: a peer could have stopped every agent it is joined to.
#[test]
fn a_counter_over_the_limit_is_refused_and_stops_nobody() {
    let secret = LaneSecret::new([2; 32]);
    let theirs = secret.public();
    let engine = BoringEngine::new([secret]);
    let mut session = engine.session(0, &LaneSecret::new([1; 32]).public(), 9, 2, at(0)).unwrap();
    let hostile = Hostile::shake([1; 32], &mut session, &theirs);
    let mut open = |counter: u64| {
        let datagram = hostile.seal(counter);
        session.open(std::iter::once(&datagram[..]), &mut Bytes::default(), &mut Bytes::default(), at(0))
    };
    assert!(open(0).authentic, "the keys are right");
    for counter in [u64::MAX, u64::MAX - 1, u64::MAX - 1023, u64::MAX - (1 << 13)] {
        let opened = open(counter);
        assert_eq!((opened.authentic, opened.refused.forged), (false, 1), "{counter:#x}");
    }
    assert!(open(u64::MAX - (1 << 13) - 1).authentic, "the last one that is allowed");
}
