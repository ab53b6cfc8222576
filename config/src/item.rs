//! The canonical items of a policy, and the Merkle tree (RFC 6962) an authority signs the root of.
//!
//! An item stands alone: leaving one out can only take something away, so a coordinator that
//! withholds items can widen nothing. Bytes are canonical JSON with unknown fields refused, because
//! an old node must never read a new, stricter item as a weaker one.
//!
//! Canonical order: settings, groups, tags, services, grants, invariants, tests; each kind by name. Layout, comments,
//! order and the split into files leave no trace in it.

use ct_merkle::RootHash;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::name::Name;
use crate::policy::{
    Grant, Group, Invariant, Policy, Selector, Service, Settings, Tag, Target, Test, TestEnd,
};

/// Largest canonical item in bytes.
pub const MAX_ITEM: usize = 64 * 1024;
/// Longest inclusion path: 64 steps of 32 bytes.
pub const MAX_PATH: usize = 64 * 32;
/// Most items in one policy.
pub const MAX_ITEMS: u64 = u32::MAX as u64;

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

/// RFC 6962 root hash over the canonical items, SHA-256. Text: 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a policy hash (64 lower-case hex digits)")]
pub struct InvalidRoot {
    pub value: String,
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Root({self})")
    }
}

impl std::str::FromStr for Root {
    type Err = InvalidRoot;
    fn from_str(text: &str) -> Result<Root, InvalidRoot> {
        let invalid =
            || InvalidRoot { value: text.chars().take(80).collect::<String>().escape_debug().to_string() };
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let pairs = text.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> =
            pairs.map(|p| Some((digit(*p.first()?)? << 4) | digit(*p.get(1)?)?)).collect();
        bytes.and_then(|b| b.try_into().ok()).map(Root).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Root {
    type Error = InvalidRoot;
    fn try_from(text: String) -> Result<Root, InvalidRoot> {
        text.parse()
    }
}

impl From<Root> for String {
    fn from(root: Root) -> String {
        root.to_string()
    }
}

impl Item {
    /// Canonical bytes: JSON without spaces, fields in declared order, sets sorted.
    pub fn encode(&self) -> Vec<u8> {
        // Serialising plain structs, sets and strings into memory cannot fail; should it ever, the empty bytes are
        // no item for any reader.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Accepts canonical bytes only: what encodes to something else than it was read from is refused.
    pub fn decode(bytes: &[u8]) -> Result<Item, ItemError> {
        if bytes.len() > MAX_ITEM {
            let text = format!("{} bytes are over the limit of {MAX_ITEM}", bytes.len());
            return Err(ItemError::Unreadable(text));
        }
        let item: Item =
            serde_json::from_slice(bytes).map_err(|error| ItemError::Unreadable(error.to_string()))?;
        if item.encode() != bytes {
            return Err(ItemError::Unreadable("the bytes are not in canonical form".to_owned()));
        }
        item.check().map_err(|text| ItemError::Unreadable(text.to_owned()))?;
        Ok(item)
    }

    /// What the resolver guarantees of each item by itself; an item that breaks it was never resolved.
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Item::Settings(_) | Item::Group(_) | Item::Tag(_) => Ok(()),
            Item::Service(service) => check_service(service),
            Item::Grant(grant) => check_grant(grant),
            Item::Invariant(invariant) => check_invariant(invariant),
            Item::Test(test) => check_test(test),
        }
    }
}

fn check_service(service: &Service) -> Result<(), &'static str> {
    if service.on.is_empty() || service.listen.is_empty() {
        return Err("a service needs `on` and `listen`");
    }
    if !service.listen.iter().all(|listen| listen.is_valid()) {
        return Err("a `listen` entry is impossible");
    }
    if service.is_behind() && service.on.contains(&Selector::AllNodes) {
        return Err("not every node can be a gateway");
    }
    crate::subnet::check(&service.addresses)?;
    service.on.iter().try_for_each(check_selector)
}

fn check_grant(grant: &Grant) -> Result<(), &'static str> {
    if grant.from.is_empty() || grant.to.is_empty() {
        return Err("a grant needs `from` and `to`");
    }
    grant.from.iter().chain(&grant.except).try_for_each(check_selector)
}

fn check_invariant(invariant: &Invariant) -> Result<(), &'static str> {
    if invariant.from.is_empty() || invariant.to.is_empty() {
        return Err("an invariant needs `from` and `to`");
    }
    invariant.from.iter().try_for_each(check_selector)?;
    invariant.to.iter().try_for_each(check_target)
}

fn check_test(test: &Test) -> Result<(), &'static str> {
    if let TestEnd::Selector(selector) = &test.from {
        check_selector(selector)?;
    }
    check_target(&test.to)
}

fn check_target(target: &Target) -> Result<(), &'static str> {
    match target {
        Target::Service(_) => Ok(()),
        Target::Nodes(_, Some(listen)) if !listen.is_valid() => Err("a port is impossible"),
        Target::Nodes(selector, _) => check_selector(selector),
    }
}

/// Wearing "every one of no tags" would be every node.
fn check_selector(selector: &Selector) -> Result<(), &'static str> {
    match selector {
        Selector::Tags(tags) if tags.is_empty() => Err("a selector names no tag"),
        _ => Ok(()),
    }
}

/// The items of a policy in canonical order, each as canonical bytes, with the tree over them.
#[derive(Clone, Debug)]
pub struct ItemTree {
    items: Vec<(Item, Vec<u8>)>,
    tree: MemoryBackedTree<Sha256, Vec<u8>>,
}

impl ItemTree {
    pub fn new(policy: &Policy) -> ItemTree {
        let items: Vec<(Item, Vec<u8>)> = items_of(policy)
            .map(|item| {
                let bytes = item.encode();
                (item, bytes)
            })
            .collect();
        let mut tree = MemoryBackedTree::new();
        items.iter().for_each(|(_, bytes)| tree.push(bytes.clone()));
        ItemTree { items, tree }
    }
    pub fn root(&self) -> Root {
        Root((*self.tree.root().as_bytes()).into())
    }
    pub fn len(&self) -> u64 {
        self.items.len() as u64
    }
    pub fn place_of_service(&self, name: &Name) -> Option<usize> {
        self.place_of((SERVICE, name))
    }
    pub fn place_of_grant(&self, id: &Name) -> Option<usize> {
        self.place_of((GRANT, id))
    }
    fn place_of(&self, key: (u8, &Name)) -> Option<usize> {
        self.items.binary_search_by(|(item, _)| rank(item).cmp(&Some(key))).ok()
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    pub fn items(&self) -> &[(Item, Vec<u8>)] {
        &self.items
    }
    /// The proof for item `index`; an index outside the tree gets an empty path, which [`verify`] refuses.
    pub fn prove(&self, index: u64) -> InclusionProof {
        let path = match usize::try_from(index) {
            Ok(at) if at < self.items.len() => self.tree.prove_inclusion(at).as_bytes().to_vec(),
            _ => Vec::new(),
        };
        InclusionProof { index, path }
    }
}

/// Ranks of kinds in canonical order.
const SERVICE: u8 = 3;
const GRANT: u8 = 4;

/// An item's place in canonical order; the settings stand before all.
fn rank(item: &Item) -> Option<(u8, &Name)> {
    Some(match item {
        Item::Settings(_) => return None,
        Item::Group(group) => (1, &group.name),
        Item::Tag(tag) => (2, &tag.name),
        Item::Service(service) => (SERVICE, &service.name),
        Item::Grant(grant) => (GRANT, &grant.id),
        Item::Invariant(invariant) => (5, &invariant.id),
        Item::Test(test) => (6, &test.id),
    })
}

fn items_of(policy: &Policy) -> impl Iterator<Item = Item> + '_ {
    std::iter::once(Item::Settings(policy.settings.clone()))
        .chain(policy.groups.values().cloned().map(Item::Group))
        .chain(policy.tags.values().cloned().map(Item::Tag))
        .chain(policy.services.values().cloned().map(Item::Service))
        .chain(policy.grants.values().cloned().map(Item::Grant))
        .chain(policy.invariants.values().cloned().map(Item::Invariant))
        .chain(policy.tests.values().cloned().map(Item::Test))
}

/// Checks that `bytes` is item `proof.index` of the `count` items under `root`, then decodes it.
pub fn verify(root: Root, count: u64, bytes: &[u8], proof: &InclusionProof) -> Result<Item, ItemError> {
    let not_included = ItemError::NotIncluded { index: proof.index };
    if proof.path.len() > MAX_PATH || count > MAX_ITEMS || bytes.len() > MAX_ITEM {
        return Err(not_included);
    }
    let path = ct_merkle::InclusionProof::<Sha256>::try_from_bytes(proof.path.clone())
        .map_err(|_| not_included.clone())?;
    RootHash::<Sha256>::new(root.0.into(), count)
        .verify_inclusion(&bytes, proof.index, &path)
        .map_err(|_| not_included)?;
    Item::decode(bytes)
}

/// The policy that a whole set of items stands for: the inverse of [`ItemTree::new`], for history and rollback.
pub fn policy_of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Policy {
    let mut policy = Policy::default();
    for item in items {
        match item.clone() {
            Item::Settings(settings) => policy.settings = settings,
            Item::Group(group) => drop(policy.groups.insert(group.name.clone(), group)),
            Item::Tag(tag) => drop(policy.tags.insert(tag.name.clone(), tag)),
            Item::Service(service) => drop(policy.services.insert(service.name.clone(), service)),
            Item::Grant(grant) => drop(policy.grants.insert(grant.id.clone(), grant)),
            Item::Invariant(law) => drop(policy.invariants.insert(law.id.clone(), law)),
            Item::Test(test) => drop(policy.tests.insert(test.id.clone(), test)),
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Group;

    fn policy(groups: usize) -> Policy {
        let mut policy = Policy::default();
        for i in 0..groups {
            let name = Name::parse(&format!("g{i}")).unwrap();
            let members = [format!("p{i}@example.com")].into();
            policy.groups.insert(name.clone(), Group { name, members });
        }
        policy
    }

    #[test]
    fn every_item_proves_and_reads_back() {
        for size in [0, 1, 2, 3, 7, 8, 20] {
            let tree = ItemTree::new(&policy(size));
            for (i, (item, bytes)) in tree.items().iter().enumerate() {
                let proof = tree.prove(i as u64);
                assert_eq!(verify(tree.root(), tree.len(), bytes, &proof).as_ref(), Ok(item));
            }
            let items: Vec<&Item> = tree.items().iter().map(|(item, _)| item).collect();
            assert_eq!(policy_of(items), policy(size));
        }
    }

    #[test]
    fn a_changed_item_path_index_or_count_is_refused() {
        let tree = ItemTree::new(&policy(6));
        let (_, bytes) = &tree.items()[3];
        let proof = tree.prove(3);
        let check = |bytes: &[u8], proof: &InclusionProof, count| verify(tree.root(), count, bytes, proof);
        assert!(check(bytes, &proof, 7).is_ok());
        let mut other = bytes.clone();
        other[5] ^= 1;
        assert_eq!(check(&other, &proof, 7), Err(ItemError::NotIncluded { index: 3 }));
        for i in 0..proof.path.len() {
            let mut bad = proof.clone();
            bad.path[i] ^= 1;
            assert!(check(bytes, &bad, 7).is_err());
        }
        assert!(check(bytes, &InclusionProof { index: 2, ..proof.clone() }, 7).is_err());
        for (index, count) in [(3, 0), (3, 3), (u64::MAX, u64::MAX), (u64::MAX - 1, u64::MAX), (7, 7)] {
            let bad = InclusionProof { index, ..proof.clone() };
            assert_eq!(check(bytes, &bad, count), Err(ItemError::NotIncluded { index }), "{index}/{count}");
        }
        for length in [0, 1, 31, 33, MAX_PATH + 32] {
            let bad = InclusionProof { path: vec![0; length], ..proof.clone() };
            assert!(check(bytes, &bad, 7).is_err());
        }
        assert!(tree.prove(7).path.is_empty());
        assert!(tree.prove(u64::MAX).path.is_empty());
    }

    #[test]
    fn an_item_with_an_unknown_field_is_refused() {
        let known = br#"{"group":{"name":"a","members":["x"]}}"#;
        assert!(Item::decode(known).is_ok());
        for bytes in [
            &br#"{"group":{"name":"a","members":["x"],"stricter":true}}"#[..],
            br#"{"group":{"members":["x"],"name":"a"}}"#,
            br#"{ "group":{"name":"a","members":["x"]}}"#,
            br#"{"group":{"name":"a","members":["x","x"]}}"#,
            br#"{"group":{"name":"A","members":["x"]}}"#,
            br#"{"rate":{"name":"a"}}"#,
            b"",
            b"null",
        ] {
            let read = Item::decode(bytes);
            assert!(
                matches!(read, Err(ItemError::Unreadable(_))),
                "{}: {read:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        let deep = "[".repeat(60_000);
        assert!(Item::decode(deep.as_bytes()).is_err());
        assert!(Item::decode(&vec![b' '; MAX_ITEM + 1]).is_err());
    }

    #[test]
    fn an_item_that_no_resolver_makes_is_refused() {
        for bytes in [
            &br#"{"service":{"name":"a","on":[{"tags":[]}],"listen":[{"protocol":"tcp","first":1,"last":2}]}}"#[..],
            br#"{"service":{"name":"a","on":[],"listen":[{"protocol":"tcp","first":1,"last":2}]}}"#,
            br#"{"service":{"name":"a","on":["all-nodes"],"listen":[{"protocol":"tcp","first":0,"last":2}]}}"#,
            br#"{"service":{"name":"a","on":["all-nodes"],"listen":[{"protocol":"tcp","first":3,"last":2}]}}"#,
            br#"{"service":{"name":"a","on":["all-nodes"],"listen":[{"protocol":{"number":6},"first":0,"last":0}]}}"#,
        ] {
            assert!(Item::decode(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let good = br#"{"service":{"name":"a","on":["all-nodes"],"listen":[{"protocol":"tcp","first":1,"last":2}]}}"#;
        assert!(Item::decode(good).is_ok());
    }

    #[test]
    fn a_root_has_one_spelling() {
        let root = ItemTree::new(&Policy::default()).root();
        let text = root.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(root));
        assert!(text.to_uppercase().parse::<Root>().is_err() || text.to_uppercase() == text);
        for bad in ["", "0", &text[1..], &format!("{text}0"), "é".repeat(32).as_str()] {
            assert!(bad.parse::<Root>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&root).unwrap(), format!("\"{text}\""));
    }
}
