//! The canonical items of a policy, and the Merkle tree (RFC 6962) an authority signs the root of.
//!
//! An item stands alone: leaving one out can only take something away, so a coordinator that
//! withholds items can widen nothing. Bytes are canonical JSON with unknown fields refused, because
//! an old node must never read a new, stricter item as a weaker one.

use serde::{Deserialize, Serialize};

use crate::policy::{Grant, Group, Invariant, Policy, Service, Settings, Tag, Test};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Item {
    Settings(Settings),
    Group(Group),
    Tag(Tag),
    Service(Service),
    Grant(Grant),
    Invariant(Invariant),
    Test(Test),
}

/// RFC 6962 root hash over the canonical items, SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Root(pub [u8; 32]);

/// Where an item stands in the tree and the hashes that lead from it to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    pub index: u64,
    pub path: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    #[error("policy item cannot be read: {0}")]
    Unreadable(String),
    #[error("policy item {index} is not in the signed policy")]
    NotIncluded { index: u64 },
}

impl Item {
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }
    pub fn decode(_bytes: &[u8]) -> Result<Item, ItemError> {
        todo!()
    }
}

/// The items of a policy in canonical order, each as canonical bytes, with the tree over them.
#[derive(Clone, Debug)]
pub struct ItemTree {
    items: Vec<(Item, Vec<u8>)>,
}

impl ItemTree {
    pub fn new(_policy: &Policy) -> ItemTree {
        todo!()
    }
    pub fn root(&self) -> Root {
        todo!()
    }
    pub fn len(&self) -> u64 {
        self.items.len() as u64
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    pub fn items(&self) -> &[(Item, Vec<u8>)] {
        &self.items
    }
    pub fn prove(&self, _index: u64) -> InclusionProof {
        todo!()
    }
}

/// Checks that `bytes` is item `proof.index` of the `count` items under `root`, then decodes it.
pub fn verify(_root: Root, _count: u64, _bytes: &[u8], _proof: &InclusionProof) -> Result<Item, ItemError> {
    todo!()
}
