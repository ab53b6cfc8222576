//! Where control and data meet: everything the packet path needs to know, checked and compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use warren_config::filter::Rules;
use warren_config::subnet::Behind;
use warren_config::time::UnixTime;
use warren_wire::id::{Epoch, Generation, NodeId, Revision, WgKey};
use warren_wire::relay::Seat;
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
    /// What this node may open at hosts without an agent behind the peer, which is a gateway then.
    pub beyond: Arc<Behind>,
    /// What the peer may open at hosts behind this node.
    pub hosts: Arc<Behind>,
    /// Where it may be reached, best first; already filtered by [`crate::path::acceptable`].
    pub candidates: Vec<SocketAddr>,
    /// Where it sits at the network's relays, if it does.
    pub seat: Option<Seat>,
    /// The key of this node that the peer, an external device, was told. It may be older than this node's keys are; one
    /// that this node does not have (any more) is of no use, then as without: lane 0.
    pub my_key: Option<WgKey>,
}

impl Assembly {
    /// Subnets behind peers that something is granted in at `now` or later, each with the gateways that lead there. No
    /// other has a route.
    pub fn routes(&self, now: UnixTime) -> BTreeMap<IpNet, BTreeSet<NodeId>> {
        let mut routes: BTreeMap<IpNet, BTreeSet<NodeId>> = BTreeMap::new();
        for (node, peer) in &self.peers {
            for (net, _) in peer.beyond.routes(now) {
                routes.entry(*net).or_default().insert(*node);
            }
        }
        routes
    }

    /// Subnets behind this node that some peer may open something in at `now` or later.
    pub fn served(&self, now: UnixTime) -> BTreeSet<IpNet> {
        self.peers.values().flat_map(|peer| peer.hosts.routes(now).map(|(net, _)| *net)).collect()
    }
}
