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

mod aim;
mod counters;
mod egress;
mod gate;
mod gateways;
mod hearsay;
mod ingress;
mod knock;
mod narrow;
mod notes;
pub mod outbox;
pub mod paths;
mod publish;
mod relayed;
mod report;
mod rest;
mod tick;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use warren_wire::id::{NodeId, WgKey};

pub use counters::Event;
pub use egress::EgressWorker;
pub use gateways::SubnetWay;
pub use ingress::{Frame, IngressWorker};
pub use narrow::inner_mtu;
pub use outbox::{Outbox, Transmit};
pub use rest::Rest;

use crate::berth::Berths;
use crate::clock::{Mono, Now};
use crate::conntrack::{Cut, FlowTable, Limits};
use crate::ledger::Ledger;
use crate::packet::Tuple;
use crate::packet::vnet::Vnet;
use crate::path::Place;
use crate::peers::{Agenda, Awake, Link, Peer, Registry, Snapshot, Use};
use crate::session::{Engine, Session as _, Stamp};

/// A vnet header stands in front of every frame, both ways.
pub const VNET_LEN: usize = crate::packet::vnet::VNET_LEN;
/// Frames for the local host kept until [`DataPlane::take_frames`].
const MAX_FRAMES: usize = 4096;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// MTU of the TUN; plaintext is padded to 16 bytes but never over it.
    pub mtu: usize,
    /// What the TUN accepts: merged TCP (TSO) and UDP (USO) frames.
    pub tso: bool,
    pub uso: bool,
    /// Packet workers: each seals on a lane of its own, if there are enough, and receives what is sealed to it.
    pub workers: usize,
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
    pub endpoint: Option<Place>,
    pub last_handshake: Option<Duration>,
    pub handshake_pending: bool,
    /// Initiations sent since the last answer.
    pub unanswered: u32,
    /// Of the quickest of the last handshakes that this node began.
    pub round_trip: Option<Duration>,
    /// Bytes of inner packets.
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub lanes: usize,
    pub flows: usize,
}

/// Packets of one kind that were dropped, kept for `why` and `doctor`. They differ in nothing but the sender's port.
#[derive(Clone, Debug)]
pub struct DropNote {
    /// When the last of them was dropped.
    pub at: Now,
    pub count: u64,
    pub reason: &'static str,
    pub outbound: bool,
    pub peer: Option<NodeId>,
    /// Of the last one, if it was readable.
    pub tuple: Option<Tuple>,
    /// The same as text.
    pub what: String,
}

/// Greatest handshake timestamps received, by (my key, peer key): kept on disk so that a restart does not reopen
/// old initiations.
pub type Stamps = BTreeMap<(WgKey, WgKey), Stamp>;

/// The control side's half, behind one lock that no packet takes.
struct Control<E: Engine> {
    registry: Registry<E>,
    engine: Arc<E>,
    /// Links of peers that are gone, until their last records were drained.
    graveyard: Vec<Arc<Link>>,
}

/// The shared half of the packet path. All methods take `&self`.
pub struct DataPlane<E: Engine> {
    settings: Settings,
    ledger: Ledger,
    snapshot: ArcSwap<Snapshot<E>>,
    control: Mutex<Control<E>>,
    agenda: Arc<Agenda>,
    awake: Arc<Awake>,
    gate: Mutex<gate::Gate>,
    counters: counters::Counters,
    /// Tries to reach what no peer owns: recorded, answered, never let through.
    nobody: Mutex<FlowTable>,
    frames: Mutex<VecDeque<Vec<u8>>>,
    next_sweep: Mutex<Mono>,
    /// Words of other agents that control has not taken yet.
    hearsay: Mutex<hearsay::Heard>,
    /// Peers that do not answer, until control asks the coordinator to tell them.
    waiting: Mutex<VecDeque<NodeId>>,
    shows: Mutex<knock::Shows>,
    aim: Mutex<aim::Aim>,
    /// This node's end at the relays.
    berths: ArcSwap<Berths>,
    told_paths: Mutex<paths::Told>,
}

impl<E: Engine> DataPlane<E> {
    /// `seed` is 32 random bytes: session indices, jitter and cookies come from it.
    pub fn new(engine: E, settings: Settings, seed: [u8; 32], now: Now) -> DataPlane<E> {
        DataPlane::with_ledger(engine, settings, Ledger::default(), seed, now)
    }

    /// As [`DataPlane::new`]; what is judged is counted in `ledger`.
    pub fn with_ledger(
        engine: E,
        settings: Settings,
        ledger: Ledger,
        seed: [u8; 32],
        now: Now,
    ) -> DataPlane<E> {
        let engine = Arc::new(engine);
        let registry = Registry::new(seed, settings.workers);
        let (agenda, awake) = (registry.agenda(), registry.awake());
        let nobody = FlowTable::new(NodeId([0; 16]), registry.ids(), Limits::default());
        DataPlane {
            settings,
            ledger,
            snapshot: ArcSwap::from_pointee(Snapshot::empty(&engine)),
            control: Mutex::new(Control { registry, engine, graveyard: Vec::new() }),
            agenda,
            awake,
            gate: Mutex::new(gate::Gate::new(seed)),
            counters: counters::Counters::new(),
            nobody: Mutex::new(nobody),
            frames: Mutex::new(VecDeque::new()),
            next_sweep: Mutex::new(now.mono),
            hearsay: Mutex::default(),
            waiting: Mutex::new(VecDeque::new()),
            shows: Mutex::default(),
            aim: Mutex::default(),
            berths: ArcSwap::default(),
            told_paths: Mutex::default(),
        }
    }

    /// Frames for the TUN about flows that ended outside a worker's call. Take them after every tick.
    pub fn take_frames(&self) -> Vec<Vec<u8>> {
        self.frames.lock().drain(..).collect()
    }

    /// After flows with `peer` were cut: tells the local host, and lets nothing leave that waits for a handshake.
    fn after_cuts(&self, snapshot: &Snapshot<E>, peer: &Peer<E>, cuts: &[Cut], now: Now) {
        if !cuts.is_empty() {
            forget_queued(snapshot, peer, now);
            self.keep_cuts(cuts);
        }
    }

    /// Keeps what tells the local host about cut flows.
    fn keep_cuts(&self, cuts: &[Cut]) {
        let mut frames = self.frames.lock();
        for frame in frames_of(cuts) {
            if frames.len() < MAX_FRAMES {
                frames.push_back(frame);
            }
        }
    }
}

/// Some of what waits belongs to a flow that was cut; which, only the library knows.
fn forget_queued<E: Engine>(snapshot: &Snapshot<E>, peer: &Peer<E>, now: Now) {
    for lane in &peer.lanes {
        lane.with(&snapshot.engine, Use::Existing, now, |session| session.forget_queued());
    }
}

fn frames_of(cuts: &[Cut]) -> impl Iterator<Item = Vec<u8>> {
    cuts.iter().flat_map(Cut::packets).map(|packet| frame_of(&packet))
}

/// A packet behind a plain vnet header.
pub(crate) fn frame_of(packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(VNET_LEN + packet.len());
    frame.extend_from_slice(&Vnet::PLAIN.write());
    frame.extend_from_slice(packet);
    frame
}
