//! What one node is told: a set of entries, whole at first, then as deltas. "Nothing" and "no change" are
//! different messages: a whole view says `base_revision = None`.
//!
//! The digest of a view is SHA-256 over `warren view v1\0` and, in the order of [`Key`], each entry's key (kind, u32 BE,
//! and id) and SHA-256 of its encoding, both with their length (u32 BE) in front: who tells many nodes of one peer hashes
//! its record once.

mod assembler;
mod change;
mod cut;
mod key;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::id::{Digest, NodeId, Revision, WgKey};
use crate::relay::Seat;
use crate::roll::Page;
use crate::signed::{MAX_SIGNATURES, Signed};
use crate::trust::{MAX_ITEMS, Record};

pub use assembler::{Assembled, Assembler, MAX_DELTA_BYTES};
pub use cut::cut;
pub use key::{Key, RemovedKey};

use change::Change;

/// The order of entries in [`Key`] is part of the protocol; a change of it is a new protocol number.
pub const PROTOCOL: u32 = 1;
/// At most so many entries of one kind (peers, items, endpoints, revocations, audited destinations) in a view.
pub const MAX_ENTRIES_OF_A_KIND: usize = 65_536;
/// At most so many candidates of a peer, and bytes in one.
pub const MAX_CANDIDATES: usize = 8;
pub const MAX_CANDIDATE_BYTES: usize = 64;
/// Largest policy item, and steps on its way to the root.
pub const MAX_ITEM_BYTES: usize = 256 * 1024;
pub const MAX_PATH_STEPS: usize = 64;
/// Bytes of a delta frame that suit [`crate::frame::MAX_FRAME`] and let other messages through in between.
pub const DELTA_BYTES: usize = 256 * 1024;

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    #[prost(oneof = "Body", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
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
    #[prost(message, tag = "8")]
    Audited(AuditedDestination),
    #[prost(message, tag = "9")]
    Filed(FiledKey),
    #[prost(message, tag = "10")]
    Roll(RollPage),
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
    /// Its seat at the network's relays ([`crate::relay::Seat`]); 0 for none.
    #[prost(uint32, tag = "3")]
    pub seat: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RevokedNode {
    #[prost(bytes = "vec", tag = "1")]
    pub node: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub revocation: Option<Signed>,
}

/// Enough to recognise a destination, and nothing to reach it with: no key, no name, no place. Unsigned, because what is
/// recognised by it is refused all the same.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuditedDestination {
    #[prost(bytes = "vec", tag = "1")]
    pub v6: Vec<u8>,
    /// Empty if it has none.
    #[prost(bytes = "vec", tag = "2")]
    pub v4: Vec<u8>,
    /// Indices of the policy items of the services it offers that audited grants name.
    #[prost(uint64, repeated, tag = "3")]
    pub services: Vec<u64>,
}

/// Unsigned, because it can only make the node use a key of its own, or none, with peers that it believes anyway.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FiledKey {
    /// An X25519 public key of the node itself, 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// External peers of this node whose file names the key. None: it is only kept, for files of others.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub peers: Vec<Vec<u8>>,
}

/// Unsigned, because the root of all pages is compared with the one in the freshness.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RollPage {
    /// 0 to 255.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// As [`crate::roll`] has it.
    #[prost(bytes = "vec", tag = "2")]
    pub rows: Vec<u8>,
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

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    #[error("a view entry is malformed: {0}")]
    Malformed(&'static str),
    #[error("a delta builds on revision {needs}, this node has {has}")]
    WrongBase { needs: Revision, has: Revision },
    #[error("the view does not have the digest its head names")]
    WrongDigest,
    #[error("a view or delta is over the limit of {limit} {what}")]
    TooLarge { what: &'static str, limit: usize },
}

/// The entries of one node's view by key. They are shared with the views that come before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub entries: BTreeMap<Key, Arc<Entry>>,
}

fn v6(bytes: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from)
}

fn node(bytes: &[u8]) -> Result<NodeId, ViewError> {
    NodeId::from_slice(bytes).ok_or(ViewError::Malformed("a node id is not 16 bytes"))
}

fn bounded(signed: &Signed) -> Result<(), ViewError> {
    match signed.signatures.len() {
        0..=MAX_SIGNATURES => Ok(()),
        _ => Err(ViewError::Malformed("a statement carries too many signatures")),
    }
}

fn bounded_record(record: &Record) -> Result<(), ViewError> {
    let parts = [&record.delegation, &record.admission, &record.keys, &record.amendment, &record.external];
    parts.into_iter().flatten().try_for_each(bounded)
}

impl ProvenItem {
    fn check(&self) -> Result<(), ViewError> {
        if self.index >= MAX_ITEMS || self.item.len() > MAX_ITEM_BYTES {
            return Err(ViewError::Malformed("a policy item is too large, or its index is"));
        }
        if !self.path.len().is_multiple_of(32) || self.path.len() > 32 * MAX_PATH_STEPS {
            return Err(ViewError::Malformed("the path of a policy item is not 0 to 64 steps of 32 bytes"));
        }
        Ok(())
    }
}

impl PeerEndpoints {
    fn check(&self) -> Result<(), ViewError> {
        let long = |candidate: &String| candidate.len() > MAX_CANDIDATE_BYTES;
        if self.candidates.len() > MAX_CANDIDATES || self.candidates.iter().any(long) {
            return Err(ViewError::Malformed("a peer has too many or too long endpoint candidates"));
        }
        match Seat::new(self.seat) {
            Some(_) => Ok(()),
            None => Err(ViewError::Malformed("a peer's seat has over 24 bits")),
        }
    }

    /// `None` if it has none.
    pub fn seat(&self) -> Option<Seat> {
        Seat::new(self.seat).filter(|seat| !seat.is_relay())
    }
}

impl AuditedDestination {
    /// Its addresses. `None` if they are malformed.
    pub fn addresses(&self) -> Option<Vec<IpAddr>> {
        let v4 = match self.v4.as_slice() {
            [] => None,
            bytes => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        };
        let v6 = v6(&self.v6)?;
        Some(v4.into_iter().chain([IpAddr::V6(v6)]).collect())
    }

    fn key(&self) -> Result<Key, ViewError> {
        if self.services.len() as u64 > MAX_ITEMS || self.services.iter().any(|index| *index >= MAX_ITEMS) {
            return Err(ViewError::Malformed(
                "an audited destination names too many services, or unknown ones",
            ));
        }
        match (self.addresses(), v6(&self.v6)) {
            (Some(_), Some(address)) => Ok(Key::Audited(address)),
            _ => Err(ViewError::Malformed("an audited destination's addresses are not of 16 and 4 bytes")),
        }
    }
}

impl FiledKey {
    /// The peers it names; bytes that are no id are refused by [`Entry::key`] before.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.iter().filter_map(|id| NodeId::from_slice(id))
    }

    fn key(&self) -> Result<Key, ViewError> {
        if self.peers.len() > MAX_ENTRIES_OF_A_KIND || self.peers.iter().any(|id| id.len() != 16) {
            return Err(ViewError::Malformed(
                "a filed key names too many peers, or a node id is not 16 bytes",
            ));
        }
        let key = WgKey::from_slice(&self.key);
        key.map(Key::Filed).ok_or(ViewError::Malformed("a filed key is not 32 bytes"))
    }
}

impl RollPage {
    /// `None` if it is none.
    pub fn read(&self) -> Option<(u8, Page)> {
        let number = u8::try_from(self.number).ok()?;
        Some((number, Page::read(number, &self.rows)?))
    }

    fn key(&self) -> Result<Key, ViewError> {
        let page =
            self.read().ok_or(ViewError::Malformed("a page of the roll is not rows of 24 bytes in order"));
        page.map(|(number, _)| Key::Roll(number))
    }
}

impl Entry {
    pub fn new(body: Body) -> Entry {
        Entry { body: Some(body) }
    }

    pub fn peer(node: NodeId, record: Record) -> Entry {
        Entry::new(Body::Peer(PeerRecord { node: node.0.to_vec(), record: Some(record) }))
    }

    pub fn endpoints(node: NodeId, candidates: Vec<String>, seat: Option<Seat>) -> Entry {
        let seat = seat.map_or(0, Seat::number);
        Entry::new(Body::Endpoints(PeerEndpoints { node: node.0.to_vec(), candidates, seat }))
    }

    pub fn revoked(node: NodeId, revocation: Signed) -> Entry {
        Entry::new(Body::Revoked(RevokedNode { node: node.0.to_vec(), revocation: Some(revocation) }))
    }

    pub fn audited(v6: Ipv6Addr, v4: Option<Ipv4Addr>, services: Vec<u64>) -> Entry {
        let v4 = v4.map(|address| address.octets().to_vec()).unwrap_or_default();
        Entry::new(Body::Audited(AuditedDestination { v6: v6.octets().to_vec(), v4, services }))
    }

    pub fn roll(number: u8, page: &Page) -> Entry {
        Entry::new(Body::Roll(RollPage { number: number.into(), rows: page.rows().to_vec() }))
    }

    pub fn filed(key: WgKey, peers: impl IntoIterator<Item = NodeId>) -> Entry {
        let peers = peers.into_iter().map(|node| node.0.to_vec()).collect();
        Entry::new(Body::Filed(FiledKey { key: key.0.to_vec(), peers }))
    }

    /// What the entry is about, if its shape is within bounds.
    pub fn key(&self) -> Result<Key, ViewError> {
        let body = self.body.as_ref();
        match body.ok_or(ViewError::Malformed("an entry says nothing this version understands"))? {
            Body::Charter(signed) => bounded(signed).map(|()| Key::Charter),
            Body::Me(record) => bounded_record(record).map(|()| Key::Me),
            Body::PolicyHead(signed) => bounded(signed).map(|()| Key::PolicyHead),
            Body::Item(item) => item.check().map(|()| Key::Item(item.index)),
            Body::Peer(peer) => {
                let record = peer.record.as_ref().ok_or(ViewError::Malformed("a peer has no record"))?;
                bounded_record(record)?;
                node(&peer.node).map(Key::Peer)
            }
            Body::Audited(destination) => destination.key(),
            Body::Filed(filed) => filed.key(),
            Body::Roll(page) => page.key(),
            Body::Endpoints(endpoints) => {
                endpoints.check()?;
                node(&endpoints.node).map(Key::Endpoints)
            }
            Body::Revoked(revoked) => {
                let signed =
                    revoked.revocation.as_ref().ok_or(ViewError::Malformed("a revocation is missing"))?;
                bounded(signed)?;
                node(&revoked.node).map(Key::Revoked)
            }
        }
    }
}

/// Entries are shared by the views that follow each other: most need no second look.
pub fn same(one: &Arc<Entry>, other: &Arc<Entry>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl View {
    pub fn insert(&mut self, entry: Entry) -> Result<(), ViewError> {
        self.entries.insert(entry.key()?, Arc::new(entry));
        Ok(())
    }

    /// SHA-256 over every key and the SHA-256 of every encoded entry, in key order, each with its length.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new_with_prefix(b"warren view v1\0");
        let mut part = |bytes: &[u8]| {
            // No entry comes near 4 GiB; if one did, its saturated length would match no honest head.
            hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(bytes);
        };
        for (key, entry) in &self.entries {
            part(&[&key.kind().to_be_bytes()[..], &key.id_bytes()].concat());
            part(&Sha256::digest(entry.encode_to_vec()));
        }
        Digest(hash.finalize().into())
    }

    /// Entries to put and keys to remove that lead from `self` to `newer`.
    pub fn changes_to(&self, newer: &View) -> (Vec<Entry>, Vec<Key>) {
        let changed = |(key, entry): &(&Key, &Arc<Entry>)| self.entries.get(*key) != Some(*entry);
        let put = newer.entries.iter().filter(changed).map(|(_, entry)| Entry::clone(entry)).collect();
        let gone = |key: &&Key| !newer.entries.contains_key(*key);
        (put, self.entries.keys().filter(gone).cloned().collect())
    }

    /// Applies puts and removes; the caller compares the digest before it believes the result. On an error nothing
    /// is changed. Removing what is not there is harmless.
    pub fn apply(&mut self, put: Vec<Entry>, remove: &[RemovedKey]) -> Result<(), ViewError> {
        let mut change = Change::default();
        change.add(put, remove)?;
        self.apply_change(change)
    }

    fn apply_change(&mut self, change: Change) -> Result<(), ViewError> {
        self.check_counts(&change)?;
        for key in &change.remove {
            self.entries.remove(key);
        }
        self.entries.extend(change.put);
        Ok(())
    }

    fn check_counts(&self, change: &Change) -> Result<(), ViewError> {
        let mut counts = [0_usize; 11];
        let kept = self.entries.keys().filter(|key| !change.remove.contains(key));
        let added = change.put.keys().filter(|key| !self.entries.contains_key(key));
        for key in kept.chain(added) {
            if let Some(count) = counts.get_mut(key.kind() as usize) {
                *count += 1;
            }
        }
        match counts.iter().any(|count| *count > MAX_ENTRIES_OF_A_KIND) {
            true => Err(ViewError::TooLarge { what: "entries of one kind", limit: MAX_ENTRIES_OF_A_KIND }),
            false => Ok(()),
        }
    }
}
