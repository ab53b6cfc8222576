//! The roll of a network: each node that the authority has revoked or amended (its name, its tags), and how often. Everybody holds
//! all of it, ids and numbers and nothing else, and its root stands in every freshness. So a coordinator that keeps a revocation
//! or a tag change from one node must show it another root than it shows the others, and nodes compare what they were shown.
//!
//! Page p holds the rows of nodes whose id begins with byte p, in order: 24 bytes each, the id and the serial of the newest
//! amendment (u64 BE; all ones: revoked). The root is SHA-256 over `warren roll v1\0`, the network id and, for each page with rows,
//! in order, its number (one byte) and the SHA-256 of its rows.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::id::{Digest, NetworkId, NodeId};

/// Of a row.
const ROW: usize = 24;
/// Rows of a page at most: two million nodes, each of them amended, do not fill the pages.
pub const MAX_ROWS: usize = 8192;
/// The serial of who is revoked.
pub const REVOKED: u64 = u64::MAX;

/// Rows in order, each of them once, of ids that begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    rows: Vec<u8>,
    digest: [u8; 32],
}

impl Page {
    fn new(rows: Vec<u8>) -> Page {
        let digest = Sha256::digest(&rows).into();
        Page { rows, digest }
    }

    /// `None` if these are no rows of page `number`.
    pub fn read(number: u8, rows: &[u8]) -> Option<Page> {
        let whole = !rows.is_empty() && rows.len().is_multiple_of(ROW) && rows.len() <= MAX_ROWS * ROW;
        let here = rows.chunks(ROW).all(|row| row.first() == Some(&number));
        let ids = || rows.chunks(ROW).filter_map(|row| row.get(..16));
        let ordered = ids().zip(ids().skip(1)).all(|(one, next)| one < next);
        (whole && here && ordered).then(|| Page::new(rows.to_vec()))
    }

    pub fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// Where the row of a node is, or would be.
    fn place(&self, node: &NodeId) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.rows.len() / ROW);
        while low < high {
            let middle = low.midpoint(high);
            let id = self.rows.get(middle * ROW..middle * ROW + 16).unwrap_or_default();
            match id.cmp(&node.0) {
                std::cmp::Ordering::Equal => return Ok(middle * ROW),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low * ROW)
    }

    fn serial(&self, node: &NodeId) -> Option<u64> {
        let at = self.place(node).ok()?;
        let bytes = self.rows.get(at + 16..at + ROW)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }

    /// With this row for the node; `0`: without one.
    fn with(&self, node: &NodeId, serial: u64) -> Page {
        let row = match serial {
            0 => Vec::new(),
            serial => [&node.0[..], &serial.to_be_bytes()].concat(),
        };
        let (before, after) = match self.place(node) {
            Ok(at) => (at, at + ROW),
            Err(at) => (at, at),
        };
        let (before, after) = (self.rows.get(..before), self.rows.get(after..));
        Page::new([before.unwrap_or_default(), &row, after.unwrap_or_default()].concat())
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    network: NetworkId,
    pages: BTreeMap<u8, Page>,
    root: Digest,
}

impl Roll {
    pub fn new(network: NetworkId) -> Roll {
        Roll::of(network, BTreeMap::new())
    }

    pub fn of(network: NetworkId, pages: BTreeMap<u8, Page>) -> Roll {
        let root = root(&network, &pages);
        Roll { network, pages, root }
    }

    pub fn root(&self) -> Digest {
        self.root
    }

    pub fn pages(&self) -> impl Iterator<Item = (u8, &Page)> {
        self.pages.iter().map(|(number, page)| (*number, page))
    }

    /// Of the newest amendment; 0: it was never amended; [`REVOKED`].
    pub fn serial(&self, node: &NodeId) -> u64 {
        self.pages.get(&page_of(node)).and_then(|page| page.serial(node)).unwrap_or(0)
    }

    /// The page that changes, if one does.
    pub fn set(&mut self, node: &NodeId, serial: u64) -> Option<u8> {
        if self.serial(node) == serial {
            return None;
        }
        let number = page_of(node);
        let page = self.pages.entry(number).or_insert_with(|| Page::new(Vec::new()));
        *page = page.with(node, serial);
        if page.rows.is_empty() {
            self.pages.remove(&number);
        }
        self.root = root(&self.network, &self.pages);
        Some(number)
    }
}

/// Where the row of a node stands.
pub fn page_of(node: &NodeId) -> u8 {
    node.0.first().copied().unwrap_or_default()
}

fn root(network: &NetworkId, pages: &BTreeMap<u8, Page>) -> Digest {
    let mut hash = Sha256::new_with_prefix(b"warren roll v1\0").chain_update(network.0);
    for (number, page) in pages {
        hash.update([*number]);
        hash.update(page.digest);
    }
    Digest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NETWORK: NetworkId = NetworkId([7; 16]);

    fn node(page: u8, rest: u8) -> NodeId {
        let mut id = [rest; 16];
        id[0] = page;
        NodeId(id)
    }

    /// As slow as can be: all rows of a page from a map.
    fn slow_root(rows: &BTreeMap<NodeId, u64>) -> Digest {
        let mut hash = Sha256::new_with_prefix(b"warren roll v1\0").chain_update(NETWORK.0);
        for number in 0..=255_u8 {
            let mut page = Vec::new();
            for (id, serial) in rows.iter().filter(|(id, serial)| id.0[0] == number && **serial != 0) {
                page.extend_from_slice(&id.0);
                page.extend_from_slice(&serial.to_be_bytes());
            }
            if !page.is_empty() {
                hash.update([number]);
                hash.update(Sha256::digest(&page));
            }
        }
        Digest(hash.finalize().into())
    }

    proptest! {
        #[test]
        fn a_roll_is_the_last_serial_of_every_node_whatever_the_order(
            steps in prop::collection::vec((0..4_u8, 0..6_u8, prop_oneof![0..3_u64, Just(REVOKED)]), 0..60)
        ) {
            let (mut roll, mut rows) = (Roll::new(NETWORK), BTreeMap::new());
            for (page, rest, serial) in steps {
                let (id, before) = (node(page, rest), roll.root());
                let changed = roll.set(&id, serial);
                prop_assert_eq!(changed.is_some(), before != roll.root());
                prop_assert!(changed.is_none_or(|number| number == page));
                rows.insert(id, serial);
                prop_assert_eq!(roll.root(), slow_root(&rows));
            }
            for (id, serial) in &rows {
                prop_assert_eq!(roll.serial(id), *serial);
            }
            let read = roll.pages().map(|(number, page)| (number, Page::read(number, page.rows()).expect("a page")));
            prop_assert_eq!(Roll::of(NETWORK, read.collect()), roll);
        }
    }

    #[test]
    fn what_is_no_page_is_not_read() {
        let row = |id: NodeId| [&id.0[..], &5_u64.to_be_bytes()].concat();
        let (one, two, elsewhere) = (row(node(3, 1)), row(node(3, 2)), row(node(4, 1)));
        assert!(Page::read(3, &[one.clone(), two.clone()].concat()).is_some());
        for rows in [
            Vec::new(),
            one[..23].to_vec(),
            [&one[..], &[0]].concat(),
            [two.clone(), one.clone()].concat(),
            [one.clone(), one.clone()].concat(),
            elsewhere,
        ] {
            assert_eq!(Page::read(3, &rows), None, "{rows:?}");
        }
        let many = |count: u64| {
            let rows = (0..count).map(|n| {
                let mut id = node(3, 0);
                id.0[8..].copy_from_slice(&n.to_be_bytes());
                row(id)
            });
            Page::read(3, &rows.collect::<Vec<_>>().concat())
        };
        assert!(many(MAX_ROWS as u64).is_some() && many(MAX_ROWS as u64 + 1).is_none());
    }

    #[test]
    fn the_root_names_the_network() {
        assert_ne!(Roll::new(NETWORK).root(), Roll::new(NetworkId([8; 16])).root());
    }
}
