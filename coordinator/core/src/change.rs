//! Everything that can change durable state, and the entry it is committed in.
//!
//! Entries are chained: each carries SHA-256 over its predecessor's hash and its own canonical JSON, so the log that the
//! state is folded from is also the audit log, and a flipped byte or a missing line is found.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use warren_config::resolve::Source;
use warren_config::time::UnixTime;
use warren_wire::door::DoorAt;
use warren_wire::id::{Digest, Epoch, Generation, IdentityKey, NodeId, Revision};
use warren_wire::signed::Signed;
use warren_wire::trust::Record;

use crate::access::{KeyHash, KeyId, Scope};
use crate::alarm::AlarmKind;
use crate::external::FilePeer;
use crate::output::ConnId;

/// Version of the log's language; a reader that knows less refuses the log.
pub const LOG_VERSION: u32 = 1;

/// The only things that alter durable state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    NetworkFounded {
        #[serde(with = "crate::encoded")]
        charter: Signed,
        authorities: Vec<IdentityKey>,
        /// Life of a freshness statement in seconds.
        freshness: u64,
    },
    TokenStored {
        #[serde(with = "crate::encoded")]
        delegation: Signed,
    },
    TokenRevoked {
        token: IdentityKey,
    },
    NodeAdmitted {
        token: IdentityKey,
        node: NodeId,
        name: String,
        #[serde(with = "crate::encoded")]
        record: Record,
    },
    /// A device without an agent; the authority itself admitted it.
    ExternalAdmitted {
        node: NodeId,
        name: String,
        #[serde(with = "crate::encoded")]
        record: Record,
        endpoint: Option<SocketAddr>,
    },
    /// What the newest file of a device names.
    FileIssued {
        node: NodeId,
        name: String,
        endpoint: Option<SocketAddr>,
        peers: Vec<FilePeer>,
        /// Nodes that only its last file named, and who must be told.
        before: Vec<NodeId>,
    },
    KeysRenewed {
        node: NodeId,
        #[serde(with = "crate::encoded")]
        keys: Signed,
    },
    NodeAmended {
        node: NodeId,
        name: String,
        tags: Vec<String>,
        #[serde(with = "crate::encoded")]
        amendment: Signed,
    },
    NodeRevoked {
        node: NodeId,
        name: String,
        why: String,
        /// Who was joined to it at that moment and must be told.
        peers: Vec<NodeId>,
        #[serde(with = "crate::encoded")]
        revocation: Signed,
    },
    /// It was away for longer than its token's lease. Nobody signs that: it can only take away.
    LeaseEnded {
        node: NodeId,
        name: String,
        lease: u64,
    },
    PolicyApplied {
        generation: Generation,
        #[serde(with = "crate::encoded")]
        head: Signed,
        sources: Vec<SourceText>,
    },
    /// A restore from a backup. Tokens stored before are void: the backup may be older than their redemption.
    EpochRaised {
        epoch: Epoch,
        why: String,
    },
    AlarmRaised {
        kind: AlarmKind,
        subject: String,
        message: String,
    },
    ApiKeyMade {
        id: KeyId,
        name: String,
        scope: Scope,
        hash: KeyHash,
        ends: Option<UnixTime>,
    },
    ApiKeyRevoked {
        id: KeyId,
        name: String,
    },
    /// Sessions of the page, and links to it that were not opened; whose they were.
    SessionsEnded {
        names: Vec<String>,
        count: u64,
    },
    /// A relay may come in that holds the other half of this key.
    RelayAdded {
        name: String,
        token: IdentityKey,
        /// Where nodes reach it; none: where it is seen.
        at: Vec<SocketAddr>,
        ends: UnixTime,
    },
    RelayEnrolled {
        name: String,
        key: IdentityKey,
    },
    /// Where it was seen, and the doors it has there, if it has said.
    RelayPlaced {
        name: String,
        places: Vec<SocketAddr>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doors: Option<Vec<DoorAt>>,
    },
    RelayDrained {
        name: String,
        draining: bool,
    },
    RelayRemoved {
        name: String,
        key: Option<IdentityKey>,
    },
}

impl Change {
    /// Stable kebab-case name, as in the JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::NetworkFounded { .. } => "network-founded",
            Change::TokenStored { .. } => "token-stored",
            Change::TokenRevoked { .. } => "token-revoked",
            Change::NodeAdmitted { .. } => "node-admitted",
            Change::ExternalAdmitted { .. } => "external-admitted",
            Change::FileIssued { .. } => "file-issued",
            Change::KeysRenewed { .. } => "keys-renewed",
            Change::NodeAmended { .. } => "node-amended",
            Change::NodeRevoked { .. } => "node-revoked",
            Change::LeaseEnded { .. } => "lease-ended",
            Change::PolicyApplied { .. } => "policy-applied",
            Change::EpochRaised { .. } => "epoch-raised",
            Change::AlarmRaised { .. } => "alarm-raised",
            Change::ApiKeyMade { .. } => "api-key-made",
            Change::ApiKeyRevoked { .. } => "api-key-revoked",
            Change::SessionsEnded { .. } => "sessions-ended",
            Change::RelayAdded { .. } => "relay-added",
            Change::RelayEnrolled { .. } => "relay-enrolled",
            Change::RelayPlaced { .. } => "relay-placed",
            Change::RelayDrained { .. } => "relay-drained",
            Change::RelayRemoved { .. } => "relay-removed",
        }
    }

    /// Does it take nothing away from anybody? Then nodes may hear of it a little later.
    pub fn only_adds(&self) -> bool {
        match self {
            Change::NetworkFounded { .. }
            | Change::TokenStored { .. }
            | Change::TokenRevoked { .. }
            | Change::NodeAdmitted { .. }
            | Change::ExternalAdmitted { .. }
            | Change::AlarmRaised { .. }
            | Change::ApiKeyMade { .. }
            | Change::ApiKeyRevoked { .. }
            | Change::SessionsEnded { .. }
            | Change::RelayAdded { .. }
            | Change::RelayEnrolled { .. }
            | Change::RelayPlaced { .. }
            | Change::RelayDrained { .. }
            | Change::RelayRemoved { .. } => true,
            Change::FileIssued { .. }
            | Change::KeysRenewed { .. }
            | Change::NodeAmended { .. }
            | Change::NodeRevoked { .. }
            | Change::LeaseEnded { .. }
            | Change::PolicyApplied { .. }
            | Change::EpochRaised { .. } => false,
        }
    }
}

/// One policy file as it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SourceText {
    pub file: String,
    pub text: String,
}

impl From<&SourceText> for Source {
    fn from(source: &SourceText) -> Source {
        Source { file: source.file.clone(), text: source.text.clone() }
    }
}

impl From<Source> for SourceText {
    fn from(source: Source) -> SourceText {
        SourceText { file: source.file, text: source.text }
    }
}

/// Who did it. Text: `local:NAME`, `key:NAME`, `node:ID`, `coordinator`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// An administrator on the local socket, by user name.
    Local(String),
    /// An API key, by its name.
    Key(String),
    /// A node about itself, proven by its identity key.
    Node(NodeId),
    /// The coordinator itself.
    Coordinator,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Local(name) => write!(f, "local:{name}"),
            Principal::Key(name) => write!(f, "key:{name}"),
            Principal::Node(id) => write!(f, "node:{id}"),
            Principal::Coordinator => f.write_str("coordinator"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a principal (`local:NAME`, `key:NAME`, `node:ID` or `coordinator`)")]
pub struct InvalidPrincipal(pub String);

impl FromStr for Principal {
    type Err = InvalidPrincipal;
    fn from_str(text: &str) -> Result<Principal, InvalidPrincipal> {
        let bad = || InvalidPrincipal(text.chars().take(80).collect());
        match text.split_once(':') {
            Some(("local", name)) => Ok(Principal::Local(name.to_owned())),
            Some(("key", name)) => Ok(Principal::Key(name.to_owned())),
            Some(("node", id)) => id.parse().map(Principal::Node).map_err(|_| bad()),
            None if text == "coordinator" => Ok(Principal::Coordinator),
            _ => Err(bad()),
        }
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.to_string()
    }
}

impl TryFrom<String> for Principal {
    type Error = InvalidPrincipal;
    fn try_from(text: String) -> Result<Principal, InvalidPrincipal> {
        text.parse()
    }
}

/// What is chained: everything of an entry but its hashes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryBody {
    pub version: u32,
    pub revision: Revision,
    pub at: UnixTime,
    pub principal: Principal,
    pub changes: Vec<Change>,
}

/// One committed transaction: one revision, one line of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub body: EntryBody,
    /// Hash of the entry before; zeros for the first.
    pub previous: Digest,
    pub hash: Digest,
}

/// Where the log ends: what the next entry builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    pub revision: Revision,
    pub hash: Digest,
}

impl Default for LogHead {
    fn default() -> LogHead {
        LogHead { revision: 0, hash: Digest([0; 32]) }
    }
}

/// Why an entry cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("entry {revision} of the log cannot be read: {why}")]
    Unreadable { revision: Revision, why: String },
    #[error(
        "entry {revision} of the log is of version {found}, this program knows {LOG_VERSION}: upgrade it"
    )]
    TooNew { revision: Revision, found: u32 },
    #[error(
        "the log has entry {found} where {expected} must stand: lines are missing, doubled or out of order"
    )]
    Gap { expected: Revision, found: Revision },
    #[error("entry {revision} of the log does not have the hash it names: it was altered")]
    Altered { revision: Revision },
}

impl Entry {
    pub fn new(head: &LogHead, at: UnixTime, principal: Principal, changes: Vec<Change>) -> Entry {
        let revision = head.revision.saturating_add(1);
        let body = EntryBody { version: LOG_VERSION, revision, at, principal, changes };
        let hash = body.hash(&head.hash);
        Entry { body, previous: head.hash, hash }
    }

    pub fn revision(&self) -> Revision {
        self.body.revision
    }

    pub fn head(&self) -> LogHead {
        LogHead { revision: self.body.revision, hash: self.hash }
    }

    /// Does this entry follow `head`, unaltered?
    pub fn check(&self, head: &LogHead) -> Result<(), LogError> {
        let (revision, expected) = (self.body.revision, head.revision.saturating_add(1));
        if self.body.version > LOG_VERSION {
            return Err(LogError::TooNew { revision, found: self.body.version });
        }
        if revision != expected {
            return Err(LogError::Gap { expected, found: revision });
        }
        if self.previous != head.hash || self.hash != self.body.hash(&head.hash) {
            return Err(LogError::Altered { revision });
        }
        Ok(())
    }

    /// One line of JSON: how a store keeps it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line; `revision` is where the store found it, for the error.
    pub fn from_json(revision: Revision, text: &str) -> Result<Entry, LogError> {
        serde_json::from_str(text).map_err(|e| LogError::Unreadable { revision, why: e.to_string() })
    }
}

impl EntryBody {
    fn hash(&self, previous: &Digest) -> Digest {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut hasher = Sha256::new();
        hasher.update(b"warren log v1\0");
        hasher.update(previous.0);
        hasher.update(&json);
        Digest(hasher.finalize().into())
    }
}

/// Who waits for the outcome of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Conn(ConnId),
    Command,
    Nobody,
}

/// A decision that is not yet true: becomes so when a store has committed its entry.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a proposal does nothing until it is committed"]
pub struct Proposal {
    pub(crate) entry: Entry,
    pub(crate) origin: Origin,
}

impl Proposal {
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
    /// Revision the network will have once this is committed.
    pub fn revision(&self) -> Revision {
        self.entry.revision()
    }
}
