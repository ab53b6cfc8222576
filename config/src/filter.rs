//! What one node may open at another, compiled: a verdict for one protocol and port.

use crate::name::Name;
use crate::policy::Protocol;
use crate::time::UnixTime;

/// Rules for one ordered pair (source subject, destination subject). `Rules::default()` denies everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Sorted, disjoint port intervals per protocol; each with its candidate grants in order of precedence.
    pub(crate) spans: Vec<Span>,
    pub(crate) observe: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub grant: Name,
    pub service: Name,
    pub audit: bool,
    pub until: Option<UnixTime>,
}

/// The answer for one new flow. `Allow` and `WouldDeny` pass, the others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    Allow {
        grant: &'a Name,
        service: &'a Name,
        until: Option<UnixTime>,
    },
    Deny,
    /// No enforced grant, but an audited one would have allowed it. Does not pass.
    WouldAllow {
        grant: &'a Name,
        service: &'a Name,
    },
    /// No grant, but the policy is in `observe` mode. Passes.
    WouldDeny,
}

impl Verdict<'_> {
    pub fn passes(&self) -> bool {
        matches!(self, Verdict::Allow { .. } | Verdict::WouldDeny)
    }
}

impl Rules {
    /// The verdict at signed time `now`. `port` is ignored for protocols without ports.
    pub fn judge(&self, _protocol: Protocol, _port: u16, _now: UnixTime) -> Verdict<'_> {
        todo!()
    }

    /// True if these rules can ever pass something: then, and only then, the two nodes are peers.
    /// Audited grants join nobody.
    pub fn joins(&self) -> bool {
        todo!()
    }

    /// The earliest `until` after `now` among the grants in these rules: when to judge live flows again.
    pub fn next_end(&self, _now: UnixTime) -> Option<UnixTime> {
        todo!()
    }

    /// Services (by name) that pass at `now`, for names and `peers` output.
    pub fn services(&self, _now: UnixTime) -> Vec<Name> {
        todo!()
    }
}
