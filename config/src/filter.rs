//! What one node may open at another, compiled: a verdict for one protocol and port.

use crate::name::Name;
use crate::policy::Protocol;
use crate::time::UnixTime;

/// Rules for one ordered pair (source subject, destination subject). `Rules::default()` denies everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Sorted by protocol and first port, disjoint; each with its candidate grants in order of precedence.
    pub(crate) spans: Vec<Span>,
    pub(crate) observe: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
    /// Enforced ones before audited ones, then the narrower `listen`, then the smaller grant id.
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub grant: Name,
    pub service: Name,
    pub audit: bool,
    pub until: Option<UnixTime>,
}

impl Candidate {
    /// At the instant `until` itself the grant is over.
    fn lives(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
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
    pub fn judge(&self, protocol: Protocol, port: u16, now: UnixTime) -> Verdict<'_> {
        let live = self.span(protocol, port).and_then(|span| span.candidates.iter().find(|c| c.lives(now)));
        match live {
            Some(Candidate { grant, service, audit: false, until }) => {
                Verdict::Allow { grant, service, until: *until }
            }
            // In `observe` mode everything that no grant allows passes; an audited grant allows nothing.
            _ if self.observe => Verdict::WouldDeny,
            Some(Candidate { grant, service, .. }) => Verdict::WouldAllow { grant, service },
            None => Verdict::Deny,
        }
    }

    fn span(&self, protocol: Protocol, port: u16) -> Option<&Span> {
        let port = if protocol.has_ports() { port } else { 0 };
        let after = self.spans.partition_point(|span| (span.protocol, span.first) <= (protocol, port));
        let span = self.spans.get(after.checked_sub(1)?)?;
        (span.protocol == protocol && port <= span.last).then_some(span)
    }

    fn enforced(&self) -> impl Iterator<Item = &Candidate> {
        self.spans.iter().flat_map(|span| &span.candidates).filter(|candidate| !candidate.audit)
    }

    /// True if these rules can ever pass something: then, and only then, the two nodes are peers.
    /// Audited grants join nobody. A grant past its `until` still counts here: see [`Rules::joins_at`].
    pub fn joins(&self) -> bool {
        self.observe || self.enforced().next().is_some()
    }

    /// True if these rules pass something at `now` or later.
    pub fn joins_at(&self, now: UnixTime) -> bool {
        self.observe || self.enforced().any(|candidate| candidate.lives(now))
    }

    /// True if nothing is recognised, whatever the verdict on it would be.
    pub fn is_empty(&self) -> bool {
        !self.observe && self.spans.is_empty()
    }

    /// The earliest `until` after `now` among the enforced grants in these rules: when to judge live flows again.
    pub fn next_end(&self, now: UnixTime) -> Option<UnixTime> {
        self.enforced().filter_map(|candidate| candidate.until).filter(|until| *until > now).min()
    }

    /// Services (by name) that pass at `now`, for names and `peers` output. Sorted, each once. What passes only
    /// because of `observe` has no service.
    pub fn services(&self, now: UnixTime) -> Vec<Name> {
        let names: std::collections::BTreeSet<&Name> =
            self.enforced().filter(|candidate| candidate.lives(now)).map(|c| &c.service).collect();
        names.into_iter().cloned().collect()
    }

    /// True in `mode = "observe"`: every status output must say so loudly.
    pub fn observes(&self) -> bool {
        self.observe
    }
}
