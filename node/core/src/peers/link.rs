//! What belongs to a node as long as it is a peer, whatever its keys and rules are at the moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use warren_wire::id::NodeId;

use crate::clock::Now;
use crate::conntrack::{FlowIds, FlowTable, Limits};
use crate::path::Endpoints;

/// Inner packets and bytes since this peer is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Meter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    fn read(&self) -> Traffic {
        Traffic { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

#[derive(Debug)]
pub struct Link {
    pub node: NodeId,
    pub flows: Mutex<FlowTable>,
    endpoints: Mutex<Endpoints>,
    sent: Meter,
    received: Meter,
}

impl Link {
    pub fn new(node: NodeId, ids: Arc<FlowIds>, candidates: Vec<SocketAddr>, now: Now) -> Link {
        Link {
            node,
            flows: Mutex::new(FlowTable::new(node, ids, Limits::default())),
            endpoints: Mutex::new(Endpoints::new(candidates, now.mono)),
            sent: Meter::default(),
            received: Meter::default(),
        }
    }

    /// The flows, for one who judges by the snapshot `serial`. `None` if they were judged by a newer one already: then
    /// this one is of the past, and what it allows may have been withdrawn.
    pub fn flows_at(&self, serial: u64) -> Option<MutexGuard<'_, FlowTable>> {
        let mut flows = self.flows.lock();
        if flows.judged_by > serial {
            return None;
        }
        flows.judged_by = serial;
        Some(flows)
    }

    /// Where to send now.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoints.lock().current()
    }
    /// New hints. True if the place to send to changed.
    pub fn set_candidates(&self, candidates: &[SocketAddr], now: Now) -> bool {
        let mut endpoints = self.endpoints.lock();
        let before = endpoints.current();
        if endpoints.candidates() != candidates {
            endpoints.set_candidates(candidates.to_vec(), now.mono);
        }
        endpoints.current() != before
    }
    /// An authenticated packet came from there. True if the peer has moved.
    pub fn proven(&self, from: SocketAddr, now: Now) -> bool {
        self.endpoints.lock().handle_authenticated(from, now.mono)
    }
    /// Handshakes stay unanswered: try the next place.
    pub fn unanswered(&self, now: Now) {
        self.endpoints.lock().handle_unanswered(now.mono);
    }
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints.lock().clone()
    }

    pub fn count_sent(&self, packets: u64, bytes: u64) {
        self.sent.add(packets, bytes);
    }
    pub fn count_received(&self, packets: u64, bytes: u64) {
        self.received.add(packets, bytes);
    }
    pub fn sent(&self) -> Traffic {
        self.sent.read()
    }
    pub fn received(&self) -> Traffic {
        self.received.read()
    }
}
