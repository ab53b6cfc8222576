//! What one node is told: a set of entries, whole at first, then as deltas. "Nothing" and "no change" are
//! different messages: a whole view says `base_revision = None`.

use std::collections::BTreeMap;

use crate::id::{Digest, NodeId, Revision};
use crate::signed::Signed;
use crate::trust::Record;

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
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    #[prost(oneof = "Body", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub body: Option<Body>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Body {
    #[prost(message, tag = "1")]
    Charter(Signed),
    #[prost(message, tag = "2")]
    Me(Record),
    #[prost(message, tag = "3")]
    PolicyHead(Signed),
    #[prost(message, tag = "4")]
    Item(ProvenItem),
    #[prost(message, tag = "5")]
    Peer(PeerRecord),
    #[prost(message, tag = "6")]
    Endpoints(PeerEndpoints),
    #[prost(message, tag = "7")]
    Revoked(RevokedNode),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProvenItem {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Canonical bytes of the item.
    #[prost(bytes = "vec", tag = "2")]
    pub item: Vec<u8>,
    /// RFC 6962 inclusion path, 32 bytes a step.
    #[prost(bytes = "vec", tag = "3")]
    pub path: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PeerRecord {
    #[prost(bytes = "vec", tag = "1")]
    pub node: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub record: Option<Record>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PeerEndpoints {
    #[prost(bytes = "vec", tag = "1")]
    pub node: Vec<u8>,
    /// `address:port`, best first, at most 8.
    #[prost(string, repeated, tag = "2")]
    pub candidates: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RevokedNode {
    #[prost(bytes = "vec", tag = "1")]
    pub node: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub revocation: Option<Signed>,
}

/// A change to a view, cut into frames; applied only when the frame with the head has come and the digest agrees.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Delta {
    /// The revision this builds on; absent: forget everything, this is the whole view.
    #[prost(uint64, optional, tag = "1")]
    pub base_revision: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub put: Vec<Entry>,
    #[prost(message, repeated, tag = "3")]
    pub remove: Vec<RemovedKey>,
    /// Present in the last frame of a delta: a signed [`crate::statement::ViewHead`].
    #[prost(message, optional, tag = "4")]
    pub head: Option<Signed>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RemovedKey {
    /// Discriminant as in [`Body`].
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// Node id or big-endian item index; empty for single entries.
    #[prost(bytes = "vec", tag = "2")]
    pub id: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    #[error("a view entry is malformed: {0}")]
    Malformed(&'static str),
    #[error("a delta builds on revision {needs}, this node has {has}")]
    WrongBase { needs: Revision, has: Revision },
    #[error("the view does not have the digest its head names")]
    WrongDigest,
}

/// The entries of one node's view by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub entries: BTreeMap<Key, Entry>,
}

impl Entry {
    pub fn key(&self) -> Result<Key, ViewError> {
        todo!()
    }
}

impl View {
    pub fn insert(&mut self, _entry: Entry) -> Result<(), ViewError> {
        todo!()
    }
    /// SHA-256 over every key and encoded entry, in key order, each with its length.
    pub fn digest(&self) -> Digest {
        todo!()
    }
    /// Entries to put and keys to remove that lead from `self` to `newer`.
    pub fn changes_to(&self, _newer: &View) -> (Vec<Entry>, Vec<Key>) {
        todo!()
    }
    /// Applies puts and removes; the caller compares the digest before it believes the result.
    pub fn apply(&mut self, _put: Vec<Entry>, _remove: &[RemovedKey]) -> Result<(), ViewError> {
        todo!()
    }
}

/// Cuts a change into deltas of at most about `max_bytes`; the last one carries the head.
pub fn cut(
    _base: Option<Revision>,
    _put: Vec<Entry>,
    _remove: Vec<Key>,
    _head: Signed,
    _max_bytes: usize,
) -> Vec<Delta> {
    todo!()
}
