//! The resolved policy: every name exists, every list is non-empty, every range runs forwards.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::time::UnixTime;

/// A whole policy. `Policy::default()` is the empty one: it allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub settings: Settings,
    pub groups: BTreeMap<Name, Group>,
    pub tags: BTreeMap<Name, Tag>,
    pub services: BTreeMap<Name, Service>,
    pub grants: BTreeMap<Name, Grant>,
    pub invariants: BTreeMap<Name, Invariant>,
    pub tests: BTreeMap<Name, Test>,
}

/// What a node is to the policy: its signed name and tags, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    pub name: Name,
    pub tags: BTreeSet<Name>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Enforce,
    Observe,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub mode: Mode,
    /// DNS zone of the network, lower case, without the final dot. `None`: [`DEFAULT_ZONE`].
    pub zone: Option<String>,
    /// Encrypted upstreams as written (`tls://…`, `https://…`, `quic://…`).
    pub upstream: Vec<String>,
}

pub const DEFAULT_ZONE: &str = "warren.internal";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: Name,
    pub members: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    pub name: Name,
    /// `group:…` names that may enrol nodes with this tag.
    pub owners: BTreeSet<Name>,
    pub not_with: BTreeSet<Name>,
}

/// A set of nodes: one member of a `from`, `except` or `on` list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selector {
    AllNodes,
    Node(Name),
    /// Wears every one of these tags (`"tag:web & tag:prod"`); never empty.
    Tags(BTreeSet<Name>),
}

impl Selector {
    pub fn matches(&self, subject: &Subject) -> bool {
        match self {
            Selector::AllNodes => true,
            Selector::Node(name) => *name == subject.name,
            Selector::Tags(tags) => tags.is_subset(&subject.tags),
        }
    }
}

/// What travels inside IP, as the policy speaks of it. ICMP echo is always both ICMP and ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
    IcmpEcho,
    /// Any other IP protocol number; it has no ports. Never 1, 6, 17 or 58.
    Number(u8),
}

/// One `listen` entry. Protocols without ports carry `0..=0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: Name,
    pub on: BTreeSet<Selector>,
    pub listen: BTreeSet<Listen>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantMode {
    #[default]
    Enforce,
    Audit,
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub id: Name,
    pub from: BTreeSet<Selector>,
    pub except: BTreeSet<Selector>,
    pub to: BTreeSet<Name>,
    pub mode: GrantMode,
    pub until: Option<UnixTime>,
    pub why: String,
}

/// The end of a question: a service, or nodes with a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Service(Name),
    /// `"tag:x tcp/22"`, `"node:y"`; without a port: on all its services.
    Nodes(Selector, Option<Listen>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invariant {
    pub id: Name,
    pub law: Law,
    pub from: BTreeSet<Selector>,
    pub to: Vec<Target>,
    pub via_any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    Never,
    Only,
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    Allow,
    Deny,
}

/// Who asks in a `[[test]]`: a selector, or a node described by what it wears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestEnd {
    Selector(Selector),
    Wearing(Subject),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub id: Name,
    pub from: TestEnd,
    /// A service or nodes; with `wearing`, asked of exactly that node.
    pub to: Target,
    pub to_wearing: Option<Subject>,
    pub expect: Expect,
    pub by: Option<Name>,
}
