//! The resolved policy: every name exists, every list is non-empty, every range runs forwards.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
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
    /// Names under a suffix that are asked elsewhere. Left out of the canonical form when there are none, so that older
    /// nodes read policies without them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub split: BTreeMap<String, Vec<String>>,
    /// Suffixes whose names may have private addresses although they are asked of `upstream`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub private: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Told::is_nothing")]
    pub report: Told,
}

/// What nodes tell of the names that are asked on them. What a person looks for says much about him: nothing, unless the
/// policy says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    #[default]
    Nothing,
    /// Which names, and how often each.
    Names,
}

impl Told {
    fn is_nothing(&self) -> bool {
        *self == Told::Nothing
    }
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

impl std::fmt::Display for Selector {
    /// As the policy writes it: `all-nodes`, `node:x`, `tag:a & tag:b`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Selector::AllNodes => f.write_str("all-nodes"),
            Selector::Node(name) => write!(f, "node:{name}"),
            Selector::Tags(tags) => {
                let parts: Vec<String> = tags.iter().map(|tag| format!("tag:{tag}")).collect();
                f.write_str(&parts.join(" & "))
            }
        }
    }
}

/// What travels inside IP, as the policy speaks of it. ICMP echo is always both ICMP and ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
    IcmpEcho,
    /// Any other IP protocol number; it has no ports. Never 1, 6, 17 or 58.
    Number(u8),
}

impl Protocol {
    /// Only TCP and UDP have ports.
    pub fn has_ports(self) -> bool {
        matches!(self, Protocol::Tcp | Protocol::Udp)
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Protocol::Tcp => f.write_str("tcp"),
            Protocol::Udp => f.write_str("udp"),
            Protocol::IcmpEcho => f.write_str("icmp/echo"),
            Protocol::Number(number) => write!(f, "proto/{number}"),
        }
    }
}

/// One `listen` entry. Protocols without ports carry `0..=0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
}

impl Listen {
    /// What the resolver guarantees: ports 1 to 65535 running forwards, `0..=0` without ports, no protocol number that
    /// has a name of its own.
    pub fn is_valid(&self) -> bool {
        match self.protocol {
            Protocol::Tcp | Protocol::Udp => self.first >= 1 && self.first <= self.last,
            Protocol::Number(1 | 6 | 17 | 58) => false,
            Protocol::IcmpEcho | Protocol::Number(_) => self.first == 0 && self.last == 0,
        }
    }

    /// How many ports.
    pub fn width(&self) -> u32 {
        u32::from(self.last).saturating_sub(u32::from(self.first)) + 1
    }

    /// True if one packet could be of both.
    pub fn overlaps(&self, other: &Listen) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }

    /// True if every packet of `other` is of this one too.
    pub fn covers(&self, other: &Listen) -> bool {
        self.protocol == other.protocol && self.first <= other.first && other.last <= self.last
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.protocol.has_ports(), self.first == self.last) {
            (false, _) => write!(f, "{}", self.protocol),
            (true, true) => write!(f, "{}/{}", self.protocol, self.first),
            (true, false) => write!(f, "{}/{}-{}", self.protocol, self.first, self.last),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: Name,
    /// The nodes its traffic goes to: those that offer it themselves, or the gateways to `addresses`.
    pub on: BTreeSet<Selector>,
    pub listen: BTreeSet<Listen>,
    /// Hosts without an agent, behind the nodes of `on`: the policy's `addresses` and `via`. Left out of the canonical form
    /// when there are none, so that older nodes read policies without them; a policy with them they refuse.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub addresses: BTreeSet<IpNet>,
}

impl Service {
    /// Is it offered by hosts behind its nodes, and not by these nodes themselves?
    pub fn is_behind(&self) -> bool {
        !self.addresses.is_empty()
    }
    /// Only these nodes get its name and its traffic.
    pub fn offered_by(&self, subject: &Subject) -> bool {
        self.on.iter().any(|selector| selector.matches(subject))
    }
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

impl Grant {
    /// In `from`, and not in `except`.
    pub fn includes(&self, subject: &Subject) -> bool {
        let within = |list: &BTreeSet<Selector>| list.iter().any(|selector| selector.matches(subject));
        within(&self.from) && !within(&self.except)
    }

    /// `all-nodes` may meet `all-nodes` only by ping.
    pub(crate) fn may_open(&self, service: &Service, listen: &Listen) -> bool {
        let everyone = self.from.contains(&Selector::AllNodes) && service.on.contains(&Selector::AllNodes);
        !everyone || listen.protocol == Protocol::IcmpEcho
    }
}

/// The end of a question: a service, or nodes with a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Service(Name),
    /// `"tag:x tcp/22"`, `"node:y"`; without a port: on all its services.
    Nodes(Selector, Option<Listen>),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Service(name) => write!(f, "service:{name}"),
            Target::Nodes(selector, None) => write!(f, "{selector}"),
            Target::Nodes(selector, Some(listen)) => write!(f, "{selector} {listen}"),
        }
    }
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
