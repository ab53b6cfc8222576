//! The stand-in's keys, and what it says to strangers.

use std::collections::VecDeque;

use warren_wire::id::WgKey;
use x25519_dalek::{PublicKey, StaticSecret};

use super::super::initiation::equal;
use super::super::message::{COOKIE_LEN, INITIATION_LEN};
use super::super::{Engine, Knock, LaneSecret, Stamp};
use super::{StandinSession, digest, mac1, put};
use crate::clock::Now;

/// This node's keys.
pub struct StandinEngine {
    secrets: Vec<LaneSecret>,
    publics: Vec<WgKey>,
}

impl StandinEngine {
    pub fn new(secrets: impl IntoIterator<Item = LaneSecret>) -> StandinEngine {
        let secrets: Vec<LaneSecret> = secrets.into_iter().collect();
        let publics = secrets.iter().map(LaneSecret::public).collect();
        StandinEngine { secrets, publics }
    }

    fn shared(&self, key: usize, peer: &WgKey) -> Option<[u8; 32]> {
        let secret = StaticSecret::from(*self.secrets.get(key)?.expose());
        let shared = secret.diffie_hellman(&PublicKey::from(peer.0));
        shared.was_contributory().then(|| shared.to_bytes())
    }
}

impl Engine for StandinEngine {
    type Session = StandinSession;

    fn keys(&self) -> &[WgKey] {
        &self.publics
    }
    fn addressee(&self, datagram: &[u8]) -> Option<usize> {
        let body = datagram.get(..datagram.len().checked_sub(32)?)?;
        let mac = datagram.get(body.len()..body.len() + 16)?;
        self.publics.iter().position(|key| mac1(key, body).get(..16).is_some_and(|want| equal(want, mac)))
    }
    fn proves(&self, datagram: &[u8], cookie: &[u8; 16]) -> bool {
        let Some((body, mac2)) = datagram.split_last_chunk::<16>() else { return false };
        digest(&[b"mac2", cookie, body]).get(..16).is_some_and(|want| equal(want, mac2))
    }
    fn cookie_reply(
        &self,
        _key: usize,
        datagram: &[u8],
        cookie: &[u8; 16],
        nonce: &[u8; 24],
    ) -> Option<[u8; 64]> {
        let mut reply = [0u8; COOKIE_LEN];
        put(&mut reply, 0, &[3]);
        put(&mut reply, 4, datagram.get(4..8)?);
        put(&mut reply, 8, nonce);
        put(&mut reply, 32, cookie);
        let tag = digest(&[b"cookie", datagram.get(INITIATION_LEN - 32..INITIATION_LEN - 16)?, cookie]);
        put(&mut reply, 48, tag.get(..16)?);
        Some(reply)
    }
    fn knock(&self, key: usize, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Option<Knock> {
        let peer = WgKey::from_slice(datagram.get(8..40)?)?;
        if datagram.len() != INITIATION_LEN || !known(&peer) {
            return None;
        }
        let pair = self.shared(key, &peer)?;
        let want = digest(&[b"initiation", &pair, datagram.get(8..60)?]);
        let stamp = Stamp(datagram.get(40..52)?.try_into().ok()?);
        equal(&want, datagram.get(60..92)?).then_some(Knock { peer, stamp })
    }
    fn session(&self, key: usize, peer: &WgKey, index: u32, jitter: u64, now: Now) -> Option<StandinSession> {
        Some(StandinSession {
            me: *self.publics.get(key)?,
            peer: *peer,
            pair: self.shared(key, peer)?,
            index: (index & 0x00ff_ffff) << 8,
            counter: 0,
            jitter,
            keys: Vec::new(),
            pending: None,
            unanswered: 0,
            queue: VecDeque::new(),
            greatest_received: Stamp::default(),
            greatest_sent: 0,
            cookie: None,
            last_mac1: [0; 16],
            data_sent: None,
            data_received: None,
            sent: now.mono,
            received: now.mono,
            deadline: now.mono.plus_millis(jitter % 333),
        })
    }
}
