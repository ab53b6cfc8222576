//! `relay` in the settings.

use serde::{Deserialize, Serialize};
use warren_coordinator_core::relay::Limits;

/// Missing: a relay with these defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySettings {
    pub enabled: bool,
    /// Threads that carry frames. 0: the control channel's own carries them.
    pub threads: u32,
    /// What each node may send through the relay: megabits a second,
    pub megabits: u64,
    /// and frames a second.
    pub packets: u64,
}

const MAX_THREADS: u32 = 16;
const MAX_MEGABITS: u64 = 1_000_000;
const MAX_PACKETS: u64 = 100_000_000;

impl Default for RelaySettings {
    fn default() -> RelaySettings {
        let Limits { megabits, packets } = Limits::default();
        RelaySettings { enabled: true, threads: 1, megabits, packets }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`relay.{name}` in settings.json is {found}: write a number from {least} to {most}{hint}")]
pub struct RelaySettingsError {
    name: &'static str,
    found: u64,
    least: u64,
    most: u64,
    hint: &'static str,
}

impl RelaySettings {
    pub fn check(&self) -> Result<(), RelaySettingsError> {
        let off = ", or `relay.enabled` = false for no relay";
        for (name, found, least, most, hint) in [
            ("threads", u64::from(self.threads), 0, u64::from(MAX_THREADS), ""),
            ("megabits", self.megabits, 1, MAX_MEGABITS, off),
            ("packets", self.packets, 1, MAX_PACKETS, off),
        ] {
            if !(least..=most).contains(&found) {
                return Err(RelaySettingsError { name, found, least, most, hint });
            }
        }
        Ok(())
    }

    pub fn limits(&self) -> Limits {
        Limits { megabits: self.megabits, packets: self.packets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_what_could() {
        assert_eq!(RelaySettings::default().check(), Ok(()));
        let bad = [
            (
                RelaySettings { threads: 17, ..RelaySettings::default() },
                "`relay.threads` in settings.json is 17",
            ),
            (
                RelaySettings { megabits: 0, ..RelaySettings::default() },
                "from 1 to 1000000, or `relay.enabled`",
            ),
            (RelaySettings { packets: u64::MAX, ..RelaySettings::default() }, "`relay.packets`"),
        ];
        for (settings, says) in bad {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
