//! What one node may open at another, compiled: a verdict for one protocol and port.

use std::collections::BTreeMap;

use crate::name::Name;
use crate::policy::Protocol;
use crate::time::UnixTime;

/// Rules for one ordered pair (source subject, destination subject). `Rules::default()` denies everything.
///
/// A verdict costs one look into the directory and a search among the spans that begin in one 256th of the port space,
/// however many grants there are; a rule costs memory once, however many spans it is cut into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Sorted by key, disjoint.
    spans: Box<[Span]>,
    /// Places in `candidates`; those of a span run from its `chain` to the next one's.
    chains: Box<[u32]>,
    candidates: Box<[Candidate]>,
    /// Where the spans of each 256 TCP and UDP ports begin; empty if there are few spans.
    directory: Box<[u32]>,
    observe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    /// [`key`] of the first port.
    key: u32,
    last: u16,
    chain: u32,
}

/// One span as the compiler finds it: the places of its candidates in order of precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
    pub chain: Vec<u32>,
}

/// With fewer spans than this a directory costs more than it saves.
const FEW: usize = 64;
/// TCP and UDP, 256 parts each, and the end.
const PARTS: u32 = 2 * 256;

/// Protocol and port as one number, in the order of [`Protocol`].
fn key(protocol: Protocol, port: u16) -> u32 {
    let rank = match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1,
        Protocol::IcmpEcho => 2,
        Protocol::Number(number) => 3 + u32::from(number),
    };
    rank << 16 | u32::from(port)
}

fn protocol_of(key: u32) -> Protocol {
    match key >> 16 {
        0 => Protocol::Tcp,
        1 => Protocol::Udp,
        2 => Protocol::IcmpEcho,
        number => Protocol::Number(u8::try_from(number - 3).unwrap_or(u8::MAX)),
    }
}

fn directory(spans: &[Span]) -> Box<[u32]> {
    if spans.len() < FEW {
        return Box::default();
    }
    let begin = |part: u32| spans.partition_point(|span| span.key < part << 8);
    (0..=PARTS).map(|part| u32::try_from(begin(part)).unwrap_or(u32::MAX)).collect()
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
    pub fn lives(&self, now: UnixTime) -> bool {
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
    /// `cuts` sorted by protocol and port and disjoint.
    pub(crate) fn new(candidates: Vec<Candidate>, cuts: &[Cut], observe: bool) -> Rules {
        let (mut spans, mut chains) = (Vec::with_capacity(cuts.len()), Vec::new());
        for cut in cuts {
            let chain = u32::try_from(chains.len()).unwrap_or(u32::MAX);
            spans.push(Span { key: key(cut.protocol, cut.first), last: cut.last, chain });
            chains.extend_from_slice(&cut.chain);
        }
        let directory = directory(&spans);
        Rules {
            spans: spans.into(),
            chains: chains.into(),
            candidates: candidates.into(),
            directory,
            observe,
        }
    }

    /// The verdict at signed time `now`. `port` is ignored for protocols without ports.
    pub fn judge(&self, protocol: Protocol, port: u16, now: UnixTime) -> Verdict<'_> {
        let live = self.place(protocol, port).and_then(|place| self.chain(place).find(|c| c.lives(now)));
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

    /// The place of the span that covers a port.
    fn place(&self, protocol: Protocol, port: u16) -> Option<usize> {
        let port = if protocol.has_ports() { port } else { 0 };
        let key = key(protocol, port);
        let near = self.near(key);
        let begun = self.spans.get(near.clone())?.partition_point(|span| span.key <= key);
        // The one before may begin in an earlier part of the port space and reach into this one.
        let place = (near.start + begun).checked_sub(1)?;
        let span = self.spans.get(place)?;
        (span.key >> 16 == key >> 16 && port <= span.last).then_some(place)
    }

    /// The spans among which the last one that begins at or before `key` ends.
    fn near(&self, key: u32) -> std::ops::Range<usize> {
        let at = |part: u32| self.directory.get(part as usize).map(|place| *place as usize);
        let part = (key >> 8).min(PARTS);
        let end = self.spans.len();
        at(part).unwrap_or(0)..at(part + 1).unwrap_or(end)
    }

    /// The candidates of a span: enforced before audited, then the narrower `listen`, then the smaller grant id. One that
    /// ends no later than one before it is left out: it never decides.
    fn chain(&self, place: usize) -> impl Iterator<Item = &Candidate> {
        let at = |place: usize| self.spans.get(place).map_or(self.chains.len(), |span| span.chain as usize);
        let places = self.chains.get(at(place)..at(place + 1)).unwrap_or_default();
        places.iter().filter_map(|place| self.candidates.get(*place as usize))
    }

    /// Port ranges with the enforced candidate that lets them pass at `now`, in order.
    pub(crate) fn passing(&self, now: UnixTime) -> impl Iterator<Item = (Protocol, u16, u16, &Candidate)> {
        self.spans.iter().enumerate().filter_map(move |(place, span)| {
            let candidate = self.chain(place).find(|c| !c.audit && c.lives(now))?;
            let first = u16::try_from(span.key & 0xffff).unwrap_or(u16::MAX);
            Some((protocol_of(span.key), first, span.last, candidate))
        })
    }

    fn enforced(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| !candidate.audit)
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

    /// Each service with each enforced grant that opens something of it at `now`, in order.
    pub fn grants(&self, now: UnixTime) -> impl Iterator<Item = (&Name, &Name)> {
        let live = self.enforced().filter(move |candidate| candidate.lives(now));
        let all: std::collections::BTreeSet<_> = live.map(|c| (&c.service, &c.grant)).collect();
        all.into_iter()
    }

    /// Each service some enforced grant opens, with the end of the last such grant (`None`: without end). Whoever keeps
    /// this can say what [`Rules::services`] would say at any later moment.
    pub fn service_ends(&self) -> BTreeMap<&Name, Option<UnixTime>> {
        let mut ends: BTreeMap<&Name, Option<UnixTime>> = BTreeMap::new();
        for candidate in self.enforced() {
            let end = ends.entry(&candidate.service).or_insert(candidate.until);
            *end = end.zip(candidate.until).map(|(a, b)| a.max(b));
        }
        ends
    }

    /// True in `mode = "observe"`: every status output must say so loudly.
    pub fn observes(&self) -> bool {
        self.observe
    }
}
