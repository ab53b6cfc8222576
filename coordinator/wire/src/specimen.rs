//! Small consistent networks from seeds, FOR TESTS AND SIMULATIONS ONLY: every key follows from a number that anyone can
//! guess. The statements are real and pass [`crate::trust`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256, Sha512};
use warren_config::item::Root;
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::time::UnixTime;
use zeroize::Zeroizing;

use crate::flow::{FlowEnd, FlowPath, FlowRecord, FlowVerdict, address_bytes};
use crate::id::{Digest, IdentityKey, NetworkId, NodeId, WgKey};
use crate::issue::{self, LaneSecret, NameRule, Place, State, Terms};
use crate::revocation;
use crate::roll::Roll;
use crate::signed::Signed;
use crate::stored::StoredTrust;
use crate::token::Token;
use crate::trust::{Member, Network, Record, SignedPolicy, Trust, node_id};

/// The moment specimen networks are made at: 2026-01-01T00:00:00Z.
pub const EPOCH_TIME: UnixTime = UnixTime(1_767_225_600);
/// Specimen tokens live so long, seconds.
pub const TOKEN_LIFE: u64 = 86_400;

/// 32 bytes that follow from a seed and a purpose.
pub fn seed_bytes(seed: u64, purpose: &str, index: u64) -> [u8; 32] {
    let hash = Sha256::new().chain_update(b"specimen\0").chain_update(seed.to_be_bytes());
    hash.chain_update(index.to_be_bytes()).chain_update(purpose).finalize().into()
}

fn signing_key(seed: u64, purpose: &str, index: u64) -> SigningKey {
    SigningKey::from_bytes(&seed_bytes(seed, purpose, index))
}

/// A name of a specimen; `0` if the text is not a name.
pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|_| name("0"))
}

/// One window of an allowed TCP flow from port 40000 to port 8443, as its opener reports it: 2 packets and 100 bytes there,
/// 1 packet and 1,000 bytes back.
pub fn flow(src: IpAddr, dst: IpAddr, at_ms: u64) -> FlowRecord {
    FlowRecord {
        outbound: true,
        protocol: 6,
        src: address_bytes(src),
        src_port: 40_000,
        dst: address_bytes(dst),
        dst_port: 8443,
        verdict: FlowVerdict::Allow as i32,
        grant: "web-reads-orders".to_owned(),
        service: "orders".to_owned(),
        generation: 1,
        packets_out: 2,
        bytes_out: 100,
        packets_back: 1,
        bytes_back: 1_000,
        started_ms: at_ms,
        last_ms: at_ms,
        end: FlowEnd::Open as i32,
        count: 1,
        first: true,
        path: FlowPath::Direct as i32,
        ..FlowRecord::default()
    }
}

/// The same try, refused for want of a grant.
pub fn refused(src: IpAddr, dst: IpAddr, at_ms: u64) -> FlowRecord {
    FlowRecord {
        verdict: FlowVerdict::Deny as i32,
        grant: String::new(),
        service: String::new(),
        packets_out: 1,
        bytes_out: 60,
        packets_back: 0,
        bytes_back: 0,
        end: FlowEnd::Refused as i32,
        first: false,
        path: FlowPath::Unknown as i32,
        ..flow(src, dst, at_ms)
    }
}

/// A network with its authority and one coordinator.
pub struct SpecimenNetwork {
    pub seed: u64,
    pub authority: SigningKey,
    pub coordinator: SigningKey,
    pub trust: Trust,
    /// The checked charter.
    pub network: Network,
    pub charter: Signed,
}

/// A node with all its private keys.
pub struct SpecimenNode {
    pub index: u64,
    pub id: NodeId,
    pub identity: SigningKey,
    pub token: SigningKey,
    /// X25519 private keys, one per lane.
    pub lanes: Vec<[u8; 32]>,
    pub subject: Subject,
    pub record: Record,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl SpecimenNetwork {
    /// Ranges 100.64.0.0/10 and fd5a:…::/48, charter serial 1.
    pub fn new(seed: u64) -> SpecimenNetwork {
        let authority = signing_key(seed, "authority", 0);
        let coordinator = signing_key(seed, "coordinator", 0);
        let mut id = [0; 16];
        id.copy_from_slice(&seed_bytes(seed, "network", 0)[..16]);
        let id = NetworkId(id);
        let prefix = Ipv6Addr::new(0xfd5a, u16::from_be_bytes([id.0[0], id.0[1]]), 0x1000, 0, 0, 0, 0, 0);
        let network = Network {
            id,
            name: format!("specimen {seed}"),
            v4_range: ipnet::Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
            v6_prefix: ipnet::Ipv6Net::new_assert(prefix, 48),
            coordinators: vec![IdentityKey::of(&coordinator)],
            serial: 1,
        };
        let trust = Trust { network: id, authorities: vec![IdentityKey::of(&authority)] };
        let charter = issue::charter(&network, EPOCH_TIME, &authority);
        SpecimenNetwork { seed, authority, coordinator, trust, network, charter }
    }

    pub fn id(&self) -> &NetworkId {
        &self.network.id
    }

    /// Node `index` (below 2^20), one lane. Its addresses follow from its index.
    pub fn node(&self, index: u64, node_name: &str, tags: &[&str]) -> SpecimenNode {
        self.node_with_lanes(index, node_name, tags, 1)
    }

    pub fn node_with_lanes(&self, index: u64, node_name: &str, tags: &[&str], lanes: u64) -> SpecimenNode {
        let subject = Subject { name: name(node_name), tags: tags.iter().map(|tag| name(tag)).collect() };
        let identity = signing_key(self.seed, "identity", index);
        let token = signing_key(self.seed, "token", index);
        let lanes: Vec<[u8; 32]> =
            (0..lanes).map(|lane| seed_bytes(self.seed, &format!("lane {lane}"), index)).collect();
        let mut node = SpecimenNode {
            index,
            id: node_id(self.id(), &IdentityKey::of(&identity)),
            identity,
            token,
            lanes,
            v4: Ipv4Addr::from(u32::from(self.network.v4_range.network()) + 2 + index as u32),
            v6: Ipv6Addr::from(u128::from(self.network.v6_prefix.network()) + 2 + u128::from(index)),
            subject,
            record: Record::default(),
        };
        node.record = self.record(&node);
        node
    }

    fn record(&self, node: &SpecimenNode) -> Record {
        let token = IdentityKey::of(&node.token);
        Record {
            delegation: Some(issue::delegation(self.id(), &token, &self.terms(node), &self.authority)),
            admission: Some(issue::admission(self.id(), &node.place(), &node.token, &node.identity)),
            keys: Some(issue::sign_lane_keys(self.id(), &node.identity, 1, &node.lane_secrets(1))),
            ..Record::default()
        }
    }

    /// The terms of a node's own one-shot token.
    pub fn terms(&self, node: &SpecimenNode) -> Terms {
        Terms {
            names: NameRule::Exactly(node.subject.name.clone()),
            tags: node.subject.tags.clone(),
            uses: 1,
            created: EPOCH_TIME,
            not_after: EPOCH_TIME.plus(TOKEN_LIFE),
            lease: 0,
        }
    }

    /// The token a node of this network enrols with.
    pub fn token_for(&self, node: &SpecimenNode, coordinator_address: &str) -> Token {
        Token {
            network: *self.id(),
            authorities: self.trust.authorities.clone(),
            coordinators: vec![coordinator_address.to_owned()],
            coordinator_key: IdentityKey::of(&self.coordinator),
            seed: Zeroizing::new(node.token.to_bytes()),
        }
    }

    pub fn stored_trust(&self, coordinator_address: &str) -> StoredTrust {
        StoredTrust {
            network: *self.id(),
            authorities: self.trust.authorities.clone(),
            coordinators: vec![coordinator_address.to_owned()],
            coordinator_key: IdentityKey::of(&self.coordinator),
        }
    }

    /// A state of this network with nobody revoked.
    pub fn state(&self, revision: u64, policy: Option<&SignedPolicy>) -> State {
        State {
            epoch: 1,
            revision,
            generation: policy.map_or(0, |p| p.generation),
            policy_root: policy.map(|p| p.root),
            revocation_head: revocation::head(self.id(), []),
            roll: Roll::new(*self.id()).root(),
        }
    }

    pub fn policy_head(&self, generation: u64, root: Root, items: u64) -> Signed {
        let policy = SignedPolicy { epoch: 1, generation, root, items };
        issue::policy_head(self.id(), &policy, EPOCH_TIME, &self.authority)
    }

    pub fn freshness(&self, state: &State, signed_at: UnixTime, life: u64) -> Signed {
        issue::freshness(self.id(), state, signed_at, life, &self.coordinator)
    }

    pub fn view_head(&self, node: NodeId, state: &State, digest: &Digest) -> Signed {
        issue::view_head(self.id(), node, state, digest, &self.coordinator)
    }

    /// The checked member behind a node's record.
    ///
    /// # Errors
    /// Whatever [`Trust::member`] finds, e.g. after the test has changed the record.
    pub fn member(&self, node: &SpecimenNode) -> Result<Member, crate::trust::TrustError> {
        self.trust.member(&self.network, &node.record)
    }
}

impl SpecimenNode {
    pub fn identity_key(&self) -> IdentityKey {
        IdentityKey::of(&self.identity)
    }

    pub fn wg_key(&self, lane: usize) -> Option<WgKey> {
        self.lanes.get(lane).map(WgKey::of)
    }

    pub fn place(&self) -> Place {
        Place {
            name: self.subject.name.clone(),
            tags: self.subject.tags.clone(),
            v4: Some(self.v4),
            v6: self.v6,
            enrolled: EPOCH_TIME.plus(60),
        }
    }

    /// The lane keys with (predictable!) nonces for the proofs of `serial`.
    pub fn lane_secrets(&self, serial: u64) -> Vec<LaneSecret> {
        let secret = |private: &[u8; 32]| {
            let nonce = Sha512::new().chain_update(private).chain_update(serial.to_be_bytes()).finalize();
            LaneSecret { private: Zeroizing::new(*private), nonce: Zeroizing::new(nonce.into()) }
        };
        self.lanes.iter().map(secret).collect()
    }
}
