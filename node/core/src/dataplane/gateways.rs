//! Gateways to subnets: the one in use is asked for a sign of life when what is sent to it is not answered, and left for the
//! next one when it gives none.
//!
//! Its flows end then: the hosts behind it know them by the gateway's own address, which the other has not. TCP is reset at
//! once, so that applications connect again instead of waiting.

use std::net::IpAddr;

use ipnet::IpNet;
use warren_wire::id::NodeId;

use super::counters::Event;
use super::relayed::PathWord;
use super::{DataPlane, Outbox};
use crate::clock::Now;
use crate::peers::{Group, Pulse, Snapshot};
use crate::session::Engine;

/// One subnet behind others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetWay {
    pub net: IpNet,
    /// In this node's order.
    pub gateways: Vec<NodeId>,
    pub in_use: Option<NodeId>,
}

impl<E: Engine> DataPlane<E> {
    /// Every subnet that this node may open something in, and who leads there.
    pub fn subnets(&self) -> Vec<SubnetWay> {
        let snapshot = self.snapshot.load();
        let way = |(net, group): (&IpNet, &Group)| SubnetWay {
            net: *net,
            gateways: group.gateways.to_vec(),
            in_use: group.in_use(),
        };
        snapshot.gateways().prefixes().map(way).collect()
    }

    /// The peer that what is for `address` is sent to now.
    pub fn next_hop(&self, address: IpAddr) -> Option<NodeId> {
        self.snapshot.load().next_hop(address).map(|peer| peer.node)
    }

    /// Costs what there are groups of gateways, not what there are subnets.
    pub(super) fn feel_gateways(&self, snapshot: &Snapshot<E>, out: &mut Outbox, now: Now) {
        for group in snapshot.gateways().groups().iter().filter(|group| group.gateways.len() > 1) {
            let Some(peer) = group.in_use().and_then(|node| snapshot.peer(&node)) else { continue };
            match peer.link.pulse() {
                Pulse::Calm => {}
                Pulse::Ask => {
                    if let Some(place) = peer.link.endpoint().filter(|_| peer.agent) {
                        // No question of the path's own: any authentic answer will do.
                        self.say_path(snapshot, peer, PathWord::Ping(u64::MAX), place, 0, out, now);
                    }
                }
                Pulse::Gone => self.leave_gateway(snapshot, group, now),
            }
        }
    }

    fn leave_gateway(&self, snapshot: &Snapshot<E>, group: &Group, now: Now) {
        let Some(left) = group.in_use().and_then(|node| snapshot.peer(&node)) else { return };
        let Some(next) = group.move_on().and_then(|node| snapshot.peer(&node)) else { return };
        next.link.begin_anew();
        self.counters.event(Event::GatewayLeft, 1);
        let cuts = left.link.leave(&left.beyond, now);
        self.after_cuts(snapshot, left, &cuts, now);
    }
}
