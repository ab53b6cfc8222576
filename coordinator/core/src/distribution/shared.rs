//! A view whose entries are shared: a peer's record is encoded once, however many nodes are told of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use warren_wire::id::{Digest, Epoch, Generation, Revision};
use warren_wire::view::{Entry, Key};

/// An entry with its encoding.
#[derive(Debug, PartialEq)]
pub struct Sealed {
    pub entry: Entry,
    bytes: Vec<u8>,
}

impl Sealed {
    pub fn new(entry: Entry) -> Arc<Sealed> {
        let bytes = entry.encode_to_vec();
        Arc::new(Sealed { entry, bytes })
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
            part(&sealed.bytes);
        }
        Digest(hash.finalize().into())
    }

    /// What to put and what to remove to come from `self` to `newer`.
    pub fn changes_to(&self, newer: &SharedView) -> (Vec<Entry>, Vec<Key>) {
        let same = |a: &Arc<Sealed>, b: &Arc<Sealed>| Arc::ptr_eq(a, b) || a.bytes == b.bytes;
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
