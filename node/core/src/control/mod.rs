//! The state machine between the coordinator's frames and the data plane: decides what is true.
//!
//! ```text
//! frames ─▶ session (who speaks, when to try again) ─▶ belief (what may be believed) ─▶ Publication ─▶ data plane, names
//!                                                           └▶ stored (last good view, greatest numbers seen)
//! ```
//!
//! What cannot be verified changes nothing: the last good view stays, the coordinator hears a complaint, the log a
//! notice. Nothing the coordinator says is believed without a signature; what only it can sign (freshness, view heads)
//! can add nobody and widen nothing.
//!
//! Call any `handle_*`, then drain [`Control::poll_output`], then ask [`Control::poll_timeout`].

pub mod clock;
pub mod enrolment;
pub mod keys;
pub mod output;
pub mod reconnect;

use std::net::SocketAddr;
use std::sync::Arc;

use warren_wire::flow::FlowRecord;
use warren_wire::frame::{FrameError, ToNode};
use warren_wire::id::{Epoch, Generation, NodeId, Revision};
use warren_wire::signed::Signed;
use warren_wire::trust::{Record, Trust};

use crate::clock::{Mono, Now};

pub use clock::SignedClock;
pub use output::{CutReason, Notice, Output, Publication, Severity, StartError, Status, Why};

/// Everything a control half is born with. The roots come from enrolment, never from the coordinator's say-so.
#[derive(Clone, Debug)]
pub struct Config {
    pub trust: Trust,
    /// The charter this node was enrolled with, or a newer stored one.
    pub charter: Signed,
    /// This node's own record as enrolled, with its newest keys.
    pub record: Record,
    /// How many coordinator addresses there are; [`Output::Connect`] names one by index.
    pub coordinators: usize,
    /// Program and version, for the coordinator's list.
    pub agent: String,
    /// Random per agent start: tells flow sequences of two starts apart and seeds the back-off's jitter.
    pub boot: u64,
    /// Keep the last good view when freshness has run out, instead of cutting all peers.
    pub hold: bool,
}

/// One node's control half.
#[derive(Debug)]
pub struct Control {
    config: Config,
}

impl Control {
    /// Checks the stored identity against its roots.
    pub fn new(_config: Config) -> Result<Control, StartError> {
        todo!()
    }
    /// The agent starts. `stored` is what [`Output::Store`] last wrote, `None` if there is no file. `host_ms` is the
    /// host's wall clock (milliseconds since 1970): it may close things until signed time is known, never open them.
    pub fn handle_started(&mut self, _stored: Option<&[u8]>, _host_ms: u64, _now: Mono) {
        todo!()
    }
    /// The control channel named by the last [`Output::Connect`] stands and its server key is the pinned one.
    pub fn handle_connected(&mut self, _now: Mono) {
        todo!()
    }
    /// It could not be made, or was lost. A state, not an error.
    pub fn handle_disconnected(&mut self, _why: &str, _now: Mono) {
        todo!()
    }
    pub fn handle_frame(&mut self, _frame: ToNode, _now: Mono) {
        todo!()
    }
    /// Bytes that are no frame: the channel is given up.
    pub fn handle_unreadable(&mut self, _error: &FrameError, _now: Mono) {
        todo!()
    }
    /// `addr:port` of the WireGuard socket on each local address, and its port.
    pub fn handle_local_endpoints(&mut self, _local: Vec<SocketAddr>, _port: u16) {
        todo!()
    }
    /// The data plane enforces this publication now.
    pub fn handle_published(&mut self, _epoch: Epoch, _revision: Revision, _generation: Generation) {
        todo!()
    }
    pub fn handle_flow_records(&mut self, _records: Vec<FlowRecord>, _now: Mono) {
        todo!()
    }
    /// Records the data plane itself had to drop: counted as lost.
    pub fn handle_flow_losses(&mut self, _lost: u64) {
        todo!()
    }
    /// New WireGuard keys of this node ([`keys::sign`]): told to the coordinator until its view shows them.
    pub fn handle_new_keys(&mut self, _keys: Signed, _now: Mono) -> Result<(), StartError> {
        todo!()
    }
    /// The host's wall clock, now and then (once a minute): only ever reported.
    pub fn handle_host_clock(&mut self, _host_ms: u64, _now: Mono) {
        todo!()
    }
    pub fn handle_timeout(&mut self, _now: Mono) {
        todo!()
    }
    /// The next thing to do, in order, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }
    /// When [`Control::handle_timeout`] is wanted, and why.
    pub fn poll_timeout(&self) -> Option<(Mono, Why)> {
        todo!()
    }
    pub fn id(&self) -> NodeId {
        todo!()
    }
    /// Signed time at `now`.
    pub fn now(&self, _now: Mono) -> Now {
        todo!()
    }
    /// The last publication; none before [`Control::handle_started`].
    pub fn publication(&self) -> Option<Arc<Publication>> {
        todo!()
    }
    /// The record with this node's newest keys, to be kept with the identity.
    pub fn record(&self) -> &Record {
        &self.config.record
    }
    pub fn status(&self, _now: Mono) -> Status {
        todo!()
    }
}
