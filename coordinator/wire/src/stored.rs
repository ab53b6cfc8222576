//! What a node keeps on disk about whom it trusts: written once at enrolment, from the token alone.

use serde::{Deserialize, Serialize};

use crate::id::{IdentityKey, NetworkId};
use crate::token::{MAX_AUTHORITIES, MAX_COORDINATORS, Token, is_host_port};
use crate::trust::Trust;

/// Text form: JSON with unknown fields refused (a newer program's file is not half read).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredTrust {
    pub network: NetworkId,
    pub authorities: Vec<IdentityKey>,
    /// `host:port` of the coordinators.
    pub coordinators: Vec<String>,
    /// Who must answer there.
    pub coordinator_key: IdentityKey,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredTrustError {
    #[error("the stored trust cannot be read: {0}; enrol this node again or restore the file")]
    Unreadable(String),
    #[error("the stored trust is of no use: {0}; enrol this node again or restore the file")]
    Unusable(String),
}

impl StoredTrust {
    pub fn from_token(token: &Token) -> StoredTrust {
        StoredTrust {
            network: token.network,
            authorities: token.authorities.clone(),
            coordinators: token.coordinators.clone(),
            coordinator_key: token.coordinator_key,
        }
    }

    pub fn trust(&self) -> Trust {
        Trust { network: self.network, authorities: self.authorities.clone() }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub fn from_json(text: &str) -> Result<StoredTrust, StoredTrustError> {
        let stored: StoredTrust =
            serde_json::from_str(text).map_err(|e| StoredTrustError::Unreadable(e.to_string()))?;
        stored.check().map_err(StoredTrustError::Unusable)?;
        Ok(stored)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=MAX_AUTHORITIES).contains(&self.authorities.len()) {
            return Err(format!("it names {} authorities, not 1 to 8", self.authorities.len()));
        }
        if !(1..=MAX_COORDINATORS).contains(&self.coordinators.len()) {
            return Err(format!("it names {} coordinators, not 1 to 8", self.coordinators.len()));
        }
        if let Some(bad) = self.coordinators.iter().find(|text| !is_host_port(text)) {
            return Err(format!("`{}` is not a coordinator's host:port", bad.escape_debug()));
        }
        let mut keys = self.authorities.iter().chain([&self.coordinator_key]);
        match keys.find(|key| key.verifying().is_none()) {
            Some(bad) => Err(format!("{bad} is not a usable Ed25519 key")),
            None => Ok(()),
        }
    }
}
