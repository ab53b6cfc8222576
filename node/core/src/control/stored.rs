//! The last good view on disk, so that a node restarts and keeps working while the coordinator is away.
//!
//! ```text
//! "warren view\0"  version u32 BE  body (protobuf)  SHA-256 over all before
//! ```
//!
//! The checksum finds accidents; lies are found because everything inside is verified again. What cannot be read is
//! refused whole: the node then starts without peers and asks for the whole view. It holds no secret.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use warren_wire::id::{NetworkId, NodeId};
use warren_wire::signed::Signed;
use warren_wire::view::{Entry, View};

use super::memory::{Memory, Serials};

const MAGIC: &[u8] = b"warren view\0";
pub const VERSION: u32 = 1;
const CHECKSUM: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    #[error("the stored view is no stored view (it begins otherwise)")]
    NotAView,
    #[error(
        "the stored view has version {found}, this program knows {VERSION}: a newer warren-node wrote it; use that, or delete the file"
    )]
    Newer { found: u32 },
    #[error("the stored view is damaged or cut off ({bytes} bytes read)")]
    Damaged { bytes: usize },
    #[error("the stored view belongs to {found}, not to this node {me}: it was copied from elsewhere")]
    Foreign { me: String, found: String },
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    pub view: View,
    /// The signed view head; absent while nothing was believed.
    pub head: Option<Signed>,
    pub freshness: Option<Signed>,
    /// Signed time that was certain when this was written, milliseconds since 1970.
    pub wall_ms: u64,
    pub memory: Memory,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Body {
    #[prost(bytes = "vec", tag = "1")]
    network: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    node: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    entries: Vec<Entry>,
    #[prost(message, optional, tag = "4")]
    head: Option<Signed>,
    #[prost(message, optional, tag = "5")]
    freshness: Option<Signed>,
    #[prost(uint64, tag = "6")]
    wall_ms: u64,
    #[prost(uint64, tag = "7")]
    view_epoch: u64,
    #[prost(uint64, tag = "8")]
    view_revision: u64,
    #[prost(uint64, tag = "9")]
    policy_epoch: u64,
    #[prost(uint64, tag = "10")]
    policy_generation: u64,
    #[prost(uint64, tag = "11")]
    charter_serial: u64,
    #[prost(message, repeated, tag = "12")]
    seen: Vec<Seen>,
    #[prost(message, repeated, tag = "13")]
    revoked: Vec<Revoked>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Seen {
    #[prost(bytes = "vec", tag = "1")]
    node: Vec<u8>,
    #[prost(uint64, tag = "2")]
    keys: u64,
    #[prost(uint64, tag = "3")]
    amendment: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Revoked {
    #[prost(bytes = "vec", tag = "1")]
    node: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    revocation: Option<Signed>,
}

/// What is to be kept, where it lies: a view of ten thousand peers is not copied to be written.
#[derive(Clone, Copy, Debug)]
pub struct Keep<'a> {
    pub view: Option<&'a View>,
    pub head: Option<&'a Signed>,
    pub freshness: Option<&'a Signed>,
    pub wall_ms: u64,
    pub memory: &'a Memory,
}

/// Field 3 of [`Body`], length-delimited.
const ENTRY: u8 = 3 << 3 | 2;

impl Keep<'_> {
    pub fn encode(&self, network: &NetworkId, node: &NodeId) -> Vec<u8> {
        let memory = self.memory;
        let seen = |(node, s): (&NodeId, &Serials)| Seen {
            node: node.0.to_vec(),
            keys: s.keys,
            amendment: s.amendment,
        };
        let revoked = |(node, signed): (&NodeId, &Signed)| Revoked {
            node: node.0.to_vec(),
            revocation: Some(signed.clone()),
        };
        let body = Body {
            network: network.0.to_vec(),
            node: node.0.to_vec(),
            entries: Vec::new(),
            head: self.head.cloned(),
            freshness: self.freshness.cloned(),
            wall_ms: self.wall_ms,
            view_epoch: memory.view.0,
            view_revision: memory.view.1,
            policy_epoch: memory.policy.0,
            policy_generation: memory.policy.1,
            charter_serial: memory.charter_serial,
            seen: memory.serials.iter().map(seen).collect(),
            revoked: memory.revoked.iter().map(revoked).collect(),
        };
        let mut bytes = [MAGIC, &VERSION.to_be_bytes(), &body.encode_to_vec()].concat();
        let entries = || self.view.iter().flat_map(|view| view.entries.values());
        let room: usize = entries().map(|entry| entry.encoded_len() + 8).sum();
        bytes.reserve_exact(room + CHECKSUM);
        for entry in entries() {
            bytes.push(ENTRY);
            bytes.extend_from_slice(&entry.encode_length_delimited_to_vec());
        }
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }
}

impl Stored {
    /// As it is to be kept.
    #[cfg(test)]
    fn encode(&self, network: &NetworkId, node: &NodeId) -> Vec<u8> {
        let (head, freshness) = (self.head.as_ref(), self.freshness.as_ref());
        let view = Some(&self.view);
        Keep { view, head, freshness, wall_ms: self.wall_ms, memory: &self.memory }.encode(network, node)
    }

    pub fn decode(bytes: &[u8], network: &NetworkId, node: &NodeId) -> Result<Stored, StoredError> {
        let damaged = || StoredError::Damaged { bytes: bytes.len() };
        if !bytes.starts_with(MAGIC.get(..bytes.len().min(MAGIC.len())).unwrap_or(MAGIC)) {
            return Err(StoredError::NotAView);
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (body, sum) = rest.split_last_chunk::<CHECKSUM>().ok_or_else(damaged)?;
        let summed =
            bytes.len().checked_sub(CHECKSUM).and_then(|end| bytes.get(..end)).ok_or_else(damaged)?;
        if Sha256::digest(summed).as_slice() != sum {
            return Err(damaged());
        }
        // After the checksum: a flipped bit in the version is an accident, not the future.
        match u32::from_be_bytes(*version) {
            VERSION => {}
            found => return Err(StoredError::Newer { found }),
        }
        let body = Body::decode(body).map_err(|_| damaged())?;
        if body.network != network.0 || body.node != node.0 {
            let found = match (NodeId::from_slice(&body.node), NetworkId::from_slice(&body.network)) {
                (Some(node), Some(network)) => format!("node {node} of network {network}"),
                _ => "nobody".to_owned(),
            };
            return Err(StoredError::Foreign { me: format!("{node} of network {network}"), found });
        }
        body.into_stored().ok_or_else(damaged)
    }
}

impl Body {
    fn into_stored(self) -> Option<Stored> {
        let mut view = View::default();
        for entry in self.entries {
            view.insert(entry).ok()?;
        }
        let mut memory = Memory {
            view: (self.view_epoch, self.view_revision),
            policy: (self.policy_epoch, self.policy_generation),
            charter_serial: self.charter_serial,
            ..Memory::default()
        };
        for seen in self.seen {
            let serials = Serials { keys: seen.keys, amendment: seen.amendment };
            memory.serials.insert(NodeId::from_slice(&seen.node)?, serials);
        }
        for revoked in self.revoked {
            memory.revoked.insert(NodeId::from_slice(&revoked.node)?, revoked.revocation?);
        }
        let (head, freshness, wall_ms) = (self.head, self.freshness, self.wall_ms);
        Some(Stored { view, head, freshness, wall_ms, memory })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NETWORK: NetworkId = NetworkId([1; 16]);
    const NODE: NodeId = NodeId([2; 16]);

    fn sample() -> Stored {
        let mut view = View::default();
        view.insert(Entry::endpoints(NodeId([5; 16]), vec!["192.0.2.1:51820".to_owned()], None)).unwrap();
        let mut memory = Memory { view: (1, 9), policy: (1, 3), charter_serial: 1, ..Memory::default() };
        memory.serials.insert(NodeId([5; 16]), Serials { keys: 2, amendment: 1 });
        memory.revoked.insert(NodeId([6; 16]), Signed::default());
        Stored { view, head: Some(Signed::default()), freshness: None, wall_ms: 77, memory }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let bytes = sample().encode(&NETWORK, &NODE);
        assert_eq!(Stored::decode(&bytes, &NETWORK, &NODE), Ok(sample()));
    }

    /// NL-11: truncated, bit-flipped, foreign, newer, empty.
    #[test]
    fn every_damaged_byte_and_every_cut_is_refused() {
        let bytes = sample().encode(&NETWORK, &NODE);
        for at in 0..bytes.len() {
            assert!(Stored::decode(&bytes[..at], &NETWORK, &NODE).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Stored::decode(&flipped, &NETWORK, &NODE).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert_eq!(Stored::decode(b"", &NETWORK, &NODE), Err(StoredError::Damaged { bytes: 0 }));
        assert_eq!(Stored::decode(b"other", &NETWORK, &NODE), Err(StoredError::NotAView));
    }

    #[test]
    fn a_foreign_or_newer_file_is_called_that() {
        let bytes = sample().encode(&NETWORK, &NODE);
        let foreign = Stored::decode(&bytes, &NETWORK, &NodeId([3; 16]));
        assert!(matches!(foreign, Err(StoredError::Foreign { .. })));
        let foreign = Stored::decode(&bytes, &NetworkId([3; 16]), &NODE);
        assert!(matches!(foreign, Err(StoredError::Foreign { .. })));
        let mut newer = bytes[..bytes.len() - CHECKSUM].to_vec();
        newer[MAGIC.len() + 3] = 9;
        newer.extend_from_slice(&Sha256::digest(&newer));
        assert_eq!(Stored::decode(&newer, &NETWORK, &NODE), Err(StoredError::Newer { found: 9 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Stored::decode(&bytes, &NETWORK, &NODE).is_err());
            let mut led = [MAGIC, &VERSION.to_be_bytes(), &bytes].concat();
            led.extend_from_slice(&Sha256::digest(&led));
            let _ = Stored::decode(&led, &NETWORK, &NODE);
        }
    }
}
