//! The flows between this node and one peer. One table per peer, so that no two peers share a lock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use warren_config::filter::Rules;
use warren_wire::flow::FlowRecord;
use warren_wire::id::{Epoch, Generation, NodeId, Revision};
use warren_wire::trust::Member;

use crate::clock::{Mono, Now};

/// What one call to the judge stands for: packets on the wire and their IP bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub packets: u64,
    pub bytes: u64,
}

/// Which state of the world a verdict was given in. Flows of another edition are judged again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edition {
    pub epoch: Epoch,
    pub revision: Revision,
    pub generation: Generation,
}

/// The overlay addresses of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Ipv6Addr,
}

impl Addresses {
    pub fn of(member: &Member) -> Addresses {
        Addresses { v4: member.v4, v6: member.v6 }
    }
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4 == Some(v4),
            IpAddr::V6(v6) => self.v6 == v6,
        }
    }
}

/// Everything the judge must know about this node and one peer at one edition. Borrowed from a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    pub mine: &'a Addresses,
    pub peer: &'a Addresses,
    /// What this node may open at the peer.
    pub outbound: &'a Rules,
    /// What the peer may open here.
    pub inbound: &'a Rules,
    pub edition: Edition,
}

/// Gives every flow of this agent's life a number of its own, over all peers and workers.
#[derive(Debug, Default)]
pub struct FlowIds(AtomicU64);

/// How much one peer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub flows: usize,
    /// Fragmented packets under way, each direction.
    pub fragments: usize,
    /// Kinds of refused tries merged in one window.
    pub refusals: usize,
    /// Records of ended flows kept until they are drained.
    pub records: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { flows: 16_384, fragments: 256, refusals: 1024, records: 32_768 }
    }
}

/// A flow that was cut: [`Cut::packets`] tells the local host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {}

impl Cut {
    /// Packets for the local host as if they came from the peer: RST with the exact next sequence number, or ICMP
    /// administratively prohibited.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        todo!()
    }
}

/// Flow records of one window, and how many could not be kept.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    pub records: Vec<FlowRecord>,
    pub lost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the flow snapshot is not whole: {0}; flows are not taken over")]
    Damaged(&'static str),
    #[error("the flow snapshot has version {found}, this agent reads {known}; flows are not taken over")]
    Version { found: u16, known: u16 },
    #[error("the flow snapshot belongs to peer {found}, not to {wanted}")]
    OtherPeer { found: NodeId, wanted: NodeId },
}

#[derive(Debug)]
pub struct FlowTable {}

impl FlowTable {
    pub fn new(_peer: NodeId, _ids: Arc<FlowIds>, _limits: Limits) -> FlowTable {
        todo!()
    }
    /// Live flows.
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Judges every live flow again, at a new edition. Those no longer allowed are removed and returned.
    pub fn rejudge(&mut self, _ends: &Ends<'_>, _now: Now) -> Vec<Cut> {
        todo!()
    }
    /// Removes what is over; a flow whose `until` has come is judged again.
    pub fn handle_timeout(&mut self, _ends: &Ends<'_>, _now: Now) -> Vec<Cut> {
        todo!()
    }
    /// When [`FlowTable::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        todo!()
    }
    /// Flows that the judge itself cut since the last call, when a packet met rules of a newer edition.
    pub fn take_cuts(&mut self) -> Vec<Cut> {
        todo!()
    }
    /// Records of flows that had traffic or ended, and of refused tries, since the last call. Call at least every second.
    pub fn drain_records(&mut self) -> Drained {
        todo!()
    }
    /// The live flows as bytes for the next agent on this machine.
    pub fn snapshot(&self, _now: Now) -> Vec<u8> {
        todo!()
    }
    /// A table with the flows of `bytes` that `ends` still allows; the others are cut.
    pub fn restore(
        _bytes: &[u8],
        _peer: NodeId,
        _ids: Arc<FlowIds>,
        _limits: Limits,
        _ends: &Ends<'_>,
        _now: Now,
    ) -> Result<(FlowTable, Vec<Cut>), SnapshotError> {
        todo!()
    }
}
