//! WireGuard keys of this node, signed by its identity and proven one by one.

use ed25519_dalek::SigningKey;
use warren_wire::id::{NetworkId, NodeId};
use warren_wire::signed::Signed;
use zeroize::Zeroizing;

/// The private half of one lane, and 64 fresh random bytes for its proof. Never shown.
pub struct LaneSecret {
    pub private: Zeroizing<[u8; 32]>,
    pub nonce: [u8; 64],
}

/// The set of keys `serial`, ready for [`super::Control::handle_new_keys`] or for enrolment.
pub fn sign(
    _network: &NetworkId,
    _node: &NodeId,
    _serial: u64,
    _identity: &SigningKey,
    _lanes: &[LaneSecret],
) -> Signed {
    todo!()
}
