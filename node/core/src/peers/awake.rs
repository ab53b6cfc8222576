//! Which peers have flows, or something about flows that is not told or forgotten yet. All others sleep, and what is
//! done now and then for every peer with flows (timers, records, the file for the next agent) is not done for them.
//!
//! A link notes itself under the lock of its flows, and is taken out under the same lock: so none is forgotten.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use warren_wire::id::NodeId;

#[derive(Debug, Default)]
pub struct Awake {
    nodes: Mutex<BTreeSet<NodeId>>,
    stirred: AtomicBool,
}

impl Awake {
    pub(super) fn note(&self, node: NodeId) {
        self.nodes.lock().insert(node);
        self.stir();
    }

    pub(super) fn forget(&self, node: &NodeId) {
        self.nodes.lock().remove(node);
        self.stir();
    }

    /// Something happened that the next agent should know.
    pub fn stir(&self) {
        self.stirred.store(true, Ordering::Release);
    }

    /// Did anything happen since the last call?
    pub fn take_stirred(&self) -> bool {
        self.stirred.swap(false, Ordering::AcqRel)
    }

    pub(super) fn knows(&self, node: &NodeId) -> bool {
        self.nodes.lock().contains(node)
    }

    /// In order.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.nodes.lock().iter().copied().collect()
    }
}
