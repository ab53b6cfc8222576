//! WireGuard keys of this node, signed by its identity and proven one by one. Renewal begins with
//! [`super::Control::next_key_serial`] and ends with [`super::Control::handle_new_keys`].

use ed25519_dalek::SigningKey;
use warren_wire::id::{NetworkId, NodeId};
use warren_wire::issue;
use warren_wire::signed::Signed;
use zeroize::{Zeroize as _, Zeroizing};

/// The private half of one lane, and 64 fresh random bytes for its proof. Never shown, wiped on drop.
pub struct LaneSecret {
    pub private: Zeroizing<[u8; 32]>,
    pub nonce: [u8; 64],
}

impl Drop for LaneSecret {
    /// A nonce that leaked would give the key away (XEdDSA, section 2.5).
    fn drop(&mut self) {
        self.nonce.zeroize();
    }
}

/// The set of keys `serial`, ready for [`super::Control::handle_new_keys`] or for enrolment. The node id follows from
/// the identity; `_node` is only there to be the same.
pub fn sign(
    network: &NetworkId,
    _node: &NodeId,
    serial: u64,
    identity: &SigningKey,
    lanes: &[LaneSecret],
) -> Signed {
    let secret = |lane: &LaneSecret| issue::LaneSecret {
        private: lane.private.clone(),
        nonce: Zeroizing::new(lane.nonce),
    };
    let lanes: Vec<issue::LaneSecret> = lanes.iter().map(secret).collect();
    issue::sign_lane_keys(network, identity, serial, &lanes)
}
