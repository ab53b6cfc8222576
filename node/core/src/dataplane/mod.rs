//! The packet path without a kernel: batches of bytes go in, batches of bytes come out.
//!
//! Workers are threads; each owns an [`EgressWorker`] or an [`IngressWorker`] and calls [`DataPlane`], which is
//! shared. A call loads the snapshot of peers once ([`crate::peers::Snapshot`]), takes one lock per peer and batch,
//! allocates nothing per packet and never waits for the control side.
//!
//! Out: frame from the TUN → classify once → peer by destination → judge once → split → seal into the worker's send
//! buffer, across reads, until the batch is full or [`DataPlane::flush`]. In: datagrams → lane by receiver index →
//! open → source owned by that very peer → judge once per run of one flow → merge → frames for the TUN.
//!
//! How a worker uses it:
//!
//! ```text
//! egress:   loop { read frame; plane.egress(&mut w, frame, now); write w.tun_frames(); send w.out.transmits(); w.sent() }
//!           when the TUN is empty: plane.flush(&mut w); send; w.sent()
//! ingress:  loop { recv; plane.ingress(&mut w, from, bytes, stride, now); write w.frames(); send w.out.transmits(); w.sent() }
//! control:  loop { plane.tick(&mut out, now) -> Wake; send out.transmits(); out.sent(); sleep until Wake.at }
//! ```

pub mod outbox;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use warren_wire::flow::FlowRecord;
use warren_wire::id::{NodeId, WgKey};

pub use outbox::{Outbox, Transmit};

use crate::assembly::Assembly;
use crate::clock::{Mono, Now};
use crate::session::{Engine, Stamp};

/// A vnet header of 10 bytes stands in front of every frame, both ways.
pub const VNET_LEN: usize = 10;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// MTU of the TUN; plaintext is padded to 16 bytes but never over it.
    pub mtu: usize,
    /// What the TUN accepts: merged TCP (TSO) and UDP (USO) frames.
    pub tso: bool,
    pub uso: bool,
}

/// State of one egress thread. Allocated once.
#[derive(Debug)]
pub struct EgressWorker {
    /// Sealed datagrams. Send `out.transmits()`, then call [`EgressWorker::sent`].
    pub out: Outbox,
    replies: Vec<Vec<u8>>,
}

impl EgressWorker {
    pub fn new(_settings: &Settings) -> EgressWorker {
        EgressWorker { out: Outbox::new(), replies: Vec::new() }
    }
    /// Whole frames (vnet header and packet) for the TUN: answers to the local host for refused packets.
    pub fn tun_frames(&self) -> impl Iterator<Item = &[u8]> {
        self.replies.iter().map(Vec::as_slice)
    }
    pub fn sent(&mut self) {
        self.out.sent();
        self.replies.clear();
    }
}

/// One write to the TUN: `writev` of the header and the parts in order.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub vnet: &'a [u8; VNET_LEN],
    arena: &'a [u8],
    pieces: &'a [std::ops::Range<usize>],
}

impl<'a> Frame<'a> {
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let arena = self.arena;
        self.pieces.iter().map(move |r| arena.get(r.clone()).unwrap_or_default())
    }
}

/// State of one ingress thread. Allocated once.
#[derive(Debug)]
pub struct IngressWorker {
    /// Handshake answers, cookies and packets that waited for a handshake.
    pub out: Outbox,
}

impl IngressWorker {
    pub fn new(_settings: &Settings) -> IngressWorker {
        IngressWorker { out: Outbox::new() }
    }
    /// Frames for the TUN, in order.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        std::iter::empty()
    }
    /// The TUN refused an offload (EINVAL, EIO): do not use it again.
    pub fn degrade(&mut self, _tso: bool, _uso: bool) {}
    /// Everything was written and sent.
    pub fn sent(&mut self) {
        self.out.sent();
    }
}

/// What [`DataPlane::publish`] did.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Whole frames for the TUN: RST and ICMP errors that tell local applications about cut flows.
    pub frames: Vec<Vec<u8>>,
    pub cut: usize,
    pub gone: Vec<NodeId>,
    /// Addresses or keys that two members claim: nobody gets them.
    pub conflicts: Vec<String>,
}

/// When to call [`DataPlane::tick`] again, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    pub at: Mono,
    pub why: &'static str,
}

#[derive(Clone, Debug)]
pub struct PeerStatus {
    pub node: NodeId,
    pub name: String,
    pub endpoint: Option<SocketAddr>,
    pub last_handshake: Option<Duration>,
    pub handshake_pending: bool,
    /// Bytes of inner packets.
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub lanes: usize,
    pub flows: usize,
}

/// One dropped packet, kept for `why` and `doctor`.
#[derive(Clone, Debug)]
pub struct DropNote {
    pub at: Now,
    pub reason: &'static str,
    pub outbound: bool,
    pub peer: Option<NodeId>,
    /// Five-tuple as text, if it was readable.
    pub what: String,
}

/// Greatest handshake timestamps received, by (my key, peer key): kept on disk so that a restart does not reopen
/// old initiations.
pub type Stamps = BTreeMap<(WgKey, WgKey), Stamp>;

/// The shared half of the packet path. All methods take `&self`.
pub struct DataPlane<E: Engine> {
    engine: PhantomData<E>,
}

impl<E: Engine> DataPlane<E> {
    /// `seed` is 32 random bytes: session indices, jitter and cookies come from it.
    pub fn new(_engine: E, _settings: Settings, _seed: [u8; 32], _now: Now) -> DataPlane<E> {
        todo!()
    }
    /// Other keys (rotation). Takes effect with the next [`DataPlane::publish`]; sessions of keys that are still
    /// there go on.
    pub fn replace_engine(&self, _engine: E) {
        todo!()
    }
    /// From now on this is the world: peers that are gone are forgotten, every live flow is judged again.
    pub fn publish(&self, _assembly: &Assembly, _now: Now) -> Published {
        todo!()
    }
    /// No peers at all (freshness ran out, revoked): everything is cut.
    pub fn close(&self, _now: Now) -> Published {
        todo!()
    }
    /// One frame from the TUN: vnet header and packet. Uses up the frame's bytes.
    pub fn egress(&self, _worker: &mut EgressWorker, _frame: &mut [u8], _now: Now) {
        todo!()
    }
    /// The TUN is empty: closes the open batch.
    pub fn flush(&self, worker: &mut EgressWorker) {
        worker.out.flush();
    }
    /// Datagrams of `stride` bytes (the last may be shorter) that arrived together from one source.
    pub fn ingress(
        &self,
        _worker: &mut IngressWorker,
        _from: SocketAddr,
        _bytes: &[u8],
        _stride: usize,
        _now: Now,
    ) {
        todo!()
    }
    /// Timers of sessions, flows and tables. One caller at a time.
    pub fn tick(&self, _out: &mut Outbox, _now: Now) -> Wake {
        todo!()
    }
    /// Frames for the TUN that [`DataPlane::tick`] and the workers left (flows cut by time). Whole frames.
    pub fn take_frames(&self) -> Vec<Vec<u8>> {
        todo!()
    }
    /// Begins a handshake with a peer now (for `ping`, `path`, or a new endpoint).
    pub fn initiate(&self, _peer: NodeId, _out: &mut Outbox, _now: Now) -> bool {
        todo!()
    }
    /// Records since the last call, denied tries included; `lost` counts those that had no room. Call every second.
    pub fn drain_flows(&self, _now: Now) -> (Vec<FlowRecord>, u64) {
        todo!()
    }
    pub fn status(&self, _now: Now) -> Vec<PeerStatus> {
        todo!()
    }
    /// Every reason for a drop and every event, by stable kebab-case name.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        todo!()
    }
    /// The newest drops, oldest first.
    pub fn explain_last_drops(&self) -> Vec<DropNote> {
        todo!()
    }
    /// Live flows per peer as bytes for the next agent.
    pub fn snapshot_flows(&self, _now: Now) -> BTreeMap<NodeId, Vec<u8>> {
        todo!()
    }
    /// Takes over flows of an earlier agent, judging each again. Call after [`DataPlane::publish`], before the first
    /// packet. Returns what was not taken over, as text.
    pub fn restore_flows(&self, _flows: &BTreeMap<NodeId, Vec<u8>>, _now: Now) -> (Published, Vec<String>) {
        todo!()
    }
    /// Upper bound of the greatest handshake timestamp sent, nanoseconds since 1970. Keep it on disk: if the clock
    /// is behind it at start, rotate the WireGuard keys.
    pub fn greatest_sent(&self) -> u64 {
        todo!()
    }
    pub fn stamps(&self) -> Stamps {
        todo!()
    }
    /// Stamps of an earlier agent; never lowers one.
    pub fn restore_stamps(&self, _stamps: &Stamps) {
        todo!()
    }
}
