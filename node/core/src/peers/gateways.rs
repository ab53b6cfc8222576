//! Which of the gateways to a subnet is used: one, until it does not answer.
//!
//! All prefixes behind one set of gateways follow the same choice. A node begins with an order of its own, so that many
//! nodes spread over the gateways, and stays with what works: a gateway that comes back takes nothing from the one in use, unless
//! that one is known to be behind what the coordinator has told this node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipnet::IpNet;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use warren_wire::id::{Epoch, Generation, NodeId};

use super::Peer;
use crate::clock::Mono;
use crate::session::Engine;

/// Gateways are asked what they know so often, while it is not known.
const ASK_EVERY_MS: u64 = 1_000;
/// A handshake with the others is begun so often, while the one in use is behind.
const CALL_EVERY_MS: u64 = 5_000;

/// A gateway is taken for one that knows more only if it has said so within this time: then it answers, too.
const LATELY_MS: u64 = 3_000;

/// How what a gateway was told stands to what this node was told: the worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It still judges by this policy, or by older records.
    Behind {
        epoch: Epoch,
        generation: Generation,
    },
    #[default]
    Unknown,
    Current,
}

/// What is known of a gateway, and when it has said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    pub standing: Standing,
    pub heard: Option<Mono>,
}

/// Gateways that lead to the same subnets, in this node's order, and the place of the one in use.
#[derive(Clone, Debug)]
pub struct Group {
    pub gateways: Arc<[NodeId]>,
    used: Arc<AtomicUsize>,
    asked: Arc<Mutex<Asked>>,
}

/// When gateways of a group were last asked what they know, and called because they could not be asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    pub asked: Option<Mono>,
    pub called: Option<Mono>,
}

impl Group {
    pub fn in_use(&self) -> Option<NodeId> {
        self.gateways.get(self.used.load(Ordering::Relaxed)).copied()
    }

    /// To the next one. `None` if there is no other.
    pub fn move_on(&self) -> Option<NodeId> {
        let next = (self.used.load(Ordering::Relaxed) + 1).checked_rem(self.gateways.len())?;
        self.used.store(next, Ordering::Relaxed);
        self.in_use().filter(|_| self.gateways.len() > 1)
    }

    /// To this one. False if that is no gateway of these.
    pub fn move_to(&self, gateway: NodeId) -> bool {
        let place = self.gateways.iter().position(|node| *node == gateway);
        place.is_some_and(|place| {
            self.used.store(place, Ordering::Relaxed);
            true
        })
    }

    /// Instead of one in use that is behind: the first of those that know most and have just said so. What a gateway does not
    /// say moves nobody.
    pub fn better(&self, news: &BTreeMap<NodeId, News>, now: Mono) -> Option<NodeId> {
        let of = |node: &NodeId| news.get(node).copied().unwrap_or_default();
        let used = of(&self.in_use()?).standing;
        let has_said = |node: &&NodeId| {
            let news = of(node);
            let lately = news.heard.is_some_and(|at| now.millis_since(at) <= LATELY_MS);
            lately && news.standing != Standing::Unknown && news.standing > used
        };
        let first_of_the_best =
            self.gateways.iter().rev().filter(has_said).max_by_key(|node| of(node).standing);
        first_of_the_best.filter(|_| matches!(used, Standing::Behind { .. })).copied()
    }

    /// Is it time to ask? Then it is noted.
    pub fn may_ask(&self, now: Mono) -> bool {
        is_time(&mut self.asked.lock().asked, ASK_EVERY_MS, now)
    }

    /// Is it time to call those that cannot be asked? Then it is noted.
    pub fn may_call(&self, now: Mono) -> bool {
        is_time(&mut self.asked.lock().called, CALL_EVERY_MS, now)
    }
}

fn is_time(last: &mut Option<Mono>, every_ms: u64, now: Mono) -> bool {
    let time = last.is_none_or(|at| now.millis_since(at) >= every_ms);
    if time {
        *last = Some(now);
    }
    time
}

/// Prefixes behind peers. Cheap to clone: the choices are shared between snapshots.
#[derive(Clone, Debug, Default)]
pub struct Gateways {
    groups: Vec<Group>,
    /// Places in `groups`.
    prefixes: BTreeMap<IpNet, usize>,
    /// Lengths of the prefixes, the longest first.
    lengths: Vec<u8>,
}

impl Gateways {
    /// The gateway in use to the longest prefix with this address.
    pub fn in_use(&self, address: IpAddr) -> Option<NodeId> {
        let group = |length: &u8| self.prefixes.get(&IpNet::new(address, *length).ok()?.trunc());
        let place = self.lengths.iter().find_map(group)?;
        self.groups.get(*place)?.in_use()
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Each prefix with its gateways.
    pub fn prefixes(&self) -> impl Iterator<Item = (&IpNet, &Group)> {
        self.prefixes.iter().filter_map(|(net, place)| Some((net, self.groups.get(*place)?)))
    }

    /// After these, with other peers: a set of gateways that was there keeps its choice, a new one begins with a gateway that
    /// is in use already, if it has one.
    pub(super) fn next<E: Engine>(&self, me: NodeId, peers: &[Peer<E>]) -> Gateways {
        let mut leading: BTreeMap<IpNet, BTreeSet<NodeId>> = BTreeMap::new();
        for peer in peers {
            for (net, _) in peer.beyond.iter() {
                leading.entry(*net).or_default().insert(peer.node);
            }
        }
        let mut next = Gateways::default();
        let mut known: BTreeMap<BTreeSet<NodeId>, usize> = BTreeMap::new();
        for (net, gateways) in leading {
            let place = *known.entry(gateways).or_insert_with_key(|gateways| {
                next.groups.push(self.group(me, gateways));
                next.groups.len() - 1
            });
            next.prefixes.insert(net, place);
        }
        let lengths: BTreeSet<u8> = next.prefixes.keys().map(IpNet::prefix_len).collect();
        next.lengths = lengths.into_iter().rev().collect();
        next
    }

    fn group(&self, me: NodeId, gateways: &BTreeSet<NodeId>) -> Group {
        let mut order: Vec<NodeId> = gateways.iter().copied().collect();
        order.sort_by_cached_key(|gateway| (rank(me, *gateway), *gateway));
        if let Some(same) = self.groups.iter().find(|group| *group.gateways == *order) {
            return same.clone();
        }
        let used: BTreeSet<NodeId> = self.groups.iter().filter_map(Group::in_use).collect();
        let first = order.iter().position(|gateway| used.contains(gateway)).unwrap_or(0);
        Group { gateways: order.into(), used: Arc::new(AtomicUsize::new(first)), asked: Arc::default() }
    }
}

/// Rendezvous: every node has an order of its own, and the loss of one gateway moves only who used it.
fn rank(me: NodeId, gateway: NodeId) -> [u8; 32] {
    Sha256::new().chain_update(me.0).chain_update(gateway.0).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId([number; 16])
    }

    /// Three gateways, the first in use.
    fn group() -> Group {
        Group { gateways: [1, 2, 3].map(node).into(), used: Arc::default(), asked: Arc::default() }
    }

    const NOW: Mono = Mono(60_000_000_000);

    fn behind(generation: u64) -> Standing {
        Standing::Behind { epoch: 1, generation }
    }

    /// What is chosen if they have said this just now.
    fn chosen(said: [Standing; 3]) -> Option<NodeId> {
        let news =
            |(number, standing): (u8, Standing)| (node(number + 1), News { standing, heard: Some(NOW) });
        group().better(&(0..).zip(said).map(news).collect(), NOW)
    }

    #[test]
    fn one_that_is_behind_is_left_for_the_first_of_those_that_know_most() {
        use Standing::{Current, Unknown};
        assert_eq!(chosen([behind(4), Current, Current]), Some(node(2)));
        assert_eq!(chosen([behind(4), Unknown, Current]), Some(node(3)));
        assert_eq!(chosen([behind(4), behind(5), behind(6)]), Some(node(3)));
        assert_eq!(chosen([behind(4), behind(4), behind(3)]), None, "all are behind: the best one stays");
        assert_eq!(chosen([behind(4), Unknown, Unknown]), None, "who says nothing moves nobody");
        assert_eq!(chosen([Current, Current, Current]), None);
        assert_eq!(chosen([Unknown, Current, Current]), None);
    }

    #[test]
    fn what_was_said_long_ago_moves_nobody() {
        let said = |heard| News { standing: Standing::Current, heard };
        let used = (node(1), News { standing: behind(4), heard: Some(NOW) });
        for (ago, chosen) in [(LATELY_MS, Some(node(2))), (LATELY_MS + 1, None)] {
            let heard = Some(Mono(NOW.0 - ago * 1_000_000));
            assert_eq!(group().better(&[used, (node(2), said(heard))].into(), NOW), chosen, "{ago} ms ago");
        }
        assert_eq!(group().better(&[used, (node(2), said(None))].into(), NOW), None);
    }
}
