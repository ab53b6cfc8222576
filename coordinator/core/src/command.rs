//! What an administrator asks. Acts that need the authority carry its signature already: this crate never sees its key.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::id::{Generation, IdentityKey, NodeId};
use warren_wire::signed::Signed;

use crate::access::{KeyHash, KeyId, Scope};
use crate::change::SourceText;
use crate::external::FilePeer;

/// Default life of freshness: 7 days; at least a minute.
pub const DEFAULT_FRESHNESS: u64 = 7 * 24 * 3600;
pub const MIN_FRESHNESS: u64 = 60;
/// As long as nodes believe one.
pub const MAX_FRESHNESS: u64 = warren_wire::trust::MAX_FRESHNESS_SECONDS;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// The first command of every network; refused later.
    FoundNetwork {
        #[serde(with = "crate::encoded")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        charter: Signed,
        authorities: Vec<IdentityKey>,
        /// Seconds.
        freshness: u64,
    },
    /// A [`warren_wire::statement::Delegation`] signed by the authority.
    StoreToken {
        #[serde(with = "crate::encoded")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        delegation: Signed,
    },
    RevokeToken {
        token: IdentityKey,
    },
    /// A [`warren_wire::statement::Amendment`] signed by the authority: new name and tags, whole.
    AmendNode {
        node: NodeId,
        #[serde(with = "crate::encoded")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        amendment: Signed,
    },
    /// A [`warren_wire::statement::Revocation`] signed by the authority.
    RevokeNode {
        #[serde(with = "crate::encoded")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        revocation: Signed,
    },
    /// A [`warren_wire::statement::External`] signed by the authority.
    AddExternal {
        #[serde(with = "crate::encoded")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        external: Signed,
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        endpoint: Option<SocketAddr>,
    },
    /// A new file was made for a device without an agent.
    IssueFile {
        node: NodeId,
        /// Where nodes may begin a handshake with it, from now on.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        endpoint: Option<SocketAddr>,
        peers: Vec<FilePeer>,
    },
    ApplyPolicy {
        sources: Vec<SourceText>,
        /// A [`warren_wire::statement::PolicyHead`] signed by the authority.
        #[serde(with = "crate::encoded")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        head: Signed,
        /// The generation its author saw; refused if another was applied meanwhile.
        expect: Option<Generation>,
        /// Must be true for a policy in `observe` mode.
        allow_observe: bool,
    },
    /// After a restore: nodes refuse everything older.
    RaiseEpoch {
        why: String,
    },
    /// The key itself was made by whoever asks; only its hash comes here.
    MakeApiKey {
        id: KeyId,
        name: String,
        scope: Scope,
        hash: KeyHash,
        ends: Option<UnixTime>,
    },
    RevokeApiKey {
        id: KeyId,
    },
    /// Sessions of the page, and links to it that were not opened, end; who they are of. They are in nobody's log, but that
    /// they were ended is.
    EndSessions {
        names: Vec<String>,
        count: u64,
    },
    /// A relay that is a program of its own may come in.
    AddRelay {
        name: String,
        /// Public half of the key of its token.
        token: IdentityKey,
        /// Where nodes reach it; none: where it is seen.
        #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
        at: Vec<SocketAddr>,
        ends: UnixTime,
    },
    /// Nodes leave it, and it ends; or, with `draining` false, it may be used again.
    DrainRelay {
        name: String,
        draining: bool,
    },
    RemoveRelay {
        name: String,
    },
}

/// What `token list` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenRow {
    pub token: IdentityKey,
    pub state: TokenStatus,
    pub tags: Vec<String>,
    pub name: Option<String>,
    pub name_prefix: Option<String>,
    pub uses: u32,
    pub used: u32,
    pub not_after: UnixTime,
    /// Seconds that its nodes may be away before they are taken out; `None`: they stay until they are revoked.
    #[serde(default)]
    pub lease: Option<u64>,
    pub created: UnixTime,
    pub redeemed_by: Vec<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TokenStatus {
    Usable,
    Spent,
    Expired,
    Revoked,
    /// Made void by a restore.
    Void,
}
