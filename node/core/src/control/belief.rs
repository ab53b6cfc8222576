//! From a view as it came to what is believed of it. Everything is checked before anything is taken over.
//!
//! | fault | what happens |
//! |---|---|
//! | head, digest, charter, own record, policy head or an item | the view is refused whole, the last good one stays |
//! | a number lower than seen | the same |
//! | one peer's record, revocation or endpoints | that one is isolated and reported, the rest is served |

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use warren_config::item::{InclusionProof, Item, ItemError, verify};
use warren_config::name::Name;
use warren_wire::id::{Epoch, Generation, NodeId, Revision, WgKey};
use warren_wire::roll::{REVOKED, Roll};
use warren_wire::signed::Signed;
use warren_wire::statement::ViewHead;
use warren_wire::trust::{Member, Network, Record, SignedPolicy, Trust, TrustError};
use warren_wire::view::{Body, Entry, Key, PeerEndpoints, ProvenItem, View, ViewError, same};

use super::memory::Memory;

/// Why a view is refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the view is not believed: {0}")]
    Trust(#[from] TrustError),
    #[error("the view cannot be read: {0}")]
    View(#[from] ViewError),
    #[error("the view is refused: {0}")]
    Item(#[from] ItemError),
    #[error("the view has no {0}")]
    Missing(&'static str),
    #[error(
        "{what} {found} is older than {seen}, which this node has seen: a replay, or a restored coordinator that needs `warren policy apply`"
    )]
    Older { what: &'static str, found: String, seen: String },
    #[error("the view mixes states: its head says generation {head}, its policy is generation {policy}")]
    Mixed { head: Generation, policy: Generation },
    /// The authority signs again what a coordinator refused (a full disk, a wrong tag): who kept both could show each
    /// node another one.
    #[error(
        "policy generation {generation} is another one than the generation {generation} this node enforces: two were signed with one number; apply the policy again"
    )]
    Forked { generation: Generation },
    /// Of a state that this node was not shown.
    #[error(
        "it speaks of another roll of revocations and amendments than the view of the same state: something is kept from this node"
    )]
    OtherRoll,
    #[error("the view is for node {found}, not for this node {me}")]
    NotMine { me: NodeId, found: NodeId },
}

/// One entry that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolated {
    pub node: NodeId,
    pub why: String,
}

/// A view all of which holds, except what was isolated.
#[derive(Clone, Debug)]
pub struct Belief {
    pub view: View,
    pub head: Signed,
    pub epoch: Epoch,
    pub revision: Revision,
    pub generation: Generation,
    pub network: Arc<Network>,
    /// This node as the coordinator knows it; its keys may be behind this node's own.
    pub me: Arc<Member>,
    pub my_record: Record,
    pub policy: Option<SignedPolicy>,
    items: BTreeMap<u64, Item>,
    /// Whom the authority has revoked or amended, in the whole network.
    pub roll: Arc<Roll>,
    /// Peers in good standing: valid, not older, not revoked, with keys, addresses and names of their own.
    pub members: BTreeMap<NodeId, Arc<Member>>,
    /// As told, unsigned.
    pub endpoints: BTreeMap<NodeId, PeerEndpoints>,
    /// As told, unsigned: addresses to recognise, and services of the policy's items that audited grants name there.
    pub audited: BTreeMap<IpAddr, BTreeSet<Name>>,
    /// As told, unsigned: keys of this node that files of external peers name.
    pub filed: BTreeMap<WgKey, BTreeSet<NodeId>>,
}

impl Belief {
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    /// The key of this node that an external peer's file names, if it has one.
    pub fn filed_for(&self, peer: &Member) -> Option<WgKey> {
        let names = |(_, peers): &(&WgKey, &BTreeSet<NodeId>)| peers.contains(&peer.id);
        self.filed.iter().find(names).map(|(key, _)| *key).filter(|_| peer.is_external())
    }
}

/// A belief, and what to remember and report with it.
#[derive(Debug)]
pub struct Believed {
    pub belief: Belief,
    pub memory: Memory,
    pub isolated: Vec<Isolated>,
}

/// Who judges a view: roots, identity, what was believed and seen before.
pub struct Judge<'a> {
    pub trust: &'a Trust,
    /// This node with the keys it holds itself.
    pub me: &'a Member,
    pub held: Option<&'a Belief>,
    pub memory: &'a Memory,
}

impl Judge<'_> {
    /// `head` is the signed view head that came with `view`.
    pub fn believe(&self, view: View, head: Signed) -> Result<Believed, Refusal> {
        let network = self.network(&view)?;
        self.not_older("charter serial", network.serial, self.memory.charter_serial)?;
        let signed = self.trust.view_head(&network, &head, self.me.id)?;
        if view.digest().0.as_slice() != signed.digest {
            return Err(ViewError::WrongDigest.into());
        }
        let numbers = (signed.epoch, signed.revision);
        self.not_older_pair("view (epoch, revision)", numbers, self.memory.view)?;
        let (my_record, me) = self.own(&network, &view)?;
        let policy = self.policy(&view, &signed)?;
        let items = self.items(&view, policy.as_ref())?;
        let roll = self.roll(&network, &view);
        self.not_older("this node's amendment", me.amendment_serial, roll.serial(&me.id))?;

        let mut memory = self.memory.clone();
        let mut isolated = Vec::new();
        self.revocations(&view, &mut memory, &mut isolated);
        let candidates = self.candidates(&network, &view, &roll, &memory, &mut isolated);
        let members = self.unique(&me, candidates, &mut isolated);

        memory.view = numbers;
        memory.policy = policy.map_or(memory.policy, |p| (p.epoch, p.generation));
        memory.charter_serial = network.serial;
        members.values().for_each(|member| memory.remember(member));
        memory.remember(&me);
        let (endpoints, audited, filed) = (endpoints(&view), audited(&view, &items), filed(&view));
        let belief = Belief {
            head,
            epoch: signed.epoch,
            revision: signed.revision,
            generation: signed.generation,
            network,
            me,
            my_record,
            policy,
            items,
            roll,
            members,
            endpoints,
            audited,
            filed,
            view,
        };
        Ok(Believed { belief, memory, isolated })
    }

    /// As the charter says; one that was checked before needs no second look.
    fn network(&self, view: &View) -> Result<Arc<Network>, Refusal> {
        if let Some(held) = self.held_if_same(view, &Key::Charter) {
            return Ok(held.network.clone());
        }
        match view.entries.get(&Key::Charter).and_then(|entry| entry.body.as_ref()) {
            Some(Body::Charter(charter)) => Ok(Arc::new(self.trust.network(charter)?)),
            _ => Err(Refusal::Missing("charter")),
        }
    }

    /// What is held, if this entry of it has not changed.
    fn held_if_same(&self, view: &View, key: &Key) -> Option<&Belief> {
        let (held, entry) = (self.held?, view.entries.get(key)?);
        held.view.entries.get(key).is_some_and(|known| same(known, entry)).then_some(held)
    }

    /// This node's own record. It cannot be isolated: without it the node is nobody.
    fn own(&self, network: &Network, view: &View) -> Result<(Record, Arc<Member>), Refusal> {
        let record = match view.entries.get(&Key::Me).and_then(|entry| entry.body.as_ref()) {
            Some(Body::Me(record)) => record,
            _ => return Err(Refusal::Missing("record of this node")),
        };
        let member = match self.known_me(network, record) {
            Some(known) => known,
            None => Arc::new(self.trust.member(network, record)?),
        };
        if member.id != self.me.id {
            return Err(Refusal::NotMine { me: self.me.id, found: member.id });
        }
        let seen = self.memory.serials.get(&self.me.id).copied().unwrap_or_default();
        self.not_older("this node's amendment", member.amendment_serial, seen.amendment)?;
        Ok((record.clone(), member))
    }

    /// A record whose chain was checked in the same network needs no second look at it.
    fn known_me(&self, network: &Network, record: &Record) -> Option<Arc<Member>> {
        let held = self.held.filter(|held| *held.network == *network && held.my_record == *record)?;
        Some(held.me.clone())
    }

    fn policy(&self, view: &View, head: &ViewHead) -> Result<Option<SignedPolicy>, Refusal> {
        let known = self.held_if_same(view, &Key::PolicyHead).and_then(|held| held.policy);
        let policy = match view.entries.get(&Key::PolicyHead).and_then(|entry| entry.body.as_ref()) {
            Some(Body::PolicyHead(_)) if known.is_some() => known,
            Some(Body::PolicyHead(signed)) => Some(self.trust.policy(signed)?),
            _ => None,
        };
        let numbers = policy.map_or((0, 0), |p| (p.epoch, p.generation));
        self.not_older_pair("policy (epoch, generation)", numbers, self.memory.policy)?;
        let held = self.held.and_then(|held| held.policy);
        if held.is_some_and(|held| (held.epoch, held.generation) == numbers && Some(held) != policy) {
            return Err(Refusal::Forked { generation: numbers.1 });
        }
        match head.generation == numbers.1 {
            true => Ok(policy),
            false => Err(Refusal::Mixed { head: head.generation, policy: numbers.1 }),
        }
    }

    fn items(&self, view: &View, policy: Option<&SignedPolicy>) -> Result<BTreeMap<u64, Item>, Refusal> {
        let mut items = BTreeMap::new();
        for (key, entry) in &view.entries {
            let (Key::Item(index), Some(Body::Item(proven))) = (key, &entry.body) else { continue };
            let policy = policy.ok_or(Refusal::Missing("policy head over its items"))?;
            let known = self.known_item(key, entry, *index, policy);
            items.insert(*index, known.map_or_else(|| verify_item(policy, proven), Ok)?);
        }
        Ok(items)
    }

    /// An item that was proven under the same root needs no second proof.
    fn known_item(&self, key: &Key, entry: &Arc<Entry>, index: u64, policy: &SignedPolicy) -> Option<Item> {
        let held = self.held.filter(|held| held.policy.as_ref() == Some(policy))?;
        held.view.entries.get(key).filter(|known| same(known, entry))?;
        held.items.get(&index).cloned()
    }

    /// All pages of it; what is no page has not come into the view.
    fn roll(&self, network: &Network, view: &View) -> Arc<Roll> {
        let pages = |view: &View| -> BTreeMap<Key, Arc<Entry>> {
            let all = view.entries.range(Key::Roll(0)..=Key::Roll(u8::MAX));
            all.map(|(key, entry)| (key.clone(), entry.clone())).collect()
        };
        let told = pages(view);
        let alike = |held: &BTreeMap<Key, Arc<Entry>>| {
            held.len() == told.len() && held.iter().zip(&told).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        };
        if let Some(held) = self.held.filter(|held| alike(&pages(&held.view))) {
            return held.roll.clone();
        }
        let read = told.values().filter_map(|entry| match &entry.body {
            Some(Body::Roll(page)) => page.read(),
            _ => None,
        });
        Arc::new(Roll::of(network.id, read.collect()))
    }

    fn revocations(&self, view: &View, memory: &mut Memory, isolated: &mut Vec<Isolated>) {
        for (key, entry) in &view.entries {
            let (Key::Revoked(node), Some(Body::Revoked(revoked))) = (key, &entry.body) else { continue };
            if memory.revoked.contains_key(node) {
                continue;
            }
            let Some(signed) = &revoked.revocation else { continue };
            match self.trust.revocation(signed) {
                Ok((named, _)) if named == *node => drop(memory.revoked.insert(*node, signed.clone())),
                Ok((named, _)) => isolate(isolated, *node, format!("its revocation names node {named}")),
                Err(error) => isolate(isolated, *node, format!("its revocation is not believed: {error}")),
            }
        }
    }

    /// Peers whose own chain holds.
    fn candidates(
        &self,
        network: &Network,
        view: &View,
        roll: &Roll,
        memory: &Memory,
        isolated: &mut Vec<Isolated>,
    ) -> BTreeMap<NodeId, Arc<Member>> {
        let mut members = BTreeMap::new();
        for (key, entry) in &view.entries {
            let (Key::Peer(node), Some(Body::Peer(peer))) = (key, &entry.body) else { continue };
            if memory.revoked.contains_key(node) {
                isolate(isolated, *node, "it was revoked, for ever".to_owned());
                continue;
            }
            let known = self.known_member(network, key, entry, *node);
            let found = known.map_or_else(|| self.peer(network, memory, *node, peer.record.as_ref()), Ok);
            match found {
                // Not even the last good record stays: the authority has signed another one, or that there is none.
                Ok(member) if member.amendment_serial < roll.serial(node) => {
                    isolate(isolated, *node, outdated(&member, roll.serial(node)));
                }
                Ok(member) => drop(members.insert(*node, member)),
                Err(why) => {
                    // What cannot be verified changes nothing: the last good record stays.
                    let held = self.held.and_then(|held| held.members.get(node));
                    let current = held.filter(|member| member.amendment_serial >= roll.serial(node));
                    members.extend(current.map(|member| (*node, member.clone())));
                    isolate(isolated, *node, why);
                }
            }
        }
        members
    }

    fn known_member(
        &self,
        network: &Network,
        key: &Key,
        entry: &Arc<Entry>,
        node: NodeId,
    ) -> Option<Arc<Member>> {
        let held = self.held.filter(|held| *held.network == *network)?;
        held.view.entries.get(key).filter(|known| same(known, entry))?;
        held.members.get(&node).cloned()
    }

    fn peer(
        &self,
        network: &Network,
        memory: &Memory,
        node: NodeId,
        record: Option<&Record>,
    ) -> Result<Arc<Member>, String> {
        let record = record.ok_or("it has no record")?;
        let member = self.trust.member(network, record).map_err(|error| error.to_string())?;
        match () {
            () if member.id != node => Err(format!("its record is that of node {}", member.id)),
            () if node == self.me.id => Err("it is this node itself".to_owned()),
            () if memory.is_older(&member) => {
                Err("its record is older than one this node has seen".to_owned())
            }
            () => Ok(Arc::new(member)),
        }
    }

    /// WireGuard keys, addresses and names belong to one node. Of two claimants the one that held it before keeps it;
    /// if neither did, both are refused.
    fn unique(
        &self,
        me: &Arc<Member>,
        mut members: BTreeMap<NodeId, Arc<Member>>,
        isolated: &mut Vec<Isolated>,
    ) -> BTreeMap<NodeId, Arc<Member>> {
        let mut claims: BTreeMap<Claim, BTreeSet<NodeId>> = BTreeMap::new();
        for member in members.values().map(|member| &**member).chain([&**me, self.me]) {
            for claim in claims_of(member) {
                claims.entry(claim).or_default().insert(member.id);
            }
        }
        let mut refused = BTreeSet::new();
        for (claim, claimants) in claims.iter().filter(|(_, claimants)| claimants.len() > 1) {
            let owner = claimants.iter().find(|node| self.held_before(**node, claim));
            for loser in claimants.iter().filter(|node| Some(*node) != owner && **node != self.me.id) {
                isolate(isolated, *loser, format!("it claims {claim}, which is another node's"));
                refused.insert(*loser);
            }
        }
        members.retain(|node, _| !refused.contains(node));
        members
    }

    fn held_before(&self, node: NodeId, claim: &Claim) -> bool {
        let before = self.held.and_then(|held| held.members.get(&node));
        node == self.me.id || before.is_some_and(|member| claims_of(member).contains(claim))
    }

    fn not_older(&self, what: &'static str, found: u64, seen: u64) -> Result<(), Refusal> {
        match found < seen {
            true => Err(Refusal::Older { what, found: found.to_string(), seen: seen.to_string() }),
            false => Ok(()),
        }
    }

    fn not_older_pair(&self, what: &'static str, found: (u64, u64), seen: (u64, u64)) -> Result<(), Refusal> {
        match found < seen {
            true => Err(Refusal::Older { what, found: format!("{found:?}"), seen: format!("{seen:?}") }),
            false => Ok(()),
        }
    }
}

fn outdated(member: &Member, roll: u64) -> String {
    match roll {
        REVOKED => "the network's roll says that it is revoked".to_owned(),
        newer => format!(
            "the network's roll says that its tags or its name were changed: its record is number {}, the newest {newer}",
            member.amendment_serial
        ),
    }
}

fn verify_item(policy: &SignedPolicy, proven: &ProvenItem) -> Result<Item, Refusal> {
    let proof = InclusionProof { index: proven.index, path: proven.path.clone() };
    Ok(verify(policy.root, policy.items, &proven.item, &proof)?)
}

fn endpoints(view: &View) -> BTreeMap<NodeId, PeerEndpoints> {
    let told = |(key, entry): (&Key, &Arc<Entry>)| match (key, &entry.body) {
        (Key::Endpoints(node), Some(Body::Endpoints(told))) => Some((*node, told.clone())),
        _ => None,
    };
    view.entries.iter().filter_map(told).collect()
}

fn filed(view: &View) -> BTreeMap<WgKey, BTreeSet<NodeId>> {
    let told = |(key, entry): (&Key, &Arc<Entry>)| match (key, &entry.body) {
        (Key::Filed(key), Some(Body::Filed(filed))) => Some((*key, filed.peers().collect())),
        _ => None,
    };
    view.entries.iter().filter_map(told).collect()
}

/// What speaks of a service that is not among the items is left out: it recognises less.
fn audited(view: &View, items: &BTreeMap<u64, Item>) -> BTreeMap<IpAddr, BTreeSet<Name>> {
    let service = |index: &u64| match items.get(index) {
        Some(Item::Service(service)) => Some(service.name.clone()),
        _ => None,
    };
    let mut audited: BTreeMap<IpAddr, BTreeSet<Name>> = BTreeMap::new();
    for entry in view.entries.values() {
        let Some(Body::Audited(destination)) = &entry.body else { continue };
        for address in destination.addresses().unwrap_or_default() {
            audited.entry(address).or_default().extend(destination.services.iter().filter_map(service));
        }
    }
    audited
}

fn isolate(isolated: &mut Vec<Isolated>, node: NodeId, why: String) {
    isolated.push(Isolated { node, why });
}

/// Something that only one node of a network can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Key(WgKey),
    Address(IpAddr),
    Name(Name),
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Claim::Key(key) => write!(f, "WireGuard key {key}"),
            Claim::Address(address) => write!(f, "address {address}"),
            Claim::Name(name) => write!(f, "name `{name}`"),
        }
    }
}

/// Each claim once, even if a record names it twice.
fn claims_of(member: &Member) -> BTreeSet<Claim> {
    let keys = member.lanes.iter().copied().map(Claim::Key);
    let addresses = member.addresses().map(Claim::Address);
    keys.chain(addresses).chain([Claim::Name(member.name().clone())]).collect()
}
