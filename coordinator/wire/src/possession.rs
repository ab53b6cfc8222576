//! XEdDSA (Signal, "The XEdDSA and VXEdDSA Signature Schemes", section 2): an Ed25519-shaped signature made with an
//! X25519 private key, so that a node record proves that its author holds the WireGuard keys it names.

use crate::id::{NetworkId, NodeId, WgKey};

/// The bytes a lane key signs.
pub fn message(_network: &NetworkId, _node: &NodeId, _serial: u64, _key: &WgKey) -> Vec<u8> {
    todo!()
}

/// Signs `message` with an X25519 private key (clamped or not). `nonce` is 64 fresh random bytes.
pub fn sign(_private: &[u8; 32], _message: &[u8], _nonce: &[u8; 64]) -> [u8; 64] {
    todo!()
}

/// False for every malformed key or signature, and for low-order keys.
pub fn verify(_key: &WgKey, _message: &[u8], _signature: &[u8]) -> bool {
    todo!()
}
