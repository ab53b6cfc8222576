//! Who may be believed about what. The chain record → delegation → authority, checked by everyone who receives
//! a record; the result is a [`Member`], which exists in no other way.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use warren_config::item::Root;
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::time::UnixTime;

use crate::id::{Epoch, Generation, IdentityKey, NetworkId, NodeId, WgKey};
use crate::signed::{Signed, SignedError};
use crate::statement::{Delegation, Freshness, Revocation, ViewHead};

/// At most so many lanes (WireGuard keys) per node.
pub const MAX_LANES: usize = 16;

/// The roots a node was enrolled with: nothing in them comes from the coordinator's say-so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub network: NetworkId,
    pub authorities: Vec<IdentityKey>,
}

/// A checked charter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub id: NetworkId,
    pub name: String,
    pub v4_range: Ipv4Net,
    pub v6_prefix: Ipv6Net,
    pub coordinators: Vec<IdentityKey>,
    pub serial: u64,
}

/// Everything that makes a node a member, as it travels and as it is stored.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Record {
    #[prost(message, optional, tag = "1")]
    pub delegation: Option<Signed>,
    #[prost(message, optional, tag = "2")]
    pub admission: Option<Signed>,
    #[prost(message, optional, tag = "3")]
    pub keys: Option<Signed>,
    /// The newest amendment, if there was any.
    #[prost(message, optional, tag = "4")]
    pub amendment: Option<Signed>,
}

/// A node whose whole chain holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    pub identity: IdentityKey,
    pub subject: Subject,
    pub v4: Option<Ipv4Addr>,
    pub v6: Ipv6Addr,
    pub lanes: Vec<WgKey>,
    /// Serial of the keys.
    pub key_serial: u64,
    /// Serial of the amendment; 0 without one.
    pub amendment_serial: u64,
    pub enrolled: UnixTime,
}

impl Member {
    pub fn name(&self) -> &Name {
        &self.subject.name
    }
    pub fn tags(&self) -> &BTreeSet<Name> {
        &self.subject.tags
    }
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.v4.map(IpAddr::V4).into_iter().chain(std::iter::once(IpAddr::V6(self.v6)))
    }
}

/// A checked policy head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedPolicy {
    pub epoch: Epoch,
    pub generation: Generation,
    pub root: Root,
    pub items: u64,
}

/// Whose fault it is that something is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error(transparent)]
    Signature(#[from] SignedError),
    #[error("{what} belongs to another network ({found})")]
    ForeignNetwork { what: &'static str, found: String },
    #[error("{what} of node {node} is malformed: {why}")]
    Malformed { what: &'static str, node: String, why: String },
    #[error("{what} is missing from the record")]
    Missing { what: &'static str },
    #[error("node {node} ({name}) claims {claim}, which its token does not allow")]
    BeyondDelegation { node: NodeId, name: String, claim: String },
    #[error("node {node} does not prove that it holds WireGuard key {key}")]
    NoPossession { node: NodeId, key: WgKey },
    #[error("address {address} of node {node} is outside the network's ranges")]
    ForeignAddress { node: NodeId, address: IpAddr },
    #[error(
        "the policy needs version {needed} of the policy language; this program knows {known}: upgrade it"
    )]
    PolicyTooNew { needed: u32, known: u32 },
}

impl Trust {
    pub fn network(&self, _charter: &Signed) -> Result<Network, TrustError> {
        todo!()
    }
    pub fn delegation(&self, _signed: &Signed) -> Result<Delegation, TrustError> {
        todo!()
    }
    /// Checks the whole chain of `record`; `network` gives the address ranges.
    pub fn member(&self, _network: &Network, _record: &Record) -> Result<Member, TrustError> {
        todo!()
    }
    pub fn revocation(&self, _signed: &Signed) -> Result<(NodeId, Revocation), TrustError> {
        todo!()
    }
    pub fn policy(&self, _signed: &Signed) -> Result<SignedPolicy, TrustError> {
        todo!()
    }
    /// Freshness and view heads are believed from a coordinator key that the charter names.
    pub fn freshness(&self, _network: &Network, _signed: &Signed) -> Result<Freshness, TrustError> {
        todo!()
    }
    pub fn view_head(
        &self,
        _network: &Network,
        _signed: &Signed,
        _me: NodeId,
    ) -> Result<ViewHead, TrustError> {
        todo!()
    }
}

/// The id that belongs to an identity key in a network.
pub fn node_id(_network: &NetworkId, _identity: &IdentityKey) -> NodeId {
    todo!()
}
