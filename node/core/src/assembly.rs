//! Where control and data meet: everything the packet path needs to know, checked and compiled.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use warren_config::filter::Rules;
use warren_wire::id::{Epoch, Generation, NodeId, Revision, WgKey};
use warren_wire::trust::{Member, Network};

/// One consistent state of the world as this node may know it. Immutable; a change is a new assembly.
#[derive(Clone, Debug)]
pub struct Assembly {
    pub network: Arc<Network>,
    pub me: Arc<Member>,
    pub epoch: Epoch,
    pub revision: Revision,
    /// 0 while no policy was ever applied: then there are no peers.
    pub generation: Generation,
    pub peers: BTreeMap<NodeId, PeerSpec>,
    pub audited: Arc<Audited>,
}

/// By address: destinations where only audited grants would open something. Their rules pass nothing.
pub type Audited = BTreeMap<IpAddr, Arc<Rules>>;

/// A peer that some grant joins this node to, in one direction or both.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerSpec {
    pub member: Arc<Member>,
    /// What this node may open at the peer.
    pub outbound: Arc<Rules>,
    /// What the peer may open here.
    pub inbound: Arc<Rules>,
    /// Where it may be reached, best first; already filtered by [`crate::path::acceptable`].
    pub candidates: Vec<SocketAddr>,
    /// The key of this node that the peer, an external device, was told. It may be older than this node's keys are; one
    /// that this node does not have (any more) is of no use, then as without: lane 0.
    pub my_key: Option<WgKey>,
}
