//! Who may be believed about what. The chain record → delegation → authority, checked by everyone who receives
//! a record; the result is a [`Member`], which exists in no other way.

mod external;
mod terms;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use ipnet::{Ipv4Net, Ipv6Net};
use warren_config::item::Root;
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::time::UnixTime;

use self::terms::{
    addresses, admitted_subject, check_delegation, check_freshness, coordinator_keys, parse_tags, v4_range,
    v6_prefix,
};
use crate::id::{Epoch, Generation, IdentityKey, NetworkId, NodeId, WgKey};
use crate::possession;
use crate::signed::{Signed, SignedError, Statement};
use crate::statement::{
    Admission, Amendment, Charter, Delegation, Freshness, NodeKeys, PolicyHead, Revocation, ViewHead,
};

/// At most so many lanes (WireGuard keys) per node.
pub const MAX_LANES: usize = 16;
/// At most so many tags on one node.
pub const MAX_TAGS: usize = 64;
/// At most so many coordinator keys in a charter.
pub const MAX_COORDINATOR_KEYS: usize = 16;
/// Most items under a policy's root.
pub const MAX_ITEMS: u64 = 65_536;
/// Longest life of a freshness, seconds (90 days): a stolen online key must not hold a network still for ever.
pub const MAX_FRESHNESS_SECONDS: u64 = 90 * 86_400;
/// Bounds of a token's lease, seconds. A control channel that is lost is noticed after a dozen.
pub const MIN_LEASE: u64 = 10;
pub const MAX_LEASE: u64 = 90 * 86_400;
/// The version of the policy language this program knows.
pub const POLICY_VERSION: u32 = 1;

/// The roots a node was enrolled with: nothing in them comes from the coordinator's say-so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub network: NetworkId,
    pub authorities: Vec<IdentityKey>,
}

/// A checked charter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub id: NetworkId,
    pub name: String,
    pub v4_range: Ipv4Net,
    pub v6_prefix: Ipv6Net,
    pub coordinators: Vec<IdentityKey>,
    pub serial: u64,
}

/// Everything that makes a node a member, as it travels and as it is stored.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Record {
    #[prost(message, optional, tag = "1")]
    pub delegation: Option<Signed>,
    #[prost(message, optional, tag = "2")]
    pub admission: Option<Signed>,
    #[prost(message, optional, tag = "3")]
    pub keys: Option<Signed>,
    /// The newest amendment, if there was any.
    #[prost(message, optional, tag = "4")]
    pub amendment: Option<Signed>,
    /// Of a device without an agent, instead of delegation, admission and keys.
    #[prost(message, optional, tag = "5")]
    pub external: Option<Signed>,
}

/// A node whose whole chain holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    /// What it proves itself with on the control channel; `None` for an external device, which has no agent.
    pub identity: Option<IdentityKey>,
    pub subject: Subject,
    pub v4: Option<Ipv4Addr>,
    pub v6: Ipv6Addr,
    pub lanes: Vec<WgKey>,
    /// Serial of the keys.
    pub key_serial: u64,
    /// Serial of the amendment; 0 without one.
    pub amendment_serial: u64,
    pub enrolled: UnixTime,
}

impl Network {
    /// True for an address a node of this network may have: in the range, and neither the network's own, the
    /// first (kept for the coordinator's use), nor the broadcast address.
    pub fn allows_v4(&self, address: Ipv4Addr) -> bool {
        let first = u32::from(self.v4_range.network()).saturating_add(1);
        let last = u32::from(self.v4_range.broadcast());
        let value = u32::from(address);
        self.v4_range.contains(&address) && value > first && value < last
    }

    /// The first address of the prefix, which no node has: agents speak to each other at it, inside the tunnel.
    pub fn common_v6(&self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.v6_prefix.network()).saturating_add(1))
    }

    /// As [`Network::allows_v4`]; IPv6 has no broadcast, its first address is the routers' anycast (RFC 4291
    /// section 2.6.1).
    pub fn allows_v6(&self, address: Ipv6Addr) -> bool {
        let first = u128::from(self.v6_prefix.network()).saturating_add(1);
        self.v6_prefix.contains(&address) && u128::from(address) > first
    }
}

impl Record {
    /// For JSON: base64 with padding (RFC 4648 section 4) of the protobuf.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.encode_to_vec())
    }

    /// As untrusted text; the statements inside are [`Trust::member`]'s to judge.
    pub fn from_base64(text: &str) -> Result<Record, SignedError> {
        const LIMIT: usize = 128 * 1024;
        let what = "record";
        if text.len() > LIMIT {
            return Err(SignedError::TooLarge { what, bytes: text.len(), limit: LIMIT });
        }
        let unreadable = |why: String| SignedError::Unreadable { what, why };
        let bytes = STANDARD.decode(text).map_err(|e| unreadable(e.to_string()))?;
        Record::decode(bytes.as_slice()).map_err(|e| unreadable(e.to_string()))
    }
}

impl Member {
    /// True if `held`, another record of the same node, carries newer keys or a newer amendment: a record that
    /// would take something back is refused (threat: replay of an older, validly signed membership).
    pub fn is_older_than(&self, held: &Member) -> bool {
        self.key_serial < held.key_serial || self.amendment_serial < held.amendment_serial
    }
    /// A device without an agent: it is told nothing, and others enforce the policy for it.
    pub fn is_external(&self) -> bool {
        self.identity.is_none()
    }
    pub fn name(&self) -> &Name {
        &self.subject.name
    }
    pub fn tags(&self) -> &BTreeSet<Name> {
        &self.subject.tags
    }
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.v4.map(IpAddr::V4).into_iter().chain(std::iter::once(IpAddr::V6(self.v6)))
    }
}

/// A checked policy head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedPolicy {
    pub epoch: Epoch,
    pub generation: Generation,
    pub root: Root,
    pub items: u64,
}

/// Whose fault it is that something is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error(transparent)]
    Signature(#[from] SignedError),
    #[error("{what} belongs to another network ({found})")]
    ForeignNetwork { what: &'static str, found: String },
    #[error("{what} is not valid: {why}")]
    Invalid { what: &'static str, why: String },
    #[error("{what} speaks of node {found}, not of {node}")]
    OtherNode { what: &'static str, node: NodeId, found: String },
    #[error("{what} of node {node} is malformed: {why}")]
    Malformed { what: &'static str, node: String, why: String },
    #[error("{what} is missing from the record")]
    Missing { what: &'static str },
    #[error("node {node} ({name}) claims {claim}, which its token does not allow")]
    BeyondDelegation { node: NodeId, name: String, claim: String },
    #[error("node {node} does not prove that it holds WireGuard key {key}")]
    NoPossession { node: NodeId, key: WgKey },
    #[error("address {address} of node {node} is outside the network's ranges")]
    ForeignAddress { node: NodeId, address: IpAddr },
    #[error(
        "the policy needs version {needed} of the policy language; this program knows {known}: upgrade it"
    )]
    PolicyTooNew { needed: u32, known: u32 },
}

impl Trust {
    pub fn network(&self, charter: &Signed) -> Result<Network, TrustError> {
        let what = Charter::NAME;
        let invalid = |why: String| TrustError::Invalid { what, why };
        let charter: Charter = self.by_authority(charter)?;
        if charter.name.len() > 253 || charter.name.chars().any(char::is_control) {
            return Err(invalid("its name is too long or has control characters".into()));
        }
        if charter.serial == 0 {
            return Err(invalid("its serial is 0".into()));
        }
        Ok(Network {
            id: self.network,
            v4_range: v4_range(&charter.v4_range).map_err(invalid)?,
            v6_prefix: v6_prefix(&charter.v6_prefix).map_err(invalid)?,
            coordinators: coordinator_keys(&charter.coordinators).map_err(invalid)?,
            serial: charter.serial,
            name: charter.name,
        })
    }

    pub fn delegation(&self, signed: &Signed) -> Result<Delegation, TrustError> {
        let delegation: Delegation = self.by_authority(signed)?;
        check_delegation(&delegation).map_err(|why| TrustError::Invalid { what: Delegation::NAME, why })?;
        Ok(delegation)
    }

    /// Checks the whole chain of `record`; `network` gives the address ranges.
    pub fn member(&self, network: &Network, record: &Record) -> Result<Member, TrustError> {
        self.same_network("charter", &network.id.0)?;
        if let Some(signed) = &record.external {
            return self.external(network, record, signed);
        }
        let delegation = self.delegation(present(&record.delegation, Delegation::NAME)?)?;
        let signed = present(&record.admission, Admission::NAME)?;
        let (id, identity, admission) = self.admission(network, &delegation, signed)?;
        let mut subject = admitted_subject(id, &delegation, &admission)?;
        let (v4, v6) = addresses(network, id, Admission::NAME, &admission.v4, &admission.v6)?;
        let (key_serial, lanes) = self.keys(id, &identity, present(&record.keys, NodeKeys::NAME)?)?;
        let mut amendment_serial = 0;
        if let Some(signed) = &record.amendment {
            (amendment_serial, subject) = self.amendment(id, signed)?;
        }
        let enrolled = UnixTime(admission.enrolled);
        let identity = Some(identity);
        Ok(Member { id, identity, subject, v4, v6, lanes, key_serial, amendment_serial, enrolled })
    }

    /// The newer WireGuard keys a member signs itself: serial and lanes, each proven.
    pub fn keys(
        &self,
        node: NodeId,
        identity: &IdentityKey,
        signed: &Signed,
    ) -> Result<(u64, Vec<WgKey>), TrustError> {
        let what = NodeKeys::NAME;
        let keys: NodeKeys = self.by(signed, &[*identity])?;
        same_node(what, node, &keys.node)?;
        let malformed = |why: String| TrustError::Malformed { what, node: node.to_string(), why };
        if keys.serial == 0 {
            return Err(malformed("its serial is 0".into()));
        }
        if !(1..=MAX_LANES).contains(&keys.lanes.len()) {
            return Err(malformed(format!("it has {} lanes, not 1 to {MAX_LANES}", keys.lanes.len())));
        }
        let mut lanes = Vec::with_capacity(keys.lanes.len());
        for lane in &keys.lanes {
            let key = WgKey::from_slice(&lane.key)
                .ok_or_else(|| malformed(format!("a key has {} bytes, not 32", lane.key.len())))?;
            let message = possession::message(&self.network, &node, keys.serial, &key);
            if !possession::verify(&key, &message, &lane.possession) {
                return Err(TrustError::NoPossession { node, key });
            }
            if lanes.contains(&key) {
                return Err(malformed(format!("key {key} stands twice")));
            }
            lanes.push(key);
        }
        Ok((keys.serial, lanes))
    }

    /// Serial and what the node is from then on.
    pub fn amendment(&self, node: NodeId, signed: &Signed) -> Result<(u64, Subject), TrustError> {
        let what = Amendment::NAME;
        let amendment: Amendment = self.by_authority(signed)?;
        same_node(what, node, &amendment.node)?;
        let malformed = |why: String| TrustError::Malformed { what, node: node.to_string(), why };
        if amendment.serial == 0 {
            return Err(malformed("its serial is 0".into()));
        }
        let name = Name::parse(&amendment.name).map_err(|e| malformed(e.to_string()))?;
        let tags = parse_tags(&amendment.tags).map_err(malformed)?;
        Ok((amendment.serial, Subject { name, tags }))
    }

    pub fn revocation(&self, signed: &Signed) -> Result<(NodeId, Revocation), TrustError> {
        let what = Revocation::NAME;
        let revocation: Revocation = self.by_authority(signed)?;
        let node = NodeId::from_slice(&revocation.node)
            .ok_or(TrustError::Invalid { what, why: "its node id is not 16 bytes".into() })?;
        Ok((node, revocation))
    }

    pub fn policy(&self, signed: &Signed) -> Result<SignedPolicy, TrustError> {
        let head: PolicyHead = self.by_authority(signed)?;
        if head.min_version > POLICY_VERSION {
            return Err(TrustError::PolicyTooNew { needed: head.min_version, known: POLICY_VERSION });
        }
        let invalid = |why: String| TrustError::Invalid { what: PolicyHead::NAME, why };
        if head.min_version == 0 || head.generation == 0 {
            return Err(invalid("its generation or its language version is 0".into()));
        }
        if head.items > MAX_ITEMS {
            return Err(invalid(format!("it has {} items, at most {MAX_ITEMS} are read", head.items)));
        }
        let root = digest(&head.root).ok_or_else(|| invalid("its root is not 32 bytes".into()))?;
        Ok(SignedPolicy {
            epoch: head.epoch,
            generation: head.generation,
            root: Root(root),
            items: head.items,
        })
    }

    /// Freshness and view heads are believed from a coordinator key that the charter names.
    pub fn freshness(&self, network: &Network, signed: &Signed) -> Result<Freshness, TrustError> {
        self.same_network("charter", &network.id.0)?;
        let freshness: Freshness = self.by(signed, &network.coordinators)?;
        check_freshness(&freshness).map_err(|why| TrustError::Invalid { what: Freshness::NAME, why })?;
        Ok(freshness)
    }

    pub fn view_head(&self, network: &Network, signed: &Signed, me: NodeId) -> Result<ViewHead, TrustError> {
        self.same_network("charter", &network.id.0)?;
        let head: ViewHead = self.by(signed, &network.coordinators)?;
        same_node(ViewHead::NAME, me, &head.node)?;
        if head.digest.len() != 32 {
            let why = "its digest is not 32 bytes".into();
            return Err(TrustError::Invalid { what: ViewHead::NAME, why });
        }
        Ok(head)
    }

    /// The admission, signed by the token's key and by the identity key inside it.
    fn admission(
        &self,
        network: &Network,
        delegation: &Delegation,
        signed: &Signed,
    ) -> Result<(NodeId, IdentityKey, Admission), TrustError> {
        let what = Admission::NAME;
        let invalid = |why: &str| TrustError::Invalid { what, why: why.into() };
        let token = IdentityKey::from_slice(&delegation.token_key)
            .ok_or_else(|| invalid("its token key is not 32 bytes"))?;
        let admission: Admission = self.by(signed, &[token])?;
        let identity = IdentityKey::from_slice(&admission.identity)
            .ok_or_else(|| invalid("its identity key is not 32 bytes"))?;
        // One key must not play two parts: its signature would count for both.
        if identity == token
            || self.authorities.contains(&identity)
            || network.coordinators.contains(&identity)
        {
            return Err(invalid(
                "its identity key is already the key of the token, an authority or a coordinator",
            ));
        }
        signed.open::<Admission>(&identity)?;
        let id = node_id(&self.network, &identity);
        same_node(what, id, &admission.node)?;
        Ok((id, identity, admission))
    }

    fn by_authority<T: Statement>(&self, signed: &Signed) -> Result<T, TrustError> {
        self.by(signed, &self.authorities)
    }

    /// Opens a statement of this network. One of another network usually fails by its signature; it is then read
    /// once more only to say so.
    fn by<T: Statement>(&self, signed: &Signed, signers: &[IdentityKey]) -> Result<T, TrustError> {
        match signed.open_by_any::<T>(signers) {
            Ok(statement) => {
                self.same_network(T::NAME, statement.network())?;
                Ok(statement)
            }
            Err(error) => {
                if let Ok(claimed) = signed.peek::<T>() {
                    self.same_network(T::NAME, claimed.network())?;
                }
                Err(error.into())
            }
        }
    }

    fn same_network(&self, what: &'static str, found: &[u8]) -> Result<(), TrustError> {
        if found == self.network.0 {
            return Ok(());
        }
        let found = match NetworkId::from_slice(found) {
            Some(id) => id.to_string(),
            None => format!("an id of {} bytes", found.len()),
        };
        Err(TrustError::ForeignNetwork { what, found })
    }
}

fn present<'a>(part: &'a Option<Signed>, what: &'static str) -> Result<&'a Signed, TrustError> {
    part.as_ref().ok_or(TrustError::Missing { what })
}

fn same_node(what: &'static str, node: NodeId, found: &[u8]) -> Result<(), TrustError> {
    if found == node.0 {
        return Ok(());
    }
    let found = match NodeId::from_slice(found) {
        Some(id) => id.to_string(),
        None => format!("an id of {} bytes", found.len()),
    };
    Err(TrustError::OtherNode { what, node, found })
}

fn digest(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

/// The id that belongs to an identity key in a network.
pub fn node_id(network: &NetworkId, identity: &IdentityKey) -> NodeId {
    hashed_id(b"warren node v1\0", network, &identity.0)
}

/// The id of an external device: no identity key has the same one.
pub fn external_id(network: &NetworkId, key: &WgKey) -> NodeId {
    hashed_id(b"warren external v1\0", network, &key.0)
}

fn hashed_id(domain: &[u8], network: &NetworkId, key: &[u8; 32]) -> NodeId {
    let digest: [u8; 32] =
        Sha256::new().chain_update(domain).chain_update(network.0).chain_update(key).finalize().into();
    let (id, _) = digest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    NodeId(*id)
}
