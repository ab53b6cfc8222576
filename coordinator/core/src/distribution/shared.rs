//! A view whose entries are shared: a peer's record is encoded and hashed once, however many nodes are told of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use warren_wire::id::{Digest, Epoch, Generation, Revision};
use warren_wire::view::{Entry, Key};

/// An entry with the digest of its encoding.
#[derive(Debug)]
pub struct Sealed {
    pub entry: Entry,
    digest: [u8; 32],
}

impl PartialEq for Sealed {
    fn eq(&self, other: &Sealed) -> bool {
        self.digest == other.digest
    }
}

impl Sealed {
    pub fn new(entry: Entry) -> Arc<Sealed> {
        let digest = Sha256::digest(entry.encode_to_vec()).into();
        Arc::new(Sealed { entry, digest })
    }
}

/// One node's view. The same digest as [`warren_wire::view::View::digest`], which judges this in tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SharedView {
    pub entries: BTreeMap<Key, Arc<Sealed>>,
}

impl SharedView {
    pub fn put(&mut self, key: Key, entry: Arc<Sealed>) {
        self.entries.insert(key, entry);
    }

    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new_with_prefix(b"warren view v1\0");
        let mut part = |bytes: &[u8]| {
            hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(bytes);
        };
        for (key, sealed) in &self.entries {
            part(&[&key.kind().to_be_bytes()[..], &key.id_bytes()].concat());
            part(&sealed.digest);
        }
        Digest(hash.finalize().into())
    }

    /// What to put and what to remove to come from `self` to `newer`.
    pub fn changes_to(&self, newer: &SharedView) -> (Vec<Entry>, Vec<Key>) {
        let same = |a: &Arc<Sealed>, b: &Arc<Sealed>| Arc::ptr_eq(a, b) || a.digest == b.digest;
        let changed = |(key, sealed): &(&Key, &Arc<Sealed>)| {
            self.entries.get(*key).is_none_or(|old| !same(old, sealed))
        };
        let put = newer.entries.iter().filter(changed).map(|(_, sealed)| sealed.entry.clone()).collect();
        let gone = self.entries.keys().filter(|key| !newer.entries.contains_key(*key)).cloned().collect();
        (put, gone)
    }
}

/// A view as it was last sent to a node: what the next delta builds on.
#[derive(Clone, Debug)]
pub struct Sent {
    pub epoch: Epoch,
    pub revision: Revision,
    pub generation: Generation,
    pub digest: Digest,
    pub view: SharedView,
}
