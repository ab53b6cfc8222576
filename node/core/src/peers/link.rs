//! What belongs to a node as long as it is a peer, whatever its keys and rules are at the moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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
    /// The largest inner packet that fits the underlay's path to this peer; `usize::MAX` while nothing is known.
    mtu: AtomicUsize,
    sent: Meter,
    received: Meter,
}

impl Link {
    pub fn new(node: NodeId, ids: Arc<FlowIds>, candidates: Vec<SocketAddr>, now: Now) -> Link {
        Link {
            node,
            flows: Mutex::new(FlowTable::new(node, ids, Limits::default())),
            endpoints: Mutex::new(Endpoints::new(candidates, now.mono)),
            mtu: AtomicUsize::new(usize::MAX),
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
        self.forget_mtu_if(endpoints.current() != before)
    }
    /// An authenticated packet came from there. True if the peer has moved.
    pub fn proven(&self, from: SocketAddr, now: Now) -> bool {
        let moved = self.endpoints.lock().handle_authenticated(from, now.mono);
        self.forget_mtu_if(moved)
    }
    /// Handshakes stay unanswered: try the next place.
    pub fn unanswered(&self, now: Now) {
        let mut endpoints = self.endpoints.lock();
        let before = endpoints.current();
        endpoints.handle_unanswered(now.mono);
        self.forget_mtu_if(endpoints.current() != before);
    }
    /// The largest inner packet for this peer, as far as is known.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }
    pub fn set_mtu(&self, mtu: usize) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }
    /// Another path has another MTU.
    fn forget_mtu_if(&self, moved: bool) -> bool {
        if moved {
            self.set_mtu(usize::MAX);
        }
        moved
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
