//! Every no of the coordinator: a code for programs, a sentence and a hint for people.

use std::net::IpAddr;

use serde::Serialize;
use warren_config::proof::{Proof, Undecided};
use warren_config::question::TestOutcome;
use warren_config::resolve::Finding;
use warren_config::time::UnixTime;
use warren_wire::frame::{RefusalCode, Refused};
use warren_wire::id::{Epoch, Generation, IdentityKey, NodeId, WgKey};
use warren_wire::trust::TrustError;

use crate::access::KeyId;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    // --- the network
    #[error("the network exists already")]
    AlreadyFounded,
    #[error("there is no network yet")]
    NotFounded,
    #[error("a freshness of {seconds} s is not between {min} s and {max} s")]
    BadFreshness { seconds: u64, min: u64, max: u64 },
    #[error("the charter does not name this coordinator's key {key}")]
    ForeignCoordinator { key: IdentityKey },
    #[error("{what} is not believed: {why}")]
    BadStatement { what: &'static str, why: TrustError },
    #[error("{what} is malformed: {why}")]
    Malformed { what: &'static str, why: String },
    #[error("{what}: at most {limit}")]
    TooMany { what: &'static str, limit: usize },
    // --- tokens
    #[error("token {token} is not known")]
    TokenUnknown { token: IdentityKey },
    #[error("token {token} is stored already")]
    TokenExists { token: IdentityKey },
    #[error("token {token} expired at {at}")]
    TokenExpired { token: IdentityKey, at: UnixTime },
    #[error("token {token} has been used {uses} of {uses} times, first by node {first}")]
    TokenSpent { token: IdentityKey, uses: u32, first: NodeId },
    #[error("token {token} was revoked")]
    TokenRevoked { token: IdentityKey },
    #[error("token {token} is void since the network was restored from a backup")]
    TokenVoid { token: IdentityKey },
    // --- nodes
    #[error("node `{0}` is not known")]
    NodeUnknown(String),
    #[error("node {node} was revoked")]
    NodeRevoked { node: NodeId },
    #[error("node {node} was away for longer than its lease and was taken out")]
    LeaseEnded { node: NodeId },
    #[error("this identity key is not a member of the network")]
    NotAMember,
    #[error("the name `{name}` is taken by {by}")]
    NameTaken { name: String, by: String },
    #[error("the name `{name}` is not allowed here: {why}")]
    NameNotAllowed { name: String, why: String },
    #[error("key {key} belongs to node {owner} already")]
    KeyTaken { key: WgKey, owner: NodeId },
    #[error("address {address} is not the one that was offered")]
    WrongAddress { address: IpAddr },
    #[error("address {address} is taken")]
    AddressTaken { address: IpAddr },
    #[error("node {node} is no external device: it has an agent")]
    NotExternal { node: NodeId },
    #[error("the network changed while the file for node {node} was made")]
    FileMoved { node: NodeId },
    #[error("there is no enrolment offer for this key, or it has run out")]
    NoOffer,
    #[error("no address is free")]
    AddressesUsedUp,
    /// `who`: `node NAME`, or the node of a token.
    #[error("tags `{a}` and `{b}` may not be worn together ({who})")]
    NotWith { who: String, a: String, b: String },
    #[error("serial {found} is not newer than {known}")]
    OldSerial { known: u64, found: u64 },
    // --- policy
    #[error("the policy has {} fault(s); the first: {}", .findings.len(), first(.findings))]
    PolicyFaults { findings: Vec<Finding> },
    #[error("{} of the policy's own tests fail; the first: {}", .failed.len(), first_test(.failed))]
    TestsFail { failed: Vec<TestOutcome> },
    #[error("{what} would break {} invariant(s); the first: {}", .broken.len(), first_broken(.broken))]
    InvariantsBroken { what: String, broken: Vec<Proof> },
    #[error("service `{service}` has {subnet} behind gateways, and the overlay itself is {range}")]
    SubnetInOverlay { service: String, subnet: String, range: String },
    #[error("the signed root is not the root of the files that came with it")]
    WrongRoot,
    #[error("the policy is signed as generation {found}, the next one is {next}")]
    WrongGeneration { next: Generation, found: Generation },
    #[error("the policy was made against generation {expected}, the current one is {current}")]
    PolicyMoved { expected: Generation, current: Generation },
    #[error("the policy was signed in epoch {found}, the current one is {current}")]
    WrongEpoch { current: Epoch, found: Epoch },
    #[error("the policy's mode is `observe`: everything passes")]
    ObserveNotAllowed,
    #[error("service `{name}` has the name of node {node}")]
    ServiceNamesNode { name: String, node: NodeId },
    #[error("{0}")]
    BadQuestion(String),
    #[error(transparent)]
    Undecided(#[from] Undecided),
    #[error("generation {0} is not known")]
    GenerationUnknown(Generation),
    // --- API keys
    #[error("`{name}` is no name for an API key: 1 to 64 letters, digits, and `._@-`")]
    BadKeyName { name: String },
    #[error("an API key cannot end at {at}: that is past")]
    KeyEndsBefore { at: UnixTime },
    #[error("API key `{name}` ({id}) is in use")]
    KeyExists { name: String, id: KeyId },
    #[error("API key {id} is not known")]
    KeyUnknown { id: KeyId },
    #[error("API key `{name}` was revoked at {at} already")]
    KeyRevoked { name: String, at: UnixTime },
    // --- relays
    #[error("relay `{0}` is not known")]
    RelayUnknown(String),
    #[error("relay `{name}` {what} already")]
    RelayAlready { name: String, what: &'static str },
    #[error("token {token} was used by relay `{name}`")]
    RelayTokenSpent { token: IdentityKey, name: String },
    #[error("this key is no relay of the network")]
    NotARelay,
    // --- the channel
    #[error("{0}")]
    Protocol(&'static str),
    #[error("the coordinator is busy: {0}")]
    Overloaded(&'static str),
    #[error("the same identity opened a newer session")]
    Replaced,
    #[error("the change could not be stored: {0}")]
    NotStored(String),
}

fn first(findings: &[Finding]) -> String {
    findings.first().map(|f| format!("{}:{}:{}: {}", f.file, f.line, f.column, f.message)).unwrap_or_default()
}

fn first_test(failed: &[TestOutcome]) -> String {
    failed.first().map(|t| format!("{}: {}", t.id, t.message)).unwrap_or_default()
}

fn first_broken(broken: &[Proof]) -> String {
    broken.first().map(|p| format!("{}: {}", p.id, p.message)).unwrap_or_default()
}

/// A refusal as the API and `--json` show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RefusalBody {
    pub code: &'static str,
    pub message: String,
    pub hint: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestOutcome>,
    /// Invariants that do not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invariants: Vec<Proof>,
}

impl Refusal {
    /// Stable kebab-case code, hint for the person, code on the control channel.
    fn row(&self) -> (&'static str, &'static str, RefusalCode) {
        use RefusalCode as W;
        match self {
            Refusal::AlreadyFounded => {
                ("already-founded", "use another state directory for another network", W::Protocol)
            }
            Refusal::NotFounded => ("not-founded", "run `warren init` first", W::Protocol),
            Refusal::BadFreshness { .. } => {
                ("bad-freshness", "choose a freshness inside these bounds", W::Protocol)
            }
            Refusal::ForeignCoordinator { .. } => {
                ("foreign-coordinator", "sign a charter that names this coordinator's key", W::BadStatement)
            }
            Refusal::BadStatement { .. } => {
                ("bad-statement", "sign it with the authority file of this network", W::BadStatement)
            }
            Refusal::Malformed { .. } => {
                ("malformed", "use programs of the same version on both ends", W::BadStatement)
            }
            Refusal::TooMany { .. } => ("too-many", "remove what is no longer needed", W::Overloaded),
            Refusal::TokenUnknown { .. } => {
                ("token-unknown", "make a token with `warren token create`", W::TokenUnknown)
            }
            Refusal::TokenExists { .. } => ("token-exists", "nothing to do", W::Protocol),
            Refusal::TokenExpired { .. } => {
                ("token-expired", "make a new token with `warren token create`", W::TokenExpired)
            }
            Refusal::TokenSpent { .. } => (
                "token-spent",
                "make a new token with `warren token create`; if that use was not yours, revoke the node named here",
                W::TokenSpent,
            ),
            Refusal::TokenRevoked { .. } => {
                ("token-revoked", "make a new token with `warren token create`", W::TokenRevoked)
            }
            Refusal::TokenVoid { .. } => {
                ("token-void", "make a new token with `warren token create`", W::TokenRevoked)
            }
            Refusal::NodeUnknown(_) => ("node-unknown", "see `warren node list`", W::NotAMember),
            Refusal::NodeRevoked { .. } => (
                "node-revoked",
                "revocation is for ever: enrol the host anew with a new identity and token",
                W::Revoked,
            ),
            Refusal::LeaseEnded { .. } => (
                "lease-ended",
                "enrol the host anew: `warren-node up` does that itself if it has a usable token",
                W::LeaseEnded,
            ),
            Refusal::NotAMember => ("not-a-member", "enrol with a token first", W::NotAMember),
            Refusal::NameTaken { .. } => ("name-taken", "choose another name", W::NameTaken),
            Refusal::NameNotAllowed { .. } => {
                ("name-not-allowed", "use a token bound to this name, or another name", W::NameNotAllowed)
            }
            Refusal::KeyTaken { .. } => ("key-taken", "make a new WireGuard key on the host", W::KeyTaken),
            Refusal::WrongAddress { .. } => ("wrong-address", "begin the enrolment again", W::BadStatement),
            Refusal::AddressTaken { .. } => ("address-taken", "do it again", W::BadStatement),
            Refusal::NotExternal { .. } => (
                "not-external",
                "nodes with an agent need no file: they are told what they need",
                W::Protocol,
            ),
            Refusal::FileMoved { .. } => ("file-moved", "do it again", W::Protocol),
            Refusal::NoOffer => ("no-offer", "begin the enrolment again", W::Protocol),
            Refusal::AddressesUsedUp => (
                "addresses-used-up",
                "revoke nodes that are gone; addresses return later",
                W::AddressesUsedUp,
            ),
            Refusal::NotWith { .. } => ("not-with", "take one of the two tags away", W::PolicyForbids),
            Refusal::OldSerial { .. } => {
                ("old-serial", "read the current record and sign a newer one", W::BadStatement)
            }
            Refusal::PolicyFaults { .. } => ("policy-faults", "run `warren policy check`", W::Protocol),
            Refusal::TestsFail { .. } => ("tests-fail", "correct the grants or the tests", W::Protocol),
            Refusal::InvariantsBroken { .. } => (
                "invariants-broken",
                "see `warren policy prove`; correct the grants, the tags or the invariants",
                W::PolicyForbids,
            ),
            Refusal::SubnetInOverlay { .. } => {
                ("subnet-in-overlay", "nodes need no gateway: use `on`, or name other addresses", W::Protocol)
            }
            Refusal::WrongRoot => ("wrong-root", "sign exactly the files that are sent", W::Protocol),
            Refusal::WrongGeneration { .. } => {
                ("wrong-generation", "read the current generation and sign again", W::Protocol)
            }
            Refusal::PolicyMoved { .. } => {
                ("policy-moved", "look at the newer policy, then apply again", W::Protocol)
            }
            Refusal::WrongEpoch { .. } => {
                ("wrong-epoch", "read the current epoch and sign again", W::Protocol)
            }
            Refusal::ObserveNotAllowed => {
                ("observe-not-allowed", "pass --allow-observe if that is meant", W::Protocol)
            }
            Refusal::ServiceNamesNode { .. } => {
                ("service-names-node", "rename the service or the node", W::Protocol)
            }
            Refusal::Undecided(_) => ("undecided", "name fewer nodes: a tag or a service", W::Protocol),
            Refusal::BadQuestion(_) => ("bad-question", "see `warren can --help`", W::Protocol),
            Refusal::GenerationUnknown(_) => {
                ("generation-unknown", "see `warren policy history`", W::Protocol)
            }
            Refusal::BadKeyName { .. } => ("bad-key-name", "choose another name", W::Protocol),
            Refusal::KeyEndsBefore { .. } => ("key-ends-before", "choose a later end", W::Protocol),
            Refusal::KeyExists { .. } => {
                ("key-exists", "choose another name, or revoke that key first", W::Protocol)
            }
            Refusal::KeyUnknown { .. } => ("key-unknown", "see `warren key list`", W::Protocol),
            Refusal::KeyRevoked { .. } => ("key-revoked", "nothing to do", W::Protocol),
            Refusal::RelayUnknown(_) => ("relay-unknown", "see `warren relay list`", W::NotAMember),
            Refusal::RelayAlready { .. } => ("relay-already", "nothing to do", W::Protocol),
            Refusal::RelayTokenSpent { .. } => (
                "relay-token-spent",
                "if that use was not yours, remove the relay named here; then let this one in with `warren relay add`",
                W::TokenSpent,
            ),
            Refusal::NotARelay => {
                ("not-a-relay", "it was removed, or never let in: see `warren relay add`", W::NotAMember)
            }
            Refusal::Protocol(_) => {
                ("protocol", "use programs of the same version on both ends", W::Protocol)
            }
            Refusal::Overloaded(_) => ("overloaded", "try again in a minute", W::Overloaded),
            Refusal::Replaced => ("replaced", "do not run two agents with one state directory", W::Replaced),
            Refusal::NotStored(_) => (
                "not-stored",
                "nothing was changed; see the coordinator's log, then try again",
                W::Overloaded,
            ),
        }
    }

    pub fn code(&self) -> &'static str {
        self.row().0
    }
    pub fn hint(&self) -> &'static str {
        self.row().1
    }

    pub fn body(&self) -> RefusalBody {
        let (code, message, hint) = (self.code(), self.to_string(), self.hint());
        let (mut findings, mut tests, mut invariants) = (Vec::new(), Vec::new(), Vec::new());
        match self {
            Refusal::PolicyFaults { findings: found } => findings.clone_from(found),
            Refusal::TestsFail { failed } => tests.clone_from(failed),
            Refusal::InvariantsBroken { broken, .. } => invariants.clone_from(broken),
            _ => {}
        }
        RefusalBody { code, message, hint, findings, tests, invariants }
    }

    /// As a node is told.
    pub fn refused(&self) -> Refused {
        let (_, hint, code) = self.row();
        Refused { code: code as i32, message: format!("{self}. {hint}"), proof: None }
    }
}
