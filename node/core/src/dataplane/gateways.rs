//! Gateways to subnets: the one in use is asked for a sign of life when what is sent to it is not answered, and left for the
//! next one when it gives none. One that answers and is known to be behind what the coordinator has told this node is left for one
//! that has just said that it knows more, and for no other.
//!
//! Its flows end then: the hosts behind it know them by the gateway's own address, which the other has not. TCP is reset at
//! once, so that applications connect again instead of waiting.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use warren_wire::id::NodeId;

use super::counters::Event;
use super::hearsay::LIVE;
use super::relayed::PathWord;
use super::{DataPlane, Outbox};
use crate::clock::Now;
use crate::peers::{Group, News, Peer, Pulse, Snapshot, Standing, Use};
use crate::session::{Engine, Session as _};

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
                Pulse::Gone => {
                    group.move_on();
                    self.left_gateway(snapshot, peer, group, now);
                }
            }
        }
    }

    /// Twice a second or so: asks the gateways in use what they were told, where that is not known, and leaves those that are
    /// behind. `news` and `question` are [`crate::control::Control::gateway_news`]'s. Nobody is asked who is not used, unless the one in use is behind.
    pub fn weigh_gateways(&self, news: &BTreeMap<NodeId, News>, question: &[u8], out: &mut Outbox, now: Now) {
        let snapshot = self.snapshot.load();
        for group in snapshot.gateways().groups().iter().filter(|group| group.gateways.len() > 1) {
            let Some(used) = group.in_use().and_then(|node| snapshot.peer(&node)) else { continue };
            let standing = news.get(&used.node).copied().unwrap_or_default().standing;
            let better = group.better(news, now.mono).and_then(|node| snapshot.peer(&node));
            if better.is_some_and(|next| group.move_to(next.node)) {
                self.left_gateway(&snapshot, used, group, now);
            } else if standing != Standing::Current && group.may_ask(now.mono) {
                self.ask_gateway(&snapshot, used, question, out, now);
                if matches!(standing, Standing::Behind { .. }) {
                    self.ask_other_gateways(&snapshot, group, question, out, now);
                }
            }
        }
        out.flush();
    }

    /// Those that are not in use. One without a session is called: it can be asked once it has answered.
    fn ask_other_gateways(
        &self,
        snapshot: &Snapshot<E>,
        group: &Group,
        question: &[u8],
        out: &mut Outbox,
        now: Now,
    ) {
        let others = group.gateways.iter().filter(|node| group.in_use() != Some(**node));
        let calls = group.may_call(now.mono);
        for other in others.filter_map(|node| snapshot.peer(node)) {
            if !self.ask_gateway(snapshot, other, question, out, now) && calls {
                self.initiate(other.node, out, now);
            }
        }
    }

    /// False: there is no session with it.
    fn ask_gateway(
        &self,
        snapshot: &Snapshot<E>,
        gateway: &Peer<E>,
        question: &[u8],
        out: &mut Outbox,
        now: Now,
    ) -> bool {
        let live = gateway.send_lane(0).is_some_and(|lane| {
            let age = lane.with(&snapshot.engine, Use::Existing, now, |s| s.stats(now).handshake_age);
            age.flatten().is_some_and(|age| age < LIVE)
        });
        if live {
            self.tell_peer(snapshot, gateway, question, out, now);
        }
        live
    }

    /// The group has moved on from `left`.
    fn left_gateway(&self, snapshot: &Snapshot<E>, left: &Peer<E>, group: &Group, now: Now) {
        let Some(next) = group.in_use().and_then(|node| snapshot.peer(&node)) else { return };
        next.link.begin_anew();
        self.counters.event(Event::GatewayLeft, 1);
        let cuts = left.link.leave(&left.beyond, now);
        self.after_cuts(snapshot, left, &cuts, now);
    }
}
