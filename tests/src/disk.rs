//! What a host keeps when everything in memory is gone.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use warren_node_core::control::enrolment::{Membership, Secrets};
use warren_node_core::control::keys::LaneSecret;
use warren_node_core::dataplane::Stamps;
use warren_node_core::flows::Legacy;
use warren_node_core::ledger::Ledger;
use warren_node_core::session;
use warren_wire::flow::{Ended, FlowReport};
use warren_wire::id::{IdentityKey, NodeId};
use warren_wire::specimen::{SpecimenNode, seed_bytes};
use zeroize::Zeroizing;

/// The state directory of one node, and its directory under `/run`.
pub struct Disk {
    identity: [u8; 32],
    key: IdentityKey,
    lane: [u8; 32],
    nonce: [u8; 64],
    pub membership: Option<Membership>,
    /// What control last asked to be stored.
    pub view: Option<Vec<u8>>,
    pub stamps: Stamps,
    /// The greatest wall time a handshake under these keys may have shown, milliseconds since 1970.
    pub greatest_ms: u64,
    /// Live flows, written when the agent stops in order.
    pub flows: BTreeMap<NodeId, Vec<u8>>,
    /// What the present start has judged: memory that outlives the agent.
    pub ledger: Ledger,
    /// What earlier starts had judged when they ended, by their number.
    pub ended: Vec<Ended>,
    /// What an agent that stopped in order had not been acknowledged.
    pub legacy: Vec<u8>,
}

impl Disk {
    /// Keys that follow from the world's seed and the node's number.
    pub fn new(seed: u64, index: u64) -> Disk {
        let mut nonce = [0; 64];
        nonce[..32].copy_from_slice(&seed_bytes(seed, "sim nonce", index));
        let identity = seed_bytes(seed, "sim identity", index);
        Disk {
            identity,
            key: IdentityKey::of(&SigningKey::from_bytes(&identity)),
            lane: seed_bytes(seed, "sim lane", index),
            nonce,
            membership: None,
            view: None,
            stamps: Stamps::new(),
            greatest_ms: 0,
            flows: BTreeMap::new(),
            ledger: Ledger::default(),
            ended: Vec::new(),
            legacy: Vec::new(),
        }
    }

    /// The keys of a specimen node.
    pub fn of(node: &SpecimenNode) -> Disk {
        let mut disk = Disk::new(0, node.index);
        disk.identity = node.identity.to_bytes();
        disk.key = node.identity_key();
        disk.lane = node.lanes.first().copied().unwrap_or_default();
        disk
    }

    /// Reports for the next start; none if nothing was left.
    pub fn left(&self) -> Vec<FlowReport> {
        if self.legacy.is_empty() { Vec::new() } else { Legacy::read(&self.legacy).unwrap().reports }
    }

    pub fn identity(&self) -> SigningKey {
        SigningKey::from_bytes(&self.identity)
    }

    pub fn key(&self) -> IdentityKey {
        self.key
    }

    /// New WireGuard keys; the old ones are forgotten, and so is what they have shown.
    pub fn rotate(&mut self, serial: u64) {
        self.lane = seed_bytes(serial, "sim rotation", u64::from_be_bytes(*self.lane.first_chunk().unwrap()));
        self.nonce[32..40].copy_from_slice(&serial.to_be_bytes());
        self.greatest_ms = 0;
    }

    pub fn secrets(&self) -> Secrets {
        let lane = LaneSecret { private: Zeroizing::new(self.lane), nonce: self.nonce };
        Secrets { identity: self.identity(), lanes: vec![lane] }
    }

    pub fn lanes(&self) -> Vec<session::LaneSecret> {
        vec![session::LaneSecret::new(self.lane)]
    }
}
