//! What is seen: flow records, peers, counters, the newest drops.

use std::collections::BTreeMap;

use warren_wire::flow::{Amount, FlowPath, FlowRecord};

use super::{DataPlane, DropNote, PeerStatus};
use crate::clock::Now;
use crate::ledger::Ledger;
use crate::packet::Tuple;
use crate::peers::{Peer, Snapshot, Use};
use crate::session::{Engine, Session as _, Stats};
use crate::workload::Question;

impl<E: Engine> DataPlane<E> {
    /// Records since the last call, denied tries included, and what had no room. Call every second.
    pub fn drain_flows(&self, _now: Now) -> (Vec<FlowRecord>, Amount) {
        let mut control = self.control.lock();
        let dead = std::mem::take(&mut control.graveyard);
        let (mut records, mut lost) = (Vec::new(), Amount::default());
        let awake = self.awake.nodes();
        for link in awake.iter().filter_map(|node| control.registry.link(node)).chain(&dead) {
            let drained = link.drain();
            let relayed = link.endpoint().is_some_and(|place| !place.is_direct());
            records.extend(drained.records.into_iter().map(|record| travelled(record, relayed)));
            lost.add(drained.lost);
        }
        let drained = self.nobody.lock().drain_records();
        records.extend(drained.records.into_iter().map(|r| FlowRecord { peer: Vec::new(), ..r }));
        lost.add(drained.lost);
        (records, lost)
    }

    /// What was judged so far. Read after [`DataPlane::drain_flows`], it covers all that was drained.
    pub fn offered(&self) -> Amount {
        self.ledger.read()
    }

    /// Flows that begin are told there, as far as there is room.
    pub fn tell_openings_to(&self, listener: std::sync::mpsc::SyncSender<Question>) {
        self.control.lock().registry.ids().openings().tell_to(listener);
    }

    /// Where it is counted.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn status(&self, now: Now) -> Vec<PeerStatus> {
        let snapshot = self.snapshot.load();
        snapshot.peers.iter().map(|peer| status_of(&snapshot, peer, now)).collect()
    }

    /// Every reason for a drop and every event, by stable kebab-case name.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.counters.read()
    }

    /// The newest drops, oldest first.
    pub fn explain_last_drops(&self) -> Vec<DropNote> {
        let text = |tuple: Option<Tuple>| tuple.map_or_else(|| "unreadable packet".to_owned(), describe);
        self.counters
            .notes()
            .into_iter()
            .map(|n| DropNote {
                at: n.at,
                count: n.count,
                reason: n.reason,
                outbound: n.outbound,
                peer: n.peer,
                tuple: n.tuple,
                what: text(n.tuple),
            })
            .collect()
    }
}

/// A record that says how its flow travelled, if it did.
fn travelled(record: FlowRecord, relayed: bool) -> FlowRecord {
    let direct = record.path == FlowPath::Direct as i32;
    let path = if relayed && direct { FlowPath::Relayed as i32 } else { record.path };
    FlowRecord { path, ..record }
}

pub(super) fn status_of<E: Engine>(snapshot: &Snapshot<E>, peer: &Peer<E>, now: Now) -> PeerStatus {
    let stats: Vec<Stats> = peer
        .lanes
        .iter()
        .filter_map(|lane| lane.with(&snapshot.engine, Use::Existing, now, |session| session.stats(now)))
        .collect();
    PeerStatus {
        node: peer.node,
        name: peer.name.clone(),
        endpoint: peer.link.endpoint(),
        last_handshake: stats.iter().filter_map(|s| s.handshake_age).min(),
        handshake_pending: stats.iter().any(|s| s.pending),
        unanswered: stats.iter().map(|s| s.unanswered).max().unwrap_or(0),
        round_trip: stats.iter().filter(|s| s.handshake_age.is_some()).filter_map(|s| s.round_trip).min(),
        rx_bytes: peer.link.received().bytes,
        tx_bytes: peer.link.sent().bytes,
        lanes: peer.lanes.len(),
        flows: peer.link.live_flows(),
    }
}

fn describe(tuple: Tuple) -> String {
    let Tuple { protocol, src, dst, sport, dport } = tuple;
    match (sport, dport) {
        (0, 0) => format!("{protocol:?} {src} -> {dst}"),
        _ => format!(
            "{protocol:?} {} -> {}",
            std::net::SocketAddr::new(src, sport),
            std::net::SocketAddr::new(dst, dport)
        ),
    }
}
