//! What an entry of a view is about.

use std::net::Ipv6Addr;

use super::{ViewError, v6};
use crate::id::{NodeId, WgKey};

/// What an entry is about; also its place in the digest. Order is part of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The network's charter.
    Charter,
    /// The node itself.
    Me,
    PolicyHead,
    /// A policy item by its index under the root.
    Item(u64),
    /// The record of a peer that some grant joins this node to.
    Peer(NodeId),
    /// Where that peer may be reached: unsigned hints, WireGuard proves.
    Endpoints(NodeId),
    /// A revocation of a node that was once this node's peer.
    Revoked(NodeId),
    /// A destination, by its IPv6 address, at which only audited grants would open something to this node.
    Audited(Ipv6Addr),
    /// A WireGuard key of this node that files of external devices name: it is kept for them.
    Filed(WgKey),
    /// A page of the network's roll ([`crate::roll`]).
    Roll(u8),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RemovedKey {
    /// Discriminant as in [`super::Body`].
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// Node id, big-endian item index, address, key or page; empty for single entries.
    #[prost(bytes = "vec", tag = "2")]
    pub id: Vec<u8>,
}

impl Key {
    /// The entry's number in [`super::Body`].
    pub fn kind(&self) -> u32 {
        match self {
            Key::Charter => 1,
            Key::Me => 2,
            Key::PolicyHead => 3,
            Key::Item(_) => 4,
            Key::Peer(_) => 5,
            Key::Endpoints(_) => 6,
            Key::Revoked(_) => 7,
            Key::Audited(_) => 8,
            Key::Filed(_) => 9,
            Key::Roll(_) => 10,
        }
    }

    /// Node id, big-endian item index, address, key, number of a page, or nothing.
    pub fn id_bytes(&self) -> Vec<u8> {
        match self {
            Key::Charter | Key::Me | Key::PolicyHead => Vec::new(),
            Key::Item(index) => index.to_be_bytes().to_vec(),
            Key::Peer(node) | Key::Endpoints(node) | Key::Revoked(node) => node.0.to_vec(),
            Key::Audited(address) => address.octets().to_vec(),
            Key::Filed(key) => key.0.to_vec(),
            Key::Roll(page) => vec![*page],
        }
    }
}

impl From<&Key> for RemovedKey {
    fn from(key: &Key) -> RemovedKey {
        RemovedKey { kind: key.kind(), id: key.id_bytes() }
    }
}

impl TryFrom<&RemovedKey> for Key {
    type Error = ViewError;
    fn try_from(removed: &RemovedKey) -> Result<Key, ViewError> {
        let index = || removed.id.as_slice().try_into().map(u64::from_be_bytes).ok();
        let key = match (removed.kind, removed.id.len()) {
            (1, 0) => Some(Key::Charter),
            (2, 0) => Some(Key::Me),
            (3, 0) => Some(Key::PolicyHead),
            (4, 8) => index().map(Key::Item),
            (5, 16) => NodeId::from_slice(&removed.id).map(Key::Peer),
            (6, 16) => NodeId::from_slice(&removed.id).map(Key::Endpoints),
            (7, 16) => NodeId::from_slice(&removed.id).map(Key::Revoked),
            (8, 16) => v6(&removed.id).map(Key::Audited),
            (9, 32) => WgKey::from_slice(&removed.id).map(Key::Filed),
            (10, 1) => removed.id.first().copied().map(Key::Roll),
            _ => None,
        };
        key.ok_or(ViewError::Malformed("a removal names nothing this version knows"))
    }
}
