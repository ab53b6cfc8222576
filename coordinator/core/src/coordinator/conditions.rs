//! Alarms about how things are: raised while something holds, cleared when it no longer does. What *happened* (a token shown
//! twice) is raised where it happens, and stays.
//!
//! Everything that could have changed the answer moves the next look nearer (`look_by`); a look finds all that holds, compares
//! it with what is raised, and says when it must look again although nothing happens.

use std::collections::BTreeMap;

use warren_config::time::UnixTime;
use warren_wire::flow::Amount;
use warren_wire::id::NodeId;

use super::Coordinator;
use crate::alarm::AlarmKind;
use crate::output::Output;
use crate::status::Behind;

/// An online node has so long to enforce what was applied; who is away must be back within the longer time. Seconds.
pub const ENFORCE: u64 = 30;
pub const COME_BACK: u64 = 3600;
/// Before a grant, and before an API key ends; seconds. What lives for less than twice that is meant to be short.
pub const GRANT_ENDS: u64 = 24 * 3600;
pub const KEY_ENDS: u64 = 7 * 24 * 3600;
/// After something happened its consequences are looked at within so long; seconds.
const SOON: u64 = 5;

/// Kinds that are raised and cleared here, and nowhere else.
const KINDS: [AlarmKind; 4] =
    [AlarmKind::NotEnforcing, AlarmKind::RefusalBurst, AlarmKind::EndsSoon, AlarmKind::AccountsUnbalanced];

/// What holds now, and when the answer may be another although nothing happens.
#[derive(Default)]
struct Look {
    found: BTreeMap<(AlarmKind, String), String>,
    again: Option<UnixTime>,
}

impl Look {
    fn holds(&mut self, kind: AlarmKind, subject: impl Into<String>, message: String) {
        self.found.insert((kind, subject.into()), message);
    }
    fn look_at(&mut self, at: UnixTime) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }
}

impl Coordinator {
    /// Something happened that an alarm may be about.
    pub(super) fn look_soon(&mut self, now: UnixTime) {
        self.look_by(now.plus(SOON));
    }

    pub(super) fn look_by(&mut self, at: UnixTime) {
        self.look_due = Some(self.look_due.map_or(at, |due| due.min(at)));
    }

    /// If it is time: raises what holds, clears what does not.
    pub(super) fn look(&mut self, now: UnixTime) {
        if self.look_due.is_none_or(|due| now < due) {
            return;
        }
        let mut look = Look::default();
        self.find_not_enforcing(now, &mut look);
        self.find_endings(now, &mut look);
        self.find_bursts(now, &mut look);
        self.find_unbalanced(&mut look);
        self.look_due = look.again;
        let raised: Vec<_> = self.alarms.iter().filter(|a| KINDS.contains(&a.kind)).cloned().collect();
        for alarm in raised {
            if !look.found.contains_key(&(alarm.kind, alarm.subject.clone())) {
                self.alarms.clear(alarm.kind, &alarm.subject);
                self.outputs.push_back(Output::AlarmCleared(alarm));
            }
        }
        for ((kind, subject), message) in look.found {
            match self.alarms.is_known(kind, &subject) {
                true => self.alarms.reword(kind, &subject, &message, now),
                false => self.alarm(kind, &subject, &message, now),
            }
        }
    }

    fn find_not_enforcing(&self, now: UnixTime, look: &mut Look) {
        let generation = self.state.generation();
        for behind in self.enforcement().behind {
            let (since, patience) = self.waited_for(&behind);
            if now < since.plus(patience) {
                look.look_at(since.plus(patience));
                continue;
            }
            let holds = behind.enforces.map_or("is not known to enforce any policy".to_owned(), |held| {
                format!("enforces generation {held}")
            });
            let state = match behind.online {
                true => format!("is online since {since}: see its log, and `warren-node doctor` on it"),
                false => format!(
                    "is away since {since}: it keeps its last policy until its freshness ends; start it, or revoke it"
                ),
            };
            let message = format!("{} {holds}, generation {generation} is in force; it {state}", behind.name);
            look.holds(AlarmKind::NotEnforcing, behind.node.to_string(), message);
        }
    }

    /// Since when a node could have enforced what it lacks, and how long it may take.
    fn waited_for(&self, behind: &Behind) -> (UnixTime, u64) {
        let seen = self.sessions.presence(&behind.node).and_then(|presence| presence.since);
        let since = behind.since.max(seen.unwrap_or(self.started));
        (since, if behind.online { ENFORCE } else { COME_BACK })
    }

    fn find_endings(&self, now: UnixTime, look: &mut Look) {
        let mut near = |subject: String, begun: UnixTime, end: UnixTime, ahead: u64, what: &str| {
            let from = UnixTime(end.0.saturating_sub(ahead));
            if now >= end || end.since(begun) < 2 * ahead {
                return;
            }
            if now < from {
                look.look_at(from);
                return;
            }
            look.look_at(end);
            look.holds(AlarmKind::EndsSoon, &subject, format!("{subject} ends at {end}: {what}"));
        };
        for key in self.state.keys().iter().filter(|key| key.usable(now).is_ok()) {
            if let Some(end) = key.ends {
                let what = "make another with `warren key create`, give it to those who use this one";
                near(format!("API key {}", key.name), key.created, end, KEY_ENDS, what);
            }
        }
        let applied = self.state.policies.history().last().map_or(UnixTime(0), |applied| applied.at);
        for grant in self.state.policies.in_force().iter().flat_map(|p| p.policy.grants.values()) {
            if let Some(end) = grant.until {
                let what =
                    "what it permits is cut then; write a later `until` and apply, if it is still needed";
                near(format!("grant {}", grant.id), applied, end, GRANT_ENDS, what);
            }
        }
        // It is signed anew long before its end, unless this host's clock was put back: then not before that time comes again.
        let fresh = self.freshness_status();
        if fresh.signed_at > now.plus(SOON) {
            let message = format!(
                "the freshness that nodes hold was signed at {} and this host's clock says {now}: nothing is signed anew until then, and from {} on nodes cut their peers; put the clock right",
                fresh.signed_at, fresh.not_after
            );
            look.holds(AlarmKind::EndsSoon, "freshness", message);
            look.look_at(now.plus(SOON));
        }
    }

    fn find_unbalanced(&self, look: &mut Look) {
        for row in self.accounts().nodes {
            let name = row.name.unwrap_or_else(|| row.node.to_string());
            let excess = row.balance.excess;
            if excess.packets > 0 || excess.bytes > 0 {
                let message = format!(
                    "{name} reports {} packets ({} bytes) more than it judged: its records cannot all be true; see `warren flow accounts`, and look whether that host was taken over",
                    excess.packets, excess.bytes
                );
                look.holds(AlarmKind::AccountsUnbalanced, row.node.to_string(), message);
            } else if let Some((owed, since)) = self.overdue_of(&row.node) {
                let message = format!(
                    "{name} goes on reporting, and of what it had judged by {since} it has neither recorded nor declared lost {} packets ({} bytes): it leaves something out; see `warren flow accounts`, and look whether that host was taken over",
                    owed.packets, owed.bytes
                );
                look.holds(AlarmKind::AccountsUnbalanced, row.node.to_string(), message);
            }
        }
    }

    /// What a node in the network is behind with its account, and since when.
    fn overdue_of(&self, node: &NodeId) -> Option<(Amount, UnixTime)> {
        self.state.directory.live(node)?;
        let broken = self.overdue.of(node)?;
        let start = self.flows.accounts().start(node, broken.boot)?;
        Some((start.owed(broken.offered), broken.since))
    }

    fn find_bursts(&mut self, now: UnixTime, look: &mut Look) {
        let (bursts, again) = self.refusals.bursts(now);
        again.into_iter().for_each(|at| look.look_at(at));
        for burst in bursts {
            let name = self
                .state
                .directory
                .get(&burst.node)
                .map_or(burst.node.to_string(), |n| n.member.name().to_string());
            let message = format!(
                "{name} was refused {} times within a minute, most lately {}: see `warren flow list --from {name} --verdict deny`",
                burst.tries, burst.last
            );
            look.holds(AlarmKind::RefusalBurst, burst.node.to_string(), message);
        }
    }
}
