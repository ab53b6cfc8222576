//! A new state of the world: snapshot first, then every live flow is judged again.
//!
//! The order matters. Once the snapshot is swapped, a packet that meets the old verdict of its flow is judged by the
//! new rules; so nothing can slip through between the swap and the end of this function. A worker that loaded the
//! snapshot before finds by [`Link::flows_at`] that its flows were judged by a newer one, and loads it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warren_config::filter::Rules;
use warren_config::subnet::NOTHING;
use warren_wire::id::NodeId;

use super::{Control, DataPlane, Published, Stamps, forget_queued, frames_of};
use crate::assembly::Assembly;
use crate::clock::Now;
use crate::conntrack::{Addresses, Cut, Edition, Ends, FlowTable, Limits};
use crate::peers::{Lane, Link, Made, Peer, Snapshot, Use};
use crate::session::{Engine, Session as _};

impl<E: Engine> DataPlane<E> {
    /// Other keys (rotation). Takes effect with the next [`DataPlane::publish`]; sessions of keys that are still
    /// there go on.
    pub fn replace_engine(&self, engine: E) {
        self.control.lock().engine = Arc::new(engine);
    }

    /// From now on this is the world: peers that are gone are forgotten, every live flow is judged again.
    pub fn publish(&self, assembly: &Assembly, now: Now) -> Published {
        let mut control = self.control.lock();
        let engine = control.engine.clone();
        let made = control.registry.make(&engine, assembly, now);
        self.install(&mut control, made, now)
    }

    /// No peers at all (freshness ran out, revoked): everything is cut.
    pub fn close(&self, now: Now) -> Published {
        let mut control = self.control.lock();
        let snapshot = self.snapshot.load_full();
        let made = control.registry.unmake(&snapshot);
        self.install(&mut control, made, now)
    }

    fn install(&self, control: &mut Control<E>, made: Made<E>, now: Now) -> Published {
        let Made { snapshot, gone, conflicts, moved } = made;
        let snapshot = Arc::new(snapshot);
        self.snapshot.store(snapshot.clone());
        self.awake.stir();
        let mut cuts: Vec<Cut> = Vec::new();
        for peer in &snapshot.peers {
            let cut = peer.link.rejudge(snapshot.serial, &snapshot.ends(peer), now);
            if !cut.is_empty() {
                forget_queued(&snapshot, peer, now);
            }
            cuts.extend(cut);
        }
        for link in &gone {
            cuts.extend(cut_all(&snapshot, link, now));
            link.forget();
        }
        self.nudge(&snapshot, &moved, now);
        let published = Published {
            frames: frames_of(&cuts).collect(),
            cut: cuts.len(),
            gone: gone.iter().map(|link| link.node).collect(),
            conflicts: conflicts.iter().map(ToString::to_string).collect(),
        };
        control.graveyard.extend(gone);
        published
    }

    /// Peers at a new place: their sessions are due at once, so that the next tick tries it.
    fn nudge(&self, snapshot: &Snapshot<E>, moved: &[NodeId], now: Now) {
        for peer in moved.iter().filter_map(|node| snapshot.peer(node)) {
            peer.lanes.iter().for_each(|lane| lane.due(now));
        }
    }

    /// Live flows as bytes for the next agent, for each peer with some, or with a session.
    pub fn snapshot_flows(&self, now: Now) -> BTreeMap<NodeId, Vec<u8>> {
        let mut nodes = self.awake.nodes();
        let snapshot = self.snapshot.load();
        nodes.extend(self.speaking(&snapshot).map(|peer| peer.node));
        let nodes: BTreeSet<NodeId> = nodes.into_iter().collect();
        let peers = nodes.iter().filter_map(|node| snapshot.peer(node));
        peers.map(|peer| (peer.node, peer.link.snapshot(now))).collect()
    }

    /// Peers with a session, each once.
    pub(super) fn speaking<'a>(
        &self,
        snapshot: &'a Snapshot<E>,
    ) -> impl Iterator<Item = &'a Peer<E>> + use<'a, E> {
        let turns = self.agenda.turns();
        let slots =
            turns.iter().filter_map(|turn| snapshot.place_of_index(turn.index)).map(|place| place.slot);
        let slots: BTreeSet<usize> = slots.collect();
        slots.into_iter().filter_map(|slot| snapshot.peers.get(slot))
    }

    /// May [`DataPlane::snapshot_flows`] give something else than it would have at the last call of this? Ask first.
    pub fn take_stirred(&self) -> bool {
        self.awake.take_stirred()
    }

    /// Takes over flows of an earlier agent, judging each again. Call after [`DataPlane::publish`], before the first
    /// packet. Returns what was not taken over, as text.
    pub fn restore_flows(&self, flows: &BTreeMap<NodeId, Vec<u8>>, now: Now) -> (Published, Vec<String>) {
        let ids = self.control.lock().registry.ids();
        let snapshot = self.snapshot.load_full();
        let (mut cuts, mut faults) = (Vec::new(), Vec::new());
        for (node, bytes) in flows {
            let Some(peer) = snapshot.peer(node) else {
                faults.push(format!("flows with {node} are not taken over: it is not a peer any more"));
                continue;
            };
            let ends = snapshot.ends(peer);
            match FlowTable::restore(bytes, *node, ids.clone(), Limits::default(), &ends, now) {
                Ok((table, cut)) => {
                    peer.link.restore(table, snapshot.serial);
                    cuts.extend(cut);
                }
                Err(error) => faults.push(error.to_string()),
            }
        }
        let cut = cuts.len();
        (Published { frames: frames_of(&cuts).collect(), cut, ..Published::default() }, faults)
    }

    /// Upper bound of the greatest handshake timestamp sent, nanoseconds since 1970. Keep it on disk: if the clock
    /// is behind it at start, rotate the WireGuard keys.
    pub fn greatest_sent(&self) -> u64 {
        self.control.lock().registry.greatest_sent()
    }

    pub fn stamps(&self) -> Stamps {
        self.control.lock().registry.stamps()
    }

    /// Stamps of an earlier agent; never lowers one.
    pub fn restore_stamps(&self, stamps: &Stamps) {
        self.control.lock().registry.restore_stamps(stamps);
    }

    /// Begins a handshake with a peer now (for `ping`, `path`, or a new endpoint). False if it is no peer, or nobody
    /// knows where it is.
    pub fn initiate(&self, peer: NodeId, out: &mut super::Outbox, now: Now) -> bool {
        let snapshot = self.snapshot.load();
        let Some(peer) = snapshot.peer(&peer) else { return false };
        let (way, spares) = self.ways(peer, now);
        let Some(way) = way else { return false };
        // On every lane: a peer that still seals for an agent before this one does so on the lane it sends on.
        let begin = |lane: &Arc<Lane<E>>, out: &mut super::Outbox| {
            lane.with(&snapshot.engine, Use::Create, now, |session| {
                session.initiate(&mut out.to_all(way.clone(), spares.clone()), now);
            })
        };
        peer.lanes.iter().filter(|lane| begin(lane, out).is_some()).count() > 0
    }
}

/// Nothing is allowed with a node that is no peer.
fn cut_all<E: Engine>(snapshot: &Snapshot<E>, link: &Link, now: Now) -> Vec<Cut> {
    let none = Rules::default();
    let peer = Addresses { v4: None, v6: std::net::Ipv6Addr::UNSPECIFIED };
    // Another edition than any before, so that every flow is judged, whatever the numbers are.
    let edition = Edition { revision: snapshot.edition.revision.wrapping_add(1), ..snapshot.edition };
    let ends = Ends {
        mine: &snapshot.mine,
        peer: &peer,
        outbound: &none,
        inbound: &none,
        beyond: &NOTHING,
        hosts: &NOTHING,
        edition,
    };
    link.rejudge(snapshot.serial, &ends, now)
}
