//! Names outside the zone: whether they are asked at all, of whom, and what becomes of what comes back.
//!
//! A question passes [`Forwarding::route`] (names with a meaning of their own stay here; a suffix may have upstreams of
//! its own), then the [`cache`], then a race of the [`fleet`]'s upstreams; what wins is judged by [`screen`] before
//! anybody sees it, and kept as [`stored`] bytes; [`failed`] remembers what came to nothing. Upstreams are encrypted because [`Upstream`] can say nothing else; when
//! none answers the question fails, with the reason in it (RFC 8914). There is no other way out.

pub mod ask;
pub mod cache;
pub mod failed;
pub mod fleet;
pub mod screen;
pub mod special;
pub mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use warren_config::policy::Settings;
use warren_config::upstream::{Upstream, UpstreamError};

use super::reply::Extended;

/// Extended error codes (IANA, "Extended DNS Error Codes").
pub mod code {
    pub const STALE: u16 = 3;
    pub const BOGUS: u16 = 6;
    pub const BLOCKED: u16 = 15;
    pub const STALE_NXDOMAIN: u16 = 19;
    pub const NOT_AUTHORITATIVE: u16 = 20;
    pub const UNREACHABLE: u16 = 22;
    pub const NETWORK: u16 = 23;
}

/// Who is asked for names outside the zone. Groups are numbered: 0 are the upstreams of everything, then the splits in
/// order of their suffixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    groups: Vec<Vec<Upstream>>,
    splits: BTreeMap<String, usize>,
    private: BTreeSet<String>,
}

/// What a node's own settings add where the policy says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    pub upstream: Vec<Upstream>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Answered here.
    Special(special::Special),
    /// Of this group of upstreams.
    Group(usize),
    /// Nobody is there to be asked: refused, so that the host's resolver asks its other servers.
    Nobody,
}

impl Forwarding {
    /// Upstreams that cannot be read are left out and reported: the policy that named them was checked by somebody else.
    pub fn new(settings: &Settings, local: &Local) -> (Forwarding, Vec<(String, UpstreamError)>) {
        let mut faults = Vec::new();
        let mut read = |texts: &[String]| -> Vec<Upstream> {
            let mut good = Vec::new();
            for text in texts {
                match Upstream::parse(text) {
                    Ok(upstream) if !good.contains(&upstream) => good.push(upstream),
                    Ok(_) => {}
                    Err(e) => faults.push((text.clone(), e)),
                }
            }
            good
        };
        let mut all = read(&settings.upstream);
        if settings.upstream.is_empty() {
            all = local.upstream.clone();
        }
        let mut forwarding =
            Forwarding { groups: vec![all], splits: BTreeMap::new(), private: settings.private.clone() };
        for (suffix, texts) in &settings.split {
            // A split whose upstreams are all unreadable stays a split: its names must not go to the others.
            forwarding.splits.insert(suffix.clone(), forwarding.groups.len());
            forwarding.groups.push(read(texts));
        }
        (forwarding, faults)
    }

    /// Does anything go out at all?
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(Vec::is_empty)
    }

    pub fn group(&self, group: usize) -> &[Upstream] {
        self.groups.get(group).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Every upstream once, with the suffix it is for (`None`: everything).
    pub fn upstreams(&self) -> Vec<(Option<&str>, &Upstream)> {
        let all = self.group(0).iter().map(|u| (None, u));
        let splits = self.splits.iter().map(|(s, g)| (s.as_str(), *g));
        all.chain(splits.flat_map(|(s, g)| self.group(g).iter().map(move |u| (Some(s), u)))).collect()
    }

    /// `name` is lower case, without the final dot. The longest suffix wins; a split for a name with a meaning of its own
    /// is asked for it all the same.
    pub fn route(&self, name: &str) -> Route {
        if let Some((_, group)) = self.split_of(name) {
            return Route::Group(group);
        }
        match special::of(name) {
            Some(special) => Route::Special(special),
            None if self.group(0).is_empty() => Route::Nobody,
            None => Route::Group(0),
        }
    }

    fn split_of(&self, name: &str) -> Option<(&str, usize)> {
        suffixes(name).find_map(|suffix| self.splits.get_key_value(suffix)).map(|(s, g)| (s.as_str(), *g))
    }

    pub fn suffix_of_group(&self, group: usize) -> Option<&str> {
        self.splits.iter().find(|(_, g)| **g == group).map(|(suffix, _)| suffix.as_str())
    }

    /// May this name have private addresses? Names of a split may: that is what splits are for.
    pub fn may_be_private(&self, name: &str) -> bool {
        self.split_of(name).is_some() || suffixes(name).any(|suffix| self.private.contains(suffix))
    }
}

/// `a.b.c`, `b.c`, `c`.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |rest| rest.split_once('.').map(|(_, rest)| rest))
}

/// Why one upstream's part in a question came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// It could not be reached, or stayed silent.
    #[error("{0}")]
    Network(String),
    /// It answered, and that is of no use.
    #[error(transparent)]
    Answer(screen::Refusal),
    /// Its answer is not what the owner of the name signed (DNSSEC, RFC 4035 section 4.3).
    #[error("{0}")]
    Bogus(String),
}

/// Why no upstream gave an answer that can be used; the most telling failure is the one that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was asked: the group is empty.
    NoUpstream,
    /// One loss for each upstream that was tried, in order.
    Tried(Vec<(String, Loss)>),
    /// It answered, and the answer must not be used.
    Screened(screen::Refusal),
    /// Too many questions are under way.
    Busy,
}

impl Failure {
    /// Somebody answered, and what he says must not be passed on: no older answer makes that better.
    pub fn is_verdict(&self) -> bool {
        match self {
            Failure::Screened(_) => true,
            Failure::Tried(tried) => tried.iter().any(|(_, loss)| matches!(loss, Loss::Bogus(_))),
            Failure::NoUpstream | Failure::Busy => false,
        }
    }

    /// The response code and its explanation.
    pub fn explain(&self) -> (u16, Extended) {
        use super::reply::{REFUSED, SERVFAIL};
        let failed = |code, text: String| (SERVFAIL, Extended { code, text });
        match self {
            Failure::NoUpstream => failed(
                code::UNREACHABLE,
                "no encrypted upstream is set for this name that can be read".to_owned(),
            ),
            Failure::Tried(tried) => {
                let list: Vec<String> = tried.iter().map(|(who, why)| format!("{who}: {why}")).collect();
                let bogus = tried.iter().any(|(_, why)| matches!(why, Loss::Bogus(_)));
                let (code, what) = match bogus {
                    true => (code::BOGUS, "no answer is proven by DNSSEC"),
                    false => (code::UNREACHABLE, "no encrypted upstream answered"),
                };
                failed(code, format!("{what}; {}", list.join("; ")))
            }
            Failure::Screened(refusal) if refusal.is_private() => {
                (REFUSED, Extended { code: code::BLOCKED, text: refusal.to_string() })
            }
            Failure::Screened(refusal) => failed(code::NETWORK, refusal.to_string()),
            Failure::Busy => failed(code::NETWORK, "too many questions are waiting for upstreams".to_owned()),
        }
    }
}
