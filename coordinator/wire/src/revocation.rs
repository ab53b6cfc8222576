//! The chain over all revocations in order. Its head stands in every freshness, so that a coordinator that shows one
//! node fewer revocations than another contradicts its own signature.
//!
//! Head 0 is SHA-256 over `warren revocations v1\0` and the network id; head n+1 is SHA-256 over
//! `warren revocation v1\0`, head n, and the body of the signed revocation.

use sha2::{Digest as _, Sha256};

use crate::id::{Digest, NetworkId};
use crate::signed::Signed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    head: Digest,
}

impl Chain {
    pub fn new(network: &NetworkId) -> Chain {
        let start = Sha256::new().chain_update(b"warren revocations v1\0").chain_update(network.0);
        Chain { head: Digest(start.finalize().into()) }
    }

    /// Goes on from a stored head.
    pub fn resume(head: Digest) -> Chain {
        Chain { head }
    }

    /// Adds the next revocation. Signatures do not count, so a later countersignature changes nothing.
    pub fn push(&mut self, revocation: &Signed) {
        let next = Sha256::new()
            .chain_update(b"warren revocation v1\0")
            .chain_update(self.head.0)
            .chain_update(&revocation.body);
        self.head = Digest(next.finalize().into());
    }

    pub fn head(&self) -> Digest {
        self.head
    }
}

/// The head over all revocations of a network, oldest first.
pub fn head<'a>(network: &NetworkId, revocations: impl IntoIterator<Item = &'a Signed>) -> Digest {
    let mut chain = Chain::new(network);
    for revocation in revocations {
        chain.push(revocation);
    }
    chain.head()
}
