//! `doors` in the settings.

use serde::{Deserialize, Serialize};
use warren_wire::door::PORT;

/// Missing: doors with these defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorSettings {
    pub enabled: bool,
    /// TCP and UDP port beside the one they are for. Who has not been told looks for it at 443.
    pub port: u16,
}

impl Default for DoorSettings {
    fn default() -> DoorSettings {
        DoorSettings { enabled: true, port: PORT }
    }
}

/// How who has set it can set it otherwise: for what is said when a port cannot be had.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    pub port: &'static str,
    pub off: &'static str,
}

impl Words {
    /// In the coordinator's settings.
    pub const SETTINGS: Words = Words { port: "`doors.port`", off: "`doors.enabled` = false" };
    /// On a relay's command line.
    pub const FLAGS: Words = Words { port: "`--door-port PORT`", off: "`--no-doors`" };
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`doors.port` in settings.json is 0: write a port (nodes look for 443), or `doors.enabled` = false for no doors"
)]
pub struct DoorSettingsError;

impl DoorSettings {
    pub fn check(&self) -> Result<(), DoorSettingsError> {
        if self.port == 0 { Err(DoorSettingsError) } else { Ok(()) }
    }
}
