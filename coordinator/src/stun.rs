//! Who asks which address he is seen at (RFC 8489) is told, with a proof that he receives there. No state.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use warren_wire::stun::{self, PlaceKey};
use zeroize::Zeroizing;

use crate::clock;

/// Answers questions on one port, or on many. Without a key it proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Stun(Arc<Mutex<Option<PlaceKey>>>);

impl Stun {
    /// From now on places are proven with this.
    pub fn prove_with(&self, key: PlaceKey) {
        *self.0.lock() = Some(key);
    }

    /// The answer to a question, never longer than it; `None` to everything else.
    pub fn reply(&self, datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        // Whatever else comes to the port waits for no lock.
        if !stun::is_stun(datagram) {
            return None;
        }
        let key = self.0.lock();
        stun::reply(datagram, from, key.as_ref().map(|key| (key, clock::now())))
    }
}

/// It follows from the online key: what was proven before a restart holds after it.
pub fn place_key(online_seed: &[u8; 32]) -> PlaceKey {
    let hash = Sha256::new().chain_update("warren place proofs v1\0").chain_update(online_seed);
    let hash = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
    let mut key = [0; 16];
    key.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
    PlaceKey::new(key)
}
