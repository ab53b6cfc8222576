//! The nodes: whose record holds, and who was revoked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::time::UnixTime;
use warren_wire::id::{IdentityKey, NodeId, WgKey};
use warren_wire::roll::REVOKED;
use warren_wire::signed::Signed;
use warren_wire::trust::{Member, Record};

use crate::external::{Device, IssuedFile};
use crate::refusal::Refusal;
use crate::runs::Numbers;

/// At most so many nodes are ever in one network.
pub const MAX_NODES: usize = 100_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub member: Member,
    pub record: Record,
    /// When it proved that it has its present WireGuard keys.
    pub keys_since: UnixTime,
    /// `None`: the authority itself admitted it.
    pub token: Option<IdentityKey>,
    /// Of a device without an agent.
    pub device: Option<Device>,
    /// Revoked, or its lease has ended.
    pub revoked: Option<Gone>,
}

/// The end of a node, and who was joined to it at that moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Gone {
    pub at: UnixTime,
    pub why: String,
    /// The authority's revocation; `None`: its lease ended.
    pub statement: Option<Signed>,
    pub peers: Vec<NodeId>,
}

impl Node {
    pub fn id(&self) -> NodeId {
        self.member.id
    }
    pub fn subject(&self) -> &Subject {
        &self.member.subject
    }
    pub fn is_live(&self) -> bool {
        self.revoked.is_none()
    }
    /// What stands of it in the network's roll ([`warren_wire::roll`]); 0: nothing.
    pub fn roll_serial(&self) -> u64 {
        match &self.revoked {
            None => self.member.amendment_serial,
            Some(gone) if gone.statement.is_some() => REVOKED,
            Some(_) => 0,
        }
    }
    /// What is said to who is out; `None`: it is in.
    pub fn refusal(&self) -> Option<Refusal> {
        let node = self.id();
        self.revoked.as_ref().map(|gone| match gone.statement {
            Some(_) => Refusal::NodeRevoked { node },
            None => Refusal::LeaseEnded { node },
        })
    }
}

/// So many nodes whose lease has ended are remembered, for their names in what was seen; the oldest is forgotten first.
pub const MAX_ENDED: usize = 10_000;

/// All nodes that ever were, but for those whose lease ended long ago. Names belong to the living, keys for ever to whoever came first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    nodes: BTreeMap<NodeId, Node>,
    names: BTreeMap<Name, NodeId>,
    numbers: Numbers,
    keys: BTreeMap<WgKey, NodeId>,
    /// For each node the revoked ones it was joined to, oldest first.
    bereaved: BTreeMap<NodeId, Vec<NodeId>>,
    /// For each node its keys, present or past, that files of devices name.
    filed: BTreeMap<NodeId, BTreeMap<WgKey, BTreeSet<NodeId>>>,
    /// Nodes whose lease has ended, oldest first.
    ended: VecDeque<NodeId>,
}

impl Directory {
    pub fn get(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }
    pub fn live(&self, id: &NodeId) -> Option<&Node> {
        self.get(id).filter(|node| node.is_live())
    }
    pub fn by_name(&self, name: &Name) -> Option<&Node> {
        self.names.get(name).and_then(|id| self.nodes.get(id))
    }
    /// Numbers at the ends of names that the living have.
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.numbers
    }
    pub fn key_owner(&self, key: &WgKey) -> Option<NodeId> {
        self.keys.get(key).copied()
    }
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
    pub fn all(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }
    pub fn alive(&self) -> impl Iterator<Item = &Node> {
        self.all().filter(|node| node.is_live())
    }
    pub fn subjects(&self) -> Vec<Subject> {
        self.alive().map(|node| node.subject().clone()).collect()
    }
    /// Revoked nodes that `id` was joined to when they went, oldest first.
    pub fn revoked_peers(&self, id: &NodeId) -> &[NodeId] {
        self.bereaved.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Keys of `id` that files name, and the devices that have those files.
    pub fn filed(&self, id: &NodeId) -> impl Iterator<Item = (&WgKey, &BTreeSet<NodeId>)> {
        self.filed.get(id).into_iter().flatten()
    }

    /// The newest file of a device takes the place of the one before.
    pub(crate) fn set_file(&mut self, id: &NodeId, endpoint: Option<SocketAddr>, file: IssuedFile) {
        self.forget_file(id);
        for peer in &file.peers {
            self.filed.entry(peer.node).or_default().entry(peer.key).or_default().insert(*id);
        }
        if let Some(node) = self.nodes.get_mut(id) {
            node.device = Some(Device { endpoint, file: Some(file) });
        }
    }

    fn forget_file(&mut self, id: &NodeId) {
        let device = self.nodes.get_mut(id).and_then(|node| node.device.as_mut());
        let Some(file) = device.and_then(|device| device.file.take()) else { return };
        for peer in file.peers {
            let Some(keys) = self.filed.get_mut(&peer.node) else { continue };
            for devices in keys.values_mut() {
                devices.remove(id);
            }
            keys.retain(|_, devices| !devices.is_empty());
        }
        self.filed.retain(|_, keys| !keys.is_empty());
    }

    pub(crate) fn insert(&mut self, node: Node) {
        self.name(node.member.name().clone(), node.id());
        self.keys.extend(node.member.lanes.iter().map(|key| (*key, node.id())));
        self.nodes.insert(node.id(), node);
    }

    fn name(&mut self, name: Name, id: NodeId) {
        self.numbers.insert(&name);
        self.names.insert(name, id);
    }

    fn unname(&mut self, name: &Name) {
        self.numbers.remove(name);
        self.names.remove(name);
    }

    /// A newer record of the same node.
    pub(crate) fn replace(&mut self, id: &NodeId, member: Member, record: Record) {
        let Some(old) = self.nodes.get(id).map(|node| node.member.name().clone()) else { return };
        if old != *member.name() {
            self.unname(&old);
            self.name(member.name().clone(), *id);
        }
        let Some(node) = self.nodes.get_mut(id) else { return };
        self.keys.extend(member.lanes.iter().map(|key| (*key, *id)));
        node.member = member;
        node.record = record;
    }

    pub(crate) fn keys_proven(&mut self, id: &NodeId, at: UnixTime) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.keys_since = at;
        }
    }

    pub(crate) fn revoke(&mut self, id: &NodeId, gone: Gone) {
        self.forget_file(id);
        let Some(name) = self.nodes.get(id).map(|node| node.member.name().clone()) else { return };
        self.unname(&name);
        let Some(node) = self.nodes.get_mut(id) else { return };
        for peer in &gone.peers {
            self.bereaved.entry(*peer).or_default().push(*id);
        }
        node.revoked = Some(gone);
    }

    /// No one need be told with proof: peers are told that it is not there any more.
    pub(crate) fn end(&mut self, id: &NodeId, gone: Gone) {
        self.revoke(id, gone);
        self.ended.push_back(*id);
        while self.ended.len() > MAX_ENDED {
            let Some(oldest) = self.ended.pop_front() else { return };
            if let Some(node) = self.nodes.remove(&oldest) {
                self.keys.retain(|_, owner| *owner != node.id());
            }
        }
    }
}
