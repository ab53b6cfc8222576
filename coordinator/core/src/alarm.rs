//! Alarms: one per kind and subject, however often it happens, so that nobody can fill the log by repeating himself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;

/// At most so many alarms are kept; the durable ones are never pushed out by the others.
pub const MAX_ALARMS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// A spent token was shown again by another key.
    TokenReused,
    AddressesUsedUp,
    /// The policy lets everything pass and only records.
    ObserveMode,
    /// A node reported a flow that is not its own.
    ForeignFlow,
    /// A node refused to believe something.
    NodeComplaint,
    /// A stored record or policy no longer holds; it is left out and everyone else is served.
    BadRecord,
    /// A node has seen a later state than this coordinator has: the store was put back without `warren restore`.
    RolledBack,
    /// A network was restored from a backup.
    Restored,
    /// A revoked node tried to come in.
    RevokedKnocked,
    /// Two hosts take a node's place from one another: its state directory was copied.
    Cloned,
    /// A node sent what no honest node sends.
    Misbehaved,
    /// A node has not enforced the policy in force in time. Clears itself.
    NotEnforcing,
    /// One identity is refused again and again. Clears itself.
    RefusalBurst,
    /// Something that was signed or made for a time is near its end. Clears itself.
    EndsSoon,
    /// A node reports more than it judged, or does not account for what it judged in time. Clears itself.
    AccountsUnbalanced,
}

impl AlarmKind {
    /// All there are, in order.
    pub const ALL: [AlarmKind; 15] = [
        AlarmKind::TokenReused,
        AlarmKind::AddressesUsedUp,
        AlarmKind::ObserveMode,
        AlarmKind::ForeignFlow,
        AlarmKind::NodeComplaint,
        AlarmKind::BadRecord,
        AlarmKind::RolledBack,
        AlarmKind::Restored,
        AlarmKind::RevokedKnocked,
        AlarmKind::Cloned,
        AlarmKind::Misbehaved,
        AlarmKind::NotEnforcing,
        AlarmKind::RefusalBurst,
        AlarmKind::EndsSoon,
        AlarmKind::AccountsUnbalanced,
    ];

    /// As it is written in JSON.
    pub fn word(self) -> String {
        let word = serde_json::to_value(self).unwrap_or_default();
        word.as_str().unwrap_or_default().to_owned()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Alarm {
    pub kind: AlarmKind,
    /// What it is about: a token, a node, a generation.
    pub subject: String,
    pub message: String,
    pub since: UnixTime,
    pub last: UnixTime,
    pub count: u64,
}

/// Alarms by kind and subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    alarms: BTreeMap<(AlarmKind, String), Alarm>,
}

impl Alarms {
    /// Counts one more; returns the alarm if it is new.
    pub fn raise(&mut self, kind: AlarmKind, subject: &str, message: &str, at: UnixTime) -> Option<Alarm> {
        let key = (kind, subject.to_owned());
        if let Some(known) = self.alarms.get_mut(&key) {
            known.count = known.count.saturating_add(1);
            known.last = at;
            return None;
        }
        if self.alarms.len() >= MAX_ALARMS {
            return None;
        }
        let (subject, message) = (subject.to_owned(), message.to_owned());
        let alarm = Alarm { kind, subject, message, since: at, last: at, count: 1 };
        self.alarms.insert(key, alarm.clone());
        Some(alarm)
    }

    /// The same alarm goes on, perhaps in other words.
    pub fn reword(&mut self, kind: AlarmKind, subject: &str, message: &str, at: UnixTime) {
        if let Some(known) = self.alarms.get_mut(&(kind, subject.to_owned()))
            && known.message != message
        {
            known.message = message.to_owned();
            known.last = at;
        }
    }

    pub fn is_known(&self, kind: AlarmKind, subject: &str) -> bool {
        self.alarms.contains_key(&(kind, subject.to_owned()))
    }

    pub fn is_full(&self) -> bool {
        self.alarms.len() >= MAX_ALARMS
    }

    pub fn clear(&mut self, kind: AlarmKind, subject: &str) {
        self.alarms.remove(&(kind, subject.to_owned()));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.values()
    }
}
