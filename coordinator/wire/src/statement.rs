//! Everything that is ever signed. Fields are never reused; a missing field reads as "deny".
//!
//! | statement | signed by | says |
//! |---|---|---|
//! | [`Charter`] | authority | this network, its address ranges, its coordinator keys |
//! | [`Delegation`] | authority | who holds this token's key may admit nodes like these |
//! | [`Admission`] | token key and the node's identity key | this node is in, with this name, tags and addresses |
//! | [`External`] | authority | this device without an agent is in, under this WireGuard key |
//! | [`NodeKeys`] | the node's identity key | its WireGuard keys, each proven (XEdDSA) |
//! | [`Amendment`] | authority | this node's name and tags are now these |
//! | [`Revocation`] | authority | this node is out for ever |
//! | [`PolicyHead`] | authority | generation N has this Merkle root |
//! | [`Freshness`] | coordinator online key | nothing newer than this was known at that time |
//! | [`ViewHead`] | coordinator online key | this is your whole view at that revision |

use crate::signed::Statement;

macro_rules! statement {
    ($name:ident, $kind:literal, $text:literal) => {
        impl Statement for $name {
            const KIND: u32 = $kind;
            const NAME: &'static str = $text;
            fn network(&self) -> &[u8] {
                &self.network
            }
        }
    };
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Charter {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    /// The network's human name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// IPv4 range, `100.64.0.0/10` by default (RFC 6598).
    #[prost(string, tag = "3")]
    pub v4_range: String,
    /// IPv6 prefix, a ULA /48 (RFC 4193).
    #[prost(string, tag = "4")]
    pub v6_prefix: String,
    /// Ed25519 keys a coordinator of this network may hold.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub coordinators: Vec<Vec<u8>>,
    #[prost(uint64, tag = "6")]
    pub created: u64,
    /// A newer charter has a greater serial.
    #[prost(uint64, tag = "7")]
    pub serial: u64,
}
statement!(Charter, 1, "charter");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Delegation {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    /// Public half of the token's key.
    #[prost(bytes = "vec", tag = "2")]
    pub token_key: Vec<u8>,
    #[prost(string, repeated, tag = "3")]
    pub tags: Vec<String>,
    /// The one name this token may give; empty if `name_prefix` rules.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Names must begin with this, when `name` is empty; empty: any free name.
    #[prost(string, tag = "5")]
    pub name_prefix: String,
    #[prost(uint32, tag = "6")]
    pub uses: u32,
    #[prost(uint64, tag = "7")]
    pub not_after: u64,
    #[prost(uint64, tag = "8")]
    pub created: u64,
    /// Seconds that a node of this token may be away before the coordinator takes it out; 0: it stays until it is revoked.
    #[prost(uint64, tag = "9")]
    pub lease: u64,
}
statement!(Delegation, 2, "delegation");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Admission {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub node: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub identity: Vec<u8>,
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(string, repeated, tag = "5")]
    pub tags: Vec<String>,
    /// 4 bytes, or empty when the IPv4 range is used up.
    #[prost(bytes = "vec", tag = "6")]
    pub v4: Vec<u8>,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "7")]
    pub v6: Vec<u8>,
    #[prost(uint64, tag = "8")]
    pub enrolled: u64,
}
statement!(Admission, 3, "admission");

/// A device that runs no agent (a phone, an appliance). It proves nothing itself: the authority vouches for its key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct External {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    /// Follows from the key ([`crate::trust::external_id`]).
    #[prost(bytes = "vec", tag = "2")]
    pub node: Vec<u8>,
    /// X25519 public key, 32 bytes; another key is another node.
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(string, repeated, tag = "5")]
    pub tags: Vec<String>,
    /// 4 bytes, or empty when the IPv4 range is used up.
    #[prost(bytes = "vec", tag = "6")]
    pub v4: Vec<u8>,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "7")]
    pub v6: Vec<u8>,
    #[prost(uint64, tag = "8")]
    pub enrolled: u64,
}
statement!(External, 10, "admission of an external device");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeKeys {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub node: Vec<u8>,
    /// A newer set has a greater serial; from 1.
    #[prost(uint64, tag = "3")]
    pub serial: u64,
    /// One key per packet lane; two nodes use as many lanes as both have.
    #[prost(message, repeated, tag = "4")]
    pub lanes: Vec<LaneKey>,
}
statement!(NodeKeys, 4, "set of node keys");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LaneKey {
    /// X25519 public key, 32 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// XEdDSA signature by that key over `warren possession v1\0`, network, node, serial (u64 BE), key.
    #[prost(bytes = "vec", tag = "2")]
    pub possession: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Amendment {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub node: Vec<u8>,
    /// From 1; a newer amendment has a greater serial and replaces the older whole.
    #[prost(uint64, tag = "3")]
    pub serial: u64,
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(string, repeated, tag = "5")]
    pub tags: Vec<String>,
}
statement!(Amendment, 5, "amendment");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Revocation {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub node: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub at: u64,
    #[prost(string, tag = "4")]
    pub why: String,
}
statement!(Revocation, 6, "revocation");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PolicyHead {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub root: Vec<u8>,
    /// Number of items under the root.
    #[prost(uint64, tag = "4")]
    pub items: u64,
    #[prost(uint64, tag = "5")]
    pub signed_at: u64,
    /// Readers that know less than this version of the language refuse the policy.
    #[prost(uint32, tag = "6")]
    pub min_version: u32,
    /// The epoch it was signed in; a restore raises it.
    #[prost(uint64, tag = "7")]
    pub epoch: u64,
}
statement!(PolicyHead, 7, "policy head");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Freshness {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    #[prost(uint64, tag = "4")]
    pub generation: u64,
    #[prost(bytes = "vec", tag = "5")]
    pub policy_root: Vec<u8>,
    /// SHA-256 chain over all revocations in order.
    #[prost(bytes = "vec", tag = "6")]
    pub revocation_head: Vec<u8>,
    #[prost(uint64, tag = "7")]
    pub signed_at: u64,
    #[prost(uint64, tag = "8")]
    pub not_after: u64,
    /// Root of the roll ([`crate::roll`]); empty from a coordinator that knows of none.
    #[prost(bytes = "vec", tag = "9")]
    pub roll: Vec<u8>,
}
statement!(Freshness, 8, "freshness");

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ViewHead {
    #[prost(bytes = "vec", tag = "1")]
    pub network: Vec<u8>,
    /// Whose view this is.
    #[prost(bytes = "vec", tag = "2")]
    pub node: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(uint64, tag = "4")]
    pub revision: u64,
    #[prost(uint64, tag = "5")]
    pub generation: u64,
    /// Digest over all entries ([`crate::view::View::digest`]).
    #[prost(bytes = "vec", tag = "6")]
    pub digest: Vec<u8>,
}
statement!(ViewHead, 9, "view head");
