//! The roots a node was enrolled with, as they lie on disk.

use serde::{Deserialize, Serialize};
use warren_wire::id::{IdentityKey, NetworkId};
use warren_wire::trust::Trust;

/// Nothing here comes from the coordinator's say-so: it was in the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredTrust {
    pub network: NetworkId,
    pub authorities: Vec<IdentityKey>,
    /// `host:port`, in the order to try.
    pub coordinators: Vec<String>,
    /// Keys that may answer there; the charter adds to them.
    pub coordinator_keys: Vec<IdentityKey>,
}

impl StoredTrust {
    pub fn trust(&self) -> Trust {
        Trust { network: self.network, authorities: self.authorities.clone() }
    }

    pub(super) fn encode(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    pub(super) fn decode(text: &str) -> Result<StoredTrust, String> {
        let trust: StoredTrust = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match () {
            () if trust.authorities.is_empty() => Err("it names no authority".to_owned()),
            () if trust.coordinators.is_empty() => Err("it names no coordinator address".to_owned()),
            () if trust.coordinator_keys.is_empty() => Err("it names no coordinator key".to_owned()),
            () => Ok(trust),
        }
    }
}
